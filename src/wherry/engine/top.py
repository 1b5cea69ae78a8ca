"""`docker top`: the host's ps(1), cut to one container's processes."""

import asyncio
import shlex
from typing import TYPE_CHECKING, Any

from wherry.engine.errors import Conflict, EngineError, InvalidParameter
from wherry.engine.model import Container
from wherry.host import processes

if TYPE_CHECKING:
    from wherry.engine.containers import Containers


async def top(containers: "Containers", container: Container, arguments: str) -> dict[str, Any]:
    """`{"Titles": [...], "Processes": [[...]]}`. Raises Conflict when it does not run, EngineError as ps complains."""
    if not container.state.alive:
        raise Conflict(f"container {container.id} is not running")
    try:
        words = shlex.split(arguments)
    except ValueError as error:
        raise InvalidParameter(f"invalid ps arguments: {error}") from None
    pids = {str(pid) for pid in await asyncio.to_thread(containers.lifecycle.cgroup(container).pids)}
    done = await processes.run(["ps", *words])
    if done.code:
        # What follows the first line is ps's usage.
        raise EngineError(f"ps: {done.stderr.decode('utf-8', 'replace').strip().partition(chr(10))[0]}")
    containers.emit(container, "top")
    return select(done.stdout.decode("utf-8", "replace"), pids)


def select(output: str, pids: set[str]) -> dict[str, Any]:
    """The rows of ps's output whose PID is among `pids`. Raises EngineError without a PID column."""
    lines = output.splitlines()
    titles = lines[0].split() if lines else []
    if "PID" not in titles:
        raise EngineError("Couldn't find PID field in ps output")
    column = titles.index("PID")
    rows = []
    for line in lines[1:]:
        fields = line.split(None, len(titles) - 1)
        if len(fields) > column and fields[column] in pids:
            rows.append(fields)
    return {"Titles": titles, "Processes": rows}

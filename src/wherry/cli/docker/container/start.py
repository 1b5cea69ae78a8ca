"""`docker start`."""

from __future__ import annotations

from wherry.cli.docker.errors import CliError
from wherry.cli.docker.streams import (
    Detached,
    RawTerminal,
    converse,
    detach_bytes,
    flush,
    follow_window,
    forward_signals,
    require_terminal,
    resizer,
)
from wherry.cli.docker.targets import each

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "[OPTIONS] CONTAINER [CONTAINER...]"
ARGUMENTS = (1, None)
FLAGS = """
a,attach               Show its output and pass signals on
  detach-keys string   Keys that leave the container (ctrl-p,ctrl-q)
i,interactive          Connect standard input
"""


def run(cli: Cli, flags: Flags, arguments: list[str]) -> int:
    if flags["attach"] or flags["interactive"]:
        if len(arguments) > 1:
            raise CliError("you cannot start and attach multiple containers at once")
        return _attached(cli, flags, arguments[0])
    failed: list[str] = []

    def start(name: str) -> None:
        failed.append(name)
        cli.client.post(f"/containers/{name}/start")
        failed.remove(name)

    each(cli, arguments, start)
    if failed:
        raise CliError(f"Error: failed to start containers: {', '.join(failed)}")
    return 0


def _attached(cli: Cli, flags: Flags, name: str) -> int:
    container = cli.client.get(f"/containers/{name}/json")
    identity, tty = container["Id"], container["Config"]["Tty"]
    stdin = flags["interactive"] and container["Config"]["OpenStdin"]
    require_terminal(stdin, tty)
    keys = flags["detach-keys"] or cli.config.detach_keys
    path = f"/containers/{identity}"
    if not tty:
        forward_signals(lambda one: cli.client.post(f"{path}/kill", {"signal": one}))
    query = {"stream": True, "stdin": stdin or None, "stdout": True, "stderr": True, "detachKeys": keys or None}
    connection = cli.client.hijack(f"{path}/attach", query)
    removes = container["HostConfig"].get("AutoRemove")
    waiting = cli.client.request("POST", f"{path}/wait", {"condition": "removed" if removes else "next-exit"})
    cli.client.post(f"{path}/start")
    flush()
    try:
        with RawTerminal(tty and stdin):
            if tty:
                follow_window(resizer(cli, "containers", identity))
            converse(connection, stdin=stdin, tty=tty, detach_keys=detach_bytes(keys))
    except Detached:
        return 0
    finally:
        connection.close()
    return int(waiting.json()["StatusCode"])

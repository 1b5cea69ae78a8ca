"""`docker attach`."""

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

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "[OPTIONS] CONTAINER"
ARGUMENTS = (1, 1)
FLAGS = """
  detach-keys string   Keys that leave the container (ctrl-p,ctrl-q)
  no-stdin             Leave standard input alone
  sig-proxy=true       Pass signals on to the process
"""


def run(cli: Cli, flags: Flags, arguments: list[str]) -> int:
    container = cli.client.get(f"/containers/{arguments[0]}/json")
    state = container["State"]
    if not state["Running"]:
        raise CliError("cannot attach to a stopped container, start it first")
    if state["Paused"]:
        raise CliError("cannot attach to a paused container, unpause it first")
    if state["Restarting"]:
        raise CliError("cannot attach to a restarting container, wait until it is running")
    return session(cli, container, not flags["no-stdin"], flags["detach-keys"], flags["sig-proxy"])


def session(cli: Cli, container: dict[str, Any], stdin: bool, detach_keys: str, proxy: bool) -> int:
    """Connects the terminal to a running container until that ends; its exit code."""
    identity, tty = container["Id"], container["Config"]["Tty"]
    stdin = stdin and container["Config"]["OpenStdin"]
    require_terminal(stdin, tty)
    keys = detach_keys or cli.config.detach_keys
    path = f"/containers/{identity}"
    if proxy and not tty:
        forward_signals(lambda name: cli.client.post(f"{path}/kill", {"signal": name}))
    waiting = cli.client.request("POST", f"{path}/wait")
    query = {"stream": True, "stdin": stdin or None, "stdout": True, "stderr": True, "detachKeys": keys or None}
    connection = cli.client.hijack(f"{path}/attach", query)
    flush()
    try:
        with RawTerminal(tty and stdin):
            if tty:
                follow_window(resizer(cli, "containers", identity), redraw=True)
            converse(connection, stdin=stdin, tty=tty, detach_keys=detach_bytes(keys))
    except Detached:
        raise CliError("read escape sequence") from None
    finally:
        connection.close()
    status = waiting.json()
    if (status.get("Error") or {}).get("Message"):
        raise CliError(status["Error"]["Message"])
    return int(status["StatusCode"])

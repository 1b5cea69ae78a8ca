"""`docker run`."""

from __future__ import annotations

from wherry.cli.docker.container.create_flags import CREATE_FLAGS, TYPES
from wherry.cli.docker.container.creating import failed, make
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
from wherry.docker_api.client import CannotConnect, DockerError

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

__all__ = ["TYPES"]

USAGE = "[OPTIONS] IMAGE [COMMAND] [ARG...]"
ARGUMENTS = (1, None)
FLAGS = (
    CREATE_FLAGS
    + """
d,detach               Leave it running in the background and print its id
  detach-keys string   Keys that leave the container (ctrl-p,ctrl-q)
  sig-proxy=true       Pass signals on to the process
"""
)
INTERSPERSED = False


def run(cli: Cli, flags: Flags, arguments: list[str]) -> int:
    detach, tty = flags["detach"], flags["tty"]
    if detach and flags["attach"]:
        raise CliError("conflicting options: cannot specify both --attach and --detach")
    keys = detach_bytes(flags["detach-keys"] or cli.config.detach_keys)
    stdin = flags["interactive"] or "stdin" in flags["attach"]
    if not detach:
        require_terminal(stdin, tty)
    try:
        identity, body = make(cli, flags, arguments[0], arguments[1:], detached=detach)
        if detach:
            cli.client.post(f"/containers/{identity}/start")
            cli.out(identity)
            return 0
        return attached(cli, identity, body, keys, flags)
    except (DockerError, CannotConnect, CliError) as error:
        if isinstance(error, CliError) and error.message.startswith("docker: "):
            raise
        raise failed(cli, error) from None


def attached(cli: Cli, identity: str, body: dict[str, Any], keys: bytes, flags: Flags) -> int:
    """Starts the container with the terminal connected to it and returns its exit code."""
    tty, stdin = body["Tty"], body["AttachStdin"]
    outputs = body["AttachStdout"] or body["AttachStderr"] or stdin
    path = f"/containers/{identity}"
    restore = (
        forward_signals(lambda name: cli.client.post(f"{path}/kill", {"signal": name})) if flags["sig-proxy"] else None
    )
    connection = cli.client.hijack(
        f"{path}/attach",
        {
            "stream": True,
            "stdin": stdin or None,
            "stdout": body["AttachStdout"] or None,
            "stderr": body["AttachStderr"] or None,
            "detachKeys": flags["detach-keys"] or cli.config.detach_keys or None,
        },
    )
    waiting = cli.client.request("POST", f"{path}/wait", {"condition": "removed" if flags["rm"] else "next-exit"})
    try:
        cli.client.post(f"{path}/start")
    except DockerError:
        connection.close()
        if flags["rm"]:
            waiting.read()  # it goes by itself
        raise
    flush()
    try:
        with RawTerminal(tty and stdin):
            if tty:
                follow_window(resizer(cli, "containers", identity))
            if outputs:
                converse(connection, stdin=stdin, tty=tty, detach_keys=keys)
    except Detached:
        return 0
    finally:
        connection.close()
    status = waiting.json()
    if restore is not None:
        restore()
    if (status.get("Error") or {}).get("Message"):
        raise CliError(status["Error"]["Message"], 125)
    return int(status["StatusCode"])

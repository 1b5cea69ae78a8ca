"""`docker exec`."""

from __future__ import annotations

import os

from wherry.cli.docker.container.create_flags import env
from wherry.cli.docker.errors import CliError
from wherry.cli.docker.keyvalues import read_file
from wherry.cli.docker.streams import (
    Detached,
    RawTerminal,
    converse,
    detach_bytes,
    flush,
    follow_window,
    require_terminal,
    resizer,
)

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "[OPTIONS] CONTAINER COMMAND [ARG...]"
ARGUMENTS = (2, None)
FLAGS = """
d,detach               Run it in the background
  detach-keys string   Keys that leave the command (ctrl-p,ctrl-q)
e,env env              Set an environment variable
  env-file list        Read environment variables from a file
i,interactive          Keep standard input open
  privileged           Give all rights
t,tty                  Give it a terminal
u,user string          User and group (NAME|UID[:GROUP|GID])
w,workdir string       Working directory
"""
TYPES = {"env": env}
INTERSPERSED = False


def run(cli: Cli, flags: Flags, arguments: list[str]) -> int:
    name, command = arguments[0], arguments[1:]
    detach, tty = flags["detach"], flags["tty"]
    stdin = flags["interactive"] and not detach
    variables: list[str] = []
    for path in flags["env-file"]:
        variables += read_file(path, from_environment=True)
    keys = flags["detach-keys"] or cli.config.detach_keys
    body = {
        "User": flags["user"],
        "Privileged": flags["privileged"],
        "Tty": tty,
        "AttachStdin": stdin,
        "AttachStdout": not detach,
        "AttachStderr": not detach,
        "DetachKeys": keys,
        "Env": variables + flags["env"] or None,
        "WorkingDir": flags["workdir"],
        "Cmd": command,
    }
    # Asked first, so that a container that is not there is reported before anything about the terminal.
    cli.client.get(f"/containers/{name}/json")
    if not detach:
        require_terminal(stdin, tty)
    console: list[int] | None = None
    if tty and os.isatty(1):
        size = os.get_terminal_size(1)
        console = [size.lines, size.columns]
        body["ConsoleSize"] = console
    identity = cli.client.post(f"/containers/{name}/exec", body=body)["Id"]
    start = {"Detach": detach, "Tty": tty, **({"ConsoleSize": console} if console else {})}
    if detach:
        cli.client.post(f"/exec/{identity}/start", body=start)
        return 0
    connection = cli.client.hijack(f"/exec/{identity}/start", body=start)
    flush()
    try:
        with RawTerminal(tty and stdin):
            if tty and os.isatty(1):
                follow_window(resizer(cli, "exec", identity))
            converse(connection, stdin=stdin, tty=tty, detach_keys=detach_bytes(keys))
    except Detached:
        raise CliError("read escape sequence") from None
    finally:
        connection.close()
    return int(cli.client.get(f"/exec/{identity}/json")["ExitCode"] or 0)

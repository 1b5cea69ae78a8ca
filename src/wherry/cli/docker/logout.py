"""`docker logout`."""

from __future__ import annotations

from wherry.docker_api.credentials import INDEX

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "[SERVER]"
LONG = """
Log out of a registry. Without a server, of Docker Hub.
"""
ARGUMENTS = (0, 1)
FLAGS = ""


def run(cli: Cli, flags: Flags, arguments: list[str]) -> None:
    server = arguments[0] if arguments else INDEX
    if server in ("docker.io", "index.docker.io", "registry-1.docker.io"):
        server = INDEX
    candidates = [server] if server == INDEX else [server.partition("://")[2] or server]
    candidates += [f"https://{candidates[0]}", f"http://{candidates[0]}"] if server != INDEX else []
    known = [name for name in candidates if name in (cli.config.values.get("auths") or {})]
    if not known:
        cli.out(f"Not logged in to {candidates[0]}")
        return
    cli.out(f"Removing login credentials for {candidates[0]}")
    for name in known:
        cli.config.forget(name)

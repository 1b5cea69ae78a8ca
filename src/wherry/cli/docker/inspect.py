"""`docker inspect`: whatever has that name."""

from __future__ import annotations

from wherry.cli.docker.errors import CliError
from wherry.cli.docker.inspection import inspect

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "[OPTIONS] NAME|ID [NAME|ID...]"
ARGUMENTS = (1, None)
FLAGS = """
f,format string    Print by this: json, or a Go template
s,size             Add the sizes of a container's files
  type string      Only this kind: container, image, network, volume
"""
PATHS = {
    "container": "/containers/{}/json",
    "image": "/images/{}/json",
    "network": "/networks/{}",
    "volume": "/volumes/{}",
}


def run(cli: Cli, flags: Flags, arguments: list[str]) -> int:
    from wherry.docker_api.client import DockerError

    kind = flags["type"]
    if flags.given("type") and not kind:
        raise CliError('type is empty: must be one of "container", "image", "network", or "volume"')
    if kind and kind not in PATHS:
        raise CliError(f'unknown type: "{kind}": must be one of "container", "image", "network", or "volume"')

    def fetch(name: str) -> Any:
        last: DockerError | None = None
        for path in [PATHS[kind]] if kind else PATHS.values():
            query = {"size": True} if flags["size"] and path.startswith("/containers") else None
            try:
                return cli.client.get(path.format(name), query)
            except DockerError as error:
                if error.status != 404:
                    raise
                last = error
        if kind or last is None:
            raise last or DockerError(404, f"No such object: {name}")
        raise DockerError(404, f"No such object: {name}")

    missing = None if kind else (lambda name: f"Error: No such object: {name}")
    return inspect(cli, arguments, fetch, flags["format"], missing=missing)

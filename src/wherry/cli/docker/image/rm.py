"""`docker rmi`."""

from __future__ import annotations

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "[OPTIONS] IMAGE [IMAGE...]"
ARGUMENTS = (1, None)
FLAGS = """
f,force              Remove it although it has several names or stopped containers
  no-prune           Keep parents without a name
"""


def run(cli: Cli, flags: Flags, arguments: list[str]) -> int:
    from wherry.docker_api.client import DockerError

    errors: list[str] = []
    fatal = False
    query = {"force": flags["force"] or None, "noprune": flags["no-prune"] or None}
    for name in arguments:
        try:
            deleted = cli.client.delete(f"/images/{name}", query)
        except DockerError as error:
            fatal = fatal or error.status != 404
            errors.append(f"Error response from daemon: {error.message}")
            continue
        for one in deleted or []:
            cli.out(f"Deleted: {one['Deleted']}" if one.get("Deleted") else f"Untagged: {one['Untagged']}")
    if errors:
        cli.error("\n".join(errors))
    return 1 if errors and (fatal or not flags["force"]) else 0

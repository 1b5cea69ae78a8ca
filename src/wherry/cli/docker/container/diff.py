"""`docker diff`."""

from __future__ import annotations

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "CONTAINER"
ARGUMENTS = (1, 1)
FLAGS = ""


def run(cli: Cli, flags: Flags, arguments: list[str]) -> None:
    for change in cli.client.get(f"/containers/{arguments[0]}/changes") or []:
        cli.out(f"{'CAD'[change['Kind']]} {change['Path']}")

"""`docker context use`."""

from __future__ import annotations

import os

from wherry.cli.docker.errors import CliError

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "CONTEXT"
ARGUMENTS = (1, 1)
FLAGS = ""


def run(cli: Cli, flags: Flags, arguments: list[str]) -> None:
    name = arguments[0]
    if name == "default":
        cli.config.values.pop("currentContext", None)
    elif name not in cli.config.contexts():
        raise CliError(cli.config.no_context(name))
    else:
        cli.config.values["currentContext"] = name
    cli.config.save()
    cli.out(name)
    cli.error(f'Current context is now "{name}"')
    if os.environ.get("DOCKER_HOST"):
        cli.error(
            f'Warning: DOCKER_HOST environment variable overrides the active context. To use "{name}", either set '
            "the global --context flag, or unset DOCKER_HOST environment variable."
        )

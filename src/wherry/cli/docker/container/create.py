"""`docker create`."""

from __future__ import annotations

from wherry.cli.docker.container.create_flags import CREATE_FLAGS, TYPES
from wherry.cli.docker.container.creating import Explained, failed, make
from wherry.cli.docker.errors import CliError
from wherry.docker_api.client import CannotConnect, DockerError

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

__all__ = ["TYPES"]

USAGE = "[OPTIONS] IMAGE [COMMAND] [ARG...]"
ARGUMENTS = (1, None)
FLAGS = CREATE_FLAGS
INTERSPERSED = False


def run(cli: Cli, flags: Flags, arguments: list[str]) -> None:
    try:
        identity, _ = make(cli, flags, arguments[0], arguments[1:])
    except Explained:
        raise
    except DockerError as error:
        raise CliError(f"Error response from daemon: {error.message}") from None
    except CannotConnect as error:
        raise failed(cli, error) from None
    except CliError as error:
        raise Explained(cli, error.message) from None
    cli.out(identity)

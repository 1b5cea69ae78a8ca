"""`docker tag`."""

from __future__ import annotations

from wherry.cli.docker.errors import CliError
from wherry.cli.docker.references import split_tag, with_tag

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]"
ARGUMENTS = (2, 2)
FLAGS = ""


def run(cli: Cli, flags: Flags, arguments: list[str]) -> None:
    source, target = arguments
    try:
        repository, tag = split_tag(with_tag(target))
    except CliError as error:
        raise CliError(f'Error parsing reference: "{target}" is not a valid repository/tag: {error.message}') from None
    cli.client.post(f"/images/{source}/tag", {"repo": repository, "tag": tag})

"""`docker import`."""

from __future__ import annotations

import sys

from wherry.cli.docker.errors import CliError
from wherry.cli.docker.image.load import pieces
from wherry.cli.docker.progress import show
from wherry.cli.docker.references import split_tag

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]"
ARGUMENTS = (1, 2)
FLAGS = """
c,change list        Dockerfile instruction to apply to the image
m,message string     Comment of the image
  platform string    Platform of the image
"""


def run(cli: Cli, flags: Flags, arguments: list[str]) -> None:
    source = arguments[0]
    repository, tag = split_tag(arguments[1]) if len(arguments) == 2 else ("", "")
    data = None
    sent = source
    if source == "-":
        sent, data = "-", pieces(sys.stdin.buffer)
    elif not source.startswith(("http://", "https://")):
        try:
            sent, data = "-", pieces(open(source, "rb"))  # noqa: SIM115 - closed by `pieces`
        except OSError as error:
            raise CliError(f"open {source}: {(error.strerror or '').lower()}") from None
    answer = cli.client.call(
        "POST",
        "/images/create",
        {
            "fromSrc": sent,
            "repo": repository or None,
            "tag": tag or None,
            "message": flags["message"] or None,
            "changes": flags["change"] or None,
            "platform": flags["platform"] or None,
        },
        data=data,
        headers={"Content-Type": "application/x-tar"} if data is not None else {},
    )
    show(answer.json_lines(), sys.stdout)

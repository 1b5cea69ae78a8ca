"""`docker load`."""

from __future__ import annotations

import sys

from wherry.cli.docker.errors import CliError
from wherry.cli.docker.progress import show

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "[OPTIONS]"
ARGUMENTS = (0, 0)
FLAGS = """
i,input string       Read this file, not standard input
  platform string    Only this platform
q,quiet              Say nothing while loading
"""


def run(cli: Cli, flags: Flags, arguments: list[str]) -> None:
    path = flags["input"]
    if path:
        try:
            file: BinaryIO = open(path, "rb")  # noqa: SIM115 - read to its end below, or the process ends
        except OSError as error:
            raise CliError(f"open {path}: {(error.strerror or '').lower()}") from None
    else:
        if sys.stdin.isatty():
            raise CliError("requested load from stdin, but stdin is empty")
        file = sys.stdin.buffer
    quiet = flags["quiet"] or not sys.stdout.isatty()
    answer = cli.client.call(
        "POST",
        "/images/load",
        {"quiet": quiet, "platform": flags["platform"] or None},
        data=pieces(file),
        headers={"Content-Type": "application/x-tar"},
    )
    show(answer.json_lines(), sys.stdout)


def pieces(file: BinaryIO) -> Iterator[bytes]:
    """A file in pieces that can be sent."""
    with file:
        while data := file.read(1 << 18):
            yield data

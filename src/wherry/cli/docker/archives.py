"""Tar archives that go to a file or standard output (`docker save`, `docker export`)."""

from __future__ import annotations

import os
import sys

from wherry.cli.docker.errors import CliError

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.docker.program import Cli


def write_archive(cli: Cli, path: str, query: dict[str, Any] | None, output: str) -> None:
    """Streams the answer of a GET into `output` (standard output when empty), which appears only when it is whole."""
    verb = cli.path.rpartition(" ")[2]
    if not output:
        if sys.stdout.isatty():
            raise CliError("cowardly refusing to save to a terminal. Use the -o flag or redirect")
        answer = cli.client.call("GET", path, query)
        for chunk in answer.chunks():
            sys.stdout.buffer.write(chunk)
        return
    folder = os.path.dirname(output) or "."
    if not os.path.isdir(folder):
        what = "image" if verb == "save" else "container"
        raise CliError(f"failed to {verb} {what}: invalid output path: stat {folder}: no such file or directory")
    answer = cli.client.call("GET", path, query)
    fresh = f"{output}.{os.getpid()}.tmp" if not os.path.exists(output) or os.path.isfile(output) else output
    try:
        with open(fresh, "wb") as file:
            for chunk in answer.chunks():
                file.write(chunk)
        if fresh != output:
            os.replace(fresh, output)
    except BaseException:
        if fresh != output and os.path.exists(fresh):
            os.unlink(fresh)
        raise

"""Files of `NAME=VALUE` lines: `--env-file` and `--label-file`."""

from __future__ import annotations

import os

from wherry.cli.docker.errors import CliError


def read_file(path: str, *, from_environment: bool = False) -> list[str]:
    """The lines that count. A name alone is kept as it is, or with `from_environment` takes its value from here."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise CliError(f"open {path}: {(error.strerror or '').lower()}") from None
    lines: list[str] = []
    for number, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        try:
            line = raw.decode().lstrip()
        except UnicodeDecodeError:
            raise CliError(f"invalid env file ({path}): invalid utf8 bytes at line {number}: {raw!r}") from None
        if not line or line.startswith("#"):
            continue
        name, equals, _ = line.partition("=")
        if any(char in " \t\n\r" for char in name.rstrip() if equals) or (equals and name != name.rstrip()):
            raise CliError(f"invalid env file ({path}): variable '{name}' contains whitespaces")
        if not name:
            raise CliError(f"invalid env file ({path}): no variable name on line '{line}'")
        if equals:
            lines.append(line)
        elif not from_environment:
            lines.append(name.strip())
        elif name.strip() in os.environ:
            lines.append(f"{name.strip()}={os.environ[name.strip()]}")
    return lines

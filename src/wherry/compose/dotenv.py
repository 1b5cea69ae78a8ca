"""`.env` and `env_file`: lines of NAME=value, as Docker Compose reads them.

    # comment
    export NAME=plain value      # comment after a space
    NAME='taken literally'
    NAME="escapes \\n and ${EXPANSION:-with defaults}, also over
    several lines"
    NAME                          (in env_file only: the value of the caller's environment)

Specified in https://docs.docker.com/compose/how-tos/environment-variables/variable-interpolation/#env-file-syntax.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from wherry.compose.errors import ComposeError
from wherry.compose.interpolate import expand

_NAME = re.compile(r"\s*(?:export\s+)?([A-Za-z_.][A-Za-z0-9_.\-\[\]]*)\s*")
_ESCAPES = {
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "v": "\v",
    "\\": "\\",
    '"': '"',
    "$": "$$",
}


def parse(text: str, file: Path | str, environment: Mapping[str, str]) -> dict[str, str | None]:
    """Names and values in order; None where a name stands alone. `environment` is seen by expansions, first.

    Raises ComposeError with the line of what cannot be read.
    """
    found: dict[str, str | None] = {}
    position, text = 0, text.removeprefix("\ufeff").replace("\r\n", "\n")
    while position < len(text):
        end = _end_of_line(text, position)
        line_text = text[position:end]
        stripped = line_text.strip()
        if not stripped or stripped.startswith("#"):
            position = end + 1
            continue
        line = text.count("\n", 0, position) + 1
        match = _NAME.match(line_text)
        if not match:
            raise ComposeError(
                f'unexpected character "{stripped[0]}" in variable name near "{stripped}"', file=file, line=line
            )
        name, rest = match[1], line_text[match.end() :]
        if not rest or rest.startswith("#"):
            found[name] = None
            position = end + 1
            continue
        if rest[0] not in "=:":
            raise ComposeError(f'unexpected character "{rest[0]}" in variable name "{name}"', file=file, line=line)
        start = position + match.end() + 1
        while start < end and text[start] in " \t":
            start += 1
        visible = {key: value for key, value in found.items() if value is not None} | dict(environment)
        if start < end and text[start] in "'\"":
            value, position = _quoted(text, start, name, file, line)
            after = text[position : _end_of_line(text, position)].strip()
            if after and not after.startswith("#"):
                raise ComposeError(
                    f'unexpected character "{after[0]}" after the value of "{name}"', file=file, line=line
                )
            position = _end_of_line(text, position) + 1
            if text[start] == '"':
                value = expand(value, visible)
        else:
            plain = re.split(r"(?:^|\s)#", text[start:end], maxsplit=1)[0].strip()
            value = expand(plain, visible)
            position = end + 1
        found[name] = value
    return found


def _end_of_line(text: str, position: int) -> int:
    end = text.find("\n", position)
    return len(text) if end < 0 else end


def _quoted(text: str, start: int, name: str, file: Path | str, line: int) -> tuple[str, int]:
    """The value between quotes (which may span lines) and where the text goes on."""
    quote = text[start]
    parts: list[str] = []
    position = start + 1
    while position < len(text):
        character = text[position]
        if character == quote:
            return "".join(parts), position + 1
        if character == "\\" and quote == '"' and position + 1 < len(text):
            following = text[position + 1]
            parts.append(_ESCAPES.get(following, "\\" + following))
            position += 2
            continue
        if character == "\\" and quote == "'" and text[position + 1 : position + 2] == "'":
            parts.append("'")
            position += 2
            continue
        parts.append(character)
        position += 1
    raise ComposeError(f'unterminated quoted value of "{name}"', file=file, line=line)


def read(path: Path, environment: Mapping[str, str]) -> dict[str, str | None]:
    """`parse` of a file. Raises ComposeError when it cannot be read."""
    return parse(_text(path), path, environment)


def read_raw(path: Path, environment: Mapping[str, str]) -> dict[str, str | None]:
    """`format: raw`: all that follows the first `=` of a line is the value, quotes and dollar signs too."""
    found: dict[str, str | None] = {}
    for line in _text(path).splitlines():
        if line.strip() and not line.startswith("#"):
            name, equals, value = line.partition("=")
            found[name.strip()] = value if equals else None
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ComposeError(f"env file {path} not found: no such file or directory") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ComposeError(f"env file {path} cannot be read: {error}") from None

"""`config --variables`: which variables the files name, and what stands in for those that are not set."""

import re
from collections.abc import Iterator
from pathlib import Path

_START = re.compile(r"\$(?:(\$)|\{([A-Za-z_][A-Za-z0-9_]*)(:?[-?+])?|([A-Za-z_][A-Za-z0-9_]*))")


def rows(files: list[Path]) -> list[list[str]]:
    """A table: name, required, default value, alternate value. Raises ComposeError for a file that cannot be read."""
    from wherry.compose.errors import ComposeError

    found: dict[str, list[str]] = {}
    for path in files:
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise ComposeError(f"open {path}: {error.strerror}") from None
        for line in text.splitlines():
            if not line.lstrip().startswith("#"):
                for row in named(line):
                    found.setdefault(row[0], row)
    return [["NAME", "REQUIRED", "DEFAULT VALUE", "ALTERNATE VALUE"], *(found[name] for name in sorted(found))]


def named(text: str) -> Iterator[list[str]]:
    """The rows of all variables in a text, those in another's default or alternative too."""
    position = 0
    while match := _START.search(text, position):
        position = match.end()
        escaped, braced, operator, bare = match.groups()
        if escaped:
            continue
        kind, word = (operator or "")[-1:], ""
        if kind:
            position = _closing_brace(text, match.end())
            word = text[match.end() : position]
        yield [
            braced or bare,
            "true" if kind == "?" else "false",
            word if kind == "-" else "",
            word if kind == "+" else "",
        ]
        yield from named(word)


def _closing_brace(text: str, position: int) -> int:
    depth = 0
    while position < len(text):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth < 0:
            break
        position += 1
    return position

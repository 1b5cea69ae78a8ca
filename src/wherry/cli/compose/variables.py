"""`config --variables`: which variables the files name, and what stands in for those that are not set."""

import re
from pathlib import Path

_FORM = re.compile(r"(?<!\$)(?:\$\$)*\$(?:\{([A-Za-z_][A-Za-z0-9_]*)(?:(:?[-?+])([^}]*))?\}|([A-Za-z_][A-Za-z0-9_]*))")


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
            if line.lstrip().startswith("#"):
                continue
            for braced, operator, word, bare in _FORM.findall(line):
                kind = operator[-1:]
                found.setdefault(
                    braced or bare,
                    [
                        braced or bare,
                        "true" if kind == "?" else "false",
                        word if kind == "-" else "",
                        word if kind == "+" else "",
                    ],
                )
    return [["NAME", "REQUIRED", "DEFAULT VALUE", "ALTERNATE VALUE"], *(found[name] for name in sorted(found))]

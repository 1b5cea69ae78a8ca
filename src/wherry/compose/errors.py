"""The one error of this house: it names the file, the line and the key, as far as they are known."""

from pathlib import Path


class ComposeError(Exception):
    """A Compose file or command that cannot be carried out. `str()` is what the user reads."""

    def __init__(self, message: str, *, file: Path | str | None = None, line: int | None = None, key: str = "") -> None:
        self.message = message
        self.file = file
        self.line = line
        self.key = key
        place = f"{file}:{line}: " if file and line else f"{file}: " if file else ""
        super().__init__(f"{place}{key + ': ' if key else ''}{message}")

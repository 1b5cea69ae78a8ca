"""How a docker command fails: what it prints and the exit code."""

from __future__ import annotations


class CliError(Exception):
    """The message for standard error (as it is; nothing when empty) and the exit code."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class Exit(Exception):
    """Ends the command without a word."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code

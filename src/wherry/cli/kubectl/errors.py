"""What ends a command, and with which exit code.

Messages are what kubectl prints: `main.py` writes them to stderr and turns them into the exit code.
"""

from typing import Any


class KubectlError(Exception):
    """`str()` is printed as `error: …` unless `prefix` is another. `code` is the exit code."""

    def __init__(self, message: str, *, code: int = 1, prefix: str = "error: ") -> None:
        super().__init__(message)
        self.code = code
        self.prefix = prefix

    def lines(self) -> str:
        return self.prefix + str(self)

    def plain(self) -> str:
        """As one of several errors."""
        return str(self)


class UsageError(KubectlError):
    """The command line is wrong: followed by where the help is. `hint` is `for usage` or `for help and examples`."""

    def __init__(self, message: str, *, help_flag: str = "-h", purpose: str = "for help and examples") -> None:
        super().__init__(message)
        self.help_flag = help_flag
        self.purpose = purpose

    def about(self, command: str) -> str:
        return f"error: {self}\nSee '{command} {self.help_flag}' {self.purpose}"


class FlagError(UsageError):
    """A flag is unknown or its value does not fit."""

    def __init__(self, message: str) -> None:
        super().__init__(message, help_flag="--help", purpose="for usage.")

    def about(self, command: str) -> str:
        return "E" + super().about(command).removeprefix("e")


class Quiet(KubectlError):
    """Everything has been said already: only the exit code is left."""

    def __init__(self, code: int = 1) -> None:
        super().__init__("", code=code)

    def lines(self) -> str:
        return ""


class CannotConnect(KubectlError):
    """Nobody answers at the server's address, or TLS fails."""

    def __init__(self, message: str) -> None:
        super().__init__(message, prefix="")


class ServerError(KubectlError):
    """An answer of 400 and above, with the Status that came with it. `context` is put before the server's message."""

    def __init__(self, status: int, body: dict[str, Any], context: str = "") -> None:
        super().__init__(str(body.get("message") or ""))
        self.status = status
        self.body = body
        self.context = context

    @property
    def reason(self) -> str:
        return str(self.body.get("reason") or "")

    def within(self, context: str) -> "ServerError":
        """The same error, saying what was being done: `error when creating "x.yaml"`."""
        return ServerError(self.status, self.body, context)

    def lines(self) -> str:
        message = str(self.body.get("message") or "")
        details = self.body.get("details") or {}
        if self.reason == "Unauthorized":
            return f"error: You must be logged in to the server ({self._said(message)})"
        if self.reason == "Invalid" and details:
            return _invalid(message, details)
        return self.plain()

    def plain(self) -> str:
        message = str(self.body.get("message") or "")
        head = f"Error from server ({self.reason})" if self.reason else "Error from server"
        return f"{head}: {self._said(message)}"

    def _said(self, message: str) -> str:
        return f"{self.context}: {message}" if self.context else message


def _invalid(message: str, details: dict[str, Any]) -> str:
    said = "The request is invalid"
    causes = details.get("causes") or []
    if details.get("kind") or details.get("name"):
        said = f'The {details.get("kind", "")} "{details.get("name", "")}" is invalid'
    elif message and not causes:
        return f"{said}: {message}"
    texts = list(
        dict.fromkeys(f"{c['field']}: {c['message']}" if c.get("field") else str(c.get("message")) for c in causes)
    )
    if not texts:
        return said
    if len(texts) == 1:
        return f"{said}: {texts[0]}"
    return f"{said}: \n" + "\n".join(f"* {text}" for text in texts)


class Several(KubectlError):
    """Several things went wrong; each is said on its own line."""

    def __init__(self, errors: list[KubectlError]) -> None:
        super().__init__("several errors", code=errors[-1].code if errors else 1)
        self.errors = errors

    def lines(self) -> str:
        """Among others an error stands without `error:`, and an Invalid one without its causes taken apart."""
        return "\n".join(error.plain() for error in self.errors)

    def plain(self) -> str:
        return self.lines()


def raise_all(errors: list[KubectlError]) -> None:
    """Nothing, the one error, or all of them."""
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise Several(errors)

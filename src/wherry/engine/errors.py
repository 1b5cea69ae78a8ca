"""Errors of the engine: one class per outcome, each with the message Docker's daemon gives.

The HTTP layer maps each class once to a status code; Python callers catch the class.
"""

from typing import ClassVar


class EngineError(Exception):
    """Anything the engine refuses or fails to do. `status` is the HTTP status code of the Docker Engine API."""

    status: ClassVar[int] = 500

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class NotModified(EngineError):
    """Already in the state asked for (a started container is started again)."""

    status = 304


class InvalidParameter(EngineError):
    status = 400


class Unauthorized(EngineError):
    status = 401


class Forbidden(EngineError):
    status = 403


class NotFound(EngineError):
    status = 404


class Conflict(EngineError):
    status = 409


class NotImplemented(EngineError):
    """Docker knows it, this engine does not (yet); the message names it."""

    status = 501


class Unavailable(EngineError):
    status = 503

"""From exceptions to answers: every error becomes a status code and `{"message": …}`, here and nowhere else."""

from wherry.engine.errors import InvalidParameter


class VersionUnsupported(InvalidParameter):
    """The client speaks an API version outside 1.24 to 1.50: `version`."""

    def __init__(self, message: str, version: tuple[int, int]) -> None:
        super().__init__(message)
        self.version = version


class PageNotFound(Exception):
    """No route has this method and path."""


def status_of(error: Exception) -> int:
    """HTTP status code of an error of the engine, the images or the builder; 500 for one without."""
    status = getattr(error, "status", None)
    return status if isinstance(status, int) else 500


def message_of(error: Exception) -> str:
    message = getattr(error, "message", None)
    return message if isinstance(message, str) else str(error)

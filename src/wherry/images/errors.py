"""Errors of the image store, with the words of Docker's daemon.

`images` lies below `engine`, so it has its own chain; each class carries the HTTP status of the Docker Engine
API, as the classes of `engine.errors` do, and the HTTP layer maps both in the same way.
"""

from typing import ClassVar


class ImageError(Exception):
    """Anything the image store refuses or fails to do."""

    status: ClassVar[int] = 500

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidParameter(ImageError):
    """A reference, an archive or an argument that cannot be what it claims to be."""

    status = 400


class Unauthorized(ImageError):
    status = 401


class Forbidden(ImageError):
    status = 403


class NotFound(ImageError):
    status = 404


class Conflict(ImageError):
    status = 409


class NotSupported(ImageError):
    """Docker knows it, this store does not; the message names it."""

    status = 501


class Unavailable(ImageError):
    """A registry cannot be reached."""

    status = 503


class BadArchive(InvalidParameter):
    """A tar archive or an image layout is truncated, malformed or tries to leave its directory."""


class DigestMismatch(ImageError):
    """Content does not have the digest it was asked for by."""


def no_such_image(reference: str) -> NotFound:
    return NotFound(f"No such image: {reference}")

"""Errors of the Kubernetes API: one class per `reason`, each carrying a `Status` object.

Specified in the Kubernetes API conventions, "Response Status Kind". The API server raises them, the HTTP
layer writes `error.status` as the body with `error.code`, and the client raises them again on the other side.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class ApiError(Exception):
    """An answer other than success. `code` is the HTTP status, `reason` the machine-readable word."""

    code: ClassVar[int] = 500
    reason: ClassVar[str] = "InternalError"

    def __init__(self, message: str, *, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = details

    @property
    def status(self) -> dict[str, Any]:
        """The `Status` object (apiVersion v1) to send."""
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        if self.details:
            status["details"] = self.details
        status["code"] = self.code
        return status


class BadRequest(ApiError):
    code, reason = 400, "BadRequest"


class Unauthorized(ApiError):
    code, reason = 401, "Unauthorized"


class Forbidden(ApiError):
    code, reason = 403, "Forbidden"


class NotFound(ApiError):
    code, reason = 404, "NotFound"


class MethodNotAllowed(ApiError):
    code, reason = 405, "MethodNotAllowed"


class NotAcceptable(ApiError):
    code, reason = 406, "NotAcceptable"


class AlreadyExists(ApiError):
    code, reason = 409, "AlreadyExists"


class Conflict(ApiError):
    code, reason = 409, "Conflict"


class Gone(ApiError):
    """The resourceVersion asked for has been compacted: list again."""

    code, reason = 410, "Expired"


class RequestEntityTooLarge(ApiError):
    code, reason = 413, "RequestEntityTooLarge"


class UnsupportedMediaType(ApiError):
    code, reason = 415, "UnsupportedMediaType"


class Invalid(ApiError):
    """422 with one cause per field; build it with `schema.errors.invalid`."""

    code, reason = 422, "Invalid"


class TooManyRequests(ApiError):
    code, reason = 429, "TooManyRequests"


class InternalError(ApiError):
    code, reason = 500, "InternalError"


class ServiceUnavailable(ApiError):
    code, reason = 503, "ServiceUnavailable"


class Timeout(ApiError):
    code, reason = 504, "Timeout"


# `Expired` has a sibling reason on the wire; both mean 410.
_BY_REASON: Mapping[str, type[ApiError]] = {
    cls.reason: cls
    for cls in (
        BadRequest,
        Unauthorized,
        Forbidden,
        NotFound,
        MethodNotAllowed,
        NotAcceptable,
        AlreadyExists,
        Conflict,
        Gone,
        RequestEntityTooLarge,
        UnsupportedMediaType,
        Invalid,
        TooManyRequests,
        InternalError,
        ServiceUnavailable,
        Timeout,
    )
} | {"Gone": Gone}

_BY_CODE: Mapping[int, type[ApiError]] = {
    400: BadRequest, 401: Unauthorized, 403: Forbidden, 404: NotFound, 405: MethodNotAllowed, 406: NotAcceptable,
    409: Conflict, 410: Gone, 413: RequestEntityTooLarge, 415: UnsupportedMediaType, 422: Invalid,
    429: TooManyRequests, 503: ServiceUnavailable, 504: Timeout,
}  # fmt: skip


def from_status(code: int, status: dict[str, Any]) -> ApiError:
    """The exception for a `Status` body received with HTTP status `code`."""
    cls = _BY_REASON.get(status.get("reason", "")) or _BY_CODE.get(code, InternalError)
    return cls(status.get("message") or f"the server answered {code}", details=status.get("details"))


def qualified(group: str, plural: str) -> str:
    """`deployments.apps`, `pods`: how Kubernetes names a resource in messages."""
    return f"{plural}.{group}" if group else plural


def not_found(group: str, plural: str, name: str) -> NotFound:
    return NotFound(
        f'{qualified(group, plural)} "{name}" not found',
        details={"name": name, "group": group, "kind": plural} if group else {"name": name, "kind": plural},
    )


def already_exists(group: str, plural: str, name: str) -> AlreadyExists:
    return AlreadyExists(
        f'{qualified(group, plural)} "{name}" already exists',
        details={"name": name, "group": group, "kind": plural} if group else {"name": name, "kind": plural},
    )


def conflict(group: str, plural: str, name: str, why: str) -> Conflict:
    """`why` as etcd's guard words it, e.g. "the object has been modified; please apply your changes to the
    latest version and try again"."""
    return Conflict(
        f'Operation cannot be fulfilled on {qualified(group, plural)} "{name}": {why}',
        details={"name": name, "group": group, "kind": plural} if group else {"name": name, "kind": plural},
    )


class Cause(tuple[str, str, str]):
    """(reason, message, field) of one invalid field, e.g. ("FieldValueRequired", "Required value",
    "spec.containers[0].image")."""

    __slots__ = ()

    def __new__(cls, reason: str, message: str, field: str) -> "Cause":
        return super().__new__(cls, (reason, message, field))


def invalid(group: str, kind: str, name: str, causes: Sequence[Cause]) -> Invalid:
    """422: `Pod "x" is invalid: spec.containers[0].image: Required value`, with one cause per field."""
    shown = [f"{field}: {message}" for _, message, field in causes]
    joined = shown[0] if len(shown) == 1 else "[" + ", ".join(shown) + "]"
    qualified_kind = f"{kind}.{group}" if group else kind
    details: dict[str, Any] = {"name": name, "kind": kind}
    if group:
        details["group"] = group
    details["causes"] = [{"reason": reason, "message": message, "field": field} for reason, message, field in causes]
    return Invalid(f'{qualified_kind} "{name}" is invalid: {joined}', details=details)

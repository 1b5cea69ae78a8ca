"""Request bodies: JSON read against a *shape*, which names the fields, their types and nothing else.

A shape is `str`, `int`, `float`, `bool`, `STRINGS` (a list of strings or one string), `ANY`, a list with one shape
(list of that), a `Map` (string to shape), or a dict (a struct: field to shape). As in Docker's daemon field names
match without regard to case, unknown fields are left out, and null stands for a field that is not given.
"""

from dataclasses import dataclass
from typing import Any, Final

import orjson
from aiohttp import web

from wherry.engine.errors import InvalidParameter

ANY: Final = object()
STRINGS: Final = object()

_GO_TYPES = {str: "string", int: "int64", float: "float64", bool: "bool"}

MAX_BODY = 16 << 20
"""Bytes of a JSON body."""


@dataclass(frozen=True, slots=True)
class Map:
    """A JSON object with free keys, all values of one shape."""

    value: Any


async def read_json(request: web.BaseRequest, shape: Any = None, *, required: bool = False) -> dict[str, Any]:
    """The body as an object of `shape` (None: any object); `{}` when there is no body, unless `required`.

    Raises InvalidParameter with the field's name, as in
    `invalid JSON: json: cannot unmarshal string into Go struct field HostConfig.Memory of type int64`.
    """
    raw = await _read(request)
    content_type = request.headers.get("Content-Type", "")
    if content_type or raw:
        media_type = content_type.partition(";")[0].strip().lower()
        if raw and not content_type:
            raise InvalidParameter("malformed Content-Type header (): mime: no media type")
        if media_type != "application/json" and (raw or required):
            raise InvalidParameter(f"unsupported Content-Type header ({content_type}): must be 'application/json'")
    if not raw.strip():
        if required or raw:
            raise InvalidParameter("invalid JSON: got EOF while reading request body")
        return {}
    try:
        decoded = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidParameter(f"invalid JSON: {error}") from None
    if decoded is None:
        return {}
    if not isinstance(decoded, dict):
        raise InvalidParameter(f"invalid JSON: json: cannot unmarshal {_kind(decoded)} into Go value of type struct")
    shaped: dict[str, Any] = decoded if shape is None else shaped_as(decoded, shape)
    return shaped


async def _read(request: web.BaseRequest) -> bytes:
    if not request.body_exists:
        return b""
    pieces, size = [], 0
    async for piece in request.content.iter_any():
        size += len(piece)
        if size > MAX_BODY:
            raise InvalidParameter(f"invalid JSON: the request body is larger than {MAX_BODY} bytes")
        pieces.append(piece)
    return b"".join(pieces)


def shaped_as(value: Any, shape: Any, where: str = "") -> Any:
    """`value` cut to `shape`; raises InvalidParameter naming the first field that does not fit."""
    if value is None or shape is ANY:
        return value
    if isinstance(shape, dict):
        return _struct(value, shape, where)
    if isinstance(shape, list):
        if not isinstance(value, list):
            raise _misfit(value, where, "[]" + _go_type(shape[0]))
        return [_zero(shape[0]) if item is None else shaped_as(item, shape[0], where) for item in value]
    if isinstance(shape, Map):
        if not isinstance(value, dict):
            raise _misfit(value, where, "map[string]" + _go_type(shape.value))
        return {
            key: _zero(shape.value) if item is None else shaped_as(item, shape.value, where)
            for key, item in value.items()
        }
    if shape is STRINGS:
        if isinstance(value, str):
            return [value]
        return shaped_as(value, [str], where)
    return _scalar(value, shape, where)


def _scalar(value: Any, shape: type[Any], where: str) -> Any:
    if shape is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, shape) or (shape is int and isinstance(value, bool)):
        if shape is int and isinstance(value, float):
            raise InvalidParameter(
                f"invalid JSON: json: cannot unmarshal number {value} into Go struct field {where} of type int64"
            )
        raise _misfit(value, where, _go_type(shape))
    if shape is int and not -(2**63) <= value < 2**63:
        raise InvalidParameter(
            f"invalid JSON: json: cannot unmarshal number {value} into Go struct field {where} of type int64"
        )
    if shape is str and "\0" in value:
        raise InvalidParameter(f"invalid value for {where}: a string must not hold a NUL byte")
    return value


def _struct(value: Any, shape: dict[str, Any], where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _misfit(value, where, "struct")
    fields: dict[str, Any] = {}
    by_lower: dict[str, str] | None = None
    for key, item in value.items():
        field = key
        if key not in shape:
            if by_lower is None:
                by_lower = {name.lower(): name for name in shape}
            found = by_lower.get(key.lower())
            if found is None:
                continue
            field = found
        if item is not None:
            fields[field] = shaped_as(item, shape[field], f"{where}.{field}" if where else field)
    return fields


def _zero(shape: Any) -> Any:
    """What null stands for inside a list or a map."""
    if isinstance(shape, dict | Map):
        return {}
    if isinstance(shape, list) or shape is STRINGS:
        return []
    return None if shape is ANY else shape()


def _go_type(shape: Any) -> str:
    if isinstance(shape, type):
        return _GO_TYPES.get(shape, shape.__name__)
    if shape is STRINGS:
        return "[]string"
    if isinstance(shape, list):
        return "[]" + _go_type(shape[0])
    if isinstance(shape, Map):
        return "map[string]" + _go_type(shape.value)
    return "struct"


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def _misfit(value: Any, where: str, go_type: str) -> InvalidParameter:
    place = f"Go struct field {where}" if where else "Go value"
    return InvalidParameter(f"invalid JSON: json: cannot unmarshal {_kind(value)} into {place} of type {go_type}")

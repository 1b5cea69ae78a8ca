"""The OpenAPI v2 document in protobuf, which kubectl and Helm ask for (`application/com.github.proto-openapi.spec.v2`).

The messages are those of OpenAPIv2.proto in the public repository google/gnostic-models. Only what `openapi.v2` makes
is known here: a field of that document that the table does not name is a KeyError, so that nothing gets lost unseen.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

JsonDict = dict[str, Any]
Encoder = Callable[[Any], bytes]


def encode(document: JsonDict) -> bytes:
    """The Swagger document (decoded JSON) as a `Document` message."""
    return _message(_DOCUMENT, document)


def _varint(number: int) -> bytes:
    made = bytearray()
    while number > 0x7F:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    made.append(number)
    return bytes(made)


def _bytes(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _text(number: int) -> Encoder:
    return lambda value: _bytes(number, value.encode())


def _texts(number: int) -> Encoder:
    return lambda value: b"".join([_bytes(number, one.encode()) for one in value])


def _flag(number: int) -> Encoder:
    return lambda value: _varint(number << 3) + (b"\1" if value else b"\0")


def _integer(number: int) -> Encoder:
    return lambda value: _varint(number << 3) + _varint(value & 0xFFFFFFFFFFFFFFFF)


def _double(number: int) -> Encoder:
    import struct

    return lambda value: _varint(number << 3 | 1) + struct.pack("<d", value)


def _one(number: int, encoder: Encoder) -> Encoder:
    return lambda value: _bytes(number, encoder(value))


def _each(number: int, encoder: Encoder) -> Encoder:
    return lambda value: b"".join([_bytes(number, encoder(one)) for one in value])


def _named(number: int, encoder: Encoder) -> Encoder:
    """A map: one message of name (1) and value (2) for each entry."""

    def made(value: JsonDict) -> bytes:
        return b"".join(
            [_bytes(number, _bytes(1, key.encode()) + _bytes(2, encoder(one))) for key, one in value.items()]
        )

    return made


def _any(value: Any) -> bytes:
    """An `Any` with the value as YAML, of which JSON is a part."""
    return _bytes(2, orjson.dumps(value) + b"\n")


def _message(fields: Mapping[str, Encoder], value: JsonDict, extensions: int = 0) -> bytes:
    parts = []
    for name, item in value.items():
        if name.startswith("x-") and extensions:
            parts.append(_bytes(extensions, _bytes(1, name.encode()) + _bytes(2, _any(item))))
        elif item is not None:
            parts.append(fields[name](item))
    return b"".join(parts)


def _schema(value: JsonDict) -> bytes:
    return _message(_SCHEMA, value, 31)


def _additional(value: Any) -> bytes:
    return _flag(2)(value) if isinstance(value, bool) else _bytes(1, _schema(value))


def _type(value: Any) -> bytes:
    return _texts(1)([value] if isinstance(value, str) else value)


def _parameter(value: JsonDict) -> bytes:
    """A ParametersItem: what sort of parameter it is decides which message it becomes."""
    if value["in"] == "body":
        return _bytes(1, _bytes(1, _message(_BODY_PARAMETER, value, 6)))
    if value["in"] == "path":
        return _bytes(1, _bytes(2, _bytes(4, _message(_PATH_PARAMETER, value, 22))))
    return _bytes(1, _bytes(2, _bytes(3, _message(_QUERY_PARAMETER, value, 23))))


def _response(value: JsonDict) -> bytes:
    return _bytes(1, _message(_RESPONSE, value, 5))


def _operation(value: JsonDict) -> bytes:
    return _message(_OPERATION, value, 13)


def _path_item(value: JsonDict) -> bytes:
    return _message(_PATH_ITEM, value, 10)


_SCHEMA: Final[dict[str, Encoder]] = {
    "$ref": _text(1),
    "format": _text(2),
    "title": _text(3),
    "description": _text(4),
    "default": _one(5, _any),
    "multipleOf": _double(6),
    "maximum": _double(7),
    "exclusiveMaximum": _flag(8),
    "minimum": _double(9),
    "exclusiveMinimum": _flag(10),
    "maxLength": _integer(11),
    "minLength": _integer(12),
    "pattern": _text(13),
    "maxItems": _integer(14),
    "minItems": _integer(15),
    "uniqueItems": _flag(16),
    "maxProperties": _integer(17),
    "minProperties": _integer(18),
    "required": _texts(19),
    "enum": _each(20, _any),
    "additionalProperties": _one(21, _additional),
    "type": _one(22, _type),
    "items": _one(23, lambda value: _bytes(1, _schema(value))),
    "allOf": _each(24, _schema),
    "properties": _one(25, _named(1, _schema)),
    "readOnly": _flag(27),
    "example": _one(30, _any),
}
_BODY_PARAMETER: Final[dict[str, Encoder]] = {
    "description": _text(1),
    "name": _text(2),
    "in": _text(3),
    "required": _flag(4),
    "schema": _one(5, _schema),
}
_PATH_PARAMETER: Final[dict[str, Encoder]] = {
    "required": _flag(1),
    "in": _text(2),
    "description": _text(3),
    "name": _text(4),
    "type": _text(5),
    "uniqueItems": _flag(18),
}
_QUERY_PARAMETER: Final[dict[str, Encoder]] = {
    "required": _flag(1),
    "in": _text(2),
    "description": _text(3),
    "name": _text(4),
    "type": _text(6),
    "uniqueItems": _flag(20),
}
_RESPONSE: Final[dict[str, Encoder]] = {
    "description": _text(1),
    "schema": _one(2, lambda value: _bytes(1, _schema(value))),
}
_OPERATION: Final[dict[str, Encoder]] = {
    "tags": _texts(1),
    "summary": _text(2),
    "description": _text(3),
    "operationId": _text(5),
    "produces": _texts(6),
    "consumes": _texts(7),
    "parameters": _each(8, _parameter),
    "responses": _one(9, _named(1, _response)),
}
_PATH_ITEM: Final[dict[str, Encoder]] = {
    "get": _one(2, _operation),
    "put": _one(3, _operation),
    "post": _one(4, _operation),
    "delete": _one(5, _operation),
    "patch": _one(8, _operation),
    "parameters": _each(9, _parameter),
}
_DOCUMENT: Final[dict[str, Encoder]] = {
    "swagger": _text(1),
    "info": _one(2, lambda value: _message({"title": _text(1), "version": _text(2), "description": _text(3)}, value)),
    "paths": _one(8, _named(2, _path_item)),
    "definitions": _one(9, _named(1, _schema)),
}

"""Request bodies in Kubernetes' protobuf encoding, as Go clients send them for built-in kinds: decoded to JSON objects.

`application/vnd.kubernetes.protobuf` is four magic bytes and a runtime.Unknown message whose `raw` is the object. The
table of fields is `data/protobuf.json`. Answers are always JSON, which every such client accepts too.
"""

import base64
import struct
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

from wherry.schema import errors

MAGIC = b"k8s\0"
MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
MAX_DEPTH = 100

Fields = dict[int, tuple[str, str, str]]


@lru_cache(maxsize=1)
def _table() -> tuple[dict[str, str], dict[str, Any]]:
    raw = orjson.loads((Path(__file__).parent.parent / "data" / "protobuf.json").read_bytes())
    return raw["kinds"], raw["types"]


@lru_cache(maxsize=512)
def _fields(name: str) -> Fields:
    return {int(number): (field[0], field[1], field[2]) for number, field in _table()[1][name].items()}


def decode(body: bytes) -> dict[str, Any]:
    """The object. Raises BadRequest for bytes that are no such message, UnsupportedMediaType for unknown kinds."""
    if not body.startswith(MAGIC):
        raise errors.BadRequest("provided data does not appear to be a protobuf message")
    try:
        api_version = kind = ""
        raw = b""
        for number, value in _messages(body[4:]):
            if number == 1 and isinstance(value, bytes):
                for inner, text in _messages(value):
                    if isinstance(text, bytes):
                        if inner == 1:
                            api_version = text.decode()
                        elif inner == 2:
                            kind = text.decode()
            elif number == 2 and isinstance(value, bytes):
                raw = value
        kinds = _table()[0]
        name = kinds.get(f"{api_version}/{kind}") or kinds.get(kind)
        if name is None:
            raise errors.UnsupportedMediaType(
                f"{kind} in {api_version} has no protobuf encoding here - use application/json"
            )
        return {"kind": kind, "apiVersion": api_version, **_struct(name, raw, 0)}
    except (ValueError, IndexError, struct.error) as error:
        raise errors.BadRequest(f"the body is not a valid protobuf message: {error}") from None


def _varint(data: bytes, at: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return result & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
        if shift > 63:
            raise ValueError("a number is too long")


def _messages(data: bytes) -> list[tuple[int, int | bytes]]:
    """(field number, value) of every field; length-delimited ones as bytes."""
    found: list[tuple[int, int | bytes]] = []
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        wire = tag & 7
        if wire == 0:
            number, at = _varint(data, at)
            found.append((tag >> 3, number))
            continue
        if wire == 2:
            length, at = _varint(data, at)
        elif wire == 1:
            length = 8
        elif wire == 5:
            length = 4
        else:
            raise ValueError(f"unknown wire type {wire}")
        if length > end - at:
            raise ValueError("the message is cut off")
        found.append((tag >> 3, data[at : at + length]))
        at += length
    return found


def _struct(name: str, data: bytes, depth: int) -> dict[str, Any]:
    if depth > MAX_DEPTH:
        raise ValueError("the message is nested too deeply")
    fields = _fields(name)
    made: dict[str, Any] = {}
    for number, value in _messages(data):
        field = fields.get(number)
        if field is None:
            continue
        json_name, type_, flags = field
        if "i" in flags:
            if isinstance(value, bytes):
                made.update(_struct(type_, value, depth + 1))
        elif type_.startswith("[]"):
            made.setdefault(json_name, []).extend(_repeated(type_[2:], value, depth))
        elif type_.startswith("map:"):
            assert isinstance(value, bytes)
            key, item = _map_entry(type_[4:], value, depth)
            made.setdefault(json_name, {})[key] = item
        else:
            decoded = _value(type_, value, depth)
            if decoded is None or (not decoded and decoded != {} and "p" not in flags and _omitted(decoded, flags)):
                continue
            made[json_name] = decoded
    return made


def _omitted(value: Any, flags: str) -> bool:
    """Whether Go's JSON would leave this zero value out; an empty text never says more than its absence."""
    return "k" not in flags or value == ""


def _repeated(type_: str, value: int | bytes, depth: int) -> list[Any]:
    if type_ == "i" and isinstance(value, bytes):
        found = []
        at = 0
        while at < len(value):
            number, at = _varint(value, at)
            found.append(_signed(number))
        return found
    return [_value(type_, value, depth)]


def _map_entry(type_: str, data: bytes, depth: int) -> tuple[str, Any]:
    key, item = "", _zero(type_)
    for number, value in _messages(data):
        if number == 1 and isinstance(value, bytes):
            key = value.decode()
        elif number == 2:
            item = _value(type_, value, depth)
    return key, item


def _zero(type_: str) -> Any:
    return {"s": "", "i": 0, "b": False, "y": "", "@string": "0", "@items": []}.get(type_, {})


def _signed(number: int) -> int:
    return number - (1 << 64) if number >= 1 << 63 else number


def _value(type_: str, value: int | bytes, depth: int) -> Any:
    if isinstance(value, int):
        return bool(value) if type_ == "b" else _signed(value)
    if type_ == "s":
        return value.decode()
    if type_ == "y":
        return base64.b64encode(value).decode()
    if type_ == "d":
        return struct.unpack("<d", value)[0]
    if type_[0] != "@":
        return _struct(type_, value, depth + 1)
    parts = dict(_messages(value))
    if type_ == "@string":
        text = parts.get(1, b"")
        return text.decode() if isinstance(text, bytes) else None
    if type_ == "@time":
        return _time(parts)
    if type_ == "@intorstring":
        if parts.get(1, 0) == 0:
            number = parts.get(2, 0)
            return _signed(number) if isinstance(number, int) else 0
        text = parts.get(3, b"")
        return text.decode() if isinstance(text, bytes) else ""
    if type_ == "@items":
        return [item.decode() for number, item in _messages(value) if number == 1 and isinstance(item, bytes)]
    if type_ == "@duration":
        number = parts.get(1, 0)
        return f"{_signed(number) / 1e9:g}s" if isinstance(number, int) else "0s"
    raw = parts.get(1, b"")
    return orjson.loads(raw) if isinstance(raw, bytes) and raw else None


def _time(parts: dict[int, int | bytes]) -> str | None:
    seconds = parts.get(1)
    if not isinstance(seconds, int):
        return None
    nanos = parts.get(2, 0)
    moment = datetime.fromtimestamp(_signed(seconds), UTC)
    if isinstance(nanos, int) and nanos:
        return moment.strftime("%Y-%m-%dT%H:%M:%S") + f".{nanos // 1000:06d}Z"
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

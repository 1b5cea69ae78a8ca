"""The syntax tree of a compiled expression, read from its serialised form.

The library gives it as a `cel.expr.CheckedExpr` message (https://github.com/google/cel-spec, `checked.proto` and
`syntax.proto`); only the tree in it is read here.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Constant:
    value: Any


@dataclass(frozen=True, slots=True)
class Ident:
    name: str


@dataclass(frozen=True, slots=True)
class Select:
    """`operand.field`, or `has(operand.field)` when it is a test."""

    operand: "Node"
    field: str
    test: bool


@dataclass(frozen=True, slots=True)
class Call:
    function: str
    target: "Node | None"
    args: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class ListOf:
    items: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class MapOf:
    """A map or a message that is made in the expression; a message has no keys."""

    entries: tuple[tuple["Node | None", "Node"], ...]
    message: str


@dataclass(frozen=True, slots=True)
class Loop:
    """What the macros (`all`, `map`, …) and `cel.bind` become."""

    variable: str
    range: "Node"
    result_variable: str
    start: "Node"
    condition: "Node"
    step: "Node"
    result: "Node"


Node = Constant | Ident | Select | Call | ListOf | MapOf | Loop

_Fields = dict[int, list[Any]]


def parse(serialized: bytes) -> Node:
    """The tree of a serialised expression: a CheckedExpr in an Any. Raises ValueError when there is none in it."""
    return _node(_one(_fields(_one(_fields(serialized), 2)), 4))


def _node(data: bytes) -> Node:
    fields = _fields(data)
    if 3 in fields:
        return Constant(_constant(_fields(_one(fields, 3))))
    if 4 in fields:
        return Ident(_name(_fields(_one(fields, 4)), 1))
    if 5 in fields:
        inner = _fields(_one(fields, 5))
        return Select(_node(_one(inner, 1)), _name(inner, 2), bool(inner.get(3, [0])[-1]))
    if 6 in fields:
        inner = _fields(_one(fields, 6))
        target = _node(inner[1][-1]) if 1 in inner else None
        return Call(_name(inner, 2), target, tuple(_node(one) for one in inner.get(3, ())))
    if 7 in fields:
        return ListOf(tuple(_node(one) for one in _fields(_one(fields, 7)).get(1, ())))
    if 8 in fields:
        inner = _fields(_one(fields, 8))
        entries = [_fields(one) for one in inner.get(2, ())]
        return MapOf(
            tuple((_node(one[3][-1]) if 3 in one else None, _node(_one(one, 4))) for one in entries), _name(inner, 1)
        )
    if 9 in fields:
        inner = _fields(_one(fields, 9))
        return Loop(
            _name(inner, 1),
            _node(_one(inner, 2)),
            _name(inner, 3),
            *(_node(_one(inner, number)) for number in (4, 5, 6, 7)),
        )
    raise ValueError("an expression of an unknown kind")


def _constant(fields: _Fields) -> Any:
    if 6 in fields:
        return fields[6][-1].decode()
    if 7 in fields:
        return fields[7][-1]
    if 5 in fields:
        return struct.unpack("<d", fields[5][-1])[0]
    if 2 in fields:
        return bool(fields[2][-1])
    if 3 in fields:
        number = fields[3][-1]
        return number - (1 << 64) if number >> 63 else number
    return fields[4][-1] if 4 in fields else None


def _one(fields: _Fields, number: int) -> bytes:
    if number not in fields:
        raise ValueError(f"field {number} is missing in the expression")
    found: bytes = fields[number][-1]
    return found


def _name(fields: _Fields, number: int) -> str:
    return fields[number][-1].decode() if number in fields else ""


def _fields(data: bytes) -> _Fields:
    """The fields of a protobuf message by number; nested messages and texts as bytes."""
    found: _Fields = {}
    for number, value in _pairs(data):
        found.setdefault(number, []).append(value)
    return found


def _pairs(data: bytes) -> Iterator[tuple[int, Any]]:
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        value: Any
        if kind == 0:
            value, at = _varint(data, at)
        elif kind == 2:
            size, at = _varint(data, at)
            value, at = data[at : at + size], at + size
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            value, at = data[at : at + size], at + size
        else:
            raise ValueError(f"wire type {kind} in the expression")
        yield key >> 3, value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7

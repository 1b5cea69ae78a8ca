"""From a request's bytes to an object of its kind: duplicate and unknown fields, wrong types, one spelling.

`check_fields` is for every object that comes in. It leaves the object as the real API server's own round trip
would: unknown fields and nulls dropped, quantities in canonical spelling. What it drops it names, and the caller
decides by `fieldValidation` whether that is an error (Strict), a warning (Warn) or nothing (Ignore).
"""

import base64
import binascii
import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

import orjson

from wherry.schema import quantity
from wherry.schema.definitions import Type, type_of
from wherry.schema.errors import BadRequest
from wherry.schema.resource import Object, Resource

MAX_DEPTH: Final = 200
"""Deepest nesting of a body that is looked at; deeper ones are refused."""


class _Seen(dict[str, Any]):
    """A decoded JSON object that remembers which of its keys stood there twice."""

    duplicates: tuple[str, ...] = ()


def _pairs(pairs: list[tuple[str, Any]]) -> _Seen:
    found = _Seen(pairs)
    if len(found) != len(pairs):
        counted: dict[str, int] = {}
        for key, _ in pairs:
            counted[key] = counted.get(key, 0) + 1
        found.duplicates = tuple(key for key, count in counted.items() if count > 1)
    return found


def parse(data: bytes) -> tuple[Any, list[str]]:
    """Decode JSON; also the `duplicate field "spec.x"` messages. The last of several equal keys counts.

    Raises ValueError (orjson.JSONDecodeError) for what is not JSON or not UTF-8.
    """
    decoded = orjson.loads(data)
    # Every key that was dropped took its two quotes along, so equal counts mean that none was (an escaped quote
    # that is spelt \u0022 would disturb the count: then look properly).
    if b"\\u0022" not in data and data.count(b'"') == orjson.dumps(decoded).count(b'"'):
        return decoded, []
    messages: list[str] = []
    _collect_duplicates(json.loads(data, object_pairs_hook=_pairs), "", messages)
    return decoded, messages


def _collect_duplicates(value: Any, path: str, messages: list[str]) -> None:
    if isinstance(value, _Seen):
        messages.extend(f'duplicate field "{_child(path, key)}"' for key in value.duplicates)
        for key, child in value.items():
            _collect_duplicates(child, _child(path, key), messages)
    elif isinstance(value, list):
        for index, child in enumerate(value):
            _collect_duplicates(child, f"{path}[{index}]", messages)


def _child(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def check_fields(resource: Resource, obj: Object) -> list[str]:
    """Bring `obj` into the form of its kind, in place, and name what was dropped: `unknown field "spec.foo"`.

    Raises BadRequest, in the words that users of a real API server see, when a value has the wrong type. Custom
    resources are left alone (see `schema.crd`).
    """
    kind = type_of(resource)
    if kind is None:
        return []
    return check_value(kind, obj, resource)


def check_value(kind: Type, obj: Object, resource: Resource) -> list[str]:
    """`check_fields` for an object of a type that is not its resource's own, e.g. a Scale or an Eviction."""
    if _is_clean(kind, obj, 0):
        return []
    walk = _Walk()
    walk.object(kind, obj, "", kind.short_name, "", 0)
    if walk.error:
        raise cannot_handle(resource, walk.error)
    return walk.messages


def cannot_handle(resource: Resource, why: str) -> BadRequest:
    """`Pod in version "v1" cannot be handled as a Pod: …`."""
    return BadRequest(f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: {why}')


def strict_error(resource: Resource, messages: Iterable[str]) -> BadRequest:
    """What fieldValidation=Strict answers to the messages of `parse` and `check_fields`."""
    return cannot_handle(resource, f"strict decoding error: {', '.join(messages)}")


def _is_clean(kind: Type, value: dict[str, Any], depth: int) -> bool:
    """Whether the object needs neither change nor message. Fast: the hot path of every write."""
    if depth > MAX_DEPTH:
        return False
    fields = kind.fields
    for key, child in value.items():
        child_type = fields.get(key)
        if child_type is None or not _is_clean_value(child_type, child, depth):
            return False
    return True


def _is_clean_value(kind: Type, value: Any, depth: int) -> bool:
    word = kind.kind
    if word == "string":
        return type(value) is str
    if word == "object":
        return type(value) is dict and _is_clean(kind, value, depth + 1)
    if word == "list":
        if type(value) is not list:
            return False
        items = kind.items
        assert items is not None
        if items.kind == "string":
            return all(type(item) is str for item in value)
        return all(_is_clean_value(items, item, depth) for item in value)
    if word == "map":
        if type(value) is not dict:
            return False
        items = kind.items
        assert items is not None
        if items.kind == "string":
            return all(type(item) is str for item in value.values())
        return all(_is_clean_value(items, item, depth) for item in value.values())
    if word == "int32":
        return type(value) is int and -(2**31) <= value < 2**31
    if word == "boolean":
        return type(value) is bool
    if word == "any":
        return value is not None
    if word in ("int64", "integer"):
        return type(value) is int and -(2**63) <= value < 2**63
    if word == "quantity":
        try:
            return type(value) is str and quantity.canonical(value) == value
        except ValueError:
            return False
    if word == "intstr":
        return type(value) is str or (type(value) is int and -(2**31) <= value < 2**31)
    return _scalar_problem(word, value) is None


def _scalar_problem(word: str, value: Any) -> str | None:
    """What is wrong with a time, bytes or float: a Go error's words, "" for a plain wrong type, None if all is well."""
    if word in ("number", "float"):
        return None if type(value) in (int, float) else ""
    if type(value) is not str:
        return ""
    if word == "bytes":
        return _base64_problem(value)
    layout = "2006-01-02T15:04:05.000000Z07:00" if word == "microtime" else "2006-01-02T15:04:05Z07:00"
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        rest = value if not value[:4].isdigit() else value[4:]
        wanted = "2006" if not value[:4].isdigit() else "-"
        return f'parsing time {_quote(value)} as "{layout}": cannot parse {_quote(rest)} as "{wanted}"'
    if parsed.tzinfo is None or "T" not in value:
        return f'parsing time {_quote(value)} as "{layout}": cannot parse "" as "Z07:00"'
    return None


def _base64_problem(value: str) -> str | None:
    compact = value.replace("\n", "").replace("\r", "")
    try:
        base64.b64decode(compact, validate=True)
    except (binascii.Error, ValueError):
        alphabet = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
        at = next((i for i, char in enumerate(value) if char not in alphabet), len(value))
        return f"illegal base64 data at input byte {at // 4 * 4 if at == len(value) else at}"
    return None


def _quote(text: str) -> str:
    return orjson.dumps(text).decode()


def _go_word(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, str):
        return "string"
    return "object" if isinstance(value, dict) else "array"


_NAMED_STRINGS: Final = {
    ("Container", "imagePullPolicy"): "v1.PullPolicy",
    ("Container", "terminationMessagePolicy"): "v1.TerminationMessagePolicy",
    ("ContainerPort", "protocol"): "v1.Protocol",
    ("PodSpec", "restartPolicy"): "v1.RestartPolicy",
    ("PodSpec", "dnsPolicy"): "v1.DNSPolicy",
    ("ServicePort", "protocol"): "v1.Protocol",
    ("ServiceSpec", "type"): "v1.ServiceType",
    ("ServiceSpec", "sessionAffinity"): "v1.ServiceAffinity",
    ("DeploymentStrategy", "type"): "v1.DeploymentStrategyType",
    ("ObjectMeta", "uid"): "types.UID",
}


class _Walk:
    """The thorough walk: drops, rewrites, collects messages, and keeps the first type error, as Go's decoder does."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.error = ""

    def object(self, kind: Type, value: dict[str, Any], path: str, struct: str, go_path: str, depth: int) -> None:
        if depth > MAX_DEPTH:
            self.error = self.error or "exceeded max depth"
            return
        fields = kind.fields
        for key in list(value):
            child_type = fields.get(key)
            if child_type is None:
                self.messages.append(f'unknown field "{_child(path, key)}"')
                del value[key]
                continue
            child = value[key]
            if child is None:
                del value[key]
                continue
            value[key] = self.value(child_type, child, _child(path, key), kind.short_name, _child(go_path, key), depth)

    def value(self, kind: Type, value: Any, path: str, struct: str, go_path: str, depth: int) -> Any:
        word = kind.kind
        if word == "object":
            if not isinstance(value, dict):
                return self.mismatch(kind, value, struct, go_path)
            self.object(kind, value, path, struct, go_path, depth + 1)
        elif word == "list":
            if not isinstance(value, list):
                return self.mismatch(kind, value, struct, go_path)
            assert kind.items is not None
            value[:] = [
                self.value(kind.items, item, f"{path}[{index}]", struct, go_path, depth + 1)
                for index, item in enumerate(value)
                if item is not None
            ]
        elif word == "map":
            if not isinstance(value, dict):
                return self.mismatch(kind, value, struct, go_path)
            assert kind.items is not None
            for key, child in value.items():
                if child is None:
                    value[key] = _ZERO.get(kind.items.kind)
                else:
                    value[key] = self.value(kind.items, child, _child(path, key), struct, go_path, depth + 1)
        elif word == "quantity":
            return self.quantity(value)
        elif word == "intstr":
            if isinstance(value, bool) or not isinstance(value, (str, int)):
                self.fail(f"json: cannot unmarshal {_go_word(value)} into Go value of type int32")
        elif word == "any":
            return value
        else:
            self.scalar(kind, value, struct, go_path)
        return value

    def scalar(self, kind: Type, value: Any, struct: str, go_path: str) -> None:
        word = kind.kind
        if word == "string":
            if not isinstance(value, str):
                self.mismatch(kind, value, struct, go_path)
        elif word == "boolean":
            if not isinstance(value, bool):
                self.mismatch(kind, value, struct, go_path)
        elif word in ("int32", "int64", "integer"):
            limit = 2**31 if word == "int32" else 2**63
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                self.mismatch(kind, value, struct, go_path)
            elif isinstance(value, float) or not -limit <= value < limit:
                self.mismatch(kind, value, struct, go_path, f"number {value}")
        else:
            problem = _scalar_problem(word, value)
            if problem:
                self.fail(problem)
            elif problem is not None:
                self.mismatch(kind, value, struct, go_path)

    def quantity(self, value: Any) -> Any:
        try:
            return quantity.canonical(value if isinstance(value, (str, int, float)) else "")
        except ValueError as error:
            self.fail(str(error))
            return value

    def mismatch(self, kind: Type, value: Any, struct: str, go_path: str, shown: str = "") -> Any:
        go_type = _NAMED_STRINGS.get((struct, go_path.rpartition(".")[2]), kind.go_name)
        what = shown or _go_word(value)
        self.fail(f"json: cannot unmarshal {what} into Go struct field {struct}.{go_path} of type {go_type}")
        return value

    def fail(self, why: str) -> None:
        self.error = self.error or why


_ZERO: Final[dict[str, Any]] = {"string": "", "bytes": "", "boolean": False, "quantity": "0", "int32": 0, "int64": 0}

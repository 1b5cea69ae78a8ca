"""Small helpers for JSON objects: copying, comparing, reading paths."""

from collections.abc import Mapping
from typing import Any, TypeVar, cast

import orjson

_T = TypeVar("_T")


def deep_copy(value: _T) -> _T:
    """A copy that shares no dict or list with `value`. Several times faster than copy.deepcopy on JSON."""
    return cast(_T, _copy(value))


def json_copy(value: _T) -> _T:
    """`deep_copy` of what came out of JSON, by way of its bytes: three times as fast."""
    try:
        return cast(_T, orjson.loads(orjson.dumps(value)))
    except orjson.JSONEncodeError:
        # Keys that are no text, numbers beyond 64 bits: no server has decoded these.
        return deep_copy(value)


def _copy(value: Any) -> Any:
    if type(value) is dict:
        return {key: _copy(child) if type(child) in _NESTED else child for key, child in value.items()}
    if type(value) is list:
        return [_copy(child) if type(child) in _NESTED else child for child in value]
    if isinstance(value, dict):
        return {key: _copy(child) for key, child in value.items()}
    return value


_NESTED = frozenset({dict, list})


def dig(obj: Mapping[str, Any] | None, *path: str) -> Any:
    """The value at a path of keys, or None as soon as one is missing: `dig(pod, "spec", "nodeName")`."""
    value: Any = obj
    for key in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def same(left: Any, right: Any) -> bool:
    """Equality as Kubernetes' semantic DeepEqual has it: absent, null and empty lists and maps are all equal."""
    if left == right:
        return True
    if isinstance(left, dict) and isinstance(right, dict):
        return all(same(left.get(key), right.get(key)) for key in left.keys() | right.keys())
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return left in (None, [], {}) and right in (None, [], {}) if not isinstance(left, bool) else False

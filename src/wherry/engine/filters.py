"""Docker's filter syntax: what stands in the `filters` query parameter of list, prune and events requests.

A *filter* is a key with a set of values. Between keys all must match; within a key one value is enough, except
for `label`, where all must match. Specified in the Docker Engine API, e.g. `GET /containers/json`.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import orjson

from wherry.engine.errors import InvalidParameter

_TRUE, _FALSE = frozenset({"1", "true"}), frozenset({"0", "false"})


class Filters(dict[str, list[str]]):
    """`{"label": ["a=b"], "status": ["running"]}`: a plain dictionary of value lists that knows how to match."""

    def validate(self, accepted: Collection[str]) -> None:
        """Raises InvalidParameter, naming the first key that is not in `accepted`."""
        for key in self:
            if key not in accepted:
                raise InvalidParameter(f"invalid filter '{key}'")

    def boolean(self, key: str, default: bool = False) -> bool:
        """The value of a filter such as `dangling`: "1"/"true" or "0"/"false"; both or neither is an error."""
        if key not in self:
            return default
        values = set(self[key])
        if not values:
            raise InvalidParameter(f"invalid filter '{key}'")
        is_true, is_false = bool(values & _TRUE), bool(values & _FALSE)
        if is_true == is_false:
            raise InvalidParameter(f"invalid filter '{key}=[{' '.join(self[key])}]'")
        return is_true

    def one(self, key: str) -> str | None:
        """The only value of a filter such as `before`; None without it, an error with several."""
        values = self.get(key, [])
        if len(values) > 1:
            raise InvalidParameter(f"invalid filter '{key}=[{' '.join(values)}]'")
        return values[0] if values else None

    def exact(self, key: str, source: str) -> bool:
        """True without that filter, or when one value equals `source`."""
        values = self.get(key)
        return not values or source in values

    def fuzzy(self, key: str, source: str) -> bool:
        """True without that filter, or when `source` starts with one of the values (ids)."""
        values = self.get(key)
        return not values or any(source.startswith(value) for value in values)

    def match(self, key: str, source: str) -> bool:
        """True without that filter, or when one value, as a regular expression, is found in `source` (names)."""
        values = self.get(key)
        return not values or any(value == source or _search(value, source) for value in values)

    def labels(self, labels: Mapping[str, str] | None, key: str = "label") -> bool:
        """True when every value `k` or `k=v` of the filter stands in `labels`."""
        values = self.get(key)
        if not values:
            return True
        return all(_has_label(labels or {}, value) for value in values)

    def prune_labels(self, labels: Mapping[str, str] | None) -> bool:
        """`label` and `label!` as the prune requests know them: the first must all match, none of the second may."""
        if not self.labels(labels):
            return False
        excluded = self.get("label!")
        return not excluded or not self.labels(labels, "label!")


def _search(pattern: str, source: str) -> bool:
    try:
        return re.search(pattern, source) is not None
    except re.error:
        return False


def _has_label(labels: Mapping[str, str], wanted: str) -> bool:
    key, has_value, value = wanted.partition("=")
    return key in labels and (not has_value or labels[key] == value)


def parse_filters(raw: str | None) -> Filters:
    """The `filters` query parameter: JSON, as `{"key": ["value"]}` or as `{"key": {"value": true}}`.

    Raises InvalidParameter ("invalid filter") when it is neither.
    """
    if not raw:
        return Filters()
    try:
        decoded = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise InvalidParameter("invalid filter") from None
    return filters_from(decoded)


def filters_from(decoded: Any) -> Filters:
    """Filters out of decoded JSON of either form, or None."""
    if decoded is None:
        return Filters()
    if not isinstance(decoded, dict):
        raise InvalidParameter("invalid filter")
    filters = Filters()
    for key, values in decoded.items():
        if isinstance(values, dict):
            if not all(isinstance(chosen, bool) for chosen in values.values()):
                raise InvalidParameter("invalid filter")
            filters[key] = [value for value, chosen in values.items() if chosen]
        elif isinstance(values, list):
            if not all(isinstance(value, str) for value in values):
                raise InvalidParameter("invalid filter")
            filters[key] = _unique(values)
        elif values is None:
            filters[key] = []
        else:
            raise InvalidParameter("invalid filter")
    return filters


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))

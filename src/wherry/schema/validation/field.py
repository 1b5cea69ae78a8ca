"""Collecting what is wrong with an object's fields, worded as the real API server words it.

A `Causes` is handed down through the checks of an object; paths are strings (`spec.containers[0].image`).
"""

from collections.abc import Iterable
from typing import Any

import orjson

from wherry.schema.errors import Cause

IMMUTABLE = "field is immutable"
NEGATIVE = "must be greater than or equal to 0"
NOT_INTEGER = "must be an integer"
NOT_POSITIVE = "must be greater than zero"


def shown(value: Any) -> str:
    """A value as messages show it: strings quoted, numbers and booleans bare, nothing as "null", the rest as JSON."""
    if value is None:
        return '"null"'
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def quoted(text: str) -> str:
    """Go's %q, near enough: double quotes with backslash escapes."""
    return orjson.dumps(text).decode()


class Causes(list[Cause]):
    """The causes found so far, in the order of the checks."""

    __slots__ = ()

    def required(self, path: str, detail: str = "") -> None:
        self.append(Cause("FieldValueRequired", _with("Required value", detail), path))

    def invalid(self, path: str, value: Any, detail: str = "") -> None:
        self.append(Cause("FieldValueInvalid", _with(f"Invalid value: {shown(value)}", detail), path))

    def all_invalid(self, path: str, value: Any, details: Iterable[str]) -> None:
        """One cause for each of `details`: what the checks of `schema.names` return."""
        for detail in details:
            self.invalid(path, value, detail)

    def unsupported(self, path: str, value: Any, supported: Iterable[str]) -> None:
        values = ", ".join(quoted(one) for one in supported)
        detail = f"supported values: {values}" if values else ""
        self.append(Cause("FieldValueNotSupported", _with(f"Unsupported value: {shown(value)}", detail), path))

    def forbidden(self, path: str, detail: str = "") -> None:
        self.append(Cause("FieldValueForbidden", _with("Forbidden", detail), path))

    def not_found(self, path: str, value: Any) -> None:
        self.append(Cause("FieldValueNotFound", f"Not found: {shown(value)}", path))

    def duplicate(self, path: str, value: Any) -> None:
        self.append(Cause("FieldValueDuplicate", f"Duplicate value: {shown(value)}", path))

    def too_long(self, path: str, limit: int, unit: str = "byte") -> None:
        plural = unit if limit == 1 else f"{unit}s"
        self.append(Cause("FieldValueTooLong", f"Too long: may not be more than {limit} {plural}", path))

    def too_many(self, path: str, count: int, limit: int) -> None:
        plural = "item" if limit == 1 else "items"
        self.append(Cause("FieldValueTooMany", f"Too many: {count}: must have at most {limit} {plural}", path))

    def not_negative(self, path: str, value: Any) -> None:
        """A number that may be absent, but not below zero."""
        if value is not None and value < 0:
            self.invalid(path, value, NEGATIVE)

    def immutable(self, path: str, new: Any, old: Any) -> None:
        if new != old:
            self.invalid(path, new, IMMUTABLE)

    def one_of(self, path: str, value: Any, supported: Iterable[str], *, required: bool = True) -> None:
        """A word out of a list; Required when it is empty and must not be."""
        if not value:
            if required:
                self.required(path)
        elif value not in supported:
            self.unsupported(path, value, supported)


def _with(text: str, detail: str) -> str:
    return f"{text}: {detail}" if detail else text

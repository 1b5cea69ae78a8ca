"""Semantic validation: what is wrong with an object, field by field, in the real API server's words.

`validate_create` and `validate_update` expect an object that has been decoded (`schema.decode`) and defaulted
(`schema.defaults`). They never change it. One module per kind or group of kinds; `field.Causes` collects.
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Final

from wherry.schema import builtin
from wherry.schema.errors import Cause
from wherry.schema.resource import Object, Resource
from wherry.schema.validation import metadata
from wherry.schema.validation.field import Causes

CreateCheck = Callable[[Object, Causes], None]
UpdateCheck = Callable[[Object, Object, Causes, str], None]

_MODULES: Final[dict[Resource, tuple[str, str]]] = {
    builtin.PODS: ("pods", ""),
}


@cache
def _checks(resource: Resource) -> tuple[CreateCheck | None, UpdateCheck | None]:
    """The kind's own checks, imported when the kind is first written."""
    place = _MODULES.get(resource)
    if place is None:
        return None, None
    module, prefix = place
    found = import_module(f"wherry.schema.validation.{module}")
    stem = f"{prefix}_" if prefix else ""
    return getattr(found, f"{stem}create"), getattr(found, f"{stem}update", None)


def validate_create(resource: Resource, obj: Object) -> list[Cause]:
    """Everything that is wrong with a new object; empty when it may be stored."""
    causes = Causes()
    metadata.validate_create(resource, obj, causes)
    create, _ = _checks(resource)
    if create is not None:
        create(obj, causes)
    return _unique(causes)


def validate_update(resource: Resource, new: Object, old: Object, subresource: str = "") -> list[Cause]:
    """Everything that is wrong with replacing `old` by `new`, including fields that may not change.

    `subresource` is what was written (`status`, `scale`, …) or empty for the object itself.
    """
    causes = Causes()
    metadata.validate_update(new, old, causes)
    create, update = _checks(resource)
    if update is not None:
        update(new, old, causes, subresource)
    elif create is not None and not subresource:
        create(new, causes)
    return _unique(causes)


def _unique(causes: Causes) -> list[Cause]:
    return list(dict.fromkeys(causes)) if len(causes) > 1 else causes

"""Conditions of a status: `{type, status, reason, message, lastTransitionTime}`, one per type."""

from typing import Any

from wherry.client.clock import format_time

Condition = dict[str, Any]


def get(status: dict[str, Any] | None, type: str) -> Condition | None:
    for condition in (status or {}).get("conditions") or ():
        if condition["type"] == type:
            return dict(condition)
    return None


def is_true(status: dict[str, Any] | None, type: str) -> bool:
    return any(one["type"] == type and one["status"] == "True" for one in (status or {}).get("conditions") or ())


def put(
    conditions: list[Condition], type: str, status: str, reason: str, message: str, now: float, **more: Any
) -> list[Condition]:
    """`conditions` with one set. lastTransitionTime moves only when the status changes; `more` adds fields."""
    old = next((condition for condition in conditions if condition["type"] == type), None)
    moved = format_time(now)
    if old is not None and old["status"] == status:
        moved = old.get("lastTransitionTime", moved)
    new = {
        "type": type,
        "status": status,
        **more,
        "lastTransitionTime": moved,
        "reason": reason,
        "message": message,
    }
    if old is None:
        return [*conditions, new]
    return [new if condition["type"] == type else condition for condition in conditions]


def without(conditions: list[Condition], type: str) -> list[Condition]:
    return [condition for condition in conditions if condition["type"] != type]

"""Checks of the `resize` subresource of pods: cpu and memory of containers change, and nothing else.

Specified in https://kubernetes.io/docs/tasks/configure-pod-container/resize-container-resources/#limitations.
"""

from typing import Any

from wherry.schema.defaults_pod import qos_class
from wherry.schema.objects import deep_copy, same
from wherry.schema.resource import Object
from wherry.schema.validation.field import Causes

JsonDict = dict[str, Any]

RESIZABLE = ("cpu", "memory")
_STATIC = "kubernetes.io/config.mirror"


def resize(new: Object, old: Object, causes: Causes) -> None:
    """What may not change by a resize. The new spec as a whole has been checked already."""
    after, before = new.get("spec") or {}, old.get("spec") or {}
    if _STATIC in (old["metadata"].get("annotations") or {}):
        causes.forbidden("", "static pods cannot be resized")
        return
    if (before.get("os") or {}).get("name") == "windows":
        causes.forbidden("", "windows pods cannot be resized")
        return
    was, now = (old.get("status") or {}).get("qosClass") or qos_class(old), qos_class(new)
    if was != now:
        causes.invalid("spec", now, "Pod QOS Class may not change as a result of resizing")
    ordered = len(causes)
    for field, word in (("containers", "containers"), ("initContainers", "initContainers")):
        _same_order(after.get(field) or [], before.get(field) or [], f"spec.{field}", word, causes)
    if len(causes) > ordered:
        return
    for field in ("initContainers", "containers"):
        for index, (one, other) in enumerate(zip(after.get(field) or (), before.get(field) or (), strict=True)):
            path = f"spec.{field}[{index}].resources"
            if field == "initContainers" and other.get("restartPolicy") != "Always":
                if not same(one.get("resources") or {}, other.get("resources") or {}):
                    causes.forbidden(path, "resources for non-sidecar init containers are immutable")
                continue
            _nothing_removed(one.get("resources") or {}, other.get("resources") or {}, path, causes)
    if not same(_without_resizable(after, before), before):
        causes.forbidden("spec", "only cpu and memory resources are mutable")


def _same_order(after: list[JsonDict], before: list[JsonDict], path: str, word: str, causes: Causes) -> None:
    if len(after) != len(before):
        causes.forbidden(path, f"{word} may not be added or removed on resize")
        return
    for index, (one, other) in enumerate(zip(after, before, strict=True)):
        if one.get("name") != other.get("name"):
            causes.forbidden(f"{path}[{index}].name", f"{word} may not be renamed or reordered on resize")


def _nothing_removed(after: JsonDict, before: JsonDict, path: str, causes: Causes) -> None:
    for kind in ("requests", "limits"):
        if (before.get(kind) or {}).keys() - (after.get(kind) or {}).keys():
            causes.forbidden(f"{path}.{kind}", f"resource {kind} cannot be removed")


def _without_resizable(after: JsonDict, before: JsonDict) -> JsonDict:
    """The new spec with the cpu and memory of the old one where they may change."""
    spec = deep_copy(after)
    for field in ("initContainers", "containers"):
        for one, other in zip(spec.get(field) or (), before.get(field) or (), strict=True):
            if field == "initContainers" and other.get("restartPolicy") != "Always":
                if "resources" in other:
                    one["resources"] = other["resources"]
                continue
            old = other.get("resources") or {}
            amounts = one.setdefault("resources", {})
            for kind in ("requests", "limits"):
                kept = {name: value for name, value in (amounts.get(kind) or {}).items() if name not in RESIZABLE}
                kept.update({name: value for name, value in (old.get(kind) or {}).items() if name in RESIZABLE})
                amounts[kind] = kept
    return spec

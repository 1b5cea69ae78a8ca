"""The patch of client-side apply: what changed in the file, and what the file no longer has.

`three_way(original, modified, current, kind)` compares the configuration applied last, the new one and the live
object. What the new one sets and the live object lacks is added or changed; what only the original had is deleted;
what neither names is left alone. With a `kind` (the type's definition) lists merge by their keys, as the strategic
merge patch wants it; without one (custom resources) the result is a JSON merge patch and lists are replaced.
Specified in https://kubernetes.io/docs/tasks/manage-kubernetes-objects/declarative-config/#merge-patch-calculation.
"""

from typing import Any

Map = dict[str, Any]


def three_way(original: Map | None, modified: Map, current: Map, kind: Any = None) -> Map:
    """The patch; empty when there is nothing to do."""
    return _maps(original or {}, modified, current, kind)


def two_way(current: Map, modified: Map, kind: Any = None) -> Map:
    """The patch from one version of an object to another: what `modified` lacks is deleted."""
    return _maps(current, modified, current, kind)


def _child(kind: Any, key: str) -> Any:
    if kind is None:
        return None
    if kind.kind == "object":
        return kind.fields.get(key)
    return kind.items if kind.kind == "map" else None


def _maps(original: Map, modified: Map, current: Map, kind: Any) -> Map:
    patch: Map = {}
    for key, wanted in modified.items():
        child = _child(kind, key)
        if key not in current:
            if wanted is not None:
                patch[key] = wanted
            elif kind is None and key in original:
                patch[key] = None
            continue
        live = current[key]
        if isinstance(wanted, dict) and isinstance(live, dict):
            strategies = child.strategies if child is not None else ()
            if "replace" in strategies:
                # apply (which has an `original` of its own) sends such a field every time, as the real one does.
                if wanted != live or original is not current:
                    patch[key] = {**wanted, "$patch": "replace"}
                continue
            before = original.get(key)
            part = _maps(before if isinstance(before, dict) else {}, wanted, live, child)
            if "retainKeys" in strategies and part:
                part["$retainKeys"] = sorted(k for k, v in wanted.items() if v is not None)
            if part:
                patch[key] = part
        elif isinstance(wanted, list) and isinstance(live, list):
            before = original.get(key)
            _lists(patch, key, before if isinstance(before, list) else [], wanted, live, child)
        elif wanted is None:
            patch[key] = None
        elif not _same(wanted, live):
            patch[key] = wanted
    for key in original:
        if key not in modified and key in current:
            patch[key] = None
    return patch


def _same(wanted: Any, live: Any) -> bool:
    """Equal as JSON: 1 and 1.0 are, 1 and True are not."""
    return bool(wanted == live) and isinstance(wanted, bool) == isinstance(live, bool)


def _lists(patch: Map, key: str, original: list[Any], modified: list[Any], current: list[Any], kind: Any) -> None:
    merges = kind is not None and "merge" in kind.strategies
    if not merges:
        if modified != current:
            patch[key] = modified
        return
    if not any(isinstance(item, dict) for item in (*modified, *current, *original)):
        _scalars(patch, key, original, modified, current)
        return
    merge_key = kind.merge_key
    if not merge_key or any(not isinstance(i, dict) or merge_key not in i for i in (*modified, *current)):
        if modified != current:
            patch[key] = [{"$patch": "replace"}, *modified]
        return
    live = {item[merge_key]: item for item in current}
    before = {item[merge_key]: item for item in original if isinstance(item, dict) and merge_key in item}
    items = kind.items
    changes: list[Map] = []
    for item in modified:
        name = item[merge_key]
        if name not in live:
            changes.append(item)
            continue
        part = _maps(before.get(name, {}), item, live[name], items)
        if part:
            changes.append({**part, merge_key: name})
    wanted = [item[merge_key] for item in modified]
    for name in before:
        if name not in wanted and name in live:
            changes.append({"$patch": "delete", merge_key: name})
    # What the server added (a token's volume) counts here too: the real one then sends the order alone, as we do.
    if changes or list(live) != wanted:
        patch[f"$setElementOrder/{key}"] = [{merge_key: name} for name in wanted]
        if changes:
            patch[key] = changes


def _scalars(patch: Map, key: str, original: list[Any], modified: list[Any], current: list[Any]) -> None:
    added = [item for item in modified if item not in current]
    removed = [item for item in original if item not in modified and item in current]
    if not added and not removed:
        return
    patch[f"$setElementOrder/{key}"] = modified
    if added:
        patch[key] = added
    if removed:
        patch[f"$deleteFromPrimitiveList/{key}"] = removed

"""Sets of an object's fields, as managedFields keep them (FieldsV1), and what changed between two objects.

A set is a trie of dicts. Its keys are path elements: `f:<field>`, `k:<keys of a list's item as JSON>`,
`v:<value of a set's item as JSON>`; the key `.` marks a node as being itself in the set. (On the wire a node that
is in the set and has no children is written `{}`; `decode` and `encode` translate.) Specified in
https://kubernetes.io/docs/reference/using-api/server-side-apply/.
"""

from typing import Any, Final, NamedTuple

import orjson

from wherry.schema.definitions import ANY, Type

Trie = dict[str, Any]

_SELF: Final = "."
_KEY_DEFAULTS: Final = {"protocol": "TCP"}

# Structs and lists that are there even in an empty object, so that nobody comes to own them as such.
_ALWAYS_THERE: Final = frozenset(
    {"metadata", "spec", "status", "template", "strategy", "updateStrategy", "jobTemplate", "containers", "resources"}
)


def leaf() -> Trie:
    return {_SELF: {}}


def decode(fields: Any) -> Trie:
    """FieldsV1 as JSON to a set."""
    if not isinstance(fields, dict) or not fields:
        return {}
    return {key: ({} if key == _SELF else decode(child) or leaf()) for key, child in fields.items()}


def encode(trie: Trie) -> Trie:
    """A set to FieldsV1 as JSON."""
    return {
        key: {} if key == _SELF or (len(child) == 1 and _SELF in child) else encode(child)
        for key, child in sorted(trie.items())
    }


def common(fields: Trie, trie: Trie) -> Trie:
    """What of `trie` is in `fields`, which is FieldsV1 as JSON and not empty."""
    found: Trie = {}
    for key, child in trie.items():
        if key == _SELF:
            if not fields or _SELF in fields:
                found[key] = child
        elif key in fields and (part := common(fields[key], child)):
            found[key] = part
    return found


def covers(fields: Trie, trie: Trie) -> bool:
    """Whether all of `trie` is in `fields`, which is FieldsV1 as JSON and not empty."""
    for key, child in trie.items():
        if key == _SELF:
            if fields and _SELF not in fields:
                return False
        elif key not in fields or not covers(fields[key], child):
            return False
    return True


def union(left: Trie, right: Trie) -> Trie:
    if not left or not right:
        return left or right
    merged = dict(left)
    for key, child in right.items():
        merged[key] = union(merged[key], child) if key in merged else child
    return merged


def difference(left: Trie, right: Trie) -> Trie:
    """What is in `left` and not in `right`."""
    if not right:
        return left
    kept: Trie = {}
    for key, child in left.items():
        if key == _SELF:
            if _SELF not in right:
                kept[key] = child
        elif key not in right:
            kept[key] = child
        elif rest := difference(child, right[key]):
            kept[key] = rest
    return kept


def intersection(left: Trie, right: Trie) -> Trie:
    kept: Trie = {}
    for key, child in left.items():
        if key not in right:
            continue
        if key == _SELF:
            kept[key] = child
        elif rest := intersection(child, right[key]):
            kept[key] = rest
    return kept


def paths(trie: Trie, prefix: str = "") -> list[str]:
    """The members, written like `.spec.template.spec.containers[name="web"].image`."""
    found = []
    for key, child in sorted(trie.items()):
        if key == _SELF:
            found.append(prefix or ".")
        elif key.startswith("f:"):
            found += paths(child, f"{prefix}.{key[2:]}")
        elif key.startswith("k:"):
            keys = orjson.loads(key[2:])
            shown = ",".join(f"{name}={orjson.dumps(value).decode()}" for name, value in sorted(keys.items()))
            found += paths(child, f"{prefix}[{shown}]")
        else:
            value = key[2:]
            found += paths(child, f"{prefix}[={value}]" if key.startswith("v:") else f"{prefix}[{value}]")
    return found


def item_key(kind: Type, item: Any) -> str:
    """The path element of a list's item: by its keys for list type map, by its value for set."""
    if kind.list_type == "map" and isinstance(item, dict):
        keys = {key: item.get(key, _KEY_DEFAULTS.get(key)) for key in kind.keys}
        present = {key: value for key, value in keys.items() if value is not None}
        return "k:" + orjson.dumps(present, option=orjson.OPT_SORT_KEYS).decode()
    return "v:" + orjson.dumps(item, option=orjson.OPT_SORT_KEYS).decode()


def child_type(kind: Type, key: str) -> Type:
    """The type of a field or of a map's value; `any` where the schema does not say."""
    if kind.kind == "object":
        return kind.fields.get(key, ANY)
    return (kind.items or ANY) if kind.kind == "map" else ANY


def is_granular(kind: Type, value: Any) -> bool:
    """Whether the parts of `value` are owned one by one, rather than the whole as one."""
    if isinstance(value, dict):
        return kind.kind in ("object", "map", "any") and kind.map_type != "atomic"
    if isinstance(value, list):
        return kind.kind == "list" and kind.list_type in ("map", "set")
    return False


def of_object(kind: Type, value: Any) -> Trie:
    """All fields of an applied configuration."""
    if not is_granular(kind, value):
        return leaf()
    found: Trie = {}
    if isinstance(value, dict):
        if not value:
            return leaf()
        for key, child in value.items():
            trie = of_object(child_type(kind, key), child)
            if kind.kind == "map" or (kind.kind == "any" and not isinstance(child, dict)):
                trie = {**trie, _SELF: {}}
            found[f"f:{key}"] = trie
    else:
        if not value:
            return leaf()
        items = kind.items or ANY
        for item in value:
            found[item_key(kind, item)] = {**of_object(items, item), _SELF: {}}
    return found


class Changes(NamedTuple):
    """What became different between two objects."""

    changed: Trie
    """Fields that are new or have another value."""
    removed: Trie


def compare(kind: Type, old: Any, new: Any) -> Changes:
    """Fields of `new` that differ from `old`, and fields of `old` that are gone. None stands for no object."""
    changed, removed = _compare(kind, old, new)
    return Changes(changed, removed)


def _everything(kind: Type, value: Any, name: str = "") -> Trie:
    """All fields of a value that was not there before (or is no more), the containers themselves included."""
    if not is_granular(kind, value) or not value:
        return leaf()
    found: Trie = {} if name in _ALWAYS_THERE else leaf()
    if isinstance(value, dict):
        for key, child in value.items():
            if key != "status" or child:
                found[f"f:{key}"] = _everything(child_type(kind, key), child, key)
    else:
        items = kind.items or ANY
        for item in value:
            found[item_key(kind, item)] = {**_everything(items, item), _SELF: {}}
    return found


def _compare(kind: Type, old: Any, new: Any) -> tuple[Trie, Trie]:
    if old is None:
        return ({} if new is None else _everything(kind, new)), {}
    if new is None:
        return {}, _everything(kind, old)
    if isinstance(old, dict) and isinstance(new, dict) and is_granular(kind, new):
        return _compare_maps(kind, old, new)
    if isinstance(old, list) and isinstance(new, list) and is_granular(kind, new):
        return _compare_lists(kind, old, new)
    return leaf(), {}


def _compare_maps(kind: Type, old: dict[str, Any], new: dict[str, Any]) -> tuple[Trie, Trie]:
    changed: Trie = {}
    removed: Trie = {}
    for key, value in new.items():
        before = old.get(key)
        if before is None:
            if value is not None and (key != "status" or value):
                changed[f"f:{key}"] = _everything(child_type(kind, key), value, key)
        elif before != value:
            more, gone = _compare(child_type(kind, key), before, value)
            if more:
                changed[f"f:{key}"] = more
            if gone:
                removed[f"f:{key}"] = gone
    for key, value in old.items():
        if value is not None and new.get(key) is None:
            removed[f"f:{key}"] = _everything(child_type(kind, key), value)
    return changed, removed


def _compare_lists(kind: Type, old: list[Any], new: list[Any]) -> tuple[Trie, Trie]:
    items = kind.items or ANY
    before = {item_key(kind, item): item for item in old}
    after = {item_key(kind, item): item for item in new}
    changed: Trie = {}
    removed: Trie = {}
    for key, item in after.items():
        if key not in before:
            changed[key] = {**_everything(items, item), _SELF: {}}
        elif before[key] != item:
            more, gone = _compare(items, before[key], item)
            if more:
                changed[key] = more
            if gone:
                removed[key] = gone
    for key, item in before.items():
        if key not in after:
            removed[key] = {**_everything(items, item), _SELF: {}}
    return changed, removed

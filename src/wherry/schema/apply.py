"""Server-side apply, and the bookkeeping of who set which field (`metadata.managedFields`).

Specified in https://kubernetes.io/docs/reference/using-api/server-side-apply/. `apply` merges what a manager
wants into the live object; `track_update` notes what an ordinary write changed. Both are pure.
"""

from functools import lru_cache
from typing import Any, Final

import orjson

from wherry.schema import fieldset
from wherry.schema.definitions import ANY, Type, type_of
from wherry.schema.errors import BadRequest, Conflict
from wherry.schema.fieldset import Trie
from wherry.schema.objects import deep_copy
from wherry.schema.resource import Object, Resource

_NEVER_OWNED: Final[Trie] = {
    "f:apiVersion": fieldset.leaf(),
    "f:kind": fieldset.leaf(),
    "f:metadata": fieldset.leaf()
    | {
        f"f:{field}": fieldset.leaf()
        for field in (
            "name",
            "namespace",
            "creationTimestamp",
            "selfLink",
            "uid",
            "generation",
            "managedFields",
            "resourceVersion",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
        )
    },
}
_MAX_UPDATERS: Final = 10
_BEFORE_FIRST_APPLY: Final = "before-first-apply"
_ANCIENT: Final = "ancient-changes"


class _Manager:
    """One entry of managedFields. `raw` is the entry as it was stored, None once `fields` has been set.

    What a write does not touch is neither decoded nor encoded anew; what it does is worked out once for all objects
    that have the same fields, as those of one workload do."""

    __slots__ = ("_fields", "api_version", "name", "operation", "raw", "subresource", "time")

    def __init__(
        self, name: str, operation: str, api_version: str, subresource: str, time: str, fields: Trie | None,
        raw: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self.name = name
        self.operation = operation
        self.api_version = api_version
        self.subresource = subresource
        self.time = time
        self.raw = raw
        self._fields = fields

    @property
    def fields(self) -> Trie:
        if self._fields is None:
            self._fields = fieldset.decode(self._wire())
        return self._fields

    @fields.setter
    def fields(self, fields: Trie) -> None:
        self._fields, self.raw = fields, None

    def _wire(self) -> Trie:
        found = self.raw.get("fieldsV1") if self.raw is not None else None
        return found if isinstance(found, dict) else {}

    @property
    def empty(self) -> bool:
        return not (self._wire() if self.raw is not None else self._fields)

    def gain(self, changed: Trie, removed: Trie, now: str) -> None:
        """This manager wrote: own what it changed, no longer what it removed."""
        wire = self._wire()
        if wire and fieldset.covers(wire, changed) and not fieldset.common(wire, removed):
            return
        after = fieldset.difference(fieldset.union(self.fields, changed), removed)
        if after != self.fields:
            self.fields, self.time = after, now

    def lose(self, fields: Trie) -> None:
        """Another manager took or removed these."""
        wire = self._wire()
        if not wire:
            self.fields = fieldset.difference(self.fields, fields)
        elif lost := fieldset.common(wire, fields):
            self.raw = {**(self.raw or {}), "fieldsV1": _without_fields(orjson.dumps(wire), orjson.dumps(lost))}
            self._fields = None

    @property
    def identity(self) -> tuple[str, str, str, str]:
        # An applier is one whatever version it applies; an updater is one per version.
        return self.name, self.operation, self.subresource, self.api_version if self.operation == "Update" else ""

    def shown(self) -> str:
        text = f'"{self.name}"'
        if self.subresource:
            text += f' with subresource "{self.subresource}"'
        return f"{text} using {self.api_version}" if self.operation == "Update" else text


@lru_cache(maxsize=512)
def _without_fields(fields: bytes, lost: bytes) -> Trie:
    """FieldsV1 without a set, both given as JSON. Shared: never change it."""
    return fieldset.encode(fieldset.difference(fieldset.decode(orjson.loads(fields)), orjson.loads(lost)))


def _managers(obj: Object | None) -> list[_Manager]:
    found = []
    for entry in ((obj or {}).get("metadata") or {}).get("managedFields") or ():
        if not isinstance(entry, dict) or not entry.get("operation"):
            continue
        found.append(
            _Manager(
                entry.get("manager") or "",
                entry["operation"],
                entry.get("apiVersion") or "",
                entry.get("subresource") or "",
                entry.get("time") or "",
                None,
                entry,
            )
        )
    return found


def _encoded(managers: list[_Manager]) -> list[dict[str, Any]]:
    managers = _capped([one for one in managers if not one.empty])
    managers.sort(key=lambda one: (one.operation, one.time, one.name, one.api_version, one.subresource))
    entries = []
    for one in managers:
        if one.raw is not None:
            entries.append(one.raw)
            continue
        entry: dict[str, Any] = {
            "manager": one.name,
            "operation": one.operation,
            "apiVersion": one.api_version,
            "time": one.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": fieldset.encode(one.fields),
        }
        if one.subresource:
            entry["subresource"] = one.subresource
        entries.append(entry)
    return entries


def _capped(managers: list[_Manager]) -> list[_Manager]:
    """At most ten updaters are remembered one by one; the oldest are merged into one entry."""
    updaters = sorted((one for one in managers if one.operation == "Update"), key=lambda one: one.time)
    if len(updaters) <= _MAX_UPDATERS:
        return managers
    oldest = updaters[: len(updaters) - _MAX_UPDATERS + 1]
    fields: Trie = {}
    for one in oldest:
        fields = fieldset.union(fields, one.fields)
    last = oldest[-1]
    kept = [one for one in managers if one not in oldest]
    return [*kept, _Manager(_ANCIENT, "Update", last.api_version, "", last.time, fields)]


def _ignored(resource: Resource, subresource: str) -> Trie:
    """What a write through this path cannot change: status on the main path, everything else on status."""
    if subresource == "status":
        return {**_NEVER_OWNED, "f:spec": _WHOLE}
    if "status" in resource.subresources and not subresource:
        return {**_NEVER_OWNED, "f:status": _WHOLE}
    return _NEVER_OWNED


_WHOLE: Final[Trie] = {"*": {}}


def _without(fields: Trie, ignored: Trie) -> Trie:
    kept: Trie = {}
    for key, child in fields.items():
        other = ignored.get(key)
        if other is None:
            kept[key] = child
        elif "*" in other:
            continue
        elif rest := fieldset.difference(child, other):
            kept[key] = rest
    return kept


def _type(resource: Resource, kind: Type | None) -> Type:
    return kind or type_of(resource) or ANY


def track_update(
    resource: Resource,
    new: Object,
    old: Object | None,
    manager: str,
    subresource: str,
    now: str,
    kind: Type | None = None,
) -> None:
    """Write `new`'s managedFields, in place, after an ordinary write by `manager`.

    `old` is the stored object (None for a create); its managedFields are the ones that count. `now` is RFC 3339.
    `kind` is a custom resource's type; without it custom objects' lists are owned as wholes.
    """
    changes = fieldset.compare(_type(resource, kind), _plain(old) or {}, _plain(new))
    changed, removed = (_without(trie, _NEVER_OWNED) for trie in changes)
    managers = _managers(old)
    metadata = new.setdefault("metadata", {})
    if not changed and not removed:
        if managers:
            metadata["managedFields"] = _encoded(managers)
        else:
            metadata.pop("managedFields", None)
        return
    mine = _Manager(manager, "Update", resource.api_version, subresource, now, {})
    known = False
    for one in managers:
        if one.identity == mine.identity:
            one.gain(changed, removed, now)
            known = True
        else:
            one.lose(changed)
            one.lose(removed)
    if not known:
        mine.fields = changed
        managers.append(mine)
    metadata["managedFields"] = _encoded(managers)


def _plain(obj: Object | None) -> Object | None:
    """The object without managedFields, which nobody owns."""
    if obj is None or "managedFields" not in (obj.get("metadata") or {}):
        return obj
    metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    return {**obj, "metadata": metadata}


def apply(
    resource: Resource,
    live: Object | None,
    config: Object,
    *,
    manager: str,
    force: bool,
    now: str,
    subresource: str = "",
    kind: Type | None = None,
) -> Object:
    """`live` with what `config` says merged in, and what this manager said before and says no more taken out.

    `live` is None when the object is to be created. Raises Conflict naming each field that another manager owns
    and that would change (unless `force`), BadRequest when the configuration brings managedFields along.
    """
    if (config.get("metadata") or {}).get("managedFields"):
        raise BadRequest("metadata.managedFields must be nil")
    type_ = _type(resource, kind)
    managers = _managers(live)
    if live is not None and not managers:
        everything = _without(fieldset.of_object(type_, _plain(live)), _NEVER_OWNED)
        managers.append(_Manager(_BEFORE_FIRST_APPLY, "Update", resource.api_version, "", now, everything))
    wanted = _without(fieldset.of_object(type_, _plain(config)), _ignored(resource, subresource))
    mine = _Manager(manager, "Apply", resource.api_version, subresource, now, wanted)
    before = next((one for one in managers if one.identity == mine.identity), None)
    others = [one for one in managers if one is not before]
    merged: Object = merge(type_, _plain(live) or {}, _reset(resource, _plain(config) or {}, subresource))
    if before is not None:
        gone = fieldset.difference(before.fields, wanted)
        for one in others:
            gone = _unowned(gone, one.fields)
        merged = _prune(type_, merged, gone) or {}
    changes = fieldset.compare(type_, _plain(live) or {}, merged)
    changed = _without(changes.changed, _NEVER_OWNED)
    conflicts = [(one, clash) for one in others if (clash := fieldset.intersection(one.fields, changed))]
    if conflicts and not force:
        raise _conflict(conflicts)
    for one, clash in conflicts:
        one.lose(clash)
    for one in others:
        one.lose(changes.removed)
    if before is not None and before.fields == wanted and before.api_version == resource.api_version and not changed:
        mine.time = before.time or now
    merged.setdefault("metadata", {})["managedFields"] = _encoded([*others, mine])
    return merged


def _reset(resource: Resource, config: Object, subresource: str) -> Object:
    """The configuration without the parts that this path cannot write."""
    if subresource == "status":
        return {key: value for key, value in config.items() if key in ("apiVersion", "kind", "metadata", "status")}
    if "status" in resource.subresources and not subresource and "status" in config:
        return {key: value for key, value in config.items() if key != "status"}
    return config


def _conflict(conflicts: list[tuple[_Manager, Trie]]) -> Conflict:
    causes, by_manager = [], {}
    for one, clash in sorted(conflicts, key=lambda pair: pair[0].identity):
        by_manager[one.shown()] = found = fieldset.paths(clash)
        causes += [
            {"reason": "FieldManagerConflict", "message": f"conflict with {one.shown()}", "field": path}
            for path in found
        ]
    if len(causes) == 1:
        shown = f"{causes[0]['message']}: {causes[0]['field']}"
        return Conflict(f"Apply failed with 1 conflict: {shown}", details={"causes": causes})
    lines = []
    for name, found in by_manager.items():
        lines.append(f"conflicts with {name}:")
        lines += [f"- {path}" for path in found]
    return Conflict(f"Apply failed with {len(causes)} conflicts: " + "\n".join(lines), details={"causes": causes})


def merge(kind: Type, live: Any, config: Any) -> Any:
    """`config` over `live` by the schema: structs and granular maps by field, lists by key, the rest replaced."""
    if isinstance(config, dict) and isinstance(live, dict) and fieldset.is_granular(kind, config):
        result = dict(live)
        for key, value in config.items():
            if value is None:
                result.pop(key, None)
            elif key in live:
                result[key] = merge(fieldset.child_type(kind, key), live[key], value)
            else:
                result[key] = deep_copy(value)
        return result
    if isinstance(config, list) and isinstance(live, list) and fieldset.is_granular(kind, config):
        return _merge_lists(kind, live, config)
    return deep_copy(config)


def _merge_lists(kind: Type, live: list[Any], config: list[Any]) -> list[Any]:
    items = kind.items or ANY
    have = {fieldset.item_key(kind, item): item for item in live}
    want: dict[str, Any] = {}
    for item in config:
        key = fieldset.item_key(kind, item)
        if key in want:
            shown = fieldset.paths({key: fieldset.leaf()})[0]
            raise BadRequest(f"duplicate entries for key {shown}")
        want[key] = merge(items, have[key], item) if key in have else deep_copy(item)
    # The applied order for what is applied; what only lives stays before the applied item it stood before.
    order, result = list(have), []
    pending = [key for key in order if key not in want]
    for key, item in want.items():
        while pending and key in have and order.index(pending[0]) < order.index(key):
            result.append(have[pending.pop(0)])
        result.append(item)
    return result + [have[key] for key in pending]


def _unowned(gone: Trie, owned: Trie) -> Trie:
    """What may be removed, less everything that another manager owns, and less what holds something owned."""
    kept: Trie = {}
    for key, child in gone.items():
        if key == ".":
            # A container with parts that somebody else owns has to stay.
            if not owned:
                kept[key] = child
        elif key not in owned:
            kept[key] = child
        elif rest := _unowned(child, owned[key]):
            kept[key] = rest
    return kept


def _prune(kind: Type, value: Any, gone: Trie) -> Any:
    """`value` without the members of `gone`; None when the value itself is one of them."""
    if "." in gone:
        return None
    if isinstance(value, dict):
        result = dict(value)
        for key, child in gone.items():
            name = key[2:]
            if name in result:
                rest = _prune(fieldset.child_type(kind, name), result[name], child)
                if rest is None or (rest in ({}, []) and result[name] not in ({}, [])):
                    del result[name]
                else:
                    result[name] = rest
        return result
    if isinstance(value, list):
        items = kind.items or ANY
        kept = []
        for item in value:
            child = gone.get(fieldset.item_key(kind, item))
            pruned = item if child is None else _prune(items, item, child)
            if pruned is not None:
                kept.append(pruned)
        return kept
    return value

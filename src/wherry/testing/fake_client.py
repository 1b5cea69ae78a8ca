"""An in-memory `Client` with the API server's semantics that controllers rely on, and nothing else.

It keeps: one revision counter, compare-and-swap, UID preconditions, generateName, finalizers and graceful
deletion of pods, status and binding as subresources, selectors on list and watch, replay of a watch from a revision.
It leaves out validation, defaulting, admission and authorisation: tests that need them use the real server.
"""

import asyncio
import contextlib
import copy
import itertools
import random
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias

from wherry.client.api import ObjectList, PatchType, WatchEvent
from wherry.client.clock import Clock, SystemClock, format_time
from wherry.schema import errors
from wherry.schema.builtin import NAMESPACES
from wherry.schema.resource import Object, Resource
from wherry.schema.selectors import parse_fields, parse_labels

SAFE_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"

_Entry: TypeAlias = tuple[int, Resource, str, Object, Object | None]
"""Revision, resource, event type, the object, and what it was before."""

Fault: TypeAlias = Callable[[str, Resource, Object], None]
"""`fault(verb, resource, object)` may raise to make a call fail."""


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge_patch(result.get(name), value)
    return result


class FakeClient:
    """See the module's docstring. `actions` lists every successful write as (verb, plural, namespace, name)."""

    def __init__(self, clock: Clock | None = None, *, seed: int = 0) -> None:
        self.actions: list[tuple[str, str, str, str]] = []
        self.fault: Fault | None = None
        self.watch_open = asyncio.Event()
        self.watch_open.set()
        self._clock = clock or SystemClock()
        self._random = random.Random(seed)
        self._objects: dict[Resource, dict[tuple[str, str], Object]] = {}
        self._log: list[_Entry] = []
        self._compacted = 0
        self._revision = 1
        self._changed = asyncio.Condition()
        self._uids = itertools.count(1)

    # What tests use beside the Client protocol.

    def seed(self, resource: Resource, obj: Object) -> Object:
        """Put an object in as it is (status included), with uid and creationTimestamp filled in."""
        return self._insert(resource, copy.deepcopy(obj))

    def all(self, resource: Resource) -> list[Object]:
        return [copy.deepcopy(obj) for obj in self._objects.get(resource, {}).values()]

    def compact(self) -> None:
        """Forget history: watches from older revisions answer 410."""
        self._compacted = self._revision
        self._log.clear()

    # Reading.

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
        return copy.deepcopy(self._find(resource, name, namespace))

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
        limit: int = 0,
        continue_token: str = "",
    ) -> ObjectList:
        selected = _selection(namespace, label_selector, field_selector)
        items = [copy.deepcopy(obj) for obj in self._objects.get(resource, {}).values() if selected(obj)]
        return ObjectList(items, str(self._revision))

    def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
        bookmarks: bool = True,
    ) -> AbstractAsyncContextManager[AsyncIterator[WatchEvent]]:
        selected = _selection(namespace, label_selector, field_selector)

        async def events() -> AsyncIterator[WatchEvent]:
            position = int(resource_version)
            while True:
                await self.watch_open.wait()
                if position < self._compacted:
                    raise errors.Gone(f"too old resource version: {position} ({self._compacted})")
                # The log is short in tests: a scan from the end is enough.
                fresh = self._since(position)
                for revision, of, verb, new, old in fresh:
                    position = revision
                    if of != resource:
                        continue
                    now_in = verb != "DELETED" and selected(new)
                    was_in = old is not None and selected(old)
                    if now_in:
                        yield WatchEvent("MODIFIED" if was_in else "ADDED", copy.deepcopy(new))
                    elif was_in:
                        yield WatchEvent("DELETED", copy.deepcopy(new))
                if not fresh:
                    async with self._changed:
                        if self._revision <= position:
                            await self._changed.wait()

        @asynccontextmanager
        async def scope() -> AsyncIterator[AsyncIterator[WatchEvent]]:
            stream = events()
            try:
                yield stream
            finally:
                with contextlib.suppress(RuntimeError):
                    await stream.aclose()  # type: ignore[attr-defined]

        return scope()

    # Writing.

    async def create(
        self,
        resource: Resource,
        obj: Object,
        namespace: str | None = None,
        *,
        name: str | None = None,
        subresource: str | None = None,
    ) -> Object:
        obj = copy.deepcopy(obj)
        self._fail("create", resource, obj)
        if subresource == "binding":
            return await self._bind(resource, obj, namespace, name or obj["metadata"]["name"])
        if subresource == "eviction":
            target = name or obj["metadata"]["name"]
            await self.delete(resource, target, namespace)
            return {"kind": "Status", "apiVersion": "v1", "status": "Success"}
        if subresource is not None:
            raise errors.NotFound(f"the server could not find the requested resource: {subresource}")
        metadata = obj.setdefault("metadata", {})
        if resource.namespaced:
            metadata.setdefault("namespace", namespace)
        if not metadata.get("name"):
            suffix = "".join(self._random.choice(SAFE_ALPHABET) for _ in range(5))
            metadata["name"] = metadata["generateName"][:58] + suffix
        home = self._objects.get(NAMESPACES, {}).get(("", metadata.get("namespace") or ""))
        if home is not None and home["metadata"].get("deletionTimestamp"):
            raise errors.Forbidden(
                f'{resource.qualified} "{metadata["name"]}" is forbidden: unable to create new content in namespace '
                f"{home['metadata']['name']} because it is being terminated"
            )
        if (metadata.get("namespace", ""), metadata["name"]) in self._objects.get(resource, {}):
            raise errors.already_exists(resource.group, resource.plural, metadata["name"])
        created = self._insert(resource, obj)
        await self._tell()
        self._act("create", resource, created)
        return copy.deepcopy(created)

    async def update(self, resource: Resource, obj: Object, *, subresource: str | None = None) -> Object:
        self._fail("update", resource, obj)
        metadata = obj["metadata"]
        current = self._find(resource, metadata["name"], metadata.get("namespace"))
        self._check(resource, current, metadata)
        new = copy.deepcopy(obj)
        if subresource == "status":
            new = copy.deepcopy(current) | {"status": new.get("status", {})}
        elif subresource not in (None, "finalize"):
            raise errors.NotFound(f"the server could not find the requested resource: {subresource}")
        elif "status" in current:
            new["status"] = copy.deepcopy(current["status"])
        return await self._replace("update", resource, current, new)

    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: Any,
        namespace: str | None = None,
        *,
        type: PatchType = PatchType.MERGE,
        subresource: str | None = None,
        field_manager: str = "",
        force: bool = False,
    ) -> Object:
        if type is not PatchType.MERGE:
            raise errors.UnsupportedMediaType(f"the fake client patches by {PatchType.MERGE} only")
        current = self._find(resource, name, namespace)
        self._fail("patch", resource, current)
        self._check(resource, current, patch.get("metadata", {}))
        new = merge_patch(copy.deepcopy(current), patch)
        if subresource == "status":
            new = copy.deepcopy(current) | {"status": new.get("status", {})}
        elif "status" in current:
            new["status"] = copy.deepcopy(current["status"])
        return await self._replace("patch", resource, current, new)

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        grace_period_seconds: int | None = None,
        propagation_policy: str | None = None,
    ) -> Object:
        current = self._find(resource, name, namespace)
        self._fail("delete", resource, current)
        self._check(resource, current, {"uid": uid, "resourceVersion": resource_version})
        new = copy.deepcopy(current)
        metadata = new["metadata"]
        finalizers = metadata.setdefault("finalizers", [])
        wanted = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}.get(propagation_policy or "")
        if wanted and wanted not in finalizers:
            finalizers.append(wanted)
        grace = 0
        if resource.plural == "pods" and new.get("spec", {}).get("nodeName"):
            default = new["spec"].get("terminationGracePeriodSeconds", 30)
            grace = default if grace_period_seconds is None else grace_period_seconds
        if not finalizers:
            del metadata["finalizers"]
        if not finalizers and grace == 0 and resource.plural != "namespaces":
            return await self._remove(resource, current)
        if "deletionTimestamp" not in metadata or grace < metadata.get("deletionGracePeriodSeconds", 0):
            metadata["deletionTimestamp"] = format_time(self._clock.time() + grace)
            metadata["deletionGracePeriodSeconds"] = grace
        if resource.plural == "namespaces":
            new.setdefault("status", {})["phase"] = "Terminating"
            new.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
        return await self._replace("delete", resource, current, new)

    # Inside.

    def _since(self, revision: int) -> Sequence[_Entry]:
        return list(itertools.takewhile(lambda entry: entry[0] > revision, reversed(self._log)))[::-1]

    def _find(self, resource: Resource, name: str, namespace: str | None) -> Object:
        key = (namespace or "" if resource.namespaced else "", name)
        found = self._objects.get(resource, {}).get(key)
        if found is None:
            raise errors.not_found(resource.group, resource.plural, name)
        return found

    def _fail(self, verb: str, resource: Resource, obj: Object) -> None:
        if self.fault is not None:
            self.fault(verb, resource, obj)

    def _check(self, resource: Resource, current: Object, wanted: dict[str, Any]) -> None:
        metadata = current["metadata"]
        version, uid = wanted.get("resourceVersion"), wanted.get("uid")
        if uid and uid != metadata["uid"]:
            why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {metadata['uid']}"
            raise errors.conflict(resource.group, resource.plural, metadata["name"], why)
        if version and version != metadata["resourceVersion"]:
            raise errors.conflict(resource.group, resource.plural, metadata["name"], _MODIFIED)

    def _insert(self, resource: Resource, obj: Object) -> Object:
        metadata = obj["metadata"]
        obj.setdefault("apiVersion", resource.api_version)
        obj.setdefault("kind", resource.kind)
        metadata.setdefault("uid", str(uuid.UUID(int=next(self._uids))))
        metadata.setdefault("creationTimestamp", format_time(self._clock.time()))
        metadata.setdefault("generation", 1)
        self._store(resource, "ADDED", obj, None)
        return obj

    def _store(self, resource: Resource, verb: str, obj: Object, old: Object | None) -> None:
        self._revision += 1
        obj["metadata"]["resourceVersion"] = str(self._revision)
        metadata = obj["metadata"]
        key = (metadata.get("namespace", ""), metadata["name"])
        if verb == "DELETED":
            self._objects[resource].pop(key, None)
        else:
            self._objects.setdefault(resource, {})[key] = obj
        self._log.append((self._revision, resource, verb, obj, old))

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _act(self, verb: str, resource: Resource, obj: Object) -> None:
        metadata = obj["metadata"]
        self.actions.append((verb, resource.plural, metadata.get("namespace", ""), metadata["name"]))

    async def _replace(self, verb: str, resource: Resource, current: Object, new: Object) -> Object:
        metadata = new["metadata"]
        for name in ("uid", "creationTimestamp", "resourceVersion", "deletionTimestamp"):
            if name in current["metadata"]:
                metadata.setdefault(name, current["metadata"][name])
        if new.get("spec") != current.get("spec"):
            metadata["generation"] = current["metadata"].get("generation", 1) + 1
        done_namespace = resource.plural != "namespaces" or not new.get("spec", {}).get("finalizers")
        gone = metadata.get("deletionTimestamp") and not metadata.get("finalizers") and done_namespace
        if gone and metadata.get("deletionGracePeriodSeconds", 0) == 0:
            await self._remove(resource, current)
            return copy.deepcopy(new)
        if new != current:
            self._store(resource, "MODIFIED", new, current)
            self._act(verb, resource, new)
            await self._tell()
        return copy.deepcopy(new)

    async def _remove(self, resource: Resource, current: Object) -> Object:
        final = copy.deepcopy(current)
        self._store(resource, "DELETED", final, current)
        self._act("delete", resource, final)
        await self._tell()
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Success",
            "details": {"name": final["metadata"]["name"], "uid": final["metadata"]["uid"], "kind": resource.plural},
        }

    async def _bind(self, resource: Resource, binding: Object, namespace: str | None, name: str) -> Object:
        current = self._find(resource, name, namespace)
        self._check(resource, current, binding.get("metadata", {}))
        if current["spec"].get("nodeName"):
            why = f'pod {name} is already assigned to node "{current["spec"]["nodeName"]}"'
            raise errors.conflict(resource.group, "pods/binding", name, why)
        new = copy.deepcopy(current)
        new["spec"]["nodeName"] = binding["target"]["name"]
        conditions = [c for c in new.setdefault("status", {}).get("conditions", []) if c["type"] != "PodScheduled"]
        new["status"]["conditions"] = [*conditions, {"type": "PodScheduled", "status": "True"}]
        self._store(resource, "MODIFIED", new, current)
        self._act("bind", resource, new)
        await self._tell()
        return {"kind": "Status", "apiVersion": "v1", "status": "Success", "code": 201}


def _selection(namespace: str | None, labels: str, fields: str) -> Callable[[Object], bool]:
    by_labels, by_fields = parse_labels(labels), parse_fields(fields)

    def selected(obj: Object) -> bool:
        metadata = obj["metadata"]
        if namespace and metadata.get("namespace") != namespace:
            return False
        return by_labels.matches(metadata.get("labels")) and by_fields.matches(obj)

    return selected

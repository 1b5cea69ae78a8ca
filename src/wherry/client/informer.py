"""Shared informers: a local copy of one resource, kept true by list and watch, with indexes and handlers.

Vocabulary: an *informer* follows one resource; a *handler* is told of each change; an *index* maps a computed
string to objects; a *local write* is an object that this process wrote and that the watch has not shown yet.

Local writes are what keeps controllers from acting twice on the same need: after a create, the answer is put
into the cache at once (`record_write`), so the next reconcile sees it although the watch lags behind. A write
that the watch has overtaken is left out, by comparing resourceVersions.

Objects that come out of an informer are shared: never change one, copy first.
Semantics: https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from wherry.client.api import Client
from wherry.client.clock import Clock, SystemClock
from wherry.schema.builtin import BUILTIN
from wherry.schema.errors import ApiError, Gone, NotFound
from wherry.schema.resource import Object, Resource

log = logging.getLogger(__name__)

Handler: TypeAlias = Callable[[Object | None, Object | None], None]
"""`handler(old, new)`: old is None for an added object, new is None for a deleted one. Must not block or raise."""

IndexFunction: TypeAlias = Callable[[Object], Iterable[str]]
Key: TypeAlias = tuple[str, str]
"""(namespace, name); namespace is "" for cluster-scoped resources."""

_PAGE = 500
_BACKOFF_FIRST, _BACKOFF_MAX = 0.2, 10.0
_BUILTIN = frozenset(BUILTIN)


def key_of(obj: Object) -> Key:
    metadata = obj["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def version_of(obj: Object) -> int:
    """The object's resourceVersion as a number (0 when absent), comparable within one API server."""
    text = obj["metadata"].get("resourceVersion", "")
    return int(text) if text.isdigit() else 0


def drop_managed_fields(obj: Object) -> Object:
    """What informers keep of an object: everything but managedFields (half of its size, of no use here).

    An update without managedFields leaves the stored ones as they are.
    """
    metadata = obj["metadata"]
    if "managedFields" not in metadata:
        return obj
    return obj | {"metadata": {name: value for name, value in metadata.items() if name != "managedFields"}}


def index_namespace(obj: Object) -> Iterable[str]:
    return (obj["metadata"].get("namespace", ""),)


def index_owner(obj: Object) -> Iterable[str]:
    """UIDs of all owners."""
    return [reference["uid"] for reference in obj["metadata"].get("ownerReferences") or ()]


class Informer:
    """The cache of one resource. Reading is synchronous; `run()` keeps it true until cancelled.

    `synced` is set after the first complete list. Indexes `namespace` and `owner` always exist.
    """

    def __init__(
        self,
        client: Client,
        resource: Resource,
        *,
        clock: Clock | None = None,
        label_selector: str = "",
        field_selector: str = "",
        namespace: str | None = None,
        transform: Callable[[Object], Object] = drop_managed_fields,
    ) -> None:
        self.resource = resource
        self.synced = asyncio.Event()
        self._client = client
        self._clock = clock or SystemClock()
        self._labels, self._fields = label_selector, field_selector
        self._namespace = namespace
        self._transform = transform
        # Custom resources may hold true where they held 1, which Python takes for equal.
        self._shares = resource in _BUILTIN
        self._objects: dict[Key, Object] = {}
        self._indexes: dict[str, tuple[IndexFunction, dict[str, dict[Key, Object]]]] = {}
        self._handlers: list[Handler] = []
        self.only_status = False
        """For handlers, about the update that they are told of: it leaves spec, labels, annotations, owners,
        finalizers and deletion as they were."""
        self._seen_version = 0
        # What handlers were last told of a key that a local write has since covered.
        self._told: dict[Key, Object | None] = {}
        # UIDs that this process deleted and whose DELETED event has not come yet.
        self._deleted: set[str] = set()
        self.add_index("namespace", index_namespace)
        self.add_index("owner", index_owner)

    # Reading.

    def get(self, namespace: str | None, name: str) -> Object | None:
        return self._objects.get((namespace or "", name))

    def items(self, namespace: str | None = None) -> list[Object]:
        """All objects, or those of one namespace, in no particular order."""
        if namespace is None:
            return list(self._objects.values())
        return self.by_index("namespace", namespace)

    def by_index(self, index: str, value: str) -> list[Object]:
        found = self._indexes[index][1].get(value)
        return list(found.values()) if found else []

    def __bool__(self) -> bool:
        return True  # an empty one is there all the same: `given or Informer(…)` must not make another

    def __len__(self) -> int:
        return len(self._objects)

    def __iter__(self) -> Iterator[Object]:
        return iter(self._objects.values())

    # Setting up.

    def add_index(self, name: str, function: IndexFunction) -> None:
        """Index by `function(obj)`; adding a name again is a no-op, so that controllers can share an index."""
        if name in self._indexes:
            return
        entries: dict[str, dict[Key, Object]] = {}
        self._indexes[name] = (function, entries)
        for key, obj in self._objects.items():
            for value in function(obj):
                entries.setdefault(value, {})[key] = obj

    def add_handler(self, handler: Handler) -> None:
        """Tell `handler` of every change from now on, and of every object already here as an addition."""
        self._handlers.append(handler)
        for obj in list(self._objects.values()):
            handler(None, obj)

    # Local writes.

    def record_write(self, obj: Object) -> None:
        """Take over the answer of this process's own create, update or patch, unless the watch is already past it."""
        version = version_of(obj)
        key = key_of(obj)
        known = self._objects.get(key)
        if version <= self._seen_version or (known is not None and version <= version_of(known)):
            return
        self._told.setdefault(key, known)
        self._put(key, self._transform(obj))

    def record_delete(self, obj: Object) -> None:
        """Take over this process's own delete of `obj` (which is gone from the server now)."""
        key = key_of(obj)
        known = self._objects.get(key)
        uid = obj["metadata"].get("uid", "")
        if known is None or known["metadata"].get("uid") != uid:
            return
        self._deleted.add(uid)
        self._told.setdefault(key, known)
        self._drop(key)

    # Following the server.

    async def run(self) -> None:
        """List, then watch, for ever: resume after a broken watch, list again after 410 Gone, back off on errors."""
        backoff = _BACKOFF_FIRST
        version = ""
        while True:
            opened = self._clock.monotonic()
            try:
                if not version:
                    version = await self._relist()
                    self.synced.set()
                async with self._client.watch(
                    self.resource,
                    self._namespace,
                    resource_version=version,
                    label_selector=self._labels,
                    field_selector=self._fields,
                ) as events:
                    async for event in events:
                        backoff = _BACKOFF_FIRST
                        version = event.object["metadata"]["resourceVersion"]
                        self._seen_version = max(self._seen_version, version_of(event.object))
                        if event.type == "DELETED":
                            self._on_deleted(event.object)
                        elif event.type != "BOOKMARK":
                            self._on_changed(event.object)
                # The server ends a watch after minutes; one that ends at once must not become a busy loop.
                if self._clock.monotonic() - opened >= 1.0:
                    continue
            except Gone:
                version = ""
                continue
            except NotFound:
                # Not served, or no longer (a removed CustomResourceDefinition): there are none of it.
                version = ""
                self.synced.set()
            except (ApiError, OSError) as error:
                log.warning("informer of %s: %s; trying again in %.1f s", self.resource.qualified, error, backoff)
            await self._clock.sleep(backoff)
            backoff = min(backoff * 2, _BACKOFF_MAX)

    async def _relist(self) -> str:
        items: list[Object] = []
        token = version = ""
        while True:
            page = await self._client.list(
                self.resource,
                self._namespace,
                label_selector=self._labels,
                field_selector=self._fields,
                limit=_PAGE,
                continue_token=token,
            )
            items += page.items
            version = version or page.resource_version
            token = page.continue_token
            if not token:
                break
        listed = int(version) if version.isdigit() else 0
        self._seen_version = max(self._seen_version, listed)
        self._deleted.clear()
        current = {key_of(item) for item in items}
        for key, known in list(self._objects.items()):
            # A local write newer than the list stays: the list was taken before it.
            if key not in current and version_of(known) <= listed:
                self._on_deleted(known)
        for item in items:
            self._on_changed(item)
        return version

    def _on_changed(self, obj: Object) -> None:
        key = key_of(obj)
        known = self._objects.get(key)
        if obj["metadata"].get("uid") in self._deleted:
            return
        told = self._told.get(key, known)
        if known is not None and version_of(known) > version_of(obj):
            # An older state than our own write: say so to the handlers, keep the newer one.
            self._told[key] = self._transform(obj)
        else:
            if known is not None and version_of(known) == version_of(obj) and key not in self._told:
                return
            self._told.pop(key, None)
            new = self._transform(obj)
            self._put(key, _sharing_spec(known, new) if self._shares and known is not None else new)
        self._tell(told, self._objects[key])

    def _on_deleted(self, obj: Object) -> None:
        key = key_of(obj)
        uid = obj["metadata"].get("uid", "")
        self._deleted.discard(uid)
        known = self._objects.get(key)
        told = self._told.pop(key, known)
        if known is not None and known["metadata"].get("uid") == uid:
            self._drop(key)
        self._tell(told or self._transform(obj), None)

    def _tell(self, old: Object | None, new: Object | None) -> None:
        if old is not None and new is not None and old["metadata"].get("uid") != new["metadata"].get("uid"):
            # Deleted and made again under the same name: two events, as no handler expects a change of UID.
            self._tell(old, None)
            old = None
        self.only_status = old is not None and new is not None and _only_status(old, new)
        for handler in self._handlers:
            handler(old, new)

    def _put(self, key: Key, obj: Object) -> None:
        old = self._objects.get(key)
        self._objects[key] = obj
        for function, entries in self._indexes.values():
            values = function(obj)
            if old is not None:
                before = function(old)
                if before != values:
                    _leave(entries, before, key)
            for value in values:
                bucket = entries.get(value)
                if bucket is None:
                    entries[value] = {key: obj}
                else:
                    bucket[key] = obj

    def _drop(self, key: Key) -> None:
        self._unindex(key)
        self._objects.pop(key, None)

    def _unindex(self, key: Key) -> None:
        old = self._objects.get(key)
        if old is None:
            return
        for function, entries in self._indexes.values():
            _leave(entries, function(old), key)


def _leave(entries: dict[str, dict[Key, Object]], values: Iterable[str], key: Key) -> None:
    for value in values:
        bucket = entries.get(value)
        if bucket is not None:
            bucket.pop(key, None)
            if not bucket:
                del entries[value]


_BESIDE_STATUS = ("labels", "annotations", "ownerReferences", "deletionTimestamp", "finalizers")


def _only_status(old: Object, new: Object) -> bool:
    """Whether all but the status of an object is the same; always False for what has no spec."""
    spec, before, after = new.get("spec"), old["metadata"], new["metadata"]
    if spec is None or old.get("spec") is not spec:
        return False
    return all(before.get(field) == after.get(field) for field in _BESIDE_STATUS)


def _sharing_spec(known: Object, new: Object) -> Object:
    """`new` with `known`'s very spec where they are equal: whoever compares the two sees it at once."""
    before, spec = known.get("spec"), new.get("spec")
    return new | {"spec": before} if before is not spec and before == spec else new


class Informers:
    """One shared informer per resource, started together. `informers[PODS]` makes it at first use."""

    def __init__(self, client: Client, clock: Clock | None = None) -> None:
        self._client = client
        self._clock = clock or SystemClock()
        self._informers: dict[Resource, Informer] = {}
        self._tasks: dict[Resource, asyncio.Task[None]] = {}
        self._running = False
        self._broken: list[asyncio.Task[None]] = []
        self._breaks = asyncio.Event()

    def __getitem__(self, resource: Resource) -> Informer:
        informer = self._informers.get(resource)
        if informer is None:
            informer = self._informers[resource] = Informer(self._client, resource, clock=self._clock)
            if self._running:
                self._start(informer)
        return informer

    def known(self, resource: Resource) -> Informer | None:
        """The informer of `resource` if anyone has asked for it."""
        return self._informers.get(resource)

    def start(self) -> None:
        """Start following every resource asked for so far, and each later one at its first use."""
        self._running = True
        for informer in self._informers.values():
            if informer.resource not in self._tasks:
                self._start(informer)

    async def wait_synced(self, resources: Iterable[Resource] | None = None) -> None:
        """Until the first list of each (default: all so far) is in."""
        for resource in list(self._informers) if resources is None else list(resources):
            await self[resource].synced.wait()

    async def forget(self, resource: Resource) -> None:
        """Stop following a resource that is no longer served."""
        task = self._tasks.pop(resource, None)
        self._informers.pop(resource, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def stop(self) -> None:
        tasks = list(self._tasks.values())
        self._tasks.clear()
        self._running = False
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, informer: Informer) -> None:
        task = asyncio.create_task(informer.run(), name=f"informer {informer.resource.qualified}")
        task.add_done_callback(self._ended)
        self._tasks[informer.resource] = task

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._broken.append(task)
            self._breaks.set()

    async def watch_over(self) -> None:
        """Until cancelled; raises the exception of the first informer that ends (a handler's bug, normally).

        Without its informers a controller is blind: whoever runs them must hear of it.
        """
        await self._breaks.wait()
        self._broken[0].result()

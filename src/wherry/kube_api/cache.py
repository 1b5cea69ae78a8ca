"""The watch cache: every object's final bytes in memory, and the recent events of each resource.

One watch on the store feeds it. `ResourceCache` is one resource's part: its objects by namespace and name, a
window of its latest events, and the watchers that follow it. An event is serialised once and shared by all its
watchers. A watcher holds only a position in the window; one that falls behind the window's start is cut
(`Gone`), so that slow watchers cost no memory.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence

from wherry.kube_api.objects import ROOT, Entry, splice, split_key
from wherry.schema.errors import Gone, ServiceUnavailable
from wherry.store import api as store_api
from wherry.store.api import Store, StoreError

log = logging.getLogger(__name__)

WINDOW = 4096
"""Events kept per resource for watchers that lag or resume."""

DECODED = 64
"""The newest events whose replaced states are kept decoded, for selectors; of older ones there are only the bytes."""

MAX_JOINED = 4 << 20
"""Bytes of one joined list that are worth keeping for the next who asks."""

PRELOAD = 4000
"""Revisions of history that are replayed at start, so that watches resume across a restart."""

Transform = Callable[[str, bytes], bytes]
"""(key, stored bytes) -> plain bytes: decryption of what is encrypted at rest."""


class CacheEvent:
    """One change. `entry` is the new state, or for a deletion the last state under the deletion's revision."""

    __slots__ = ("_frame", "deleted", "entry", "previous")

    def __init__(self, entry: Entry, previous: Entry | None, deleted: bool) -> None:
        self.entry = entry
        self.previous = previous
        self.deleted = deleted
        self._frame: bytes | None = None

    @property
    def type(self) -> str:
        """What a watcher without selectors sees."""
        if self.deleted:
            return "DELETED"
        return "MODIFIED" if self.previous is not None else "ADDED"

    def forget_decoded(self) -> None:
        """Nobody is likely to ask for the replaced state again."""
        if self.previous is not None:
            self.previous.forget_decoded()
        if self.deleted:
            self.entry.forget_decoded()

    def frame(self) -> bytes:
        """The event as one line of a watch without selectors; made once."""
        if self._frame is None:
            self._frame = frame(self.type, self.entry.data)
        return self._frame


def frame(type_: str, data: bytes) -> bytes:
    """One line of a watch stream."""
    return b'{"type":"%b","object":%b}\n' % (type_.encode(), data)


class ResourceCache:
    """One resource's objects and events. Read only from the event loop."""

    def __init__(self, cache: "WatchCache") -> None:
        self._cache = cache
        self.objects: dict[str, dict[str, Entry]] = {}
        self.count = 0
        self.changed = 0
        """The revision of the newest change to any object of this resource."""
        self.events: list[CacheEvent] = []
        self.first = 0
        """Absolute position of `events[0]`."""
        self.start_revision = 0
        """Events with revisions above this are in the window."""
        self.watchers: set[Callable[[], None]] = set()
        self._listeners: list[Callable[[CacheEvent], None]] = []
        self._sorted: dict[str, list[str]] = {}
        self._joined: dict[str | None, bytes] = {}
        self._asked: set[str | None] = set()
        self._flush_scheduled = False

    # -- reading

    def get(self, namespace: str, name: str) -> Entry | None:
        names = self.objects.get(namespace)
        return names.get(name) if names else None

    def names(self, namespace: str) -> list[str]:
        """Names in a namespace, in the store's order."""
        found = self._sorted.get(namespace)
        if found is None:
            found = self._sorted[namespace] = sorted(self.objects.get(namespace, ()))
        return found

    def entries(self, namespace: str | None = None) -> Iterator[Entry]:
        """Objects in the store's order; None means all namespaces."""
        for space in sorted(self.objects) if namespace is None else (namespace,):
            names = self.objects.get(space)
            if names:
                for name in self.names(space):
                    yield names[name]

    def size(self, namespace: str | None = None) -> int:
        return self.count if namespace is None else len(self.objects.get(namespace, ()))

    def joined(self, namespace: str | None) -> bytes:
        """All objects' bytes with commas between. Kept from the second time on, until something changes."""
        found = self._joined.get(namespace)
        if found is None:
            found = b",".join([entry.data for entry in self.entries(namespace)])
            if namespace in self._asked and len(found) <= MAX_JOINED:
                self._joined[namespace] = found
            self._asked.add(namespace)
        return found

    @property
    def end(self) -> int:
        """Absolute position behind the newest event."""
        return self.first + len(self.events)

    def position_after(self, revision: int) -> int:
        """Where a watcher that knows everything up to `revision` begins. Raises Gone."""
        if revision < self.start_revision:
            raise Gone(f"too old resource version: {revision} ({self.start_revision})")
        low, high = 0, len(self.events)
        while low < high:
            middle = (low + high) // 2
            if self.events[middle].entry.revision <= revision:
                low = middle + 1
            else:
                high = middle
        return self.first + low

    def since(self, position: int) -> list[CacheEvent]:
        """Events from `position` on. Raises Gone when the window has moved past it."""
        if position < self.first:
            raise Gone("too old resource version: the watch could not keep up with the changes")
        return self.events[position - self.first :]

    def listen(self, listener: Callable[[CacheEvent], None]) -> None:
        """Call `listener` synchronously with each change, before the write is answered."""
        self._listeners.append(listener)

    # -- feeding

    def load(self, entry: Entry) -> None:
        """An object that was there at start."""
        names = self.objects.setdefault(entry.namespace, {})
        if entry.name not in names:
            self.count += 1
        names[entry.name] = entry
        self.changed = max(self.changed, entry.revision)

    def apply(self, namespace: str, name: str, data: bytes | None, revision: int) -> None:
        names = self.objects.get(namespace)
        previous = names.get(name) if names else None
        if data is None:
            if previous is None or names is None:
                return
            del names[name]
            if not names:
                del self.objects[namespace]
            self._sorted.pop(namespace, None)
            self.count -= 1
            event = CacheEvent(previous.at(revision), previous, True)
        else:
            entry = Entry(namespace, name, data, revision)
            if names is None:
                names = self.objects[namespace] = {}
            names[name] = entry
            if previous is None:
                self._sorted.pop(namespace, None)
                self.count += 1
            event = CacheEvent(entry, previous, False)
        self.changed = revision
        if self._asked:
            self._joined.clear()
            self._asked.clear()
        self.events.append(event)
        if len(self.events) > DECODED:
            self.events[-DECODED].forget_decoded()
        if len(self.events) > 2 * WINDOW:
            self.start_revision = self.events[WINDOW - 1].entry.revision
            del self.events[:WINDOW]
            self.first += WINDOW
        for listener in self._listeners:
            listener(event)
        if self.watchers and not self._flush_scheduled:
            self._flush_scheduled = True
            self._cache.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_scheduled = False
        for notify in list(self.watchers):
            notify()

    def wake_all(self) -> None:
        """Wake every watcher, e.g. because the cache has failed."""
        for notify in list(self.watchers):
            notify()


class WatchCache:
    """All resources' caches, fed by one watch on the store."""

    def __init__(self, store: Store, reveal: Transform | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        self.store = store
        self.revision = 0
        """Everything up to this revision is in the cache."""
        self.failure: StoreError | None = None
        self._reveal = reveal
        self._resources: dict[str, ResourceCache] = {}
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._watch: store_api.Watch | None = None
        self._start_revision = 0

    async def start(self) -> None:
        """Load everything; returns when the cache is as new as the store was when it began."""
        current = self.store.revision
        base = max(self.store.compacted, current - PRELOAD, 1)
        try:
            found = await self.store.range(ROOT, revision=base)
        except store_api.Compacted:
            # Not every store knows how far it has been compacted before it is asked.
            base = await self.store.newest()
            found = await self.store.range(ROOT, revision=base)
        for item in found.items:
            where, namespace, name = split_key(item.key)
            data = splice(self.plain(item.key, item.value), item.mod_revision)
            self._by_where(where).load(Entry(namespace, name, data, item.mod_revision))
        self._start_revision = self.revision = base
        for cache in self._resources.values():
            cache.start_revision = base
        self._watch = self.store.watch(ROOT, base + 1, self._deliver, self._failed)
        await self.wait_for(current)

    def stop(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def of(self, group: str, plural: str) -> ResourceCache:
        """The part that holds one resource (of any version)."""
        return self._by_where(f"{group or 'core'}/{plural}")

    async def wait_for(self, revision: int, timeout: float = 3.0) -> None:
        """Return when the cache has everything up to `revision`. Raises TimeoutError, ServiceUnavailable."""
        if self.revision >= revision:
            return
        self.check()
        future: asyncio.Future[None] = self.loop.create_future()
        self._waiters.append((revision, future))
        async with asyncio.timeout(timeout):
            await future

    def check(self) -> None:
        """Raises ServiceUnavailable when the store no longer feeds the cache."""
        if self.failure is not None:
            raise ServiceUnavailable(f"the store has failed: {self.failure}")

    def plain(self, key: str, value: bytes) -> bytes:
        """Stored bytes, decrypted."""
        return self._reveal(key, value) if self._reveal is not None else value

    def _by_where(self, where: str) -> ResourceCache:
        cache = self._resources.get(where)
        if cache is None:
            cache = self._resources[where] = ResourceCache(self)
            cache.start_revision = self._start_revision
        return cache

    def _deliver(self, events: Sequence[store_api.Event], revision: int) -> None:
        for event in events:
            where, namespace, name = split_key(event.key)
            data = None
            if event.value is not None:
                data = splice(self.plain(event.key, event.value), event.revision)
            self._by_where(where).apply(namespace, name, data, event.revision)
        self.revision = max(self.revision, revision)
        if self._waiters:
            waiting = self._waiters
            self._waiters = []
            for wanted, future in waiting:
                if wanted > self.revision:
                    self._waiters.append((wanted, future))
                elif not future.done():
                    future.set_result(None)

    def _failed(self, error: StoreError) -> None:
        log.error("the watch on the store ended: %s", error)
        self.failure = error
        for _, future in self._waiters:
            if not future.done():
                future.set_exception(ServiceUnavailable(f"the store has failed: {error}"))
        self._waiters.clear()
        for cache in self._resources.values():
            cache.wake_all()

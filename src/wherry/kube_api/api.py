"""The heart of the API server: the table, the cache, the store, and the one way to write an object.

The verbs (`verbs/`) are functions over `Api`; HTTP and `LocalClient` call them.
"""

import asyncio
import random
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import orjson

from wherry.kube_api import convert
from wherry.kube_api.cache import ResourceCache, WatchCache
from wherry.kube_api.objects import Entry, encode, key_of, splice
from wherry.kube_api.strategy import Strategy
from wherry.schema import errors
from wherry.schema.builtin import STORAGE_VERSION
from wherry.schema.resource import Object, Resource
from wherry.schema.table import ResourceTable
from wherry.store.api import KeyValue, Mismatch, NoSpace, Store, Unavailable

NAME_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""Characters of generated names: no vowels, no look-alikes."""

MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"

Conceal = Callable[[str, bytes], bytes]


class Api:
    """Everything the verbs need. Its parts may be replaced before `start`, not after."""

    def __init__(
        self,
        store: Store,
        cache: WatchCache,
        *,
        table: ResourceTable | None = None,
        now: Callable[[], float] = time.time,
        conceal: Conceal | None = None,
    ) -> None:
        from wherry.kube_api.admission.chain import AdmissionChain
        from wherry.kube_api.strategies import make_strategies

        self.store = store
        self.cache = cache
        self.table = table or ResourceTable()
        self.now = now
        self.views: dict[Resource, Resource] = dict(STORAGE_VERSION)
        """Resources whose objects have to be converted on their way out, and what each is stored as."""
        self.undefaulted: dict[Resource, int] = {}
        """Custom resources whose schema has defaults: objects below this revision may lack them."""
        self._conceal = conceal
        self._second, self._timestamp = -1, ""
        self.admission = AdmissionChain()
        self._strategies: dict[Resource, Strategy] = make_strategies()
        self.services: dict[str, Any] = {}
        """Singletons that strategies and subresources share (allocators, token signer), by name."""

    # -- looking up

    def strategy(self, resource: Resource) -> Strategy:
        found = self._strategies.get(resource)
        if found is None:
            found = self._strategies[resource] = Strategy(resource)
        return found

    def set_strategy(self, resource: Resource, strategy: Strategy | None) -> None:
        """Give a custom resource its strategy; None takes it away."""
        if strategy is None:
            self._strategies.pop(resource, None)
        else:
            self._strategies[resource] = strategy

    def stored_as(self, resource: Resource) -> Resource:
        """The resource whose objects the store keeps; differs for another version's view."""
        return self.views.get(resource, resource)

    def is_view(self, resource: Resource) -> bool:
        """Whether stored bytes may be in another version than the one that is asked for."""
        return resource in self.views

    def selectable(self, resource: Resource) -> tuple[str, ...]:
        """What field selectors may use of a custom resource, beside its name."""
        kind = self.table.extra(resource)
        return kind.selectable if kind is not None else ()

    def cache_of(self, resource: Resource) -> ResourceCache:
        stored = self.views.get(resource, resource)
        return self.cache.of(stored.group, stored.plural)

    def cached(self, resource: Resource, namespace: str | None, name: str) -> Entry | None:
        """The object as the cache has it, in the stored version."""
        return self.cache_of(resource).get(namespace or "", name)

    async def read(self, resource: Resource, namespace: str | None, name: str) -> Entry | None:
        """The object now, in the stored version; asks the store when others write to it too."""
        if self.store.exclusive:
            self.cache.check()
            return self.cached(resource, namespace, name)
        stored = self.stored_as(resource)
        found = await self.store.get(key_of(stored, namespace, name))
        return self._entry(found, namespace, name) if found is not None else None

    def _entry(self, found: KeyValue, namespace: str | None, name: str) -> Entry:
        value = self.cache.plain(found.key, found.value)
        return Entry(namespace or "", name, splice(value, found.mod_revision), found.mod_revision)

    def present(self, resource: Resource, entry: Entry) -> Entry:
        """A stored entry in the version that was asked for."""
        shown = convert.present(self.views, resource, entry)
        if resource in self.undefaulted and entry.revision < self.undefaulted[resource]:
            obj = shown.decode()
            self.table.extra(resource).apply_defaults(obj)
            return Entry(entry.namespace, entry.name, orjson.dumps(obj), entry.revision)
        return shown

    def not_found(self, resource: Resource, name: str) -> errors.NotFound:
        return errors.not_found(resource.group, resource.plural, name)

    def timestamp(self) -> str:
        """Now, as objects carry it: `2026-01-31T12:00:00Z`."""
        second = int(self.now())
        if second != self._second:
            self._second = second
            self._timestamp = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return self._timestamp

    def new_uid(self) -> str:
        return str(uuid.uuid4())

    def generate_name(self, base: str) -> str:
        """`base` and five random characters, cut so that it stays a label."""
        return base[:58] + "".join(random.choices(NAME_ALPHABET, k=5))

    # -- writing

    async def insert(self, resource: Resource, obj: Object) -> Entry:
        """Write an object that must not exist yet. Raises AlreadyExists."""
        stored, obj = convert.to_storage(self.views, resource, obj)
        name, namespace = obj["metadata"]["name"], obj["metadata"].get("namespace")
        try:
            return await self._put(stored, namespace, name, obj, 0)
        except Mismatch:
            raise errors.already_exists(resource.group, resource.plural, name) from None

    async def modify(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        change: Callable[[Entry | None], Awaitable[Object | None]],
        *,
        removable: Callable[[Object], bool] | None = None,
    ) -> tuple[Entry, bool]:
        """Compare-and-swap: `change` gets the current entry (in the stored version) and returns the new object, in
        `resource`'s version, or None for no change; it is called again when another write came first.

        Returns the entry and whether it was removed, which happens when `removable(new object)` says so.
        """
        entry = await self.read(resource, namespace, name)
        while True:
            new = await change(entry)
            if new is None:
                if entry is None:
                    raise self.not_found(resource, name)
                return entry, False
            stored, obj = convert.to_storage(self.views, resource, new)
            try:
                if entry is not None and removable is not None and removable(obj):
                    return await self._remove(stored, entry, obj), True
                revision = entry.revision if entry is not None else 0
                return await self._put(stored, namespace, name, obj, revision), False
            except Mismatch as mismatch:
                entry = await self._after(mismatch, namespace, name)

    async def remove(
        self, resource: Resource, namespace: str | None, name: str, check: Callable[[Entry], None] | None = None
    ) -> Entry:
        """Delete for good; `check` may raise. Raises NotFound. Returns the last state, at the deletion's revision."""
        entry = await self.read(resource, namespace, name)
        while True:
            if entry is None:
                raise self.not_found(resource, name)
            if check is not None:
                check(entry)
            try:
                return await self._remove(self.stored_as(resource), entry, None)
            except Mismatch as mismatch:
                entry = await self._after(mismatch, namespace, name)

    async def _after(self, mismatch: Mismatch, namespace: str | None, name: str) -> Entry | None:
        """What to try on when another write came first."""
        await asyncio.sleep(0)
        return self._entry(mismatch.current, namespace, name) if mismatch.current is not None else None

    async def _put(self, stored: Resource, namespace: str | None, name: str, obj: Object, expected: int) -> Entry:
        key = key_of(stored, namespace, name)
        value = encode(obj)
        kept = self._conceal(key, value) if self._conceal is not None else value
        try:
            revision = await self.store.put(key, kept, expected=expected)
            if not self.store.exclusive:
                await self.cache.wait_for(revision)
        except NoSpace as error:
            raise errors.InternalError(f"the store is full: {error}") from error
        except Unavailable as error:
            raise errors.ServiceUnavailable(str(error)) from error
        return Entry(namespace or "", name, splice(value, revision), revision)

    async def _remove(self, stored: Resource, entry: Entry, last: Object | None) -> Entry:
        try:
            revision = await self.store.delete(key_of(stored, entry.namespace, entry.name), expected=entry.revision)
            if not self.store.exclusive:
                await self.cache.wait_for(revision)
        except NoSpace as error:
            raise errors.InternalError(f"the store is full: {error}") from error
        except Unavailable as error:
            raise errors.ServiceUnavailable(str(error)) from error
        gone = entry.at(revision)
        if last is not None:
            gone = Entry(entry.namespace, entry.name, splice(encode(last), revision), revision)
        self.strategy(stored).after_delete(self, gone)
        return gone

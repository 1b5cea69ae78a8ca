"""WATCH: the changes of a resource, from a resourceVersion on.

A `WatchStream` holds a position in the resource's window of events. Whoever serves it waits for `wake`, then
takes what has come with `take`. Semantics: https://kubernetes.io/docs/reference/using-api/api-concepts/#watch.
"""

from collections.abc import Callable

import orjson

from wherry.kube_api.api import Api
from wherry.kube_api.cache import CacheEvent, frame
from wherry.kube_api.call import Call
from wherry.kube_api.objects import Entry
from wherry.kube_api.selection import Selection
from wherry.kube_api.verbs.get import not_older
from wherry.kube_api.verbs.list_options import check_watch
from wherry.schema import errors

MAX_TAKE = 512
"""Events per `take`: bounds how much one watcher holds up the others."""


class WatchStream:
    """One watch. Not thread-safe; close it when done."""

    def __init__(self, api: Api, call: Call, wake: Callable[[], None]) -> None:
        self._api = api
        self._call = call
        self._cache = api.cache_of(call.resource)
        self._selection = Selection(call, api.selectable(call.resource))
        self._convert = api.is_view(call.resource)
        self.shared = self._selection.everything and self._selection.namespace is None and not self._convert
        """Whether every event can be served as the frame that all share."""
        self._wake = wake
        self._position = 0
        self._initial: list[Entry] = []
        self.initial_bookmark: bytes | None = None

    async def start(self) -> None:
        """Find where to begin. Raises Gone, BadRequest, Invalid, Timeout."""
        call = self._call
        check_watch(call)
        wants_initial = call.send_initial_events
        revision = await not_older(self._api, call.resource, call.resource_version)
        self._api.cache.check()
        if wants_initial is None:
            wants_initial = revision == 0
        if wants_initial:
            self._position = self._cache.end
            entries = self._cache.entries(self._selection.namespace)
            shown = (self._api.present(call.resource, entry) for entry in entries)
            self._initial = [entry for entry in shown if self._selection.matches(entry)]
            if call.send_initial_events and call.allow_bookmarks:
                self.initial_bookmark = self.bookmark(initial=True)
        elif revision == 0:
            self._position = self._cache.end
        else:
            self._position = self._cache.position_after(revision)
        self._cache.watchers.add(self._wake)

    def close(self) -> None:
        self._cache.watchers.discard(self._wake)

    @property
    def behind(self) -> bool:
        """Whether `take` would give something."""
        return self._position < self._cache.end or bool(self._initial)

    @property
    def lost(self) -> bool:
        """Whether events have gone by that this watch has not taken."""
        return self._position < self._cache.first

    def give_back(self, count: int) -> None:
        """The last `count` events that were taken have not been sent: they come again."""
        self._position -= count

    def initial(self) -> list[Entry]:
        """What stood there when the watch began: sent as ADDED before anything else. Empty the second time."""
        found, self._initial = self._initial, []
        return found

    def take(self) -> list[CacheEvent]:
        """The next events, not filtered yet. Raises Gone when the watcher has fallen behind."""
        self._api.cache.check()
        events = self._cache.since(self._position)[:MAX_TAKE]
        self._position += len(events)
        return events

    def seen(self, event: CacheEvent) -> tuple[str, Entry] | None:
        """(type, entry) as this watch sees it: objects that begin or cease to match are added and deleted."""
        selection = self._selection
        if selection.namespace is not None and event.entry.namespace != selection.namespace:
            return None
        entry, previous = event.entry, event.previous
        if self._convert:
            entry = self._api.present(self._call.resource, entry)
        if selection.everything:
            return event.type, entry
        if self._convert and previous is not None:
            previous = self._api.present(self._call.resource, previous)
        was = previous is not None and selection.matches(previous)
        if event.deleted:
            return ("DELETED", entry) if was else None
        now = selection.matches(entry)
        if now:
            return ("MODIFIED" if was else "ADDED"), entry
        if was and previous is not None:
            return "DELETED", previous.at(entry.revision)
        return None

    def frame(self, event: CacheEvent) -> bytes:
        """The event as a line, or nothing when this watch does not see it."""
        if self.shared:
            return event.frame()
        seen = self.seen(event)
        if seen is None:
            return b""
        type_, entry = seen
        if entry is event.entry and type_ == event.type:
            return event.frame()
        return frame(type_, entry.data)

    def bookmark(self, *, initial: bool = False) -> bytes:
        """A line that only tells how far the watch has come."""
        return frame("BOOKMARK", orjson.dumps(self.bookmark_object(initial=initial)))

    def bookmark_object(self, *, initial: bool = False) -> dict[str, object]:
        metadata: dict[str, object] = {"resourceVersion": str(self._api.cache.revision), "creationTimestamp": None}
        if initial:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        resource = self._call.resource
        return {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}


def error_frame(error: errors.ApiError) -> bytes:
    """The line that ends a watch with an error."""
    return frame("ERROR", orjson.dumps(error.status))

"""What happened: Docker's events, kept for a while and told live.

An *event* is `{"Type", "Action", "Actor": {"ID", "Attributes"}, "scope", "time", "timeNano"}`. Types are container,
image, network, volume, daemon, builder; actions are create, start, die, … as `GET /events` of the Docker Engine API
lists them. The last `HISTORY` events are kept, so that `since` can look back.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import Any, TypeAlias

from wherry.engine.filters import Filters

Event: TypeAlias = dict[str, Any]

HISTORY = 1024
"""Events kept for `since`."""

BACKLOG = 4096
"""Events one slow listener may fall behind before its oldest are dropped."""

ACCEPTED_FILTERS = frozenset(
    [
        "config",
        "container",
        "daemon",
        "event",
        "image",
        "label",
        "network",
        "node",
        "plugin",
        "scope",
        "secret",
        "service",
        "type",
        "volume",
    ]
)

_NAMED_TYPES = ("daemon", "container", "plugin", "volume", "network", "service", "node", "secret", "config")
_ACTIONS_WITH_DETAIL = frozenset({"health_status", "exec_create", "exec_start"})


class Subscription:
    """Live events for one listener: iterate, and `close()` (or leave the `with` block) when done."""

    def __init__(self, owner: "Events", filters: Filters) -> None:
        self._owner = owner
        self._filters = filters
        self._pending: deque[Event] = deque(maxlen=BACKLOG)
        self._wake = asyncio.Event()
        self._closed = False

    def _offer(self, event: Event) -> None:
        if not self._filters or includes(self._filters, event):
            self._pending.append(event)
            self._wake.set()

    def close(self) -> None:
        """Ends the iteration after what is pending. Idempotent."""
        self._closed = True
        self._wake.set()
        self._owner._listeners.discard(self)

    def __enter__(self) -> "Subscription":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __aiter__(self) -> "Subscription":
        return self

    async def __anext__(self) -> Event:
        while not self._pending:
            if self._closed:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        return self._pending.popleft()


class Events:
    """The engine's event log. All methods belong to the event loop's thread."""

    def __init__(self) -> None:
        self._history: deque[Event] = deque(maxlen=HISTORY)
        self._listeners: set[Subscription] = set()
        self._last_nano = 0

    def emit(
        self, type: str, action: str, id: str, attributes: Mapping[str, str] | None = None, *, scope: str = "local"
    ) -> Event:
        """Record one event and tell every listener, at once. Returns the event.

        For containers use `container_event`, which fills in the attributes Docker gives.
        """
        now = max(time.time_ns(), self._last_nano + 1)
        self._last_nano = now
        attrs = dict(attributes or {})
        event: Event = {}
        if type in ("container", "image"):
            # The fields of API 1.21, which old clients still read.
            event["status"] = action
            event["id"] = id
            if type == "container" and attrs.get("image"):
                event["from"] = attrs["image"]
        event |= {
            "Type": type,
            "Action": action,
            "Actor": {"ID": id, "Attributes": attrs},
            "scope": scope,
            "time": now // 1_000_000_000,
            "timeNano": now,
        }
        self._history.append(event)
        for listener in tuple(self._listeners):
            listener._offer(event)
        return event

    def container_event(
        self, action: str, id: str, name: str, config: Mapping[str, Any], attributes: Mapping[str, str] | None = None
    ) -> Event:
        """`config` is the container's Config: its labels and image name become attributes, as in Docker."""
        attrs = {str(key): str(value) for key, value in (config.get("Labels") or {}).items()}
        attrs |= attributes or {}
        if config.get("Image"):
            attrs["image"] = config["Image"]
        attrs["name"] = name.removeprefix("/")
        return self.emit("container", action, id, attrs)

    def subscribe(self, filters: Filters | None = None) -> Subscription:
        """Events from now on that match `filters`."""
        subscription = Subscription(self, filters or Filters())
        self._listeners.add(subscription)
        return subscription

    def history(
        self, since: float | None = None, until: float | None = None, filters: Filters | None = None
    ) -> list[Event]:
        """Kept events with `since` <= time <= `until` (seconds since 1970), oldest first."""
        low = round(since * 1e9) if since is not None else 0
        high = round(until * 1e9) if until is not None else None
        return [
            event
            for event in self._history
            if event["timeNano"] >= low
            and (high is None or event["timeNano"] <= high)
            and (not filters or includes(filters, event))
        ]

    async def stream(
        self, since: float | None = None, until: float | None = None, filters: Filters | None = None
    ) -> AsyncIterator[Event]:
        """What `GET /events` sends: history when `since` or `until` is given, then live events up to `until`.

        `since` and `until` are seconds since 1970. Ends at `until`; without it only when the caller stops.
        Raises InvalidParameter for a filter that events do not know.
        """
        wanted = filters or Filters()
        wanted.validate(ACCEPTED_FILTERS)
        with self.subscribe(wanted) as live:
            past = self.history(since, until, wanted) if since is not None or until is not None else []
            for event in past:
                yield event
            if until is None:
                async for event in live:
                    yield event
            # Waiting is done step by step: a timeout must not stay armed while the caller holds an event.
            while until is not None and (remaining := until - time.time()) > 0:
                try:
                    event = await asyncio.wait_for(anext(live), remaining)
                except (TimeoutError, StopAsyncIteration):
                    break
                yield event


def includes(filters: Filters, event: Event) -> bool:
    """Whether `event` matches `filters` (keys: type, event, scope, label, image, and the types' own names)."""
    actor = event["Actor"]
    attributes: dict[str, str] = actor["Attributes"]
    return (
        _matches_action(filters, event["Action"])
        and filters.exact("type", event["Type"])
        and filters.exact("scope", event["scope"])
        and all(_matches_actor(filters, kind, event) for kind in _NAMED_TYPES if kind in filters)
        and _matches_image(filters, event)
        and filters.labels(attributes)
    )


def _matches_action(filters: Filters, action: str) -> bool:
    wanted = filters.get("event", ())
    if not _ACTIONS_WITH_DETAIL.isdisjoint(wanted):
        # `health_status: healthy` and `exec_start: ls` are found by their first word.
        return filters.fuzzy("event", action)
    return filters.exact("event", action)


def _matches_actor(filters: Filters, kind: str, event: Event) -> bool:
    actor = event["Actor"]
    return filters.fuzzy(kind, actor["ID"]) or filters.fuzzy(kind, actor["Attributes"].get("name", ""))


def _matches_image(filters: Filters, event: Event) -> bool:
    if "image" not in filters:
        return True
    actor = event["Actor"]
    name = actor["Attributes"].get("name" if event["Type"] == "image" else "image", "")
    return any(
        filters.exact("image", source) for source in (actor["ID"], name, _strip_tag(actor["ID"]), _strip_tag(name))
    )


def _strip_tag(reference: str) -> str:
    base = reference.partition("@")[0]
    head, colon, tag = base.rpartition(":")
    return head if colon and "/" not in tag and not base.startswith("sha256:") else base

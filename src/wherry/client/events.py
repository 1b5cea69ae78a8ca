"""Recording Events: what `kubectl describe` shows below an object, with repeated ones counted, not multiplied.

Specified in https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/; written through the
core/v1 kind, whose fields (`involvedObject`, `count`, `source`) every client shows.

Two defences against floods, as in Kubernetes' own recorder: an event equal to an earlier one raises its count;
more than `SIMILAR_LIMIT` events that differ only in the message become one "(combined from similar events)".
A token bucket per object and source bounds the rest.
"""

import asyncio
import logging
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Any

from wherry.client.api import Client, PatchType
from wherry.client.clock import Clock, SystemClock, format_time
from wherry.schema.builtin import EVENTS
from wherry.schema.errors import ApiError, NotFound
from wherry.schema.resource import Object

log = logging.getLogger(__name__)

NORMAL, WARNING = "Normal", "Warning"
SIMILAR_LIMIT = 10
SIMILAR_WINDOW = 600.0
BUCKET_SIZE, BUCKET_REFILL = 25, 1 / 300
_REMEMBERED = 4096
_QUEUE = 1000


def object_reference(obj: Object, field_path: str = "") -> Object:
    """The ObjectReference of `obj`, which must carry apiVersion and kind."""
    metadata = obj["metadata"]
    reference = {
        "kind": obj["kind"],
        "namespace": metadata.get("namespace"),
        "name": metadata["name"],
        "uid": metadata.get("uid"),
        "apiVersion": obj["apiVersion"],
        "resourceVersion": metadata.get("resourceVersion"),
        "fieldPath": field_path,
    }
    return {name: value for name, value in reference.items() if value}


@dataclass
class _Known:
    """An event written earlier: its name, and how often it has been seen."""

    name: str
    namespace: str
    count: int
    first: float


@dataclass
class _Similar:
    messages: set[str] = field(default_factory=set)
    last: float = 0.0


@dataclass
class _Bucket:
    tokens: float
    at: float


class EventRecorder:
    """Writes events in the background; `record` never blocks and never fails. `component` is the source.

    Run `run()` as a task; `flush()` waits until all recorded so far are written.
    """

    def __init__(self, client: Client, component: str, *, host: str = "", clock: Clock | None = None) -> None:
        self._client = client
        self._component = component
        self._host = host
        self._clock = clock or SystemClock()
        self._queue: deque[tuple[Object, str, str, str]] = deque(maxlen=_QUEUE)
        self._arrived = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._known: OrderedDict[tuple[str, ...], _Known] = OrderedDict()
        self._similar: OrderedDict[tuple[str, ...], _Similar] = OrderedDict()
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def record(self, about: Object, type: str, reason: str, message: str, *, field_path: str = "") -> None:
        """`about` is an object, or an ObjectReference (has no `metadata`). `type` is Normal or Warning."""
        reference = object_reference(about, field_path) if "metadata" in about else about
        self._queue.append((reference, type, reason, message))
        self._idle.clear()
        self._arrived.set()

    async def run(self) -> None:
        while True:
            await self._arrived.wait()
            while self._queue:
                reference, kind, reason, message = self._queue.popleft()
                try:
                    await self._write(reference, kind, reason, message)
                except (ApiError, OSError) as error:
                    # A lost event is no failure of what it tells of (e.g. its namespace is being deleted).
                    log.debug(
                        "event %s of %s %s not written: %s", reason, reference.get("kind"), reference.get("name"), error
                    )
            self._arrived.clear()
            self._idle.set()

    async def flush(self) -> None:
        await self._idle.wait()

    async def _write(self, reference: Object, kind: str, reason: str, message: str) -> None:
        now = self._clock.time()
        group = (
            reference.get("kind", ""),
            reference.get("namespace", ""),
            reference.get("name", ""),
            reference.get("uid", ""),
            reference.get("fieldPath", ""),
            kind,
            reason,
        )
        if not self._allowed("/".join(group[:4]), now):
            return
        message = message[:1024]
        key: tuple[str, ...]
        if self._is_flood(group, message, now):
            key = (*group, "")
            message = f"(combined from similar events): {message}"[:1024]
        else:
            key = (*group, message)
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
            known.count += 1
            patch = {"count": known.count, "lastTimestamp": format_time(now), "message": message}
            try:
                await self._client.patch(EVENTS, known.name, patch, known.namespace, type=PatchType.MERGE)
                return
            except NotFound:
                del self._known[key]  # it has expired on the server: start anew
        namespace = reference.get("namespace") or "default"
        # Kubernetes names events by the object and the moment; nanoseconds in hex make it unique.
        name = f"{reference['name'][:230]}.{int(now * 1e9) + len(self._known):x}"
        event: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": reference,
            "reason": reason,
            "message": message,
            "source": {"component": self._component} | ({"host": self._host} if self._host else {}),
            "firstTimestamp": format_time(now),
            "lastTimestamp": format_time(now),
            "count": 1,
            "type": kind,
            "eventTime": None,
            "reportingComponent": self._component,
            "reportingInstance": self._host,
        }
        await self._client.create(EVENTS, event, namespace)
        self._known[key] = _Known(name, namespace, 1, now)
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    def _is_flood(self, group: tuple[str, ...], message: str, now: float) -> bool:
        similar = self._similar.setdefault(group, _Similar())
        self._similar.move_to_end(group)
        if now - similar.last > SIMILAR_WINDOW:
            similar.messages.clear()
        similar.last = now
        similar.messages.add(message)
        while len(self._similar) > _REMEMBERED:
            self._similar.popitem(last=False)
        if len(similar.messages) > SIMILAR_LIMIT:
            similar.messages = {message, *list(similar.messages)[:SIMILAR_LIMIT]}
            return True
        return False

    def _allowed(self, source: str, now: float) -> bool:
        bucket = self._buckets.setdefault(source, _Bucket(BUCKET_SIZE, now))
        self._buckets.move_to_end(source)
        while len(self._buckets) > _REMEMBERED:
            self._buckets.popitem(last=False)
        bucket.tokens = min(BUCKET_SIZE, bucket.tokens + (now - bucket.at) * BUCKET_REFILL)
        bucket.at = now
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True

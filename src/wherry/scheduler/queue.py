"""The scheduling queue: which pod next, and when a refused pod is worth another try.

Three places: *active* (a heap by priority, then by age), *backing off* (1 s, doubling to 10 s), and *unschedulable*
(waiting for an event that a plugin which refused it has named, or for five minutes).
https://kubernetes.io/docs/concepts/scheduling-eviction/scheduler-perf-tuning/ and the framework's queueing hints.
"""

import asyncio
import heapq
import itertools
from dataclasses import dataclass, field

from wherry.client.clock import Clock
from wherry.scheduler.pod_info import PodInfo

NODE_ADD, NODE_UPDATE = "NodeAdd", "NodeUpdate"
POD_ADD, POD_UPDATE, POD_DELETE = "AssignedPodAdd", "AssignedPodUpdate", "AssignedPodDelete"
VOLUME = "Volume"
"""A claim, volume, storage class or CSI node came or changed."""

BACKOFF_FIRST, BACKOFF_MAX = 1.0, 10.0
FLUSH_AFTER = 300.0
PROMISE = 10.0
"""Seconds for which a pod that preempts others waits for the room they leave, not for any other."""


@dataclass(eq=False)
class QueuedPod:
    """A pending pod: how often it was tried, when it was first seen, and which plugins refused it last."""

    pod: PodInfo
    added: float
    attempts: int = 0
    refused_by: frozenset[str] = frozenset()
    wakes: frozenset[str] = frozenset()
    tried_at: float = 0.0
    cycle: int = 0
    promised: str = ""
    """The node where pods go to make room for it."""


@dataclass
class SchedulingQueue:
    """Keyed by UID; a pod is in at most one place. `pop()` waits for an active pod."""

    clock: Clock
    active: dict[str, QueuedPod] = field(default_factory=dict)
    backing_off: dict[str, QueuedPod] = field(default_factory=dict)
    unschedulable: dict[str, QueuedPod] = field(default_factory=dict)
    gated: dict[str, QueuedPod] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._order = itertools.count()
        self._by_event: dict[str, dict[str, QueuedPod]] = {}
        """The unschedulable pods by what they wait for."""
        self._heap: list[tuple[int, float, int, str]] = []
        self._timers: list[tuple[float, int, str]] = []
        self._arrived = asyncio.Event()
        self._timer_moved = asyncio.Event()
        # Events since the cycle in which a pod was popped: a pod refused while one came must not sleep through it.
        self._cycle = 0
        self._recent: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self.active) + len(self.backing_off) + len(self.unschedulable) + len(self.gated)

    def add(self, pod: PodInfo) -> None:
        """A new pod, or a new state of a pending one."""
        known = self.find(pod.uid)
        if known is None:
            entry = QueuedPod(pod, self.clock.time())
        else:
            entry = known
            entry.pod = pod
            if pod.uid in self.active:
                return
            if pod.uid in self.backing_off:
                return
            self.remove(pod.uid)
        if pod.spec.get("schedulingGates"):
            self.gated[pod.uid] = entry
            return
        self._activate(entry)

    def replace(self, pod: PodInfo) -> None:
        """A new state that makes no difference to where it may run."""
        known = self.find(pod.uid)
        if known is not None:
            known.pod = pod

    def find(self, uid: str) -> QueuedPod | None:
        for place in (self.active, self.backing_off, self.unschedulable, self.gated):
            if uid in place:
                return place[uid]
        return None

    def remove(self, uid: str) -> None:
        for place in (self.active, self.backing_off, self.gated):
            place.pop(uid, None)
        self._leave(uid)

    def _leave(self, uid: str) -> QueuedPod | None:
        """Take a pod out of the unschedulable ones."""
        entry = self.unschedulable.pop(uid, None)
        if entry is not None:
            for event in entry.wakes:
                self._by_event[event].pop(uid, None)
        return entry

    def try_pop(self) -> QueuedPod | None:
        """The next active pod, None if there is none."""
        while self._heap:
            _, _, _, uid = heapq.heappop(self._heap)
            entry = self.active.pop(uid, None)
            if entry is not None:
                entry.attempts += 1
                self._cycle += 1
                entry.cycle = self._cycle
                return entry
        return None

    async def pop(self) -> QueuedPod:
        while True:
            entry = self.try_pop()
            if entry is not None:
                return entry
            self._arrived.clear()
            await self._arrived.wait()

    def refuse(self, entry: QueuedPod, refused_by: frozenset[str], wakes: frozenset[str], promised: str = "") -> None:
        """Put a pod that fits nowhere aside until one of `wakes` happens; for a while only at `promised`."""
        self._leave(entry.pod.uid)
        entry.refused_by, entry.wakes, entry.promised = refused_by, wakes, promised
        entry.tried_at = self.clock.time()
        missed = any(cycle >= entry.cycle and event in wakes for cycle, event in self._recent)
        if missed:
            self._back_off(entry)
        else:
            self.unschedulable[entry.pod.uid] = entry
            for event in wakes:
                self._by_event.setdefault(event, {})[entry.pod.uid] = entry
            self._timer(entry.pod.uid, entry.tried_at + FLUSH_AFTER)

    def retry(self, entry: QueuedPod) -> None:
        """Put a pod whose attempt failed for a passing reason (an API error) into back-off."""
        entry.tried_at = self.clock.time()
        self._back_off(entry)

    def happened(self, event: str, node: str = "") -> None:
        """Something changed (on `node`): pods that were refused by a plugin waiting for it are tried again."""
        self._recent.append((self._cycle, event))
        if len(self._recent) > 64:
            # One pod at a time is between pop and refuse, so only the latest events can be missed.
            self._recent = self._recent[-32:]
        soon = self.clock.time() - PROMISE
        for uid, entry in list(self._by_event.get(event, {}).items()):
            if node and entry.promised and entry.promised != node and entry.tried_at > soon:
                continue
            self._leave(uid)
            self._back_off(entry)

    async def run_timers(self) -> None:
        """Bring pods back when their back-off (or five minutes) is over. Runs until cancelled."""
        while True:
            now = self.clock.time()
            while self._timers and self._timers[0][0] <= now:
                _, _, uid = heapq.heappop(self._timers)
                self._expire(uid, now)
            if not self._timers:
                self._timer_moved.clear()
                await self._timer_moved.wait()
                continue
            self._timer_moved.clear()
            sleep = asyncio.ensure_future(self.clock.sleep(self._timers[0][0] - now))
            moved = asyncio.ensure_future(self._timer_moved.wait())
            try:
                await asyncio.wait({sleep, moved}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                sleep.cancel()
                moved.cancel()

    def _expire(self, uid: str, now: float) -> None:
        entry = self.backing_off.get(uid)
        if entry is not None and self._backoff_ends(entry) <= now:
            del self.backing_off[uid]
            self._activate(entry)
            return
        entry = self.unschedulable.get(uid)
        if entry is not None and entry.tried_at + FLUSH_AFTER <= now:
            self._leave(uid)
            self._activate(entry)

    def _backoff_ends(self, entry: QueuedPod) -> float:
        return entry.tried_at + min(BACKOFF_FIRST * 2.0 ** max(entry.attempts - 1, 0), BACKOFF_MAX)

    def _back_off(self, entry: QueuedPod) -> None:
        ends = self._backoff_ends(entry)
        if ends <= self.clock.time():
            self._activate(entry)
            return
        self.backing_off[entry.pod.uid] = entry
        self._timer(entry.pod.uid, ends)

    def _activate(self, entry: QueuedPod) -> None:
        self.active[entry.pod.uid] = entry
        heapq.heappush(self._heap, (-entry.pod.priority, entry.added, next(self._order), entry.pod.uid))
        self._arrived.set()

    def _timer(self, uid: str, when: float) -> None:
        heapq.heappush(self._timers, (when, next(self._order), uid))
        if self._timers[0][2] == uid:
            self._timer_moved.set()

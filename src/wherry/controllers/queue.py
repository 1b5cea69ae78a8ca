"""The keyed queue: each key at most once in the queue, never with two workers at once, retried with back-off.

A key added while it is worked on is queued again when that work is done, so no change is missed.
"""

import asyncio
from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

from wherry.client.clock import Clock

K = TypeVar("K", bound=Hashable)

BACKOFF_FIRST, BACKOFF_MAX = 0.005, 1000.0


class KeyedQueue(Generic[K]):
    """`get()` hands out a key, `done(key)` takes it back; in between the key is this worker's alone."""

    def __init__(self, clock: Clock, *, backoff_max: float = BACKOFF_MAX) -> None:
        self._clock = clock
        self._backoff_max = backoff_max
        self._ready: deque[K] = deque()
        self._dirty: set[K] = set()
        self._working: set[K] = set()
        self._failures: dict[K, int] = {}
        self._timers: dict[K, tuple[float, asyncio.Task[None]]] = {}
        self._waiting: deque[asyncio.Future[None]] = deque()

    def __len__(self) -> int:
        return len(self._ready)

    @property
    def idle(self) -> bool:
        """Nothing queued and nothing worked on (keys that wait for a time do not count)."""
        return not self._ready and not self._working

    def add(self, key: K) -> None:
        if key in self._dirty:
            return
        self._dirty.add(key)
        if key not in self._working:
            self._push(key)

    def add_after(self, key: K, seconds: float) -> None:
        """Add `key` after `seconds`; an earlier time already set for it stays."""
        if seconds <= 0:
            self.add(key)
            return
        deadline = self._clock.monotonic() + seconds
        timer = self._timers.get(key)
        if timer is not None:
            if timer[0] <= deadline:
                return
            timer[1].cancel()
        self._timers[key] = (deadline, asyncio.create_task(self._later(key, seconds)))

    def add_rate_limited(self, key: K) -> float:
        """Add `key` after its back-off, which doubles with each call until `forget`. Returns the delay."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay: float = min(BACKOFF_FIRST * 2.0 ** min(failures, 40), self._backoff_max)
        self.add_after(key, delay)
        return delay

    def failures(self, key: K) -> int:
        """How often `key` has failed in a row."""
        return self._failures.get(key, 0)

    def forget(self, key: K) -> None:
        self._failures.pop(key, None)

    async def get(self) -> K:
        while not self._ready:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            try:
                await future
            except asyncio.CancelledError:
                # Woken and cancelled at once: pass the wake-up on.
                if future.done() and not future.cancelled() and self._ready:
                    self._wake()
                raise
        key = self._ready.popleft()
        self._dirty.discard(key)
        self._working.add(key)
        return key

    def done(self, key: K) -> None:
        self._working.discard(key)
        if key in self._dirty:
            self._push(key)

    def close(self) -> None:
        """Drop the timers."""
        for _, task in self._timers.values():
            task.cancel()
        self._timers.clear()

    def _push(self, key: K) -> None:
        self._ready.append(key)
        self._wake()

    def _wake(self) -> None:
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)
                return

    async def _later(self, key: K, seconds: float) -> None:
        await self._clock.sleep(seconds)
        self._timers.pop(key, None)
        self.add(key)

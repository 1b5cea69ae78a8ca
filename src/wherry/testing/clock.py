"""A clock that stands still until a test moves it."""

import asyncio
import heapq
import itertools

START = 1_767_225_600.0
"""2026-01-01T00:00:00Z: where a mock clock begins."""


class MockClock:
    """`time()` and `monotonic()` move only by `advance`; sleepers wake in the order of their deadlines."""

    def __init__(self, start: float = START) -> None:
        self._now = start
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def time(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._now - START

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), future))
        await future

    async def advance(self, seconds: float) -> None:
        """Move on by `seconds`, waking each sleeper at its own moment and letting all tasks settle in between."""
        target = self._now + seconds
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= target:
            deadline, _, future = heapq.heappop(self._sleepers)
            if future.done():
                continue
            self._now = max(self._now, deadline)
            future.set_result(None)
            await self.settle()
        self._now = target
        await self.settle()

    @property
    def next_deadline(self) -> float | None:
        """When the next sleeper wants to wake (epoch seconds), None if nobody sleeps."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    async def settle(self, rounds: int = 60) -> None:
        """Let every task that can run do so. Tasks that wait for real I/O need a condition instead."""
        for _ in range(rounds):
            await asyncio.sleep(0)

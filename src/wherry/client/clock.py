"""Time as an argument: everything that waits or stamps takes a `Clock`, so that tests own time.

Times of the API are RFC 3339 strings (`2026-01-31T10:00:00Z`); inside they are epoch seconds (float).
"""

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Wall time, a clock that never goes back, and waiting."""

    def time(self) -> float:
        """Seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds since any moment; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's own time."""

    def time(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def format_time(seconds: float) -> str:
    """`metav1.Time`: whole seconds, UTC, e.g. `2026-01-31T10:00:00Z`."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def format_micro_time(seconds: float) -> str:
    """`metav1.MicroTime`: six decimals, e.g. `2026-01-31T10:00:00.000000Z` (leases, events)."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str | None) -> float | None:
    """Epoch seconds of an API time; None for an absent one. Raises ValueError for what is no time."""
    if not text:
        return None
    return datetime.fromisoformat(text).timestamp()


def parse_time_or(text: str | None, default: float) -> float:
    """As `parse_time`, with `default` for an absent time."""
    parsed = parse_time(text)
    return default if parsed is None else parsed

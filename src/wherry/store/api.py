"""The store: revisioned key-value data under etcd's contract, whatever keeps it.

Vocabulary. The store has one *revision* counter: every successful write raises it by one (the first write of
a new store gets 2) and it never goes back. A key's *mod revision* is the revision that last wrote it, its
*create revision* the one that made it. To *compact* to revision R is to forget every value that a later write
up to R replaced: reading or watching from before R then raises `Compacted`.

Keys are text that sorts by its UTF-8 bytes; values are bytes that the store never looks into. A write is
answered only when it would survive a power cut. Reads see every write that was answered before them.

The contract follows https://etcd.io/docs/v3.5/learning/api/ and is held by one suite that runs against each
implementation (`tests/contracts`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol


class KeyValue(NamedTuple):
    """A key as it was after revision `mod_revision`."""

    key: str
    value: bytes
    create_revision: int
    mod_revision: int


class Event(NamedTuple):
    """One write. `value` is None for a deletion (and `create_revision` is then 0)."""

    key: str
    value: bytes | None
    create_revision: int
    revision: int


@dataclass(frozen=True, slots=True)
class RangeResult:
    """Keys in order. `revision` is the one that was read, `more` tells that `limit` cut the answer,
    `count` the number of keys in the whole range."""

    items: list[KeyValue]
    revision: int
    more: bool
    count: int


class StoreError(Exception):
    """Base of all errors of a store."""


class Mismatch(StoreError):
    """The key is not at the expected mod revision; `current` is what it is now (None: it does not exist)."""

    def __init__(self, key: str, current: KeyValue | None) -> None:
        super().__init__(f"{key} is at revision {current.mod_revision if current else 0}")
        self.key = key
        self.current = current


class Compacted(StoreError):
    """The revision asked for is older than `compacted`, the oldest one that can still be read."""

    def __init__(self, compacted: int) -> None:
        super().__init__(f"required revision has been compacted; the oldest one kept is {compacted}")
        self.compacted = compacted


class FutureRevision(StoreError):
    """The revision asked for does not exist yet."""


class NoSpace(StoreError):
    """The write was refused and nothing of it remains, because the disk or the store's quota is full."""


class Unavailable(StoreError):
    """The store cannot be reached or has been closed. A write may or may not have happened."""


class Corrupt(StoreError):
    """The data on disk fails its integrity check."""


Deliver = Callable[[Sequence[Event], int], None]
"""Called in the event loop with events in revision order, each exactly once, and with the store's revision
(events may be empty: then it only tells that the revision was reached)."""

Failed = Callable[[StoreError], None]
"""Called once when a watch ends by itself: `Compacted` or `Unavailable`."""


class Watch(Protocol):
    """A running watch."""

    def close(self) -> None:
        """Stop. Nothing is delivered after it returns."""


class Store(Protocol):
    """What the API server keeps its objects in."""

    @property
    def exclusive(self) -> bool:
        """True when no other process can write to it: then what watches delivered is always current."""
        ...

    @property
    def revision(self) -> int:
        """The newest revision this process knows of."""
        ...

    @property
    def compacted(self) -> int:
        """The newest compaction this process knows of; 0 when there has been none."""
        ...

    async def newest(self) -> int:
        """The newest revision, asked where it is known; every watch is going to be told of it soon."""
        ...

    async def get(self, key: str) -> KeyValue | None:
        """The key now."""
        ...

    async def range(self, prefix: str, *, start: str = "", limit: int = 0, revision: int = 0) -> RangeResult:
        """Keys that begin with `prefix`, from `start` (inclusive) on, as they were after `revision` (0: now).

        Raises Compacted, FutureRevision.
        """
        ...

    async def put(self, key: str, value: bytes, *, expected: int | None = None) -> int:
        """Write, and return the write's revision. `expected` is the mod revision that the key must be at:
        0 that it must not exist, None that it does not matter. Raises Mismatch, NoSpace."""
        ...

    async def delete(self, key: str, *, expected: int | None = None) -> int:
        """Delete, and return the deletion's revision. Raises Mismatch, also when the key does not exist."""
        ...

    def watch(self, prefix: str, start_revision: int, deliver: Deliver, failed: Failed) -> Watch:
        """Deliver every write below `prefix` from `start_revision` (inclusive) on: first history, then the
        present. A write is delivered before it is answered when the store is `exclusive`."""
        ...

    async def compact(self, revision: int) -> None:
        """Forget history before `revision`. Raises Compacted (done already), FutureRevision."""
        ...

    async def backup(self, path: Path) -> int:
        """Write a consistent copy of the whole store to the new file `path`; returns its revision."""
        ...

    async def close(self) -> None:
        """Finish the writes under way, then let go of everything. Later calls raise Unavailable."""
        ...


def prefix_end(prefix: str) -> str:
    """The smallest text that is greater than every text beginning with `prefix`."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)

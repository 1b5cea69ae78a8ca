"""The store's contract, held against SQLite and against a real etcd."""

import asyncio
import contextlib
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from registries import Certificate, make_certificate

from wherry.store.api import Compacted, Event, FutureRevision, Mismatch, Store, StoreError, Unavailable
from wherry.store.etcd import EtcdStore
from wherry.store.sqlite import SqliteStore

P = "/registry/core/pods/"
Open = Callable[[], Awaitable[Store]]


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@contextlib.asynccontextmanager
async def etcd(directory: Path, tls: Certificate | None = None) -> AsyncIterator[str]:
    """A real etcd; gives its URL. With `tls` it shows that certificate and wants one signed by it."""
    if shutil.which("etcd") is None:
        pytest.skip("etcd is not installed")
    client, peer = (f"http://127.0.0.1:{port}" for port in free_ports(2))
    words: list[str] = []
    files: dict[str, str] = {}
    if tls is not None:
        client = client.replace("http:", "https:")
        cert, key = str(tls.certificate), str(tls.key)
        words = ["--cert-file", cert, "--key-file", key, "--trusted-ca-file", cert, "--client-cert-auth"]
        files = {"ca": cert, "cert": cert, "key": key}
    process = await asyncio.create_subprocess_exec(
        "etcd", "--data-dir", str(directory / "etcd"), "--listen-client-urls", client,
        "--advertise-client-urls", client,
        "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}",
        *words,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(20):
            while True:
                try:
                    store = await EtcdStore.open([client], **files)
                except Unavailable:
                    await asyncio.sleep(0.05)
                    continue
                await store.close()
                break
        yield client
    finally:
        process.kill()
        await process.wait()


@pytest.fixture(params=["sqlite", "etcd"])
async def opened(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Store, Open]]:
    """An empty store, and a way to open it again after closing it."""
    async with contextlib.AsyncExitStack() as stack:
        if request.param == "sqlite":

            async def again() -> Store:
                return await SqliteStore.open(tmp_path / "store.db")
        else:
            url = await stack.enter_async_context(etcd(tmp_path))

            async def again() -> Store:
                return await EtcdStore.open([url])

        store = await again()
        yield store, again
        await store.close()


@pytest.fixture
def store(opened: tuple[Store, Open]) -> Store:
    return opened[0]


class Collected:
    """What a watch delivered."""

    def __init__(self, store: Store, prefix: str, start: int) -> None:
        self.events: list[Event] = []
        self.reached = 0
        self.error: StoreError | None = None
        self._changed = asyncio.Event()
        self.watch = store.watch(prefix, start, self._deliver, self._failed)

    def _deliver(self, events: object, revision: int) -> None:
        self.events.extend(events)  # type: ignore[arg-type]
        self.reached = revision
        self._changed.set()

    def _failed(self, error: StoreError) -> None:
        self.error = error
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


async def test_a_put_is_read_back_with_its_revisions(store: Store) -> None:
    first = await store.put(P + "a/x", b"1")
    second = await store.put(P + "a/x", b"2")
    found = await store.get(P + "a/x")
    assert found is not None
    assert (found.value, found.create_revision, found.mod_revision) == (b"2", first, second)
    assert second == first + 1
    assert await store.get(P + "a/y") is None


async def test_create_refuses_an_existing_key_and_tells_its_state(store: Store) -> None:
    revision = await store.put(P + "x", b"1", expected=0)
    with pytest.raises(Mismatch) as raised:
        await store.put(P + "x", b"2", expected=0)
    assert raised.value.current is not None
    assert (raised.value.current.value, raised.value.current.mod_revision) == (b"1", revision)


async def test_compare_and_swap_needs_the_current_revision(store: Store) -> None:
    first = await store.put(P + "x", b"1")
    second = await store.put(P + "x", b"2", expected=first)
    with pytest.raises(Mismatch):
        await store.put(P + "x", b"3", expected=first)
    with pytest.raises(Mismatch) as raised:
        await store.put(P + "none", b"3", expected=second)
    assert raised.value.current is None


async def test_delete_needs_the_key_and_the_revision(store: Store) -> None:
    with pytest.raises(Mismatch):
        await store.delete(P + "x")
    first = await store.put(P + "x", b"1")
    with pytest.raises(Mismatch):
        await store.delete(P + "x", expected=first + 7)
    assert await store.delete(P + "x", expected=first) == first + 1
    assert await store.get(P + "x") is None
    again = await store.put(P + "x", b"2", expected=0)
    found = await store.get(P + "x")
    assert found is not None and found.create_revision == again


async def test_one_of_many_concurrent_swaps_wins(store: Store) -> None:
    base = await store.put(P + "x", b"0")
    results = await asyncio.gather(
        *(store.put(P + "x", b"%d" % index, expected=base) for index in range(20)), return_exceptions=True
    )
    assert len([one for one in results if isinstance(one, int)]) == 1
    assert all(isinstance(one, int | Mismatch) for one in results)


async def test_a_counter_loses_no_increment(store: Store) -> None:
    await store.put(P + "n", b"0")

    async def increment() -> None:
        current = await store.get(P + "n")
        while True:
            assert current is not None
            try:
                await store.put(P + "n", b"%d" % (int(current.value) + 1), expected=current.mod_revision)
            except Mismatch as mismatch:
                current = mismatch.current
            else:
                return

    await asyncio.gather(*(increment() for _ in range(50)))
    found = await store.get(P + "n")
    assert found is not None and found.value == b"50"


async def test_range_is_in_key_order_and_stays_below_its_prefix(store: Store) -> None:
    for name in ("b/1", "a/2", "a/1", "ab/1"):
        await store.put(P + name, name.encode())
    await store.put("/registry/core/podz/x", b"other")
    result = await store.range(P)
    assert [item.key for item in result.items] == [P + one for one in ("a/1", "a/2", "ab/1", "b/1")]
    assert [item.value for item in (await store.range(P + "a/")).items] == [b"a/1", b"a/2"]


async def test_range_by_pages_shows_one_moment(store: Store) -> None:
    for index in range(7):
        await store.put(f"{P}{index}", b"old")
    first = await store.range(P, limit=3)
    assert (len(first.items), first.more, first.count) == (3, True, 7)
    await store.put(P + "5", b"new")
    await store.delete(P + "6")
    second = await store.range(P, start=first.items[-1].key + "\0", limit=10, revision=first.revision)
    assert [item.value for item in second.items] == [b"old"] * 4
    assert not second.more


async def test_range_at_an_old_revision(store: Store) -> None:
    first = await store.put(P + "x", b"1")
    await store.put(P + "x", b"2")
    assert (await store.range(P, revision=first)).items[0].value == b"1"
    with pytest.raises(FutureRevision):
        await store.range(P, revision=first + 1000)


async def test_compaction_forgets_the_past_and_keeps_the_present(store: Store) -> None:
    first = await store.put(P + "x", b"1")
    await store.put(P + "gone", b"1")
    await store.delete(P + "gone")
    last = await store.put(P + "x", b"2")
    await store.compact(last)
    with pytest.raises(Compacted):
        await store.range(P, revision=first)
    assert [(item.value, item.mod_revision) for item in (await store.range(P)).items] == [(b"2", last)]
    with pytest.raises(Compacted):
        await store.compact(first)
    collected = Collected(store, P, first)
    await collected.until(lambda: collected.error is not None)
    assert isinstance(collected.error, Compacted)


async def test_a_watch_gives_history_then_the_present_each_once(store: Store) -> None:
    first = await store.put(P + "a", b"1")
    await store.put(P + "b", b"2")
    collected = Collected(store, P, first)
    revisions = await asyncio.gather(*(store.put(f"{P}c{index}", b"x") for index in range(50)))
    await store.delete(P + "a")
    await store.put("/registry/core/other/x", b"not mine")
    await collected.until(lambda: len(collected.events) >= 53)
    assert [event.revision for event in collected.events] == list(range(first, max(revisions) + 2))
    assert collected.events[0] == Event(P + "a", b"1", first, first)
    assert collected.events[-1].value is None
    collected.watch.close()


async def test_a_closed_watch_is_silent(store: Store) -> None:
    collected = Collected(store, P, await store.newest() + 1)
    await store.put(P + "a", b"1")
    await collected.until(lambda: len(collected.events) == 1)
    collected.watch.close()
    await store.put(P + "b", b"1")
    await store.newest()
    assert len(collected.events) == 1


async def test_watches_learn_of_the_newest_revision(store: Store) -> None:
    collected = Collected(store, P, await store.newest() + 1)
    await store.put("/elsewhere", b"1")
    newest = await store.newest()
    await collected.until(lambda: collected.reached >= newest)
    assert collected.events == []


async def test_everything_is_there_after_reopening(opened: tuple[Store, Open]) -> None:
    store, again = opened
    first = await store.put(P + "x", b"1")
    await store.put(P + "y", b"1")
    last = await store.delete(P + "y")
    await store.close()
    with pytest.raises(Unavailable):
        await store.get(P + "x")
    reopened = await again()
    try:
        assert await reopened.newest() == last
        assert [item.key for item in (await reopened.range(P)).items] == [P + "x"]
        collected = Collected(reopened, P, first)
        await collected.until(lambda: len(collected.events) == 3)
        assert await reopened.put(P + "z", b"1", expected=0) == last + 1
    finally:
        await reopened.close()


async def test_values_may_hold_any_bytes(store: Store) -> None:
    value = bytes(range(256)) * 4096
    await store.put(P + "x", value)
    found = await store.get(P + "x")
    assert found is not None and found.value == value
    await store.put(P + "empty", b"")
    found = await store.get(P + "empty")
    assert found is not None and found.value == b""


async def test_backup_makes_a_copy(store: Store, tmp_path: Path) -> None:
    await store.put(P + "x", b"1")
    revision = await store.backup(tmp_path / "copy")
    assert revision >= 2
    assert (tmp_path / "copy").stat().st_size > 0
    if isinstance(store, SqliteStore):
        copy = await SqliteStore.open(tmp_path / "copy")
        assert copy.revision == revision
        assert (await copy.range(P)).items[0].value == b"1"
        await copy.close()


async def test_etcd_over_tls_with_client_certificates(tmp_path: Path) -> None:
    files = make_certificate(tmp_path / "pki", "127.0.0.1")
    cert, key = str(files.certificate), str(files.key)
    async with etcd(tmp_path, files) as url:
        store = await EtcdStore.open([url], ca=cert, cert=cert, key=key)
        seen = Collected(store, P, 1)
        revision = await store.put(P + "a", b"1", expected=0)
        await seen.until(lambda: seen.reached >= revision)
        assert [(one.key, one.value) for one in seen.events] == [(P + "a", b"1")]
        seen.watch.close()
        await store.close()
        with pytest.raises(Unavailable):
            await EtcdStore.open([url], ca=cert)
        with pytest.raises(Unavailable):
            await EtcdStore.open([url], cert=cert, key=key)

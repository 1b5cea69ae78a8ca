"""Bytes between the event loop and a thread that blocks.

`feed` lets a blocking function iterate over what an async iterator yields; `drain` lets async code iterate
over what a blocking iterator yields. Both hold a few chunks at most, so a slow side slows the other one down.
"""

import asyncio
import queue
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import TypeVar, cast

T = TypeVar("T")
_DEPTH = 8


class Interrupted(Exception):
    """The source of the bytes failed; its own error is the cause."""


async def in_thread(work: Callable[[], T]) -> T:
    """Run `work` in a thread of its own: long streams must not take the seats of the shared thread pool."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(cast(T, result))

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - it belongs to the awaiting task and is raised there
            loop.call_soon_threadsafe(settle, None, error)
        else:
            loop.call_soon_threadsafe(settle, result, None)

    threading.Thread(target=run, name="wherry-stream", daemon=True).start()
    return await future


async def feed(source: AsyncIterable[bytes], work: Callable[[Iterator[bytes]], T]) -> T:
    """Run `work(chunks)` in a thread, `chunks` being what `source` yields. Errors of either side are raised.

    When the source fails, `chunks` raises Interrupted inside `work`, so that it can clean up, and the source's
    error is raised here.
    """
    loop = asyncio.get_running_loop()
    chunks: queue.Queue[bytes | BaseException | None] = queue.Queue()
    room = asyncio.Semaphore(_DEPTH)

    def iterate() -> Iterator[bytes]:
        while True:
            item = chunks.get()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise Interrupted(str(item)) from item
            loop.call_soon_threadsafe(room.release)
            yield item

    async def pump() -> None:
        try:
            async for chunk in source:
                await room.acquire()
                chunks.put(chunk)
        except BaseException as error:
            chunks.put(error)
            raise
        chunks.put(None)

    pumping = asyncio.create_task(pump())
    working = asyncio.ensure_future(in_thread(lambda: work(iterate())))
    try:
        return await asyncio.shield(working)
    except Interrupted as interrupted:
        if interrupted.__cause__ is not None:
            raise interrupted.__cause__ from None
        raise
    finally:
        pumping.cancel()
        await asyncio.gather(pumping, return_exceptions=True)
        # A cancelled caller must not leave the thread behind: its iterator ends with an error, and it finishes.
        await asyncio.gather(working, return_exceptions=True)


async def drain(make: Callable[[], Iterable[bytes]]) -> AsyncIterator[bytes]:
    """What the iterable made by `make` yields, produced by a thread."""
    loop = asyncio.get_running_loop()
    chunks: asyncio.Queue[bytes | BaseException | None] = asyncio.Queue()
    room = threading.Semaphore(_DEPTH)
    stopped = threading.Event()

    def put(item: bytes | BaseException | None) -> None:
        loop.call_soon_threadsafe(chunks.put_nowait, item)

    def work() -> None:
        source = iter(make())
        try:
            for chunk in source:
                room.acquire()
                if stopped.is_set():
                    break
                put(chunk)
        except Exception as error:  # noqa: BLE001 - it belongs to the consumer and is raised there
            put(error)
        else:
            put(None)
        finally:
            close = getattr(source, "close", None)
            if close is not None:
                close()

    working = asyncio.ensure_future(in_thread(work))
    try:
        while (item := await chunks.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            room.release()
            yield item
    finally:
        stopped.set()
        room.release()
        await asyncio.gather(working, return_exceptions=True)

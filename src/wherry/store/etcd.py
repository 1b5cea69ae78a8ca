"""The store in a real etcd (v3), spoken to through its HTTP/JSON gateway.

The gateway is part of every etcd since 3.3 and spares a gRPC stack. Keys and values travel in base64. Several API
servers may share one etcd: compare-and-swap and watches then keep them apart and together.
https://etcd.io/docs/v3.5/dev-guide/api_grpc_gateway/
"""

import asyncio
import base64
import logging
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from wherry.store.api import (
    Compacted,
    Deliver,
    Event,
    Failed,
    FutureRevision,
    KeyValue,
    Mismatch,
    NoSpace,
    RangeResult,
    StoreError,
    Unavailable,
    prefix_end,
)

log = logging.getLogger(__name__)

REQUEST_SECONDS = 10.0
RETRY_SECONDS = 0.2
PAGE = 2000
TICK_SUFFIX = "~tick"
"""A key below a watched prefix that is written only to make the watch tell how far it is."""
COMPACT_SECONDS = 300.0


def _b64(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def _text(encoded: str) -> str:
    return base64.b64decode(encoded).decode()


def _key_value(raw: dict[str, Any]) -> KeyValue:
    return KeyValue(
        _text(raw["key"]),
        base64.b64decode(raw.get("value", "")),
        int(raw["create_revision"]),
        int(raw["mod_revision"]),
    )


class EtcdWatch:
    """See `store.api.Watch`. Reconnects by itself and goes on from the revision after the last one delivered."""

    def __init__(self, store: "EtcdStore", prefix: str, start_revision: int, deliver: Deliver, failed: Failed) -> None:
        self.prefix = prefix
        self.next_revision = start_revision
        self._store = store
        self._deliver = deliver
        self._failed = failed
        self._task = asyncio.get_running_loop().create_task(self._run())

    def close(self) -> None:
        self._task.cancel()
        self._store.forget(self)

    async def _run(self) -> None:
        try:
            while True:
                try:
                    async for events, revision in self._store.stream(self.prefix, self.next_revision):
                        self.next_revision = max(self.next_revision, revision + 1)
                        self._deliver(events, revision)
                except Unavailable as error:
                    log.warning("watch on etcd broke off, trying again: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
        except StoreError as error:
            self._store.forget(self)
            self._failed(error)


class EtcdStore:
    """See `store.api.Store`. Open with `EtcdStore.open`."""

    exclusive = False

    def __init__(self, endpoints: Sequence[str], session: aiohttp.ClientSession) -> None:
        self._endpoints = deque(endpoint.rstrip("/") for endpoint in endpoints)
        self._session = session
        self._watches: list[EtcdWatch] = []
        self._revision = 1
        self._compacted = 0
        self._closed = False
        self._compactor: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        endpoints: Sequence[str],
        *,
        ca: str = "",
        cert: str = "",
        key: str = "",
        compact_seconds: float = COMPACT_SECONDS,
    ) -> "EtcdStore":
        """`endpoints` are URLs; `ca`, `cert` and `key` PEM files for TLS. History older than `compact_seconds` is
        compacted. Raises Unavailable when none answers."""
        context: ssl.SSLContext | bool = True
        if ca or cert:
            context = ssl.create_default_context(cafile=ca or None)
            if cert:
                context.load_cert_chain(cert, key or None)
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, limit=0),
            json_serialize=lambda value: orjson.dumps(value).decode(),
        )
        store = cls(endpoints, session)
        try:
            await store.newest()
        except StoreError:
            await session.close()
            raise
        store._compactor = asyncio.get_running_loop().create_task(store._compact_always(compact_seconds))
        return store

    # -- the contract

    @property
    def revision(self) -> int:
        return self._revision

    @property
    def compacted(self) -> int:
        return self._compacted

    async def newest(self) -> int:
        answer = await self._call("kv/range", {"key": _b64("\0"), "limit": 1, "keys_only": True})
        revision = int(answer["header"]["revision"])
        for watch in self._watches:
            if watch.next_revision <= revision:
                await self._call("kv/put", {"key": _b64(watch.prefix + TICK_SUFFIX), "value": ""})
        return revision

    async def get(self, key: str) -> KeyValue | None:
        answer = await self._call("kv/range", {"key": _b64(key)})
        found = answer.get("kvs")
        return _key_value(found[0]) if found else None

    async def range(self, prefix: str, *, start: str = "", limit: int = 0, revision: int = 0) -> RangeResult:
        if revision > self._revision:
            await self.newest()
            if revision > self._revision:
                raise FutureRevision(f"revision {revision} is newer than {self._revision}")
        items: list[KeyValue] = []
        low, end = max(prefix, start), _b64(prefix_end(prefix))
        at, count = revision, 0
        while True:
            page = min(PAGE, limit - len(items)) if limit else PAGE
            body: dict[str, Any] = {"key": _b64(low), "range_end": end, "limit": page}
            if at:
                body["revision"] = at
            answer = await self._call("kv/range", body)
            found = [_key_value(raw) for raw in answer.get("kvs") or ()]
            at = at or int(answer["header"]["revision"])
            count = count or int(answer.get("count", 0))
            more = bool(answer.get("more"))
            items += [item for item in found if not item.key.endswith(TICK_SUFFIX)]
            if not more or (limit and len(items) >= limit):
                return RangeResult(items, at, more, count)
            low = found[-1].key + "\0"

    async def put(self, key: str, value: bytes, *, expected: int | None = None) -> int:
        request: dict[str, Any] = {"key": _b64(key), "value": _b64(value)}
        if expected is None:
            answer = await self._call("kv/put", request, write=True)
            return int(answer["header"]["revision"])
        return await self._swap(key, expected, {"request_put": request})

    async def delete(self, key: str, *, expected: int | None = None) -> int:
        if expected == 0:
            raise Mismatch(key, await self.get(key))
        if expected is not None:
            return await self._swap(key, expected, {"request_delete_range": {"key": _b64(key)}})
        answer = await self._call("kv/deleterange", {"key": _b64(key)}, write=True)
        if not int(answer.get("deleted", 0)):
            raise Mismatch(key, None)
        return int(answer["header"]["revision"])

    async def _swap(self, key: str, expected: int, operation: dict[str, Any]) -> int:
        encoded = _b64(key)
        answer = await self._call(
            "kv/txn",
            {
                "compare": [{"key": encoded, "target": "MOD", "mod_revision": expected, "result": "EQUAL"}],
                "success": [operation],
                "failure": [{"request_range": {"key": encoded}}],
            },
            write=True,
        )
        if answer.get("succeeded"):
            return int(answer["header"]["revision"])
        found = (answer["responses"][0].get("response_range") or {}).get("kvs")
        raise Mismatch(key, _key_value(found[0]) if found else None)

    def watch(self, prefix: str, start_revision: int, deliver: Deliver, failed: Failed) -> EtcdWatch:
        if self._closed:
            raise Unavailable("the store has been closed")
        watch = EtcdWatch(self, prefix, start_revision, deliver, failed)
        self._watches.append(watch)
        return watch

    def forget(self, watch: EtcdWatch) -> None:
        """The watch has been closed."""
        if watch in self._watches:
            self._watches.remove(watch)

    async def compact(self, revision: int) -> None:
        await self._call("kv/compaction", {"revision": revision, "physical": True}, write=True)
        self._compacted = max(self._compacted, revision)

    async def backup(self, path: Path) -> int:
        revision = await self.newest()
        with path.open("wb") as target:
            async for line in self._lines("maintenance/snapshot", {}):
                result = line.get("result") or {}
                blob = base64.b64decode(result.get("blob", ""))
                await asyncio.to_thread(target.write, blob)
        return revision

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._compactor is not None:
            self._compactor.cancel()
        for watch in list(self._watches):
            watch.close()
        await self._session.close()

    # -- talking to etcd

    async def _call(self, method: str, body: dict[str, Any], *, write: bool = False) -> dict[str, Any]:
        """One request. A read is tried at every endpoint; a write only until it may have been received."""
        if self._closed:
            raise Unavailable("the store has been closed")
        last: Exception | None = None
        for _ in range(len(self._endpoints)):
            try:
                async with self._session.post(
                    f"{self._endpoints[0]}/v3/{method}",
                    data=orjson.dumps(body),
                    timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS),
                ) as response:
                    answer: dict[str, Any] = orjson.loads(await response.read())
                    if response.status != 200:
                        raise self._error(answer)
                    self._note(answer)
                    return answer
            except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError) as error:
                last = error
                self._endpoints.rotate(-1)
                if write and not isinstance(error, aiohttp.ClientConnectorError):
                    break
        raise Unavailable(f"etcd does not answer: {last}") from last

    def _note(self, answer: dict[str, Any]) -> None:
        header = answer.get("header") or {}
        self._revision = max(self._revision, int(header.get("revision", 0)))

    def _error(self, answer: dict[str, Any]) -> StoreError:
        message = str(answer.get("error") or answer.get("message") or answer)
        if "compacted" in message:
            return Compacted(self._compacted)
        if "future revision" in message:
            return FutureRevision(message)
        if "database space exceeded" in message:
            return NoSpace(message)
        return Unavailable(f"etcd refused: {message}")

    async def _lines(self, method: str, body: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """The JSON documents of a streaming call."""
        try:
            async with self._session.post(
                f"{self._endpoints[0]}/v3/{method}",
                data=orjson.dumps(body),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=REQUEST_SECONDS),
            ) as response:
                rest = b""
                async for piece in response.content.iter_any():
                    *lines, rest = (rest + piece).split(b"\n")
                    for line in lines:
                        if line.strip():
                            yield orjson.loads(line)
        except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError) as error:
            self._endpoints.rotate(-1)
            raise Unavailable(f"etcd does not answer: {error}") from error

    async def stream(self, prefix: str, start_revision: int) -> AsyncIterator[tuple[list[Event], int]]:
        """Events below `prefix` from `start_revision` on, with the revision reached. Raises Compacted, Unavailable."""
        request = {"key": _b64(prefix), "range_end": _b64(prefix_end(prefix)), "start_revision": start_revision}
        async for line in self._lines("watch", {"create_request": {**request, "progress_notify": True}}):
            if "error" in line:
                raise Unavailable(f"etcd ended a watch: {line['error']}")
            result = line.get("result") or {}
            if int(result.get("compact_revision", 0)):
                self._compacted = max(self._compacted, int(result["compact_revision"]))
                raise Compacted(self._compacted)
            if result.get("canceled"):
                raise Unavailable(f"etcd ended a watch: {result.get('cancel_reason', '')}")
            self._note(result)
            if result.get("created"):
                continue
            events = [_event(raw) for raw in result.get("events") or ()]
            reached = events[-1].revision if events else int(result["header"]["revision"])
            yield [event for event in events if not event.key.endswith(TICK_SUFFIX)], reached

    async def _compact_always(self, seconds: float) -> None:
        """Forget what is older than `seconds`, as an API server has to do for its etcd."""
        marks: deque[tuple[float, int]] = deque()
        while True:
            marks.append((time.monotonic(), self._revision))
            await asyncio.sleep(seconds / 2)
            target = 0
            while marks and time.monotonic() - marks[0][0] >= seconds:
                target = marks.popleft()[1]
            if target > self._compacted:
                try:
                    await self.compact(target)
                except Compacted:
                    self._compacted = max(self._compacted, target)
                except StoreError as error:
                    log.warning("compaction: %s", error)


def _event(raw: dict[str, Any]) -> Event:
    item = raw["kv"]
    revision = int(item["mod_revision"])
    if raw.get("type") == "DELETE":
        return Event(_text(item["key"]), None, 0, revision)
    return Event(_text(item["key"]), base64.b64decode(item.get("value", "")), int(item["create_revision"]), revision)

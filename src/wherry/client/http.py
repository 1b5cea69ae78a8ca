"""The client over HTTPS: what `Client` promises, for processes outside the API server's own.

Connections are kept and shared. Watches stream line by line and end when the server ends them (the informer resumes).
A server that cannot be reached is a `ServiceUnavailable`; 429 with Retry-After is waited out a few times.
"""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import aiohttp
import orjson

from wherry.client import kubeconfig
from wherry.client.api import ObjectList, PatchType, WatchEvent
from wherry.schema.errors import ApiError, ServiceUnavailable, from_status
from wherry.schema.resource import Object, Resource

if TYPE_CHECKING:
    from aiohttp.connector import AddrInfoType

_JSON = "application/json"
_MAX_LINE = 64 * 1024 * 1024
_RETRIES_429 = 5
_TOKEN_LIFETIME = 60.0
USER_AGENT = "wherry"


class HttpClient:
    """See `client.api.Client`. Make it inside a running event loop, and `close()` it, or use `async with`."""

    def __init__(self, connection: kubeconfig.Connection, *, user_agent: str = USER_AGENT) -> None:
        self.connection = connection
        self._agent = user_agent
        self._session: aiohttp.ClientSession | None = None
        self._token = connection.token
        self._token_read = 0.0

    @classmethod
    def from_kubeconfig(cls, path: Path | str, context: str | None = None, *, user_agent: str = USER_AGENT) -> Self:
        """Raises kubeconfig.KubeconfigError."""
        return cls(kubeconfig.load(path, context), user_agent=user_agent)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    # Verbs.

    async def get_path(self, path: str) -> Object:
        """The JSON document at a path of the server that is no resource."""
        return await self._call("GET", path)

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
        return await self._call("GET", resource.path(namespace, name))

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
        limit: int = 0,
        continue_token: str = "",
    ) -> ObjectList:
        query = {
            "labelSelector": label_selector,
            "fieldSelector": field_selector,
            "resourceVersion": resource_version,
            "limit": str(limit) if limit else "",
            "continue": continue_token,
        }
        answer = await self._call("GET", resource.path(namespace), query=query)
        items = answer.get("items") or []
        for item in items:
            item.setdefault("apiVersion", resource.api_version)
            item.setdefault("kind", resource.kind)
        metadata = answer.get("metadata") or {}
        return ObjectList(items, metadata.get("resourceVersion", ""), metadata.get("continue", ""))

    def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
        bookmarks: bool = True,
    ) -> AbstractAsyncContextManager[AsyncIterator[WatchEvent]]:
        query = {
            "watch": "true",
            "resourceVersion": resource_version,
            "labelSelector": label_selector,
            "fieldSelector": field_selector,
            "allowWatchBookmarks": "true" if bookmarks else "",
        }

        @asynccontextmanager
        async def scope() -> AsyncIterator[AsyncIterator[WatchEvent]]:
            # No total timeout: a watch lives as long as the server lets it; a dead peer is found by TCP keep-alive.
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
            try:
                async with self._http().get(
                    self.connection.server + resource.path(namespace),
                    params=_present(query),
                    headers=await self._headers(),
                    timeout=timeout,
                ) as response:
                    if response.status != 200:
                        raise _error(response.status, await response.read())
                    yield _events(response)
            except (aiohttp.ClientError, TimeoutError) as error:
                raise _unreachable(error) from error

        return scope()

    async def create(
        self,
        resource: Resource,
        obj: Object,
        namespace: str | None = None,
        *,
        name: str | None = None,
        subresource: str | None = None,
    ) -> Object:
        namespace = namespace or obj.get("metadata", {}).get("namespace")
        return await self._call("POST", resource.path(namespace, name, subresource), _typed(resource, obj, subresource))

    async def update(self, resource: Resource, obj: Object, *, subresource: str | None = None) -> Object:
        metadata = obj["metadata"]
        path = resource.path(metadata.get("namespace"), metadata["name"], subresource)
        return await self._call("PUT", path, _typed(resource, obj, None))

    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: Any,
        namespace: str | None = None,
        *,
        type: PatchType = PatchType.MERGE,
        subresource: str | None = None,
        field_manager: str = "",
        force: bool = False,
    ) -> Object:
        query = {"fieldManager": field_manager, "force": "true" if force else ""}
        return await self._call(
            "PATCH", resource.path(namespace, name, subresource), patch, query=query, content_type=type.value
        )

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        grace_period_seconds: int | None = None,
        propagation_policy: str | None = None,
    ) -> Object:
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions"}
        preconditions = _present({"uid": uid or "", "resourceVersion": resource_version or ""})
        if preconditions:
            options["preconditions"] = preconditions
        if grace_period_seconds is not None:
            options["gracePeriodSeconds"] = grace_period_seconds
        if propagation_policy is not None:
            options["propagationPolicy"] = propagation_policy
        return await self._call("DELETE", resource.path(namespace, name), options)

    # Inside.

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                ssl=self.connection.tls if self.connection.tls is not None else True,
                limit=0,
                keepalive_timeout=60,
                socket_factory=_watched_socket,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=60, sock_connect=10),
                read_bufsize=256 * 1024,
                max_line_size=64 * 1024,
                auto_decompress=True,
            )
        return self._session

    async def _headers(self) -> dict[str, str]:
        headers = {"Accept": _JSON, "User-Agent": self._agent}
        file = self.connection.token_file
        if file is not None and time.monotonic() - self._token_read > _TOKEN_LIFETIME:
            # Projected tokens are rotated in place.
            self._token = (await asyncio.to_thread(file.read_text)).strip()
            self._token_read = time.monotonic()
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        return headers

    async def _call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: dict[str, str] | None = None,
        content_type: str = _JSON,
    ) -> Object:
        data = orjson.dumps(body) if body is not None else None
        for attempt in range(_RETRIES_429 + 1):
            headers = await self._headers()
            if data is not None:
                headers["Content-Type"] = content_type
            try:
                async with self._http().request(
                    method, self.connection.server + path, data=data, params=_present(query or {}), headers=headers
                ) as response:
                    payload = await response.read()
                    retry_after = response.headers.get("Retry-After", "")
                    status = response.status
            except (aiohttp.ClientError, TimeoutError) as error:
                raise _unreachable(error) from error
            if status == 429 and retry_after.isdigit() and attempt < _RETRIES_429 and "/eviction" not in path:
                await asyncio.sleep(min(int(retry_after), 10))
                continue
            if status >= 400:
                raise _error(status, payload)
            return _decoded(payload)
        raise AssertionError("unreachable: the last attempt returns or raises")


def _watched_socket(address: "AddrInfoType") -> socket.socket:
    """A socket on which a peer that has vanished without a word is found out within a minute, also while we only
    listen (a watch)."""
    family, kind, protocol = address[:3]
    made = socket.socket(family, kind, protocol)
    made.setblocking(False)
    if family in (socket.AF_INET, socket.AF_INET6):
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    return made


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[WatchEvent]:
    """One JSON object per line; lines may be longer than any buffer limit, so they are put together here."""
    rest = bytearray()
    async for chunk in response.content.iter_any():
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            rest += chunk[start:end]
            start = end + 1
            if rest:
                try:
                    event = orjson.loads(bytes(rest))
                except orjson.JSONDecodeError as error:
                    raise ServiceUnavailable(f"the API server sent an event that cannot be read: {error}") from error
                rest.clear()
                if event["type"] == "ERROR":
                    raise from_status(event["object"].get("code", 500), event["object"])
                yield WatchEvent(event["type"], event["object"])
        rest += chunk[start:]
        if len(rest) > _MAX_LINE:
            raise ServiceUnavailable(f"a watch event is longer than {_MAX_LINE} bytes")


def _present(query: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in query.items() if value}


def _typed(resource: Resource, obj: Object, subresource: str | None) -> Object:
    if subresource is not None or ("apiVersion" in obj and "kind" in obj):
        return obj
    return {"apiVersion": resource.api_version, "kind": resource.kind} | obj


def _decoded(payload: bytes) -> Object:
    try:
        found = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise ServiceUnavailable(f"the API server sent an answer that cannot be read: {error}") from error
    return found if isinstance(found, dict) else {"kind": "Status", "status": "Success"}


def _error(status: int, payload: bytes) -> ApiError:
    try:
        body = orjson.loads(payload)
    except orjson.JSONDecodeError:
        body = {"message": payload.decode(errors="replace").strip()}
    return from_status(status, body if isinstance(body, dict) else {})


def _unreachable(error: Exception) -> ServiceUnavailable:
    return ServiceUnavailable(f"the API server cannot be reached: {error or type(error).__name__}")

"""`LocalClient`: the API inside the server's own process. No HTTP; each answer is a copy of its own.

Objects of watch events are shared by all in-process watchers: never change them (see `schema.resource.Object`).
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson

from wherry.client.api import ObjectList, PatchType, WatchEvent
from wherry.kube_api.api import Api
from wherry.kube_api.cache import CacheEvent
from wherry.kube_api.call import Call, DeleteOptions, User
from wherry.kube_api.subresources import find_action
from wherry.kube_api.subresources.scale import write_scale
from wherry.kube_api.verbs.create import create
from wherry.kube_api.verbs.delete import delete
from wherry.kube_api.verbs.get import get
from wherry.kube_api.verbs.list import list_
from wherry.kube_api.verbs.patch import patch as patch_verb
from wherry.kube_api.verbs.update import update
from wherry.kube_api.verbs.watch import WatchStream
from wherry.schema.objects import deep_copy
from wherry.schema.resource import Object, Resource

BOOKMARK_SECONDS = 60.0


class LocalClient:
    """`client.api.Client` over an `Api` in this process, acting as `user` without asking RBAC."""

    def __init__(self, api: Api, user: User, *, field_manager: str = "wherry") -> None:
        self._api = api
        self._user = user
        self._manager = field_manager

    def _call(self, verb: str, resource: Resource, namespace: str | None, name: str | None = None, **more: Any) -> Call:
        more.setdefault("field_manager", self._manager)
        space = namespace if resource.namespaced else None
        return Call(self._user, verb, resource, space or None, name, trusted=True, **more)

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
        return (await get(self._api, self._call("get", resource, namespace, name))).decode()

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
        call = self._call(
            "list", resource, namespace, label_selector=label_selector, field_selector=field_selector,
            resource_version=resource_version, limit=limit, continue_token=continue_token,
        )  # fmt: skip
        compute = self._api.services.get(f"compute:{resource.qualified}")
        if compute is not None:
            return ObjectList((await compute(call))["items"], "")
        page = await list_(self._api, call)
        return ObjectList([entry.decode() for entry in page.entries], str(page.revision), page.continue_token)

    @asynccontextmanager
    async def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
        bookmarks: bool = True,
    ) -> AsyncIterator[AsyncIterator[WatchEvent]]:
        call = self._call(
            "watch", resource, namespace, label_selector=label_selector, field_selector=field_selector,
            resource_version=resource_version,
        )  # fmt: skip
        changed = asyncio.Event()
        stream = WatchStream(self._api, call, changed.set)
        await stream.start()
        events = self._events(stream, changed, bookmarks)
        try:
            yield events
        finally:
            stream.close()
            await events.aclose()

    async def _events(
        self, stream: WatchStream, changed: asyncio.Event, bookmarks: bool
    ) -> AsyncGenerator[WatchEvent, None]:
        for entry in stream.initial():
            yield WatchEvent("ADDED", entry.shared())
        while True:
            changed.clear()
            taken: list[CacheEvent] = stream.take()
            for event in taken:
                seen = stream.seen(event)
                if seen is not None:
                    yield WatchEvent(seen[0], seen[1].shared())
            if taken:
                continue
            try:
                async with asyncio.timeout(BOOKMARK_SECONDS):
                    await changed.wait()
            except TimeoutError:
                if bookmarks and not stream.behind:
                    yield WatchEvent("BOOKMARK", stream.bookmark_object())

    async def create(
        self,
        resource: Resource,
        obj: Object,
        namespace: str | None = None,
        *,
        name: str | None = None,
        subresource: str | None = None,
    ) -> Object:
        metadata = obj.get("metadata") or {}
        space = namespace or metadata.get("namespace")
        call = self._call("create", resource, space, name, subresource=subresource or "")
        action = find_action(resource, call.subresource)
        if action is not None:
            result: Object = await action(self._api, call, deep_copy(obj))
            return result
        return (await create(self._api, call, _copy(obj))).decode()

    async def update(self, resource: Resource, obj: Object, *, subresource: str | None = None) -> Object:
        metadata = obj["metadata"]
        call = self._call(
            "update", resource, metadata.get("namespace"), metadata["name"], subresource=subresource or ""
        )
        if subresource == "scale":
            entry, _ = await write_scale(self._api, call, _copy(obj), "")
        else:
            entry, _ = await update(self._api, call, _copy(obj))
        return entry.decode()

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
        call = self._call(
            "patch", resource, namespace, name, subresource=subresource or "", force=force,
            field_manager=field_manager or self._manager,
        )  # fmt: skip
        if subresource == "scale":
            entry, _ = await write_scale(self._api, call, deep_copy(patch), type.value)
        else:
            entry, _ = await patch_verb(self._api, call, deep_copy(patch), type.value)
        return entry.decode()

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
        options = DeleteOptions(uid, resource_version, grace_period_seconds, propagation_policy)
        entry, _ = await delete(self._api, self._call("delete", resource, namespace, name), options)
        return entry.decode()


def _copy(obj: Object) -> Object:
    """A deep copy, and proof that the object is JSON."""
    copied: Object = orjson.loads(orjson.dumps(obj))
    return copied

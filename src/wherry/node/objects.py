"""ConfigMaps, Secrets and claims that this node's pods refer to, kept fresh by one narrow watch each.

The node follows only the objects its pods name (by field selector on the name, which is all that the node
authorizer lets it read), from the first use until the last pod that names them is gone. Immutable ones are
read once.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from wherry.client.api import Client
from wherry.schema.errors import ApiError, Gone, NotFound
from wherry.schema.resource import Object, Resource

log = logging.getLogger(__name__)

Key = tuple[Resource, str, str]
RETRY = 2.0


@dataclass
class _Followed:
    users: set[str] = field(default_factory=set)
    object: Object | None = None
    known: asyncio.Event = field(default_factory=asyncio.Event)
    error: ApiError | OSError | None = None
    task: "asyncio.Task[None] | None" = None


class ObjectCache:
    """Read objects by name on behalf of a pod; `on_change(pod uid)` is called when one of its objects changes."""

    def __init__(self, client: Client, on_change: Callable[[str], None]) -> None:
        self._client = client
        self._on_change = on_change
        self._followed: dict[Key, _Followed] = {}

    async def get(self, resource: Resource, namespace: str, name: str, user: str) -> Object:
        """The object as last seen. Raises NotFound or another ApiError (the API cannot be reached)."""
        key = (resource, namespace, name)
        followed = self._followed.get(key)
        if followed is None:
            followed = self._followed[key] = _Followed()
            followed.task = asyncio.create_task(self._follow(key, followed), name=f"follow {resource.plural}/{name}")
        followed.users.add(user)
        await followed.known.wait()
        if followed.object is not None:
            return followed.object
        if followed.error is not None:
            raise followed.error
        raise NotFound(f'{resource.qualified} "{name}" not found')

    async def find(self, resource: Resource, namespace: str, name: str, user: str) -> Object | None:
        """As `get`, None for an object that does not exist."""
        try:
            return await self.get(resource, namespace, name, user)
        except NotFound:
            return None

    def release(self, user: str) -> None:
        """The pod `user` is gone: stop following what only it needed."""
        for key, followed in list(self._followed.items()):
            followed.users.discard(user)
            if not followed.users:
                if followed.task is not None:
                    followed.task.cancel()
                del self._followed[key]

    async def close(self) -> None:
        tasks = [followed.task for followed in self._followed.values() if followed.task is not None]
        self._followed.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _changed(self, followed: _Followed) -> None:
        for user in followed.users:
            self._on_change(user)

    async def _follow(self, key: Key, followed: _Followed) -> None:
        resource, namespace, name = key
        selector = f"metadata.name={name}"
        scope = namespace if resource.namespaced else None
        version = ""
        while True:
            try:
                if not version:
                    listed = await self._client.list(resource, scope, field_selector=selector)
                    version = listed.resource_version
                    self._set(followed, listed.items[0] if listed.items else None)
                if followed.object is not None and followed.object.get("immutable"):
                    return
                async with self._client.watch(
                    resource, scope, resource_version=version, field_selector=selector
                ) as events:
                    async for event in events:
                        version = event.object["metadata"]["resourceVersion"]
                        if event.type == "DELETED":
                            self._set(followed, None)
                        elif event.type != "BOOKMARK":
                            self._set(followed, event.object)
            except Gone:
                version = ""
            except (ApiError, OSError) as error:
                followed.error = error
                if not followed.known.is_set():
                    followed.known.set()
                    self._changed(followed)
                log.debug("following %s %s/%s: %s", resource.qualified, namespace, name, error)
                version = ""
                await asyncio.sleep(RETRY)

    def _set(self, followed: _Followed, found: Object | None) -> None:
        followed.error = None
        first = not followed.known.is_set()
        changed = followed.object is not found and (
            (followed.object is None) != (found is None)
            or (found is not None and followed.object is not None and _content(found) != _content(followed.object))
        )
        followed.object = found
        followed.known.set()
        if changed and not first:
            self._changed(followed)


def _content(found: Object) -> tuple[object, ...]:
    return (found.get("data"), found.get("binaryData"), found.get("spec"), (found.get("status") or {}).get("phase"))

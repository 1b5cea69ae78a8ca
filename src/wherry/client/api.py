"""The one way to the Kubernetes API: everything below the API server is written against `Client`.

Two implementations: `kube_api.local.LocalClient` (in the server's own process: no HTTP, one copy of the object)
and `client.http.HttpClient` (HTTPS, from other processes). Both raise `schema.errors.ApiError` and its kin, and
both honour the same semantics as https://kubernetes.io/docs/reference/using-api/api-concepts/.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from wherry.schema.resource import Object, Resource


class PatchType(StrEnum):
    """Content types of PATCH."""

    JSON = "application/json-patch+json"
    MERGE = "application/merge-patch+json"
    STRATEGIC = "application/strategic-merge-patch+json"
    APPLY = "application/apply-patch+yaml"


@dataclass(frozen=True)
class ObjectList:
    """A LIST answer: the items (each with apiVersion and kind filled in), and where to watch from."""

    items: list[Object]
    resource_version: str
    continue_token: str = ""


@dataclass(frozen=True)
class WatchEvent:
    """`type` is ADDED, MODIFIED, DELETED or BOOKMARK. An ERROR event is raised as the ApiError it carries."""

    type: str
    object: Object


class Client(Protocol):
    """Verbs of the API. `namespace` is needed for namespaced resources except in list and watch (None = all).

    Errors: NotFound, AlreadyExists, Conflict (resourceVersion or UID precondition), Invalid, Forbidden, Gone
    (watch or list from a compacted resourceVersion), ServiceUnavailable (the server cannot be reached).
    """

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object: ...

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
    ) -> ObjectList: ...

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
        """Events after `resource_version`, in order, none twice. The iterator ends when the server ends it."""
        ...

    async def create(
        self,
        resource: Resource,
        obj: Object,
        namespace: str | None = None,
        *,
        name: str | None = None,
        subresource: str | None = None,
    ) -> Object:
        """`name` only with `subresource` (binding, eviction, token): the object the subresource belongs to."""
        ...

    async def update(self, resource: Resource, obj: Object, *, subresource: str | None = None) -> Object:
        """Replace; name and namespace are taken from `obj`. With a resourceVersion in `obj`: compare-and-swap."""
        ...

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
    ) -> Object: ...

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
    ) -> Object: ...

"""From a URL path to what it means. https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-uris"""

from typing import NamedTuple

from wherry.kube_api.http.message import decode_path
from wherry.schema.resource import Resource
from wherry.schema.table import ResourceTable

CACHE_SIZE = 8192


class Route(NamedTuple):
    """A resource path. `resource` is None when the table has no such row; `tail` is what follows a proxy path."""

    group: str
    version: str
    plural: str
    resource: Resource | None
    namespace: str | None
    name: str | None
    subresource: str
    tail: str
    watch: bool


class Router:
    """Parses resource paths and remembers them; other paths give None."""

    def __init__(self, table: ResourceTable) -> None:
        self._table = table
        self._revision = table.revision
        self._cache: dict[str, Route | None] = {}

    def route(self, path: str) -> Route | None:
        if self._table.revision != self._revision or len(self._cache) > CACHE_SIZE:
            self._cache.clear()
            self._revision = self._table.revision
        try:
            return self._cache[path]
        except KeyError:
            found = self._cache[path] = self._parse(path)
            return found

    def _parse(self, path: str) -> Route | None:
        parts = decode_path(path)
        if parts[0] == "api" and len(parts) > 2:
            group, version, rest = "", parts[1], parts[2:]
        elif parts[0] == "apis" and len(parts) > 3:
            group, version, rest = parts[1], parts[2], parts[3:]
        else:
            return None
        watch = rest[0] == "watch" and len(rest) > 1
        if watch:
            rest = rest[1:]
        namespace: str | None = None
        if rest[0] == "namespaces" and len(rest) > 2 and not (not group and rest[2] in ("status", "finalize")):
            namespace, rest = rest[1], rest[2:]
        plural = rest[0]
        name = rest[1] if len(rest) > 1 and rest[1] else None
        subresource = rest[2] if len(rest) > 2 else ""
        tail = "/".join(rest[3:])
        resource = self._table.lookup(group, version, plural)
        if resource is not None and resource.namespaced != (namespace is not None) and (namespace or name):
            resource = None
        if tail and subresource != "proxy":
            resource = None
        return Route(group, version, plural, resource, namespace, name, subresource, tail, watch)

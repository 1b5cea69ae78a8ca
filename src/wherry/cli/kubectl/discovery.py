"""Which resources the server has, kept on disk between commands.

One small file per server below the cache directory (`~/.kube/cache/wherry`), made of the server's discovery
documents. It is read again after ten minutes, when a name is not in it, and when another server (another
certificate authority) answers at the same address.
"""

import json
import os
import time
from typing import Any, NamedTuple

from wherry.cli.kubectl.errors import KubectlError, ServerError
from wherry.cli.kubectl.http import HTTP, quote

MAX_AGE = 600.0
_DOCUMENT = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"


class Resource(NamedTuple):
    """A resource as discovery tells it."""

    group: str
    version: str
    name: str
    kind: str
    namespaced: bool
    singular: str
    short: tuple[str, ...]
    verbs: tuple[str, ...]
    categories: tuple[str, ...]

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """`pods`, `deployments.apps`."""
        return f"{self.name}.{self.group}" if self.group else self.name

    @property
    def label(self) -> str:
        """`pod`, `deployment.apps`: how kubectl names objects in what it prints."""
        kind = self.kind.lower()
        return f"{kind}.{self.group}" if self.group else kind

    def path(self, namespace: str | None, name: str = "", subresource: str = "") -> str:
        path = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        if self.namespaced and namespace:
            path += f"/namespaces/{namespace}"
        path += f"/{self.name}"
        if name:
            path += f"/{quote(name)}"
        return f"{path}/{subresource}" if subresource else path


class Discovery:
    """The server's resources. Loaded at the first question."""

    def __init__(self, http: HTTP, directory: str) -> None:
        self.http = http
        self.directory = directory or os.path.join(os.path.expanduser("~"), ".kube", "cache")
        self._rows: list[Resource] | None = None
        self._subresources: set[str] = set()
        self.fresh = False

    @property
    def path(self) -> str:
        safe = "".join(c if c.isalnum() or c in "-." else "_" for c in f"{self.http.host}_{self.http.port}")
        return os.path.join(self.directory, "wherry", f"{safe}.json")

    def _mark(self) -> str:
        """What tells one server at an address from the next."""
        cluster = self.http.access.cluster
        data = str(cluster.get("certificate-authority-data") or "")
        if not data and cluster.get("certificate-authority"):
            try:
                data = str(os.stat(cluster["certificate-authority"]).st_mtime_ns)
            except OSError:
                data = ""
        return data[-256:] + self.http.prefix

    def rows(self, *, again: bool = False) -> list[Resource]:
        """All resources, the server's preferred version of each group first."""
        if again and not self.fresh:
            self._rows = None
        if self._rows is None:
            found = None if again else self._cached()
            if found is None:
                found = self._fetch()
                self.fresh = True
                self._keep(found)
            self._subresources = set(found["subresources"])
            self._rows = [
                Resource(r[0], r[1], r[2], r[3], r[4], r[5], tuple(r[6]), tuple(r[7]), tuple(r[8]))
                for r in found["rows"]
            ]
        return self._rows

    def has_subresource(self, resource: Resource, name: str) -> bool:
        self.rows()
        return f"{resource.group}/{resource.version}/{resource.name}/{name}" in self._subresources

    def _cached(self) -> dict[str, Any] | None:
        try:
            with open(self.path) as file:
                if time.time() - os.fstat(file.fileno()).st_mtime > MAX_AGE:
                    return None
                found: dict[str, Any] = json.load(file)
        except (OSError, ValueError):
            return None
        return found if found.get("mark") == self._mark() else None

    def _keep(self, found: dict[str, Any]) -> None:
        """A cache that cannot be written is no reason to fail."""
        temporary = f"{self.path}.{os.getpid()}"
        try:
            os.makedirs(os.path.dirname(self.path), mode=0o750, exist_ok=True)
            with open(temporary, "w") as file:
                json.dump({**found, "mark": self._mark()}, file, separators=(",", ":"))
            os.replace(temporary, self.path)
        except OSError:
            return

    def forget(self) -> None:
        """Ask the server next time: what is cached has proved wrong."""
        self._rows = None
        self.fresh = False
        try:
            os.unlink(self.path)
        except OSError:
            return

    def _fetch(self) -> dict[str, Any]:
        rows: list[list[Any]] = []
        subresources: list[str] = []
        for root in ("/api", "/apis"):
            document = self.http.get(root, accept=_DOCUMENT)
            if document.get("kind") == "APIGroupDiscoveryList":
                for group in document.get("items") or ():
                    name = (group.get("metadata") or {}).get("name") or ""
                    for version in group.get("versions") or ():
                        self._aggregated(name, version, rows, subresources)
                continue
            versions = document.get("versions") or []
            paths = [("", v, f"/api/{v}") for v in versions] if root == "/api" else []
            for group in document.get("groups") or ():
                preferred = (group.get("preferredVersion") or {}).get("version")
                for version in sorted(group["versions"], key=lambda v: v["version"] != preferred):
                    paths.append((group["name"], version["version"], f"/apis/{version['groupVersion']}"))
            for group_name, version_name, path in paths:
                self._plain(group_name, version_name, path, rows, subresources)
        return {"rows": rows, "subresources": subresources}

    @staticmethod
    def _aggregated(group: str, version: dict[str, Any], rows: list[list[Any]], subresources: list[str]) -> None:
        for entry in version.get("resources") or ():
            kind = entry.get("responseKind") or {}
            rows.append(
                [
                    group,
                    version["version"],
                    entry["resource"],
                    kind.get("kind") or "",
                    entry.get("scope") == "Namespaced",
                    entry.get("singularResource") or "",
                    entry.get("shortNames") or [],
                    entry.get("verbs") or [],
                    entry.get("categories") or [],
                ]
            )
            for sub in entry.get("subresources") or ():
                subresources.append(f"{group}/{version['version']}/{entry['resource']}/{sub['subresource']}")

    def _plain(self, group: str, version: str, path: str, rows: list[list[Any]], subresources: list[str]) -> None:
        try:
            document = self.http.get(path)
        except ServerError:
            return
        for entry in document.get("resources") or ():
            if "/" in entry["name"]:
                subresources.append(f"{group}/{version}/{entry['name']}")
                continue
            rows.append(
                [
                    group,
                    version,
                    entry["name"],
                    entry["kind"],
                    bool(entry.get("namespaced")),
                    entry.get("singularName") or "",
                    entry.get("shortNames") or [],
                    entry.get("verbs") or [],
                    entry.get("categories") or [],
                ]
            )

    def find(self, word: str) -> Resource:
        """The resource that `po`, `pods`, `Pod` or `deployments.v1.apps` means. Raises KubectlError."""
        for again in (False, True):
            found = _match(word.lower(), self.rows(again=again))
            if found is not None:
                return found
            if self.fresh:
                break
        raise KubectlError(f'the server doesn\'t have a resource type "{word}"')

    def category(self, word: str) -> list[Resource]:
        """The resources of a category such as `all`, in the order in which they are shown."""
        found = [row for row in self.rows() if word in row.categories and "list" in row.verbs]
        unique: dict[tuple[str, str], Resource] = {}
        for row in found:
            unique.setdefault((row.group, row.name), row)
        return list(unique.values())

    def for_kind(self, api_version: str, kind: str) -> Resource | None:
        """The resource of an object's apiVersion and kind."""
        for again in (False, True):
            for row in self.rows(again=again):
                if row.kind == kind and row.api_version == api_version:
                    return row
            if self.fresh:
                break
        return None


def _match(word: str, rows: list[Resource]) -> Resource | None:
    name, _, rest = word.partition(".")
    if rest:
        version, _, group = rest.partition(".")
        for row in rows:
            if _is_named(row, name) and row.version == version and row.group == group:
                return row
        for row in rows:
            if _is_named(row, name) and row.group == rest:
                return row
        for row in rows:
            if _is_named(row, name) and row.group and row.group.startswith(rest):
                return row
        return None
    for row in rows:
        if word == row.name or word == row.singular:
            return row
    for row in rows:
        if word in row.short:
            return row
    for row in rows:
        if word == row.kind.lower():
            return row
    return None


def _is_named(row: Resource, name: str) -> bool:
    return name in (row.name, row.singular, row.kind.lower()) or name in row.short

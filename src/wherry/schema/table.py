"""The resource table: which resources the server knows at this moment, found by URL path or by an object's kind.

Built-ins are there from the start. A CustomResourceDefinition adds its versions and takes them away again; the
table also keeps, per custom resource, whatever its owner wants to attach (schema, columns) under `extra`.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from wherry.schema.builtin import BUILTIN
from wherry.schema.resource import Resource


class ResourceTable:
    """A mutable set of `Resource` rows with the look-ups that everything generic needs.

    Not thread-safe: change it only from the event loop. `revision` grows with each change, so that what is
    derived from the table (discovery, OpenAPI) knows when to be built anew.
    """

    def __init__(self, resources: Iterable[Resource] = BUILTIN) -> None:
        self._by_path: dict[tuple[str, str, str], Resource] = {}
        self._by_kind: dict[tuple[str, str, str], Resource] = {}
        self._extra: dict[Resource, Any] = {}
        self.revision = 0
        for resource in resources:
            self.add(resource)

    def add(self, resource: Resource, extra: Any = None) -> None:
        """Add or replace a row. `extra` is handed back by `extra()`, e.g. a custom resource's schema."""
        self._by_path[resource.group, resource.version, resource.plural] = resource
        self._by_kind[resource.group, resource.version, resource.kind] = resource
        self._extra.pop(resource, None)
        if extra is not None:
            self._extra[resource] = extra
        self.revision += 1

    def remove(self, resource: Resource) -> None:
        """Take a row out; unknown rows are ignored."""
        row = self._by_path.pop((resource.group, resource.version, resource.plural), None)
        if row is None:
            return
        if self._by_kind.get((row.group, row.version, row.kind)) == row:
            del self._by_kind[row.group, row.version, row.kind]
        self._extra.pop(row, None)
        self.revision += 1

    def lookup(self, group: str, version: str, plural: str) -> Resource | None:
        """The row behind a URL: `lookup("apps", "v1", "deployments")`."""
        return self._by_path.get((group, version, plural))

    def for_kind(self, api_version: str, kind: str) -> Resource | None:
        """The row behind an object's `apiVersion` and `kind`: `for_kind("apps/v1", "Deployment")`."""
        group, _, version = api_version.rpartition("/")
        return self._by_kind.get((group, version, kind))

    def extra(self, resource: Resource) -> Any:
        """What was attached with `add`, or None."""
        return self._extra.get(resource)

    def versions(self, group: str) -> list[str]:
        """Versions of a group, the preferred one first (order of arrival; the first row's version is preferred)."""
        return list(dict.fromkeys(row.version for row in self._by_path.values() if row.group == group))

    def groups(self) -> list[str]:
        """Groups in order of arrival; the core group is the empty string."""
        return list(dict.fromkeys(row.group for row in self._by_path.values()))

    def in_version(self, group: str, version: str) -> list[Resource]:
        """Rows of one group and version, sorted by plural as discovery lists them."""
        rows = [row for row in self._by_path.values() if row.group == group and row.version == version]
        return sorted(rows, key=lambda row: row.plural)

    def preferred(self, group: str, plural: str) -> Resource | None:
        """The row of the preferred version that has this plural."""
        for row in self._by_path.values():
            if row.group == group and row.plural == plural:
                return row
        return None

    def __iter__(self) -> Iterator[Resource]:
        return iter(list(self._by_path.values()))

    def __len__(self) -> int:
        return len(self._by_path)

    def __contains__(self, resource: object) -> bool:
        return isinstance(resource, Resource) and (resource.group, resource.version, resource.plural) in self._by_path

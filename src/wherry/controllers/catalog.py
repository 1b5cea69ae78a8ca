"""Which resources the cluster has: the built-in ones and those that CustomResourceDefinitions add and take away.

The garbage collector and namespace deletion work on all of them.
"""

from collections.abc import Callable, Iterable, Iterator

from wherry.client.informer import Informers
from wherry.schema.builtin import BUILTIN, CUSTOM_RESOURCE_DEFINITIONS, EVENTS, NOT_STORED
from wherry.schema.resource import Object, Resource

Listener = Callable[[Resource, bool], None]
"""`listener(resource, present)`."""


def storage_resources(definition: Object) -> list[Resource]:
    """The one row per CustomResourceDefinition that is enough to reach all its objects: its storage version, else
    the first one served."""
    spec = definition["spec"]
    served = [version for version in spec.get("versions") or () if version.get("served")]
    if not served:
        return []
    version = next((one for one in served if one.get("storage")), served[0])
    names = spec["names"]
    return [
        Resource(
            group=spec["group"],
            version=version["name"],
            kind=names["kind"],
            plural=names["plural"],
            namespaced=spec.get("scope") == "Namespaced",
        )
    ]


class Catalog:
    """The stored resources at this moment, each once (one version per group and kind). Events are left out: they
    own nothing, nothing owns them, and they expire by themselves."""

    def __init__(self, informers: Informers) -> None:
        self._custom: dict[str, list[Resource]] = {}
        self._listeners: list[Listener] = []
        self._builtin = _distinct(resource for resource in BUILTIN if resource not in NOT_STORED)
        informers[CUSTOM_RESOURCE_DEFINITIONS].add_handler(self._changed)

    def __iter__(self) -> Iterator[Resource]:
        yield from self._builtin
        for resources in self._custom.values():
            yield from resources

    def find(self, api_version: str, kind: str) -> Resource | None:
        """The resource behind an owner reference; any version of a group stands for the one that is followed."""
        group = api_version.rpartition("/")[0]
        return next((one for one in self if one.group == group and one.kind == kind), None)

    def listen(self, listener: Listener) -> None:
        """Tell `listener` of every resource now and of each change."""
        self._listeners.append(listener)
        for resource in self:
            listener(resource, True)

    def _changed(self, old: Object | None, new: Object | None) -> None:
        definition = new or old
        assert definition is not None
        name = definition["metadata"]["name"]
        before = self._custom.pop(name, [])
        established = new is not None and any(
            one["type"] == "Established" and one["status"] == "True"
            for one in (new.get("status") or {}).get("conditions") or ()
        )
        after = storage_resources(new) if new is not None and established else []
        if after:
            self._custom[name] = after
        for resource in before:
            if resource not in after:
                self._tell(resource, False)
        for resource in after:
            if resource not in before:
                self._tell(resource, True)

    def _tell(self, resource: Resource, present: bool) -> None:
        for listener in self._listeners:
            listener(resource, present)


def _distinct(resources: Iterable[Resource]) -> list[Resource]:
    found: dict[tuple[str, str], Resource] = {}
    for resource in resources:
        if resource.kind == "Event" and resource != EVENTS:
            continue
        found.setdefault((resource.group, resource.kind), resource)
    return list(found.values())

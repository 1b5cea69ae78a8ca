"""CustomResourceDefinitions at work: their versions become rows of the resource table, and go again with them.

The table follows the watch cache synchronously, so a definition is served when the answer to its creation goes out.
`finish_deletions` removes the objects of a definition that is being deleted, then lets the definition go.
https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
"""

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from wherry.kube_api.cache import CacheEvent
from wherry.kube_api.call import SERVER, Call, DeleteOptions
from wherry.kube_api.strategy import Strategy, keep
from wherry.schema import crd, errors
from wherry.schema.builtin import CUSTOM_RESOURCE_DEFINITIONS
from wherry.schema.resource import Object, Resource

if TYPE_CHECKING:
    from wherry.kube_api.api import Api

log = logging.getLogger(__name__)

FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
RETRY_SECONDS = 1.0
NEVER = 1 << 63


class CustomResources:
    """Keeps the table true to the definitions in the store."""

    def __init__(self, api: "Api") -> None:
        self._api = api
        self._rows: dict[str, list[Resource]] = {}
        self._deleting = asyncio.Event()
        cache = api.cache_of(CUSTOM_RESOURCE_DEFINITIONS)
        for entry in cache.entries():
            self._set(entry.name, entry.decode(), entry.revision)
        cache.listen(self._changed)

    def _changed(self, event: CacheEvent) -> None:
        entry = event.entry
        self._set(entry.name, None if event.deleted else entry.decode(), entry.revision)

    def _set(self, name: str, definition: Object | None, revision: int) -> None:
        api = self._api
        before = self._rows.pop(name, [])
        kinds = crd.kinds(definition) if definition is not None and is_established(definition) else []
        kept = [kind.resource for kind in kinds]
        for resource in before:
            api.views.pop(resource, None)
            api.undefaulted.pop(resource, None)
            api.set_strategy(resource, None)
            if resource not in kept:
                api.table.remove(resource)
        if not kinds or definition is None:
            return
        storage_name = next((one["name"] for one in definition["spec"]["versions"] if one.get("storage")), "")
        storage = next((row for row in kept if row.version == storage_name), kept[0])
        terminating = bool(definition["metadata"].get("deletionTimestamp"))
        several = len(definition["spec"]["versions"]) > 1
        for kind in kinds:
            api.table.add(kind.resource, extra=kind)
            api.set_strategy(kind.resource, CustomStrategy(kind, terminating))
            if several or kind.has_defaults:
                api.views[kind.resource] = storage
            if kind.has_defaults:
                # What was written under this very definition has its defaults, unless it came as another version.
                api.undefaulted[kind.resource] = NEVER if several else revision
        self._rows[name] = kept
        if terminating:
            self._deleting.set()

    async def finish_deletions(self) -> None:
        """For ever: empty and release definitions that are being deleted."""
        self._deleting.set()
        while True:
            await self._deleting.wait()
            self._deleting.clear()
            for entry in list(self._api.cache_of(CUSTOM_RESOURCE_DEFINITIONS).entries()):
                definition = entry.decode()
                metadata = definition["metadata"]
                if metadata.get("deletionTimestamp") and FINALIZER in (metadata.get("finalizers") or ()):
                    try:
                        done = await self._empty(definition)
                    except errors.ApiError as error:
                        log.warning("the objects of %s cannot be deleted: %s", entry.name, error)
                        done = False
                    if not done:
                        asyncio.get_running_loop().call_later(RETRY_SECONDS, self._deleting.set)

    async def _empty(self, definition: Object) -> bool:
        """Delete all objects; when there are none any more, let the definition go."""
        from wherry.kube_api.verbs.deletecollection import delete_collection

        api = self._api
        name = definition["metadata"]["name"]
        rows = self._rows.get(name) or []
        if rows and api.cache_of(rows[0]).count:
            await delete_collection(api, Call(SERVER, "deletecollection", rows[0], trusted=True), DeleteOptions())
            if api.cache_of(rows[0]).count:
                return False

        async def release(entry: Any) -> Object | None:
            if entry is None:
                return None
            new: Object = entry.decode()
            left = [one for one in new["metadata"].get("finalizers") or () if one != FINALIZER]
            new["metadata"]["finalizers"] = left
            return new

        try:
            await api.modify(
                CUSTOM_RESOURCE_DEFINITIONS, None, name, release,
                removable=lambda new: not new["metadata"]["finalizers"],
            )  # fmt: skip
        except errors.NotFound:
            log.debug("%s is gone already", name)
        return True


def is_established(definition: Object) -> bool:
    return any(
        one.get("type") == "Established" and one.get("status") == "True"
        for one in (definition.get("status") or {}).get("conditions") or ()
    )


class CustomStrategy(Strategy):
    """How the objects of a definition are written."""

    def __init__(self, kind: crd.CustomKind, terminating: bool) -> None:
        super().__init__(kind.resource)
        self.has_generation = True
        self.unconditional_update = False
        self._kind = kind
        self._terminating = terminating

    def prepare_create(self, api: "Api", call: Call, obj: Object) -> None:
        if self._terminating:
            raise errors.MethodNotAllowed(
                "create not allowed while custom resource definition is terminating", details={}
            )
        super().prepare_create(api, call, obj)

    def initial_status(self, obj: Object) -> None:
        """Defaults of the schema may give a status its first values."""
        self._kind.apply_defaults(obj)

    def changed(self, obj: Object, old: Object) -> bool:
        """Without the status subresource, a change of status counts as one of the object."""
        ignored = (
            ("metadata", "kind", "apiVersion", "status") if self.has_status else ("metadata", "kind", "apiVersion")
        )
        return any(obj.get(field) != old.get(field) for field in set(obj) | set(old) if field not in ignored)


class DefinitionStrategy(Strategy):
    """How definitions themselves are written: names are accepted or refused at once."""

    def prepare_create(self, api: "Api", call: Call, obj: Object) -> None:
        obj.pop("status", None)
        finalizers = obj["metadata"].setdefault("finalizers", [])
        if FINALIZER not in finalizers:
            finalizers.append(FINALIZER)
        self._set_status(api, obj, None)

    def prepare_update(self, api: "Api", call: Call, obj: Object, old: Object) -> None:
        keep(obj, old, "status")
        self._set_status(api, obj, old)

    def _set_status(self, api: "Api", obj: Object, old: Object | None) -> None:
        spec = obj.get("spec")
        if not isinstance(spec, dict) or not isinstance(spec.get("names"), dict):
            return
        names = spec["names"]
        status = dict((old or {}).get("status") or {})
        stored = list(status.get("storedVersions") or [])
        for version in spec.get("versions") or ():
            if isinstance(version, dict) and version.get("storage") and version.get("name") not in stored:
                stored.append(version.get("name"))
        conflict = self._conflict(api, obj, spec, names)
        now = api.timestamp()
        old_conditions = {one["type"]: one for one in status.get("conditions") or ()}
        accepted = {
            "type": "NamesAccepted", "status": "False" if conflict else "True",
            "reason": conflict[0] if conflict else "NoConflicts",
            "message": conflict[1] if conflict else "no conflicts found",
        }  # fmt: skip
        established = {
            "type": "Established", "status": "False" if conflict else "True",
            "reason": "NotAccepted" if conflict else "InitialNamesAccepted",
            "message": "not all names are accepted" if conflict else "the initial names have been accepted",
        }  # fmt: skip
        if (old_conditions.get("Established") or {}).get("status") == "True":
            established = old_conditions["Established"]
        for one in (accepted, established):
            before = old_conditions.get(one["type"])
            same = before is not None and before.get("status") == one["status"]
            one["lastTransitionTime"] = before["lastTransitionTime"] if same and before is not None else now
            old_conditions[one["type"]] = one
        status["conditions"] = list(old_conditions.values())
        status["acceptedNames"] = {} if conflict else dict(names)
        status["storedVersions"] = stored
        obj["status"] = status

    def _conflict(self, api: "Api", obj: Object, spec: Object, names: Object) -> tuple[str, str] | None:
        """A name that another resource of the group has already."""
        group, plural = spec.get("group"), names.get("plural")
        for row in api.table:
            if row.group != group or row.plural == plural:
                continue
            if names.get("kind") == row.kind:
                return "KindConflict", f'"{row.kind}" is already in use'
            taken = {row.plural, row.singular, *row.short_names}
            for reason, name in (("PluralConflict", plural), ("SingularConflict", names.get("singular"))):
                if name in taken:
                    return reason, f'"{name}" is already in use'
            for name in names.get("shortNames") or ():
                if name in taken:
                    return "ShortNamesConflict", f'"{name}" is already in use'
        return None

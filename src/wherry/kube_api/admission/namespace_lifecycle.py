"""NamespaceLifecycle: nothing is created in a namespace that is missing or ending; some namespaces stay for ever."""

from typing import TYPE_CHECKING

from wherry.kube_api.admission.chain import Plugin
from wherry.kube_api.call import Call
from wherry.schema import builtin, errors
from wherry.schema.resource import Object

if TYPE_CHECKING:
    from wherry.kube_api.api import Api

IMMORTAL = frozenset({"default", "kube-system", "kube-public"})


class NamespaceLifecycle(Plugin):
    """See the module."""

    async def mutate(self, api: "Api", call: Call, obj: Object, old: Object | None) -> Object:
        if old is not None or not call.resource.namespaced or call.namespace is None:
            return obj
        entry = await api.read(builtin.NAMESPACES, None, call.namespace)
        if entry is None:
            raise api.not_found(builtin.NAMESPACES, call.namespace)
        namespace = entry.shared()
        deleted = namespace["metadata"].get("deletionTimestamp")
        if (namespace.get("status") or {}).get("phase") == "Terminating" or deleted:
            name = obj["metadata"].get("name") or obj["metadata"].get("generateName") or ""
            raise errors.Forbidden(
                f'{call.resource.qualified} "{name}" is forbidden: unable to create new content in namespace '
                f"{call.namespace} because it is being terminated",
                details={
                    "name": name,
                    "kind": call.resource.plural,
                    "causes": [
                        {
                            "reason": "NamespaceTerminating",
                            "message": f"namespace {call.namespace} is being terminated",
                            "field": "metadata.namespace",
                        }
                    ],
                },
            )
        return obj

    async def validate_delete(self, api: "Api", call: Call, old: Object) -> None:
        if call.resource == builtin.NAMESPACES and call.name in IMMORTAL:
            raise errors.Forbidden(
                f'namespaces "{call.name}" is forbidden: this namespace may not be deleted',
                details={"name": call.name, "kind": "namespaces"},
            )

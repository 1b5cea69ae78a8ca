"""DefaultIngressClass: an Ingress that names no class gets the one that is marked as default."""

from typing import TYPE_CHECKING

from wherry.kube_api.admission.chain import Plugin
from wherry.kube_api.call import Call
from wherry.schema import builtin
from wherry.schema.resource import Object

if TYPE_CHECKING:
    from wherry.kube_api.api import Api

DEFAULT = "ingressclass.kubernetes.io/is-default-class"
CLASS_ANNOTATION = "kubernetes.io/ingress.class"


class DefaultIngressClass(Plugin):
    """See the module."""

    async def mutate(self, api: "Api", call: Call, obj: Object, old: Object | None) -> Object:
        if call.resource != builtin.INGRESSES or old is not None:
            return obj
        spec = obj.get("spec")
        if not isinstance(spec, dict) or spec.get("ingressClassName") is not None:
            return obj
        if CLASS_ANNOTATION in (obj["metadata"].get("annotations") or {}):
            return obj
        defaults = [
            one
            for one in (entry.shared() for entry in api.cache_of(builtin.INGRESS_CLASSES).entries())
            if (one["metadata"].get("annotations") or {}).get(DEFAULT) == "true"
        ]
        if defaults:
            newest = max(defaults, key=lambda one: (one["metadata"]["creationTimestamp"], one["metadata"]["name"]))
            spec["ingressClassName"] = newest["metadata"]["name"]
        return obj

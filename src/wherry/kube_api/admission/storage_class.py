"""DefaultStorageClass: a claim that names no class gets the one that is marked as default."""

from typing import TYPE_CHECKING

from wherry.kube_api.admission.chain import Plugin
from wherry.kube_api.call import Call
from wherry.schema import builtin
from wherry.schema.resource import Object

if TYPE_CHECKING:
    from wherry.kube_api.api import Api

DEFAULT = "storageclass.kubernetes.io/is-default-class"


class DefaultStorageClass(Plugin):
    """See the module."""

    async def mutate(self, api: "Api", call: Call, obj: Object, old: Object | None) -> Object:
        if call.resource != builtin.PERSISTENT_VOLUME_CLAIMS or old is not None:
            return obj
        spec = obj.get("spec")
        annotations = obj["metadata"].get("annotations") or {}
        if not isinstance(spec, dict) or "storageClassName" in spec:
            return obj
        if "volume.beta.kubernetes.io/storage-class" in annotations:
            return obj
        defaults = [
            one
            for one in (entry.shared() for entry in api.cache_of(builtin.STORAGE_CLASSES).entries())
            if (one["metadata"].get("annotations") or {}).get(DEFAULT) == "true"
        ]
        if defaults:
            newest = max(defaults, key=lambda one: (one["metadata"]["creationTimestamp"], one["metadata"]["name"]))
            spec["storageClassName"] = newest["metadata"]["name"]
        return obj

"""PersistentVolumeClaimResize: a claim may only grow where its StorageClass says that its volumes can."""

from typing import TYPE_CHECKING

from wherry.kube_api.admission.chain import Plugin
from wherry.kube_api.call import Call
from wherry.schema import builtin, errors, quantity
from wherry.schema.resource import Object

if TYPE_CHECKING:
    from wherry.kube_api.api import Api

REFUSAL = (
    "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"
)


class VolumeResize(Plugin):
    """See the module."""

    async def validate(self, api: "Api", call: Call, obj: Object, old: Object | None) -> None:
        if call.resource != builtin.PERSISTENT_VOLUME_CLAIMS or old is None or call.subresource:
            return
        before, after = _asked(old), _asked(obj)
        if quantity.parse(after) <= quantity.parse(before):
            return
        name = obj["metadata"]["name"]
        if (old.get("status") or {}).get("phase") != "Bound":
            raise _refused(name, "Only bound persistent volume claims can be expanded")
        entry = api.cached(builtin.STORAGE_CLASSES, None, (obj["spec"].get("storageClassName") or ""))
        if entry is None or not entry.shared().get("allowVolumeExpansion"):
            raise _refused(name, REFUSAL)


def _asked(claim: Object) -> str:
    requests = ((claim.get("spec") or {}).get("resources") or {}).get("requests") or {}
    return str(requests.get("storage", "0"))


def _refused(name: str, why: str) -> errors.Forbidden:
    return errors.Forbidden(f'persistentvolumeclaims "{name}" is forbidden: {why}')

"""Protection of storage in use: a claim that a pod uses, and a bound volume, are not deleted yet.

https://kubernetes.io/docs/concepts/storage/persistent-volumes/#storage-object-in-use-protection
"""

from collections.abc import Iterable

from wherry.client.informer import Informers, Key
from wherry.controllers import pods
from wherry.controllers.loop import Controller, Watch
from wherry.controllers.plan import Plan
from wherry.schema.builtin import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS
from wherry.schema.resource import Object, Resource

CLAIM_FINALIZER = "kubernetes.io/pvc-protection"
VOLUME_FINALIZER = "kubernetes.io/pv-protection"


def uses_claim(pod: Object, name: str) -> bool:
    return any(
        (volume.get("persistentVolumeClaim") or {}).get("claimName") == name
        or (volume.get("ephemeral") is not None and f"{pod['metadata']['name']}-{volume['name']}" == name)
        for volume in pod["spec"].get("volumes") or ()
    )


def protect(obj: Object, finalizer: str, in_use: bool, plan: Plan, resource: Resource) -> None:
    """Put the finalizer on a living object; take it off a deleted one that nobody uses."""
    finalizers = obj["metadata"].get("finalizers") or []
    if not obj["metadata"].get("deletionTimestamp"):
        if finalizer not in finalizers:
            plan.patch(resource, obj, {"metadata": {"finalizers": [*finalizers, finalizer]}}, check_version=True)
    elif finalizer in finalizers and not in_use:
        left = [one for one in finalizers if one != finalizer]
        plan.patch(resource, obj, {"metadata": {"finalizers": left or None}}, check_version=True)
        plan.because("deleted and no longer in use")


def _keys_of_pod(pod: Object, informers: Informers) -> Iterable[Key]:
    for volume in pod["spec"].get("volumes") or ():
        name = (volume.get("persistentVolumeClaim") or {}).get("claimName")
        if name:
            yield pod["metadata"]["namespace"], name
        elif volume.get("ephemeral") is not None:
            yield pod["metadata"]["namespace"], f"{pod['metadata']['name']}-{volume['name']}"


class ClaimProtectionController(Controller):
    name = "pvc-protection-controller"
    resource = PERSISTENT_VOLUME_CLAIMS
    watches = (Watch(PODS, _keys_of_pod),)

    def gather(self, obj: Object, informers: Informers) -> bool:
        if not obj["metadata"].get("deletionTimestamp"):
            return True
        name = obj["metadata"]["name"]
        return any(
            uses_claim(pod, name) and not (pods.is_finished(pod) or not pod["spec"].get("nodeName"))
            for pod in informers[PODS].items(obj["metadata"]["namespace"])
        )

    def reconcile(self, obj: Object, children: bool, now: float) -> Plan:
        plan = Plan()
        protect(obj, CLAIM_FINALIZER, children, plan, PERSISTENT_VOLUME_CLAIMS)
        return plan


class VolumeProtectionController(Controller):
    name = "pv-protection-controller"
    resource = PERSISTENT_VOLUMES

    def gather(self, obj: Object, informers: Informers) -> None:
        return None

    def reconcile(self, obj: Object, children: None, now: float) -> Plan:
        plan = Plan()
        in_use = (obj.get("status") or {}).get("phase") == "Bound"
        protect(obj, VOLUME_FINALIZER, in_use, plan, PERSISTENT_VOLUMES)
        return plan

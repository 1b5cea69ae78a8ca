"""Generic ephemeral volumes: a claim per volume, made for the pod and going with it.

https://kubernetes.io/docs/concepts/storage/ephemeral-volumes/#generic-ephemeral-volumes
"""

from wherry.client.informer import Informers, Key
from wherry.controllers import pods
from wherry.controllers.loop import Controller, Watch
from wherry.controllers.ownership import controller_of, is_controlled_by, owner_reference
from wherry.controllers.plan import WARNING, Event, Plan
from wherry.schema.builtin import PERSISTENT_VOLUME_CLAIMS, PODS
from wherry.schema.resource import Object


def reconcile(pod: Object, claims: dict[str, Object], now: float) -> Plan:
    """`claims`: the claims of the pod's ephemeral volumes that exist, by name."""
    plan = Plan()
    if pods.is_terminating(pod) or pods.is_finished(pod):
        return plan
    for volume in pod["spec"].get("volumes") or ():
        if volume.get("ephemeral") is None:
            continue
        name = f"{pod['metadata']['name']}-{volume['name']}"
        existing = claims.get(name)
        if existing is not None:
            if not is_controlled_by(existing, pod):
                message = f"ephemeral volume {volume['name']}: PVC {name} was not created for the pod"
                plan.event(WARNING, "FailedBinding", message)
            continue
        template = volume["ephemeral"]["volumeClaimTemplate"]
        source = template.get("metadata") or {}
        metadata: Object = {
            "name": name,
            "namespace": pod["metadata"]["namespace"],
            "ownerReferences": [owner_reference(pod)],
        }
        for field in ("labels", "annotations"):
            if source.get(field):
                metadata[field] = source[field]
        claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": template["spec"]}
        failed = Event(WARNING, "FailedBinding", f"ephemeral volume {volume['name']}: create PVC {name}: {{error}}")
        plan.create(PERSISTENT_VOLUME_CLAIMS, claim, failed=failed)
        plan.because(f"volume {volume['name']} has no claim")
    return plan


def _keys_of_claim(claim: Object, informers: Informers) -> tuple[Key, ...]:
    owner = controller_of(claim)
    return ((claim["metadata"]["namespace"], owner["name"]),) if owner is not None and owner["kind"] == "Pod" else ()


class EphemeralVolumeController(Controller):
    name = "ephemeral_volume"
    resource = PODS
    watches = (Watch(PERSISTENT_VOLUME_CLAIMS, _keys_of_claim, lambda old, new: False),)

    def keys(self, obj: Object, informers: Informers) -> tuple[Key, ...]:
        has = any(volume.get("ephemeral") is not None for volume in obj["spec"].get("volumes") or ())
        return ((obj["metadata"]["namespace"], obj["metadata"]["name"]),) if has else ()

    def gather(self, obj: Object, informers: Informers) -> dict[str, Object]:
        names = (f"{obj['metadata']['name']}-{volume['name']}" for volume in obj["spec"].get("volumes") or ())
        found = {name: informers[PERSISTENT_VOLUME_CLAIMS].get(obj["metadata"]["namespace"], name) for name in names}
        return {name: claim for name, claim in found.items() if claim is not None}

    def reconcile(self, obj: Object, children: dict[str, Object], now: float) -> Plan:
        return reconcile(obj, children, now)

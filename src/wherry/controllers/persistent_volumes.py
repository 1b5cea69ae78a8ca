"""Persistent volumes: bind claims to volumes, make volumes for claims, take them back.

https://kubernetes.io/docs/concepts/storage/persistent-volumes/. One controller keyed by claims binds and provisions,
one keyed by volumes releases and reclaims. The built-in provisioner makes hostPath volumes below one directory.
"""

import asyncio
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from wherry.client.informer import Informers, Key
from wherry.controllers.loop import Controller, Watch
from wherry.controllers.plan import NORMAL, WARNING, Event, Plan
from wherry.schema import quantity
from wherry.schema.builtin import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, STORAGE_CLASSES
from wherry.schema.resource import Object
from wherry.schema.selectors import from_label_selector

PROVISIONER = "wherry.dev/local-path"
STANDARD_CLASS: Object = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {"name": "standard", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
    "provisioner": PROVISIONER,
    "reclaimPolicy": "Delete",
    "volumeBindingMode": "WaitForFirstConsumer",
    "allowVolumeExpansion": True,
}
BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
STORAGE_PROVISIONER = "volume.kubernetes.io/storage-provisioner"
NO_PROVISIONER = "kubernetes.io/no-provisioner"
_WAIT = "WaitForFirstConsumer"


@dataclass
class ClaimChildren:
    """`volumes`: all volumes; `storage_class`: the claim's, if it is there."""

    volumes: list[Object] = field(default_factory=list)
    storage_class: Object | None = None


def reconcile_claim(claim: Object, children: ClaimChildren, now: float, *, directory: Path | None) -> Plan:
    """Bind the claim, or provision a volume below `directory` for it."""
    plan = Plan()
    name = claim["spec"].get("volumeName")
    volume = next((one for one in children.volumes if one["metadata"]["name"] == name), None) if name else None
    if name and volume is None:
        if BIND_COMPLETED in (claim["metadata"].get("annotations") or {}):
            if (claim.get("status") or {}).get("phase") != "Lost":
                message = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
                plan.event(WARNING, "ClaimLost", message)
            plan.status = {"phase": "Lost"}
        else:
            plan.status = {"phase": "Pending"}
        return plan
    if volume is not None:
        _bind_named(claim, volume, plan)
        return plan
    if claim["metadata"].get("deletionTimestamp"):
        return plan
    delayed = _is_delayed(claim, children)
    reserved = [one for one in children.volumes if _is_claimed_by(one, claim)]
    chosen = reserved[0] if reserved else None if delayed else _smallest(children.volumes, claim)
    if chosen is not None:
        _bind(claim, chosen, plan)
        return plan
    plan.status = {"phase": "Pending"}
    if delayed and SELECTED_NODE not in (claim["metadata"].get("annotations") or {}):
        message = "waiting for first consumer to be created before binding"
        plan.event(NORMAL, "WaitForFirstConsumer", message)
        return plan
    _provision(claim, children.storage_class, plan, directory)
    return plan


def _provision(claim: Object, storage_class: Object | None, plan: Plan, directory: Path | None) -> None:
    class_name = claim["spec"].get("storageClassName")
    if not class_name:
        message = "no persistent volumes available for this claim and no storage class is set"
        plan.event(NORMAL, "FailedBinding", message)
        return
    if storage_class is None:
        plan.event(WARNING, "ProvisioningFailed", f'storageclass.storage.k8s.io "{class_name}" not found')
        return
    provisioner = storage_class["provisioner"]
    if provisioner == NO_PROVISIONER:
        return
    metadata = claim["metadata"]
    if provisioner != PROVISIONER or directory is None:
        patch = {"metadata": {"annotations": {STORAGE_PROVISIONER: provisioner}}}
        if (metadata.get("annotations") or {}).get(STORAGE_PROVISIONER) != provisioner:
            plan.patch(PERSISTENT_VOLUME_CLAIMS, claim, patch)
        message = (
            f"Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by "
            "the system administrator. If volume creation is delayed, please verify that the provisioner is running "
            "and correctly registered."
        )
        plan.event(NORMAL, "ExternalProvisioning", message)
        return
    if claim["spec"].get("volumeMode") == "Block":
        plan.event(WARNING, "ProvisioningFailed", f"{PROVISIONER} cannot make volumes of volumeMode Block")
        return
    if claim["spec"].get("selector"):
        message = f'failed to provision volume with StorageClass "{class_name}": claim Selector is not supported'
        plan.event(WARNING, "ProvisioningFailed", message)
        return
    volume_name = f"pvc-{metadata['uid']}"
    node = (metadata.get("annotations") or {}).get(SELECTED_NODE)
    spec: Object = {
        "capacity": {"storage": _wanted_text(claim)},
        "accessModes": claim["spec"].get("accessModes") or ["ReadWriteOnce"],
        "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy", "Delete"),
        "storageClassName": class_name,
        "volumeMode": "Filesystem",
        "claimRef": _reference(claim),
        "hostPath": {"path": str(directory / volume_name), "type": "DirectoryOrCreate"},
    }
    if node:
        terms = [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]
        spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": terms}}
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": volume_name, "annotations": {PROVISIONED_BY: PROVISIONER}},
        "spec": spec,
    }
    done = Event(NORMAL, "ProvisioningSucceeded", f"Successfully provisioned volume {volume_name}")
    failed = Event(WARNING, "ProvisioningFailed", "Failed to provision volume: {error}")
    plan.create(PERSISTENT_VOLUMES, volume, done, failed, may_exist=True)
    plan.because(f"no volume suits: provision {volume_name}" + (f" on {node}" if node else ""))
    plan.again_in(0)


def _bind(claim: Object, volume: Object, plan: Plan) -> None:
    """The two halves of a binding: the volume points to the claim, then the claim to the volume."""
    name = volume["metadata"]["name"]
    reference = volume["spec"].get("claimRef") or {}
    if reference.get("uid") != claim["metadata"]["uid"]:
        annotations = {} if reference else {BOUND_BY_CONTROLLER: "yes"}
        patch = {"metadata": {"annotations": annotations}, "spec": {"claimRef": _reference(claim)}}
        plan.patch(PERSISTENT_VOLUMES, volume, patch, check_version=True)
    annotations = {BIND_COMPLETED: "yes", BOUND_BY_CONTROLLER: "yes"}
    plan.patch(
        PERSISTENT_VOLUME_CLAIMS,
        claim,
        {"metadata": {"annotations": annotations}, "spec": {"volumeName": name}},
        check_version=True,
    )
    plan.because(f"bind to volume {name}")
    plan.status = _bound_status(volume)


def _bind_named(claim: Object, volume: Object, plan: Plan) -> None:
    """A claim that names its volume: bound already, or asked for by the user."""
    reference = volume["spec"].get("claimRef")
    if reference and not _is_claimed_by(volume, claim):
        if BIND_COMPLETED in (claim["metadata"].get("annotations") or {}):
            plan.event(
                WARNING, "ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly"
            )
            plan.status = {"phase": "Lost"}
        else:
            message = f'volume "{volume["metadata"]["name"]}" already bound to a different claim.'
            plan.event(WARNING, "FailedBinding", message)
            plan.status = {"phase": "Pending"}
        return
    if (reference or {}).get("uid") != claim["metadata"]["uid"]:
        plan.patch(PERSISTENT_VOLUMES, volume, {"spec": {"claimRef": _reference(claim)}}, check_version=True)
    if BIND_COMPLETED not in (claim["metadata"].get("annotations") or {}):
        plan.patch(PERSISTENT_VOLUME_CLAIMS, claim, {"metadata": {"annotations": {BIND_COMPLETED: "yes"}}})
    plan.status = _bound_status(volume)
    _expand(claim, volume, plan)


def _expand(claim: Object, volume: Object, plan: Plan) -> None:
    """A claim that has grown: a volume of ours is a directory, so its capacity is but a number.

    Whether the claim's class allows it was checked when the claim was changed.
    """
    wanted, spec = _wanted_text(claim), volume["spec"]
    capacity = (spec.get("capacity") or {}).get("storage", "0")
    ours = (volume["metadata"].get("annotations") or {}).get(PROVISIONED_BY) == PROVISIONER
    if not ours or quantity.parse(wanted) <= quantity.parse(capacity) or plan.status is None:
        return
    metadata = claim["metadata"]
    message = f"ExpandVolume succeeded for volume {metadata['namespace']}/{metadata['name']}"
    done = Event(NORMAL, "VolumeResizeSuccessful", message)
    plan.patch(PERSISTENT_VOLUMES, volume, {"spec": {"capacity": {"storage": wanted}}}, check_version=True, done=done)
    plan.status["capacity"] = {**plan.status["capacity"], "storage": wanted}
    plan.because(f"grow from {capacity} to {wanted}")


def _bound_status(volume: Object) -> Object:
    spec = volume["spec"]
    return {"phase": "Bound", "accessModes": spec.get("accessModes") or [], "capacity": spec.get("capacity") or {}}


def _is_delayed(claim: Object, children: ClaimChildren) -> bool:
    return children.storage_class is not None and children.storage_class.get("volumeBindingMode") == _WAIT


def _reference(claim: Object) -> Object:
    metadata = claim["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "resourceVersion": metadata["resourceVersion"],
    }


def _is_claimed_by(volume: Object, claim: Object) -> bool:
    reference = volume["spec"].get("claimRef")
    if not reference:
        return False
    metadata = claim["metadata"]
    if (reference.get("namespace"), reference.get("name")) != (metadata["namespace"], metadata["name"]):
        return False
    return not reference.get("uid") or bool(reference["uid"] == metadata["uid"])


def _wanted_text(claim: Object) -> str:
    requests = (claim["spec"].get("resources") or {}).get("requests") or {}
    return str(requests.get("storage", "0"))


def _smallest(volumes: Iterable[Object], claim: Object) -> Object | None:
    wanted = claim["spec"]
    size = quantity.parse(_wanted_text(claim))
    selector = wanted.get("selector")
    found = []
    for volume in volumes:
        spec = volume["spec"]
        if spec.get("claimRef") or volume["metadata"].get("deletionTimestamp"):
            continue
        if (volume.get("status") or {}).get("phase", "Available") not in ("Available", "Pending"):
            continue
        if (spec.get("storageClassName") or "") != (wanted.get("storageClassName") or ""):
            continue
        if spec.get("volumeMode", "Filesystem") != wanted.get("volumeMode", "Filesystem"):
            continue
        if not set(wanted.get("accessModes") or ()) <= set(spec.get("accessModes") or ()):
            continue
        if selector and not from_label_selector(selector).matches(volume["metadata"].get("labels")):
            continue
        capacity = quantity.parse((spec.get("capacity") or {}).get("storage", "0"))
        if capacity >= size:
            found.append((capacity, volume["metadata"]["name"], volume))
    return min(found, key=lambda entry: entry[:2])[2] if found else None


class PersistentVolumeClaimController(Controller):
    """Keyed by claims: binding and provisioning."""

    name = "persistentvolume-controller"
    resource = PERSISTENT_VOLUME_CLAIMS
    workers = 1  # two claims must not take one volume

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory

    def setup(self, informers: Informers) -> None:
        _ = informers[STORAGE_CLASSES], informers[PERSISTENT_VOLUMES]

    def gather(self, obj: Object, informers: Informers) -> ClaimChildren:
        name = obj["spec"].get("storageClassName")
        storage_class = informers[STORAGE_CLASSES].get(None, name) if name else None
        return ClaimChildren(informers[PERSISTENT_VOLUMES].items(), storage_class)

    def reconcile(self, obj: Object, children: ClaimChildren, now: float) -> Plan:
        return reconcile_claim(obj, children, now, directory=self._directory)


def _claims_of_volume(volume: Object, informers: Informers) -> Iterable[Key]:
    """The volume's claim; every unbound claim where the volume is free."""
    reference = volume["spec"].get("claimRef")
    if reference:
        yield reference["namespace"], reference["name"]
        return
    for claim in informers[PERSISTENT_VOLUME_CLAIMS]:
        if not claim["spec"].get("volumeName") or claim["spec"]["volumeName"] == volume["metadata"]["name"]:
            yield claim["metadata"]["namespace"], claim["metadata"]["name"]


def _claims_of_class(storage_class: Object, informers: Informers) -> Iterable[Key]:
    for claim in informers[PERSISTENT_VOLUME_CLAIMS]:
        wanted = claim["spec"].get("storageClassName") == storage_class["metadata"]["name"]
        if wanted and not claim["spec"].get("volumeName"):
            yield claim["metadata"]["namespace"], claim["metadata"]["name"]


PersistentVolumeClaimController.watches = (
    Watch(PERSISTENT_VOLUMES, _claims_of_volume),
    Watch(STORAGE_CLASSES, _claims_of_class),
)


@dataclass
class VolumeChildren:
    """`claim`: what claimRef names, if it is there; `data_gone`: the directory of a provisioned volume has been
    removed."""

    claim: Object | None = None
    data_gone: bool = False


def reconcile_volume(volume: Object, children: VolumeChildren, now: float) -> Plan:
    plan = Plan()
    spec = volume["spec"]
    status = volume.get("status") or {}
    reference = spec.get("claimRef")
    claim = children.claim
    if not reference or not reference.get("uid"):
        plan.status = {"phase": "Available"}
    elif claim is not None and claim["metadata"]["uid"] == reference["uid"]:
        # Bound to a claim that has not answered yet is bound all the same: nobody else may have it.
        plan.status = {"phase": "Bound"}
    else:
        policy = spec.get("persistentVolumeReclaimPolicy", "Retain")
        plan.status = {"phase": "Released"}
        ours = (volume["metadata"].get("annotations") or {}).get(PROVISIONED_BY) == PROVISIONER
        if policy == "Delete" and ours:
            if children.data_gone and not volume["metadata"].get("deletionTimestamp"):
                plan.delete(PERSISTENT_VOLUMES, volume)
                plan.because("its claim is gone and its policy is Delete")
        elif policy == "Delete":
            plan.because("its claim is gone; its own provisioner is to delete it")
        elif policy == "Recycle":
            plan.status = {"phase": "Failed", "reason": "RecyclerError", "message": "recycling is not supported"}
            if status.get("phase") != "Failed":
                plan.event(WARNING, "VolumeFailedRecycle", "No recycler plugin found for the volume!")
    for name in ("lastPhaseTransitionTime",):
        if name in status and status.get("phase") == plan.status["phase"]:
            plan.status[name] = status[name]
    return plan


class PersistentVolumeController(Controller):
    """Keyed by volumes: phases and reclaiming."""

    name = "persistentvolume-controller"
    resource = PERSISTENT_VOLUMES
    watches = (
        Watch(
            PERSISTENT_VOLUME_CLAIMS,
            lambda obj, _: (("", obj["spec"]["volumeName"]),) if obj["spec"].get("volumeName") else (),
        ),
    )

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory

    async def gather(self, obj: Object, informers: Informers) -> VolumeChildren:
        reference = obj["spec"].get("claimRef")
        if not reference:
            return VolumeChildren()
        claim = informers[PERSISTENT_VOLUME_CLAIMS].get(reference["namespace"], reference["name"])
        if claim is not None and claim["metadata"]["uid"] == reference.get("uid"):
            return VolumeChildren(claim)
        return VolumeChildren(claim, await self._remove_data(obj))

    async def _remove_data(self, volume: Object) -> bool:
        """Remove the directory of a released volume that we provisioned and that is to be deleted.

        The claim's own finalizer keeps it until no pod uses it, so nothing has it open any more.
        """
        annotations = volume["metadata"].get("annotations") or {}
        path = Path((volume["spec"].get("hostPath") or {}).get("path", "/"))
        if annotations.get(PROVISIONED_BY) != PROVISIONER or path.parent != self._directory:
            return False
        if volume["spec"].get("persistentVolumeReclaimPolicy") != "Delete":
            return False
        await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)
        return True

    def reconcile(self, obj: Object, children: VolumeChildren, now: float) -> Plan:
        return reconcile_volume(obj, children, now)

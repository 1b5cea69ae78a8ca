"""What volume plugins share: a pod's claims, the volumes behind them, and whether a volume suits a claim or a node.

https://kubernetes.io/docs/concepts/storage/persistent-volumes/#binding
"""

from collections.abc import Iterator

from wherry.client.informer import Informers
from wherry.schema import quantity
from wherry.schema.builtin import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, STORAGE_CLASSES
from wherry.schema.resource import Object
from wherry.schema.selectors import from_label_selector, node_selector_matches

BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
NO_PROVISIONER = "kubernetes.io/no-provisioner"
WAIT = "WaitForFirstConsumer"


def claim_names(pod: Object) -> Iterator[tuple[str, bool]]:
    """Names of the claims that a pod uses, and whether each is an ephemeral volume's own."""
    for volume in pod["spec"].get("volumes") or ():
        if volume.get("persistentVolumeClaim"):
            yield volume["persistentVolumeClaim"]["claimName"], False
        elif volume.get("ephemeral"):
            yield f"{pod['metadata']['name']}-{volume['name']}", True


def claims(pod: Object, informers: Informers) -> list[Object]:
    """The claims of `pod` that exist."""
    namespace = pod["metadata"].get("namespace", "")
    found = (informers[PERSISTENT_VOLUME_CLAIMS].get(namespace, name) for name, _ in claim_names(pod))
    return [claim for claim in found if claim is not None]


def volume_of(claim: Object, informers: Informers) -> Object | None:
    """The volume that the claim is bound to."""
    name = claim["spec"].get("volumeName")
    return informers[PERSISTENT_VOLUMES].get(None, name) if name else None


def is_bound(claim: Object) -> bool:
    annotations = claim["metadata"].get("annotations") or {}
    return bool(claim["spec"].get("volumeName")) and BIND_COMPLETED in annotations


def storage_class(claim: Object, informers: Informers) -> Object | None:
    name = claim["spec"].get("storageClassName")
    return informers[STORAGE_CLASSES].get(None, name) if name else None


def waits_for_consumer(claim: Object, informers: Informers) -> bool:
    found = storage_class(claim, informers)
    return found is not None and found.get("volumeBindingMode") == WAIT


def node_allows(volume: Object, node: Object) -> bool:
    """Whether the volume's node affinity allows `node`."""
    affinity = volume["spec"].get("nodeAffinity") or {}
    return node_selector_matches(affinity.get("required"), node)


def claimed_by(volume: Object, claim: Object) -> bool:
    """Whether the volume is reserved for this very claim (by UID, or by name where no UID is given)."""
    reference = volume["spec"].get("claimRef")
    if not reference:
        return False
    metadata = claim["metadata"]
    if (reference.get("namespace"), reference.get("name")) != (metadata["namespace"], metadata["name"]):
        return False
    return not reference.get("uid") or reference["uid"] == metadata["uid"]


def suits(volume: Object, claim: Object) -> bool:
    """Whether an unbound volume satisfies the claim: phase, class, mode, access modes, selector and size."""
    spec, wanted = volume["spec"], claim["spec"]
    if claimed_by(volume, claim):
        return True
    if spec.get("claimRef") or volume["metadata"].get("deletionTimestamp"):
        return False
    if (volume.get("status") or {}).get("phase", "Available") != "Available":
        return False
    if (spec.get("storageClassName") or "") != (wanted.get("storageClassName") or ""):
        return False
    if spec.get("volumeMode", "Filesystem") != wanted.get("volumeMode", "Filesystem"):
        return False
    if not set(wanted.get("accessModes") or ()) <= set(spec.get("accessModes") or ()):
        return False
    selector = wanted.get("selector")
    if selector and not from_label_selector(selector).matches(volume["metadata"].get("labels")):
        return False
    return _capacity(volume) >= _wanted(claim)


def _capacity(volume: Object) -> quantity.Quantity:
    return quantity.parse((volume["spec"].get("capacity") or {}).get("storage", "0"))


def _wanted(claim: Object) -> quantity.Quantity:
    requests = (claim["spec"].get("resources") or {}).get("requests") or {}
    return quantity.parse(requests.get("storage", "0"))


def smallest(volumes: list[Object], claim: Object) -> Object | None:
    """The volume for a claim among those that suit: one reserved for it, else the smallest."""
    fitting = [volume for volume in volumes if suits(volume, claim)]
    if not fitting:
        return None
    return min(fitting, key=lambda one: (not claimed_by(one, claim), _capacity(one), one["metadata"]["name"]))

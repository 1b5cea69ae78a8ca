"""What controllers ask of pods: active, ready, available, and which to delete first.

Availability and deletion order are specified in
https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/#scaling-a-replicaset.
"""

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

from wherry.client.clock import parse_time_or
from wherry.controllers import conditions
from wherry.controllers.ownership import owner_reference
from wherry.schema.resource import Object

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"


def phase(pod: Object) -> str:
    return str((pod.get("status") or {}).get("phase", "Pending"))


def is_finished(pod: Object) -> bool:
    return phase(pod) in ("Succeeded", "Failed")


def is_terminating(pod: Object) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))


def is_active(pod: Object) -> bool:
    """Neither finished nor being deleted."""
    return not is_finished(pod) and not is_terminating(pod)


def is_ready(pod: Object) -> bool:
    return conditions.is_true(pod.get("status"), "Ready")


def ready_since(pod: Object, now: float) -> float:
    """When it became ready (epoch seconds); +inf if it is not."""
    condition = conditions.get(pod.get("status"), "Ready")
    if condition is None or condition["status"] != "True":
        return math.inf
    return parse_time_or(condition.get("lastTransitionTime"), now)


def available_in(pod: Object, min_ready_seconds: float, now: float) -> float:
    """Seconds until the pod counts as available: 0 if it does, +inf while it is not ready."""
    return max(ready_since(pod, now) + min_ready_seconds - now, 0.0) if is_ready(pod) else math.inf


def is_available(pod: Object, min_ready_seconds: float, now: float) -> bool:
    return available_in(pod, min_ready_seconds, now) == 0.0


def restarts(pod: Object) -> tuple[int, int]:
    """The most restarts of a container, and of a sidecar."""
    status = pod.get("status") or {}
    sidecars = {one["name"] for one in pod["spec"].get("initContainers") or () if one.get("restartPolicy") == "Always"}
    beside = [one for one in status.get("initContainerStatuses") or () if one["name"] in sidecars]
    return (
        max((one.get("restartCount", 0) for one in status.get("containerStatuses") or ()), default=0),
        max((one.get("restartCount", 0) for one in beside), default=0),
    )


def _magnitude(seconds: float) -> int:
    """Times of one power of two (of nanoseconds) count as equally long ago; -1 for none."""
    return int(math.log2(seconds * 1e9)) if seconds > 0 else -1


def deletion_cost(pod: Object) -> int:
    text = (pod["metadata"].get("annotations") or {}).get(DELETION_COST, "0")
    try:
        return int(text)
    except ValueError:
        return 0


def first_to_delete(pods: Iterable[Object], related: Iterable[Object], now: float) -> list[Object]:
    """`pods` in the order in which a scale-down takes them; `related` are the pods whose crowding on nodes counts.

    Unscheduled before scheduled, pending before unknown before running, not ready before ready, lower deletion cost,
    more crowded node, ready for a shorter time (on a logarithmic scale), more restarts, younger.
    """
    crowd = Counter(pod["spec"].get("nodeName", "") for pod in related if is_active(pod))

    def rank(pod: Object) -> tuple[Any, ...]:
        node = pod["spec"].get("nodeName", "")
        ready = is_ready(pod)
        age = max(now - parse_time_or(pod["metadata"].get("creationTimestamp"), now), 0.0)
        ready_for = max(now - ready_since(pod, now), 0.0) if ready else 0.0
        return (
            bool(node),
            {"Pending": 0, "Unknown": 1}.get(phase(pod), 2),
            ready,
            deletion_cost(pod),
            -crowd[node],
            _magnitude(ready_for),
            *(-count for count in restarts(pod)),
            _magnitude(age),
            pod["metadata"].get("uid", ""),
        )

    return sorted(pods, key=rank)


def from_template(template: Object, owner: Object, *, generate_name: str = "", name: str = "") -> Object:
    """A pod to create for `owner`: the template's labels, annotations, finalizers and spec."""
    source = template.get("metadata") or {}
    metadata: Object = {"namespace": owner["metadata"].get("namespace", "")}
    if name:
        metadata["name"] = name
    else:
        metadata["generateName"] = generate_name or f"{owner['metadata']['name']}-"
    for field in ("labels", "annotations", "finalizers"):
        if source.get(field):
            value = source[field]
            metadata[field] = dict(value) if isinstance(value, dict) else list(value)
    metadata["ownerReferences"] = [owner_reference(owner)]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}

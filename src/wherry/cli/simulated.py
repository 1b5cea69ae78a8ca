"""What `wherry simulate` makes: nodes and pods that say what they are, and what a kubelet would say of them."""

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wherry.schema.resource import Object

PREFIX = "simulated-"
LABEL = "wherry.io/simulated"
NAMESPACE = "simulation"
TAINTS = [{"key": LABEL, "effect": "NoSchedule"}]
CLOSED = {"key": "wherry.io/simulated-closed", "effect": "NoSchedule"}
"""Taint of nodes that are not to be used yet."""
LOW, HIGH = "simulated-low", "simulated-high"
"""Priority classes of the pods that are to be preempted, and of those that do it."""
PER_NODE = 4
"""Low pods that fill a node before the preemption."""


def simulated_node(number: int, zones: int, cores: int = 32) -> "Object":
    """A Ready node of so many cores and 128 GiB for 110 pods; zones in turn. It takes nobody's pods yet."""
    name = node_name(number)
    now = seconds_time()
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "Simulated",
        "message": "simulated node: runs no containers",
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    }
    room = {"cpu": str(cores), "memory": "128Gi", "pods": "110", "ephemeral-storage": "500Gi"}
    return {
        "metadata": {
            "name": name,
            "labels": {
                LABEL: "true",
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                "topology.kubernetes.io/zone": f"zone-{number % zones}",
            },
        },
        # A range of its own (RFC 6598's), so that it takes none of the cluster's few.
        "spec": {
            "podCIDR": pod_range(number),
            "podCIDRs": [pod_range(number)],
            "taints": [*TAINTS, CLOSED],
        },
        "status": {
            "capacity": room,
            "allocatable": room,
            "conditions": [ready],
            "addresses": [{"type": "Hostname", "address": name}],
            "nodeInfo": {"kubeletVersion": "simulated", "operatingSystem": "linux", "architecture": "amd64"},
        },
    }


def node_name(number: int) -> str:
    return f"{PREFIX}{number:05d}"


def pod_range(number: int) -> str:
    first = (100 << 24) + (64 << 16) + number * 64
    return f"{first >> 24}.{first >> 16 & 255}.{first >> 8 & 255}.{first & 255}/26"


def simulated_pod(number: int, shape: str) -> "Object":
    """A pod that only simulated nodes may run. Those of a hundred in a row form one application.

    Shapes `low` and `high`: four low ones fill a node of four cores; a high one takes the place of three."""
    labels = {LABEL: "true", "app": f"app-{number // 100}"}
    spec: dict[str, Any] = {
        "terminationGracePeriodSeconds": 0,
        "nodeSelector": {LABEL: "true"},
        "tolerations": [{"key": LABEL, "operator": "Exists"}],
        "containers": [
            {"name": "none", "image": "simulated", "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}}}
        ],
    }
    same = {"matchLabels": {"app": labels["app"]}}
    if shape == "spread":
        spec["topologySpreadConstraints"] = [
            {
                "maxSkew": 1,
                "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": same,
            }
        ]
    elif shape == "anti-affinity":
        term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": same}
        spec["affinity"] = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    elif shape in ("low", "high"):
        spec["priorityClassName"] = LOW if shape == "low" else HIGH
        spec["containers"][0]["resources"]["requests"]["cpu"] = "900m" if shape == "low" else "3"
    return {"metadata": {"name": f"{PREFIX}{shape}-{number}", "labels": labels}, "spec": spec}


def running_status(pod: "Object", number: int) -> dict[str, Any]:
    """What a kubelet would say once the pod's container runs; the address is of no network (RFC 2544's range)."""
    now = seconds_time()
    address = f"198.{18 + number // 65536 % 2}.{number // 256 % 256}.{number % 256}"
    conditions = [
        {"type": type, "status": "True", "lastTransitionTime": now}
        for type in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
    ]
    return {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": now,
        "conditions": conditions,
        "containerStatuses": [
            {
                "name": "none",
                "image": "simulated",
                "imageID": "",
                "ready": True,
                "started": True,
                "restartCount": 0,
                "state": {"running": {"startedAt": now}},
            }
        ],
    }


def seconds_time() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def micro_time(ahead: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime(time.time() + ahead))

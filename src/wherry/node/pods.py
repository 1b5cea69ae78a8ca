"""Reading a Pod: the small questions that every part of the kubelet asks of one.

A pod is decoded JSON (`schema.resource.Object`) and never changed here. Containers come in three groups: *init*
containers run one after the other before the rest; an init container with `restartPolicy: Always` is a *sidecar*
and stays; *main* containers run side by side; *ephemeral* ones are added by `kubectl debug` and never restarted.
Specified in https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/.
"""

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from wherry.schema.resource import Object

LABEL_CONTAINER = "io.kubernetes.container.name"
LABEL_POD = "io.kubernetes.pod.name"
LABEL_NAMESPACE = "io.kubernetes.pod.namespace"
LABEL_UID = "io.kubernetes.pod.uid"
LABEL_HASH = "io.kubernetes.container.hash"
LABEL_ATTEMPT = "io.kubernetes.container.restartCount"
LABEL_SANDBOX = "io.kubernetes.sandbox.id"
LABEL_BACKOFF = "io.wherry.container.backoff"
LABEL_IMAGE = "io.wherry.container.image"
LABEL_MESSAGE_PATH = "io.kubernetes.container.terminationMessagePath"
LABEL_MESSAGE_POLICY = "io.kubernetes.container.terminationMessagePolicy"

CONFIG_SOURCE = "kubernetes.io/config.source"
CONFIG_MIRROR = "kubernetes.io/config.mirror"
CONFIG_HASH = "kubernetes.io/config.hash"

MIRROR_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")


def uid(pod: Object) -> str:
    """The pod's UID; for the API's mirror of a static pod, the UID of the static pod itself."""
    meta = pod["metadata"]
    return str((meta.get("annotations") or {}).get(CONFIG_MIRROR) or meta["uid"])


def name(pod: Object) -> str:
    return str(pod["metadata"]["name"])


def namespace(pod: Object) -> str:
    return str(pod["metadata"].get("namespace") or "default")


def full_name(pod: Object) -> str:
    """`web_default`: name and namespace as the kubelet writes them in messages."""
    return f"{name(pod)}_{namespace(pod)}"


def described(pod: Object) -> str:
    """`web_default(0a1b…)`: as in "Back-off restarting failed container web in pod web_default(0a1b…)"."""
    return f"{full_name(pod)}({uid(pod)})"


def is_static(pod: Object) -> bool:
    """Does it come from a file on this machine?"""
    source = (pod["metadata"].get("annotations") or {}).get(CONFIG_SOURCE)
    return source is not None and source != "api"


def is_mirror(pod: Object) -> bool:
    """Is this only what the API shows of a static pod?"""
    return CONFIG_MIRROR in (pod["metadata"].get("annotations") or {})


def is_sidecar(container: Object) -> bool:
    """For a member of initContainers: does it stay beside the main containers?"""
    return container.get("restartPolicy") == "Always"


def init_containers(pod: Object) -> list[Object]:
    return pod["spec"].get("initContainers") or []


def main_containers(pod: Object) -> list[Object]:
    return pod["spec"].get("containers") or []


def ephemeral_containers(pod: Object) -> list[Object]:
    return pod["spec"].get("ephemeralContainers") or []


def all_containers(pod: Object) -> Iterator[Object]:
    """Every container of the pod: init, main, ephemeral."""
    yield from init_containers(pod)
    yield from main_containers(pod)
    yield from ephemeral_containers(pod)


def find_container(pod: Object, container_name: str) -> Object | None:
    return next((c for c in all_containers(pod) if c["name"] == container_name), None)


def field_path(pod: Object, container_name: str) -> str:
    """`spec.containers{web}`: how an Event names the container it is about."""
    for group in MIRROR_CONTAINERS:
        if any(c["name"] == container_name for c in pod["spec"].get(group) or []):
            return f"spec.{group}{{{container_name}}}"
    return ""


def restart_policy(pod: Object) -> str:
    return str(pod["spec"].get("restartPolicy") or "Always")


def is_deleted(pod: Object) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))


def is_terminal(pod: Object) -> bool:
    """Has the API already seen this pod end?"""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def grace_period(pod: Object) -> float:
    """Seconds between SIGTERM and SIGKILL: what the deletion asks for, else what the spec says."""
    meta = pod["metadata"]
    if meta.get("deletionTimestamp") and meta.get("deletionGracePeriodSeconds") is not None:
        return float(meta["deletionGracePeriodSeconds"])
    given = pod["spec"].get("terminationGracePeriodSeconds")
    return float(30 if given is None else given)


def host_network(pod: Object) -> bool:
    return bool(pod["spec"].get("hostNetwork"))


def hostname(pod: Object) -> str:
    """The host name inside the pod: spec.hostname, else the pod's name cut to 63 characters."""
    given = pod["spec"].get("hostnameOverride") or pod["spec"].get("hostname")
    return str(given or name(pod)[:63].rstrip("-."))


def subdomain_fqdn(pod: Object, cluster_domain: str) -> str:
    """`web-0.db.default.svc.cluster.local` for a pod with a subdomain, else ""."""
    subdomain = pod["spec"].get("subdomain")
    if not subdomain or pod["spec"].get("hostnameOverride"):
        return ""
    return f"{hostname(pod)}.{subdomain}.{namespace(pod)}.svc.{cluster_domain}"


IPC_SYSCTLS = ("kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.")
"""What the names of sysctls of an IPC namespace begin with."""


def sysctls(pod: Object, *beginnings: str) -> dict[str, str]:
    """Name (with dots) → value of the sysctls that the pod asks for and whose names begin so."""
    asked = (pod["spec"].get("securityContext") or {}).get("sysctls") or ()
    named = {str(one["name"]).replace("/", "."): str(one["value"]) for one in asked}
    return {name: value for name, value in named.items() if name.startswith(beginnings)}


def container_hash(container: Object) -> str:
    """Changes when the container must be started anew: its image (the one field an update may change)."""
    key = json.dumps([container["name"], container.get("image")]).encode()
    return hashlib.sha256(key).hexdigest()[:8]


def qos_class(pod: Object) -> str:
    """Guaranteed, Burstable or BestEffort, from cpu and memory of pod, init and main containers.

    Specified in https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/.
    """
    from wherry.node.resources import is_zero, same_quantity

    sections: list[dict[str, Any]] = []
    pod_level = pod["spec"].get("resources")
    if pod_level and (pod_level.get("requests") or pod_level.get("limits")):
        sections = [pod_level]
    else:
        sections = [c.get("resources") or {} for c in (*main_containers(pod), *init_containers(pod))]
    any_set = False
    guaranteed = True
    for section in sections:
        requests, limits = section.get("requests") or {}, section.get("limits") or {}
        for resource in ("cpu", "memory"):
            limit = limits.get(resource)
            request = requests.get(resource, limit)
            if (limit is not None and not is_zero(limit)) or (request is not None and not is_zero(request)):
                any_set = True
            if limit is None or is_zero(limit) or not same_quantity(limit, request):
                guaranteed = False
    if not any_set:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def parse_time(text: str | None) -> float | None:
    """Seconds since the epoch of an RFC 3339 time, or None. Docker's zero time (year 1) is None too."""
    if not text or text.startswith("0001-"):
        return None
    return datetime.fromisoformat(text).timestamp()


def format_time(seconds: float) -> str:
    """`2026-01-31T12:00:00Z`: metav1.Time, to the second."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def format_micro_time(seconds: float) -> str:
    """`2026-01-31T12:00:00.000000Z`: metav1.MicroTime."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

"""What Endpoints and EndpointSlices share: which pods back a Service, and at which ports.

Specified in https://kubernetes.io/docs/concepts/services-networking/service/.
"""

from collections.abc import Iterable

from wherry.client.informer import Informers, Key
from wherry.controllers import pods
from wherry.schema.builtin import PODS, SERVICES
from wherry.schema.resource import Object
from wherry.schema.selectors import from_set

HEADLESS_LABEL = "service.kubernetes.io/headless"
SERVICE_NAME_LABEL = "kubernetes.io/service-name"
MANAGED_BY_LABEL = "endpointslice.kubernetes.io/managed-by"


def is_headless(service: Object) -> bool:
    return bool(service["spec"].get("clusterIP") == "None")


def has_selector(service: Object) -> bool:
    return bool(service["spec"].get("selector")) and service["spec"].get("type") != "ExternalName"


def backing_pods(service: Object, informers: Informers) -> list[Object]:
    """Pods of the Service's namespace that its selector finds."""
    if not has_selector(service):
        return []
    selector = from_set(service["spec"]["selector"])
    namespace = service["metadata"]["namespace"]
    return [pod for pod in informers[PODS].items(namespace) if selector.matches(pod["metadata"].get("labels"))]


def keys_of_pod(pod: Object, informers: Informers) -> Iterable[Key]:
    """Services whose selector finds `pod`."""
    labels = pod["metadata"].get("labels")
    if not labels:
        return
    namespace = pod["metadata"]["namespace"]
    for service in informers[SERVICES].items(namespace):
        if has_selector(service) and service["spec"]["selector"].items() <= labels.items():
            yield namespace, service["metadata"]["name"]


def pod_matters(old: Object, new: Object) -> bool:
    """Whether an update of a pod can change endpoints."""
    before, after = old["metadata"], new["metadata"]
    if any(before.get(field) != after.get(field) for field in ("labels", "deletionTimestamp", "uid")):
        return True
    if old["spec"].get("nodeName") != new["spec"].get("nodeName"):
        return True
    was, now = old.get("status") or {}, new.get("status") or {}
    if any(was.get(field) != now.get(field) for field in ("podIP", "podIPs", "phase")):
        return True
    return pods.is_ready(old) != pods.is_ready(new)


def addresses(pod: Object, family: str) -> list[str]:
    """The pod's addresses of `family` (`IPv4` or `IPv6`)."""
    status = pod.get("status") or {}
    found = [entry["ip"] for entry in status.get("podIPs") or () if entry.get("ip")]
    if not found and status.get("podIP"):
        found = [status["podIP"]]
    return [ip for ip in found if (":" in ip) == (family == "IPv6")]


def target_port(port: Object, pod: Object) -> int | None:
    """The number that a Service port stands for in `pod`; None where the pod has no port of that name."""
    target = port.get("targetPort", port["port"])
    if isinstance(target, int):
        return target or int(port["port"])
    protocol = port.get("protocol", "TCP")
    spec = pod["spec"]
    sidecars = [one for one in spec.get("initContainers") or () if one.get("restartPolicy") == "Always"]
    for container in [*spec.get("containers", ()), *sidecars]:
        for candidate in container.get("ports") or ():
            if candidate.get("name") == target and candidate.get("protocol", "TCP") == protocol:
                return int(candidate["containerPort"])
    return None


def pod_ports(service: Object, pod: Object) -> list[Object]:
    """The Service's ports as they are in `pod`: name, port, protocol, appProtocol. Unknown named ports are left out."""
    found = []
    for port in service["spec"].get("ports") or ():
        number = target_port(port, pod)
        if number is None:
            continue
        entry: Object = {"name": port.get("name", ""), "port": number, "protocol": port.get("protocol", "TCP")}
        if port.get("appProtocol"):
            entry["appProtocol"] = port["appProtocol"]
        found.append(entry)
    return found


def pod_hostname(pod: Object, service: Object) -> str:
    """The pod's host name below the Service, where it asks for one (StatefulSets)."""
    spec = pod["spec"]
    if spec.get("hostname") and spec.get("subdomain") == service["metadata"]["name"]:
        return str(spec["hostname"])
    return ""


def target_reference(pod: Object) -> Object:
    metadata = pod["metadata"]
    return {"kind": "Pod", "namespace": metadata["namespace"], "name": metadata["name"], "uid": metadata["uid"]}


def families(service: Object) -> list[str]:
    return list(service["spec"].get("ipFamilies") or ["IPv4"])

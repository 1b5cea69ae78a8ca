"""Endpoints: the addresses behind a Service, in the old shape that clients still read.

https://kubernetes.io/docs/reference/kubernetes-api/service-resources/endpoints-v1/
"""

from dataclasses import dataclass, field

from wherry.client.informer import Informers, Key
from wherry.controllers import pods, services
from wherry.controllers.loop import Controller, Watch
from wherry.controllers.plan import WARNING, Event, Plan
from wherry.schema.builtin import ENDPOINTS, PODS, SERVICES
from wherry.schema.resource import Object

MAX_ADDRESSES = 1000
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
_MANAGED_ANNOTATIONS = frozenset({OVER_CAPACITY, "endpoints.kubernetes.io/last-change-trigger-time"})


@dataclass
class Children:
    pods: list[Object] = field(default_factory=list)
    endpoints: Object | None = None


def reconcile(service: Object, children: Children, now: float) -> Plan:
    plan = Plan()
    if not services.has_selector(service):
        return plan
    subsets, truncated = _subsets(service, children.pods)
    metadata = service["metadata"]
    labels = dict(metadata.get("labels") or {}) | {"endpoints.kubernetes.io/managed-by": "endpoint-controller"}
    labels.pop(services.HEADLESS_LABEL, None)
    if services.is_headless(service):
        labels[services.HEADLESS_LABEL] = ""
    annotations = {OVER_CAPACITY: "truncated"} if truncated else {}
    wanted: Object = {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {"name": metadata["name"], "namespace": metadata["namespace"], "labels": labels},
    }
    if annotations:
        wanted["metadata"]["annotations"] = annotations
    if subsets:
        wanted["subsets"] = subsets
    current = children.endpoints
    if current is None:
        failed = Event(
            WARNING, "FailedToCreateEndpoint", f"Failed to create endpoint for service {_name(service)}: {{error}}"
        )
        plan.create(ENDPOINTS, wanted, failed=failed)
        plan.because("the service has no endpoints object")
        return plan
    known = {
        name: value
        for name, value in (current["metadata"].get("annotations") or {}).items()
        if name in _MANAGED_ANNOTATIONS
    }
    if (
        (current.get("subsets") or []) == subsets
        and (current["metadata"].get("labels") or {}) == labels
        and known == annotations
    ):
        return plan
    kept = {
        name: value
        for name, value in (current["metadata"].get("annotations") or {}).items()
        if name not in _MANAGED_ANNOTATIONS
    } | annotations
    new = {name: value for name, value in current.items() if name != "subsets"}
    new["metadata"] = {**current["metadata"], "labels": labels}
    if kept or "annotations" in current["metadata"]:
        new["metadata"]["annotations"] = kept
    if subsets:
        new["subsets"] = subsets
    failed = Event(WARNING, "FailedToUpdateEndpoint", f"Failed to update endpoint {_name(service)}: {{error}}")
    plan.update(ENDPOINTS, new, failed=failed)
    plan.because("addresses, ports or labels have changed")
    return plan


def _name(service: Object) -> str:
    return f"{service['metadata']['namespace']}/{service['metadata']['name']}"


def _subsets(service: Object, found: list[Object]) -> tuple[list[Object], bool]:
    """Subsets: one per set of ports, addresses in order of IP; and whether some had to be left out."""
    family = services.families(service)[0]
    publish = service["spec"].get("publishNotReadyAddresses", False)
    groups: dict[str, tuple[list[Object], list[Object], list[Object]]] = {}
    count = 0
    for pod in sorted(found, key=lambda pod: pod["metadata"]["name"]):
        ips = services.addresses(pod, family)
        if not ips or pods.is_finished(pod) or (pods.is_terminating(pod) and not publish):
            continue
        ports = services.pod_ports(service, pod)
        if not ports and not services.is_headless(service):
            continue
        address: Object = {"ip": ips[0]}
        if pod["spec"].get("nodeName"):
            address["nodeName"] = pod["spec"]["nodeName"]
        address["targetRef"] = services.target_reference(pod)
        if services.is_headless(service) and (hostname := services.pod_hostname(pod, service)):
            address["hostname"] = hostname
        shown = [{name: value for name, value in port.items() if value != ""} for port in ports]
        key = repr(sorted(shown, key=repr))
        _, ready, waiting = groups.setdefault(key, (shown, [], []))
        (ready if publish or pods.is_ready(pod) else waiting).append(address)
        count += 1
    subsets = []
    left = MAX_ADDRESSES
    for key in sorted(groups):
        ports, ready, waiting = groups[key]
        subset: Object = {}
        for name, group in (("addresses", ready), ("notReadyAddresses", waiting)):
            group = sorted(group, key=lambda address: str(address["ip"]))[:left]
            left -= len(group)
            if group:
                subset[name] = group
        if subset:
            subsets.append(subset | ({"ports": ports} if ports else {}))
    return subsets, count > MAX_ADDRESSES


class EndpointsController(Controller):
    name = "endpoint-controller"
    resource = SERVICES
    watches = (
        Watch(PODS, services.keys_of_pod, services.pod_matters),
        Watch(ENDPOINTS, lambda obj, _: ((obj["metadata"]["namespace"], obj["metadata"]["name"]),)),
    )

    def gather(self, obj: Object, informers: Informers) -> Children:
        metadata = obj["metadata"]
        current = informers[ENDPOINTS].get(metadata["namespace"], metadata["name"])
        return Children(services.backing_pods(obj, informers), current)

    def reconcile(self, obj: Object, children: Children, now: float) -> Plan:
        return reconcile(obj, children, now)

    def gone(self, key: Key, informers: Informers, now: float) -> Plan | None:
        """Endpoints go with their Service, unless another has made them (leader election in old clients)."""
        left = informers[ENDPOINTS].get(*key)
        if left is None or "endpoints.kubernetes.io/managed-by" not in (left["metadata"].get("labels") or {}):
            return None
        plan = Plan()
        plan.delete(ENDPOINTS, left)
        plan.because("the service is gone")
        return plan

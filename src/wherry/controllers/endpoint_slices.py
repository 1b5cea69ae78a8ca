"""EndpointSlices: the addresses behind a Service in slices of at most 100, changed as little as possible.

https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from wherry.client.informer import Informers, Key
from wherry.controllers import pods, services
from wherry.controllers.loop import Controller, Watch
from wherry.controllers.ownership import owner_reference
from wherry.controllers.plan import WARNING, Event, Plan
from wherry.schema.builtin import ENDPOINT_SLICES, NODES, PODS, SERVICES
from wherry.schema.resource import Object

MANAGER = "endpointslice-controller.k8s.io"
MAX_ENDPOINTS = 100
_ZONE = "topology.kubernetes.io/zone"


@dataclass
class Children:
    """`zones` maps node names to zones."""

    pods: list[Object] = field(default_factory=list)
    slices: list[Object] = field(default_factory=list)
    zones: dict[str, str] = field(default_factory=dict)


def reconcile(service: Object, children: Children, now: float) -> Plan:
    plan = Plan()
    if not services.has_selector(service) or service["metadata"].get("deletionTimestamp"):
        return plan
    wanted_families = services.families(service)
    for one in children.slices:
        if one["addressType"] not in wanted_families:
            plan.delete(ENDPOINT_SLICES, one)
            plan.because(f"slice {one['metadata']['name']} has an address family that the service no longer has")
    for family in wanted_families:
        slices = [one for one in children.slices if one["addressType"] == family]
        _reconcile_family(service, children, slices, family, plan)
    return plan


def _reconcile_family(service: Object, children: Children, slices: list[Object], family: str, plan: Plan) -> None:
    groups: dict[str, tuple[list[Object], dict[str, Object]]] = {}
    for pod in children.pods:
        ips = services.addresses(pod, family)
        if not ips or pods.is_finished(pod):
            continue
        ports = services.pod_ports(service, pod)
        _, endpoints = groups.setdefault(_ports_key(ports), (ports, {}))
        endpoints[pod["metadata"]["uid"]] = _endpoint(service, pod, ips, children.zones)
    existing: dict[str, list[Object]] = {}
    for one in sorted(slices, key=lambda one: str(one["metadata"]["name"])):
        existing.setdefault(_ports_key(one.get("ports") or []), []).append(one)
    if not groups:
        # A Service without pods keeps one empty slice, so that readers can tell "none" from "not yet".
        groups[_ports_key([])] = ([], {})
    for key, (ports, endpoints) in sorted(groups.items()):
        _pack(service, existing.pop(key, []), ports, endpoints, family, plan)
    for left in existing.values():
        for one in left:
            plan.delete(ENDPOINT_SLICES, one)
            plan.because(f"slice {one['metadata']['name']} has no endpoints left")


def _pack(
    service: Object, slices: list[Object], ports: list[Object], endpoints: dict[str, Object], family: str, plan: Plan
) -> None:
    """Keep each endpoint where it is, fill new ones into slices with room, and make or delete the rest."""
    left = dict(endpoints)
    contents: list[list[Object]] = []
    for one in slices:
        kept = []
        for endpoint in one.get("endpoints") or ():
            uid = (endpoint.get("targetRef") or {}).get("uid", "")
            if uid in left:
                kept.append(left.pop(uid))
        contents.append(kept)
    fresh = [left[uid] for uid in sorted(left, key=lambda uid: str(left[uid]["targetRef"]["name"]))]
    # Slices that change anyway take new endpoints first, fullest first.
    order = sorted(
        range(len(slices)),
        key=lambda i: (contents[i] == (slices[i].get("endpoints") or []), -len(contents[i])),
    )
    for i in order:
        room = MAX_ENDPOINTS - len(contents[i])
        contents[i] += fresh[:room]
        fresh = fresh[room:]
    kept_one = False
    for one, content in zip(slices, contents, strict=True):
        if not content and (endpoints or kept_one):
            plan.delete(ENDPOINT_SLICES, one)
            plan.because(f"slice {one['metadata']['name']} is empty")
            continue
        kept_one = True
        _refresh(service, one, content, plan)
    while fresh or not (kept_one or endpoints):
        kept_one = True
        chunk, fresh = fresh[:MAX_ENDPOINTS], fresh[MAX_ENDPOINTS:]
        metadata = service["metadata"]
        new = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "generateName": f"{metadata['name']}-",
                "namespace": metadata["namespace"],
                "labels": _labels(service),
                "ownerReferences": [owner_reference(service)],
            },
            "addressType": family,
            "endpoints": chunk,
            "ports": ports,
        }
        name = f"{metadata['namespace']}/{metadata['name']}"
        message = (
            f"Error updating Endpoint Slices for Service {name}: "
            f"failed to create EndpointSlice for Service {name}: {{error}}"
        )
        plan.create(ENDPOINT_SLICES, new, failed=Event(WARNING, "FailedToUpdateEndpointSlices", message))
        plan.because(f"a new slice for {len(chunk)} endpoints")


def _refresh(service: Object, current: Object, endpoints: list[Object], plan: Plan) -> None:
    labels = _labels(service)
    if (current.get("endpoints") or []) == endpoints and (current["metadata"].get("labels") or {}) == labels:
        return
    new = current | {"endpoints": endpoints, "metadata": current["metadata"] | {"labels": labels}}
    metadata = service["metadata"]
    name = f"{metadata['namespace']}/{metadata['name']}"
    message = (
        f"Error updating Endpoint Slices for Service {name}: "
        f"failed to update {current['metadata']['name']} EndpointSlice for Service {name}: {{error}}"
    )
    plan.update(ENDPOINT_SLICES, new, failed=Event(WARNING, "FailedToUpdateEndpointSlices", message))
    plan.because(f"slice {current['metadata']['name']} now has {len(endpoints)} endpoints")


def _ports_key(ports: list[Object]) -> str:
    return repr(
        sorted(
            (port.get("name") or "", port.get("port") or 0, port.get("protocol", "TCP"), port.get("appProtocol", ""))
            for port in ports
        )
    )


def _labels(service: Object) -> dict[str, str]:
    labels = dict(service["metadata"].get("labels") or {})
    labels.pop(services.HEADLESS_LABEL, None)
    labels |= {services.SERVICE_NAME_LABEL: service["metadata"]["name"], services.MANAGED_BY_LABEL: MANAGER}
    if services.is_headless(service):
        labels[services.HEADLESS_LABEL] = ""
    return labels


def _endpoint(service: Object, pod: Object, ips: list[str], zones: dict[str, str]) -> Object:
    terminating = pods.is_terminating(pod)
    serving = pods.is_ready(pod)
    publish = bool(service["spec"].get("publishNotReadyAddresses"))
    endpoint: Object = {
        "addresses": ips,
        "conditions": {
            "ready": publish or (serving and not terminating),
            "serving": serving,
            "terminating": terminating,
        },
        "targetRef": services.target_reference(pod),
    }
    node = pod["spec"].get("nodeName")
    if node:
        endpoint["nodeName"] = node
        if node in zones:
            endpoint["zone"] = zones[node]
    if hostname := services.pod_hostname(pod, service):
        endpoint["hostname"] = hostname
    return endpoint


def _keys_of_slice(one: Object, informers: Informers) -> Iterable[Key]:
    labels = one["metadata"].get("labels") or {}
    if labels.get(services.MANAGED_BY_LABEL) == MANAGER and services.SERVICE_NAME_LABEL in labels:
        yield one["metadata"]["namespace"], labels[services.SERVICE_NAME_LABEL]


class EndpointSliceController(Controller):
    name = "endpoint-slice-controller"
    resource = SERVICES
    watches = (
        Watch(PODS, services.keys_of_pod, services.pod_matters),
        Watch(ENDPOINT_SLICES, _keys_of_slice),
    )

    def setup(self, informers: Informers) -> None:
        informers[ENDPOINT_SLICES].add_index(
            services.SERVICE_NAME_LABEL,
            lambda one: [f"{namespace}/{name}" for namespace, name in _keys_of_slice(one, informers)],
        )
        _ = informers[NODES]

    def gather(self, obj: Object, informers: Informers) -> Children:
        metadata = obj["metadata"]
        found = services.backing_pods(obj, informers)
        value = f"{metadata['namespace']}/{metadata['name']}"
        zones = {}
        for name in {pod["spec"].get("nodeName", "") for pod in found}:
            node = informers[NODES].get(None, name) if name else None
            zone = (node["metadata"].get("labels") or {}).get(_ZONE) if node else None
            if zone:
                zones[name] = zone
        return Children(found, informers[ENDPOINT_SLICES].by_index(services.SERVICE_NAME_LABEL, value), zones)

    def reconcile(self, obj: Object, children: Children, now: float) -> Plan:
        return reconcile(obj, children, now)

"""EndpointSlices for Endpoints that somebody keeps by hand, behind Services without a selector.

https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/#endpointslice-mirroring
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field

from wherry.client.informer import Informers, Key, key_of
from wherry.controllers import services
from wherry.controllers.loop import Controller, Watch
from wherry.controllers.ownership import owner_reference
from wherry.controllers.plan import WARNING, Event, Plan
from wherry.schema.builtin import ENDPOINT_SLICES, ENDPOINTS, SERVICES
from wherry.schema.resource import Object

MANAGER = "endpointslicemirroring-controller.k8s.io"
SKIP_LABEL = "endpointslice.kubernetes.io/skip-mirror"
LEADER_ANNOTATION = "control-plane.alpha.kubernetes.io/leader"
UNCOPIED_ANNOTATIONS = (
    "kubectl.kubernetes.io/last-applied-configuration",
    "endpoints.kubernetes.io/last-change-trigger-time",
)
MAX_ENDPOINTS = 1000
"""Of one subset; what is beyond is not mirrored."""


@dataclass
class Children:
    service: Object | None = None
    slices: list[Object] = field(default_factory=list)


def reconcile(endpoints: Object, children: Children, now: float) -> Plan:
    """One slice for each subset and address family."""
    plan = Plan()
    if endpoints["metadata"].get("deletionTimestamp"):
        return plan
    wanted = _slices(endpoints) if _is_mirrored(endpoints, children.service) else []
    existing = {_shape(one): one for one in children.slices}
    spare = [one for one in children.slices if existing[_shape(one)] is not one]
    for one in wanted:
        current = existing.pop(_shape(one), None)
        if current is None:
            plan.create(ENDPOINT_SLICES, one, failed=_failed(endpoints))
            plan.because(f"{len(one['endpoints'])} addresses have no slice")
        elif _content(current) != _content(one):
            metadata = current["metadata"] | {key: one["metadata"][key] for key in ("labels", "annotations")}
            plan.update(ENDPOINT_SLICES, current | one | {"metadata": metadata}, failed=_failed(endpoints))
            plan.because(f"slice {current['metadata']['name']} differs")
    for one in [*existing.values(), *spare]:
        plan.delete(ENDPOINT_SLICES, one)
        plan.because(f"slice {one['metadata']['name']} mirrors nothing")
    return plan


def _is_mirrored(endpoints: Object, service: Object | None) -> bool:
    metadata = endpoints["metadata"]
    if (metadata.get("labels") or {}).get(SKIP_LABEL) == "true" or LEADER_ANNOTATION in (
        metadata.get("annotations") or {}
    ):
        return False
    return service is not None and not service["spec"].get("selector")


def _slices(endpoints: Object) -> list[Object]:
    found: dict[tuple[str, str], Object] = {}
    for subset in endpoints.get("subsets") or ():
        ports = [{"name": "", "protocol": "TCP"} | port for port in subset.get("ports") or ()]
        listed = [(one, True) for one in subset.get("addresses") or ()]
        listed += [(one, False) for one in subset.get("notReadyAddresses") or ()]
        for address, ready in listed[:MAX_ENDPOINTS]:
            family = _family(address["ip"])
            if family is None:
                continue
            one = _slice(endpoints, family, ports)
            found.setdefault(_shape(one), one)["endpoints"].append(_endpoint(address, ready))
    return list(found.values())


def _family(address: str) -> str | None:
    try:
        return f"IPv{ipaddress.ip_address(address).version}"
    except ValueError:
        return None


def _slice(endpoints: Object, family: str, ports: list[Object]) -> Object:
    metadata = endpoints["metadata"]
    annotations = metadata.get("annotations") or {}
    labels = dict(metadata.get("labels") or {})
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "generateName": f"{metadata['name']}-",
            "namespace": metadata["namespace"],
            "labels": labels | {services.SERVICE_NAME_LABEL: metadata["name"], services.MANAGED_BY_LABEL: MANAGER},
            "annotations": {key: text for key, text in annotations.items() if key not in UNCOPIED_ANNOTATIONS},
            "ownerReferences": [owner_reference(endpoints)],
        },
        "addressType": family,
        "endpoints": [],
        "ports": ports,
    }


def _endpoint(address: Object, ready: bool) -> Object:
    endpoint: Object = {"addresses": [address["ip"]], "conditions": {"ready": ready}}
    for key in ("hostname", "nodeName", "targetRef"):
        if address.get(key):
            endpoint[key] = address[key]
    return endpoint


def _shape(one: Object) -> tuple[str, str]:
    """Slices of one shape hold the same kind of addresses for the same ports."""
    ports = sorted(
        (port.get("name") or "", port.get("port") or 0, port.get("protocol") or "TCP", port.get("appProtocol") or "")
        for port in one.get("ports") or ()
    )
    return one["addressType"], repr(ports)


def _content(one: Object) -> tuple[object, ...]:
    metadata = one["metadata"]
    return one.get("endpoints") or [], metadata.get("labels") or {}, metadata.get("annotations") or {}


def _failed(endpoints: Object) -> Event:
    metadata = endpoints["metadata"]
    message = f"Error mirroring EndpointSlices for {metadata['namespace']}/{metadata['name']}: {{error}}"
    return Event(WARNING, "FailedToUpdateEndpointSlices", message)


def _keys_of_slice(one: Object, informers: Informers) -> Iterable[Key]:
    labels = one["metadata"].get("labels") or {}
    if labels.get(services.MANAGED_BY_LABEL) == MANAGER and services.SERVICE_NAME_LABEL in labels:
        yield one["metadata"]["namespace"], labels[services.SERVICE_NAME_LABEL]


class EndpointSliceMirroringController(Controller):
    name = "endpoint-slice-mirroring-controller"
    resource = ENDPOINTS
    watches = (
        Watch(
            SERVICES,
            lambda obj, _: (key_of(obj),),
            lambda old, new: bool(old["spec"].get("selector")) != bool(new["spec"].get("selector")),
        ),
        Watch(ENDPOINT_SLICES, _keys_of_slice),
    )

    def setup(self, informers: Informers) -> None:
        informers[ENDPOINT_SLICES].add_index(
            MANAGER, lambda one: [f"{namespace}/{name}" for namespace, name in _keys_of_slice(one, informers)]
        )

    def gather(self, obj: Object, informers: Informers) -> Children:
        key = key_of(obj)
        service = informers[SERVICES].get(*key)
        return Children(service, informers[ENDPOINT_SLICES].by_index(MANAGER, f"{key[0]}/{key[1]}"))

    def reconcile(self, obj: Object, children: Children, now: float) -> Plan:
        return reconcile(obj, children, now)

"""A pod as the scheduler sees it: requests as numbers, selectors compiled, terms resolved.

Specified in https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/ and
https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import orjson

from wherry.client.clock import parse_time
from wherry.schema import quantity
from wherry.schema.resource import Object
from wherry.schema.selectors import IN, NOTHING, Labels, Requirement, Selector, from_label_selector

NamespaceLabels = Callable[[str], Labels | None]
"""Labels of a namespace by its name; None when it is not known."""

# What scoring takes a container without requests to need.
DEFAULT_MILLI_CPU, DEFAULT_MEMORY = 100, 200 * 1024 * 1024


@dataclass(frozen=True)
class Term:
    """Which pods a (anti-)affinity term means, and over which node label. `namespaces` are named ones;
    `namespace_selector` adds those whose labels match (None: none)."""

    selector: Selector
    topology_key: str
    namespaces: frozenset[str]
    namespace_selector: Selector | None = None

    def matches(self, pod: "PodInfo", namespace_labels: NamespaceLabels) -> bool:
        return self.covers(pod.namespace, namespace_labels) and self.selector.matches(pod.labels)

    def covers(self, namespace: str, namespace_labels: NamespaceLabels) -> bool:
        if namespace in self.namespaces:
            return True
        if self.namespace_selector is None:
            return False
        return self.namespace_selector.empty or self.namespace_selector.matches(namespace_labels(namespace))


@dataclass(frozen=True)
class WeightedTerm:
    term: Term
    weight: int


@dataclass(frozen=True)
class SpreadConstraint:
    """One of a pod's topologySpreadConstraints."""

    max_skew: int
    topology_key: str
    selector: Selector
    required: bool
    min_domains: int = 1
    honor_affinity: bool = True
    honor_taints: bool = False


@dataclass(frozen=True)
class HostPort:
    ip: str
    protocol: str
    port: int

    def conflicts(self, other: "HostPort") -> bool:
        if self.port != other.port or self.protocol != other.protocol:
            return False
        return self.ip == other.ip or "0.0.0.0" in (self.ip, other.ip)


@dataclass(eq=False)
class PodInfo:
    """`requests` maps resource names to amounts: `cpu` in millicores, all else in whole units."""

    object: Object
    node: str = ""
    requests: Mapping[str, int] = field(default_factory=dict)
    nonzero: tuple[int, int] = (0, 0)
    ports: tuple[HostPort, ...] = ()
    required_affinity: tuple[Term, ...] = ()
    required_anti_affinity: tuple[Term, ...] = ()
    preferred: tuple[WeightedTerm, ...] = ()
    """Preferred terms; anti-affinity has negative weights."""
    spread: tuple[SpreadConstraint, ...] = ()

    def __post_init__(self) -> None:
        metadata = self.object["metadata"]
        self.uid: str = metadata["uid"]
        self.namespace: str = metadata.get("namespace", "")
        self.name: str = metadata["name"]
        self.labels: Labels = metadata.get("labels") or {}
        self.priority: int = self.object["spec"].get("priority") or 0
        self.terminating = bool(metadata.get("deletionTimestamp"))

    @property
    def spec(self) -> Object:
        spec: Object = self.object["spec"]
        return spec

    @property
    def key(self) -> tuple[str, str]:
        return self.namespace, self.name

    @cached_property
    def placement(self) -> bytes:
        """What decides on nodes alone, apart from their load: equal for pods of one template."""
        spec = self.spec
        affinity = (spec.get("affinity") or {}).get("nodeAffinity")
        parts = (spec.get("nodeSelector"), affinity, spec.get("tolerations"), spec.get("nodeName"))
        return orjson.dumps(parts)

    @cached_property
    def images(self) -> tuple[str, ...]:
        spec = self.spec
        containers = (*(spec.get("initContainers") or ()), *spec.get("containers", ()))
        return tuple(container.get("image", "") for container in containers)

    @cached_property
    def started(self) -> float:
        """When it started (epoch seconds), 0 if it has not."""
        return parse_time((self.object.get("status") or {}).get("startTime")) or 0.0

    @property
    def nominated_node(self) -> str:
        return (self.object.get("status") or {}).get("nominatedNodeName") or ""


def compile_pod(pod: Object) -> PodInfo:
    """The PodInfo of `pod`. Raises ValueError for quantities and selectors that the API server should have refused."""
    spec = pod["spec"]
    namespace = pod["metadata"].get("namespace", "")
    requests = pod_requests(spec)
    affinity = spec.get("affinity") or {}
    attract, repel = affinity.get("podAffinity") or {}, affinity.get("podAntiAffinity") or {}
    labels = pod["metadata"].get("labels") or {}
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    preferred = "preferredDuringSchedulingIgnoredDuringExecution"
    return PodInfo(
        object=pod,
        node=spec.get("nodeName") or "",
        requests=requests,
        nonzero=_nonzero(spec),
        ports=_host_ports(spec),
        required_affinity=tuple(_term(term, namespace, labels) for term in attract.get(required) or ()),
        required_anti_affinity=tuple(_term(term, namespace, labels) for term in repel.get(required) or ()),
        preferred=tuple(
            WeightedTerm(_term(entry["podAffinityTerm"], namespace, labels), sign * entry["weight"])
            for sign, entries in ((1, attract.get(preferred)), (-1, repel.get(preferred)))
            for entry in entries or ()
        ),
        spread=tuple(_constraint(entry, labels) for entry in spec.get("topologySpreadConstraints") or ()),
    )


def amount(resource: str, text: Any) -> int:
    """A quantity in the scheduler's units."""
    found = quantity.parse(text)
    return found.milli if resource == "cpu" else found.value


def pod_requests(spec: Object) -> dict[str, int]:
    """What the pod needs: the sum of its containers (sidecars included) or its largest init phase, plus overhead.

    https://kubernetes.io/docs/concepts/workloads/pods/init-containers/#resource-sharing-within-containers
    """
    total: dict[str, int] = {}
    for container in spec.get("containers", ()):
        _add(total, _requests(container))
    largest: dict[str, int] = {}
    sidecars: dict[str, int] = {}
    for container in spec.get("initContainers") or ():
        needs = dict(_requests(container))
        if container.get("restartPolicy") == "Always":
            _add(total, needs)
            _add(sidecars, needs)
            needs = dict(sidecars)
        else:
            _add(needs, sidecars)
        for name, value in needs.items():
            largest[name] = max(largest.get(name, 0), value)
    for name, value in largest.items():
        total[name] = max(total.get(name, 0), value)
    whole = (spec.get("resources") or {}).get("requests") or {}
    for name, text in whole.items():
        total[name] = amount(name, text)
    for name, text in (spec.get("overhead") or {}).items():
        total[name] = total.get(name, 0) + amount(name, text)
    return total


def _requests(container: Object) -> dict[str, int]:
    resources = container.get("resources") or {}
    requests = resources.get("requests") or {}
    return {name: amount(name, text) for name, text in requests.items()}


def _add(total: dict[str, int], more: Mapping[str, int]) -> None:
    for name, value in more.items():
        total[name] = total.get(name, 0) + value


def _nonzero(spec: Object) -> tuple[int, int]:
    cpu = memory = 0
    for container in spec.get("containers", ()):
        requests = _requests(container)
        cpu += requests.get("cpu", DEFAULT_MILLI_CPU)
        memory += requests.get("memory", DEFAULT_MEMORY)
    for container in spec.get("initContainers") or ():
        requests = _requests(container)
        cpu = max(cpu, requests.get("cpu", DEFAULT_MILLI_CPU))
        memory = max(memory, requests.get("memory", DEFAULT_MEMORY))
    overhead = spec.get("overhead") or {}
    return cpu + amount("cpu", overhead.get("cpu", 0)), memory + amount("memory", overhead.get("memory", 0))


def _host_ports(spec: Object) -> tuple[HostPort, ...]:
    found = []
    sidecars = [one for one in spec.get("initContainers") or () if one.get("restartPolicy") == "Always"]
    for container in (*spec.get("containers", ()), *sidecars):
        for port in container.get("ports") or ():
            if port.get("hostPort"):
                ip = port.get("hostIP") or "0.0.0.0"
                found.append(HostPort(ip, port.get("protocol", "TCP"), port["hostPort"]))
    return tuple(found)


def _term(term: Object, namespace: str, labels: Labels) -> Term:
    chosen = term.get("namespaceSelector")
    names = frozenset(term.get("namespaces") or ())
    if not names and chosen is None:
        names = frozenset((namespace,))
    selector = _with_label_keys(from_label_selector(term.get("labelSelector")), term.get("matchLabelKeys"), labels)
    return Term(selector, term["topologyKey"], names, None if chosen is None else from_label_selector(chosen))


def _constraint(entry: Object, labels: Labels) -> SpreadConstraint:
    selector = from_label_selector(entry.get("labelSelector"))
    return SpreadConstraint(
        max_skew=entry["maxSkew"],
        topology_key=entry["topologyKey"],
        selector=_with_label_keys(selector, entry.get("matchLabelKeys"), labels),
        required=entry["whenUnsatisfiable"] == "DoNotSchedule",
        min_domains=entry.get("minDomains") or 1,
        honor_affinity=entry.get("nodeAffinityPolicy", "Honor") == "Honor",
        honor_taints=entry.get("nodeTaintsPolicy", "Ignore") == "Honor",
    )


def _with_label_keys(selector: Selector, keys: list[str] | None, labels: Labels) -> Selector:
    """matchLabelKeys: also the incoming pod's own values of these labels."""
    if not keys or selector is NOTHING:
        return selector
    more = tuple(Requirement(key, IN, (labels[key],)) for key in keys if key in labels)
    return Selector(tuple(dict.fromkeys((*selector.requirements, *more))))

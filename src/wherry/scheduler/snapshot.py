"""The cluster as arrays: one column per node, so that a pod is judged against all nodes at once.

Vocabulary: a *slot* is a node's column; slots of removed nodes are reused, `valid` tells which are taken. A *vector* is
a value per slot derived from the node object, computed once and kept true as nodes change. A *counter* is a vector
of how many pods on each node match a selector, kept true as pods come and go. A *load vector* is a value per slot
derived from what the node has and what its pods take of it; only the slots whose load has changed are derived anew.

Arrays handed out are the snapshot's own: read them, never write.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from wherry.scheduler.pod_info import NamespaceLabels, PodInfo, Term, amount
from wherry.schema.resource import Object
from wherry.schema.selectors import Labels, Selector

Mask = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

CPU, MEMORY, STORAGE, PODS = 0, 1, 2, 3
FIRST_RESOURCES = ("cpu", "memory", "ephemeral-storage", "pods")
HOSTNAME = "kubernetes.io/hostname"
_GROWTH = 64
_MAX_VECTORS = 2048
_MAX_COUNTERS = 2048
_MAX_LOAD_VECTORS = 128
_MAX_MOVES = 4096


@dataclass
class Topology:
    """Values of one node label: `ids` per slot (-1 where the label is absent), `values` how many there are."""

    ids: Ints
    values: dict[str, int]

    def total(self, per_node: npt.NDArray[Any], among: Mask | None = None) -> Floats:
        """Sum of `per_node` per value (over the slots in `among`)."""
        chosen = self.ids >= 0
        if among is not None:
            chosen &= among
        totals = np.bincount(self.ids[chosen], weights=per_node[chosen], minlength=len(self.values))
        return totals.astype(np.float64, copy=False)

    def spread(self, per_value: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Each slot's value of `per_value`; 0 where the label is absent."""
        if not len(per_value):
            return np.zeros(len(self.ids), per_value.dtype)
        found: npt.NDArray[Any] = per_value[self.ids]
        found[self.ids < 0] = 0
        return found


@dataclass
class _Counter:
    namespaces: frozenset[str]
    selector: Selector
    living_only: bool
    counts: Ints

    def matches(self, pod: PodInfo) -> bool:
        if pod.namespace not in self.namespaces or (self.living_only and pod.terminating):
            return False
        return self.selector.matches(pod.labels)


@dataclass
class TermOwners:
    """How many (or with what weight) pods on each node carry `term`."""

    term: Term
    weights: Floats
    owners: int = 0


class TermIndex:
    """Terms of placed pods, found by the pods they may match: by an exact label where the term has one."""

    def __init__(self) -> None:
        self._by_term: dict[Term, TermOwners] = {}
        self._by_label: dict[tuple[str, str], dict[Term, TermOwners]] = {}
        self._rest: dict[Term, TermOwners] = {}

    def add(self, term: Term, slot: int, weight: float, size: int) -> None:
        entry = self._by_term.get(term)
        if entry is None:
            entry = self._by_term[term] = TermOwners(term, np.zeros(size))
            self._bucket(term)[term] = entry
        entry.weights[slot] += weight
        entry.owners += 1

    def remove(self, term: Term, slot: int, weight: float) -> None:
        entry = self._by_term.get(term)
        if entry is None:
            return
        entry.weights[slot] -= weight
        entry.owners -= 1
        if entry.owners == 0:
            del self._by_term[term]
            del self._bucket(term)[term]

    def matching(self, pod: PodInfo, namespace_labels: NamespaceLabels) -> Iterator[TermOwners]:
        if not self._by_term:
            return
        for label in pod.labels.items():
            for entry in self._by_label.get(label, {}).values():
                if entry.term.matches(pod, namespace_labels):
                    yield entry
        for entry in self._rest.values():
            if entry.term.matches(pod, namespace_labels):
                yield entry

    def grow(self, size: int) -> None:
        for entry in self._by_term.values():
            entry.weights = _grown(entry.weights, size)

    def __len__(self) -> int:
        return len(self._by_term)

    def _bucket(self, term: Term) -> dict[Term, TermOwners]:
        label = exact_label(term.selector)
        return self._rest if label is None else self._by_label.setdefault(label, {})


def exact_label(selector: Selector) -> tuple[str, str] | None:
    """A label that every match must have, if the selector names one."""
    for requirement in selector.requirements:
        value = selector.exact(requirement.key)
        if value is not None:
            return requirement.key, value
    return None


def _grown(array: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    shape = (*array.shape[:-1], size)
    grown = np.zeros(shape, array.dtype)
    grown[..., : array.shape[-1]] = array
    return grown


@dataclass
class _Vector:
    of: Callable[[Object], Any]
    values: npt.NDArray[Any]


@dataclass
class _LoadVector:
    values: npt.NDArray[Any]
    position: int


@dataclass
class Snapshot:
    """See the module's docstring. `namespace_labels` resolves namespace selectors of terms."""

    namespace_labels: NamespaceLabels = lambda name: None
    hard_affinity_weight: int = 1
    nodes: list[Object | None] = field(default_factory=list)
    slots: dict[str, int] = field(default_factory=dict)
    pods: dict[str, PodInfo] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.size = 0
        self.generation = 0
        """Grows when a node comes, goes, or changes in anything but its load."""
        self.valid: Mask = np.zeros(0, bool)
        self.resources: dict[str, int] = {name: row for row, name in enumerate(FIRST_RESOURCES)}
        self.allocatable: Ints = np.zeros((len(FIRST_RESOURCES), 0), np.int64)
        self.requested: Ints = np.zeros((len(FIRST_RESOURCES), 0), np.int64)
        self.nonzero: Ints = np.zeros((2, 0), np.int64)
        self.pods_on: list[dict[str, PodInfo]] = []
        self.with_ports: dict[int, set[int]] = {}
        self.anti_affinity = TermIndex()
        self.preferences = TermIndex()
        self._free: list[int] = []
        self._waiting: dict[str, dict[str, PodInfo]] = {}
        self._vectors: OrderedDict[Hashable, _Vector] = OrderedDict()
        self._loads: OrderedDict[Hashable, _LoadVector] = OrderedDict()
        # Slots whose load has changed, in order; the first of them has the position `_moves_from`.
        self._moves: list[int] = []
        self.loads: list[int] = []
        """Per slot: how often its load has changed."""
        self._moves_from = 0
        self._topologies: dict[str, Topology] = {}
        self._counters: OrderedDict[Hashable, _Counter] = OrderedDict()
        self._counters_by_label: dict[tuple[str, str] | None, dict[Hashable, _Counter]] = {}

    # Nodes.

    @property
    def node_count(self) -> int:
        return len(self.slots)

    def name(self, slot: int) -> str:
        node = self.nodes[slot]
        assert node is not None
        return str(node["metadata"]["name"])

    def set_node(self, node: Object) -> None:
        """Add or replace a node."""
        name = node["metadata"]["name"]
        slot = self.slots.get(name)
        if slot is None:
            slot = self._take_slot()
            self.slots[name] = slot
            self.nodes[slot] = node
            self.valid[slot] = True
            self._derive(slot, node)
            self._load_allocatable(slot, node)
            for pod in self._waiting.pop(name, {}).values():
                self._place(pod, slot)
            return
        old = self.nodes[slot]
        self.nodes[slot] = node
        if old is None or _character(old) != _character(node):
            self._derive(slot, node)
        if old is None or _allocatable(old) != _allocatable(node):
            self._load_allocatable(slot, node)

    def remove_node(self, name: str) -> None:
        slot = self.slots.pop(name, None)
        if slot is None:
            return
        pods = dict(self.pods_on[slot])
        for pod in pods.values():
            self._unplace(pod, slot)
        if pods:
            self._waiting[name] = pods
        self.nodes[slot] = None
        self.valid[slot] = False
        self.allocatable[:, slot] = 0
        self._moved(slot)
        self.generation += 1
        self._free.append(slot)

    def _take_slot(self) -> int:
        if self._free:
            return self._free.pop()
        used = len(self.nodes)
        if used >= self.size:
            size = max(_GROWTH, -(-int(used * 1.125 + 1) // _GROWTH) * _GROWTH)
            self.valid = _grown(self.valid, size)
            self.allocatable = _grown(self.allocatable, size)
            self.requested = _grown(self.requested, size)
            self.nonzero = _grown(self.nonzero, size)
            for vector in self._vectors.values():
                vector.values = _grown(vector.values, size)
            for topology in self._topologies.values():
                ids = np.full(size, -1, np.int64)
                ids[: len(topology.ids)] = topology.ids
                topology.ids = ids
            for counter in self._counters.values():
                counter.counts = _grown(counter.counts, size)
            self.anti_affinity.grow(size)
            self.preferences.grow(size)
            self._loads.clear()
            self.size = size
        self.nodes.append(None)
        self.pods_on.append({})
        self.loads.append(0)
        return used

    def _derive(self, slot: int, node: Object) -> None:
        self.generation += 1
        for vector in self._vectors.values():
            vector.values[slot] = vector.of(node)
        for key, topology in self._topologies.items():
            topology.ids[slot] = _topology_id(topology.values, key, node)

    def _load_allocatable(self, slot: int, node: Object) -> None:
        self.allocatable[:, slot] = 0
        for resource, text in _allocatable(node).items():
            row = self.row(resource)  # first: a new row replaces the array
            self.allocatable[row, slot] = amount(resource, text)
        self._moved(slot)

    def row(self, resource: str) -> int:
        """The row of a resource in `allocatable` and `requested`, made at first sight."""
        row = self.resources.get(resource)
        if row is None:
            row = self.resources[resource] = len(self.resources)
            empty = np.zeros((1, self.size), np.int64)
            self.allocatable = np.vstack((self.allocatable, empty))
            self.requested = np.vstack((self.requested, empty))
        return row

    # Derived values.

    def vector(self, key: Hashable, of: Callable[[Object], Any], dtype: npt.DTypeLike = bool) -> npt.NDArray[Any]:
        """`of(node)` per slot. `key` must tell apart every function that gives different values."""
        found = self._vectors.get(key)
        if found is None:
            values = np.zeros(self.size, dtype)
            for slot in self.slots.values():
                values[slot] = of(self.nodes[slot] or {})
            found = self._vectors[key] = _Vector(of, values)
            if len(self._vectors) > _MAX_VECTORS:
                self._vectors.popitem(last=False)
        else:
            self._vectors.move_to_end(key)
        return found.values

    def load_vector(
        self, key: Hashable, of: Callable[[Ints], npt.NDArray[Any]], dtype: npt.DTypeLike = np.float64
    ) -> npt.NDArray[Any]:
        """`of(slots)`, which looks at nothing but `allocatable`, `requested` and `nonzero` of those slots, for every
        slot. `key` must tell apart every function that gives different values."""
        end = self._moves_from + len(self._moves)
        found = self._loads.get(key)
        if found is None:
            found = self._loads[key] = _LoadVector(of(np.arange(self.size)).astype(dtype, copy=False), end)
            if len(self._loads) > _MAX_LOAD_VECTORS:
                self._loads.popitem(last=False)
            return found.values
        self._loads.move_to_end(key)
        behind = end - found.position
        if behind > len(self._moves) or behind * 8 > self.size:
            found.values = of(np.arange(self.size)).astype(dtype, copy=False)
        elif behind:
            slots = np.array(list(set(self._moves[-behind:])))
            found.values[slots] = of(slots)
        found.position = end
        return found.values

    def _moved(self, slot: int) -> None:
        if len(self._moves) >= _MAX_MOVES:
            self._moves_from += len(self._moves)
            self._moves.clear()
        self._moves.append(slot)
        self.loads[slot] += 1

    def topology(self, key: str) -> Topology:
        found = self._topologies.get(key)
        if found is None:
            values: dict[str, int] = {}
            ids = np.full(self.size, -1, np.int64)
            for slot in self.slots.values():
                ids[slot] = _topology_id(values, key, self.nodes[slot] or {})
            found = self._topologies[key] = Topology(ids, values)
        return found

    def counter(self, namespaces: frozenset[str], selector: Selector, *, living_only: bool = False) -> Ints:
        """How many placed pods of `namespaces` match `selector`, per slot. `living_only` leaves out pods that are
        being deleted."""
        key = (namespaces, selector, living_only)
        found = self._counters.get(key)
        if found is None:
            found = _Counter(namespaces, selector, living_only, np.zeros(self.size, np.int64))
            for slot, on_node in enumerate(self.pods_on):
                for pod in on_node.values():
                    if found.matches(pod):
                        found.counts[slot] += 1
            self._counters[key] = found
            self._counters_by_label.setdefault(exact_label(selector), {})[key] = found
            if len(self._counters) > _MAX_COUNTERS:
                old, dropped = self._counters.popitem(last=False)
                del self._counters_by_label[exact_label(dropped.selector)][old]
        else:
            self._counters.move_to_end(key)
        return found.counts

    def term_counter(self, term: Term, known_namespaces: Iterable[str]) -> Ints:
        """`counter` for a term, with its namespace selector resolved among `known_namespaces`."""
        names = term.namespaces
        if term.namespace_selector is not None:
            names = names | {name for name in known_namespaces if term.covers(name, self.namespace_labels)}
        return self.counter(frozenset(names), term.selector)

    # Pods.

    def add_pod(self, pod: PodInfo) -> None:
        """Count a pod on the node it is bound (or assumed) to; a known UID is replaced."""
        if pod.uid in self.pods:
            self.remove_pod(pod.uid)
        self.pods[pod.uid] = pod
        slot = self.slots.get(pod.node)
        if slot is None:
            self._waiting.setdefault(pod.node, {})[pod.uid] = pod
        else:
            self._place(pod, slot)

    def remove_pod(self, uid: str) -> PodInfo | None:
        pod = self.pods.pop(uid, None)
        if pod is None:
            return None
        slot = self.slots.get(pod.node)
        if slot is None or uid not in self.pods_on[slot]:
            waiting = self._waiting.get(pod.node)
            if waiting is not None:
                waiting.pop(uid, None)
                if not waiting:
                    del self._waiting[pod.node]
        else:
            self._unplace(pod, slot)
        return pod

    def _place(self, pod: PodInfo, slot: int) -> None:
        self.pods_on[slot][pod.uid] = pod
        self._count(pod, slot, 1)
        for term in pod.required_anti_affinity:
            self.anti_affinity.add(term, slot, 1.0, self.size)
        for term, weight in self._preferences_of(pod):
            self.preferences.add(term, slot, weight, self.size)

    def _unplace(self, pod: PodInfo, slot: int) -> None:
        del self.pods_on[slot][pod.uid]
        self._count(pod, slot, -1)
        for term in pod.required_anti_affinity:
            self.anti_affinity.remove(term, slot, 1.0)
        for term, weight in self._preferences_of(pod):
            self.preferences.remove(term, slot, weight)

    def _preferences_of(self, pod: PodInfo) -> Iterator[tuple[Term, float]]:
        for entry in pod.preferred:
            yield entry.term, entry.weight
        for term in pod.required_affinity:
            yield term, self.hard_affinity_weight

    def _count(self, pod: PodInfo, slot: int, sign: int) -> None:
        requested = self.requested
        for resource, value in pod.requests.items():
            row = self.resources.get(resource)
            if row is None:
                row = self.row(resource)
                requested = self.requested
            requested[row, slot] += sign * value
        self._moved(slot)
        requested[PODS, slot] += sign
        self.nonzero[0, slot] += sign * pod.nonzero[0]
        self.nonzero[1, slot] += sign * pod.nonzero[1]
        for port in pod.ports:
            used = self.with_ports.setdefault(port.port, set())
            if sign > 0:
                used.add(slot)
            elif not any(port.port == other.port for one in self.pods_on[slot].values() for other in one.ports):
                used.discard(slot)
        if self._counters:
            for label in (*pod.labels.items(), None):
                bucket = self._counters_by_label.get(label)
                if bucket:
                    for counter in bucket.values():
                        if counter.matches(pod):
                            counter.counts[slot] += sign


def _topology_id(values: dict[str, int], key: str, node: Object) -> int:
    labels: Labels = (node.get("metadata") or {}).get("labels") or {}
    value = labels.get(key)
    return -1 if value is None else values.setdefault(value, len(values))


def _allocatable(node: Object) -> dict[str, Any]:
    status = node.get("status") or {}
    return status.get("allocatable") or status.get("capacity") or {}


def _character(node: Object) -> tuple[Any, ...]:
    """Everything about a node that vectors may be derived from."""
    spec = node.get("spec") or {}
    return (
        node["metadata"].get("labels"),
        node["metadata"].get("annotations"),
        spec.get("taints"),
        spec.get("unschedulable"),
        (node.get("status") or {}).get("images"),
    )

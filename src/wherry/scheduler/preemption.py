"""Preemption: which pods of lower priority would have to go, and from which node, so that a pod fits.

https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/. Candidates are compared by: fewest
violated disruption budgets, lowest highest priority of a victim, lowest sum of priorities, fewest victims, latest
start of the most important victim.
"""

import zlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from wherry.scheduler.framework import Diagnosis
from wherry.scheduler.pod_info import PodInfo
from wherry.scheduler.profile import Profile
from wherry.scheduler.snapshot import PODS, Mask, Snapshot
from wherry.schema.resource import Object
from wherry.schema.selectors import from_label_selector

MAX_CANDIDATES = 100
_MAX_REMEMBERED = 16
NO_VICTIMS = "No preemption victims found for incoming pod"
NOT_HELPFUL = "Preemption is not helpful for scheduling"

Budgets = Callable[[str], Sequence[Object]]
"""PodDisruptionBudgets of a namespace."""


@dataclass(frozen=True)
class Candidate:
    slot: int
    victims: tuple[PodInfo, ...]
    violations: int

    def rank(self) -> tuple[float, ...]:
        """Smaller is better."""
        top = max(victim.priority for victim in self.victims)
        start = min(victim.started for victim in self.victims if victim.priority == top)
        # Priorities are shifted to be positive, so that more victims never look better by negative priorities.
        total = sum(victim.priority + 2**31 for victim in self.victims)
        return (self.violations, top, total, len(self.victims), -start)


class Memory:
    """Candidates found by resources alone, by what the pod needs and by node, for as long as the node's load stays:
    when a high-priority workload arrives, each of its pods asks the same. Of no use where there are budgets."""

    def __init__(self) -> None:
        self._known: dict[Hashable, dict[int, tuple[int, Candidate | None]]] = {}

    def of(self, pod: PodInfo) -> dict[int, tuple[int, Candidate | None]]:
        """slot → (`Snapshot.loads` of the slot, candidate)."""
        key = (pod.priority, tuple(pod.requests.items()))
        if key not in self._known and len(self._known) >= _MAX_REMEMBERED:
            self._known.clear()
        return self._known.setdefault(key, {})


def find(
    pod: PodInfo,
    profile: Profile,
    snapshot: Snapshot,
    diagnosis: Diagnosis,
    budgets: Budgets,
    memory: Memory | None = None,
) -> tuple[Candidate | None, str]:
    """The best candidate, or None and the sentence that follows `preemption: ` in the pod's condition."""
    total = diagnosis.total
    if pod.spec.get("preemptionPolicy") == "Never":
        return None, "not eligible due to preemptionPolicy=Never."
    helpful = diagnosis.resolvable(snapshot.size) & snapshot.valid
    hopeless = total - int(helpful.sum())
    if pod.nominated_node in snapshot.slots:
        slot = snapshot.slots[pod.nominated_node]
        leaving = [one for one in snapshot.pods_on[slot].values() if one.terminating and one.priority < pod.priority]
        if leaving:
            return None, "not eligible due to a terminating pod on the nominated node."
    promising = _promising(pod, snapshot, helpful)
    simple = _is_simple(pod, profile, diagnosis)
    victims = _victims_by_resources if simple else _victims
    known = memory.of(pod) if memory is not None and simple else None
    found: list[Candidate] = []
    for slot in promising:
        load = snapshot.loads[slot]
        remembered = known.get(slot) if known is not None else None
        if remembered is not None and remembered[0] == load:
            candidate = remembered[1]
        else:
            candidate = victims(pod, profile, snapshot, slot, budgets)
            if known is not None:
                known[slot] = (load, candidate)
        if candidate is not None:
            found.append(candidate)
            if len(found) >= MAX_CANDIDATES:
                break
    if not found:
        reasons = []
        if total - hopeless:
            reasons.append(f"{total - hopeless} {NO_VICTIMS}")
        if hopeless:
            reasons.append(f"{hopeless} {NOT_HELPFUL}")
        return None, f"0/{total} nodes are available: {', '.join(sorted(reasons))}."
    return min(found, key=Candidate.rank), ""


def _promising(pod: PodInfo, snapshot: Snapshot, helpful: Mask) -> Iterator[int]:
    """Nodes whose allocatable resources would do, in a few vector steps."""
    fits = helpful.copy()
    for resource, value in pod.requests.items():
        fits &= snapshot.allocatable[snapshot.row(resource)] >= value
    fits &= snapshot.allocatable[PODS] >= 1
    slots = np.flatnonzero(fits)
    # Start at a different node for each pod, as many pods preempt at once when a high-priority workload arrives.
    start = zlib.crc32(pod.uid.encode()) % max(len(slots), 1)
    yield from slots[start:].tolist()
    yield from slots[:start].tolist()


def _is_simple(pod: PodInfo, profile: Profile, diagnosis: Diagnosis) -> bool:
    """Whether resources alone decide, so that victims can be found by subtraction."""
    if diagnosis.plugins - {"NodeResourcesFit"} - {plugin.name for plugin in profile.plugins if plugin.static}:
        return False
    constrained = pod.ports or pod.required_affinity or pod.required_anti_affinity
    return not constrained and not any(one.required for one in pod.spread)


def _victims(pod: PodInfo, profile: Profile, snapshot: Snapshot, slot: int, budgets: Budgets) -> Candidate | None:
    """The fewest pods to remove from one node: remove all lower ones, then give back the most important first."""
    lower = [one for one in snapshot.pods_on[slot].values() if one.priority < pod.priority]
    if not lower:
        return None

    def fits() -> bool:
        return bool(profile.feasible(pod, snapshot)[0][slot])

    for one in lower:
        snapshot.remove_pod(one.uid)
    back: list[PodInfo] = []
    victims: list[PodInfo] = []
    violations = 0
    try:
        if not fits():
            return None
        violating = _violating(lower, budgets)
        important = sorted(lower, key=lambda one: (one.uid not in violating, -one.priority, one.started))
        for one in important:
            snapshot.add_pod(one)
            if fits():
                back.append(one)
                continue
            snapshot.remove_pod(one.uid)
            victims.append(one)
            violations += one.uid in violating
    finally:
        for one in lower:
            if one.uid not in snapshot.pods:
                snapshot.add_pod(one)
    return Candidate(slot, tuple(victims), violations) if victims else None


def _victims_by_resources(
    pod: PodInfo, profile: Profile, snapshot: Snapshot, slot: int, budgets: Budgets
) -> Candidate | None:
    """As `_victims`, by subtraction alone: for pods that only lack resources."""
    lower = [one for one in snapshot.pods_on[slot].values() if one.priority < pod.priority]
    if not lower:
        return None
    needs = {resource: value for resource, value in pod.requests.items() if value > 0}
    free = {
        resource: int(snapshot.allocatable[row, slot] - snapshot.requested[row, slot]) - value
        for resource, value in needs.items()
        for row in (snapshot.row(resource),)
    }
    room = int(snapshot.allocatable[PODS, slot] - snapshot.requested[PODS, slot]) - 1 + len(lower)
    for one in lower:
        for resource in free:
            free[resource] += one.requests.get(resource, 0)
    if room < 0 or any(value < 0 for value in free.values()):
        return None
    violating = _violating(lower, budgets)
    victims: list[PodInfo] = []
    violations = 0
    for one in sorted(lower, key=lambda one: (one.uid not in violating, -one.priority, one.started)):
        left = {resource: value - one.requests.get(resource, 0) for resource, value in free.items()}
        if room >= 1 and all(value >= 0 for value in left.values()):
            free = left
            room -= 1
            continue
        victims.append(one)
        violations += one.uid in violating
    return Candidate(slot, tuple(victims), violations) if victims else None


def _violating(pods: Sequence[PodInfo], budgets: Budgets) -> frozenset[str]:
    """UIDs of pods whose removal would overdraw a disruption budget."""
    found = set()
    left: dict[str, int] = {}
    if not any(budgets(namespace) for namespace in {pod.namespace for pod in pods}):
        return frozenset()
    for pod in sorted(pods, key=lambda one: (-one.priority, one.started)):
        for budget in budgets(pod.namespace):
            if not pod.labels or not from_label_selector(budget["spec"].get("selector")).matches(pod.labels):
                continue
            status = budget.get("status") or {}
            if pod.name in (status.get("disruptedPods") or {}):
                continue
            uid = budget["metadata"]["uid"]
            left[uid] = left.get(uid, status.get("disruptionsAllowed", 0)) - 1
            if left[uid] < 0:
                found.add(pod.uid)
    return frozenset(found)

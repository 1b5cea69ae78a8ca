"""InterPodAffinity: near or far from other pods, over a topology of node labels.

https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#inter-pod-affinity-and-anti-affinity
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from wherry.scheduler.framework import MAX_SCORE, Failure, Plugin
from wherry.scheduler.pod_info import PodInfo, Term
from wherry.scheduler.queue import NODE_ADD, NODE_UPDATE, POD_ADD, POD_DELETE, POD_UPDATE
from wherry.scheduler.snapshot import Floats, Ints, Mask, Snapshot
from wherry.schema.selectors import Selector

AFFINITY = "node(s) didn't match pod affinity rules"
ANTI_AFFINITY = "node(s) didn't match pod anti-affinity rules"
EXISTING = "node(s) didn't satisfy existing pods anti-affinity rules"


class InterPodAffinity(Plugin):
    name = "InterPodAffinity"
    weight = 2
    wakes = frozenset({NODE_ADD, NODE_UPDATE, POD_ADD, POD_DELETE, POD_UPDATE})

    def __init__(self, namespaces: Callable[[], Iterable[str]] = tuple) -> None:
        self._namespaces = namespaces

    def filter(self, pod: PodInfo, snapshot: Snapshot) -> Sequence[Failure]:
        failures = []
        if pod.required_affinity:
            failures.append(Failure(~self._attracted(pod, snapshot), AFFINITY, resolvable=False))
        if pod.required_anti_affinity:
            crowded = np.zeros(snapshot.size, bool)
            for term in pod.required_anti_affinity:
                crowded |= self._near(term, snapshot)
            failures.append(Failure(crowded, ANTI_AFFINITY))
        shunned: Mask | None = None
        for entry in snapshot.anti_affinity.matching(pod, snapshot.namespace_labels):
            topology = snapshot.topology(entry.term.topology_key)
            near = topology.spread(topology.total(entry.weights) > 0)
            shunned = near if shunned is None else shunned | near
        if shunned is not None:
            failures.append(Failure(shunned, EXISTING))
        return failures

    def score(self, pod: PodInfo, snapshot: Snapshot, among: Ints) -> Floats | None:
        scores: Floats | None = None
        for weighted in pod.preferred:
            topology = snapshot.topology(weighted.term.topology_key)
            counts = snapshot.term_counter(weighted.term, self._namespaces())
            part = topology.spread(topology.total(counts)) * weighted.weight
            scores = part if scores is None else scores + part
        for entry in snapshot.preferences.matching(pod, snapshot.namespace_labels):
            topology = snapshot.topology(entry.term.topology_key)
            part = topology.spread(topology.total(entry.weights))
            scores = part if scores is None else scores + part
        if scores is None:
            return None
        chosen = scores[among]
        low, high = chosen.min(), chosen.max()
        if high <= low:
            return None
        scaled: Floats = np.floor(MAX_SCORE * (chosen - low) / (high - low))
        return scaled

    def _near(self, term: Term, snapshot: Snapshot) -> Mask:
        topology = snapshot.topology(term.topology_key)
        counts = snapshot.term_counter(term, self._namespaces())
        near: Mask = topology.spread(topology.total(counts) > 0)
        return near

    def _attracted(self, pod: PodInfo, snapshot: Snapshot) -> Mask:
        allowed = np.ones(snapshot.size, bool)
        labelled = np.ones(snapshot.size, bool)
        anyone = False
        for term in _joined(pod.required_affinity):
            topology = snapshot.topology(term.topology_key)
            labelled &= topology.ids >= 0
            counts = snapshot.term_counter(term, self._namespaces())
            anyone = anyone or bool(counts.any())
            allowed &= topology.spread(topology.total(counts) > 0)
        if not anyone and all(term.matches(pod, snapshot.namespace_labels) for term in pod.required_affinity):
            # The first pod of a group that wants to be together: it may start anywhere.
            return labelled
        return allowed & labelled


def _joined(terms: Sequence[Term]) -> list[Term]:
    """A pod counts only if it matches all terms: where they look at the same namespaces, join their selectors."""
    if len(terms) == 1:
        return list(terms)
    scopes = {(term.namespaces, term.namespace_selector) for term in terms}
    if len(scopes) > 1 or any(term.selector.nothing for term in terms):
        return list(terms)
    requirements = tuple(dict.fromkeys(one for term in terms for one in term.selector.requirements))
    selector = Selector(tuple(sorted(requirements, key=lambda one: (one.key, one.operator, one.values))))
    return [Term(selector, term.topology_key, term.namespaces, term.namespace_selector) for term in terms]

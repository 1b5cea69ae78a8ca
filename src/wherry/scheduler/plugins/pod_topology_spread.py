"""PodTopologySpread: pods of one kind evenly over zones, nodes, or any node label.

https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from wherry.scheduler.framework import MAX_SCORE, Failure, Plugin
from wherry.scheduler.plugins import node_affinity
from wherry.scheduler.plugins.taint_toleration import TaintToleration
from wherry.scheduler.pod_info import PodInfo, SpreadConstraint
from wherry.scheduler.queue import NODE_ADD, NODE_UPDATE, POD_ADD, POD_DELETE, POD_UPDATE
from wherry.scheduler.snapshot import HOSTNAME, Floats, Ints, Mask, Snapshot
from wherry.schema.selectors import Selector

SKEWED = "node(s) didn't match pod topology spread constraints"
UNLABELLED = "node(s) didn't match pod topology spread constraints (missing required label)"
ZONE = "topology.kubernetes.io/zone"

GroupSelector = Callable[[PodInfo], Selector | None]
"""Selects the pods of the same Service or workload as the given one; None where it has none."""


class PodTopologySpread(Plugin):
    name = "PodTopologySpread"
    weight = 2
    wakes = frozenset({NODE_ADD, NODE_UPDATE, POD_ADD, POD_DELETE, POD_UPDATE})

    def __init__(self, taints: TaintToleration, group_of: GroupSelector = lambda pod: None) -> None:
        self._taints = taints
        self._group_of = group_of

    def filter(self, pod: PodInfo, snapshot: Snapshot) -> Sequence[Failure]:
        required = [constraint for constraint in pod.spread if constraint.required]
        if not required:
            return ()
        labelled = self._labelled(required, snapshot)
        failures = [Failure(~labelled, UNLABELLED, resolvable=False)]
        for constraint in required:
            failures.append(Failure(self._skewed(constraint, pod, snapshot, labelled), SKEWED))
        return failures

    def score(self, pod: PodInfo, snapshot: Snapshot, among: Ints) -> Floats | None:
        if pod.spread:
            constraints = [constraint for constraint in pod.spread if not constraint.required]
            everywhere = False
        else:
            constraints = self._defaults(pod)
            everywhere = True
        if not constraints:
            return None
        labelled = self._labelled(constraints, snapshot)
        costs = np.zeros(snapshot.size)
        here = np.zeros(snapshot.size, bool)
        here[among] = True
        used = 0
        for constraint in constraints:
            topology = snapshot.topology(constraint.topology_key)
            if everywhere and not (topology.ids[among] >= 0).any():
                continue  # the cluster has no such label: the built-in constraint says nothing
            used += 1
            counts = self._counts(constraint, pod, snapshot)
            if constraint.topology_key == HOSTNAME:
                per_node, domains = counts.astype(np.float64), len(among)
            else:
                eligible = self._eligible(constraint, pod, snapshot, labelled, everywhere)
                per_node = topology.spread(topology.total(counts, eligible))
                domains = len(np.unique(topology.ids[here & (topology.ids >= 0)]))
            costs += per_node * math.log(domains + 2) + (constraint.max_skew - 1)
        if not used:
            return None
        chosen = np.round(costs[among])
        known = np.ones(len(among), bool) if everywhere else labelled[among]
        if not known.any():
            return None
        low, high = chosen[known].min(), chosen[known].max()
        if high == 0 or (low == high and known.all()):
            return None
        scores: Floats = np.floor(MAX_SCORE * (high + low - chosen) / high)
        scores[~known] = 0.0
        return scores

    def _defaults(self, pod: PodInfo) -> list[SpreadConstraint]:
        """Built-in constraints for pods without their own: over nodes (skew 3) and zones (skew 5), as a wish."""
        selector = self._group_of(pod)
        if selector is None:
            return []
        return [
            SpreadConstraint(3, HOSTNAME, selector, required=False),
            SpreadConstraint(5, ZONE, selector, required=False),
        ]

    def _labelled(self, constraints: Sequence[SpreadConstraint], snapshot: Snapshot) -> Mask:
        mask = snapshot.valid.copy()
        for constraint in constraints:
            mask &= snapshot.topology(constraint.topology_key).ids >= 0
        return mask

    def _counts(self, constraint: SpreadConstraint, pod: PodInfo, snapshot: Snapshot) -> Ints:
        return snapshot.counter(frozenset((pod.namespace,)), constraint.selector, living_only=True)

    def _eligible(
        self, constraint: SpreadConstraint, pod: PodInfo, snapshot: Snapshot, labelled: Mask, everywhere: bool = False
    ) -> Mask:
        eligible = snapshot.valid.copy() if everywhere else labelled.copy()
        if constraint.honor_affinity:
            allowed = node_affinity.matching(pod, snapshot)
            if allowed is not None:
                eligible &= allowed
        if constraint.honor_taints:
            eligible &= self._taints.tolerated(pod, snapshot)
        return eligible

    def _skewed(self, constraint: SpreadConstraint, pod: PodInfo, snapshot: Snapshot, labelled: Mask) -> Mask:
        topology = snapshot.topology(constraint.topology_key)
        eligible = self._eligible(constraint, pod, snapshot, labelled)
        totals = topology.total(self._counts(constraint, pod, snapshot), eligible)
        present = topology.total(np.ones(snapshot.size), eligible) > 0
        domains = int(np.count_nonzero(present))
        lowest = totals[present].min() if domains >= max(constraint.min_domains, 1) else 0
        own = 1 if constraint.selector.matches(pod.labels) else 0
        too_many = totals + own - lowest > constraint.max_skew
        skewed: Mask = topology.spread(too_many)
        return skewed

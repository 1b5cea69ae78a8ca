"""What every rule says of every node for one pod, now: the whole judgement, not only the first refusal.

The scheduler itself stops asking about a node once one rule refused it; here each rule is asked about all nodes, so
that whoever reads it sees everything that would have to change. Pure: the snapshot is as before when it returns.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from wherry.scheduler.framework import Unschedulable
from wherry.scheduler.pod_info import PodInfo
from wherry.scheduler.profile import Profile
from wherry.scheduler.snapshot import Mask, Snapshot


@dataclass
class NodeVerdict:
    """`refusals` maps rules to their reasons; `scores` has the weighted points of a node that no rule refuses."""

    refusals: dict[str, list[str]] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)

    @property
    def total(self) -> float:
        return sum(self.scores.values())


@dataclass
class Judgement:
    """`rules` are all that were asked, in order; `anywhere` has what holds whatever the node (rule → reason);
    `counts` how many nodes each (rule, reason) refuses; `nodes` the verdicts of at most `limit` nodes."""

    rules: list[str]
    total: int
    feasible: int = 0
    anywhere: dict[str, str] = field(default_factory=dict)
    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    nodes: dict[str, NodeVerdict] = field(default_factory=dict)


def judge(pod: PodInfo, profile: Profile, snapshot: Snapshot, *, limit: int = 200) -> Judgement:
    """Judge `pod` as if it were not placed yet. Nodes that could take it are shown first, best first."""
    placed = snapshot.remove_pod(pod.uid)
    try:
        return _judge(pod, profile, snapshot, limit)
    finally:
        if placed is not None:
            snapshot.add_pod(placed)


def _judge(pod: PodInfo, profile: Profile, snapshot: Snapshot, limit: int) -> Judgement:
    found = Judgement([plugin.name for plugin in profile.plugins], snapshot.node_count)
    refused: list[tuple[str, str, Mask]] = []
    passed = snapshot.valid.copy()
    for plugin in profile.plugins:
        try:
            plugin.prefilter(pod, snapshot)
        except Unschedulable as error:
            found.anywhere[plugin.name] = error.reason
            passed[:] = False
            continue
        for failure in plugin.filter(pod, snapshot):
            hit = failure.nodes & snapshot.valid
            if hit.any():
                refused.append((plugin.name, failure.reason, hit))
                found.counts[plugin.name, failure.reason] = int(hit.sum())
                passed &= ~hit
    among = np.flatnonzero(passed)
    found.feasible = len(among)
    scores = profile.scores(pod, snapshot, among) if len(among) else {}
    totals = sum(scores.values()) if scores else np.zeros(len(among))
    ranked = [int(among[place]) for place in np.argsort(-np.asarray(totals), kind="stable")]
    rest: Iterable[int] = (slot for slot in snapshot.slots.values() if not passed[slot])
    for slot in [*ranked, *rest][:limit]:
        verdict = found.nodes[snapshot.name(slot)] = NodeVerdict()
        for rule, reason, hit in refused:
            if hit[slot]:
                verdict.refusals.setdefault(rule, []).append(reason)
        if passed[slot]:
            place = int(np.searchsorted(among, slot))
            verdict.scores = {rule: round(float(points[place]), 1) for rule, points in scores.items()}
    return found

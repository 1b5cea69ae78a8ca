"""What a scheduling plugin is, and the verdicts that plugins give.

A filter says for all nodes at once which fail and why; a score gives 0 to 100 per node that passed. The extension
points are those of https://kubernetes.io/docs/concepts/scheduling-eviction/scheduling-framework/.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from wherry.scheduler.pod_info import PodInfo
from wherry.scheduler.snapshot import Floats, Ints, Mask, Snapshot

MAX_SCORE = 100.0


@dataclass(frozen=True, eq=False)
class Failure:
    """The nodes that fail for one reason. `resolvable`: removing pods from the node could help (preemption)."""

    nodes: Mask
    reason: str
    resolvable: bool = True


class Unschedulable(Exception):
    """The pod fits nowhere, whatever the node (raised by `prefilter`): e.g. its claim does not exist."""

    def __init__(self, reason: str, *, resolvable: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.resolvable = resolvable


class Plugin:
    """Base of all plugins. Events (see `scheduler.queue`) that may make a refused pod fit are in `wakes`."""

    name: ClassVar[str]
    static: ClassVar[bool] = False
    """Whether the filter depends on `PodInfo.placement` and the nodes alone: then its answer is shared by all pods
    of a template."""
    weight: ClassVar[int] = 0
    wakes: ClassVar[frozenset[str]] = frozenset()

    def prefilter(self, pod: PodInfo, snapshot: Snapshot) -> None:
        """Raise Unschedulable where no node can do."""

    def filter(self, pod: PodInfo, snapshot: Snapshot) -> Sequence[Failure]:
        """The nodes that fail; may name invalid slots too."""
        return ()

    def passing(self, pod: PodInfo, snapshot: Snapshot) -> Mask | None:
        """The nodes that `filter` names in no failure; None for all. For plugins that know it without the reasons."""
        refused: Mask | None = None
        for failure in self.filter(pod, snapshot):
            refused = failure.nodes if refused is None else refused | failure.nodes
        return None if refused is None else ~refused

    def score(self, pod: PodInfo, snapshot: Snapshot, among: Ints) -> Floats | None:
        """0 to 100 for each slot of `among`; None when all are equal."""
        return None


@dataclass
class Refusal:
    """One reason of one plugin, and the nodes it holds for (those that no earlier plugin refused)."""

    plugin: str
    reason: str
    nodes: Mask
    resolvable: bool


@dataclass
class Diagnosis:
    """Why a pod fits nowhere: refusals in the order of the plugins, over `total` nodes."""

    total: int
    refusals: list[Refusal] = field(default_factory=list)
    whole: str = ""
    """A reason that holds whatever the node (from a prefilter)."""
    whole_plugin: str = ""

    @property
    def plugins(self) -> frozenset[str]:
        names = {refusal.plugin for refusal in self.refusals}
        return frozenset(names | ({self.whole_plugin} if self.whole_plugin else set()))

    def summary(self) -> str:
        """`0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable.`"""
        if self.total == 0:
            return "no nodes available to schedule pods"
        if self.whole:
            return f"0/{self.total} nodes are available: {self.whole}."
        counts: dict[str, int] = {}
        for refusal in self.refusals:
            counts[refusal.reason] = counts.get(refusal.reason, 0) + int(refusal.nodes.sum())
        reasons = sorted(f"{count} {reason}" for reason, count in counts.items() if count)
        return f"0/{self.total} nodes are available: {', '.join(reasons)}."

    def resolvable(self, size: int) -> Mask:
        """The nodes where preemption could help."""
        mask = np.zeros(size, bool)
        if self.whole:
            return mask
        hopeless = np.zeros(size, bool)
        for refusal in self.refusals:
            if refusal.resolvable:
                mask |= refusal.nodes
            else:
                hopeless |= refusal.nodes
        mask &= ~hopeless
        return mask


def normalized(scores: npt.NDArray[np.generic], *, reverse: bool = False) -> Floats:
    """Scores scaled so that the largest becomes 100; with `reverse`, so that the largest becomes 0."""
    values = scores.astype(np.float64)
    top = values.max() if len(values) else 0.0
    if top <= 0:
        return np.full(len(values), MAX_SCORE if reverse else 0.0)
    scaled: Floats = np.floor(values * (MAX_SCORE / top))
    return MAX_SCORE - scaled if reverse else scaled

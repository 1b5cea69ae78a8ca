"""A profile: the plugins that one scheduler name stands for, and how they judge a pod together."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from wherry.scheduler.framework import Diagnosis, Failure, Plugin, Refusal, Unschedulable
from wherry.scheduler.pod_info import PodInfo
from wherry.scheduler.snapshot import Floats, Ints, Mask, Snapshot

_MAX_CACHED = 512


@dataclass
class _Static:
    """The shared answer of the static filters for one placement."""

    passed: Mask
    refusals: list[Refusal]


@dataclass
class Profile:
    """`plugins` in the order in which their filters are asked; `weights` overrides the plugins' own."""

    name: str
    plugins: Sequence[Plugin]
    weights: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._static = [plugin for plugin in self.plugins if plugin.static]
        self._dynamic = [plugin for plugin in self.plugins if not plugin.static]
        self._scorers = [
            (plugin, weight)
            for plugin in self.plugins
            if (weight := self.weights.get(plugin.name, plugin.weight)) and type(plugin).score is not Plugin.score
        ]
        self._prefilters = [plugin for plugin in self.plugins if type(plugin).prefilter is not Plugin.prefilter]
        self._wakes = {plugin.name: plugin.wakes for plugin in self.plugins}
        self._cache: dict[bytes, _Static] = {}
        self._generation = -1
        self._ties = itertools.count()

    def wakes(self, plugins: frozenset[str]) -> frozenset[str]:
        """The events that may help a pod which these plugins refused."""
        return frozenset().union(*(self._wakes.get(name, frozenset()) for name in plugins))

    def feasible(self, pod: PodInfo, snapshot: Snapshot) -> tuple[Mask, Diagnosis]:
        """The nodes where `pod` can run; where there is none, the refusals of all."""
        diagnosis = Diagnosis(snapshot.node_count)
        for plugin in self._prefilters:
            try:
                plugin.prefilter(pod, snapshot)
            except Unschedulable as refused:
                diagnosis.whole, diagnosis.whole_plugin = refused.reason, plugin.name
                return np.zeros(snapshot.size, bool), diagnosis
        static = self._static_answer(pod, snapshot)
        remaining = static.passed.copy()
        for plugin in self._dynamic:
            passing = plugin.passing(pod, snapshot)
            if passing is not None:
                remaining &= passing
        if not remaining.any():
            self._refusals(pod, snapshot, diagnosis)
        return remaining, diagnosis

    def diagnose(self, pod: PodInfo, snapshot: Snapshot) -> Diagnosis:
        """Why some nodes cannot run `pod`, also where others can."""
        _, diagnosis = self.feasible(pod, snapshot)
        if not diagnosis.whole and not diagnosis.refusals:
            self._refusals(pod, snapshot, diagnosis)
        return diagnosis

    def _refusals(self, pod: PodInfo, snapshot: Snapshot, diagnosis: Diagnosis) -> None:
        static = self._static_answer(pod, snapshot)
        remaining = static.passed.copy()
        diagnosis.refusals += static.refusals
        for plugin in self._dynamic:
            if failures := plugin.filter(pod, snapshot):
                remaining = _refuse(plugin, failures, remaining, diagnosis.refusals)

    def scores(self, pod: PodInfo, snapshot: Snapshot, among: Ints) -> dict[str, Floats]:
        """Weighted scores by plugin, for each slot of `among`; plugins that see no difference are left out."""
        found = {}
        for plugin, weight in self._scorers:
            scores = plugin.score(pod, snapshot, among)
            if scores is not None:
                found[plugin.name] = scores * weight
        return found

    def best(self, pod: PodInfo, snapshot: Snapshot, passed: Mask) -> int:
        """The slot with the highest total score; equal ones take turns."""
        among = np.flatnonzero(passed)
        if len(among) == 1:
            return int(among[0])
        total: Floats | None = None
        for scores in self.scores(pod, snapshot, among).values():
            total = scores if total is None else total + scores
        winners = among if total is None else among[np.flatnonzero(total == total.max())]
        # A stride that has no common divisor with most counts: consecutive pods do not pile onto neighbours.
        return int(winners[(next(self._ties) * 7919) % len(winners)])

    def _static_answer(self, pod: PodInfo, snapshot: Snapshot) -> _Static:
        if self._generation != snapshot.generation:
            self._generation = snapshot.generation
            self._cache.clear()
        found = self._cache.get(pod.placement)
        if found is None:
            remaining = snapshot.valid.copy()
            refusals: list[Refusal] = []
            for plugin in self._static:
                if failures := plugin.filter(pod, snapshot):
                    remaining = _refuse(plugin, failures, remaining, refusals)
            if len(self._cache) >= _MAX_CACHED:
                self._cache.clear()
            found = self._cache[pod.placement] = _Static(remaining, refusals)
        return found


def _refuse(plugin: Plugin, failures: Sequence[Failure], remaining: Mask, refusals: list[Refusal]) -> Mask:
    """`remaining` without the failing nodes; a node is refused by one plugin, for all of that plugin's reasons."""
    left = remaining
    for failure in failures:
        hit = failure.nodes & remaining
        if hit.any():
            refusals.append(Refusal(plugin.name, failure.reason, hit, failure.resolvable))
            left = left & ~hit
    return left

"""TaintToleration: taints keep pods away unless they tolerate them; PreferNoSchedule only makes a node less liked.

https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from wherry.scheduler.framework import MAX_SCORE, Failure, Plugin, normalized
from wherry.scheduler.pod_info import PodInfo
from wherry.scheduler.queue import NODE_ADD, NODE_UPDATE
from wherry.scheduler.snapshot import Floats, Ints, Mask, Snapshot
from wherry.schema.resource import Object


def tolerates(toleration: Object, taint: Object) -> bool:
    """Whether one toleration covers one taint."""
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint["key"]:
        return False
    operator = toleration.get("operator") or "Equal"
    if operator == "Exists":
        return True
    return bool(toleration.get("key")) and (toleration.get("value") or "") == (taint.get("value") or "")


def untolerated(pod: PodInfo, taints: Sequence[Object]) -> Object | None:
    """The first taint that keeps `pod` away."""
    tolerations = pod.spec.get("tolerations") or ()
    for taint in taints:
        if taint.get("effect") in ("NoSchedule", "NoExecute") and not any(tolerates(one, taint) for one in tolerations):
            return taint
    return None


def _taints_of(node: Object) -> list[Object]:
    return (node.get("spec") or {}).get("taints") or []


class TaintToleration(Plugin):
    name = "TaintToleration"
    static = True
    weight = 3
    wakes = frozenset({NODE_ADD, NODE_UPDATE})

    def __init__(self) -> None:
        # Sets of taints by number: nodes with equal taints are judged once.
        self._numbers: dict[bytes, int] = {b"[]": 0}
        self._sets: list[list[Object]] = [[]]
        self._preferring = False

    def filter(self, pod: PodInfo, snapshot: Snapshot) -> Sequence[Failure]:
        groups = self._groups(snapshot)
        failures = []
        for number in self._present(groups):
            taint = untolerated(pod, self._sets[number])
            if taint is not None:
                reason = f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value') or ''}}}"
                failures.append(Failure(groups == number, reason, resolvable=False))
        return failures

    def tolerated(self, pod: PodInfo, snapshot: Snapshot) -> Mask:
        """The nodes whose taints `pod` tolerates."""
        mask = np.ones(snapshot.size, bool)
        for failure in self.filter(pod, snapshot):
            mask &= ~failure.nodes
        return mask

    def score(self, pod: PodInfo, snapshot: Snapshot, among: Ints) -> Floats | None:
        groups = self._groups(snapshot)
        if not self._preferring:
            return None
        groups = groups[among]
        tolerations = [
            one for one in pod.spec.get("tolerations") or () if one.get("effect") in (None, "", "PreferNoSchedule")
        ]
        disliked = np.zeros(len(self._sets))
        for number in self._present(groups):
            disliked[number] = sum(
                taint.get("effect") == "PreferNoSchedule" and not any(tolerates(one, taint) for one in tolerations)
                for taint in self._sets[number]
            )
        if not disliked.any():
            return None
        scores = normalized(disliked[groups], reverse=True)
        return scores if scores.min() < MAX_SCORE else None

    def _groups(self, snapshot: Snapshot) -> Ints:
        return snapshot.vector(self.name, self._number, np.int64)

    def _present(self, groups: Ints) -> list[int]:
        if len(self._sets) == 1:
            return []
        return [int(number) for number in np.flatnonzero(np.bincount(groups)) if number]

    def _number(self, node: Any) -> int:
        taints = [{name: taint.get(name) or "" for name in ("key", "value", "effect")} for taint in _taints_of(node)]
        key = orjson.dumps(taints)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._sets)
            self._sets.append(taints)
            self._preferring = self._preferring or any(taint["effect"] == "PreferNoSchedule" for taint in taints)
        return number

"""How fast an autoscaler may follow its metrics: stabilisation windows, rate policies, bounds. Pure.

https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#configurable-scaling-behavior. An
autoscaler without `spec.behavior` follows the older rule: at most doubled (or 4) at a time, and five minutes of
stabilisation downwards.
"""

import math
from dataclasses import dataclass, field

from wherry.schema import quantity
from wherry.schema.resource import Object

TOLERANCE = 0.1
DOWN_WINDOW = 300.0
_KEPT_SECONDS = 3600.0
"""The longest window and period that the API admits."""
_DOWN_POLICIES: list[Object] = [{"type": "Percent", "value": 100, "periodSeconds": 15}]
_UP_POLICIES: list[Object] = [
    {"type": "Pods", "value": 4, "periodSeconds": 15},
    {"type": "Percent", "value": 100, "periodSeconds": 15},
]


@dataclass
class History:
    """What one autoscaler wanted and did before: (seconds, replicas) and (seconds, replicas added)."""

    recommendations: list[tuple[float, int]] = field(default_factory=list)
    changes: list[tuple[float, int]] = field(default_factory=list)

    def forget(self, now: float) -> None:
        for entries in (self.recommendations, self.changes):
            entries[:] = [entry for entry in entries if entry[0] >= now - _KEPT_SECONDS]


@dataclass(frozen=True)
class Word:
    """A condition's reason and message; `limited` is the status of ScalingLimited."""

    reason: str
    message: str
    limited: bool = False


def tolerance(spec: Object, *, up: bool) -> float:
    rules = (spec.get("behavior") or {}).get("scaleUp" if up else "scaleDown") or {}
    text = rules.get("tolerance")
    return TOLERANCE if text is None else quantity.parse(str(text)).nano / 10**9


def stabilise(spec: Object, wanted: int, current: int, history: History, now: float) -> tuple[int, Word]:
    """The calmest of the recommendations within the windows, `wanted` among them, and the word for AbleToScale."""
    behavior = spec.get("behavior") or {}
    up_window = (behavior.get("scaleUp") or {}).get("stabilizationWindowSeconds") or 0
    down_window = (behavior.get("scaleDown") or {}).get("stabilizationWindowSeconds")
    down_window = DOWN_WINDOW if down_window is None else down_window
    lowest = min([wanted, *(count for at, count in history.recommendations if at > now - up_window)])
    highest = max([wanted, *(count for at, count in history.recommendations if at > now - down_window)])
    history.recommendations.append((now, wanted))
    stable = min(max(current, lowest), highest)
    if stable > wanted:
        words = "recent recommendations were higher than current one, applying the highest recent recommendation"
        return stable, Word("ScaleDownStabilized", words)
    if stable < wanted:
        words = "recent recommendations were lower than current one, applying the lowest recent recommendation"
        return stable, Word("ScaleUpStabilized", words)
    return stable, Word("ReadyForNewScale", "recommended size matches current size")


def limit(spec: Object, wanted: int, current: int, history: History, now: float) -> tuple[int, Word]:
    """`wanted` within the rates and the bounds, and the word for ScalingLimited."""
    low, high = spec.get("minReplicas", 1), spec["maxReplicas"]
    behavior = spec.get("behavior")
    fastest = max(current, _most(behavior, current, history, now))
    slowest = min(current, _least(behavior, current, history, now))
    if wanted > min(high, fastest) and wanted > current:
        if fastest < high:
            words = "the desired replica count is increasing faster than the maximum scale rate"
            return fastest, Word("ScaleUpLimit", words, True)
        return high, Word("TooManyReplicas", "the desired replica count is more than the maximum replica count", True)
    if wanted < max(low, slowest) and wanted < current:
        if slowest > low:
            words = "the desired replica count is decreasing faster than the maximum scale rate"
            return slowest, Word("ScaleDownLimit", words, True)
        return low, Word("TooFewReplicas", "the desired replica count is less than the minimum replica count", True)
    if wanted > high:
        return high, Word("TooManyReplicas", "the desired replica count is more than the maximum replica count", True)
    if wanted < low:
        return low, Word("TooFewReplicas", "the desired replica count is less than the minimum replica count", True)
    return wanted, Word("DesiredWithinRange", "the desired count is within the acceptable range")


def _most(behavior: Object | None, current: int, history: History, now: float) -> int:
    if behavior is None:
        return max(2 * current, 4)
    rules = behavior.get("scaleUp") or {}
    if rules.get("selectPolicy") == "Disabled":
        return current
    found: list[int] = []
    for policy in rules.get("policies") or _UP_POLICIES:
        start = current - _changed(history, now - policy["periodSeconds"])
        grown = (
            start + policy["value"] if policy["type"] == "Pods" else math.ceil(start * (100 + policy["value"]) / 100)
        )
        found.append(grown)
    return min(found) if rules.get("selectPolicy") == "Min" else max(found)


def _least(behavior: Object | None, current: int, history: History, now: float) -> int:
    rules = (behavior or {}).get("scaleDown") or {}
    if rules.get("selectPolicy") == "Disabled":
        return current
    found: list[int] = []
    for policy in rules.get("policies") or _DOWN_POLICIES:
        start = current - _changed(history, now - policy["periodSeconds"])
        left = start - policy["value"] if policy["type"] == "Pods" else start * (100 - policy["value"]) // 100
        found.append(left)
    # The smallest change is the one that leaves the most.
    return max(found) if rules.get("selectPolicy") == "Min" else min(found)


def _changed(history: History, since: float) -> int:
    """Replicas added, less those removed, in the period: what to take off to know where it began."""
    return sum(change for at, change in history.changes if at > since)


def record(history: History, before: int, after: int, now: float) -> None:
    """A change of scale that was made."""
    history.changes.append((now, after - before))

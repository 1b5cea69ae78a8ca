"""HorizontalPodAutoscaler: as many replicas as the metrics ask for.

https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details. Resource and container
metrics come from the metrics API (pods.metrics.k8s.io). Pods, Object and External metrics need an adapter API that this
cluster does not serve; they are reported as such in the condition ScalingActive.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from wherry.client.api import Client
from wherry.client.clock import format_time
from wherry.client.informer import Informers
from wherry.controllers import conditions, pods
from wherry.controllers.catalog import Catalog
from wherry.controllers.loop import Controller
from wherry.controllers.plan import NORMAL, WARNING, Event, Plan
from wherry.schema import quantity
from wherry.schema.builtin import HORIZONTAL_POD_AUTOSCALERS, POD_METRICS, PODS, REPLICATION_CONTROLLERS
from wherry.schema.errors import ApiError
from wherry.schema.resource import Object, Resource
from wherry.schema.selectors import from_label_selector, from_set

PERIOD = 15.0
TOLERANCE = 0.1
DOWN_WINDOW = 300.0
_INITIAL_READINESS = 30.0


@dataclass
class Children:
    """`scale`: the target itself (None: it cannot be read, `error` says why); `usage`: per pod and container, per
    resource, in nano-units; `recommendations`: earlier (time, replicas) within the stabilisation window."""

    scale: Object | None = None
    target: Resource | None = None
    error: str = ""
    pods: list[Object] = field(default_factory=list)
    usage: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    metrics_error: str = ""
    recommendations: list[tuple[float, int]] = field(default_factory=list)


@dataclass(frozen=True)
class Proposal:
    replicas: int
    metric: str
    current: Object | None


class MetricError(Exception):
    """A metric that cannot be computed: `reason` for the condition, and the message."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def reconcile(autoscaler: Object, children: Children, now: float) -> Plan:
    plan = Plan()
    plan.again_in(PERIOD)
    spec, old = autoscaler["spec"], autoscaler.get("status") or {}
    found = list(old.get("conditions") or ())
    status: Object = {name: old[name] for name in ("lastScaleTime",) if name in old}
    status["observedGeneration"] = autoscaler["metadata"].get("generation", 0)
    if children.scale is None:
        message = f"the HPA controller was unable to get the target's current scale: {children.error}"
        found = conditions.put(found, "AbleToScale", "False", "FailedGetScale", message, now)
        plan.event(WARNING, "FailedGetScale", children.error)
        plan.status = status | {"conditions": found, "desiredReplicas": 0, "currentMetrics": None}
        return plan
    current: int = children.scale["spec"].get("replicas", 0)
    status["currentReplicas"] = current
    low, high = spec.get("minReplicas", 1), spec["maxReplicas"]
    message = "the HPA controller was able to get the target's current scale"
    found = conditions.put(found, "AbleToScale", "True", "SucceededGetScale", message, now)
    wanted, metrics = current, []
    if current == 0 and low != 0:
        message = "scaling is disabled since the replica count of the target is zero"
        found = conditions.put(found, "ScalingActive", "False", "ScalingDisabled", message, now)
    elif current > high:
        wanted = high
    elif current < low:
        wanted = low
    else:
        proposals, errors = _propose(spec, children, current, now)
        metrics = [one.current for one in proposals if one.current is not None]
        if not proposals or (errors and max(one.replicas for one in proposals) < current):
            # A metric that cannot be read must not lead to scaling down.
            error = errors[0]
            found = conditions.put(found, "ScalingActive", "False", error.reason, _why(error), now)
            plan.event(WARNING, error.reason, str(error))
            plan.event(
                WARNING,
                "FailedComputeMetricsReplicas",
                f"invalid metrics (1 invalid out of {len(spec['metrics'])}), first error is: {error}",
            )
        else:
            best = max(proposals, key=lambda one: one.replicas)
            message = f"the HPA was able to successfully calculate a replica count from {best.metric}"
            found = conditions.put(found, "ScalingActive", "True", "ValidMetricFound", message, now)
            wanted, found = _limit(spec, best, children, current, low, high, found, now)
    if wanted != current and children.target is not None:
        reason = _rescale_reason(current, wanted, low, high, metrics)
        done = Event(NORMAL, "SuccessfulRescale", f"New size: {wanted}; reason: {reason}")
        failed = Event(WARNING, "FailedRescale", f"New size: {wanted}; reason: {reason}; error: {{error}}")
        patch = {"spec": {"replicas": wanted}}
        plan.patch(children.target, children.scale, patch, subresource="scale", done=done, failed=failed)
        plan.because(f"{current} -> {wanted}: {reason}")
        status["lastScaleTime"] = format_time(now)
        message = f"the HPA controller was able to update the target scale to {wanted}"
        found = conditions.put(found, "AbleToScale", "True", "SucceededRescale", message, now)
    status |= {"desiredReplicas": wanted, "currentMetrics": metrics or None, "conditions": found}
    plan.status = status
    return plan


def _why(error: MetricError) -> str:
    return f"the HPA was unable to compute the replica count: {error}"


def _rescale_reason(current: int, wanted: int, low: int, high: int, metrics: Sequence[Object]) -> str:
    if current > high:
        return "Current number of replicas above Spec.MaxReplicas"
    if current < low:
        return "Current number of replicas below Spec.MinReplicas"
    if wanted > current:
        names = [one["resource"]["name"] for one in metrics if one["type"] == "Resource"]
        return f"{names[0] if names else 'container'} resource utilization (percentage of request) above target"
    return "All metrics below target"


def _propose(spec: Object, children: Children, current: int, now: float) -> tuple[list[Proposal], list[MetricError]]:
    proposals, errors = [], []
    default = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
    }
    for metric in spec.get("metrics") or [default]:
        try:
            proposals.append(_replicas_for(metric, children, current, now))
        except MetricError as error:
            errors.append(error)
    return proposals, errors


def _replicas_for(metric: Object, children: Children, current: int, now: float) -> Proposal:
    kind = metric["type"]
    if kind not in ("Resource", "ContainerResource"):
        reason = {"Pods": "FailedGetPodsMetric", "Object": "FailedGetObjectMetric"}.get(kind, "FailedGetExternalMetric")
        api = "external.metrics.k8s.io" if kind == "External" else "custom.metrics.k8s.io"
        raise MetricError(reason, f"unable to get metric: no {kind} metrics API ({api}) is served by this cluster")
    source = metric["resource" if kind == "Resource" else "containerResource"]
    name, container = source["name"], source.get("container")
    failed = "FailedGetResourceMetric" if kind == "Resource" else "FailedGetContainerResourceMetric"
    if children.metrics_error:
        message = (
            f"failed to get {name} utilization: unable to get metrics for resource {name}: {children.metrics_error}"
        )
        raise MetricError(failed, message)
    ready, unready, missing = _sort(children, name, now)
    if not ready and not unready:
        message = (
            f"failed to get {name} utilization: unable to get metrics for resource {name}: "
            "no metrics returned from resource metrics API"
        )
        raise MetricError(failed, message)
    used = {pod["metadata"]["name"]: _used(children, pod, name, container) for pod in ready}
    target = source["target"]
    if target.get("averageUtilization") is not None:
        goal = target["averageUtilization"]
        requests = {
            pod["metadata"]["name"]: _requested(pod, name, container, failed) for pod in (*ready, *missing, *unready)
        }
        total = sum(requests[one] for one in used)
        if not total:
            raise MetricError(
                failed,
                f"failed to get {name} utilization: did not receive metrics for targeted pods (pods might be unready)",
            )
        share = 100 * sum(used.values()) / total
        ratio = share / goal
        shown: Object = {"averageUtilization": int(share), "averageValue": _shown(sum(used.values()) // len(used))}
    else:
        goal_value = quantity.parse(target["averageValue"]).nano
        requests = dict.fromkeys((pod["metadata"]["name"] for pod in (*ready, *missing, *unready)), goal_value)
        if not used:
            raise MetricError(
                failed,
                f"failed to get {name} utilization: did not receive metrics for targeted pods (pods might be unready)",
            )
        ratio = sum(used.values()) / len(used) / goal_value
        shown = {"averageValue": _shown(sum(used.values()) // len(used))}
    body: Object = {"name": name, "current": shown} | ({"container": container} if container else {})
    status = {"type": kind, "resource" if kind == "Resource" else "containerResource": body}
    label = f"{name} resource utilization (percentage of request)"
    if abs(ratio - 1.0) <= TOLERANCE:
        return Proposal(current, label, status)
    if missing or (unready and ratio > 1.0):
        # Pods without metrics are taken as idle when scaling up, as just at the target when scaling down.
        for pod in (*missing, *(unready if ratio > 1.0 else ())):
            one = pod["metadata"]["name"]
            used[one] = 0 if ratio > 1.0 else requests[one] * target.get("averageUtilization", 100) // 100
        goal_share = target.get("averageUtilization", 100) / 100
        base = sum(requests[one] for one in used)
        adjusted = sum(used.values()) / base / goal_share if base else 1.0
        if abs(adjusted - 1.0) <= TOLERANCE or (adjusted > 1.0) != (ratio > 1.0):
            return Proposal(current, label, status)
        ratio = adjusted
    return Proposal(math.ceil(ratio * len(used)), label, status)


def _sort(children: Children, name: str, now: float) -> tuple[list[Object], list[Object], list[Object]]:
    """Pods with usable metrics; pods not ready (their CPU says nothing); pods without metrics."""
    ready, unready, missing = [], [], []
    for pod in children.pods:
        if pods.is_terminating(pod) or pods.is_finished(pod):
            continue
        if pods.phase(pod) == "Pending":
            unready.append(pod)
        elif pod["metadata"]["name"] not in children.usage:
            missing.append(pod)
        elif name == "cpu" and not pods.is_ready(pod):
            unready.append(pod)
        else:
            ready.append(pod)
    return ready, unready, missing


def _used(children: Children, pod: Object, name: str, container: str | None) -> int:
    usage = children.usage[pod["metadata"]["name"]]
    return sum(values.get(name, 0) for one, values in usage.items() if container in (None, one))


def _requested(pod: Object, name: str, container: str | None, failed: str) -> int:
    total = 0
    for one in pod["spec"]["containers"]:
        if container not in (None, one["name"]):
            continue
        text = ((one.get("resources") or {}).get("requests") or {}).get(name)
        if text is None:
            message = (
                f"failed to get {name} utilization: missing request for {name} in container {one['name']} "
                f"of Pod {pod['metadata']['name']}"
            )
            raise MetricError(failed, message)
        total += quantity.parse(text).nano
    return total


def _shown(nano: int) -> str:
    return str(quantity.of_milli(-(-nano // 10**6)))


def _limit(
    spec: Object,
    best: Proposal,
    children: Children,
    current: int,
    low: int,
    high: int,
    found: list[conditions.Condition],
    now: float,
) -> tuple[int, list[conditions.Condition]]:
    """Stabilise over the windows, apply the policies' rates and the bounds."""
    behavior = spec.get("behavior") or {}
    wanted = best.replicas
    children.recommendations.append((now, wanted))
    down, up = behavior.get("scaleDown") or {}, behavior.get("scaleUp") or {}
    down_window = down.get("stabilizationWindowSeconds")
    down_window = DOWN_WINDOW if down_window is None else down_window
    highest = max(count for at, count in children.recommendations if at >= now - down_window)
    lowest = min(
        count for at, count in children.recommendations if at >= now - (up.get("stabilizationWindowSeconds") or 0)
    )
    stable = min(highest, current) if wanted < current else max(lowest, current)
    if stable != wanted:
        reason = "ScaleDownStabilized" if stable > wanted else "ScaleUpStabilized"
        side = (
            "recent recommendations were higher than current one"
            if stable > wanted
            else "recent recommendations were lower than current one"
        )
        message = f"{side}, applying the {'highest' if stable > wanted else 'lowest'} recent recommendation"
        found = conditions.put(found, "AbleToScale", "True", reason, message, now)
    else:
        message = "recommended size matches current size"
        found = conditions.put(found, "AbleToScale", "True", "ReadyForNewScale", message, now)
    limited = _rate(stable, current, up if stable > current else down, grow=stable > current)
    bounded = min(max(limited, low), high)
    if bounded == stable:
        message = "the desired count is within the acceptable range"
        found = conditions.put(found, "ScalingLimited", "False", "DesiredWithinRange", message, now)
    else:
        if limited > high:
            reason, message = "TooManyReplicas", "the desired replica count is more than the maximum replica count"
        elif limited < low:
            reason, message = "TooFewReplicas", "the desired replica count is less than the minimum replica count"
        elif stable > current:
            reason, message = (
                "ScaleUpLimit",
                "the desired replica count is increasing faster than the maximum scale rate",
            )
        else:
            reason, message = (
                "ScaleDownLimit",
                "the desired replica count is decreasing faster than the maximum scale rate",
            )
        found = conditions.put(found, "ScalingLimited", "True", reason, message, now)
    return bounded, found


def _rate(wanted: int, current: int, rules: Object, *, grow: bool) -> int:
    """`wanted`, as far as the policies allow it in one period."""
    if wanted == current or rules.get("selectPolicy") == "Disabled":
        return current
    policies = rules.get("policies")
    if policies is None:
        policies = (
            [{"type": "Pods", "value": 4}, {"type": "Percent", "value": 100}]
            if grow
            else [{"type": "Percent", "value": 100}]
        )
    changes = [one["value"] if one["type"] == "Pods" else math.ceil(current * one["value"] / 100) for one in policies]
    change: int = min(changes) if rules.get("selectPolicy") == "Min" else max(changes)
    return min(wanted, current + change) if grow else max(wanted, current - change)


class HorizontalPodAutoscalerController(Controller):
    name = "horizontal-pod-autoscaler"
    resource = HORIZONTAL_POD_AUTOSCALERS

    def __init__(self, client: Client, catalog: Catalog) -> None:
        self._client = client
        self._catalog = catalog
        self._recommendations: dict[str, list[tuple[float, int]]] = {}

    def setup(self, informers: Informers) -> None:
        _ = informers[PODS]

    async def gather(self, obj: Object, informers: Informers) -> Children:
        children = Children()
        reference = obj["spec"]["scaleTargetRef"]
        namespace = obj["metadata"]["namespace"]
        children.target = self._catalog.find(reference.get("apiVersion", ""), reference["kind"])
        if children.target is None:
            children.error = f'no matches for kind "{reference["kind"]}" in group "{reference.get("apiVersion", "")}"'
            return children
        try:
            children.scale = await self._client.get(children.target, reference["name"], namespace)
        except ApiError as error:
            children.error = str(error)
            return children
        found = children.scale["spec"].get("selector") or {}
        plain = children.target == REPLICATION_CONTROLLERS
        selector = from_set(found) if plain else from_label_selector(found)
        children.pods = [
            pod for pod in informers[PODS].items(namespace) if selector.matches(pod["metadata"].get("labels"))
        ]
        children.recommendations = self._recommendations.setdefault(obj["metadata"]["uid"], [])
        try:
            metrics = await self._client.list(POD_METRICS, namespace)
            children.usage = {one["metadata"]["name"]: _usage(one) for one in metrics.items}
        except ApiError as error:
            children.metrics_error = str(error)
        return children

    def reconcile(self, obj: Object, children: Children, now: float) -> Plan:
        plan = reconcile(obj, children, now)
        children.recommendations[:] = [one for one in children.recommendations if one[0] >= now - 3600]
        return plan


def _usage(metrics: Object) -> dict[str, dict[str, int]]:
    return {
        container["name"]: {name: quantity.parse(text).nano for name, text in container["usage"].items()}
        for container in metrics.get("containers") or ()
    }

"""HorizontalPodAutoscaler: as many replicas as the metrics ask for.

https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details. Resource and container
metrics come from the metrics API (pods.metrics.k8s.io). Pods, Object and External metrics need an adapter API that this
cluster does not serve; they are reported as such in the condition ScalingActive.
"""

import math
from dataclasses import dataclass, field

from wherry.client.api import Client
from wherry.client.clock import format_time, parse_time
from wherry.client.informer import Informers
from wherry.controllers import autoscaling_behavior as behavior
from wherry.controllers import conditions, pods
from wherry.controllers.catalog import Catalog
from wherry.controllers.loop import Controller
from wherry.controllers.plan import NORMAL, WARNING, Event, Plan
from wherry.schema import quantity
from wherry.schema.builtin import BUILTIN, HORIZONTAL_POD_AUTOSCALERS, POD_METRICS, PODS, REPLICATION_CONTROLLERS
from wherry.schema.errors import ApiError
from wherry.schema.resource import Object, Resource
from wherry.schema.selectors import from_label_selector, from_set

PERIOD = 15.0
_INITIALIZATION = 300.0
"""A pod younger than this counts by its CPU only while it is ready: programs are busy when they start."""
_INITIAL_READINESS = 30.0
"""A pod that was last unready this soon after its start has never been ready."""


@dataclass
class Children:
    """`scale`: the target itself (None: it cannot be read, `error` says why); `usage`: per pod and container, per
    resource, in nano-units; `history`: what this autoscaler wanted and did before."""

    scale: Object | None = None
    target: Resource | None = None
    error: str = ""
    pods: list[Object] = field(default_factory=list)
    usage: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    metrics_error: str = ""
    history: behavior.History = field(default_factory=behavior.History)


@dataclass(frozen=True)
class Proposal:
    replicas: int
    metric: str
    current: Object | None


class MetricError(Exception):
    """A metric that cannot be computed: `reason` for the condition, and the message. `label` says what was tried."""

    def __init__(self, reason: str, message: str, label: str = "failed to get metric") -> None:
        super().__init__(message)
        self.reason = reason
        self.label = label


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
    wanted, metrics, decisive = current, [], ""
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
            invalid = (
                f"{len(errors)} invalid out of {len(spec['metrics'])}" if spec.get("metrics") else "1 invalid out of 1"
            )
            found = conditions.put(found, "ScalingActive", "False", error.reason, _why(error), now)
            plan.event(WARNING, error.reason, str(error))
            plan.event(
                WARNING,
                "FailedComputeMetricsReplicas",
                f"invalid metrics ({invalid}), first error is: {error.label}: {error}",
            )
        else:
            best = max(proposals, key=lambda one: one.replicas)
            decisive = best.metric
            message = f"the HPA was able to successfully calculate a replica count from {best.metric}"
            found = conditions.put(found, "ScalingActive", "True", "ValidMetricFound", message, now)
            stable, word = behavior.stabilise(spec, best.replicas, current, children.history, now)
            found = conditions.put(found, "AbleToScale", "True", word.reason, word.message, now)
            wanted, word = behavior.limit(spec, stable, current, children.history, now)
            found = conditions.put(found, "ScalingLimited", str(word.limited), word.reason, word.message, now)
    if wanted != current and children.target is not None:
        reason = _rescale_reason(current, wanted, low, high, decisive)
        done = Event(NORMAL, "SuccessfulRescale", f"New size: {wanted}; reason: {reason}")
        failed = Event(WARNING, "FailedRescale", f"New size: {wanted}; reason: {reason}; error: {{error}}")
        patch = {"spec": {"replicas": wanted}}
        plan.patch(children.target, children.scale, patch, subresource="scale", done=done, failed=failed)
        plan.because(f"{current} -> {wanted}: {reason}")
        behavior.record(children.history, current, wanted, now)
        status["lastScaleTime"] = format_time(now)
        message = f"the HPA controller was able to update the target scale to {wanted}"
        found = conditions.put(found, "AbleToScale", "True", "SucceededRescale", message, now)
    status |= {"desiredReplicas": wanted, "currentMetrics": metrics or None, "conditions": found}
    plan.status = status
    return plan


def _why(error: MetricError) -> str:
    return f"the HPA was unable to compute the replica count: {error}"


def _rescale_reason(current: int, wanted: int, low: int, high: int, metric: str) -> str:
    if current > high:
        return "Current number of replicas above Spec.MaxReplicas"
    if current < low:
        return "Current number of replicas below Spec.MinReplicas"
    return f"{metric} above target" if wanted > current else "All metrics below target"


def _propose(spec: Object, children: Children, current: int, now: float) -> tuple[list[Proposal], list[MetricError]]:
    proposals, errors = [], []
    default = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
    }
    for metric in spec.get("metrics") or [default]:
        try:
            proposals.append(_replicas_for(spec, metric, children, current, now))
        except MetricError as error:
            errors.append(error)
    return proposals, errors


def _replicas_for(spec: Object, metric: Object, children: Children, current: int, now: float) -> Proposal:
    kind = metric["type"]
    if kind not in ("Resource", "ContainerResource"):
        reason = {"Pods": "FailedGetPodsMetric", "Object": "FailedGetObjectMetric"}.get(kind, "FailedGetExternalMetric")
        api = "external.metrics.k8s.io" if kind == "External" else "custom.metrics.k8s.io"
        raise MetricError(reason, f"unable to get metric: no {kind} metrics API ({api}) is served by this cluster")
    source = metric["resource" if kind == "Resource" else "containerResource"]
    name, container = source["name"], source.get("container")
    failed = "FailedGetResourceMetric" if kind == "Resource" else "FailedGetContainerResourceMetric"
    target = source["target"]
    goal = target.get("averageUtilization")

    def error(why: str) -> MetricError:
        what = f"{name} utilization" if goal is not None else f"{name} resource metric value"
        label = f"failed to get {name} {'resource' if kind == 'Resource' else 'container'} metric value"
        return MetricError(failed, f"failed to get {what}: {why}", label)

    if children.metrics_error:
        raise error(f"unable to get metrics for resource {name}: {children.metrics_error}")
    ready, unready, missing = _sort(children, name, now)
    if not ready and not unready:
        raise error(f"unable to get metrics for resource {name}: no metrics returned from resource metrics API")
    try:
        used = {pod["metadata"]["name"]: _used(children, pod, name, container) for pod in ready}
        if goal is not None:
            requests = {
                pod["metadata"]["name"]: _requested(pod, name, container) for pod in (*ready, *missing, *unready)
            }
        else:
            value = quantity.parse(target["averageValue"]).nano
            requests = {pod["metadata"]["name"]: value for pod in (*ready, *missing, *unready)}
    except LookupError as why:
        raise error(str(why.args[0])) from why
    share = (goal if goal is not None else 100) / 100
    total = sum(requests[one] for one in used)
    if not total:
        raise error("did not receive metrics for targeted pods (pods might be unready)")
    ratio = sum(used.values()) / total / share
    shown: Object = {"averageValue": _shown(sum(used.values()) // len(used))}
    if goal is not None:
        shown["averageUtilization"] = 100 * sum(used.values()) // total
    body: Object = {"name": name, "current": shown} | ({"container": container} if container else {})
    status = {"type": kind, "resource" if kind == "Resource" else "containerResource": body}
    label = f"{name} {'' if kind == 'Resource' else 'container '}resource utilization (percentage of request)"
    if goal is None:
        label = f"{name} {'' if kind == 'Resource' else 'container '}resource"
    if _is_close(spec, ratio):
        return Proposal(current, label, status)
    grow = ratio > 1.0
    if missing or (unready and grow):
        # Pods that say nothing are taken as idle when scaling up; when scaling down, as using all they asked for.
        for pod in (*missing, *(unready if grow else ())):
            one = pod["metadata"]["name"]
            used[one] = 0 if grow else int(requests[one] * max(1.0, share))
        ratio = sum(used.values()) / sum(requests[one] for one in used) / share
        if _is_close(spec, ratio) or (ratio > 1.0) != grow:
            return Proposal(current, label, status)
        wanted = _counted(ratio * len(used))
        # So few pods may be counted that following them would lead the wrong way.
        return Proposal(wanted if (wanted > current) == grow else current, label, status)
    return Proposal(_counted(ratio * len(used)), label, status)


def _counted(replicas: float) -> int:
    return math.ceil(round(replicas, 9))


def _is_close(spec: Object, ratio: float) -> bool:
    return 1.0 - behavior.tolerance(spec, up=False) <= ratio <= 1.0 + behavior.tolerance(spec, up=True)


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
        elif name == "cpu" and _says_nothing_yet(pod, now):
            unready.append(pod)
        else:
            ready.append(pod)
    return ready, unready, missing


def _says_nothing_yet(pod: Object, now: float) -> bool:
    """Whether its CPU is that of a start: it is young and not ready, or has never been ready."""
    status = pod.get("status") or {}
    condition = conditions.get(status, "Ready")
    if condition is None or not status.get("startTime"):
        return True
    if condition["status"] == "True":
        return False
    started = parse_time(status["startTime"]) or 0.0
    changed = parse_time(condition.get("lastTransitionTime") or "") or started
    return now < started + _INITIALIZATION or changed < started + _INITIAL_READINESS


def _used(children: Children, pod: Object, name: str, container: str | None) -> int:
    """Raises LookupError with the reason when the metrics lack the container."""
    usage = children.usage[pod["metadata"]["name"]]
    if container is not None and container not in usage:
        metadata = pod["metadata"]
        raise LookupError(
            f"container {container} not present in metrics for pod {metadata['namespace']}/{metadata['name']}"
        )
    return sum(values.get(name, 0) for one, values in usage.items() if container in (None, one))


def _requested(pod: Object, name: str, container: str | None) -> int:
    """Raises LookupError with the reason when a container requests nothing of the kind."""
    spec = pod["spec"]
    whole = ((spec.get("resources") or {}).get("requests") or {}).get(name)
    if whole is not None and container is None:
        return quantity.parse(whole).nano
    sidecars = [one for one in spec.get("initContainers") or () if one.get("restartPolicy") == "Always"]
    total, found = 0, False
    for one in (*spec["containers"], *sidecars):
        if container not in (None, one["name"]):
            continue
        found = True
        text = ((one.get("resources") or {}).get("requests") or {}).get(name)
        if text is None:
            raise LookupError(f"missing request for {name} in container {one['name']} of Pod {pod['metadata']['name']}")
        total += quantity.parse(text).nano
    if not found:
        raise LookupError(f"container {container} not found in Pod {pod['metadata']['name']}")
    return total


def _shown(nano: int) -> str:
    return str(quantity.of_milli(-(-nano // 10**6)))


class HorizontalPodAutoscalerController(Controller):
    name = "horizontal-pod-autoscaler"
    resource = HORIZONTAL_POD_AUTOSCALERS

    def __init__(self, client: Client, catalog: Catalog) -> None:
        self._client = client
        self._catalog = catalog
        self._histories: dict[str, behavior.History] = {}

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
        if children.target in BUILTIN and "scale" not in children.target.subresources:
            children.error = "the server could not find the requested resource"
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
        children.history = self._histories.setdefault(obj["metadata"]["uid"], behavior.History())
        try:
            metrics = await self._client.list(POD_METRICS, namespace)
            children.usage = {one["metadata"]["name"]: _usage(one) for one in metrics.items}
        except ApiError as error:
            children.metrics_error = str(error)
        return children

    def reconcile(self, obj: Object, children: Children, now: float) -> Plan:
        plan = reconcile(obj, children, now)
        children.history.forget(now)
        return plan


def _usage(metrics: Object) -> dict[str, dict[str, int]]:
    return {
        container["name"]: {name: quantity.parse(text).nano for name, text in container["usage"].items()}
        for container in metrics.get("containers") or ()
    }

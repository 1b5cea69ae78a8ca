"""HorizontalPodAutoscaler: what the metrics ask for, how fast it may follow, and what it says."""

from typing import Any

import pytest

from wherry.client.clock import format_time
from wherry.controllers.autoscaling_behavior import History
from wherry.controllers.horizontal_pod_autoscaler import Children, reconcile
from wherry.schema.builtin import DEPLOYMENTS

NOW = 1_700_000_000.0
MILLI = 10**6


def pod(name: str, *, ready: bool = True, age: float = 3600, changed: float = 60, phase: str = "Running") -> Any:
    condition = {
        "type": "Ready",
        "status": "True" if ready else "False",
        "lastTransitionTime": format_time(NOW - age + changed),
    }
    container = {"name": "app", "resources": {"requests": {"cpu": "100m", "memory": "100Mi"}}}
    return {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [container]},
        "status": {"phase": phase, "startTime": format_time(NOW - age), "conditions": [condition]},
    }


def children(*milli: int, replicas: int | None = None, pods: list[Any] | None = None) -> Children:
    """One ready pod with each use of CPU; `pods` are more of them, without metrics."""
    names = [f"pod-{number}" for number in range(len(milli))]
    return Children(
        scale={"metadata": {"name": "web"}, "spec": {"replicas": len(milli) if replicas is None else replicas}},
        target=DEPLOYMENTS,
        pods=[*(pod(name) for name in names), *(pods or [])],
        usage={name: {"app": {"cpu": use * MILLI}} for name, use in zip(names, milli, strict=True)},
    )


def autoscaler(metric: Any = None, *, most: int = 10, **spec: Any) -> Any:
    default = {"type": "Resource", "resource": {"name": "cpu", "target": target(50)}}
    return {
        "metadata": {"name": "web", "generation": 1},
        "spec": {"minReplicas": 1, "maxReplicas": most, "metrics": [metric or default]} | spec,
    }


def target(percent: int) -> dict[str, Any]:
    return {"type": "Utilization", "averageUtilization": percent}


def wanted(plan: Any) -> int:
    assert plan.status is not None
    return int(plan.status["desiredReplicas"])


def condition(plan: Any, kind: str) -> tuple[str, str]:
    (found,) = [one for one in plan.status["conditions"] if one["type"] == kind]
    return found["status"], found["reason"]


@pytest.mark.parametrize(
    ("uses", "replicas"),
    [
        ((50, 50), 2),
        ((54, 54), 2),  # within a tenth
        ((80, 80), 4),
        ((100, 100), 4),
        ((100, 20), 3),
        ((1000, 1000), 4),  # without behavior at most doubled
    ],
)
def test_replicas_follow_the_average(uses: tuple[int, ...], replicas: int) -> None:
    plan = reconcile(autoscaler(), children(*uses), NOW)
    assert wanted(plan) == replicas
    assert condition(plan, "ScalingActive") == ("True", "ValidMetricFound")


def test_scaling_down_waits_for_five_minutes_of_agreement() -> None:
    state = children(10, 10, 10)
    state.history.recommendations = [(NOW - 299, 3)]
    plan = reconcile(autoscaler(), state, NOW)
    assert wanted(plan) == 3
    assert condition(plan, "AbleToScale") == ("True", "ScaleDownStabilized")
    state = children(10, 10, 10)
    state.history.recommendations = [(NOW - 301, 3)]
    assert wanted(reconcile(autoscaler(), state, NOW)) == 1


def test_a_policy_counts_what_was_done_in_its_period() -> None:
    rules = {"scaleUp": {"policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}]}}
    state = children(500, 500)
    scaler = autoscaler(behavior=rules)
    plan = reconcile(scaler, state, NOW)
    assert (wanted(plan), condition(plan, "ScalingLimited")) == (4, ("True", "ScaleUpLimit"))
    again = children(*[500] * 4)
    again.history = state.history
    assert wanted(reconcile(scaler, again, NOW + 15)) == 4, "the period's two are used up"
    assert wanted(reconcile(scaler, again, NOW + 61)) == 6


@pytest.mark.parametrize(
    ("rules", "replicas"),
    [
        ({"policies": [{"type": "Pods", "value": 1, "periodSeconds": 15}]}, 9),
        ({"policies": [{"type": "Percent", "value": 50, "periodSeconds": 15}]}, 5),
        (
            {
                "policies": [
                    {"type": "Percent", "value": 50, "periodSeconds": 15},
                    {"type": "Pods", "value": 1, "periodSeconds": 15},
                ],
                "selectPolicy": "Min",
            },
            9,
        ),
        ({"selectPolicy": "Disabled"}, 10),
        ({"tolerance": "0.99"}, 10),
    ],
)
def test_policies_hold_scaling_down(rules: dict[str, Any], replicas: int) -> None:
    state = children(*[1] * 10)
    scaler = autoscaler(behavior={"scaleDown": {"stabilizationWindowSeconds": 0} | rules})
    assert wanted(reconcile(scaler, state, NOW)) == replicas


def test_a_tolerance_of_its_own() -> None:
    rules = {"scaleUp": {"tolerance": "0"}}
    assert wanted(reconcile(autoscaler(behavior=rules), children(52, 52), NOW)) == 3


def test_bounds_are_said() -> None:
    plan = reconcile(autoscaler(most=3), children(90, 90), NOW)
    assert (wanted(plan), condition(plan, "ScalingLimited")) == (3, ("True", "TooManyReplicas"))
    state = children(1, 1, 1)
    plan = reconcile(autoscaler(minReplicas=2), state, NOW)
    assert (wanted(plan), condition(plan, "ScalingLimited")) == (2, ("True", "TooFewReplicas"))


def test_pods_without_metrics_hold_back_both_ways() -> None:
    silent = [pod("silent-1"), pod("silent-2")]
    assert wanted(reconcile(autoscaler(), children(90, 90, replicas=4, pods=silent), NOW)) == 4, "taken as idle"
    state = children(10, 10, replicas=4, pods=silent)
    assert wanted(reconcile(autoscaler(), state, NOW)) == 4, "taken as using all that they asked for"


def test_a_pod_that_is_starting_does_not_count() -> None:
    state = children(60, 60, 1000)
    state.pods[2] = pod("pod-2", ready=False, age=20)
    assert wanted(reconcile(autoscaler(), state, NOW)) == 3
    state.pods[2] = pod("pod-2", ready=False, age=3600, changed=3000)
    assert wanted(reconcile(autoscaler(), state, NOW)) > 3, "it was ready once: its load counts"


def test_one_container_of_the_pod() -> None:
    metric = {
        "type": "ContainerResource",
        "containerResource": {"name": "cpu", "container": "app", "target": target(50)},
    }
    state = children(100, 100)
    for usage in state.usage.values():
        usage["sidecar"] = {"cpu": 10_000 * MILLI}
    plan = reconcile(autoscaler(metric), state, NOW)
    assert wanted(plan) == 4
    assert plan.status["currentMetrics"][0]["containerResource"]["container"] == "app"
    assert "4: cpu container resource utilization (percentage of request) above target" in plan.reasons[-1]
    metric["containerResource"]["container"] = "nobody"
    plan = reconcile(autoscaler(metric), children(100, 100), NOW)
    assert condition(plan, "ScalingActive") == ("False", "FailedGetContainerResourceMetric")


def test_an_average_value() -> None:
    metric = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "AverageValue", "averageValue": "20m"}},
    }
    plan = reconcile(autoscaler(metric), children(30, 30), NOW)
    assert wanted(plan) == 3
    assert plan.status["currentMetrics"][0]["resource"]["current"] == {"averageValue": "30m"}


def test_what_is_missing_is_said_as_kubernetes_says_it() -> None:
    state = children(50, 50)
    del state.pods[1]["spec"]["containers"][0]["resources"]
    plan = reconcile(autoscaler(), state, NOW)
    assert condition(plan, "ScalingActive") == ("False", "FailedGetResourceMetric")
    said = {event.reason: event.message for event in plan.events}
    why = "failed to get cpu utilization: missing request for cpu in container app of Pod pod-1"
    assert said["FailedGetResourceMetric"] == why
    assert said["FailedComputeMetricsReplicas"] == (
        f"invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: {why}"
    )
    empty = Children(scale={"metadata": {"name": "web"}, "spec": {"replicas": 2}}, target=DEPLOYMENTS)
    (event, _) = reconcile(autoscaler(), empty, NOW).events
    assert event.message.endswith("no metrics returned from resource metrics API")


def test_other_sources_are_refused_by_name_and_never_scale_down() -> None:
    other = {"type": "Pods", "pods": {"metric": {"name": "requests"}, "target": {"averageValue": "1"}}}
    scaler = autoscaler(other)
    plan = reconcile(scaler, children(1, 1), NOW)
    assert condition(plan, "ScalingActive") == ("False", "FailedGetPodsMetric")
    assert wanted(plan) == 2
    scaler["spec"]["metrics"].append(autoscaler()["spec"]["metrics"][0])
    state = children(1, 1)
    state.history = History([], [])
    assert wanted(reconcile(scaler, state, NOW)) == 2
    assert wanted(reconcile(scaler, children(90, 90), NOW)) == 4, "what is known may still scale up"

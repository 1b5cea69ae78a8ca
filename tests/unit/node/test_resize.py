"""Resizing a running pod: what is granted, what is done about it, and what the status shows."""

from typing import Any

from node_samples import NOW, make_pod, make_view, observed

from wherry.node import admission, resize
from wherry.node.decide import Decision, Kill, Resize, Start, decide
from wherry.node.resize import DEFERRED, INFEASIBLE, Obstacle, Resizes, ResizeState
from wherry.node.status import pod_status, status_patch

SMALL: dict[str, Any] = {"requests": {"cpu": "100m"}, "limits": {"memory": "64Mi"}}
LARGE: dict[str, Any] = {"requests": {"cpu": "1"}, "limits": {"memory": "128Mi"}}


def sized(resources: dict[str, Any], **container: Any) -> dict[str, Any]:
    pod = make_pod()
    pod["spec"]["containers"][0] |= {"resources": resources, **container}
    return pod


def test_what_fits_is_granted_and_told() -> None:
    resizes = Resizes(sized(SMALL))
    resizes.began("web-0", "web")
    told: list[tuple[str, str, str]] = []
    resizes.consider(sized(LARGE), lambda pod: None, lambda *event: told.append(event))
    assert resizes.allocated == {"web": LARGE}
    assert [event[:2] for event in told] == [("Normal", "ResizeStarted")]
    assert resizes.state({"web": "web-0"}) == ResizeState(in_progress=True)
    resizes.done("web-0", LARGE, "web")
    assert resizes.state({"web": "web-0"}) == ResizeState()


def test_what_does_not_fit_waits_and_is_told_once() -> None:
    resizes = Resizes(sized(SMALL))
    told: list[str] = []
    obstacle = Obstacle(DEFERRED, "no room")
    for _ in range(2):
        resizes.consider(sized(LARGE), lambda pod: obstacle, lambda _type, reason, _text: told.append(reason))
    assert resizes.allocated == {"web": SMALL}
    assert resizes.waiting
    assert told == ["ResizeDeferred"]
    resizes.consider(sized(SMALL), lambda pod: obstacle, lambda *_: None)
    assert not resizes.waiting


def test_a_static_pod_cannot_be_resized() -> None:
    pod = sized(LARGE)
    resizes = Resizes(sized(SMALL))
    pod["metadata"]["annotations"] = {"kubernetes.io/config.source": "file"}
    resizes.consider(pod, lambda pod: None, lambda *_: None)
    state = resizes.state({})
    assert state.obstacle == Obstacle(INFEASIBLE, "In-place resize of static-pods is not supported")


def test_a_restarted_kubelet_takes_what_was_granted_from_the_status() -> None:
    pod = sized(LARGE)
    pod["status"] = {"containerStatuses": [{"name": "web", "resources": SMALL, "state": {"running": {}}}]}
    assert Resizes(pod).allocated == {"web": SMALL}
    assert resize.with_resources(pod, {"web": SMALL})["spec"]["containers"][0]["resources"] == SMALL
    assert resize.with_resources(pod, {"web": LARGE}) is pod


def decision_for(pod: dict[str, Any], **more: Any) -> Decision:
    seen = observed(make_view("web"), allocated={"web": LARGE}, actuated={"web-0": SMALL}, **more)
    return decide(pod, seen, NOW)


def test_limits_change_in_place() -> None:
    assert decision_for(sized(LARGE)).actions == (Resize("web-0", "web", LARGE),)


def test_the_policy_may_ask_for_a_restart() -> None:
    policy = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
    assert decision_for(sized(LARGE, resizePolicy=policy)).actions == (
        Kill("web-0", "web", "Container web resize requires restart", 30.0),
    )
    same = {"requests": {"cpu": "1"}, "limits": {"memory": "64Mi"}}
    assert not resize.restarts({"resizePolicy": policy}, SMALL, same)


def test_a_restart_for_a_resize_has_no_back_off_whatever_the_restart_policy() -> None:
    pod = sized(LARGE)
    pod["spec"]["restartPolicy"] = "OnFailure"
    view = make_view("web", "exited", backoff=160.0)
    decision = decide(pod, observed(view, restarting=frozenset({view.id})), NOW)
    assert decision.actions == (Start("web", 1, 10.0),)


def test_the_conditions_come_and_go() -> None:
    pod = sized(LARGE)
    waiting = ResizeState(Obstacle(DEFERRED, "no room"))
    status = pod_status(pod, observed(make_view("web"), resize=waiting), Decision(), NOW, ["10.0.0.1"])
    found = next(one for one in status["conditions"] if one["type"] == "PodResizePending")
    assert (found["status"], found["reason"], found["message"]) == ("True", "Deferred", "no room")
    pod["status"] = status
    after = pod_status(pod, observed(make_view("web")), Decision(), NOW, ["10.0.0.1"])
    assert status_patch(status, after)["conditions"] == [{"type": "PodResizePending", "$patch": "delete"}]


def test_the_status_shows_what_is_in_force_and_what_is_granted() -> None:
    seen = observed(make_view("web"), allocated={"web": LARGE}, actuated={"web-0": SMALL})
    entry = pod_status(sized(LARGE), seen, Decision(), NOW, [])["containerStatuses"][0]
    assert (entry["resources"], entry["allocatedResources"]) == (SMALL, LARGE["requests"])


def test_room_is_counted_with_the_others() -> None:
    allocatable = {"cpu": "2", "memory": "1Gi", "pods": "110"}
    one = sized({"requests": {"cpu": "1500m"}})
    assert admission.fits(one, [], allocatable) is None
    assert admission.fits(one, [sized({"requests": {"cpu": "1"}})], allocatable) == Obstacle(
        DEFERRED, "Node didn't have enough resource: cpu, requested: 1500, used: 1000, capacity: 2000"
    )
    assert admission.fits(sized({"requests": {"cpu": "3"}}), [], allocatable) == Obstacle(
        INFEASIBLE, "Node didn't have enough capacity: cpu, requested: 3000, capacity: 2000"
    )

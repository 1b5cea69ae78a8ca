"""Phases, conditions and container statuses as a kubelet words them."""

from typing import Any

from node_samples import NOW, make_pod, make_view, observed

from wherry.node.decide import Decision, decide
from wherry.node.state import Observed
from wherry.node.status import pod_status, status_patch


def status_of(pod: dict[str, Any], seen: Observed, at: float = NOW) -> dict[str, Any]:
    return pod_status(pod, seen, decide(pod, seen, at), at, ["192.0.2.1"])


def conditions(status: dict[str, Any]) -> dict[str, str]:
    return {entry["type"]: entry["status"] for entry in status["conditions"]}


def test_a_pod_that_is_being_prepared() -> None:
    status = status_of(make_pod(), Observed())
    assert status["phase"] == "Pending"
    assert status["containerStatuses"][0]["state"] == {"waiting": {"reason": "ContainerCreating"}}
    assert conditions(status) == {
        "PodReadyToStartContainers": "False",
        "Initialized": "True",
        "Ready": "False",
        "ContainersReady": "False",
        "PodScheduled": "True",
    }
    ready = next(entry for entry in status["conditions"] if entry["type"] == "Ready")
    assert (ready["reason"], ready["message"]) == (
        "ContainersNotReady",
        "containers with unready status: [web]",
    )


def test_a_running_and_ready_pod() -> None:
    view = make_view("web")
    seen = observed(view, ips=("10.0.0.2",), started=frozenset({view.id}), ready=frozenset({view.id}))
    status = status_of(make_pod(), seen)
    assert status["phase"] == "Running"
    assert (status["podIP"], status["podIPs"]) == ("10.0.0.2", [{"ip": "10.0.0.2"}])
    assert (status["hostIP"], status["qosClass"], status["observedGeneration"]) == ("192.0.2.1", "BestEffort", 1)
    assert set(conditions(status).values()) == {"True"}
    (container,) = status["containerStatuses"]
    assert container["containerID"] == "wherry://web-0"
    assert (container["ready"], container["started"], container["restartCount"]) == (True, True, 0)


def test_crash_loop_shows_how_the_last_attempt_ended() -> None:
    seen = observed(make_view("web", "exited", attempt=3, backoff=40.0, exit_code=137, oom_killed=True))
    status = status_of(make_pod(), seen)
    (container,) = status["containerStatuses"]
    assert status["phase"] == "Running"
    assert container["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert container["lastState"]["terminated"]["reason"] == "OOMKilled"
    assert container["restartCount"] == 3


def test_reasons_of_ended_containers() -> None:
    def reason(**more: Any) -> str:
        seen = observed(make_view("web", "exited", **more))
        state = status_of(make_pod(restartPolicy="Never"), seen)["containerStatuses"][0]["state"]
        return str(state["terminated"]["reason"])

    assert reason() == "Completed"
    assert reason(exit_code=1) == "Error"
    assert reason(exit_code=137, oom_killed=True) == "OOMKilled"
    assert reason(exit_code=128, error="exec: no such file") == "StartError"
    assert reason(exit_code=137, lost=True) == "ContainerStatusUnknown"


def test_ended_pods_succeed_or_fail() -> None:
    never = make_pod("a", "b", restartPolicy="Never")
    good = observed(make_view("a", "exited"), make_view("b", "exited"))
    bad = observed(make_view("a", "exited"), make_view("b", "exited", exit_code=1))
    assert status_of(never, good)["phase"] == "Succeeded"
    assert status_of(never, bad)["phase"] == "Failed"
    ready = next(c for c in status_of(never, good)["conditions"] if c["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "PodCompleted")


def test_init_containers_hold_the_rest() -> None:
    pod = make_pod(init=[{"name": "one", "image": "i"}])
    status = status_of(pod, observed(make_view("one")))
    assert status["phase"] == "Pending"
    assert status["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}
    initialized = next(c for c in status["conditions"] if c["type"] == "Initialized")
    assert initialized["message"] == "containers with incomplete status: [one]"


def test_a_pod_ended_by_the_kubelet_fails_with_its_reason() -> None:
    seen = observed(make_view("web", "exited", exit_code=143), stop_reason="DeadlineExceeded", stop_message="too long")
    status = status_of(make_pod(), seen)
    assert (status["phase"], status["reason"], status["message"]) == ("Failed", "DeadlineExceeded", "too long")


def test_transition_times_change_only_with_the_status() -> None:
    pod = make_pod()
    pod["status"] = status_of(pod, Observed())
    again = status_of(pod, Observed(), NOW + 100)
    assert again["conditions"] == pod["status"]["conditions"]
    assert again["startTime"] == pod["status"]["startTime"]


def test_the_patch_holds_what_changed_and_nothing_else() -> None:
    pod = make_pod()
    before = status_of(pod, Observed())
    assert status_patch(before, before) == {}
    foreign = {"type": "example.com/Gate", "status": "True"}
    pod["status"] = {**before, "conditions": [*before["conditions"], foreign]}
    view = make_view("web")
    seen = observed(view, ips=("10.0.0.2",), started=frozenset({view.id}), ready=frozenset({view.id}))
    patch = status_patch(pod["status"], status_of(pod, seen, NOW + 1))
    assert set(patch) == {"phase", "podIP", "podIPs", "containerStatuses", "conditions"}
    changed = {entry["type"]: entry for entry in patch["conditions"]}
    assert set(changed) == {"PodReadyToStartContainers", "Ready", "ContainersReady"}
    assert changed["Ready"]["reason"] is None


def test_a_readiness_gate_keeps_the_pod_unready() -> None:
    pod = make_pod(readinessGates=[{"conditionType": "example.com/Gate"}])
    view = make_view("web")
    seen = observed(view, started=frozenset({view.id}), ready=frozenset({view.id}))
    status = status_of(pod, seen)
    assert conditions(status)["ContainersReady"] == "True"
    ready = next(c for c in status["conditions"] if c["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "ReadinessGatesNotReady")


def test_a_refused_pod_shows_its_reason_and_no_waiting_containers() -> None:
    seen = Observed(stop_reason="SysctlForbidden", stop_message="Pod was rejected: …")
    status = pod_status(make_pod(), seen, Decision(ended=True), NOW, ["10.0.0.1"])
    assert (status["phase"], status["reason"]) == ("Failed", "SysctlForbidden")
    assert "containerStatuses" not in status

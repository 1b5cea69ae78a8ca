"""What a restarted kubelet takes from the API."""

from node_samples import NOW, make_pod, make_view

from wherry.node import adoption
from wherry.node.decide import Start, decide
from wherry.node.state import Observed


def status(id: str, restarts: int = 0) -> dict[str, object]:
    return {
        "name": "web",
        "containerID": f"wherry://{id}",
        "restartCount": restarts,
        "ready": True,
        "started": True,
        "state": {"running": {"startedAt": "1970-01-12T13:46:00Z"}},
    }


def test_readiness_holds_for_the_same_running_container_only() -> None:
    pod = make_pod()
    pod["status"] = {"containerStatuses": [status("web-0")]}
    assert adoption.still_true(pod, [make_view("web")]) == ({"web-0"}, {"web-0"})
    assert adoption.still_true(pod, [make_view("web", attempt=1)]) == (set(), set())
    assert adoption.still_true(pod, [make_view("web", "exited")]) == (set(), set())


def test_a_container_that_vanished_counts_as_an_attempt() -> None:
    pod = make_pod()
    pod["status"] = {"containerStatuses": [status("gone", restarts=3)]}
    (view,) = adoption.lost(pod, [], "s1", NOW)
    assert (view.lost, view.exit_code, view.attempt) == (True, 137, 3)
    observed = Observed(sandbox="s1", prepared=True, containers={"web": (view,)})
    assert decide(pod, observed, NOW).actions == (Start("web", 4, 10.0),)
    assert adoption.lost(pod, [make_view("web", attempt=4)], "s1", NOW) == []

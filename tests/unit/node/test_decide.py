"""What the kubelet does next, case by case."""

from typing import Any

from node_samples import NOW, make_pod, make_view, observed

from wherry.node.decide import (
    Decision,
    Finish,
    Kill,
    Prepare,
    Remove,
    Start,
    TearDown,
    decide,
)
from wherry.node.state import ContainerView, Observed, StartError


def starts(decision: Decision) -> list[str]:
    return [action.name for action in decision.actions if isinstance(action, Start)]


def deleted(pod: dict[str, Any], grace: int = 30) -> dict[str, Any]:
    pod["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": grace}
    return pod


def test_a_new_pod_is_prepared_before_anything_starts() -> None:
    assert decide(make_pod(), Observed(), NOW).actions == (Prepare(),)


def test_main_containers_start_together_once_prepared() -> None:
    decision = decide(make_pod("a", "b"), observed(), NOW)
    assert decision.actions == (Start("a", 0, 0.0), Start("b", 0, 0.0))


def test_nothing_happens_to_what_runs_or_is_busy() -> None:
    assert decide(make_pod("a", "b"), observed(make_view("a"), busy=frozenset({"b"})), NOW) == Decision()


def test_init_containers_run_one_after_the_other() -> None:
    pod = make_pod(init=[{"name": "one", "image": "i"}, {"name": "two", "image": "i"}])
    assert starts(decide(pod, observed(), NOW)) == ["one"]
    assert starts(decide(pod, observed(make_view("one")), NOW)) == []
    assert starts(decide(pod, observed(make_view("one", "exited")), NOW)) == ["two"]
    both = observed(make_view("one", "exited"), make_view("two", "exited"))
    assert starts(decide(pod, both, NOW)) == ["web"]


def test_a_failed_init_container_is_tried_again_unless_never() -> None:
    failed = observed(make_view("one", "exited", exit_code=1))
    pod = make_pod(init=[{"name": "one", "image": "i"}])
    assert starts(decide(pod, failed, NOW)) == ["one"]
    pod["spec"]["restartPolicy"] = "Never"
    decision = decide(pod, failed, NOW)
    assert decision.ended
    assert decision.actions == (TearDown(),)


def test_a_sidecar_must_have_started_before_the_next_container() -> None:
    pod = make_pod(init=[{"name": "proxy", "image": "i", "restartPolicy": "Always"}])
    assert starts(decide(pod, observed(), NOW)) == ["proxy"]
    running = make_view("proxy")
    assert starts(decide(pod, observed(running), NOW)) == []
    assert starts(decide(pod, observed(running, started=frozenset({running.id})), NOW)) == ["web"]


def test_a_sidecar_that_ends_comes_back_beside_the_running_main_container() -> None:
    pod = make_pod(init=[{"name": "proxy", "image": "i", "restartPolicy": "Always"}], restartPolicy="Never")
    assert starts(decide(pod, observed(make_view("proxy", "exited"), make_view("web")), NOW)) == ["proxy"]


def test_init_containers_are_not_repeated_once_a_main_container_was_made() -> None:
    pod = make_pod(init=[{"name": "one", "image": "i"}])
    assert decide(pod, observed(make_view("web")), NOW).actions == ()


def test_a_new_sandbox_begins_with_the_init_containers_again() -> None:
    pod = make_pod(init=[{"name": "one", "image": "i"}])
    before = observed(make_view("one", "exited", sandbox="s0"), make_view("web", "exited", sandbox="s0"))
    assert decide(pod, before, NOW).actions == (Start("one", 1, 10.0),)


def test_the_first_restart_is_immediate_and_later_ones_back_off() -> None:
    pod = make_pod()
    first = decide(pod, observed(make_view("web", "exited", exit_code=1)), NOW)
    assert first.actions == (Start("web", 1, 10.0),)
    again = observed(make_view("web", "exited", attempt=1, backoff=10.0, exit_code=1))
    waiting = decide(pod, again, NOW + 3)
    assert waiting.actions == ()
    assert waiting.wake_at == NOW + 10
    message = "back-off 10s restarting failed container=web pod=p_default(u1)"
    assert waiting.waiting == {"web": ("CrashLoopBackOff", message)}
    assert decide(pod, again, NOW + 10).actions == (Start("web", 2, 20.0),)


def test_the_back_off_ends_at_five_minutes_and_starts_anew_after_a_long_run() -> None:
    pod = make_pod()
    late = observed(make_view("web", "exited", attempt=9, backoff=300.0))
    assert decide(pod, late, NOW + 299).waiting["web"][1].startswith("back-off 5m0s ")
    assert decide(pod, late, NOW + 300).actions == (Start("web", 10, 300.0),)
    healthy = make_view("web", "exited", attempt=9, backoff=300.0, created_at=NOW - 601, started_at=NOW - 601)
    assert decide(pod, observed(healthy), NOW).actions == (Start("web", 10, 10.0),)


def test_restart_policies() -> None:
    good, bad = make_view("web", "exited"), make_view("web", "exited", exit_code=3)
    on_failure, never = make_pod(restartPolicy="OnFailure"), make_pod(restartPolicy="Never")
    assert starts(decide(on_failure, observed(bad), NOW)) == ["web"]
    assert decide(on_failure, observed(good), NOW).ended
    assert decide(never, observed(bad), NOW).ended


def test_container_restart_rules_win_over_the_pods_policy() -> None:
    pod = make_pod(restartPolicy="Never")
    rule = {"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}
    pod["spec"]["containers"][0] |= {"restartPolicy": "Never", "restartPolicyRules": [rule]}
    assert starts(decide(pod, observed(make_view("web", "exited", exit_code=42)), NOW)) == ["web"]
    assert decide(pod, observed(make_view("web", "exited", exit_code=1)), NOW).ended


def test_a_failed_liveness_probe_kills_with_its_own_grace_period() -> None:
    pod = make_pod()
    pod["spec"]["containers"][0]["livenessProbe"] = {"terminationGracePeriodSeconds": 5}
    view = make_view("web")
    message = "Container web failed liveness probe, will be restarted"
    decision = decide(pod, observed(view, failed={view.id: message}), NOW)
    assert decision.actions == (Kill(view.id, "web", message, 5.0),)


def test_a_changed_image_restarts_the_container() -> None:
    (action,) = decide(make_pod(), observed(make_view("web", hash="old")), NOW).actions
    assert isinstance(action, Kill)
    assert action.message == "Container web definition changed, will be restarted"


def test_an_error_holds_the_start_back_until_its_time() -> None:
    error = StartError("ErrImagePull", "no such image", NOW + 5)
    decision = decide(make_pod(), observed(errors={"web": error}), NOW)
    assert (decision.actions, decision.wake_at) == ((), NOW + 5)
    assert decision.waiting == {"web": ("ErrImagePull", "no such image")}
    later = decide(make_pod(), observed(errors={"web": error}), NOW + 5)
    assert starts(later) == ["web"]
    assert later.waiting == {"web": ("ErrImagePull", "no such image")}


def test_deletion_kills_main_containers_first_and_sidecars_last_in_reverse() -> None:
    sidecars = [{"name": name, "image": "i", "restartPolicy": "Always"} for name in ("one", "two")]
    pod = deleted(make_pod("a", "b", init=sidecars), grace=7)
    one, two, a, b = (make_view(name) for name in ("one", "two", "a", "b"))

    def killed(*views: ContainerView) -> list[str]:
        actions = decide(pod, observed(*views), NOW).actions
        assert all(isinstance(action, Kill) and action.grace == 7.0 for action in actions)
        return [action.name for action in actions if isinstance(action, Kill)]

    assert killed(one, two, a, b) == ["a", "b"]
    assert killed(one, two) == ["two"]
    assert killed(one) == ["one"]
    assert decide(pod, observed(), NOW).actions == (Finish(),)


def test_a_deleted_pod_is_not_finished_while_something_is_under_way() -> None:
    assert decide(deleted(make_pod()), observed(busy=frozenset({"web"})), NOW).actions == ()


def test_an_ended_pod_is_torn_down_once_and_kept() -> None:
    pod = make_pod(restartPolicy="Never")
    ended = make_view("web", "exited")
    assert decide(pod, observed(ended), NOW).actions == (TearDown(),)
    after = decide(pod, observed(ended, torn_down=True, sandbox="", prepared=False), NOW)
    assert after == Decision(ended=True)


def test_sidecars_of_an_ended_pod_are_stopped() -> None:
    pod = make_pod(init=[{"name": "proxy", "image": "i", "restartPolicy": "Always"}], restartPolicy="Never")
    decision = decide(pod, observed(make_view("web", "exited"), make_view("proxy")), NOW)
    assert [type(action) for action in decision.actions] == [Kill]


def test_old_dead_attempts_are_removed_but_the_previous_one_is_kept() -> None:
    old = [make_view("web", "exited", attempt=n) for n in range(3)]
    running = observed(make_view("web", attempt=3), *old)
    assert decide(make_pod(), running, NOW).actions == (Remove("web-1", "web"), Remove("web-0", "web"))
    dead = observed(*old, errors={"web": StartError("x", "y", NOW + 9)})
    assert decide(make_pod(), dead, NOW).actions == (Remove("web-0", "web"),)


def test_a_debug_container_starts_once_and_never_again() -> None:
    pod = make_pod()
    pod["spec"]["ephemeralContainers"] = [{"name": "debug", "image": "i"}]
    assert starts(decide(pod, observed(make_view("web")), NOW)) == ["debug"]
    assert starts(decide(pod, observed(make_view("web"), make_view("debug", "exited")), NOW)) == []

from wherry.controllers.job import TRACKING
from wherry.controllers.job_orphans import reconcile
from wherry.schema.resource import Object


def pod(*finalizers: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": "default", "uid": "u", "resourceVersion": "1",
                     "finalizers": list(finalizers)},
    }  # fmt: skip


def test_a_pod_whose_job_is_gone_is_let_go() -> None:
    plan = reconcile(pod("other", TRACKING), None)
    assert [one.patch for one in plan.steps] == [{"metadata": {"finalizers": ["other"]}}]


def test_a_pod_with_its_job_and_a_pod_without_the_finalizer_are_left_alone() -> None:
    assert not reconcile(pod(TRACKING), {"metadata": {"uid": "j"}}).steps
    assert not reconcile(pod("other"), None).steps

"""Single rules of the workload controllers, each on the smallest input that shows it."""

import base64
from typing import Any

import pytest

from wherry.client.clock import format_time, parse_time_or
from wherry.controllers import (
    cronjob,
    daemonset,
    deployment,
    disruption,
    job,
    pod_gc,
    replicaset,
    statefulset,
    taint_eviction,
)
from wherry.controllers.certificates import reconcile as reconcile_request
from wherry.controllers.pods import first_to_delete
from wherry.controllers.replication import Replicas
from wherry.controllers.revisions import HASH_LABEL
from wherry.schema import builtin as b

NOW = parse_time_or("2026-01-01T01:00:00Z", 0.0)
TEMPLATE = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "a:1"}]}}


def at(seconds: float) -> str:
    return format_time(NOW + seconds)


def owner(kind: str, version: str = "apps/v1", status: Any = None, annotations: Any = None, **spec: Any) -> Any:
    metadata = {"name": "x", "namespace": "default", "uid": "uid-x", "resourceVersion": "1", "generation": 1}
    if annotations:
        metadata["annotations"] = annotations
    body = {"selector": {"matchLabels": {"app": "x"}}, "template": TEMPLATE} | spec
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": body, "status": status or {}}


def pod(name: str, of: Any, *, ready: bool = True, phase: str = "Running", age: float = 600, **more: Any) -> Any:
    reference = {"apiVersion": of["apiVersion"], "kind": of["kind"], "name": "x", "uid": "uid-x", "controller": True}
    metadata = {
        "name": name,
        "namespace": "default",
        "uid": f"uid-{name}",
        "resourceVersion": "1",
        "creationTimestamp": at(-age),
        "labels": {"app": "x"} | more.pop("labels", {}),
        "ownerReferences": [reference],
    } | more.pop("metadata", {})
    condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": at(-age)}
    status = {"phase": phase, "conditions": [condition]} | more.pop("status", {})
    spec = {"nodeName": "n", "containers": [{"name": "c"}]} | more
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status}


def deleted(plan: Any) -> list[str]:
    return [one.target["metadata"]["name"] for one in plan.steps if type(one).__name__ == "Delete"]


def created(plan: Any, resource: Any = b.PODS) -> list[Any]:
    return [one.object for one in plan.steps if type(one).__name__ == "Create" and one.resource == resource]


def events(plan: Any) -> list[tuple[str, str, str]]:
    return [(one.type, one.reason, one.message) for one in plan.events]


# ReplicaSet, and which pods go first.


def test_a_failure_is_told_once_so_that_its_status_does_not_bring_the_next_try() -> None:
    subject = owner("ReplicaSet", replicas=1)
    first = replicaset.reconcile(subject, Replicas(), NOW).status_if_failed
    assert first is not None and first["conditions"][0]["message"] == "{error}"
    subject["status"] = first | {"conditions": [first["conditions"][0] | {"message": "x-abcde is forbidden"}]}
    assert replicaset.reconcile(subject, Replicas(), NOW + 9).status_if_failed == subject["status"]


def test_of_equal_pods_the_one_whose_sidecar_restarted_more_goes_first() -> None:
    subject = owner("ReplicaSet")
    sidecar = [{"name": "s", "restartPolicy": "Always"}]
    found = [
        pod(name, subject, initContainers=sidecar, status={"initContainerStatuses": [{"name": "s", "restartCount": n}]})
        for name, n in (("a", 0), ("b", 2), ("c", 1))
    ]
    assert [one["metadata"]["name"] for one in first_to_delete(found, found, NOW)] == ["b", "c", "a"]


# Deployment.


def replica_set(name: str, of: Any, size: int, image: str = "a:1", **more: Any) -> Any:
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x", "uid": "uid-x", "controller": True}
    metadata = {"name": name, "namespace": "default", "uid": f"uid-{name}", "resourceVersion": "1", "generation": 1}
    metadata |= {"labels": {"app": "x"}, "ownerReferences": [reference], "annotations": more.pop("annotations", {})}
    template = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": image}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": metadata,
        "spec": {"replicas": size, "selector": {}, "template": template},
        "status": {"replicas": size, "availableReplicas": size, "observedGeneration": 1} | more,
    }


def test_an_old_replica_sets_failure_shows_where_the_new_one_has_none() -> None:
    failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota"}
    subject = owner("Deployment", replicas=1)
    found = [replica_set("new", subject, 1), replica_set("old", subject, 0, "a:0", conditions=[failure])]
    status = deployment.reconcile(subject, deployment.Children(found), NOW).status
    assert status is not None
    assert [one["type"] for one in status["conditions"]][-1] == "ReplicaFailure"
    assert status["conditions"][-1]["message"] == "quota"


def test_conditions_stand_in_the_order_in_which_they_were_told() -> None:
    subject = owner("Deployment", replicas=1)
    told = {"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated", "lastUpdateTime": at(-5)}
    subject["status"] = {"conditions": [told]}
    found = [replica_set("new", subject, 1)]
    status = deployment.reconcile(subject, deployment.Children(found), NOW).status
    assert status is not None
    shown = [(one["type"], one["reason"]) for one in status["conditions"]]
    assert shown == [("Available", "MinimumReplicasAvailable"), ("Progressing", "NewReplicaSetAvailable")]


def test_the_history_of_revisions_does_not_grow_beyond_2000_characters() -> None:
    subject = owner("Deployment", replicas=1)
    long = ",".join(str(1000 + number) for number in range(400))
    notes = {deployment.REVISION: "1400", deployment.REVISION_HISTORY: long}
    old = replica_set("old", subject, 0, "a:0", annotations={deployment.REVISION: "1401"})
    plan = deployment.reconcile(
        subject, deployment.Children([replica_set("new", subject, 1, annotations=notes), old]), NOW
    )
    patch: Any = next(step for step in plan.steps if getattr(step, "target", {}).get("kind") == "ReplicaSet")
    shown = patch.patch["metadata"]["annotations"]
    assert shown[deployment.REVISION] == "1402"
    kept = shown[deployment.REVISION_HISTORY].split(",")
    assert len(shown[deployment.REVISION_HISTORY]) <= 2000 and kept[0] == "1001" and kept[-1] == "1400"


# StatefulSet.


def stateful(replicas: int = 3, **spec: Any) -> tuple[Any, Any]:
    """The set, and a function that makes its pods of the revision `old` or `new`."""
    subject = owner("StatefulSet", replicas=replicas, **spec)
    [revision] = created(statefulset.reconcile(subject, statefulset.Children(), NOW), b.CONTROLLER_REVISIONS)
    new = revision["metadata"]["name"]

    def make(ordinal: int, age: str, **more: Any) -> Any:
        return pod(f"x-{ordinal}", subject, labels={HASH_LABEL: new if age == "new" else "x-old"}, **more)

    return subject, make


def test_a_parallel_update_goes_on_though_a_pod_further_down_is_broken() -> None:
    subject, make = stateful(podManagementPolicy="Parallel")
    found = [make(0, "old", ready=False), make(1, "old"), make(2, "old")]
    assert deleted(statefulset.reconcile(subject, statefulset.Children(found), NOW)) == ["x-2"]
    found[2] = make(2, "new", ready=False)
    assert deleted(statefulset.reconcile(subject, statefulset.Children(found), NOW)) == []
    found[2] = make(2, "new")
    assert deleted(statefulset.reconcile(subject, statefulset.Children(found), NOW)) == ["x-1"]


def test_an_update_within_a_limit_replaces_broken_pods_at_no_cost() -> None:
    limits = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 2}}
    subject, make = stateful(4, podManagementPolicy="Parallel", updateStrategy=limits)
    found = [make(number, "old") for number in range(4)]
    assert deleted(statefulset.reconcile(subject, statefulset.Children(found), NOW)) == ["x-3", "x-2"]
    found[0], found[3] = make(0, "old", ready=False), make(3, "new", ready=False)
    assert deleted(statefulset.reconcile(subject, statefulset.Children(found), NOW)) == ["x-0"]


def test_a_new_pod_waits_for_the_claim_of_the_old_one_of_its_name_to_go() -> None:
    claims = [{"metadata": {"name": "data"}, "spec": {}}]
    policy = {"whenScaled": "Delete", "whenDeleted": "Retain"}
    subject, _ = stateful(1, volumeClaimTemplates=claims, persistentVolumeClaimRetentionPolicy=policy)
    earlier = {"kind": "Pod", "name": "x-0", "uid": "uid-earlier"}
    claim: Any = {"metadata": {"name": "data-x-0", "namespace": "default", "ownerReferences": [earlier]}}
    children = statefulset.Children(claims={"data-x-0": claim})
    assert created(statefulset.reconcile(subject, children, NOW)) == []
    assert len(created(statefulset.reconcile(subject, statefulset.Children(), NOW))) == 1


def test_a_revision_keeps_the_cause_of_the_change() -> None:
    subject = owner("StatefulSet", annotations={"kubernetes.io/change-cause": "the new image"})
    [revision] = created(statefulset.reconcile(subject, statefulset.Children(), NOW), b.CONTROLLER_REVISIONS)
    assert revision["metadata"]["annotations"] == {"kubernetes.io/change-cause": "the new image"}


def test_a_pod_that_has_ended_is_removed_without_more_words() -> None:
    subject, make = stateful(1)
    plan = statefulset.reconcile(subject, statefulset.Children([make(0, "new", phase="Failed")]), NOW)
    assert deleted(plan) == ["x-0"] and plan.events == []


# DaemonSet.


def daemons(**spec: Any) -> tuple[Any, Any, Any]:
    subject = owner("DaemonSet", **spec)
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}, "spec": {}}
    [revision] = created(daemonset.reconcile(subject, daemonset.Children(), NOW), b.CONTROLLER_REVISIONS)
    digest = revision["metadata"]["labels"][HASH_LABEL]

    def make(name: str, which: str, **more: Any) -> Any:
        return pod(name, subject, labels={HASH_LABEL: digest if which == "new" else "old"}, **more)

    return subject, node, make


def test_during_a_surge_the_oldest_of_each_revision_stay_and_the_older_speaks_for_the_node() -> None:
    surge = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    subject, node, make = daemons(updateStrategy=surge)
    found = [make("old-1", "old", age=900), make("old-2", "old", age=800), make("new", "new", age=5, ready=False)]
    plan = daemonset.reconcile(subject, daemonset.Children(found, [node]), NOW)
    assert deleted(plan) == ["old-2"]
    assert plan.status is not None and "updatedNumberScheduled" not in plan.status
    assert plan.status["numberAvailable"] == 1


def test_a_daemon_that_is_going_still_counts_and_one_that_has_ended_is_replaced_at_once() -> None:
    subject, node, make = daemons()
    going = make("going", "new", metadata={"deletionTimestamp": at(20)})
    plan = daemonset.reconcile(subject, daemonset.Children([going], [node]), NOW)
    assert created(plan) == [] and plan.status is not None and plan.status["currentNumberScheduled"] == 1
    going["status"]["phase"] = "Failed"
    assert len(created(daemonset.reconcile(subject, daemonset.Children([going], [node]), NOW))) == 1


def test_a_daemon_that_fails_again_and_again_is_replaced_ever_more_slowly() -> None:
    subject, node, make = daemons()
    controller = daemonset.DaemonSetController()
    seen = []
    now = NOW
    for number in range(4):
        found = [make(f"p-{number}", "new", phase="Failed")]
        plan = controller.reconcile(subject, daemonset.Children(found, [node]), now)
        if not deleted(plan):
            seen.append(plan.requeue_after)
            now += plan.requeue_after or 0.0
            plan = controller.reconcile(subject, daemonset.Children(found, [node]), now)
        assert deleted(plan) == [f"p-{number}"]
        message = f"Found failed daemon pod default/p-{number} on node n, will try to kill it"
        assert events(plan) == [("Warning", "FailedDaemonPod", message)]
    assert seen == [1.0, 2.0, 4.0]


# Job.


def a_job(**spec: Any) -> Any:
    template = {"metadata": {"labels": {"app": "x"}}, "spec": {"restartPolicy": "Never", "containers": []}}
    return owner("Job", "batch/v1", {"startTime": at(-60)}, **({"template": template, "completions": 3} | spec))


def ended(name: str, of: Any, phase: str, ago: float, *, index: int | None = None, **more: Any) -> Any:
    state = {"name": "c", "state": {"terminated": {"exitCode": int(phase == "Failed"), "finishedAt": at(-ago)}}}
    notes = {} if index is None else {job.INDEX: str(index)}
    return pod(
        name,
        of,
        ready=False,
        phase=phase,
        status={"containerStatuses": [state]},
        metadata={"annotations": notes},
        **more,
    )


@pytest.mark.parametrize(("limit", "restarts", "fails"), [(3, 2, False), (3, 3, True), (0, 0, False), (0, 1, True)])
def test_restarts_in_place_reach_the_limit_with_the_last_one_allowed(limit: int, restarts: int, fails: bool) -> None:
    subject = a_job(backoffLimit=limit, parallelism=1)
    subject["spec"]["template"]["spec"]["restartPolicy"] = "OnFailure"
    running = pod("p", subject, status={"containerStatuses": [{"name": "c", "restartCount": restarts}]})
    plan = job.reconcile(subject, job.Children([running]), NOW)
    assert (deleted(plan) == ["p"]) is fails
    assert plan.status is not None
    if fails:
        assert plan.status["conditions"][0]["reason"] == "BackoffLimitExceeded"
        assert plan.steps[-1].done is not None and plan.steps[-1].done.reason == "SuccessfulDelete"


def test_only_failures_since_the_last_success_hold_a_job_back() -> None:
    subject = a_job(backoffLimit=6, parallelism=1)
    found = [ended("a", subject, "Failed", 3), ended("b", subject, "Succeeded", 2)]
    assert len(created(job.reconcile(subject, job.Children(found), NOW))) == 1
    found.append(ended("c", subject, "Failed", 1))
    plan = job.reconcile(subject, job.Children(found), NOW)
    assert created(plan) == [] and plan.requeue_after == 9.0


def test_each_index_waits_for_its_own_failures_only() -> None:
    subject = a_job(completionMode="Indexed", backoffLimitPerIndex=2, parallelism=3)
    found = [ended("a", subject, "Failed", 4, index=1)]
    plan = job.reconcile(subject, job.Children(found), NOW)
    assert [one["metadata"]["annotations"][job.INDEX] for one in created(plan)] == ["0", "2"]
    assert plan.requeue_after == 6.0


def test_an_ignored_failure_does_not_count_for_its_index() -> None:
    rule = {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [1]}}
    subject = a_job(
        completionMode="Indexed",
        backoffLimitPerIndex=1,
        parallelism=1,
        completions=1,
        podFailurePolicy={"rules": [rule]},
    )
    [made] = created(job.reconcile(subject, job.Children([ended("a", subject, "Failed", 60, index=0)]), NOW))
    assert made["metadata"]["annotations"][job.FAILURES] == "0"
    del subject["spec"]["podFailurePolicy"]
    [made] = created(job.reconcile(subject, job.Children([ended("a", subject, "Failed", 60, index=0)]), NOW))
    assert made["metadata"]["annotations"][job.FAILURES] == "1"


def test_a_rule_on_exit_codes_names_the_container_before_an_init_container() -> None:
    rule = {"action": "FailJob", "onExitCodes": {"operator": "NotIn", "values": [0]}}
    subject = a_job(podFailurePolicy={"rules": [rule]})
    found = ended("p", subject, "Failed", 1)
    found["metadata"]["finalizers"] = [job.TRACKING]
    found["status"]["initContainerStatuses"] = [{"name": "i", "state": {"terminated": {"exitCode": 3}}}]
    plan = job.reconcile(subject, job.Children([found]), NOW)
    assert plan.status is not None
    [target] = plan.status["conditions"]
    assert (target["type"], target["reason"]) == ("FailureTarget", "PodFailurePolicy")
    assert target["message"] == "Container c for pod default/p failed with exit code 1 matching FailJob rule at index 0"


def test_after_the_first_success_of_a_work_queue_those_that_run_may_end() -> None:
    subject = a_job(parallelism=1)
    del subject["spec"]["completions"]
    subject["status"]["succeeded"] = 1
    assert deleted(job.reconcile(subject, job.Children([pod("a", subject), pod("b", subject)]), NOW)) == []


def test_indexes_beyond_a_job_that_was_made_smaller_count_no_longer() -> None:
    subject = a_job(completionMode="Indexed", completions=2, parallelism=2)
    subject["status"] |= {"completedIndexes": "0,2,4", "succeeded": 3}
    plan = job.reconcile(subject, job.Children(), NOW)
    assert plan.status is not None and (plan.status["completedIndexes"], plan.status["succeeded"]) == ("0", 1)
    assert [one["metadata"]["annotations"][job.INDEX] for one in created(plan)] == ["1"]


# CronJob.


def cron(**more: Any) -> Any:
    spec = {"schedule": "*/5 * * * *", "jobTemplate": {"spec": {}}} | more
    metadata = {"name": "c", "namespace": "default", "uid": "uid-c", "creationTimestamp": at(-3600)}
    return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": metadata, "spec": spec, "status": {}}


def test_a_time_whose_job_could_not_be_made_is_due_again() -> None:
    subject = cron()
    plan = cronjob.reconcile(subject, cronjob.Children(), NOW)
    assert plan.status is not None and plan.status["lastScheduleTime"] == at(0)
    assert plan.status_if_failed == {}
    again = cronjob.reconcile(subject | {"status": plan.status_if_failed}, cronjob.Children(), NOW + 5)
    assert [one["metadata"]["name"] for one in created(again, b.JOBS)] == [
        one["metadata"]["name"] for one in created(plan, b.JOBS)
    ]


def test_a_job_made_by_hand_is_told_of_and_holds_nothing_back() -> None:
    subject = cron(concurrencyPolicy="Forbid")
    by_hand = {"metadata": {"name": "mine", "namespace": "default", "uid": "u"}, "spec": {}, "status": {}}
    plan = cronjob.reconcile(subject, cronjob.Children([by_hand]), NOW)
    assert ("Warning", "UnexpectedJob", "Saw a job that the controller did not create or forgot: mine") in events(plan)
    assert len(created(plan, b.JOBS)) == 1 and plan.status is not None and "active" not in plan.status
    by_hand["status"] = {"conditions": [{"type": "Complete", "status": "True"}], "completionTime": at(-9)}
    plan = cronjob.reconcile(subject, cronjob.Children([by_hand]), NOW)
    assert plan.status is not None and plan.status["lastSuccessfulTime"] == at(-9) and plan.events == []


def test_an_unknown_time_zone_is_told_even_while_suspended() -> None:
    plan = cronjob.reconcile(cron(timeZone="Mars/Base", suspend=True), cronjob.Children(), NOW)
    message = 'invalid timeZone: "Mars/Base": unknown time zone Mars/Base'
    assert events(plan) == [("Warning", "UnknownTimeZone", message)]


# Disruption budgets.


def budget(**more: Any) -> Any:
    metadata = {"name": "b", "namespace": "default", "generation": 1}
    spec = {"selector": {"matchLabels": {"app": "x"}}, "maxUnavailable": 1}
    return {"metadata": metadata, "spec": spec, "status": more}


def test_a_budget_says_what_is_wrong_with_its_pods() -> None:
    assert events(disruption.reconcile(budget(), disruption.Children(), NOW)) == [
        ("Normal", "NoPods", "No matching pods found")
    ]
    plan = disruption.reconcile(budget(), disruption.Children([pod("p", owner("ReplicaSet"))], 0, unmanaged=True), NOW)
    [(type, reason, message)] = events(plan)
    assert (type, reason) == ("Warning", "UnmanagedPods")
    selector = "&LabelSelector{MatchLabels:map[string]string{app: x,},MatchExpressions:[]LabelSelectorRequirement{},}"
    assert message.startswith(
        f"Pods selected by this PodDisruptionBudget (selector: {selector}) were found to be unmanaged."
    )
    assert plan.status is not None and plan.status["disruptionsAllowed"] == 0


def test_a_pod_that_was_to_be_evicted_and_is_still_there_counts_again() -> None:
    found = pod("p", owner("ReplicaSet"))
    waiting = disruption.reconcile(budget(disruptedPods={"p": at(-60)}), disruption.Children([found], 2), NOW)
    assert waiting.status is not None and waiting.status["currentHealthy"] == 0 and waiting.requeue_after == 60.0
    over = disruption.reconcile(budget(disruptedPods={"p": at(-121)}), disruption.Children([found], 2), NOW)
    assert over.status is not None and over.status["currentHealthy"] == 1 and "disruptedPods" not in over.status
    assert events(over) == [("Warning", "NotDeleted", "Pod was expected by PDB default/b to be deleted but it wasn't")]
    assert over.events[0].about is found


# Pod garbage collection.


def test_evicted_pods_go_before_older_ones() -> None:
    old, evicted = pod("old", owner("ReplicaSet"), age=900), pod("evicted", owner("ReplicaSet"), age=9)
    evicted["status"] |= {"phase": "Failed", "reason": "Evicted"}
    assert [one["metadata"]["name"] for one in sorted([old, evicted], key=pod_gc.first_to_go)] == ["evicted", "old"]


# Taints.


def test_the_first_toleration_that_covers_a_taint_counts() -> None:
    taint = {"key": "maintenance", "effect": "NoExecute", "timeAdded": at(-60)}
    node = {"metadata": {"name": "n"}, "spec": {"taints": [taint]}}
    for_ever, for_a_while = (
        {"operator": "Exists"},
        {"key": "maintenance", "operator": "Exists", "tolerationSeconds": 30},
    )
    found = pod("p", owner("ReplicaSet"), tolerations=[for_ever, for_a_while])
    assert taint_eviction.reconcile(found, node, NOW).empty
    found["spec"]["tolerations"].reverse()
    assert deleted(taint_eviction.reconcile(found, node, NOW)) == ["p"]


# Certificates.


@pytest.mark.parametrize(
    ("user", "groups", "word"),
    [("system:node:n", ["system:nodes"], "self kubelet"), ("system:bootstrap:a", ["system:bootstrappers"], "kubelet")],
)
def test_a_nodes_first_certificate_and_its_renewal_are_approved_in_their_own_words(
    user: str, groups: list[str], word: str
) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:nodes"),
            x509.NameAttribute(NameOID.COMMON_NAME, "system:node:n"),
        ]
    )
    signed = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(subject)
        .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    )
    spec = {
        "signerName": "kubernetes.io/kube-apiserver-client-kubelet",
        "request": base64.b64encode(signed.public_bytes(serialization.Encoding.PEM)).decode(),
        "usages": ["digital signature", "client auth"],
        "username": user,
        "groups": groups,
    }
    request = {"metadata": {"name": "r", "creationTimestamp": at(-1)}, "spec": spec}
    plan = reconcile_request(request, lambda *_: b"", NOW)
    step: Any = plan.steps[0]
    [condition] = step.object["status"]["conditions"]
    assert condition["message"] == f"Auto approving {word} client certificate after SubjectAccessReview."

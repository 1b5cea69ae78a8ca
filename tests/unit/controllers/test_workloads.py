"""StatefulSets, DaemonSets, Jobs and CronJobs over an in-memory API, a mock clock and a fake kubelet."""

import asyncio
from typing import Any

from wherry.schema import builtin as b

TEMPLATE = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "a:1"}]}}


def workload(kind: str, **spec: Any) -> dict[str, Any]:
    body = {"selector": {"matchLabels": {"app": "x"}}, "template": TEMPLATE, **spec}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "x", "namespace": "default"}, "spec": body}


def job(**spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": "x"}}, "spec": {**TEMPLATE["spec"], "restartPolicy": "Never"}}
    body = {"selector": {"matchLabels": {"app": "x"}}, "template": template, **spec}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x", "namespace": "default"}, "spec": body}


def names(world: Any) -> list[str]:
    return sorted(p["metadata"]["name"] for p in world.pods())


async def test_a_stateful_set_makes_pods_in_order_with_their_claims(world: Any) -> None:
    claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": ""}}
    await world.client.create(b.STATEFUL_SETS, workload("StatefulSet", replicas=3, volumeClaimTemplates=[claim]))
    await world.settle()
    assert names(world) == ["x-0", "x-1", "x-2"]
    made = [name for verb, plural, _, name in world.client.actions if (verb, plural) == ("create", "pods")]
    assert made == ["x-0", "x-1", "x-2"]
    claims = sorted(c["metadata"]["name"] for c in world.client.all(b.PERSISTENT_VOLUME_CLAIMS))
    assert claims == ["data-x-0", "data-x-1", "data-x-2"]
    pod = await world.client.get(b.PODS, "x-1", "default")
    assert pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"] == "1"
    assert {"name": "data", "persistentVolumeClaim": {"claimName": "data-x-1"}} in pod["spec"]["volumes"]
    await world.client.patch(b.STATEFUL_SETS, "x", {"spec": {"replicas": 1}}, "default")
    await world.settle()
    gone = [name for verb, plural, _, name in world.client.actions if (verb, plural) == ("delete", "pods")]
    assert gone[-1] == "x-1" and names(world) == ["x-0"]
    assert len(world.client.all(b.PERSISTENT_VOLUME_CLAIMS)) == 3


async def test_a_stateful_set_rolls_from_the_last_down_to_the_partition(world: Any) -> None:
    update = {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}
    await world.client.create(b.STATEFUL_SETS, workload("StatefulSet", replicas=3, updateStrategy=update))
    await world.settle()
    new = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "a:2"}]}}}}
    await world.client.patch(b.STATEFUL_SETS, "x", new, "default")
    await world.settle()
    images = {p["metadata"]["name"]: p["spec"]["containers"][0]["image"] for p in world.pods()}
    assert images == {"x-0": "a:1", "x-1": "a:2", "x-2": "a:2"}
    await world.client.delete(b.PODS, "x-0", "default")
    await world.settle()
    assert (await world.client.get(b.PODS, "x-0", "default"))["spec"]["containers"][0]["image"] == "a:1"
    free = {"spec": {"updateStrategy": {"rollingUpdate": {"partition": 0}}}}
    await world.client.patch(b.STATEFUL_SETS, "x", free, "default")
    await world.settle()
    status = (await world.client.get(b.STATEFUL_SETS, "x", "default"))["status"]
    assert status["currentRevision"] == status["updateRevision"] and status["updatedReplicas"] == 3


async def test_a_daemon_set_runs_once_on_every_node_and_follows_new_ones(world: Any) -> None:
    await world.client.create(b.DAEMON_SETS, workload("DaemonSet"))
    await world.settle()
    assert len(world.pods()) == 1
    world.add_node("node-2")
    await world.client.create(b.CONFIG_MAPS, {"metadata": {"name": "wake", "namespace": "default"}})
    for _ in range(5):
        await world.clock.settle(300)
    assert len(world.pods()) == 2
    [tied] = [p for p in world.pods() if not p["spec"].get("nodeName")]
    terms = tied["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert terms["nodeSelectorTerms"][0]["matchFields"][0]["values"] == ["node-2"]


async def test_a_job_runs_to_completion_and_counts_each_pod_once(world: Any) -> None:
    world.kubelet.script = lambda pod: {"phase": "Succeeded"}
    await world.client.create(b.JOBS, job(completions=5, parallelism=2))
    await world.settle()
    found = await world.client.get(b.JOBS, "x", "default")
    assert found["status"]["succeeded"] == 5
    types = {c["type"]: c["status"] for c in found["status"]["conditions"]}
    assert types == {"SuccessCriteriaMet": "True", "Complete": "True"}
    assert found["status"]["completionTime"]
    assert len(world.pods()) == 5
    assert all(not p["metadata"].get("finalizers") for p in world.pods())


async def test_a_failing_job_backs_off_and_gives_up(world: Any) -> None:
    world.kubelet.script = lambda pod: {"phase": "Failed"}
    await world.client.create(b.JOBS, job(backoffLimit=2))
    for _ in range(8):
        await world.settle()
        await world.clock.advance(60)
    await world.settle()
    found = await world.client.get(b.JOBS, "x", "default")
    failed = next(c for c in found["status"]["conditions"] if c["type"] == "Failed")
    assert failed["reason"] == "BackoffLimitExceeded"
    assert found["status"]["failed"] == 3 and len(world.pods()) == 3


async def test_an_indexed_job_gives_each_index_one_success(world: Any) -> None:
    world.kubelet.script = lambda pod: {"phase": "Succeeded"}
    await world.client.create(b.JOBS, job(completions=4, parallelism=3, completionMode="Indexed"))
    await world.settle()
    found = await world.client.get(b.JOBS, "x", "default")
    assert found["status"]["completedIndexes"] == "0-3" and found["status"]["succeeded"] == 4
    assert len(world.pods()) == 4


async def test_a_finished_job_goes_after_its_ttl(world: Any) -> None:
    world.kubelet.script = lambda pod: {"phase": "Succeeded"}
    await world.client.create(b.JOBS, job(ttlSecondsAfterFinished=100))
    await world.settle()
    await world.clock.advance(90)
    assert world.client.all(b.JOBS)
    await world.clock.advance(20)
    await world.settle()
    assert world.client.all(b.JOBS) == [] and world.pods() == []


async def test_a_cron_job_makes_a_job_every_minute_and_keeps_a_history(world: Any) -> None:
    world.kubelet.script = lambda pod: {"phase": "Succeeded"}
    template = {"spec": job()["spec"]}
    for field in ("selector",):
        del template["spec"][field]
    template["spec"] = {**template["spec"], "selector": {"matchLabels": {"app": "x"}}}
    spec = {"schedule": "*/1 * * * *", "jobTemplate": template, "successfulJobsHistoryLimit": 2}
    cron = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "c", "namespace": "default"},
        "spec": spec,
    }
    await world.client.create(b.CRON_JOBS, cron)
    for _ in range(5):
        await world.clock.advance(61)
        await world.settle()
    made = [n for verb, plural, _, n in world.client.actions if (verb, plural) == ("create", "jobs")]
    assert len(made) == 5 and len(set(made)) == 5
    assert len(world.client.all(b.JOBS)) == 2
    status = (await world.client.get(b.CRON_JOBS, "c", "default"))["status"]
    assert status["lastScheduleTime"] == "2026-01-01T00:05:00Z" and status["lastSuccessfulTime"]


async def test_a_claim_is_bound_to_the_smallest_volume_that_suits(world: Any) -> None:
    for name, size in (("big", "10Gi"), ("small", "2Gi"), ("tiny", "1Gi")):
        spec = {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}
        await world.client.create(b.PERSISTENT_VOLUMES, {"metadata": {"name": name}, "spec": spec})
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}, "storageClassName": ""}
    await world.client.create(
        b.PERSISTENT_VOLUME_CLAIMS, {"metadata": {"name": "c", "namespace": "default"}, "spec": spec}
    )
    await world.settle()
    claim = await world.client.get(b.PERSISTENT_VOLUME_CLAIMS, "c", "default")
    assert claim["spec"]["volumeName"] == "small" and claim["status"]["phase"] == "Bound"
    assert claim["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
    phases = {v["metadata"]["name"]: v["status"]["phase"] for v in world.client.all(b.PERSISTENT_VOLUMES)}
    assert phases == {"big": "Available", "small": "Bound", "tiny": "Available"}


async def test_the_standard_class_makes_a_volume_once_a_node_is_selected_and_takes_it_back(world: Any) -> None:
    await world.settle()
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
        "storageClassName": "standard",
    }
    await world.client.create(
        b.PERSISTENT_VOLUME_CLAIMS, {"metadata": {"name": "c", "namespace": "default"}, "spec": spec}
    )
    await world.settle()
    assert world.client.all(b.PERSISTENT_VOLUMES) == []
    selected = {"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "node-1"}}}
    await world.client.patch(b.PERSISTENT_VOLUME_CLAIMS, "c", selected, "default")
    await world.settle()
    [volume] = world.client.all(b.PERSISTENT_VOLUMES)
    assert volume["spec"]["hostPath"]["path"].startswith("/nonexistent/volumes/pvc-")
    claim = await world.client.get(b.PERSISTENT_VOLUME_CLAIMS, "c", "default")
    assert claim["status"]["phase"] == "Bound" and volume["status"]["phase"] == "Bound"
    await world.client.delete(b.PERSISTENT_VOLUME_CLAIMS, "c", "default")
    for _ in range(10):
        await world.settle()
        if not world.client.all(b.PERSISTENT_VOLUMES):
            break
        await asyncio.sleep(0.02)  # the directory is removed in a thread
    assert world.client.all(b.PERSISTENT_VOLUME_CLAIMS) == [] and world.client.all(b.PERSISTENT_VOLUMES) == []


async def test_a_budget_counts_what_may_be_disrupted(world: Any) -> None:
    await world.client.create(b.DEPLOYMENTS, workload("Deployment", replicas=4))
    spec = {"selector": {"matchLabels": {"app": "x"}}, "maxUnavailable": "25%"}
    await world.client.create(
        b.POD_DISRUPTION_BUDGETS, {"metadata": {"name": "b", "namespace": "default"}, "spec": spec}
    )
    await world.settle()
    status = (await world.client.get(b.POD_DISRUPTION_BUDGETS, "b", "default"))["status"]
    assert (status["currentHealthy"], status["desiredHealthy"], status["disruptionsAllowed"]) == (4, 3, 1)


async def test_a_quota_tells_what_is_used(world: Any) -> None:
    pods = workload("Deployment", replicas=2)
    container = {"name": "c", "image": "a", "resources": {"requests": {"cpu": "250m"}}}
    pods["spec"]["template"] = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [container]}}
    await world.client.create(b.DEPLOYMENTS, pods)
    hard = {"pods": "10", "requests.cpu": "2", "count/deployments.apps": "3"}
    await world.client.create(
        b.RESOURCE_QUOTAS, {"metadata": {"name": "q", "namespace": "default"}, "spec": {"hard": hard}}
    )
    await world.settle()
    status = (await world.client.get(b.RESOURCE_QUOTAS, "q", "default"))["status"]
    assert status["used"] == {"pods": "2", "requests.cpu": "500m", "count/deployments.apps": "1"}


async def test_an_autoscaler_follows_the_load_up_and_after_five_minutes_down(world: Any) -> None:
    subject = workload("Deployment", replicas=1)
    container = {"name": "c", "image": "a", "resources": {"requests": {"cpu": "100m"}}}
    subject["spec"]["template"] = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [container]}}
    await world.client.create(b.DEPLOYMENTS, subject)
    metric = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
    }
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"}
    spec = {"scaleTargetRef": reference, "minReplicas": 1, "maxReplicas": 3, "metrics": [metric]}
    metadata = {"name": "x", "namespace": "default"}
    await world.client.create(b.HORIZONTAL_POD_AUTOSCALERS, {"metadata": metadata, "spec": spec})

    async def load(cpu: str, periods: int) -> int:
        for _ in range(periods):
            await world.settle()
            for pod in world.pods(app="x"):
                usage = [{"name": "c", "usage": {"cpu": cpu}}]
                metrics = {"metadata": {"name": pod["metadata"]["name"], "namespace": "default"}, "containers": usage}
                world.client.seed(b.POD_METRICS, metrics)
            await world.clock.advance(15)
        await world.settle()
        found = await world.client.get(b.HORIZONTAL_POD_AUTOSCALERS, "x", "default")
        assert found["status"]["desiredReplicas"] == len(world.pods(app="x"))
        return len(world.pods(app="x"))

    assert await load("400m", 4) == 3
    assert await load("1m", 15) == 3
    assert await load("1m", 10) == 1

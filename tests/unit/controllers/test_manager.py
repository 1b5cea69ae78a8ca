"""The controllers together, over an in-memory API and a fake kubelet."""

from typing import Any

from wherry.schema import builtin as b


def deployment(replicas: int = 3, image: str = "a:1", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": image}]},
            },
            **spec,
        },
    }


async def change(world: Any, patch: dict[str, Any]) -> None:
    await world.client.patch(b.DEPLOYMENTS, "web", patch, "default")


async def test_a_deployment_gets_its_pods_and_reports_them(world: Any) -> None:
    await world.client.create(b.DEPLOYMENTS, deployment())
    await world.settle()
    assert len(world.pods(app="web")) == 3
    status = (await world.client.get(b.DEPLOYMENTS, "web", "default"))["status"]
    assert {
        k: status[k] for k in ("replicas", "readyReplicas", "availableReplicas", "updatedReplicas")
    } == dict.fromkeys(("replicas", "readyReplicas", "availableReplicas", "updatedReplicas"), 3)
    reasons = {c["type"]: c["reason"] for c in status["conditions"]}
    assert reasons == {"Available": "MinimumReplicasAvailable", "Progressing": "NewReplicaSetAvailable"}
    messages = [e["message"] for e in world.client.all(b.EVENTS) if e["reason"] == "ScalingReplicaSet"]
    [replica_set] = world.client.all(b.REPLICA_SETS)
    assert messages == [f"Scaled up replica set {replica_set['metadata']['name']} from 0 to 3"]


async def test_scaling_replacing_and_rolling(world: Any) -> None:
    await world.client.create(b.DEPLOYMENTS, deployment())
    await world.settle()
    victim = world.pods(app="web")[0]["metadata"]["name"]
    await world.client.delete(b.PODS, victim, "default")
    await world.settle()
    assert len(world.pods(app="web")) == 3
    await change(world, {"spec": {"replicas": 5}})
    await world.settle()
    assert len(world.pods(app="web")) == 5
    await change(world, {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "a:2"}]}}}})
    await world.settle()
    assert {p["spec"]["containers"][0]["image"] for p in world.pods(app="web")} == {"a:2"}
    assert len(world.pods(app="web")) == 5
    found = await world.client.get(b.DEPLOYMENTS, "web", "default")
    assert found["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"
    assert sorted(rs["spec"]["replicas"] for rs in world.client.all(b.REPLICA_SETS)) == [0, 5]


async def test_deleting_a_deployment_takes_everything_along(world: Any) -> None:
    await world.client.create(b.DEPLOYMENTS, deployment())
    await world.settle()
    await world.client.delete(b.DEPLOYMENTS, "web", "default")
    await world.settle()
    assert world.client.all(b.REPLICA_SETS) == [] and world.pods() == []


async def test_foreground_deletion_takes_the_owner_last(world: Any) -> None:
    await world.client.create(b.DEPLOYMENTS, deployment())
    await world.settle()
    await world.client.delete(b.DEPLOYMENTS, "web", "default", propagation_policy="Foreground")
    await world.settle()
    gone = [kind for verb, kind, _, _ in world.client.actions if verb == "delete" and kind != "events"]
    assert world.client.all(b.DEPLOYMENTS) == [] and world.pods() == []
    assert gone[-1] == "deployments"


async def test_orphaned_pods_stay_and_are_adopted(world: Any) -> None:
    await world.client.create(b.DEPLOYMENTS, deployment())
    await world.settle()
    names = {p["metadata"]["name"] for p in world.pods(app="web")}
    await world.client.delete(b.DEPLOYMENTS, "web", "default", propagation_policy="Orphan")
    await world.settle()
    [replica_set] = world.client.all(b.REPLICA_SETS)
    assert "ownerReferences" not in replica_set["metadata"]
    await world.client.create(b.DEPLOYMENTS, deployment())
    await world.settle()
    assert {p["metadata"]["name"] for p in world.pods(app="web")} == names
    assert len(world.client.all(b.REPLICA_SETS)) == 1


async def test_a_service_gets_endpoints_and_a_slice(world: Any) -> None:
    await world.client.create(b.DEPLOYMENTS, deployment())
    spec = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080, "protocol": "TCP"}]}
    service = {"metadata": {"name": "web", "namespace": "default"}, "spec": {"clusterIP": "10.96.0.9", **spec}}
    await world.client.create(b.SERVICES, service)
    await world.settle()
    [one] = world.client.all(b.ENDPOINT_SLICES)
    assert len(one["endpoints"]) == 3 and all(e["conditions"]["ready"] for e in one["endpoints"])
    assert one["ports"] == [{"name": "", "port": 8080, "protocol": "TCP"}]
    [endpoints] = world.client.all(b.ENDPOINTS)
    assert len(endpoints["subsets"][0]["addresses"]) == 3
    await world.client.delete(b.SERVICES, "web", "default")
    await world.settle()
    assert world.client.all(b.ENDPOINT_SLICES) == [] and world.client.all(b.ENDPOINTS) == []


async def test_a_namespace_gets_its_account_and_certificate_and_goes_with_its_contents(world: Any) -> None:
    await world.client.create(b.NAMESPACES, {"metadata": {"name": "dev"}, "spec": {"finalizers": ["kubernetes"]}})
    await world.settle()
    assert (await world.client.get(b.CONFIG_MAPS, "kube-root-ca.crt", "dev"))["data"] == {"ca.crt": "PEM"}
    await world.client.get(b.SERVICE_ACCOUNTS, "default", "dev")
    web = deployment()
    web["metadata"]["namespace"] = "dev"
    await world.client.create(b.DEPLOYMENTS, web)
    await world.settle()
    await world.client.delete(b.NAMESPACES, "dev")
    for _ in range(20):
        await world.settle()
        await world.clock.advance(5)
    assert [n["metadata"]["name"] for n in world.client.all(b.NAMESPACES)] == ["default"]
    assert world.pods() == []

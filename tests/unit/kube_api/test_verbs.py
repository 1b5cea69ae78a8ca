"""The verbs, through the in-process client."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from wherry.client.api import PatchType, WatchEvent
from wherry.schema import builtin, errors

if TYPE_CHECKING:
    from conftest import World

Object = dict[str, Any]


def config_map(name: str, **data: str) -> Object:
    return {"metadata": {"name": name}, "data": data}


def pod(name: str, **more: Any) -> Object:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}], **more}}


async def test_create_fills_in_what_the_server_owns(world: World) -> None:
    made = await world.client.create(builtin.CONFIG_MAPS, config_map("a", k="v"), "default")
    metadata = made["metadata"]
    assert (made["kind"], made["apiVersion"], metadata["namespace"]) == ("ConfigMap", "v1", "default")
    assert metadata["creationTimestamp"] == "2023-11-14T22:13:20Z"
    assert len(metadata["uid"]) == 36
    assert await world.client.get(builtin.CONFIG_MAPS, "a", "default") == made


async def test_create_twice_is_refused(world: World) -> None:
    await world.client.create(builtin.CONFIG_MAPS, config_map("a"), "default")
    with pytest.raises(errors.AlreadyExists, match=r'^configmaps "a" already exists$'):
        await world.client.create(builtin.CONFIG_MAPS, config_map("a"), "default")


async def test_create_in_a_missing_namespace_is_refused(world: World) -> None:
    with pytest.raises(errors.NotFound, match=r'^namespaces "nowhere" not found$'):
        await world.client.create(builtin.CONFIG_MAPS, config_map("a"), "nowhere")


async def test_generated_names_differ(world: World) -> None:
    made = [
        await world.client.create(builtin.CONFIG_MAPS, {"metadata": {"generateName": "x-"}}, "default")
        for _ in range(5)
    ]
    names = {one["metadata"]["name"] for one in made}
    assert len(names) == 5 and all(name.startswith("x-") and len(name) == 7 for name in names)


async def test_update_with_an_old_resource_version_conflicts(world: World) -> None:
    made = await world.client.create(builtin.CONFIG_MAPS, config_map("a", k="1"), "default")
    await world.client.update(builtin.CONFIG_MAPS, {**made, "data": {"k": "2"}})
    with pytest.raises(errors.Conflict, match="the object has been modified"):
        await world.client.update(builtin.CONFIG_MAPS, {**made, "data": {"k": "3"}})


async def test_an_update_that_changes_nothing_writes_nothing(world: World) -> None:
    made = await world.client.create(builtin.CONFIG_MAPS, config_map("a", k="1"), "default")
    assert await world.client.update(builtin.CONFIG_MAPS, made) == made


async def test_status_and_spec_are_written_apart(world: World) -> None:
    made = await world.client.create(builtin.PODS, pod("p"), "default")
    assert made["status"]["phase"] == "Pending"
    made["status"]["phase"] = "Running"
    assert (await world.client.update(builtin.PODS, made))["status"]["phase"] == "Pending"
    made["metadata"].pop("resourceVersion")
    made["spec"] = {}
    updated = await world.client.update(builtin.PODS, made, subresource="status")
    assert updated["status"]["phase"] == "Running"
    assert updated["spec"]["containers"][0]["image"] == "i"


async def test_generation_counts_changes_of_the_spec(world: World) -> None:
    deployment = {
        "metadata": {"name": "d"},
        "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": pod("x")["spec"]},
        },
    }
    made = await world.client.create(builtin.DEPLOYMENTS, deployment, "default")
    assert (made["metadata"]["generation"], made["spec"]["replicas"]) == (1, 1)
    patched = await world.client.patch(builtin.DEPLOYMENTS, "d", {"metadata": {"labels": {"x": "y"}}}, "default")
    assert patched["metadata"]["generation"] == 1
    patched = await world.client.patch(builtin.DEPLOYMENTS, "d", {"spec": {"replicas": 3}}, "default")
    assert patched["metadata"]["generation"] == 2
    status = {"status": {"observedGeneration": 2}}
    patched = await world.client.patch(builtin.DEPLOYMENTS, "d", status, "default", subresource="status")
    assert patched["metadata"]["generation"] == 2


async def test_all_kinds_of_patch(world: World) -> None:
    await world.client.create(builtin.PODS, pod("p"), "default")
    patch = world.client.patch
    made = await patch(builtin.PODS, "p", {"metadata": {"labels": {"a": "1", "b": "2"}}}, "default")
    assert made["metadata"]["labels"] == {"a": "1", "b": "2"}
    operations = [{"op": "remove", "path": "/metadata/labels/a"}]
    made = await patch(builtin.PODS, "p", operations, "default", type=PatchType.JSON)
    assert made["metadata"]["labels"] == {"b": "2"}
    image = {"spec": {"containers": [{"name": "c", "image": "new"}]}}
    made = await patch(builtin.PODS, "p", image, "default", type=PatchType.STRATEGIC)
    assert [one["image"] for one in made["spec"]["containers"]] == ["new"]
    config = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"c": "3"}}}
    made = await patch(builtin.PODS, "p", config, "default", type=PatchType.APPLY, field_manager="me")
    assert made["metadata"]["labels"] == {"b": "2", "c": "3"}
    with pytest.raises(errors.NotFound):
        await patch(builtin.PODS, "none", {}, "default")


async def test_apply_creates(world: World) -> None:
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}}
    made = await world.client.patch(
        builtin.CONFIG_MAPS, "a", config, "default", type=PatchType.APPLY, field_manager="me"
    )
    assert made["data"] == {"k": "v"}
    assert [(one["manager"], one["operation"]) for one in made["metadata"]["managedFields"]] == [("me", "Apply")]


async def test_concurrent_patches_lose_nothing(world: World) -> None:
    await world.client.create(builtin.CONFIG_MAPS, config_map("a"), "default")
    await asyncio.gather(
        *(world.client.patch(builtin.CONFIG_MAPS, "a", {"data": {f"k{index}": "v"}}, "default") for index in range(50))
    )
    assert len((await world.client.get(builtin.CONFIG_MAPS, "a", "default"))["data"]) == 50


async def test_delete_checks_its_preconditions(world: World) -> None:
    made = await world.client.create(builtin.CONFIG_MAPS, config_map("a"), "default")
    with pytest.raises(errors.Conflict, match="Precondition failed: UID in precondition: other"):
        await world.client.delete(builtin.CONFIG_MAPS, "a", "default", uid="other")
    await world.client.delete(builtin.CONFIG_MAPS, "a", "default", uid=made["metadata"]["uid"])
    with pytest.raises(errors.NotFound, match=r'^configmaps "a" not found$'):
        await world.client.get(builtin.CONFIG_MAPS, "a", "default")


async def test_finalizers_hold_an_object_back(world: World) -> None:
    obj = config_map("a")
    obj["metadata"]["finalizers"] = ["example.com/hold"]
    await world.client.create(builtin.CONFIG_MAPS, obj, "default")
    deleted = await world.client.delete(builtin.CONFIG_MAPS, "a", "default")
    assert deleted["metadata"]["deletionTimestamp"] == "2023-11-14T22:13:20Z"
    await world.client.patch(builtin.CONFIG_MAPS, "a", {"metadata": {"finalizers": None}}, "default")
    with pytest.raises(errors.NotFound):
        await world.client.get(builtin.CONFIG_MAPS, "a", "default")


async def test_a_bound_pod_is_deleted_with_grace(world: World) -> None:
    await world.client.create(builtin.PODS, pod("p"), "default")
    target = {"target": {"kind": "Node", "name": "n1"}}
    await world.client.create(builtin.PODS, target, "default", name="p", subresource="binding")
    with pytest.raises(errors.Conflict, match=r'pod p is already assigned to node "n1"'):
        await world.client.create(builtin.PODS, target, "default", name="p", subresource="binding")
    deleted = await world.client.delete(builtin.PODS, "p", "default")
    assert deleted["metadata"]["deletionGracePeriodSeconds"] == 30
    assert deleted["metadata"]["deletionTimestamp"] == "2023-11-14T22:13:50Z"
    shorter = await world.client.delete(builtin.PODS, "p", "default", grace_period_seconds=5)
    assert shorter["metadata"]["deletionTimestamp"] == "2023-11-14T22:13:25Z"
    await world.client.delete(builtin.PODS, "p", "default", grace_period_seconds=0)
    with pytest.raises(errors.NotFound):
        await world.client.get(builtin.PODS, "p", "default")


async def test_a_namespace_ends_in_two_steps(world: World) -> None:
    await world.client.create(builtin.NAMESPACES, {"metadata": {"name": "n"}})
    deleted = await world.client.delete(builtin.NAMESPACES, "n")
    assert deleted["status"]["phase"] == "Terminating"
    with pytest.raises(errors.Forbidden, match="because it is being terminated"):
        await world.client.create(builtin.CONFIG_MAPS, config_map("a"), "n")
    await world.client.update(builtin.NAMESPACES, {**deleted, "spec": {"finalizers": []}}, subresource="finalize")
    with pytest.raises(errors.NotFound):
        await world.client.get(builtin.NAMESPACES, "n")


async def test_list_with_selectors_and_pages(world: World) -> None:
    for index in range(5):
        obj = config_map(f"c{index}")
        obj["metadata"]["labels"] = {"even": str(index % 2 == 0).lower()}
        await world.client.create(builtin.CONFIG_MAPS, obj, "default")
    client = world.client
    even = await client.list(builtin.CONFIG_MAPS, "default", label_selector="even=true")
    assert [one["metadata"]["name"] for one in even.items] == ["c0", "c2", "c4"]
    one = await client.list(builtin.CONFIG_MAPS, "default", field_selector="metadata.name=c3")
    assert [item["metadata"]["name"] for item in one.items] == ["c3"]
    first = await client.list(builtin.CONFIG_MAPS, "default", limit=2)
    await client.delete(builtin.CONFIG_MAPS, "c3", "default")
    rest = await client.list(builtin.CONFIG_MAPS, "default", limit=9, continue_token=first.continue_token)
    assert [item["metadata"]["name"] for item in rest.items] == ["c2", "c3", "c4"]
    assert rest.resource_version == first.resource_version and not rest.continue_token
    with pytest.raises(errors.BadRequest, match=r"field label not supported|not a known field selector"):
        await client.list(builtin.CONFIG_MAPS, "default", field_selector="data.k=v")


async def test_watch_sees_objects_come_and_go(world: World) -> None:
    seen: list[WatchEvent] = []
    start = (await world.client.list(builtin.CONFIG_MAPS, "default")).resource_version
    async with world.client.watch(
        builtin.CONFIG_MAPS, "default", resource_version=start, label_selector="a=1"
    ) as events:
        await world.client.create(builtin.CONFIG_MAPS, config_map("x"), "default")
        for labels in ({"a": "1"}, {"b": "1"}, {"a": "2"}):
            await world.client.patch(builtin.CONFIG_MAPS, "x", {"metadata": {"labels": labels}}, "default")
        await world.client.delete(builtin.CONFIG_MAPS, "x", "default")
        async for event in events:
            seen.append(event)
            if len(seen) == 3:
                break
    assert [event.type for event in seen] == ["ADDED", "MODIFIED", "DELETED"]
    versions = [int(event.object["metadata"]["resourceVersion"]) for event in seen]
    assert versions == sorted(set(versions))


async def test_service_gets_address_and_node_port(world: World) -> None:
    service = {"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [{"port": 80}], "selector": {"a": "b"}}}
    made = (await world.client.create(builtin.SERVICES, service, "default"))["spec"]
    assert made["clusterIP"].startswith("10.96.0.") and made["clusterIPs"] == [made["clusterIP"]]
    assert 30000 <= made["ports"][0]["nodePort"] <= 30100
    service["metadata"]["name"] = "t"
    service["spec"]["clusterIP"] = made["clusterIP"]
    with pytest.raises(errors.Invalid, match="provided IP is already allocated"):
        await world.client.create(builtin.SERVICES, service, "default")
    await world.client.delete(builtin.SERVICES, "s", "default")
    await world.client.create(builtin.SERVICES, service, "default")


async def test_pods_get_account_token_priority_and_tolerations(world: World) -> None:
    spec = (await world.client.create(builtin.PODS, pod("p"), "default"))["spec"]
    assert spec["serviceAccountName"] == "default"
    assert spec["containers"][0]["volumeMounts"][0]["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount"
    assert spec["priority"] == 0
    assert [one["tolerationSeconds"] for one in spec["tolerations"]] == [300, 300]
    with pytest.raises(errors.Forbidden, match=r'serviceaccount "none" not found'):
        await world.client.create(builtin.PODS, pod("q", serviceAccountName="none"), "default")


async def test_two_views_of_one_autoscaler(world: World) -> None:
    obj = {
        "metadata": {"name": "h"},
        "spec": {
            "maxReplicas": 3,
            "targetCPUUtilizationPercentage": 70,
            "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"},
        },
    }
    await world.client.create(builtin.HORIZONTAL_POD_AUTOSCALERS_V1, obj, "default")
    newer = await world.client.get(builtin.HORIZONTAL_POD_AUTOSCALERS, "h", "default")
    assert newer["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 70
    older = await world.client.get(builtin.HORIZONTAL_POD_AUTOSCALERS_V1, "h", "default")
    assert (older["apiVersion"], older["spec"]["targetCPUUtilizationPercentage"]) == ("autoscaling/v1", 70)

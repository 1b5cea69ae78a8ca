"""The `resize` subresource of pods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from wherry.client.api import PatchType
from wherry.schema import builtin, errors

if TYPE_CHECKING:
    from conftest import World

Object = dict[str, Any]

BURSTABLE = {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "200m", "memory": "128Mi"}}


async def make(world: World, **resources: Any) -> Object:
    """A pod with a main container `c`, a sidecar and an ordinary init container."""
    spec = {
        "containers": [{"name": "c", "image": "i", "resources": resources or BURSTABLE}],
        "initContainers": [
            {"name": "side", "image": "i", "restartPolicy": "Always", "resources": {"requests": {"cpu": "10m"}}},
            {"name": "init", "image": "i", "resources": {"requests": {"cpu": "10m"}}},
        ],
    }
    return await world.client.create(builtin.PODS, {"metadata": {"name": "p"}, "spec": spec}, "default")


async def resize(world: World, *containers: Object, init: tuple[Object, ...] = ()) -> Object:
    spec: Object = {"containers": list(containers), "initContainers": list(init)}
    return await world.client.patch(
        builtin.PODS, "p", {"spec": spec}, "default", type=PatchType.STRATEGIC, subresource="resize"
    )


async def test_cpu_and_memory_of_main_containers_and_sidecars_change(world: World) -> None:
    before = await make(world)
    await resize(world, {"name": "c", "resources": {"requests": {"cpu": "150m"}, "limits": {"memory": "256Mi"}}})
    await resize(world, init=({"name": "side", "resources": {"requests": {"cpu": "20m"}}},))
    after = await world.client.get(builtin.PODS, "p", "default")
    assert after["spec"]["containers"][0]["resources"] == {
        "requests": {"cpu": "150m", "memory": "64Mi"},
        "limits": {"cpu": "200m", "memory": "256Mi"},
    }
    assert after["spec"]["initContainers"][0]["resources"] == {"requests": {"cpu": "20m"}}
    assert after["metadata"]["generation"] == before["metadata"]["generation"] + 2
    assert after["status"] == before["status"]


async def test_nothing_else_changes_on_the_way(world: World) -> None:
    made = await make(world)
    made["metadata"]["labels"] = {"a": "b"}
    made["spec"]["containers"][0]["image"] = "other"
    made["spec"]["nodeName"] = "n"
    made["status"]["phase"] = "Failed"
    made["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "200m"
    after = await world.client.update(builtin.PODS, made, subresource="resize")
    assert "labels" not in after["metadata"] and "nodeName" not in after["spec"]
    assert (after["status"]["phase"], after["spec"]["containers"][0]["image"]) == ("Pending", "i")
    assert after["spec"]["containers"][0]["resources"]["requests"]["cpu"] == "200m"


@pytest.mark.parametrize(
    ("containers", "init", "problem"),
    [
        (
            [{"name": "c", "resources": {"requests": {"cpu": "300m"}}}],
            [],
            'spec.containers[0].resources.requests: Invalid value: "300m": must be less than or equal to cpu limit of '
            "200m",
        ),
        (
            [{"name": "c", "resources": {"requests": {"memory": None}}}],
            [],
            None,  # defaults give it back from the limit, and this is what the real server does as well
        ),
        (
            [{"name": "c", "resources": {"limits": {"memory": None}}}],
            [],
            "spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed",
        ),
        (
            [{"name": "c", "resources": {"limits": {"ephemeral-storage": "1Gi"}}}],
            [],
            "spec: Forbidden: only cpu and memory resources are mutable",
        ),
        (
            [{"name": "c", "resizePolicy": [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]}],
            [],
            "spec: Forbidden: only cpu and memory resources are mutable",
        ),
        (
            [{"name": "d", "image": "i"}],
            [],
            "spec.containers: Forbidden: containers may not be added or removed on resize",
        ),
        (
            [],
            [{"name": "init", "resources": {"requests": {"cpu": "20m"}}}],
            "spec.initContainers[1].resources: Forbidden: resources for non-sidecar init containers are immutable",
        ),
        (
            [],
            [{"name": "side", "resources": {"requests": {"cpu": None}}}],
            "spec.initContainers[0].resources.requests: Forbidden: resource requests cannot be removed",
        ),
    ],
)
async def test_what_a_resize_may_not_do(
    world: World, containers: list[Object], init: list[Object], problem: str | None
) -> None:
    await make(world)
    if problem is None:
        await resize(world, *containers, init=tuple(init))
        return
    with pytest.raises(errors.ApiError) as refused:
        await resize(world, *containers, init=tuple(init))
    assert problem in str(refused.value)


async def test_containers_keep_their_names_and_order(world: World) -> None:
    two = [{"name": name, "image": "i", "resources": BURSTABLE} for name in ("a", "b")]
    made = await world.client.create(builtin.PODS, {"metadata": {"name": "p"}, "spec": {"containers": two}}, "default")
    made["spec"]["containers"].reverse()
    with pytest.raises(
        errors.Invalid, match=r"spec.containers\[0\].name: Forbidden: containers may not be renamed or reordered"
    ):
        await world.client.update(builtin.PODS, made, subresource="resize")


async def test_the_quality_of_service_stays(world: World) -> None:
    spec = {"containers": [{"name": "c", "image": "i"}]}
    await world.client.create(builtin.PODS, {"metadata": {"name": "p"}, "spec": spec}, "default")
    with pytest.raises(
        errors.Invalid,
        match='spec: Invalid value: "Burstable": Pod QOS Class may not change as a result of resizing',
    ):
        await resize(world, {"name": "c", "resources": {"requests": {"memory": "40Mi"}}})


async def test_a_resize_counts_in_the_quota(world: World) -> None:
    quota = {"metadata": {"name": "q"}, "spec": {"hard": {"limits.cpu": "250m"}}}
    await world.client.create(builtin.RESOURCE_QUOTAS, quota, "default")
    await make(world)
    with pytest.raises(
        errors.Forbidden,
        match=r"exceeded quota: q, requested: limits\.cpu=100m, used: limits\.cpu=200m, limited: limits\.cpu=250m",
    ):
        await resize(world, {"name": "c", "resources": {"limits": {"cpu": "300m"}}})

"""Whatever a user does in whatever order, the world ends as declared, and stale caches never make a pod too many."""

import asyncio
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wherry.schema import builtin as b

from .conftest import World

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("scale"), st.integers(0, 6)),
        st.tuples(st.just("image"), st.integers(1, 3)),
        st.tuples(st.just("kill"), st.integers(0, 5)),
        st.tuples(st.just("lag"), st.booleans()),
        st.tuples(st.just("run"), st.integers(1, 40)),
    ),
    max_size=10,
)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(STEPS)
def test_a_deployment_converges(steps: list[tuple[str, Any]]) -> None:
    asyncio.run(_play(steps))


async def _play(steps: list[tuple[str, Any]]) -> None:
    world = World()
    world.client.seed(b.NAMESPACES, {"metadata": {"name": "default"}, "spec": {"finalizers": ["kubernetes"]}})
    world.add_node("node-1")
    task = asyncio.create_task(world.manager.run())
    replicas, image = 2, 1
    spec = {
        "replicas": replicas,
        "selector": {"matchLabels": {"app": "x"}},
        "template": {
            "metadata": {"labels": {"app": "x"}},
            "spec": {"containers": [{"name": "c", "image": f"a:{image}"}]},
        },
    }
    await world.client.create(
        b.DEPLOYMENTS,
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "x", "namespace": "default"},
            "spec": spec,
        },
    )
    for verb, value in steps:
        if verb == "scale":
            replicas = value
            await world.client.patch(b.DEPLOYMENTS, "x", {"spec": {"replicas": value}}, "default")
        elif verb == "image":
            image = value
            container = {"name": "c", "image": f"a:{value}"}
            patch = {"spec": {"template": {"spec": {"containers": [container]}}}}
            await world.client.patch(b.DEPLOYMENTS, "x", patch, "default")
        elif verb == "kill":
            found = world.pods()
            if found:
                await world.client.delete(b.PODS, found[value % len(found)]["metadata"]["name"], "default")
        elif verb == "lag":
            if value:
                world.client.watch_open.clear()
            else:
                world.client.watch_open.set()
        else:
            await world.clock.settle(value)
            await world.kubelet.step()
        # 25 % surge rounds up to at most two; more living pods than that would be double creation.
        for replica_set in world.client.all(b.REPLICA_SETS):
            uid = replica_set["metadata"]["uid"]
            owned = [
                pod
                for pod in world.pods()
                if any(one["uid"] == uid for one in pod["metadata"].get("ownerReferences", ()))
                and "deletionTimestamp" not in pod["metadata"]
            ]
            assert len(owned) <= 8
    world.client.watch_open.set()
    for _ in range(3):
        await world.settle()
        await world.clock.advance(30)
    await world.settle()
    living = [pod for pod in world.pods() if "deletionTimestamp" not in pod["metadata"]]
    assert len(living) == replicas
    assert {pod["spec"]["containers"][0]["image"] for pod in living} <= {f"a:{image}"}
    status = (await world.client.get(b.DEPLOYMENTS, "x", "default"))["status"]
    assert status.get("availableReplicas", 0) == replicas
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await world.informers.stop()

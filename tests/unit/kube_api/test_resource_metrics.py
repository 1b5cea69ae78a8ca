from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any, cast

import pytest

from wherry.kube_api import resource_metrics
from wherry.kube_api.call import MASTER, Call
from wherry.kube_api.resource_metrics import History, ResourceMetrics, Sample, parse
from wherry.schema import builtin, errors

if TYPE_CHECKING:
    from conftest import World

TEXT = """\
# HELP node_cpu_usage_seconds_total Cumulative cpu time consumed by the node in core-seconds
# TYPE node_cpu_usage_seconds_total counter
node_cpu_usage_seconds_total 12.5 1700000000000
node_memory_working_set_bytes 2048 1700000000000
container_cpu_usage_seconds_total{container="c",namespace="n",pod="p"} 1.25 1700000001000
container_memory_working_set_bytes{container="c",namespace="n",pod="p"} 4096 1700000001000
container_cpu_usage_seconds_total{container="half",namespace="n",pod="p"} 1 1700000001000
container_start_time_seconds{container="c",namespace="n",pod="p"} 1700000000
pod_cpu_usage_seconds_total{namespace="n",pod="p"} 9 1700000001000
resource_scrape_error 0
"""


def test_samples_of_the_node_and_of_containers_that_are_whole() -> None:
    assert dict(parse(TEXT, "node-1")) == {
        ("", "node-1", ""): Sample(1700000000.0, 12.5, 2048.0),
        ("n", "p", "c"): Sample(1700000001.0, 1.25, 4096.0),
    }


def test_a_rate_needs_two_samples_and_a_restart_begins_anew() -> None:
    history = History()
    history.add(Sample(10, 1.0, 1024))
    assert history.usage() is None
    history.add(Sample(10, 1.0, 1024))
    assert history.usage() is None, "the same reading twice"
    history.add(Sample(20, 3.0, 2048))
    assert history.usage() == (20, 10, {"cpu": "200000000n", "memory": "2Ki"})
    history.add(Sample(30, 0.5, 2048))
    assert history.usage() is None, "the counter began anew"
    history.add(Sample(40, 0.5, 2048))
    assert history.usage() == (40, 10, {"cpu": "0", "memory": "2Ki"})


async def test_a_pod_that_has_just_come_up_is_shown_at_the_first_question(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource_metrics, "FIRST_SECONDS", 0.01)
    metrics = ResourceMetrics(world.api, cast(Any, None))
    clock = itertools.count(1_700_000_000_000, 1000)

    async def read(_node: Any) -> str:
        at = next(clock)
        lines = [f"node_cpu_usage_seconds_total 1 {at}", f"node_memory_working_set_bytes 1 {at}"]
        for entry in world.api.cache_of(builtin.PODS).entries("default"):
            labels = f'{{container="c",namespace="default",pod="{entry.name}"}}'
            lines.append(f"container_cpu_usage_seconds_total{labels} 1 {at}")
            lines.append(f"container_memory_working_set_bytes{labels} 1024 {at}")
        return "\n".join(lines)

    monkeypatch.setattr(metrics, "_read", read)
    await world.client.create(builtin.NODES, {"metadata": {"name": "n"}})

    async def names() -> list[str]:
        call = Call(MASTER, "list", builtin.POD_METRICS, "default")
        return [one["metadata"]["name"] for one in (await metrics.compute(call))["items"]]

    async with asyncio.timeout(30):
        for expected in (["a"], ["a", "b"]):
            spec = {"containers": [{"name": "c", "image": "i"}], "nodeName": "n"}
            made = await world.client.create(
                builtin.PODS, {"metadata": {"name": expected[-1]}, "spec": spec}, "default"
            )
            await world.client.update(builtin.PODS, {**made, "status": {"phase": "Running"}}, subresource="status")
            assert await names() == expected
        with pytest.raises(errors.BadRequest):
            await metrics.compute(Call(MASTER, "list", builtin.POD_METRICS, "default", label_selector="(("))
    reader = metrics._state.reader
    assert reader is not None
    reader.cancel()

"""What simulated nodes and pods look like, and how rates are counted."""

import asyncio
import ipaddress

import pytest

from wherry.cli import simulate, simulated
from wherry.cli.process import innermost


def test_a_simulated_node_says_so_and_keeps_others_away() -> None:
    node = simulated.simulated_node(7, zones=3)
    assert node["metadata"]["name"] == "simulated-00007"
    assert node["metadata"]["labels"]["topology.kubernetes.io/zone"] == "zone-1"
    assert [taint["key"] for taint in node["spec"]["taints"]] == ["wherry.io/simulated", "wherry.io/simulated-closed"]


def test_every_node_has_a_range_of_its_own() -> None:
    ranges = [ipaddress.ip_network(simulated.pod_range(number)) for number in (0, 1, 1023, 1024, 19_999)]
    assert all(one.subnet_of(ipaddress.ip_network("100.64.0.0/10")) for one in ranges)  # type: ignore[arg-type]
    assert len(set(ranges)) == len(ranges)


@pytest.mark.parametrize("shape", ["plain", "spread", "anti-affinity"])
def test_pods_only_run_on_simulated_nodes(shape: str) -> None:
    spec = simulated.simulated_pod(3, shape)["spec"]
    assert spec["nodeSelector"] == {"wherry.io/simulated": "true"}
    assert ("topologySpreadConstraints" in spec) == (shape == "spread")
    assert ("affinity" in spec) == (shape == "anti-affinity")


def test_the_best_rate_is_that_of_the_busiest_window() -> None:
    times = [0.0, 5.0, 10.0, 10.1, 10.2, 10.3, 20.0]
    assert simulate.best_rate(times, 1.0) == 4.0
    assert simulate.best_rate([], 1.0) == 0.0
    assert simulate.best_rate([0.0, 1.0, 2.0], 10.0) == 1.5


async def test_work_goes_on_in_parallel_until_the_first_error() -> None:
    done: list[int] = []

    async def one(number: int) -> None:
        await asyncio.sleep(0)
        done.append(number)

    await simulate.in_parallel(one(number) for number in range(100))
    assert sorted(done) == list(range(100))

    async def broken() -> None:
        raise OSError("no")

    with pytest.raises(ExceptionGroup) as raised:
        await simulate.in_parallel(broken() for _ in range(1))
    assert isinstance(innermost(raised.value), OSError)

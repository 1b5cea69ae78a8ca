"""`docker stats`: a container's counters in the shape of `GET /containers/{id}/stats`."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wherry.engine.model import ZERO_TIME, Container, timestamp
from wherry.host.cgroups import Stats

if TYPE_CHECKING:
    from wherry.engine.containers import Containers

Sample = dict[str, Any]

_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


async def once(containers: "Containers", container: Container, one_shot: bool) -> Sample:
    """One sample; unless `one_shot`, after a second, with the one before as `precpu_stats`."""
    first = await asyncio.to_thread(sample, containers, container)
    if one_shot or not container.state.alive:
        return first
    await asyncio.sleep(1)
    return _following(await asyncio.to_thread(sample, containers, container), first)


async def stream(containers: "Containers", container: Container) -> AsyncIterator[Sample]:
    """A sample each second, until the container is removed."""
    before: Sample | None = None
    while containers.find(container.id) is container:
        current = await asyncio.to_thread(sample, containers, container)
        yield _following(current, before) if before is not None else current
        before = current
        await asyncio.sleep(1)


def _following(current: Sample, before: Sample) -> Sample:
    return {**current, "preread": before["read"], "precpu_stats": before["cpu_stats"]}


def sample(containers: "Containers", container: Container) -> Sample:
    """Reads the kernel's files. A container that does not run has zeros."""
    empty_cpu: Sample = {
        "cpu_usage": {"total_usage": 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0},
        "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0},
    }
    base: Sample = {"name": f"/{container.name}", "id": container.id, "preread": ZERO_TIME, "precpu_stats": empty_cpu}
    if not container.state.alive:
        return {
            **base,
            "read": ZERO_TIME,
            "pids_stats": {},
            "blkio_stats": _block([], []),
            "num_procs": 0,
            "storage_stats": {},
            "cpu_stats": empty_cpu,
            "memory_stats": {},
        }
    stats = containers.lifecycle.cgroup(container).stats()
    version = containers.engine.layout.version
    result = {
        **base,
        "read": timestamp(),
        "pids_stats": _pids(stats),
        "blkio_stats": _block(stats.block_bytes, stats.block_operations),
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": _cpu(stats, version),
        "memory_stats": _memory(stats, version),
    }
    if container.host_config["NetworkMode"] != "host":
        networks = _networks(container.state.pid)
        if networks:
            result["networks"] = networks
    return result


def _pids(stats: Stats) -> Sample:
    result = {"current": stats.pids_current}
    result["limit"] = stats.pids_limit if stats.pids_limit is not None else (1 << 64) - 1
    return result


def _cpu(stats: Stats, version: int) -> Sample:
    usage: Sample = {
        "total_usage": stats.cpu_total,
        "usage_in_kernelmode": stats.cpu_system,
        "usage_in_usermode": stats.cpu_user,
    }
    if version == 1:
        usage["percpu_usage"] = stats.cpu_per_core
    return {
        "cpu_usage": usage,
        "system_cpu_usage": _system_cpu(),
        "online_cpus": len(os.sched_getaffinity(0)),
        "throttling_data": {
            "periods": stats.periods,
            "throttled_periods": stats.throttled_periods,
            "throttled_time": stats.throttled_time,
        },
    }


def _memory(stats: Stats, version: int) -> Sample:
    limit = stats.memory_limit
    if limit is None:
        limit = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    result: Sample = {"usage": stats.memory_usage, "stats": stats.memory, "limit": limit}
    if version == 1:
        result["max_usage"] = stats.memory_max_usage
        result["failcnt"] = stats.memory_failures
    return result


def _block(sizes: list[tuple[int, int, str, int]], operations: list[tuple[int, int, str, int]]) -> Sample:
    def entries(values: list[tuple[int, int, str, int]]) -> list[Sample] | None:
        return [{"major": major, "minor": minor, "op": word, "value": value} for major, minor, word, value in values]

    return {
        "io_service_bytes_recursive": entries(sizes) or None,
        "io_serviced_recursive": entries(operations) or None,
        "io_queue_recursive": None,
        "io_service_time_recursive": None,
        "io_wait_time_recursive": None,
        "io_merged_recursive": None,
        "io_time_recursive": None,
        "sectors_recursive": None,
    }


def _system_cpu() -> int:
    """Nanoseconds of all processors together since boot, idle time included."""
    with open("/proc/stat", encoding="ascii") as file:
        words = file.readline().split()
    return sum(int(word) for word in words[1:8]) * _TICK


def _networks(pid: int) -> dict[str, Sample]:
    try:
        text = Path(f"/proc/{pid}/net/dev").read_text()
    except OSError:
        return {}
    result = {}
    for line in text.splitlines()[2:]:
        name, _, rest = line.partition(":")
        fields = [int(word) for word in rest.split()]
        if name.strip() == "lo" or len(fields) < 12:
            continue
        result[name.strip()] = {
            "rx_bytes": fields[0],
            "rx_packets": fields[1],
            "rx_errors": fields[2],
            "rx_dropped": fields[3],
            "tx_bytes": fields[8],
            "tx_packets": fields[9],
            "tx_errors": fields[10],
            "tx_dropped": fields[11],
        }
    return result

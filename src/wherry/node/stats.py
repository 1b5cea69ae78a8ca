"""Resource use of this node, its pods and their containers, from cgroups: the summary API and `/metrics/resource`.

`kubectl top` and the metrics API read these. The summary's shape is that of the kubelet's stats/v1alpha1 Summary.
"""

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wherry.host import cgroups
from wherry.node import node_status, pods
from wherry.node.pod_worker import PodWorker
from wherry.node.runtime import Runtime, RuntimeFailure
from wherry.schema.resource import Object


@dataclass(frozen=True)
class Usage:
    """One cgroup's use at `at` (epoch seconds). `cpu` in nanoseconds since its start, memory in bytes."""

    at: float
    cpu: int
    memory: int
    working_set: int
    rss: int
    page_faults: int = 0
    major_page_faults: int = 0


class Stats:
    """Reads use and keeps the last reading of each cgroup, so that a rate can be told."""

    def __init__(self, runtime: Runtime, root: Path) -> None:
        self._runtime = runtime
        self._root = root
        self._layout = cgroups.detect()
        self._last: dict[str, Usage] = {}

    async def summary(self, node_name: str, workers: Sequence[PodWorker]) -> dict[str, Any]:
        """The Summary of node and pods."""
        found = await asyncio.to_thread(node_status.machine, self._root)
        now = time.time()
        node_usage = await asyncio.to_thread(self._node_usage, found)
        node: dict[str, Any] = {
            "nodeName": node_name,
            "startTime": pods.format_time(_boot_time()),
            "cpu": self._cpu("/", node_usage),
            "memory": {
                **_memory(node_usage),
                "availableBytes": found.memory_available,
            },
            "fs": _file_system(self._root, now),
            "runtime": {"imageFs": _file_system(self._root, now)},
            "rlimit": {"time": pods.format_time(now), "maxpid": found.pids, "curproc": found.pids_used},
        }
        summaries = await asyncio.gather(*(self._pod(worker) for worker in workers if worker.sandbox is not None))
        return {"node": node, "pods": [summary for summary in summaries if summary is not None]}

    async def resource_metrics(self, workers: Sequence[PodWorker]) -> str:
        """Prometheus text of `/metrics/resource`."""
        found = await asyncio.to_thread(node_status.machine, self._root)
        usage = await asyncio.to_thread(self._node_usage, found)
        stamp = int(usage.at * 1000)
        lines = [
            *_family(
                "node_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed by the node in core-seconds"
            ),
            f"node_cpu_usage_seconds_total {usage.cpu / 1e9:.9g} {stamp}",
            *_family("node_memory_working_set_bytes", "gauge", "Current working set of the node in bytes"),
            f"node_memory_working_set_bytes {usage.working_set} {stamp}",
        ]
        cpu = _family(
            "container_cpu_usage_seconds_total", "counter",
            "Cumulative cpu time consumed by the container in core-seconds",
        )  # fmt: skip
        memory = _family("container_memory_working_set_bytes", "gauge", "Current working set of the container in bytes")
        start = _family(
            "container_start_time_seconds", "gauge", "Start time of the container since unix epoch in seconds"
        )
        pod_cpu = _family(
            "pod_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed by the pod in core-seconds"
        )
        pod_memory = _family("pod_memory_working_set_bytes", "gauge", "Current working set of the pod in bytes")
        for worker in workers:
            where = f'namespace="{pods.namespace(worker.pod)}",pod="{pods.name(worker.pod)}"'
            for container in pods.all_containers(worker.pod):
                view = worker.container(container["name"])
                if view is None or not view.running:
                    continue
                read = await self._container_usage(view.id)
                if read is None:
                    continue
                labels = f'{{container="{view.name}",{where}}}'
                at = int(read.at * 1000)
                cpu.append(f"container_cpu_usage_seconds_total{labels} {read.cpu / 1e9:.9g} {at}")
                memory.append(f"container_memory_working_set_bytes{labels} {read.working_set} {at}")
                start.append(f"container_start_time_seconds{labels} {view.started_at or view.created_at:.9g}")
            if worker.sandbox is not None and worker.sandbox.cgroup:
                read = await asyncio.to_thread(self._read, worker.sandbox.cgroup)
                if read is not None:
                    at = int(read.at * 1000)
                    pod_cpu.append(f"pod_cpu_usage_seconds_total{{{where}}} {read.cpu / 1e9:.9g} {at}")
                    pod_memory.append(f"pod_memory_working_set_bytes{{{where}}} {read.working_set} {at}")
        lines += [*cpu, *memory, *start, *pod_cpu, *pod_memory]
        lines += [
            *_family("resource_scrape_error", "gauge", "1 if there was an error, 0 otherwise"),
            "resource_scrape_error 0",
        ]
        return "\n".join(lines) + "\n"

    async def memory_of(self, worker: PodWorker) -> dict[str, int]:
        """Working set in bytes of each running container of a pod."""
        found = {}
        for container in pods.main_containers(worker.pod):
            view = worker.container(container["name"])
            usage = await self._container_usage(view.id) if view is not None and view.running else None
            if usage is not None:
                found[container["name"]] = usage.working_set
        return found

    async def _pod(self, worker: PodWorker) -> dict[str, Any] | None:
        pod: Object = worker.pod
        containers = []
        for container in pods.all_containers(pod):
            view = worker.container(container["name"])
            if view is None or not view.running:
                continue
            usage = await self._container_usage(view.id)
            if usage is None:
                continue
            containers.append(
                {
                    "name": view.name,
                    "startTime": pods.format_time(view.started_at or view.created_at),
                    "cpu": self._cpu(view.id, usage),
                    "memory": _memory(usage),
                }
            )
        summary: dict[str, Any] = {
            "podRef": {"name": pods.name(pod), "namespace": pods.namespace(pod), "uid": pods.uid(pod)},
            "startTime": (pod.get("status") or {}).get("startTime"),
            "containers": containers,
        }
        sandbox = worker.sandbox
        if sandbox is not None and sandbox.cgroup:
            usage = await asyncio.to_thread(self._read, sandbox.cgroup)
            if usage is not None:
                summary["cpu"] = self._cpu(sandbox.cgroup, usage)
                summary["memory"] = _memory(usage)
        return summary

    async def _container_usage(self, id: str) -> Usage | None:
        try:
            path = await self._runtime.cgroup_path(id)
        except RuntimeFailure:
            return None
        return await asyncio.to_thread(self._read, path)

    def _read(self, path: str) -> Usage | None:
        group = cgroups.Cgroup(self._layout, path)
        if not group.exists():
            return None
        stats = group.stats()
        return Usage(
            at=time.time(),
            cpu=stats.cpu_total,
            memory=stats.memory_usage,
            working_set=stats.working_set,
            rss=stats.memory.get("rss", stats.memory.get("anon", 0)),
            page_faults=stats.memory.get("pgfault", 0),
            major_page_faults=stats.memory.get("pgmajfault", 0),
        )

    def _node_usage(self, found: node_status.Machine) -> Usage:
        """The whole machine's, from /proc."""
        fields = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
        busy = sum(fields) - fields[3] - (fields[4] if len(fields) > 4 else 0)
        used = found.memory - found.memory_available
        return Usage(
            at=time.time(),
            cpu=int(busy * 1e9 / os.sysconf("SC_CLK_TCK")),
            memory=used,
            working_set=used,
            rss=used,
        )

    def _cpu(self, key: str, usage: Usage) -> dict[str, Any]:
        """With the rate since the last reading of the same cgroup."""
        before = self._last.get(key)
        shown: dict[str, Any] = {"time": pods.format_time(usage.at), "usageCoreNanoSeconds": usage.cpu}
        if before is not None and usage.at > before.at:
            shown["usageNanoCores"] = max(0, int((usage.cpu - before.cpu) / (usage.at - before.at)))
        if before is None or usage.at - before.at > 1.0:
            self._last[key] = usage
        return shown


def _memory(usage: Usage) -> dict[str, Any]:
    return {
        "time": pods.format_time(usage.at),
        "usageBytes": usage.memory,
        "workingSetBytes": usage.working_set,
        "rssBytes": usage.rss,
        "pageFaults": usage.page_faults,
        "majorPageFaults": usage.major_page_faults,
    }


def _file_system(root: Path, now: float) -> dict[str, Any]:
    while not root.exists():
        root = root.parent
    disk = os.statvfs(root)
    return {
        "time": pods.format_time(now),
        "availableBytes": disk.f_bavail * disk.f_frsize,
        "capacityBytes": disk.f_blocks * disk.f_frsize,
        "usedBytes": (disk.f_blocks - disk.f_bfree) * disk.f_frsize,
        "inodesFree": disk.f_ffree,
        "inodes": disk.f_files,
        "inodesUsed": disk.f_files - disk.f_ffree,
    }


def _boot_time() -> float:
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith("btime"):
            return float(line.split()[1])
    return 0.0


def _family(name: str, kind: str, help: str) -> list[str]:
    return [f"# HELP {name} [STABLE] {help}", f"# TYPE {name} {kind}"]

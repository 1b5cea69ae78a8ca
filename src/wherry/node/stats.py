"""Resource use of this node, its pods and their containers, from cgroups, and the summary API.

`kubectl top` and the metrics API read these (as `metrics` words them). The summary's shape is
that of the kubelet's stats/v1alpha1 Summary.
"""

import asyncio
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wherry.host import cgroups
from wherry.node import node_status, pods
from wherry.node.container_spec import limits_of
from wherry.node.pod_worker import PodWorker
from wherry.node.runtime import Runtime, RuntimeFailure
from wherry.node.state import ContainerView
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

    def node(self) -> Usage:
        """The whole machine's use. Blocking."""
        return self._node_usage(node_status.machine(self._root))

    async def pod(self, worker: PodWorker) -> Usage | None:
        """The use of a whole pod, None while it has no cgroup."""
        sandbox = worker.sandbox
        if sandbox is None or not sandbox.cgroup:
            return None
        return await asyncio.to_thread(self._read, sandbox.cgroup)

    async def containers(self, worker: PodWorker) -> list[tuple[ContainerView, Usage]]:
        """The running containers of a pod and their use."""
        found = []
        for container in pods.all_containers(worker.pod):
            view = worker.container(container["name"])
            usage = await self._container_usage(view.id) if view is not None and view.running else None
            if view is not None and usage is not None:
                found.append((view, usage))
        return found

    def limits(self, worker: PodWorker, name: str) -> dict[str, int]:
        """What bounds a container: cpu_period, cpu_quota (microseconds), cpu_shares, memory_limit_bytes."""
        container = pods.find_container(worker.granted, name)
        if container is None:
            return {}
        words = {"CpuPeriod": "cpu_period", "CpuQuota": "cpu_quota", "CpuShares": "cpu_shares",
                 "Memory": "memory_limit_bytes"}  # fmt: skip
        return {words[key]: value for key, value in limits_of(container).items() if key in words}

    def claims(self, worker: PodWorker) -> Iterator[tuple[str, dict[str, int]]]:
        """Of each claim that a pod has mounted: its name, and how full its file system is."""
        for name, path in worker.claims():
            try:
                disk = os.statvfs(path)
            except OSError:
                continue
            yield (
                name,
                {
                    "available_bytes": disk.f_bavail * disk.f_frsize,
                    "capacity_bytes": disk.f_blocks * disk.f_frsize,
                    "used_bytes": (disk.f_blocks - disk.f_bfree) * disk.f_frsize,
                    "inodes": disk.f_files,
                    "inodes_free": disk.f_ffree,
                    "inodes_used": disk.f_files - disk.f_ffree,
                },
            )

    async def memory_of(self, worker: PodWorker) -> dict[str, int]:
        """Working set in bytes of each running container of a pod."""
        main = {container["name"] for container in pods.main_containers(worker.pod)}
        return {view.name: usage.working_set for view, usage in await self.containers(worker) if view.name in main}

    async def _pod(self, worker: PodWorker) -> dict[str, Any] | None:
        pod: Object = worker.pod
        readings = await self.containers(worker)
        containers = [
            {
                "name": view.name,
                "startTime": pods.format_time(view.started_at or view.created_at),
                "cpu": self._cpu(view.id, usage),
                "memory": _memory(usage),
            }
            for view, usage in readings
        ]
        summary: dict[str, Any] = {
            "podRef": {"name": pods.name(pod), "namespace": pods.namespace(pod), "uid": pods.uid(pod)},
            "startTime": (pod.get("status") or {}).get("startTime"),
            "containers": containers,
        }
        whole = await self.pod(worker)
        if whole is not None and worker.sandbox is not None:
            summary["cpu"] = self._cpu(worker.sandbox.cgroup, whole)
            summary["memory"] = _memory(whole)
        if readings and not pods.host_network(pod):
            summary["network"] = _network(await asyncio.to_thread(network_of, readings[0][0].pid), time.time())
        claims = dict(self.claims(worker))
        if claims:
            summary["volume"] = [_volume(pod, name, disk, time.time()) for name, disk in claims.items()]
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


def network_of(pid: int) -> dict[str, dict[str, int]]:
    """Interface → receive_bytes, receive_packets, transmit_bytes, transmit_packets, of the network that a process is
    in. Without the loopback; empty when the process has ended. Blocking."""
    found = {}
    try:
        lines = Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
    except OSError:
        return {}
    for line in lines:
        name, _, rest = line.partition(":")
        words = [int(word) for word in rest.split()]
        if name.strip() != "lo" and len(words) >= 10:
            found[name.strip()] = {
                "receive_bytes": words[0],
                "receive_packets": words[1],
                "transmit_bytes": words[8],
                "transmit_packets": words[9],
            }
    return found


def _network(interfaces: dict[str, dict[str, int]], now: float) -> dict[str, Any]:
    listed = [
        {"name": name, "rxBytes": read["receive_bytes"], "txBytes": read["transmit_bytes"]}
        for name, read in interfaces.items()
    ]
    first = next((one for one in listed if one["name"] == "eth0"), listed[0] if listed else {})
    return {"time": pods.format_time(now), **first, "interfaces": listed}


def _volume(pod: Object, claim: str, disk: dict[str, int], now: float) -> dict[str, Any]:
    name = next(
        (
            volume["name"]
            for volume in pod["spec"].get("volumes") or ()
            if (volume.get("persistentVolumeClaim") or {}).get("claimName") == claim
            or ("ephemeral" in volume and f"{pods.name(pod)}-{volume['name']}" == claim)
        ),
        claim,
    )
    return {
        "time": pods.format_time(now),
        "name": name,
        "pvcRef": {"name": claim, "namespace": pods.namespace(pod)},
        "availableBytes": disk["available_bytes"],
        "capacityBytes": disk["capacity_bytes"],
        "usedBytes": disk["used_bytes"],
        "inodes": disk["inodes"],
        "inodesFree": disk["inodes_free"],
        "inodesUsed": disk["inodes_used"],
    }

"""What Prometheus and the metrics API read: `/metrics`, `/metrics/resource`, `/metrics/cadvisor`, `/metrics/probes`.

Names, labels and help are those of a kubelet's own, https://kubernetes.io/docs/reference/instrumentation/metrics/.
"""

import asyncio
import resource
from collections.abc import Mapping, Sequence
from pathlib import Path

from wherry.node import node_status, pods
from wherry.node.pod_worker import PodWorker
from wherry.node.stats import Stats, Usage, network_of
from wherry.schema.definitions import VERSION

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Text:
    """Families of samples, in the order in which they were first named."""

    def __init__(self) -> None:
        self._families: dict[str, list[str]] = {}

    def family(self, name: str, kind: str, help: str, stability: str = "ALPHA") -> None:
        self._families[name] = [f"# HELP {name} [{stability}] {help}", f"# TYPE {name} {kind}"]

    def add(self, name: str, value: float, labels: Mapping[str, str] | None = None, at: float | None = None) -> None:
        """One sample of a family; `at` in epoch seconds."""
        shown = ",".join(f'{key}="{_escape(text)}"' for key, text in (labels or {}).items())
        stamp = f" {int(at * 1000)}" if at is not None else ""
        self._families[name].append(
            f"{name}{{{shown}}} {value:.12g}{stamp}" if shown else f"{name} {value:.12g}{stamp}"
        )

    def __str__(self) -> str:
        return "\n".join(line for lines in self._families.values() for line in lines) + "\n"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


class Metrics:
    """Of one node. `workers` of each call are its pods."""

    def __init__(self, stats: Stats, root: Path, node_name: str) -> None:
        self._stats = stats
        self._root = root
        self._node_name = node_name

    def kubelet(self, workers: Sequence[PodWorker]) -> str:
        """`/metrics`: of the kubelet itself."""
        text = Text()
        text.family("kubernetes_build_info", "gauge", "A metric with a constant '1' value labeled by version.")
        major, minor = VERSION.removeprefix("v").split(".")[:2]
        text.add("kubernetes_build_info", 1, {"git_version": VERSION, "major": major, "minor": minor})
        text.family("kubelet_node_name", "gauge", "The node's name. The count is always 1.")
        text.add("kubelet_node_name", 1, {"node": self._node_name})
        text.family("kubelet_running_pods", "gauge", "Number of pods that have a running pod sandbox")
        text.add("kubelet_running_pods", sum(worker.sandbox is not None for worker in workers))
        text.family("kubelet_running_containers", "gauge", "Number of containers currently running")
        states: dict[str, int] = {"created": 0, "running": 0, "exited": 0}
        for worker in workers:
            for container in pods.all_containers(worker.pod):
                view = worker.container(container["name"])
                if view is not None:
                    states[view.state] = states.get(view.state, 0) + 1
        for state, count in states.items():
            text.add("kubelet_running_containers", count, {"container_state": state})
        text.family("kubelet_desired_pods", "gauge", "The number of pods the kubelet is being instructed to run.")
        static = sum(pods.is_static(worker.pod) for worker in workers)
        text.add("kubelet_desired_pods", static, {"static": "true"})
        text.add("kubelet_desired_pods", len(workers) - static, {"static": ""})
        text.family("kubelet_container_restarts", "gauge", "Restarts of the containers that are here now")
        for worker in workers:
            for container in pods.all_containers(worker.pod):
                view = worker.container(container["name"])
                if view is not None:
                    text.add("kubelet_container_restarts", view.attempt, _where(worker, container["name"]))
        self._volumes(text, workers)
        _process(text)
        return str(text)

    def _volumes(self, text: Text, workers: Sequence[PodWorker]) -> None:
        names = ("available_bytes", "capacity_bytes", "used_bytes", "inodes", "inodes_free", "inodes_used")
        for name in names:
            what = name.replace("_", " ")
            text.family(f"kubelet_volume_stats_{name}", "gauge", f"Volume {what}")
        for worker in workers:
            for claim, disk in self._stats.claims(worker):
                labels = {"namespace": pods.namespace(worker.pod), "persistentvolumeclaim": claim}
                for name in names:
                    text.add(f"kubelet_volume_stats_{name}", disk[name], labels)

    def probes(self, workers: Sequence[PodWorker]) -> str:
        """`/metrics/probes`: how often which probe said what."""
        text = Text()
        text.family("prober_probe_total", "counter", "Cumulative number of a liveness, readiness or startup probe for "
                    "a container by result.", "BETA")  # fmt: skip
        for worker in workers:
            for (container, kind, result), count in worker.health.counts.items():
                labels = {"container": container, "namespace": pods.namespace(worker.pod), "pod": pods.name(worker.pod)}
                labels |= {"pod_uid": worker.uid, "probe_type": kind, "result": result}
                text.add("prober_probe_total", count, labels)
        return str(text)

    async def resource(self, workers: Sequence[PodWorker]) -> str:
        """`/metrics/resource`: cpu and memory of node, pods and containers."""
        text = Text()
        node = await asyncio.to_thread(self._stats.node)
        for owner, what in (("node", "node"), ("container", "container"), ("pod", "pod")):
            text.family(f"{owner}_cpu_usage_seconds_total", "counter",
                        f"Cumulative cpu time consumed by the {what} in core-seconds", "STABLE")  # fmt: skip
            text.family(f"{owner}_memory_working_set_bytes", "gauge",
                        f"Current working set of the {what} in bytes", "STABLE")  # fmt: skip
        text.family("container_start_time_seconds", "gauge",
                    "Start time of the container since unix epoch in seconds", "STABLE")  # fmt: skip
        _resource(text, "node", node, {})
        for worker in workers:
            pod = {"namespace": pods.namespace(worker.pod), "pod": pods.name(worker.pod)}
            for view, usage in await self._stats.containers(worker):
                labels = {"container": view.name} | pod
                _resource(text, "container", usage, labels)
                text.add("container_start_time_seconds", view.started_at or view.created_at, labels)
            whole = await self._stats.pod(worker)
            if whole is not None:
                _resource(text, "pod", whole, pod)
        text.family("resource_scrape_error", "gauge",
                    "1 if there was an error while getting container metrics, 0 otherwise", "STABLE")  # fmt: skip
        text.add("resource_scrape_error", 0)
        return str(text)

    async def cadvisor(self, workers: Sequence[PodWorker]) -> str:
        """`/metrics/cadvisor`: the same and more, as dashboards expect it."""
        text = Text()
        for name, kind, help in (
            ("machine_cpu_cores", "gauge", "Number of logical CPU cores."),
            ("machine_memory_bytes", "gauge", "Amount of memory installed on the machine."),
            ("container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed in seconds."),
            ("container_memory_usage_bytes", "gauge", "Current memory usage in bytes, including all memory."),
            ("container_memory_working_set_bytes", "gauge", "Current working set in bytes."),
            ("container_memory_rss", "gauge", "Size of RSS in bytes."),
            ("container_memory_failures_total", "counter", "Cumulative count of memory allocation failures."),
            ("container_start_time_seconds", "gauge", "Start time of the container since unix epoch in seconds."),
            ("container_last_seen", "gauge", "Last time a container was seen by the exporter"),
            ("container_spec_cpu_period", "gauge", "CPU period of the container."),
            ("container_spec_cpu_quota", "gauge", "CPU quota of the container."),
            ("container_spec_cpu_shares", "gauge", "CPU share of the container."),
            ("container_spec_memory_limit_bytes", "gauge", "Memory limit for the container."),
            ("container_network_receive_bytes_total", "counter", "Cumulative count of bytes received"),
            ("container_network_receive_packets_total", "counter", "Cumulative count of packets received"),
            ("container_network_transmit_bytes_total", "counter", "Cumulative count of bytes transmitted"),
            ("container_network_transmit_packets_total", "counter", "Cumulative count of packets transmitted"),
        ):
            text.family(name, kind, help)
        machine = await asyncio.to_thread(node_status.machine, self._root)
        text.add("machine_cpu_cores", machine.cpus)
        text.add("machine_memory_bytes", machine.memory)
        _use(text, await asyncio.to_thread(self._stats.node), {"id": "/"})
        for worker in workers:
            await self._of_pod(text, worker)
        return str(text)

    async def _of_pod(self, text: Text, worker: PodWorker) -> None:
        base = {"namespace": pods.namespace(worker.pod), "pod": pods.name(worker.pod)}
        whole = await self._stats.pod(worker)
        if whole is not None and worker.sandbox is not None:
            _use(text, whole, {"container": "", "id": f"/{worker.sandbox.cgroup}", "image": "", "name": ""} | base)
        readings = await self._stats.containers(worker)
        for view, usage in readings:
            labels = {"container": view.name, "id": f"/{view.id}", "image": view.image, "name": view.id} | base
            _use(text, usage, labels)
            text.add("container_start_time_seconds", view.started_at or view.created_at, labels)
            for name, value in self._stats.limits(worker, view.name).items():
                text.add(f"container_spec_{name}", value, labels)
        if readings and not pods.host_network(worker.pod):
            for interface, read in (await asyncio.to_thread(network_of, readings[0][0].pid)).items():
                for name, value in read.items():
                    labels = {"id": f"/{worker.sandbox.cgroup}" if worker.sandbox else ""} | base
                    text.add(f"container_network_{name}_total", value, labels | {"interface": interface})


def _where(worker: PodWorker, container: str) -> dict[str, str]:
    return {"container": container, "namespace": pods.namespace(worker.pod), "pod": pods.name(worker.pod)}


def _resource(text: Text, owner: str, usage: Usage, labels: Mapping[str, str]) -> None:
    text.add(f"{owner}_cpu_usage_seconds_total", usage.cpu / 1e9, labels, usage.at)
    text.add(f"{owner}_memory_working_set_bytes", usage.working_set, labels, usage.at)


def _use(text: Text, usage: Usage, labels: Mapping[str, str]) -> None:
    text.add("container_cpu_usage_seconds_total", usage.cpu / 1e9, {"cpu": "total", **labels}, usage.at)
    text.add("container_memory_usage_bytes", usage.memory, labels, usage.at)
    text.add("container_memory_working_set_bytes", usage.working_set, labels, usage.at)
    text.add("container_memory_rss", usage.rss, labels, usage.at)
    for kind, count in (("pgfault", usage.page_faults), ("pgmajfault", usage.major_page_faults)):
        text.add("container_memory_failures_total", count, {**labels, "failure_type": kind, "scope": "container"})
    text.add("container_last_seen", int(usage.at), labels)


def _process(text: Text) -> None:
    """Of this process, as every Prometheus client tells it."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    pages = [int(word) for word in Path("/proc/self/statm").read_text().split()[:2]]
    for name, kind, help, value in (
        ("process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds.",
         used.ru_utime + used.ru_stime),
        ("process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.", pages[0] * resource.getpagesize()),
        ("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.",
         pages[1] * resource.getpagesize()),
        ("process_open_fds", "gauge", "Number of open file descriptors.", len(list(Path("/proc/self/fd").iterdir()))),
    ):  # fmt: skip
        text.family(name, kind, help)
        text.add(name, value)

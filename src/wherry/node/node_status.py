"""The Node object: what this machine is and has, and whether it is well.

Specified in https://kubernetes.io/docs/reference/node/node-status/ and the API reference of NodeStatus.
"""

import os
import platform
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import wherry
from wherry.node import pods
from wherry.schema.definitions import VERSION
from wherry.schema.resource import Object

MAX_PODS = 110
KIB = 1024
IMAGES_SHOWN = 50

MEMORY_PRESSURE_BYTES = 100 * KIB * KIB
DISK_PRESSURE_SHARE = 0.10
DISK_PRESSURE_BYTES = 2 * KIB**3
"""A tenth of a laptop's disk is a lot: below this much the share does not matter."""
PID_PRESSURE_SHARE = 0.02


@dataclass(frozen=True)
class NodeSettings:
    """What an administrator may choose for a node."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: Sequence[Mapping[str, str]] = ()
    addresses: tuple[str, ...] = ()
    max_pods: int = MAX_PODS
    provider_id: str = ""
    pod_cidr: str = ""
    """The range of this node's pods, when it is chosen on the node and not by a controller."""


@dataclass(frozen=True)
class Machine:
    """What was measured of the machine; bytes and counts."""

    cpus: int
    memory: int
    memory_available: int
    disk: int
    disk_available: int
    pids: int
    pids_used: int
    huge_pages: Mapping[str, int] = field(default_factory=dict)


def machine(root: Path) -> Machine:
    """Measure now. `root` is the folder whose file system holds images and volumes. Reads /proc and /sys."""
    info: dict[str, int] = {}
    for line in _read("/proc/meminfo").splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if words:
            info[name] = int(words[0]) * (KIB if len(words) > 1 else 1)
    existing = root
    while not existing.exists():
        existing = existing.parent
    disk = os.statvfs(existing)
    huge = {}
    folder = Path("/sys/kernel/mm/hugepages")
    if folder.is_dir():
        for entry in folder.iterdir():
            size = int(entry.name.removeprefix("hugepages-").removesuffix("kB")) * KIB
            count = int(_read(str(entry / "nr_hugepages")) or 0)
            huge[f"hugepages-{_binary(size)}"] = size * count
    limit = int(_read("/proc/sys/kernel/pid_max") or 32768)
    used = int((_read("/proc/loadavg").split() or ["", "", "", "0/0"])[3].partition("/")[2])
    return Machine(
        cpus=len(os.sched_getaffinity(0)),
        memory=info.get("MemTotal", 0),
        memory_available=info.get("MemAvailable", 0),
        disk=disk.f_blocks * disk.f_frsize,
        disk_available=disk.f_bavail * disk.f_frsize,
        pids=limit,
        pids_used=used,
        huge_pages=huge,
    )


def disk_threshold(found: Machine) -> int:
    """Bytes that must be available on the disk: with less, it is under pressure."""
    return min(int(found.disk * DISK_PRESSURE_SHARE), DISK_PRESSURE_BYTES)


def node_object(settings: NodeSettings) -> Object:
    """The Node to create when the API has none, without status."""
    arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    labels = {
        "beta.kubernetes.io/arch": arch,
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": arch,
        "kubernetes.io/hostname": settings.name,
        "kubernetes.io/os": "linux",
        **settings.labels,
    }
    node: Object = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": settings.name,
            "labels": labels,
            "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
        },
        "spec": {},
    }
    if settings.taints:
        node["spec"]["taints"] = [dict(taint) for taint in settings.taints]
    if settings.pod_cidr:
        node["spec"]["podCIDR"] = settings.pod_cidr
        node["spec"]["podCIDRs"] = [settings.pod_cidr]
    if settings.provider_id:
        node["spec"]["providerID"] = settings.provider_id
    return node


def resources_of(found: Machine, settings: NodeSettings) -> tuple[dict[str, str], dict[str, str]]:
    """(capacity, allocatable): the latter without the memory and disk kept free for eviction."""
    shared = {
        "cpu": str(found.cpus),
        "pods": str(settings.max_pods),
        **{name: _binary(size) if size else "0" for name, size in found.huge_pages.items()},
    }
    capacity = {
        **shared,
        "ephemeral-storage": f"{found.disk // KIB}Ki",
        "memory": f"{found.memory // KIB}Ki",
    }
    huge = sum(found.huge_pages.values())
    allocatable = {
        **shared,
        "ephemeral-storage": str(found.disk - disk_threshold(found)),
        "memory": f"{max(0, found.memory - MEMORY_PRESSURE_BYTES - huge) // KIB}Ki",
    }
    return capacity, allocatable


def node_status(
    old: Mapping[str, Any],
    settings: NodeSettings,
    found: Machine,
    *,
    now: float,
    port: int,
    images: Sequence[Mapping[str, Any]],
    problems: Sequence[str] = (),
    volumes_in_use: Sequence[str] = (),
) -> dict[str, Any]:
    """The NodeStatus to publish. `problems` keep the node from being Ready; `old` gives transition times."""
    capacity, allocatable = resources_of(found, settings)
    # Device plugins and administrators add resources by patching the status: they stay.
    for name, value in (old.get("capacity") or {}).items():
        capacity.setdefault(name, value)
    for name, value in (old.get("allocatable") or {}).items():
        allocatable.setdefault(name, value)
    addresses = [{"type": "InternalIP", "address": address} for address in settings.addresses]
    addresses.append({"type": "Hostname", "address": settings.name})
    return {
        "capacity": capacity,
        "allocatable": allocatable,
        "conditions": node_conditions(old, found, now, problems),
        "addresses": addresses,
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        "nodeInfo": node_info(),
        "images": list(images)[:IMAGES_SHOWN],
    }


def node_conditions(
    old: Mapping[str, Any], found: Machine, now: float, problems: Sequence[str]
) -> list[dict[str, Any]]:
    """MemoryPressure, DiskPressure, PIDPressure and Ready, and what others (e.g. the network) have set."""
    low_memory = found.memory_available < MEMORY_PRESSURE_BYTES
    low_disk = found.disk_available < disk_threshold(found)
    low_pids = found.pids - found.pids_used < found.pids * PID_PRESSURE_SHARE
    wanted = [
        _pressure("MemoryPressure", low_memory, "Memory", "memory"),
        _pressure("DiskPressure", low_disk, "Disk", "disk"),
        _pressure("PIDPressure", low_pids, "PID", "PID"),
        ("Ready", "False", "KubeletNotReady", "; ".join(problems))
        if problems
        else ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    ]
    before = {entry["type"]: entry for entry in old.get("conditions") or []}
    stamp = pods.format_time(now)
    conditions: list[dict[str, Any]] = []
    for kind, status, reason, message in wanted:
        was = before.pop(kind, None)
        same = was is not None and was.get("status") == status
        conditions.append(
            {
                "type": kind,
                "status": status,
                "lastHeartbeatTime": stamp,
                "lastTransitionTime": was.get("lastTransitionTime", stamp) if was is not None and same else stamp,
                "reason": reason,
                "message": message,
            }
        )
    return [*before.values(), *conditions]


def _pressure(kind: str, low: bool, word: str, thing: str) -> tuple[str, str, str, str]:
    if low:
        return kind, "True", f"KubeletHas{_insufficient(word)}", f"kubelet has {_few(thing)}"
    if word == "Disk":
        return kind, "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"
    return kind, "False", f"KubeletHasSufficient{word}", f"kubelet has sufficient {thing} available"


def _insufficient(word: str) -> str:
    return "DiskPressure" if word == "Disk" else f"Insufficient{word}"


def _few(thing: str) -> str:
    return "disk pressure" if thing == "disk" else f"insufficient {thing} available"


def node_info() -> dict[str, str]:
    """NodeSystemInfo."""
    release = platform.freedesktop_os_release()
    arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    machine_id = _read("/etc/machine-id").strip() or _read("/var/lib/dbus/machine-id").strip()
    return {
        "machineID": machine_id,
        "systemUUID": _read("/sys/class/dmi/id/product_uuid").strip() or machine_id,
        "bootID": _read("/proc/sys/kernel/random/boot_id").strip(),
        "kernelVersion": platform.release(),
        "osImage": release.get("PRETTY_NAME", "Linux"),
        "containerRuntimeVersion": f"wherry://{wherry.__version__}",
        "kubeletVersion": VERSION,
        "kubeProxyVersion": "",
        "operatingSystem": "linux",
        "architecture": arch,
    }


def primary_address() -> str:
    """The address from which this machine reaches others, or the loopback's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Connecting a datagram socket sends nothing: it only asks the routing table.
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def _binary(size: int) -> str:
    for suffix, unit in (("Gi", KIB**3), ("Mi", KIB**2), ("Ki", KIB)):
        if size >= unit and size % unit == 0:
            return f"{size // unit}{suffix}"
    return str(size)


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""

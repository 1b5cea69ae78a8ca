"""A pod's sandbox: what its containers share. Network and IPC namespaces, /dev/shm, host files, the pod's cgroup.

There is no pause container: namespaces are pinned by bind mounts, so a sandbox costs no process and dies only with
the machine. What is needed to adopt it lies in `<run>/pods/<uid>.json`, which a reboot clears as it clears the
namespaces themselves.
"""

import asyncio
import contextlib
import json
import logging
import os
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from wherry.cluster_net.pod_network import HostPortTaken
from wherry.engine.errors import EngineError
from wherry.host import cgroups, mounts, processes
from wherry.host.instance import Instance
from wherry.node import hostfiles, pods, resources
from wherry.node.container_spec import cgroup_parent
from wherry.schema.resource import Object

log = logging.getLogger(__name__)

CLONE_NEWIPC = 0x08000000
INIT_PATHS = ("/usr/bin/catatonit", "/usr/libexec/podman/catatonit")
SHM_SIZE = 64 * 1024 * 1024


class PodNet(Protocol):
    """The part of `cluster_net.pod_network.PodNetwork` that a sandbox uses."""

    async def add(
        self, pod_uid: str, *, host_ports: Sequence[Mapping[str, Any]], sysctls: Mapping[str, str]
    ) -> Any: ...

    async def remove(self, pod_uid: str) -> None: ...


@dataclass(frozen=True)
class Sandbox:
    """One pod's sandbox. Paths are "" where the pod uses the host's own."""

    id: str
    ips: tuple[str, ...] = ()
    netns: str = ""
    ipcns: str = ""
    hosts: str = ""
    resolv_conf: str = ""
    shm: str = ""
    cgroup: str = ""
    pidns: str = ""
    init_pid: int = 0
    init_parent: int = 0
    init_start: int = 0
    """Of a shared process namespace: its first process, that one's parent, and its start time, to know it again."""


@dataclass(frozen=True)
class ClusterSettings:
    """What pods are told of the cluster."""

    dns: tuple[str, ...] = ()
    domain: str = "cluster.local"


class Sandboxes:
    """Makes, finds again and removes sandboxes. `root` holds `pods/<uid>` folders."""

    def __init__(self, instance: Instance, network: PodNet | None, settings: ClusterSettings) -> None:
        self._instance = instance
        self._network = network
        self._settings = settings
        self._state = instance.run / "pods"
        self._layout = cgroups.detect()

    def load(self, uid: str) -> Sandbox | None:
        """The sandbox of a pod from before this process, if its namespaces still stand."""
        sandbox = self._saved(uid)
        if sandbox is None:
            return None
        for path in (sandbox.netns, sandbox.ipcns):
            if path and not mounts.is_mounted(path):
                return None
        if any(path and not os.path.exists(path) for path in (sandbox.hosts, sandbox.resolv_conf)):
            return None
        if sandbox.init_pid and processes.start_time(sandbox.init_pid) != sandbox.init_start:
            return None
        return sandbox

    async def create(self, pod: Object, pod_dir: Path, host_ips: Sequence[str]) -> Sandbox:
        """Raises OSError or an error of the network (a host port is taken)."""
        refused = unsupported(pod)
        if refused:
            raise OSError(refused)
        uid = pods.uid(pod)
        netns, ips = "", tuple(host_ips[:1])
        if not pods.host_network(pod):
            if self._network is None:
                raise OSError("no pod network on this node")
            try:
                added = await self._network.add(uid, host_ports=host_ports(pod), sysctls=pods.sysctls(pod, "net."))
            except (HostPortTaken, EngineError) as error:
                raise OSError(str(error)) from error
            netns, ips = str(added.netns), tuple(added.ips)
        return await asyncio.to_thread(self._build, pod, pod_dir, netns, ips)

    async def resize(self, pod: Object) -> None:
        """Bound the cgroup of a running pod anew, by its containers' resources as they are in `pod`."""
        await asyncio.to_thread(self._make_cgroup, pod, cgroup_parent(self._instance.cgroup, pod))

    async def remove(self, uid: str, *, cgroup: str = "") -> None:
        """Idempotent."""
        if self._network is not None:
            await self._network.remove(uid)
        await asyncio.to_thread(self._discard, uid, cgroup)

    def _saved(self, uid: str) -> Sandbox | None:
        try:
            saved = json.loads((self._state / f"{uid}.json").read_text())
        except (FileNotFoundError, ValueError):
            return None
        return Sandbox(**{**saved, "ips": tuple(saved["ips"])})

    def known(self) -> set[str]:
        """UIDs of all pods that have saved state."""
        return {path.stem for path in self._state.glob("*.json")}

    def _build(self, pod: Object, pod_dir: Path, netns: str, ips: tuple[str, ...]) -> Sandbox:
        uid = pods.uid(pod)
        pod_dir.mkdir(parents=True, exist_ok=True)
        self._state.mkdir(parents=True, exist_ok=True)
        hosts_path, resolv_path = pod_dir / "etc-hosts", pod_dir / "resolv.conf"
        hosts_path.write_text(hostfiles.hosts(pod, ips, _read("/etc/hosts"), self._settings.domain))
        resolv_path.write_text(
            hostfiles.resolv_conf(pod, _read("/etc/resolv.conf"), self._settings.dns, self._settings.domain)
        )
        ipcns, shm = "", ""
        if not pods_host_ipc(pod):
            pinned = self._state / f"{uid}.ipc"
            if not mounts.is_mounted(pinned):
                pin_ipc_namespace(pinned, pods.sysctls(pod, *pods.IPC_SYSCTLS))
            ipcns = str(pinned)
            shm_path = pod_dir / "shm"
            shm_path.mkdir(exist_ok=True)
            if not mounts.is_mounted(shm_path):
                mounts.tmpfs(shm_path, size=SHM_SIZE)
            shm = str(shm_path)
        cgroup = cgroup_parent(self._instance.cgroup, pod)
        self._make_cgroup(pod, cgroup)
        init_pid, init_parent = start_pod_init() if pod["spec"].get("shareProcessNamespace") else (0, 0)
        sandbox = Sandbox(
            pidns=f"/proc/{init_pid}/ns/pid" if init_pid else "",
            init_pid=init_pid,
            init_parent=init_parent,
            init_start=processes.start_time(init_pid) or 0 if init_pid else 0,
            id=uuid4().hex,
            ips=ips,
            netns=netns,
            ipcns=ipcns,
            hosts=str(hosts_path),
            resolv_conf=str(resolv_path),
            shm=shm,
            cgroup=cgroup,
        )
        temporary = self._state / f"{uid}.json.tmp"
        temporary.write_text(json.dumps(asdict(sandbox)))
        temporary.rename(self._state / f"{uid}.json")
        return sandbox

    def _make_cgroup(self, pod: Object, path: str) -> None:
        """The pod's cgroup, bounded by the sum of its containers' limits where all have one."""
        group = cgroups.Cgroup(self._layout, path)
        group.create()
        shares = resources.cpu_shares(int((resources.pod_total(pod, "requests", "cpu") or 0) * 1000))
        cpu, memory = resources.pod_total(pod, "limits", "cpu"), resources.pod_total(pod, "limits", "memory")
        v2 = self._layout.version == 2
        if v2:
            # The kernel's own mapping of shares (2…262144) to weights (1…10000).
            _write(group.directory("cpu"), "cpu.weight", str(1 + ((shares - 2) * 9999) // 262142))
        else:
            _write(group.directory("cpu"), "cpu.shares", str(shares))
        if cpu:
            quota = resources.cpu_quota(int(cpu * 1000))
            if v2:
                _write(group.directory("cpu"), "cpu.max", f"{quota} {resources.CPU_PERIOD}")
            else:
                _write(group.directory("cpu"), "cpu.cfs_quota_us", str(quota))
        if memory:
            name = "memory.max" if v2 else "memory.limit_in_bytes"
            _write(group.directory("memory"), name, str(int(memory)))
        for word, size in _huge_pages():
            name = f"hugetlb.{word}.max" if v2 else f"hugetlb.{word}.limit_in_bytes"
            _write(group.directory("hugetlb"), name, str(resources.huge_page_limit(pod, size)))

    def _discard(self, uid: str, cgroup: str) -> None:
        saved = self._saved(uid)
        if saved is not None:
            stop_pod_init(saved)
        pinned = self._state / f"{uid}.ipc"
        mounts.unmount(pinned, lazy=True)
        pinned.unlink(missing_ok=True)
        (self._state / f"{uid}.json").unlink(missing_ok=True)
        if cgroup:
            try:
                cgroups.Cgroup(self._layout, cgroup).remove()
            except OSError as error:
                log.warning("cgroup %s stays: %s", cgroup, error)


def host_ports(pod: Object) -> list[dict[str, Any]]:
    """Ports of all containers that ask for one on the host: {hostPort, containerPort, protocol, hostIP}."""
    found = []
    for container in (*pods.init_containers(pod), *pods.main_containers(pod)):
        for port in container.get("ports") or []:
            if port.get("hostPort"):
                found.append(
                    {
                        "hostPort": int(port["hostPort"]),
                        "containerPort": int(port["containerPort"]),
                        "protocol": port.get("protocol") or "TCP",
                        "hostIP": port.get("hostIP") or "",
                    }
                )
    return found


def unsupported(pod: Object) -> str:
    """What the pod asks for that this node cannot give, as a sentence; "" when there is nothing."""
    spec = pod["spec"]
    if spec.get("hostUsers") is False:
        return "hostUsers: false (user namespaces) is not supported on this node"
    if spec.get("resourceClaims"):
        return "resourceClaims (dynamic resource allocation) are not supported on this node"
    if (spec.get("os") or {}).get("name") not in (None, "linux"):
        return f"os {spec['os']['name']} is not supported on this node"
    for container in pods.all_containers(pod):
        if container.get("volumeDevices"):
            return f'volumeDevices of container "{container["name"]}" are not supported on this node'
    return ""


def pods_host_ipc(pod: Object) -> bool:
    return bool(pod["spec"].get("hostIPC"))


def start_pod_init() -> tuple[int, int]:
    """The first process of a pod's shared process namespace, which reaps the others: (its pid, its parent's).

    Blocking. Raises OSError. It lives until the pod's sandbox is removed, also when this process does not.
    """
    init = next((path for path in INIT_PATHS if os.access(path, os.X_OK)), "")
    if not init:
        raise OSError("shareProcessNamespace needs catatonit, which is not installed")
    # unshare(1) waits for the child that it forks into the new namespace.
    parent = processes.spawn(["unshare", "--pid", "--fork", init, "-P"], new_session=True)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        children = _read(f"/proc/{parent}/task/{parent}/children").split()
        if children:
            return int(children[0]), parent
        if processes.reap(parent) is not None:
            break
        time.sleep(0.001)
    raise OSError("the first process of the pod's process namespace did not start")


def stop_pod_init(sandbox: Sandbox) -> None:
    """End the shared process namespace and all that is in it. Blocking, idempotent."""
    if not sandbox.init_pid or processes.start_time(sandbox.init_pid) != sandbox.init_start:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(sandbox.init_pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(sandbox.init_parent, 0)


def pin_ipc_namespace(path: Path, sysctls: Mapping[str, str]) -> None:
    """Make an IPC namespace with `sysctls` and keep it alive by a bind mount at `path`. Blocking. Raises OSError."""
    path.touch()
    failure: list[OSError] = []

    def body() -> None:
        # A thread may leave the process's IPC namespace alone; it ends right after, and only the pin stays.
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWIPC) != 0:
            code = ctypes.get_errno()
            failure.append(OSError(code, os.strerror(code), "unshare(CLONE_NEWIPC)"))
            return
        try:
            for name, value in sysctls.items():
                # The file shows the namespace of the thread that opens it.
                Path("/proc/sys", *name.split(".")).write_text(value)
            mounts.bind(f"/proc/self/task/{threading.get_native_id()}/ns/ipc", path, recursive=False)
        except OSError as error:
            failure.append(error)

    thread = threading.Thread(target=body, name="ipc namespace")
    thread.start()
    thread.join()
    if failure:
        path.unlink(missing_ok=True)
        raise failure[0]


def _huge_pages() -> list[tuple[str, str]]:
    """The sizes of huge pages that this machine has any of, as cgroups and as Kubernetes write them: (2MB, 2Mi)."""
    found = []
    for folder in Path("/sys/kernel/mm/hugepages").glob("hugepages-*kB"):
        mebibytes = int(folder.name.removeprefix("hugepages-").removesuffix("kB")) // 1024
        if mebibytes and _read(f"{folder}/nr_hugepages").strip() not in ("", "0"):
            whole = mebibytes >= 1024
            found.append(
                (f"{mebibytes // 1024}GB", f"{mebibytes // 1024}Gi") if whole else (f"{mebibytes}MB", f"{mebibytes}Mi")
            )
    return found


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except FileNotFoundError:
        return ""


def _write(folder: Path | None, name: str, text: str) -> None:
    """A cgroup setting; what this kernel or container lacks is left out."""
    if folder is None:
        return
    with contextlib.suppress(OSError):
        (folder / name).write_text(text)

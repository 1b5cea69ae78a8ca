"""Control groups, v1, v2 and hybrid: where they are, and reading, freezing, killing and removing one.

Vocabulary: a *hierarchy* is one mounted tree; v1 has one per controller (or pair), v2 has one for all. A *cgroup
path* is relative to every hierarchy's root, such as `wherry-abcd/<id>`. *Hybrid* means v1 hierarchies beside a
v2 one that holds no controller.

Specified in the kernel's admin-guide/cgroup-v1 and admin-guide/cgroup-v2. Synchronous; each call reads or
writes a few small kernel files.
"""

import contextlib
import errno
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from wherry.host import mounts

Mode = Literal["v1", "v2", "hybrid"]

MOUNT_POINT = Path("/sys/fs/cgroup")
NO_LIMIT = 1 << 60
"""A memory limit at or above this is none (v1 shows a huge number instead of `max`)."""

_V1_CONTROLLERS = (
    "cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "net_cls", "net_prio", "perf_event",
    "hugetlb", "rdma", "misc",
)  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """What this machine has: controller → root of its hierarchy (all the same root on v2)."""

    mode: Mode
    controllers: dict[str, Path]
    unified: Path | None = None

    @property
    def version(self) -> int:
        """1 or 2, as `docker info` shows it."""
        return 2 if self.mode == "v2" else 1

    def roots(self) -> list[Path]:
        """Every distinct hierarchy in which a container's cgroup exists."""
        found = dict.fromkeys(self.controllers.values())
        if self.unified is not None:
            found[self.unified] = None
        return list(found)

    def has(self, controller: str) -> bool:
        return controller in self.controllers


@dataclass
class Stats:
    """Counters of one cgroup. Times are nanoseconds, memory bytes; limits are None when there is none."""

    cpu_total: int = 0
    cpu_user: int = 0
    cpu_system: int = 0
    cpu_per_core: list[int] = field(default_factory=list)
    periods: int = 0
    throttled_periods: int = 0
    throttled_time: int = 0
    memory_usage: int = 0
    memory_max_usage: int = 0
    memory_limit: int | None = None
    memory_failures: int = 0
    memory: dict[str, int] = field(default_factory=dict)
    pids_current: int = 0
    pids_limit: int | None = None
    block_bytes: list[tuple[int, int, str, int]] = field(default_factory=list)
    """(major, minor, "read"/"write"/…, bytes)"""
    block_operations: list[tuple[int, int, str, int]] = field(default_factory=list)

    @property
    def working_set(self) -> int:
        """Memory that cannot be dropped under pressure: usage less the inactive file cache."""
        inactive = self.memory.get("total_inactive_file", self.memory.get("inactive_file", 0))
        return max(0, self.memory_usage - inactive)


def detect(mount_point: Path = MOUNT_POINT) -> Layout:
    """The layout below `mount_point`, read from what is mounted there."""
    controllers: dict[str, Path] = {}
    # Hierarchies without a controller (systemd's own): runtimes make cgroups there too, so they are ours to remove.
    named: dict[str, Path] = {}
    unified: Path | None = None
    for entry in mounts.mounts():
        target = Path(entry.target)
        if target != mount_point and mount_point not in target.parents:
            continue
        if entry.fstype == "cgroup2":
            unified = target
        elif entry.fstype == "cgroup":
            for option in entry.super_options.split(","):
                if option in _V1_CONTROLLERS:
                    controllers[option] = target
                elif option.startswith("name="):
                    named[option] = target
    if not controllers and unified is not None:
        available = _read(unified / "cgroup.controllers").split()
        # Devices, freezer and accounting are part of v2 itself.
        names = [*available, "devices", "freezer", "cpuacct"]
        return Layout("v2", dict.fromkeys(names, unified), unified)
    return Layout("hybrid" if unified is not None else "v1", controllers | named, unified)


def prepare(mount_point: Path = MOUNT_POINT) -> Layout:
    """Make the layout usable for OCI runtimes and return it.

    On a hybrid machine a v2 hierarchy that still holds controllers makes crun refuse to work: each of those
    gets a v1 hierarchy of its own. Idempotent; leaves pure v1 and v2 as they are.
    """
    layout = detect(mount_point)
    if layout.mode != "hybrid" or layout.unified is None:
        return layout
    changed = False
    for controller in _read(layout.unified / "cgroup.controllers").split():
        if controller in layout.controllers or controller not in _V1_CONTROLLERS:
            continue
        target = mount_point / controller
        try:
            target.mkdir(exist_ok=True)
            mounts.mount("cgroup", target, "cgroup", mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_NOEXEC, controller)
            changed = True
        except OSError:
            # Not ours to mount (read-only /sys/fs/cgroup): the runtime will say what it misses.
            continue
    return detect(mount_point) if changed else layout


class Cgroup:
    """One cgroup by its path, in all hierarchies. Nothing is opened until it is used."""

    def __init__(self, layout: Layout, path: str) -> None:
        self.layout = layout
        self.path = path.strip("/")

    def directory(self, controller: str) -> Path | None:
        """Where `controller` keeps this cgroup; None when the machine lacks the controller."""
        root = self.layout.controllers.get(controller)
        return root / self.path if root is not None else None

    def exists(self) -> bool:
        return any((root / self.path).is_dir() for root in self.layout.roots())

    def create(self) -> None:
        """Make it in every hierarchy; on v2 with all controllers passed down to it."""
        for root in self.layout.roots():
            path = root / self.path
            path.mkdir(parents=True, exist_ok=True)
            if self.layout.mode == "v2":
                _enable_controllers(root, path)
            elif root == self.layout.controllers.get("cpuset"):
                _inherit_cpuset(root, path)

    def remove(self) -> None:
        """Remove it and what is below it, in every hierarchy. What still holds processes is killed first."""
        for root in self.layout.roots():
            _remove_tree(root / self.path)

    def pids(self) -> list[int]:
        """Processes in it and below it."""
        controller = "pids" if self.layout.has("pids") else next(iter(self.layout.controllers))
        base = self.directory(controller)
        found: set[int] = set()
        if base is not None:
            for directory, _, _ in os.walk(base):
                found.update(int(word) for word in _read(Path(directory, "cgroup.procs")).split())
        return sorted(found)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send `number` to every process in it; SIGKILL by the kernel's own cgroup.kill where v2 has it."""
        if number == signal.SIGKILL and self.layout.mode == "v2" and self.layout.unified is not None:
            with contextlib.suppress(OSError):
                (self.layout.unified / self.path / "cgroup.kill").write_text("1")
                return
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def freeze(self, timeout: float = 5.0) -> None:
        """Stop all processes in it until `thaw`. Raises TimeoutError when the kernel does not get there."""
        self._set_frozen(True, timeout)

    def thaw(self, timeout: float = 5.0) -> None:
        self._set_frozen(False, timeout)

    def is_frozen(self) -> bool:
        base = self.directory("freezer")
        if base is None:
            return False
        if self.layout.mode == "v2":
            return "frozen 1" in _read(base / "cgroup.events")
        return _read(base / "freezer.state").strip() == "FROZEN"

    def unlimit_pids(self) -> None:
        """Lift the limit on processes. Fine when there is none to lift."""
        base = self.directory("pids")
        if base is not None and base.is_dir():
            (base / "pids.max").write_text("max")

    def oom_kills(self) -> int:
        """How many processes in it the kernel has killed for want of memory."""
        base = self.directory("memory")
        if base is None:
            return 0
        name = "memory.events" if self.layout.mode == "v2" else "memory.oom_control"
        return _keyed(base / name).get("oom_kill", 0)

    def stats(self) -> Stats:
        """All counters. Missing controllers leave their fields zero; a cgroup that is gone gives all zeros."""
        return _stats_v2(self) if self.layout.mode == "v2" else _stats_v1(self)

    def _set_frozen(self, frozen: bool, timeout: float) -> None:
        base = self.directory("freezer")
        if base is None:
            raise OSError(errno.EOPNOTSUPP, "this machine has no freezer cgroup", self.path)
        if self.layout.mode == "v2":
            (base / "cgroup.freeze").write_text("1" if frozen else "0")
        else:
            (base / "freezer.state").write_text("FROZEN" if frozen else "THAWED")
        deadline = time.monotonic() + timeout
        while self.is_frozen() is not frozen:
            if time.monotonic() > deadline:
                raise TimeoutError(f"cgroup {self.path} did not {'freeze' if frozen else 'thaw'}")
            # The kernel tells of this on v2 only; on v1 the state has to be written again until it holds.
            time.sleep(0.001)
            if self.layout.mode != "v2":
                (base / "freezer.state").write_text("FROZEN" if frozen else "THAWED")


def _stats_v1(cgroup: Cgroup) -> Stats:
    stats = Stats()
    if (base := cgroup.directory("cpuacct")) is not None:
        stats.cpu_total = _number(base / "cpuacct.usage")
        stats.cpu_user = _number(base / "cpuacct.usage_user")
        stats.cpu_system = _number(base / "cpuacct.usage_sys")
        stats.cpu_per_core = [int(word) for word in _read(base / "cpuacct.usage_percpu").split()]
    if (base := cgroup.directory("cpu")) is not None:
        keyed = _keyed(base / "cpu.stat")
        stats.periods = keyed.get("nr_periods", 0)
        stats.throttled_periods = keyed.get("nr_throttled", 0)
        stats.throttled_time = keyed.get("throttled_time", 0)
    if (base := cgroup.directory("memory")) is not None:
        stats.memory_usage = _number(base / "memory.usage_in_bytes")
        stats.memory_max_usage = _number(base / "memory.max_usage_in_bytes")
        limit = _number(base / "memory.limit_in_bytes")
        stats.memory_limit = limit if 0 < limit < NO_LIMIT else None
        stats.memory_failures = _number(base / "memory.failcnt")
        stats.memory = _keyed(base / "memory.stat")
    _pids(cgroup, stats)
    if (base := cgroup.directory("blkio")) is not None:
        stats.block_bytes = list(_blkio_v1(base / "blkio.throttle.io_service_bytes_recursive"))
        stats.block_operations = list(_blkio_v1(base / "blkio.throttle.io_serviced_recursive"))
    return stats


def _stats_v2(cgroup: Cgroup) -> Stats:
    stats = Stats()
    base = (cgroup.layout.unified or MOUNT_POINT) / cgroup.path
    keyed = _keyed(base / "cpu.stat")
    stats.cpu_total = keyed.get("usage_usec", 0) * 1000
    stats.cpu_user = keyed.get("user_usec", 0) * 1000
    stats.cpu_system = keyed.get("system_usec", 0) * 1000
    stats.periods = keyed.get("nr_periods", 0)
    stats.throttled_periods = keyed.get("nr_throttled", 0)
    stats.throttled_time = keyed.get("throttled_usec", 0) * 1000
    stats.memory_usage = _number(base / "memory.current")
    stats.memory_max_usage = _number(base / "memory.peak")
    limit = _read(base / "memory.max").strip()
    stats.memory_limit = int(limit) if limit.isdigit() else None
    stats.memory_failures = _keyed(base / "memory.events").get("oom", 0)
    stats.memory = _keyed(base / "memory.stat")
    _pids(cgroup, stats)
    for line in _read(base / "io.stat").splitlines():
        device, *pairs = line.split()
        major, _, minor = device.partition(":")
        values = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        for key, operation, counters in (
            ("rbytes", "read", stats.block_bytes),
            ("wbytes", "write", stats.block_bytes),
            ("rios", "read", stats.block_operations),
            ("wios", "write", stats.block_operations),
        ):
            if key in values:
                counters.append((int(major), int(minor), operation, int(values[key])))
    return stats


def _pids(cgroup: Cgroup, stats: Stats) -> None:
    base = cgroup.directory("pids")
    if base is not None:
        stats.pids_current = _number(base / "pids.current")
        limit = _read(base / "pids.max").strip()
        stats.pids_limit = int(limit) if limit.isdigit() else None


def _blkio_v1(path: Path) -> Iterator[tuple[int, int, str, int]]:
    for line in _read(path).splitlines():
        words = line.split()
        if len(words) == 3 and ":" in words[0]:
            major, _, minor = words[0].partition(":")
            yield int(major), int(minor), words[1].lower(), int(words[2])


def _enable_controllers(root: Path, path: Path) -> None:
    """v2: a controller reaches a cgroup only when each ancestor passes it down."""
    current = root
    for part in path.relative_to(root).parts:
        available = _read(current / "cgroup.controllers").split()
        for controller in available:
            with contextlib.suppress(OSError):
                (current / "cgroup.subtree_control").write_text(f"+{controller}")
        current = current / part


def _inherit_cpuset(root: Path, path: Path) -> None:
    """v1: a new cpuset is empty, and nothing can join it until it has CPUs and memory nodes."""
    parent = root
    for part in path.relative_to(root).parts:
        child = parent / part
        for name in ("cpuset.cpus", "cpuset.mems"):
            if not _read(child / name).strip():
                (child / name).write_text(_read(parent / name))
        parent = child


def _remove_tree(path: Path) -> None:
    try:
        os.rmdir(path)
        return
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            raise
    for directory, names, _ in os.walk(path, topdown=False):
        for name in names:
            _remove_one(Path(directory, name))
    _remove_one(path)


def _remove_one(path: Path, timeout: float = 2.0) -> None:
    deadline = time.monotonic() + timeout
    while True:
        try:
            os.rmdir(path)
            return
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
        # Busy: processes are still in it, or were a moment ago and their exit is not finished.
        for word in _read(path / "cgroup.procs").split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(word), signal.SIGKILL)
        time.sleep(0.001)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _number(path: Path) -> int:
    text = _read(path).strip()
    return int(text) if text.lstrip("-").isdigit() else 0


def _keyed(path: Path) -> dict[str, int]:
    result = {}
    for line in _read(path).splitlines():
        words = line.split()
        if len(words) == 2 and words[1].isdigit():
            result[words[0]] = int(words[1])
    return result

"""What an instance has made on this machine, found by name alone, and how to take it all away.

Everything that Wherry makes carries the instance's id (see `instance.py`), so one look at the kernel's own lists
finds it, also after a crash and without any of Wherry's records. `wherry down --all` and the test suite's leak
check use the same list.
"""

import contextlib
import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from wherry.host.instance import Instance

CGROUP_ROOT = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Leftovers:
    """Names of kernel objects and pids that belong to one instance."""

    processes: tuple[int, ...] = ()
    mounts: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    nft_tables: tuple[tuple[str, str], ...] = field(default=())
    cgroups: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.processes or self.mounts or self.links or self.nft_tables or self.cgroups)

    def lines(self) -> list[str]:
        """One line per object, for people."""
        return [
            *(f"process {pid} {command_line(pid)}" for pid in self.processes),
            *(f"mount {path}" for path in self.mounts),
            *(f"link {name}" for name in self.links),
            *(f"nft table {family} {name}" for family, name in self.nft_tables),
            *(f"cgroup {path}" for path in self.cgroups),
        ]


def command_line(pid: int) -> str:
    """The command line of a process; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def find(instance: Instance) -> Leftovers:
    """All that carries the instance's id now: its containers and their monitors, mounts, links, tables, cgroups.

    `wherry-node`, `wherry-server` and the supervisor are not listed: they are not left over but running.
    """
    return Leftovers(
        processes=tuple(_processes(instance)),
        mounts=tuple(_mounts(instance)),
        links=tuple(_links(instance)),
        nft_tables=tuple(_nft_tables(instance)),
        cgroups=tuple(_cgroups(instance)),
    )


def purge(instance: Instance, timeout: float = 10.0) -> Leftovers:
    """Ends the instance's containers and removes every kernel object it made; files below `root` stay.

    Returns what could not be removed within `timeout` seconds (normally nothing). The instance must be stopped.
    """
    deadline = time.monotonic() + timeout
    while True:
        left = find(instance)
        for pid in left.processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for family, name in left.nft_tables:
            subprocess.run(["nft", "delete", "table", family, name], capture_output=True, check=False)
        for name in left.links:
            subprocess.run(["ip", "link", "delete", name], capture_output=True, check=False)
        for path in reversed(left.mounts):
            subprocess.run(["umount", "--lazy", path], capture_output=True, check=False)
        for path in left.cgroups:
            with contextlib.suppress(OSError):
                os.rmdir(path)
        for pin in instance.netns_dir.iterdir() if instance.netns_dir.is_dir() else ():
            with contextlib.suppress(OSError):
                pin.unlink()
        left = find(instance)
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.02)  # the kernel ends processes and empties cgroups in its own time


def _processes(instance: Instance) -> list[int]:
    marker = f"/{instance.cgroup}"
    run = os.fsencode(instance.run) + b"/"
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        pid = int(entry)
        try:
            memberships = Path(f"/proc/{pid}/cgroup").read_text()
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        in_cgroup = any(
            path == marker or path.startswith(marker + "/")
            for path in (line.rpartition(":")[2] for line in memberships.splitlines())
        )
        monitors = command.partition(b"\0")[0].endswith(b"conmon") and run in command
        if in_cgroup or monitors:
            found.append(pid)
    return found


def _mounts(instance: Instance) -> list[str]:
    """Mount points below root and run, parents before children."""
    places = tuple(f"{place}/" for place in (instance.root, instance.run))
    found = []
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        target = line.split()[4].encode(errors="surrogateescape").decode("unicode_escape")
        if target.startswith(places):
            found.append(target)
    return found


def _links(instance: Instance) -> list[str]:
    """By name; a bridge that a user has named himself by its alias."""
    found = []
    for name in sorted(os.listdir("/sys/class/net")):
        try:
            alias = Path("/sys/class/net", name, "ifalias").read_text().strip()
        except OSError:
            alias = ""
        if name.startswith(f"wh{instance.id}") or alias == f"wherry {instance.id}":
            found.append(name)
    return found


def _nft_tables(instance: Instance) -> list[tuple[str, str]]:
    listed = subprocess.run(["nft", "-j", "list", "tables"], capture_output=True, check=False)
    if listed.returncode != 0:
        return []
    tables = [entry["table"] for entry in json.loads(listed.stdout)["nftables"] if "table" in entry]
    return [(table["family"], table["name"]) for table in tables if table["name"].startswith(instance.nft_table)]


def _cgroups(instance: Instance) -> list[str]:
    """The instance's cgroups in every hierarchy, children before parents."""
    found = []
    for top in [CGROUP_ROOT / instance.cgroup, *CGROUP_ROOT.glob(f"*/{instance.cgroup}")]:
        for directory, _, _ in os.walk(top, topdown=False):
            found.append(directory)
    return found

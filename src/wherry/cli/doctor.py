"""`wherry doctor`: what this machine has, what it lacks, and what each lack costs."""

import ctypes.util
import os
import platform
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from wherry.cli.state import read_state
from wherry.host.instance import Instance

PROGRAMS = {
    "crun": ("crun", "no container can start"),
    "conmon": ("conmon", "no container can start"),
    "nft": ("nftables", "no published ports, no Services"),
    "ip": ("iproute2", "`wherry down --all` cannot remove links"),
    "catatonit": ("catatonit", "`docker run --init` fails"),
    "nginx": ("nginx-light", "Ingress does not serve"),
}
SECCOMP_PROFILE = Path("/usr/share/containers/seccomp.json")
CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_SYS_RESOURCE = 21, 12, 24


@dataclass(frozen=True)
class Finding:
    """`level` is ok, warn (something is limited) or fail (something does not work). `cost` says what is lost."""

    level: str
    subject: str
    detail: str
    cost: str = ""


def check_python() -> Iterator[Finding]:
    yield Finding("ok", "python", f"{platform.python_version()} at {sys.executable}")


def check_kernel() -> Iterator[Finding]:
    yield Finding("ok", "kernel", platform.release())
    filesystems = Path("/proc/filesystems").read_text().split()
    if "overlay" in filesystems:
        yield Finding("ok", "overlayfs", "in the kernel")
    else:
        yield Finding("fail", "overlayfs", "not in the kernel (try: modprobe overlay)", "no container can start")


def check_capabilities() -> Iterator[Finding]:
    effective = next(
        int(line.split()[1], 16) for line in Path("/proc/self/status").read_text().splitlines() if "CapEff" in line
    )
    for bit, name, cost, level in (
        (CAP_SYS_ADMIN, "CAP_SYS_ADMIN", "no mounts, no containers: run it as root", "fail"),
        (CAP_NET_ADMIN, "CAP_NET_ADMIN", "no networks: run it as root", "fail"),
        (
            CAP_SYS_RESOURCE,
            "CAP_SYS_RESOURCE",
            "negative oom scores and higher hard limits are left as they are",
            "warn",
        ),
    ):
        if effective >> bit & 1:
            yield Finding("ok", name, "present")
        else:
            yield Finding(level, name, "missing", cost)


def check_cgroups() -> Iterator[Finding]:
    root = Path("/sys/fs/cgroup")
    if (root / "cgroup.controllers").exists():
        controllers = (root / "cgroup.controllers").read_text().split()
        version = "v2"
    else:
        controllers = [path.name for path in root.iterdir() if (path / "tasks").exists()] if root.is_dir() else []
        version = "v1 (hybrid)" if (root / "unified").exists() else "v1"
    missing = {"cpu", "memory", "pids"} - set(controllers)
    if missing:
        yield Finding("fail", f"cgroup {version}", f"lacks {', '.join(sorted(missing))}", "those limits cannot be set")
    else:
        yield Finding("ok", f"cgroup {version}", f"with {', '.join(sorted(controllers))}")


def check_programs() -> Iterator[Finding]:
    for program, (package, cost) in PROGRAMS.items():
        path = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        if path:
            yield Finding("ok", program, path)
        else:
            level = "fail" if program in ("crun", "conmon", "nft") else "warn"
            yield Finding(level, program, f"not found (Debian: apt-get install {package})", cost)
    if SECCOMP_PROFILE.exists():
        yield Finding("ok", "seccomp profile", str(SECCOMP_PROFILE))
    else:
        yield Finding(
            "warn",
            "seccomp profile",
            f"{SECCOMP_PROFILE} not found (Debian: apt-get install golang-github-containers-common)",
            "containers need --security-opt seccomp=unconfined",
        )
    if not ctypes.util.find_library("nftables"):
        yield Finding("fail", "libnftables", "not found (Debian: apt-get install libnftables1)", "no networks")


def check_disk(instance: Instance) -> Iterator[Finding]:
    place = instance.root
    while not place.exists():
        place = place.parent
    usage = shutil.disk_usage(place)
    detail = f"{usage.free / 1e9:.1f} GB of {usage.total / 1e9:.1f} GB free at {instance.root}"
    if usage.free < 1e9:
        yield Finding("fail", "disk", detail, "pulls, builds and the cluster's writes will fail")
    elif usage.free < usage.total * 0.15:
        yield Finding("warn", "disk", detail, "below 15 %: the node may report DiskPressure")
    else:
        yield Finding("ok", "disk", detail)


def check_neighbours(instance: Instance) -> Iterator[Finding]:
    if Path("/var/run/docker.sock").exists():
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex("/var/run/docker.sock") == 0:
                yield Finding(
                    "ok", "another Docker", "answers on /var/run/docker.sock; use `wherry env` to talk to Wherry"
                )
    if instance.docker_socket.exists():
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(instance.docker_socket)) != 0:
                yield Finding(
                    "warn",
                    "engine socket",
                    f"{instance.docker_socket} is there but nobody answers",
                    "docker cannot connect; `wherry up` puts a new one in its place",
                )


def check_instance(instance: Instance) -> Iterator[Finding]:
    state = read_state(instance)
    if not state.any_alive:
        yield Finding("ok", "instance", "not running (start it with: wherry up)")
        return
    if not state.pid:
        yield Finding("warn", "supervisor", "not running", "what dies stays dead until the next `wherry up`")
    for process in state.processes:
        if process.alive and process.ready_after is not None:
            yield Finding("ok", process.name, f"runs, pid {process.pid}")
        elif process.alive:
            yield Finding(
                "warn", process.name, f"is not ready: {process.status or 'it has not said why'}", "see its log"
            )
        else:
            yield Finding(
                "fail",
                process.name,
                f"is not running (last: {process.last_exit})",
                f"see {instance.log_dir / process.name}.log and .err",
            )


@click.command()
@click.pass_obj
def doctor(instance: Instance) -> None:
    """Check what this machine has and what it lacks, and say what each lack costs.

    Exit code 0 when everything needed is there, 1 when something does not work.
    """
    checks: list[Callable[[], Iterator[Finding]]] = [
        check_python,
        check_kernel,
        check_capabilities,
        check_cgroups,
        check_programs,
        lambda: check_disk(instance),
        lambda: check_neighbours(instance),
        lambda: check_instance(instance),
    ]
    failed = False
    for check in checks:
        for finding in check():
            failed = failed or finding.level == "fail"
            cost = f": {finding.cost}" if finding.cost else ""
            click.echo(f"{finding.level:<5} {finding.subject:<17} {finding.detail}{cost}")
    if failed:
        raise SystemExit(1)

"""What `docker info` and `docker version` show."""

import asyncio
import os
import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wherry.engine import logs, oci, seccomp
from wherry.engine.model import timestamp

if TYPE_CHECKING:
    from wherry.engine.engine import Engine

VERSION = "28.0.0"
"""The Docker release whose behaviour this engine has; clients switch features on it."""
API_VERSION = "1.50"
MIN_API_VERSION = "1.24"


def version(engine: "Engine") -> dict[str, Any]:
    """`GET /version`."""
    import wherry

    release = str(getattr(wherry, "__version__", "0.1.0"))
    uname = os.uname()
    architecture = _architecture(uname.machine)
    built = "2026-01-01T00:00:00.000000000+00:00"
    return {
        "Platform": {"Name": f"Wherry {release}"},
        "Components": [
            {
                "Name": "Engine",
                "Version": VERSION,
                "Details": {
                    "ApiVersion": API_VERSION,
                    "Arch": architecture,
                    "BuildTime": built,
                    "Experimental": "false",
                    "GitCommit": "wherry",
                    "GoVersion": "none",
                    "KernelVersion": uname.release,
                    "MinAPIVersion": MIN_API_VERSION,
                    "Os": "linux",
                },
            },
            *(
                {"Name": name, "Version": _program_version(engine.runtimes.get(name).path), "Details": {}}
                for name in engine.runtimes.names()
            ),
        ],
        "Version": VERSION,
        "ApiVersion": API_VERSION,
        "MinAPIVersion": MIN_API_VERSION,
        "GitCommit": "wherry",
        "GoVersion": "none",
        "Os": "linux",
        "Arch": architecture,
        "KernelVersion": uname.release,
        "BuildTime": built,
    }


async def info(engine: "Engine") -> dict[str, Any]:
    """`GET /info`."""
    containers = engine.containers.all()
    statuses = [container.state.status for container in containers]
    uname = os.uname()
    memory = await asyncio.to_thread(_total_memory)
    layout = engine.layout
    security = []
    if seccomp.supported():
        security.append("name=seccomp,profile=builtin")
    if layout.version == 2:
        security.append("name=cgroupns")
    images = len(engine.images.list())
    return {
        "ID": _identity(engine),
        "Containers": len(containers),
        "ContainersRunning": statuses.count("running"),
        "ContainersPaused": statuses.count("paused"),
        "ContainersStopped": sum(status not in ("running", "paused") for status in statuses),
        "Images": images,
        "Driver": "overlay2",
        "DriverStatus": [["Backing Filesystem", _filesystem(engine.instance.root)], ["Native Overlay Diff", "true"]],
        "Plugins": {
            "Volume": ["local"],
            "Network": ["bridge", "host", "null"],
            "Authorization": None,
            "Log": list(logs.DRIVERS),
        },
        "MemoryLimit": layout.has("memory"),
        "SwapLimit": layout.version == 2 or _has(layout.controllers.get("memory"), "memory.memsw.limit_in_bytes"),
        "CpuCfsPeriod": layout.has("cpu"),
        "CpuCfsQuota": layout.has("cpu"),
        "CPUShares": layout.has("cpu"),
        "CPUSet": layout.has("cpuset"),
        "PidsLimit": layout.has("pids"),
        "IPv4Forwarding": _setting("/proc/sys/net/ipv4/ip_forward"),
        "Debug": False,
        "NFd": len(os.listdir("/proc/self/fd")),
        "OomKillDisable": layout.version == 1 and layout.has("memory"),
        "NGoroutines": len(asyncio.all_tasks()),
        "SystemTime": timestamp(),
        "LoggingDriver": "json-file",
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": str(layout.version),
        "NEventsListener": 0,
        "KernelVersion": uname.release,
        "OperatingSystem": _os_release().get("PRETTY_NAME", "Linux"),
        "OSVersion": _os_release().get("VERSION_ID", ""),
        "OSType": "linux",
        "Architecture": uname.machine,
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": {
            "InsecureRegistryCIDRs": ["::1/128", "127.0.0.0/8"],
            "IndexConfigs": {"docker.io": {"Name": "docker.io", "Mirrors": [], "Secure": True, "Official": True}},
            "Mirrors": [],
        },
        "NCPU": os.cpu_count() or 1,
        "MemTotal": memory,
        "GenericResources": None,
        "DockerRootDir": str(engine.instance.root),
        "HttpProxy": "",
        "HttpsProxy": "",
        "NoProxy": "",
        "Name": uname.nodename,
        "Labels": [],
        "ExperimentalBuild": False,
        "ServerVersion": VERSION,
        "Runtimes": {name: {"path": engine.runtimes.get(name).path} for name in engine.runtimes.names()},
        "DefaultRuntime": engine.runtimes.default,
        "Swarm": {
            "NodeID": "",
            "NodeAddr": "",
            "LocalNodeState": "inactive",
            "ControlAvailable": False,
            "Error": "",
            "RemoteManagers": None,
        },
        "LiveRestoreEnabled": True,
        "Isolation": "",
        "InitBinary": next((Path(path).name for path in oci.INIT_PATHS if Path(path).exists()), ""),
        "ContainerdCommit": {"ID": ""},
        "RuncCommit": {"ID": _program_version(engine.runtimes.get("").path)},
        "InitCommit": {"ID": ""},
        "SecurityOptions": security,
        "CDISpecDirs": [],
        "Warnings": _warnings(engine),
    }


def _warnings(engine: "Engine") -> list[str]:
    layout, missing = engine.layout, []
    if not layout.has("memory"):
        missing.append("WARNING: No memory limit support")
    if layout.version == 1 and not _has(layout.controllers.get("memory"), "memory.memsw.limit_in_bytes"):
        missing.append("WARNING: No swap limit support")
    if not layout.has("pids"):
        missing.append("WARNING: No pids limit support")
    return missing


def _identity(engine: "Engine") -> str:
    import uuid

    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{os.uname().nodename}:{engine.instance.root}"))


def _architecture(machine: str) -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


@cache
def _program_version(program: str) -> str:
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    words = done.stdout.split("\n", 1)[0].split()
    return words[-1] if words else ""


@cache
def _os_release() -> dict[str, str]:
    return platform.freedesktop_os_release()


def _total_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _filesystem(path: Path) -> str:
    from wherry.host.mounts import mounts

    best, kind = "", "unknown"
    for entry in mounts():
        target = entry.target.rstrip("/") + "/"
        if f"{path}/".startswith(target) and len(target) >= len(best):
            best, kind = target, entry.fstype
    return {"ext4": "extfs"}.get(kind, kind)


def _setting(path: str) -> bool:
    try:
        return Path(path).read_text().strip() == "1"
    except OSError:
        return False


def _has(base: Path | None, name: str) -> bool:
    return base is not None and (base / name).exists()

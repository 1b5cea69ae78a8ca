"""Limits: HostConfig's resources as the OCI runtime takes them, devices, and rlimits.

Specified in the OCI runtime specification (config-linux, "Control groups", "Devices"; config, "POSIX rlimits") and
in the Docker Engine API, `Resources`. What this machine cannot give is left out with a warning, as Docker does.
"""

import logging
import os
import resource
import stat
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from wherry.engine.capabilities import available
from wherry.engine.errors import EngineError, InvalidParameter
from wherry.host.cgroups import Layout

_log = logging.getLogger(__name__)

_DEFAULT_DEVICES = (
    ("c", None, None, "m"), ("b", None, None, "m"), ("c", 1, 3, "rwm"), ("c", 1, 5, "rwm"), ("c", 1, 7, "rwm"),
    ("c", 1, 8, "rwm"), ("c", 1, 9, "rwm"), ("c", 5, 0, "rwm"), ("c", 5, 2, "rwm"), ("c", 136, None, "rwm"),
)  # fmt: skip
"""null, zero, full, random, urandom, tty, ptmx and pseudo-terminals; making nodes is free, opening them is not."""

_RLIMITS = {
    "as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio",
    "rttime", "sigpending", "stack",
}  # fmt: skip
MINIMUM_MEMORY = 6 << 20


def check(host_config: dict[str, Any], layout: Layout, *, update: bool = False) -> list[str]:
    """Check and complete the limits of a HostConfig in place; returns warnings. Raises InvalidParameter."""
    warnings: list[str] = []
    memory, swap = host_config.get("Memory") or 0, host_config.get("MemorySwap") or 0
    if memory and not layout.has("memory"):
        warnings.append(
            "Your kernel does not support memory limit capabilities or the cgroup is not mounted. Limitation discarded."
        )
        host_config["Memory"] = memory = 0
        host_config["MemorySwap"] = swap = -1
    if memory and memory < MINIMUM_MEMORY:
        raise InvalidParameter("Minimum memory limit allowed is 6MB")
    if memory and swap != -1 and not swap_accounting(layout):
        if swap or not update:
            warnings.append(
                "Your kernel does not support swap limit capabilities or the cgroup is not mounted. "
                "Memory limited without swap."
            )
        host_config["MemorySwap"] = swap = -1
    if memory and swap > 0 and swap < memory:
        raise InvalidParameter("Minimum memoryswap limit should be larger than memory limit, see usage")
    if not memory and swap > 0 and not update:
        raise InvalidParameter("You should always set the Memory limit when using Memoryswap limit, see usage")
    if memory and not swap and not update:
        host_config["MemorySwap"] = 2 * memory
    swappiness = host_config.get("MemorySwappiness")
    if swappiness is not None:
        if not -1 <= swappiness <= 100:
            raise InvalidParameter(f"Invalid value: {swappiness}, valid memory swappiness range is 0-100")
        if swappiness != -1 and layout.version == 2:
            warnings.append("Your kernel does not support memory swappiness capabilities. Memory swappiness discarded.")
            host_config["MemorySwappiness"] = None
    reservation = host_config.get("MemoryReservation") or 0
    if reservation and reservation < MINIMUM_MEMORY:
        raise InvalidParameter("Minimum memory reservation allowed is 6MB")
    if memory and reservation and memory < reservation:
        raise InvalidParameter("Minimum memory limit can not be less than memory reservation limit, see usage")
    if host_config.get("OomKillDisable") and layout.version == 2:
        warnings.append("Your kernel does not support OomKillDisable. OomKillDisable discarded.")
        host_config["OomKillDisable"] = None
    _check_cpu(host_config)
    _check_realtime(host_config, layout)
    warnings += check_block_weight(host_config, layout)
    pids = host_config.get("PidsLimit")
    if pids is not None and pids <= 0:
        host_config["PidsLimit"] = None if pids == 0 else -1
    score = host_config.get("OomScoreAdj") or 0
    if not -1000 <= score <= 1000:
        raise InvalidParameter(f"Invalid value {score}, range for oom score adj is [-1000, 1000]")
    shm = host_config.get("ShmSize") or 0
    if shm < 0:
        raise InvalidParameter("SHM size can not be less than 0")
    for limit in host_config.get("Ulimits") or ():
        name = str(limit.get("Name"))
        if name not in _RLIMITS:
            raise InvalidParameter(f"invalid ulimit type: {name}")
        soft, hard = limit.get("Soft", -1), limit.get("Hard", -1)
        if hard != -1 and (soft > hard or soft == -1):
            raise InvalidParameter(f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")
    return warnings


def check_block_weight(host_config: dict[str, Any], layout: Layout) -> list[str]:
    """The warnings for a weight of block I/O, which is dropped where the kernel has none. Raises InvalidParameter."""
    weight, devices = host_config.get("BlkioWeight") or 0, host_config.get("BlkioWeightDevice") or []
    if not (weight or devices):
        return []
    warnings = []
    if layout.version == 1:
        warnings = _drop_block_weight(host_config, layout)
        weight, devices = host_config["BlkioWeight"], host_config["BlkioWeightDevice"]
    for value in (weight, *(device.get("Weight") or 0 for device in devices)):
        if value and not 10 <= value <= 1000:
            raise InvalidParameter("Range of blkio weight is from 10 to 1000")
    return warnings


def _drop_block_weight(host_config: dict[str, Any], layout: Layout) -> list[str]:
    """What the kernel cannot do is dropped with a warning, before its value is looked at."""
    weight, devices = host_config.get("BlkioWeight") or 0, host_config.get("BlkioWeightDevice") or []
    host_config |= {"BlkioWeight": weight, "BlkioWeightDevice": devices}
    warnings = []
    directory = layout.controllers.get("blkio")
    if weight and (directory is None or not (directory / "blkio.weight").exists()):
        warnings.append("Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.")
        host_config["BlkioWeight"] = 0
    if devices and (directory is None or not (directory / "blkio.weight_device").exists()):
        warnings.append(
            "Your kernel does not support Block I/O weight_device or the cgroup is not mounted. "
            "Weight-device discarded."
        )
        host_config["BlkioWeightDevice"] = []
    return warnings


def _check_realtime(host_config: Mapping[str, Any], layout: Layout) -> None:
    period, runtime = (host_config.get(key) or 0 for key in ("CpuRealtimePeriod", "CpuRealtimeRuntime"))
    if not (period or runtime):
        return
    if layout.version == 2 or not layout.has("cpu") or not (layout.controllers["cpu"] / "cpu.rt_runtime_us").exists():
        raise InvalidParameter("kernel does not support CPU real-time scheduler")
    if period and runtime > period:
        raise InvalidParameter("cpu real-time runtime cannot be higher than cpu real-time period")


def _check_cpu(host_config: dict[str, Any]) -> None:
    nano, period, quota = (host_config.get(key) or 0 for key in ("NanoCpus", "CpuPeriod", "CpuQuota"))
    cores = os.cpu_count() or 1
    if nano and (period or quota):
        other = "Period" if period else "Quota"
        raise InvalidParameter(
            f"Conflicting options: Nano CPUs and CPU {other} cannot both be set."
            if other == "Period"
            else "Conflicting options: Nano CPUs and CPU Quota cannot both be set."
        )
    if nano < 0 or nano > cores * 1_000_000_000:
        raise InvalidParameter(f"range of CPUs is from 0.01 to {cores}.00, as there are only {cores} CPUs available")
    if period and not 1000 <= period <= 1_000_000:
        raise InvalidParameter("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
    if 0 < quota < 1000:
        raise InvalidParameter("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    for key, name in (("CpusetCpus", "cpus"), ("CpusetMems", "mems")):
        text = host_config.get(key) or ""
        if not text:
            continue
        wanted = _parse_set(text)
        if wanted is None:
            raise InvalidParameter(f"Invalid value {text} for cpuset {name}")
        path = Path("/sys/devices/system/cpu/online" if name == "cpus" else "/sys/devices/system/node/online")
        available_here = path.read_text().strip() if path.exists() else "0"
        if not wanted <= (_parse_set(available_here) or wanted):
            title = "CPUs" if name == "cpus" else "memory nodes"
            raise InvalidParameter(
                f"Requested {title} are not available - requested {text}, available: {available_here}"
            )


def _parse_set(text: str) -> set[int] | None:
    result: set[int] = set()
    for part in text.split(","):
        low, dash, high = part.partition("-")
        if not low.isdigit() or (dash and not high.isdigit()):
            return None
        if dash and (int(high) < int(low) or int(high) > 65536):
            return None
        result.update(range(int(low), int(high or low) + 1))
    return result


def swap_accounting(layout: Layout) -> bool:
    """Whether the machine can limit memory and swap together."""
    if not layout.has("memory"):
        return False
    if layout.version == 2:
        return True
    return (layout.controllers["memory"] / "memory.memsw.limit_in_bytes").exists()


def oci_resources(host_config: Mapping[str, Any]) -> dict[str, Any]:
    """`linux.resources` without devices: also what `crun update` takes."""
    result: dict[str, Any] = {}
    cpu: dict[str, Any] = {}
    if host_config.get("CpuShares"):
        cpu["shares"] = host_config["CpuShares"]
    if host_config.get("NanoCpus"):
        cpu["period"] = 100_000
        cpu["quota"] = host_config["NanoCpus"] * 100_000 // 1_000_000_000
    if host_config.get("CpuPeriod"):
        cpu["period"] = host_config["CpuPeriod"]
    if host_config.get("CpuQuota"):
        cpu["quota"] = host_config["CpuQuota"]
    if host_config.get("CpuRealtimePeriod"):
        cpu["realtimePeriod"] = host_config["CpuRealtimePeriod"]
    if host_config.get("CpuRealtimeRuntime"):
        cpu["realtimeRuntime"] = host_config["CpuRealtimeRuntime"]
    if host_config.get("CpusetCpus"):
        cpu["cpus"] = host_config["CpusetCpus"]
    if host_config.get("CpusetMems"):
        cpu["mems"] = host_config["CpusetMems"]
    if cpu:
        result["cpu"] = cpu
    memory: dict[str, Any] = {}
    if host_config.get("Memory"):
        memory["limit"] = host_config["Memory"]
    if host_config.get("MemoryReservation"):
        memory["reservation"] = host_config["MemoryReservation"]
    if host_config.get("MemorySwap") and host_config["MemorySwap"] > 0:
        memory["swap"] = host_config["MemorySwap"]
    if host_config.get("MemorySwappiness") not in (None, -1):
        memory["swappiness"] = host_config["MemorySwappiness"]
    if host_config.get("OomKillDisable"):
        memory["disableOOMKiller"] = True
    if memory:
        result["memory"] = memory
    if host_config.get("PidsLimit"):
        result["pids"] = {"limit": host_config["PidsLimit"]}
    block = _block_io(host_config)
    if block:
        result["blockIO"] = block
    return result


def _block_io(host_config: Mapping[str, Any]) -> dict[str, Any]:
    block: dict[str, Any] = {}
    if host_config.get("BlkioWeight"):
        block["weight"] = host_config["BlkioWeight"]
    if host_config.get("BlkioWeightDevice"):
        block["weightDevice"] = [
            {**_numbers(entry["Path"]), "weight": entry["Weight"]} for entry in host_config["BlkioWeightDevice"]
        ]
    for key, name in (
        ("BlkioDeviceReadBps", "throttleReadBpsDevice"),
        ("BlkioDeviceWriteBps", "throttleWriteBpsDevice"),
        ("BlkioDeviceReadIOps", "throttleReadIOPSDevice"),
        ("BlkioDeviceWriteIOps", "throttleWriteIOPSDevice"),
    ):
        if host_config.get(key):
            block[name] = [{**_numbers(entry["Path"]), "rate": entry["Rate"]} for entry in host_config[key]]
    return block


def _numbers(path: str) -> dict[str, int]:
    try:
        about = os.stat(path)
    except OSError as error:
        raise InvalidParameter(f"stat {path}: {os.strerror(error.errno or 0).lower()}") from error
    return {"major": os.major(about.st_rdev), "minor": os.minor(about.st_rdev)}


def device_rules(host_config: Mapping[str, Any], devices: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """`linux.resources.devices`: what may be opened and made."""
    if host_config.get("Privileged"):
        return [{"allow": True, "access": "rwm"}]
    rules: list[dict[str, Any]] = [{"allow": False, "access": "rwm"}]
    rules += [_rule(kind, major, minor, access) for kind, major, minor, access in _DEFAULT_DEVICES]
    rules += [
        _rule(device["type"], device["major"], device["minor"], device.get("access", "rwm")) for device in devices
    ]
    for text in host_config.get("DeviceCgroupRules") or ():
        rules.append(parse_device_rule(text))
    return rules


def parse_device_rule(text: str) -> dict[str, Any]:
    """`c 1:3 rwm`, with `*` for any number. Raises InvalidParameter."""
    words = text.split()
    if len(words) == 3 and words[0] in ("a", "b", "c") and set(words[2]) <= set("rwm"):
        major, colon, minor = words[1].partition(":")
        if colon and all(number == "*" or number.isdigit() for number in (major, minor)):
            return _rule(words[0], None if major == "*" else int(major), None if minor == "*" else int(minor), words[2])
    raise InvalidParameter(f"invalid device cgroup rule format: '{text}'")


def _rule(kind: str, major: int | None, minor: int | None, access: str) -> dict[str, Any]:
    rule: dict[str, Any] = {"allow": True, "type": kind, "access": access}
    if major is not None:
        rule["major"] = major
    if minor is not None:
        rule["minor"] = minor
    return rule


def devices(host_config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """`linux.devices` for HostConfig.Devices, or for all of the host's when privileged."""
    if host_config.get("Privileged"):
        return _host_devices()
    result = []
    for mapping in host_config.get("Devices") or ():
        host_path = mapping.get("PathOnHost") or ""
        inside = mapping.get("PathInContainer") or host_path
        access = mapping.get("CgroupPermissions") or "rwm"
        found = _device(host_path, inside, access)
        if found is not None:
            result.append(found)
            continue
        if not os.path.isdir(host_path):
            raise EngineError(
                f'error gathering device information while adding custom device "{host_path}": '
                + ("not a device node" if os.path.exists(host_path) else "no such file or directory")
            )
        for directory, _, names in os.walk(host_path):
            for name in names:
                path = os.path.join(directory, name)
                below = _device(path, os.path.join(inside, os.path.relpath(path, host_path)), access)
                if below is not None:
                    result.append(below)
    return result


def _device(host_path: str, inside: str, access: str) -> dict[str, Any] | None:
    try:
        about = os.stat(host_path)
    except OSError:
        return None
    kind = "b" if stat.S_ISBLK(about.st_mode) else "c" if stat.S_ISCHR(about.st_mode) else None
    if kind is None:
        return None
    return {
        "path": inside,
        "type": kind,
        "major": os.major(about.st_rdev),
        "minor": os.minor(about.st_rdev),
        "fileMode": stat.S_IMODE(about.st_mode),
        "uid": about.st_uid,
        "gid": about.st_gid,
        "access": access,
    }


def _host_devices() -> list[dict[str, Any]]:
    found = []
    for directory, names, files in os.walk("/dev"):
        names[:] = [name for name in names if name not in ("pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts")]
        for name in files:
            path = os.path.join(directory, name)
            if name in ("console", "ptmx") or os.path.islink(path):
                continue
            device = _device(path, path, "rwm")
            if device is not None:
                found.append(device)
    return found


@cache
def _warn_once(message: str) -> None:
    _log.warning(message)


def rlimits(ulimits: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """`process.rlimits`. Without CAP_SYS_RESOURCE no hard limit can be raised: then it is clipped, with one warning."""
    result = []
    may_raise = "CAP_SYS_RESOURCE" in available()
    for limit in ulimits:
        name = f"RLIMIT_{limit['Name'].upper()}"
        soft, hard = _unsigned(limit.get("Soft", -1)), _unsigned(limit.get("Hard", -1))
        number = getattr(resource, name, None)
        if not may_raise and number is not None:
            ours = _unsigned(resource.getrlimit(number)[1])
            if hard > ours:
                _warn_once(
                    "this process lacks CAP_SYS_RESOURCE: ulimits above its own are clipped "
                    f"({limit['Name']} to {ours} from {hard})"
                )
                hard, soft = ours, min(soft, ours)
        result.append({"type": name, "soft": soft, "hard": hard})
    return result


def oom_score(score: int) -> int:
    """HostConfig.OomScoreAdj as far as this process may set it: never below its own without CAP_SYS_RESOURCE."""
    if "CAP_SYS_RESOURCE" in available():
        return score
    own = int(Path("/proc/self/oom_score_adj").read_text())
    if score < own:
        _warn_once(f"this process lacks CAP_SYS_RESOURCE: OOM scores stay at or above {own}")
        return own
    return score


def _unsigned(value: int) -> int:
    return (1 << 64) - 1 if value < 0 else value

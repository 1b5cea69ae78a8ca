"""The OCI bundle's config.json: everything that a container is, in the runtime's words.

Specified in the OCI runtime specification 1.0 (config, config-linux). Defaults (mounts, masked and read-only paths,
capabilities, environment) are those of Docker's daemon. Pure: it reads no container state and changes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wherry.engine import capabilities, resources, seccomp
from wherry.engine.errors import InvalidParameter
from wherry.engine.users import User
from wherry.host.cgroups import Layout

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_SHM = 64 << 20

MASKED_PATHS = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap",
    "/sys/firmware",
)  # fmt: skip
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

INIT_INSIDE = "/sbin/docker-init"
INIT_PATHS = ("/usr/bin/catatonit", "/usr/libexec/podman/catatonit", "/usr/bin/docker-init", "/usr/bin/tini-static")


@dataclass(frozen=True)
class SpecInputs:
    """What `build_spec` needs beyond the configs. Paths are the host's.

    `netns` None means the host's network unless `new_netns`. `namespaces` gives paths to join by kind (ipc, pid,
    uts). `files` are host files to bind over /etc/resolv.conf, /etc/hostname and /etc/hosts.
    """

    id: str
    hostname: str
    rootfs: Path
    user: User
    layout: Layout
    cgroup_path: str
    command: Sequence[str]
    netns: Path | None = None
    new_netns: bool = False
    namespaces: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    mounts: Sequence[Mapping[str, Any]] = ()
    shm_source: Path | None = None
    environment: Sequence[str] = ()
    domainname: str = ""


@dataclass(frozen=True)
class Security:
    """HostConfig.SecurityOpt, read."""

    no_new_privileges: bool = False
    seccomp: str = ""
    """"" the default, "unconfined", or a profile's JSON."""
    apparmor: str = ""
    unmask: bool = False
    writable_cgroups: bool = False


def parse_security(options: Sequence[str]) -> Security:
    """`no-new-privileges`, `seccomp=…`, `apparmor=…`, `label=…`, `systempaths=unconfined`. Raises InvalidParameter."""
    values: dict[str, Any] = {}
    for option in options:
        if option == "no-new-privileges":
            values["no_new_privileges"] = True
            continue
        if option == "writable-cgroups":
            values["writable_cgroups"] = True
            continue
        key, separator, value = option.partition("=")
        if not separator:
            key, separator, value = option.partition(":")
        if not separator:
            raise InvalidParameter(f'invalid --security-opt 1: "{option}"')
        if key == "no-new-privileges":
            if value not in ("true", "false"):
                raise InvalidParameter(f'invalid --security-opt 2: "{option}"')
            values["no_new_privileges"] = value == "true"
        elif key == "writable-cgroups":
            values["writable_cgroups"] = value == "true"
        elif key == "seccomp":
            values["seccomp"] = "" if value == "builtin" else value
        elif key == "apparmor":
            values["apparmor"] = value
        elif key == "systempaths":
            if value != "unconfined":
                raise InvalidParameter(f'invalid --security-opt 2: "{option}"')
            values["unmask"] = True
        elif key == "label":
            # SELinux labels: this engine sets none, and `disable` asks for just that.
            if value != "disable":
                raise InvalidParameter(f"SELinux labels are not supported by this engine: {option}")
        else:
            raise InvalidParameter(f'invalid --security-opt 2: "{option}"')
    return Security(**values)


def build_spec(config: Mapping[str, Any], host_config: Mapping[str, Any], inputs: SpecInputs) -> dict[str, Any]:
    """The specification of one container. Raises InvalidParameter for what cannot be."""
    privileged = bool(host_config.get("Privileged"))
    security = parse_security(host_config.get("SecurityOpt") or ())
    devices = resources.devices(host_config)
    limits = resources.oci_resources(host_config)
    limits["devices"] = resources.device_rules(host_config, devices)
    linux: dict[str, Any] = {
        "namespaces": _namespaces(host_config, inputs),
        "cgroupsPath": f"/{inputs.cgroup_path}",
        "resources": limits,
        "devices": [{key: value for key, value in device.items() if key != "access"} for device in devices],
        "rootfsPropagation": _root_propagation(inputs.mounts),
    }
    if not privileged and not security.unmask:
        masked, read_only = host_config.get("MaskedPaths"), host_config.get("ReadonlyPaths")
        linux["maskedPaths"] = list(MASKED_PATHS if masked is None else masked)
        linux["readonlyPaths"] = list(READONLY_PATHS if read_only is None else read_only)
    sysctls = {
        key: value
        for key, value in (host_config.get("Sysctls") or {}).items()
        if not (key.startswith("net.") and inputs.netns is not None)
    }
    if sysctls:
        linux["sysctl"] = sysctls
    process = build_process(config, host_config, inputs, security)
    if not privileged:
        held = frozenset(process["capabilities"]["bounding"])
        if security.seccomp == "":
            profile = seccomp.default(held)
        elif security.seccomp == "unconfined":
            profile = None
        else:
            profile = seccomp.custom(security.seccomp, held)
        if profile is not None:
            linux["seccomp"] = profile
    spec: dict[str, Any] = {
        "ociVersion": "1.0.2",
        "process": process,
        "root": {"path": str(inputs.rootfs), "readonly": bool(host_config.get("ReadonlyRootfs"))},
        "mounts": _mounts(host_config, inputs, privileged or security.writable_cgroups, privileged),
        "linux": linux,
    }
    annotations = host_config.get("Annotations")
    if annotations:
        spec["annotations"] = dict(annotations)
    if any(namespace["type"] == "uts" and "path" not in namespace for namespace in linux["namespaces"]):
        spec["hostname"] = inputs.hostname
        if inputs.domainname:
            sysctl = linux.setdefault("sysctl", {})
            sysctl.setdefault("kernel.domainname", inputs.domainname)
    return spec


def build_process(
    config: Mapping[str, Any],
    host_config: Mapping[str, Any],
    inputs: SpecInputs,
    security: Security | None = None,
) -> dict[str, Any]:
    """`process`: of a container, or of an exec in it."""
    security = security or parse_security(host_config.get("SecurityOpt") or ())
    held = capabilities.effective(
        host_config.get("CapAdd") or (),
        host_config.get("CapDrop") or (),
        privileged=bool(host_config.get("Privileged")),
    )
    user = inputs.user
    groups = list(dict.fromkeys([user.gid, *user.groups]))
    process: dict[str, Any] = {
        "terminal": bool(config.get("Tty")),
        "user": {"uid": user.uid, "gid": user.gid, "additionalGids": groups},
        "args": list(inputs.command),
        "env": environment(config, inputs),
        "cwd": config.get("WorkingDir") or "/",
        "capabilities": capability_sets(held, user.uid),
        "noNewPrivileges": security.no_new_privileges,
        "oomScoreAdj": resources.oom_score(host_config.get("OomScoreAdj") or 0),
    }
    size = host_config.get("ConsoleSize") or [0, 0]
    if config.get("Tty") and any(size):
        process["consoleSize"] = {"height": size[0], "width": size[1]}
    ulimits = host_config.get("Ulimits")
    if ulimits:
        process["rlimits"] = resources.rlimits(ulimits)
    if security.apparmor and security.apparmor != "unconfined":
        process["apparmorProfile"] = security.apparmor
    return process


def capability_sets(held: Sequence[str], uid: int) -> dict[str, list[str]]:
    """Root gets what the container holds; another user only the bounding set, as runc does for Docker."""
    names = list(held)
    active = names if uid == 0 else []
    return {"bounding": names, "effective": active, "permitted": active}


def environment(config: Mapping[str, Any], inputs: SpecInputs) -> list[str]:
    """PATH, HOSTNAME, TERM and HOME by default, overridden by the container's own."""
    values = {"PATH": DEFAULT_PATH, "HOSTNAME": inputs.hostname}
    if config.get("Tty"):
        values["TERM"] = "xterm"
    result = dict(values)
    for entry in (*inputs.environment, *(config.get("Env") or ())):
        key, separator, value = entry.partition("=")
        if separator:
            result[key] = value
        else:
            # A bare name unsets a default.
            result.pop(key, None)
    result.setdefault("HOME", inputs.user.home)
    return [f"{key}={value}" for key, value in result.items()]


def _namespaces(host_config: Mapping[str, Any], inputs: SpecInputs) -> list[dict[str, Any]]:
    result: list[dict[str, Any]] = [{"type": "mount"}]
    for kind, mode in (
        ("pid", host_config.get("PidMode") or ""),
        ("ipc", host_config.get("IpcMode") or ""),
        ("uts", host_config.get("UTSMode") or ""),
    ):
        if mode == "host":
            continue
        entry: dict[str, Any] = {"type": kind}
        if kind in inputs.namespaces:
            entry["path"] = inputs.namespaces[kind]
        result.append(entry)
    if inputs.netns is not None:
        result.append({"type": "network", "path": str(inputs.netns)})
    elif inputs.new_netns:
        result.append({"type": "network"})
    cgroup_mode = host_config.get("CgroupnsMode") or ("private" if inputs.layout.version == 2 else "host")
    if cgroup_mode == "private":
        result.append({"type": "cgroup"})
    return result


def _root_propagation(mounts: Sequence[Mapping[str, Any]]) -> str:
    """Shared or slave mounts only work below a root that propagates as much."""
    options = {option for mount in mounts for option in mount.get("options") or ()}
    if options & {"shared", "rshared"}:
        return "shared"
    if options & {"slave", "rslave"}:
        return "slave"
    return "rprivate"


def _mounts(
    host_config: Mapping[str, Any], inputs: SpecInputs, writable_cgroups: bool, privileged: bool
) -> list[dict[str, Any]]:
    taken = {str(mount["destination"]) for mount in inputs.mounts}
    result: list[dict[str, Any]] = []

    def add(destination: str, kind: str, source: str, options: Sequence[str]) -> None:
        if destination not in taken:
            result.append({"destination": destination, "type": kind, "source": source, "options": list(options)})

    add("/proc", "proc", "proc", ["nosuid", "noexec", "nodev"])
    add("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"])
    add("/dev/pts", "devpts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"])
    add("/sys", "sysfs", "sysfs", ["nosuid", "noexec", "nodev", "rw" if privileged else "ro"])
    add(
        "/sys/fs/cgroup", "cgroup", "cgroup",
        ["nosuid", "noexec", "nodev", "relatime", "rw" if writable_cgroups else "ro"],
    )  # fmt: skip
    ipc = host_config.get("IpcMode") or ""
    if ipc == "host":
        if Path("/dev/mqueue").exists():
            add("/dev/mqueue", "bind", "/dev/mqueue", ["rbind", "nosuid", "noexec", "nodev"])
    else:
        add("/dev/mqueue", "mqueue", "mqueue", ["nosuid", "noexec", "nodev"])
    if ipc == "host":
        add("/dev/shm", "bind", "/dev/shm", ["rbind", "nosuid", "noexec", "nodev"])
    elif inputs.shm_source is not None:
        add("/dev/shm", "bind", str(inputs.shm_source), ["rbind", "nosuid", "noexec", "nodev"])
    elif ipc != "none":
        size = host_config.get("ShmSize") or DEFAULT_SHM
        add("/dev/shm", "tmpfs", "shm", ["nosuid", "noexec", "nodev", "mode=1777", f"size={size}"])
    defaults = len(result)
    for destination, source in inputs.files.items():
        options = ["rbind", "rprivate"]
        if host_config.get("ReadonlyRootfs"):
            options.append("ro")
        add(destination, "bind", str(source), options)
    if host_config.get("Init"):
        add(INIT_INSIDE, "bind", init_path(), ["bind", "ro"])
    result.extend(dict(mount) for mount in inputs.mounts)
    # A volume at /etc must not hide /etc/hosts: what lies deeper comes later.
    result[defaults:] = sorted(result[defaults:], key=lambda mount: str(mount["destination"]).count("/"))
    return result


def init_path() -> str:
    """The program that `--init` runs as the container's first process. Raises InvalidParameter when there is none."""
    for candidate in INIT_PATHS:
        if Path(candidate).exists():
            return candidate
    raise InvalidParameter("--init needs catatonit, which is not installed on this machine")

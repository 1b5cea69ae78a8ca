"""A pod's container as the body of Docker's `POST /containers/create`, with the pod's own additions.

Pure: everything that needs the API, the disk or the image store comes in by `Placement`. Docker's fields are
specified in the Engine API v1.50; `WherryPod` is the engine's extension for pods (host name, host files, cgroup).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wherry.node import pods, resources
from wherry.node.env import ConfigError, expand
from wherry.schema.resource import Object

DEFAULT_MESSAGE_PATH = "/dev/termination-log"


@dataclass(frozen=True)
class Mount:
    """One bind mount: a host path that exists, and where it goes; or an image (`source` is its id) and what of it."""

    source: str
    target: str
    read_only: bool = False
    propagation: str = "rprivate"
    recursive_read_only: bool = False
    image: bool = False
    subpath: str = ""
    """Of an image: the folder or file in it."""


@dataclass(frozen=True)
class Placement:
    """Where and how one attempt of a container is made."""

    attempt: int
    backoff: float
    sandbox: str
    image_id: str
    """What to create from: the image's id."""
    image_user: str
    environment: Mapping[str, str]
    mounts: Sequence[Mount] = ()
    netns: str = ""
    """Path of the pod's network namespace; "" with host network."""
    ipcns: str = ""
    pidns: str = ""
    shm: str = ""
    cgroup_parent: str = ""
    log_path: str = ""
    resolv_conf: str = ""
    hosts: str = ""
    hostname: str = ""
    domainname: str = ""
    memory_capacity: int = 1
    pids_limit: int = 0
    seccomp_profiles: Path = Path("/var/lib/wherry/seccomp")
    devices: Sequence[dict[str, Any]] = field(default_factory=tuple)


def container_name(pod: Object, name: str, attempt: int) -> str:
    """`k8s_web_shop_default_<uid>_0`: as Docker users know containers of pods."""
    return f"k8s_{name}_{pods.name(pod)}_{pods.namespace(pod)}_{pods.uid(pod)}_{attempt}"


def cgroup_parent(instance_cgroup: str, pod: Object) -> str:
    """`<instance>/kubepods/burstable/pod<uid>`; guaranteed pods stand right below kubepods."""
    tier = {"Burstable": "/burstable", "BestEffort": "/besteffort"}.get(pods.qos_class(pod), "")
    return f"{instance_cgroup}/kubepods{tier}/pod{pods.uid(pod)}"


def labels(pod: Object, container: Object, placement: Placement) -> dict[str, str]:
    """What a restarted kubelet needs to know its containers again."""
    return {
        pods.LABEL_CONTAINER: container["name"],
        pods.LABEL_POD: pods.name(pod),
        pods.LABEL_NAMESPACE: pods.namespace(pod),
        pods.LABEL_UID: pods.uid(pod),
        pods.LABEL_HASH: pods.container_hash(container),
        pods.LABEL_ATTEMPT: str(placement.attempt),
        pods.LABEL_SANDBOX: placement.sandbox,
        pods.LABEL_BACKOFF: f"{placement.backoff:g}",
        pods.LABEL_IMAGE: container.get("image", ""),
        pods.LABEL_MESSAGE_PATH: container.get("terminationMessagePath") or DEFAULT_MESSAGE_PATH,
        pods.LABEL_MESSAGE_POLICY: container.get("terminationMessagePolicy") or "File",
    }


def create_body(pod: Object, container: Object, placement: Placement) -> dict[str, Any]:
    """The whole body. Raises ConfigError when the security context cannot be satisfied."""
    env = placement.environment
    body: dict[str, Any] = {
        "Image": placement.image_id,
        "Env": [f"{key}={value}" for key, value in env.items()],
        "Labels": labels(pod, container, placement),
        "Tty": bool(container.get("tty")),
        "OpenStdin": bool(container.get("stdin")),
        "StdinOnce": bool(container.get("stdinOnce")),
        "Healthcheck": {"Test": ["NONE"]},
    }
    if placement.hostname:
        body["Hostname"] = placement.hostname
    if container.get("command"):
        body["Entrypoint"] = [expand(word, env.get) for word in container["command"]]
    if container.get("args"):
        body["Cmd"] = [expand(word, env.get) for word in container["args"]]
    if container.get("workingDir"):
        body["WorkingDir"] = container["workingDir"]
    stop_signal = (container.get("lifecycle") or {}).get("stopSignal")
    if stop_signal:
        body["StopSignal"] = stop_signal
    host_config, user = _host_config(pod, container, placement)
    if user:
        body["User"] = user
    body["HostConfig"] = host_config
    body["WherryPod"] = _pod_section(pod, placement)
    return body


def _pod_section(pod: Object, placement: Placement) -> dict[str, Any]:
    section: dict[str, Any] = {"CgroupParent": placement.cgroup_parent}
    if placement.log_path:
        section["LogPath"] = placement.log_path
    if placement.resolv_conf:
        section["ResolvConf"] = placement.resolv_conf
    if placement.hosts:
        section["Hosts"] = placement.hosts
    if placement.shm:
        section["Shm"] = placement.shm
    if placement.hostname:
        section["Hostname"] = placement.hostname
    return section


def _context(pod: Object, container: Object, key: str) -> Any:
    """A security context field: the container's word, else the pod's."""
    own = (container.get("securityContext") or {}).get(key)
    return own if own is not None else (pod["spec"].get("securityContext") or {}).get(key)


def _user(pod: Object, container: Object, image_user: str) -> str:
    """`uid[:gid]` for Docker's User, or "" to leave it to the image. Enforces runAsNonRoot."""
    user = _context(pod, container, "runAsUser")
    group = _context(pod, container, "runAsGroup")
    if _context(pod, container, "runAsNonRoot"):
        where = f'(pod: "{pods.described(pod)}", container: {container["name"]})'
        if user is not None:
            if user == 0:
                raise ConfigError(f"container's runAsUser breaks non-root policy {where}")
        else:
            name = image_user.partition(":")[0]
            if not name or name == "0":
                raise ConfigError(f"container has runAsNonRoot and image will run as root {where}")
            if not name.isdigit():
                raise ConfigError(
                    f"container has runAsNonRoot and image has non-numeric user ({name}), "
                    f"cannot verify user is non-root {where}"
                )
    if user is None and group is None:
        return ""
    shown = str(user) if user is not None else (image_user.partition(":")[0] or "0")
    return shown if group is None else f"{shown}:{group}"


def _host_config(pod: Object, container: Object, placement: Placement) -> tuple[dict[str, Any], str]:
    spec = pod["spec"]
    context = container.get("securityContext") or {}
    pod_context = spec.get("securityContext") or {}
    config: dict[str, Any] = {
        "NetworkMode": f"ns:{placement.netns}" if placement.netns else "host",
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "OomScoreAdj": resources.oom_score_adj(pod, container, placement.memory_capacity),
        "CgroupParent": placement.cgroup_parent,
        "Mounts": [_mount(mount) for mount in placement.mounts],
    }
    config |= limits_of(container)
    if placement.pids_limit:
        config["PidsLimit"] = placement.pids_limit
    if spec.get("hostIPC"):
        config["IpcMode"] = "host"
    elif placement.ipcns:
        config["IpcMode"] = f"ns:{placement.ipcns}"
    if spec.get("hostPID"):
        config["PidMode"] = "host"
    elif placement.pidns:
        config["PidMode"] = f"ns:{placement.pidns}"
    if pods.host_network(pod):
        config["UTSMode"] = "host"
    if context.get("privileged"):
        config["Privileged"] = True
    if context.get("readOnlyRootFilesystem"):
        config["ReadonlyRootfs"] = True
    capabilities = context.get("capabilities") or {}
    if capabilities.get("add"):
        config["CapAdd"] = [_capability(name) for name in capabilities["add"]]
    if capabilities.get("drop"):
        config["CapDrop"] = [_capability(name) for name in capabilities["drop"]]
    groups = [str(group) for group in pod_context.get("supplementalGroups") or []]
    if pod_context.get("fsGroup") is not None:
        groups.append(str(pod_context["fsGroup"]))
    if groups:
        config["GroupAdd"] = groups
    security = _security_options(pod, container, placement)
    if security:
        config["SecurityOpt"] = security
    if context.get("procMount") == "Unmasked":
        config["MaskedPaths"] = []
        config["ReadonlyPaths"] = []
    if placement.devices:
        config["Devices"] = list(placement.devices)
    return config, _user(pod, container, placement.image_user)


def limits_of(container: Object) -> dict[str, int]:
    """Requests and limits as the numbers of HostConfig that bound its cgroup."""
    requests, limits = resources.requests(container), resources.limits(container)
    found = {"CpuShares": resources.cpu_shares(resources.milli(requests.get("cpu", "0")))}
    if "cpu" in limits:
        found["CpuPeriod"] = resources.CPU_PERIOD
        found["CpuQuota"] = resources.cpu_quota(resources.milli(limits["cpu"]))
    if "memory" in limits:
        memory = resources.value(limits["memory"])
        if memory:
            found["Memory"] = found["MemorySwap"] = memory
    return found


def _mount(mount: Mount) -> dict[str, Any]:
    if mount.image:
        whole: dict[str, Any] = {"Type": "image", "Source": mount.source, "Target": mount.target, "ReadOnly": True}
        return whole | {"ImageOptions": {"Subpath": mount.subpath}} if mount.subpath else whole
    options: dict[str, Any] = {"Propagation": mount.propagation}
    if mount.read_only and not mount.recursive_read_only:
        options["ReadOnlyNonRecursive"] = True
    return {
        "Type": "bind",
        "Source": mount.source,
        "Target": mount.target,
        "ReadOnly": mount.read_only,
        "BindOptions": options,
    }


def _capability(name: str) -> str:
    return name if name.upper() == "ALL" else name.upper().removeprefix("CAP_")


def _security_options(pod: Object, container: Object, placement: Placement) -> list[str]:
    context = container.get("securityContext") or {}
    options = []
    if context.get("allowPrivilegeEscalation") is False:
        options.append("no-new-privileges")
    seccomp = _context(pod, container, "seccompProfile") or {}
    if seccomp.get("type") == "Unconfined":
        options.append("seccomp=unconfined")
    elif seccomp.get("type") == "Localhost":
        profile = placement.seccomp_profiles / seccomp.get("localhostProfile", "")
        if not profile.is_file():
            raise ConfigError(f'cannot load seccomp profile "{profile}": open {profile}: no such file or directory')
        options.append(f"seccomp={profile.read_text()}")
    apparmor = _context(pod, container, "appArmorProfile") or {}
    if apparmor.get("type") == "Unconfined":
        options.append("apparmor=unconfined")
    elif apparmor.get("type") == "Localhost":
        options.append(f"apparmor={apparmor.get('localhostProfile', '')}")
    selinux = _context(pod, container, "seLinuxOptions") or {}
    options += [f"label={key}:{selinux[key]}" for key in ("user", "role", "type", "level") if selinux.get(key)]
    return options

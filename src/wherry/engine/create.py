"""From the body of `POST /containers/create` to a container's record: checks, defaults, the image's config merged in.

Nothing is made here: what comes out is complete and valid, or an error. Specified in the Docker Engine API,
`ContainerCreate`; the messages are those of Docker's daemon.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wherry.engine import capabilities, mountpoints, naming, oci, resources
from wherry.engine.errors import Conflict, InvalidParameter
from wherry.engine.logs import check_log_config
from wherry.engine.model import Record, timestamp
from wherry.engine.runtime import Runtimes
from wherry.host.cgroups import Layout

_CONFIG_DEFAULTS: dict[str, Any] = {
    "Hostname": "", "Domainname": "", "User": "", "AttachStdin": False, "AttachStdout": False, "AttachStderr": False,
    "Tty": False, "OpenStdin": False, "StdinOnce": False, "Env": [], "Cmd": None, "Image": "", "Volumes": None,
    "WorkingDir": "", "Entrypoint": None, "OnBuild": None, "Labels": {},
}  # fmt: skip
_CONFIG_OPTIONAL = (
    "ExposedPorts", "Healthcheck", "ArgsEscaped", "NetworkDisabled", "MacAddress", "StopSignal", "StopTimeout", "Shell",
)  # fmt: skip

_HOST_DEFAULTS: dict[str, Any] = {
    "Binds": None, "ContainerIDFile": "", "LogConfig": None, "NetworkMode": "bridge", "PortBindings": {},
    "RestartPolicy": None, "AutoRemove": False, "VolumeDriver": "", "VolumesFrom": None, "ConsoleSize": [0, 0],
    "CapAdd": None, "CapDrop": None, "CgroupnsMode": "", "Dns": [], "DnsOptions": [], "DnsSearch": [],
    "ExtraHosts": None, "GroupAdd": None, "IpcMode": "private", "Cgroup": "", "Links": None, "OomScoreAdj": 0,
    "PidMode": "", "Privileged": False, "PublishAllPorts": False, "ReadonlyRootfs": False, "SecurityOpt": None,
    "UTSMode": "", "UsernsMode": "", "ShmSize": oci.DEFAULT_SHM, "Runtime": "", "Isolation": "", "CpuShares": 0,
    "Memory": 0, "NanoCpus": 0, "CgroupParent": "", "BlkioWeight": 0, "BlkioWeightDevice": [],
    "BlkioDeviceReadBps": [], "BlkioDeviceWriteBps": [], "BlkioDeviceReadIOps": [], "BlkioDeviceWriteIOps": [],
    "CpuPeriod": 0, "CpuQuota": 0, "CpuRealtimePeriod": 0, "CpuRealtimeRuntime": 0, "CpusetCpus": "", "CpusetMems": "",
    "Devices": [], "DeviceCgroupRules": None, "DeviceRequests": None, "MemoryReservation": 0, "MemorySwap": 0,
    "MemorySwappiness": None, "OomKillDisable": False, "PidsLimit": None, "Ulimits": [], "CpuCount": 0, "CpuPercent": 0,
    "IOMaximumIOps": 0, "IOMaximumBandwidth": 0,
}  # fmt: skip
_HOST_OPTIONAL = ("Mounts", "Tmpfs", "Sysctls", "StorageOpt", "Annotations", "Init", "MaskedPaths", "ReadonlyPaths")

_SYSCTL = re.compile(r"[A-Za-z0-9_@-]+([./][A-Za-z0-9_@-]+)+")


@dataclass(frozen=True)
class ImageFacts:
    """What a container takes from its image."""

    id: str
    config: Mapping[str, Any]
    chain_id: str


def build_record(
    body: Mapping[str, Any],
    image: ImageFacts,
    *,
    container_id: str,
    name: str,
    layout: Layout,
    runtimes: Runtimes,
    volumes_from: Callable[[str], Iterable[mountpoints.MountPoint]],
    own: Sequence[Path] = (),
) -> tuple[Record, list[str]]:
    """A new record and the warnings for the client; `own` are the engine's own folders.

    Raises InvalidParameter and other EngineErrors.
    """
    config = _config(body)
    host_config = _host_config(body.get("HostConfig") or {}, layout, runtimes)
    if not body.get("WherryPod"):
        _check_modes_together(config, host_config)
    merge_image(config, image.config)
    if config["Entrypoint"] == [""]:
        config["Entrypoint"] = None
    command = [*(config["Entrypoint"] or ()), *(config["Cmd"] or ())]
    if not command:
        raise InvalidParameter("no command specified")
    warnings = _check_config(config)
    warnings += _check_host_config(host_config, layout)
    if not config["Hostname"] and not _shares_hostname(host_config):
        config["Hostname"] = container_id[:12]
    points = mountpoints.plan(
        host_config,
        config,
        volumes_from,
        () if body.get("WherryPod") else own,
        plain_read_only=bool(body.get("PlainReadOnly")),
    )
    endpoints = {
        network: dict(endpoint or {})
        for network, endpoint in ((body.get("NetworkingConfig") or {}).get("EndpointsConfig") or {}).items()
    }
    record = Record(
        id=container_id,
        name=name,
        created=timestamp(),
        image_id=image.id,
        config=config,
        host_config=host_config,
        path=command[0],
        args=command[1:],
        chain_id=image.chain_id,
        mounts=points,
        endpoints=endpoints,
        pod=dict(body["WherryPod"]) if body.get("WherryPod") else None,
    )
    return record, warnings


def _config(body: Mapping[str, Any]) -> dict[str, Any]:
    config = {key: body.get(key, default) for key, default in _CONFIG_DEFAULTS.items()}
    for key in ("Env", "Labels"):
        config[key] = config[key] or type(_CONFIG_DEFAULTS[key])()
    config["Labels"] = dict(config["Labels"])
    config["Env"] = list(config["Env"])
    for key in ("Cmd", "Entrypoint"):
        if isinstance(config[key], str):
            config[key] = [config[key]]
    for key in _CONFIG_OPTIONAL:
        if body.get(key) is not None:
            config[key] = body[key]
    return config


def merge_image(config: dict[str, Any], image: Mapping[str, Any]) -> None:
    """Fill in place what the client left to the image, as Docker's daemon does."""
    if not config["User"]:
        config["User"] = image.get("User") or ""
    if image.get("ExposedPorts"):
        config["ExposedPorts"] = {**image["ExposedPorts"], **(config.get("ExposedPorts") or {})}
    given = {entry.partition("=")[0] for entry in config["Env"]}
    config["Env"] += [entry for entry in image.get("Env") or () if entry.partition("=")[0] not in given]
    config["Labels"] = {**(image.get("Labels") or {}), **config["Labels"]}
    if not config["Entrypoint"]:
        if not config["Cmd"]:
            config["Cmd"] = image.get("Cmd")
        if config["Entrypoint"] is None:
            config["Entrypoint"] = image.get("Entrypoint")
    if not config["WorkingDir"]:
        config["WorkingDir"] = image.get("WorkingDir") or ""
    if image.get("Volumes"):
        config["Volumes"] = {**image["Volumes"], **(config["Volumes"] or {})}
    config["Volumes"] = config["Volumes"] or None
    for key in ("StopSignal", "Shell"):
        if not config.get(key) and image.get(key):
            config[key] = image[key]
    if config["OnBuild"] is None and image.get("OnBuild"):
        config["OnBuild"] = image["OnBuild"]
    theirs, ours = image.get("Healthcheck"), config.get("Healthcheck")
    if theirs:
        if not ours:
            config["Healthcheck"] = dict(theirs)
        else:
            merged = dict(ours)
            for key, value in theirs.items():
                if not merged.get(key):
                    merged[key] = value
            config["Healthcheck"] = merged


def _check_config(config: dict[str, Any]) -> list[str]:
    directory = config["WorkingDir"]
    if directory and not directory.startswith("/"):
        raise InvalidParameter(f"the working directory '{directory}' is invalid, it needs to be an absolute path")
    for entry in config["Env"]:
        if not entry or entry.startswith("="):
            raise InvalidParameter(f"invalid environment variable: {entry}")
    if config.get("StopSignal"):
        from wherry.engine.signals import parse

        parse(config["StopSignal"])
    hostname = config["Hostname"]
    if hostname and (len(hostname) > 63 or "\0" in hostname or "\n" in hostname or "/" in hostname):
        raise InvalidParameter(f"invalid hostname: {hostname}")
    for port in config.get("ExposedPorts") or {}:
        check_port(port)
    health = config.get("Healthcheck")
    if health:
        _check_health(health)
    return []


def check_port(port: str) -> None:
    """`80/tcp`, `53/udp`, `8000-8010/tcp`. Raises InvalidParameter."""
    numbers, _, protocol = port.partition("/")
    low, dash, high = numbers.partition("-")
    values = [low, high] if dash else [low]
    if not all(value.isdigit() and 0 < int(value) < 65536 for value in values):
        raise InvalidParameter(f"invalid port specification: {port}")
    if protocol not in ("", "tcp", "udp", "sctp"):
        raise InvalidParameter(f"invalid proto: {protocol}")


def _check_health(health: Mapping[str, Any]) -> None:
    minimum = 1_000_000
    for key, word in (("Interval", "Interval"), ("Timeout", "Timeout"), ("StartPeriod", "StartPeriod")):
        value = health.get(key) or 0
        if value and value < minimum:
            raise InvalidParameter(f"{word} in Healthcheck cannot be less than 1ms")
    if (health.get("StartInterval") or 0) and health["StartInterval"] < minimum:
        raise InvalidParameter("StartInterval in Healthcheck cannot be less than 1ms")
    if (health.get("Retries") or 0) < 0:
        raise InvalidParameter("Retries in Healthcheck cannot be negative")


def _host_config(given: Mapping[str, Any], layout: Layout, runtimes: Runtimes) -> dict[str, Any]:
    result = {key: given.get(key, default) for key, default in _HOST_DEFAULTS.items()}
    for key, default in _HOST_DEFAULTS.items():
        if result[key] is None and default is not None:
            result[key] = default
    for key in _HOST_OPTIONAL:
        if given.get(key) is not None:
            result[key] = given[key]
    if result["NetworkMode"] in ("", "default"):
        result["NetworkMode"] = "bridge"
    if not result["IpcMode"]:
        result["IpcMode"] = "private"
    if not result["CgroupnsMode"]:
        result["CgroupnsMode"] = "private" if layout.version == 2 else "host"
    policy = dict(result["RestartPolicy"] or {})
    result["RestartPolicy"] = {
        "Name": policy.get("Name") or "no",
        "MaximumRetryCount": policy.get("MaximumRetryCount") or 0,
    }
    if result["MemorySwappiness"] == -1:
        result["MemorySwappiness"] = None
    if result["Privileged"] or "host" in (result["PidMode"], result["IpcMode"]):
        # Docker notes it on every machine; SELinux has no say where namespaces are shared.
        result["SecurityOpt"] = [*(result["SecurityOpt"] or ()), "label=disable"]
    if not result["ShmSize"]:
        result["ShmSize"] = oci.DEFAULT_SHM
    log = result["LogConfig"] or {}
    result["LogConfig"] = {"Type": log.get("Type") or "json-file", "Config": log.get("Config") or {}}
    result["Runtime"] = runtimes.get(result["Runtime"]).name
    unmasked = result["Privileged"] or oci.parse_security(result["SecurityOpt"] or ()).unmask
    if result.get("MaskedPaths") is None:
        result["MaskedPaths"] = None if unmasked else list(oci.MASKED_PATHS)
    if result.get("ReadonlyPaths") is None:
        result["ReadonlyPaths"] = None if unmasked else list(oci.READONLY_PATHS)
    result["OomKillDisable"] = result["OomKillDisable"] or None if layout.version == 2 else result["OomKillDisable"]
    return result


def _check_host_config(host_config: dict[str, Any], layout: Layout) -> list[str]:
    check_restart_policy(host_config)
    check_log_config(host_config["LogConfig"])
    warnings = resources.check(host_config, layout)
    capabilities.normalise(host_config["CapAdd"] or ())
    capabilities.normalise(host_config["CapDrop"] or ())
    for rule in host_config["DeviceCgroupRules"] or ():
        resources.parse_device_rule(rule)
    for request in host_config["DeviceRequests"] or ():
        wanted = " ".join(f"[{' '.join(group)}]" for group in request.get("Capabilities") or ())
        raise InvalidParameter(
            f'could not select device driver "{request.get("Driver") or ""}" with capabilities: [{wanted}]'
        )
    for key in ("PidMode", "IpcMode", "UTSMode", "UsernsMode", "CgroupnsMode"):
        _check_mode(key, host_config[key])
    if host_config["Isolation"] not in ("", "default"):
        raise InvalidParameter(f'invalid isolation "{host_config["Isolation"]}" on linux')
    if ".." in host_config["CgroupParent"].split("/"):
        raise InvalidParameter(f"invalid cgroup parent: {host_config['CgroupParent']}")
    if host_config.get("StorageOpt"):
        raise InvalidParameter("--storage-opt is not supported by this engine's overlay snapshots")
    if host_config.get("Init"):
        oci.init_path()
    size = host_config["ConsoleSize"]
    if not (isinstance(size, list) and len(size) == 2):
        raise InvalidParameter("ConsoleSize must be an array of two numbers")
    mode = host_config["NetworkMode"]
    for port in host_config["PortBindings"] or {}:
        check_port(port)
    sysctls = host_config.get("Sysctls") or {}
    for key in sysctls:
        if not _SYSCTL.fullmatch(key) or ".." in key or "//" in key:
            raise InvalidParameter(f"invalid sysctl: '{key}'")
        if mode == "host" and key.startswith("net."):
            raise InvalidParameter(f"sysctl '{key}' not allowed in host network namespace")
    return warnings


def _check_modes_together(config: Mapping[str, Any], host_config: Mapping[str, Any]) -> None:
    """What a client may not ask for beside a shared namespace, before the image has its say."""
    mode = host_config["NetworkMode"]
    undefined = "type network%s can't be used with links. This would result in undefined behavior"
    if mode == "host" and host_config["Links"]:
        raise InvalidParameter(f"conflicting options: host {undefined % 'ing'}")
    if host_config["UTSMode"] == "host" and config["Hostname"]:
        raise InvalidParameter("conflicting options: hostname and the UTS mode")
    if mode != "container" and not mode.startswith("container:"):
        return
    if not mode.removeprefix("container").removeprefix(":"):
        raise InvalidParameter("invalid network mode: invalid container format container:<name|id>")
    for given, what in (
        (config["Hostname"], "hostname and the network mode"),
        (host_config["Links"], f"container {undefined % ''}"),
        (host_config["Dns"], "dns and the network mode"),
        (host_config["ExtraHosts"], "custom host-to-IP mapping and the network mode"),
        (config.get("MacAddress"), "mac-address and the network mode"),
        (host_config["PortBindings"], "port publishing and the container type network mode"),
        (host_config["PublishAllPorts"], "port publishing and the container type network mode"),
        (config.get("ExposedPorts"), "port exposing and the container type network mode"),
    ):
        if given:
            raise InvalidParameter(f"conflicting options: {what}")


def check_restart_policy(host_config: Mapping[str, Any]) -> None:
    """Raises InvalidParameter for a policy that is not one, or does not go with AutoRemove."""
    policy = host_config["RestartPolicy"]
    name, count = policy["Name"], policy["MaximumRetryCount"]
    if name in ("always", "unless-stopped", "no") and count:
        raise InvalidParameter("invalid restart policy: maximum retry count can only be used with 'on-failure'")
    if name == "on-failure" and count < 0:
        raise InvalidParameter("invalid restart policy: maximum retry count cannot be negative")
    if name not in ("always", "unless-stopped", "no", "on-failure"):
        raise InvalidParameter(
            f"invalid restart policy: unknown policy '{name}'; use one of 'no', 'always', 'on-failure', or "
            "'unless-stopped'"
        )
    if host_config.get("AutoRemove") and name != "no":
        raise InvalidParameter("can't create 'AutoRemove' container with restart policy")


def _check_mode(key: str, mode: str) -> None:
    if not mode or mode == "host" or mode.startswith("ns:/"):
        return
    if key == "UsernsMode":
        raise InvalidParameter(f"invalid USER mode: {mode}")
    if key == "CgroupnsMode" and mode == "private":
        return
    if key == "IpcMode" and mode in ("private", "shareable", "none"):
        return
    if key in ("PidMode", "IpcMode") and mode.startswith("container:") and len(mode) > len("container:"):
        return
    words = {"PidMode": "PID", "IpcMode": "IPC", "UTSMode": "UTS", "CgroupnsMode": "cgroup namespace"}
    raise InvalidParameter(f"invalid {words[key]} mode: {mode}")


def _shares_hostname(host_config: Mapping[str, Any]) -> bool:
    return bool(host_config["NetworkMode"].startswith("container:"))


def host_hostname() -> str:
    return os.uname().nodename


def choose_name(name: str | None, taken: Callable[[str], str | None]) -> str:
    """A checked name, or one made up. `taken` gives the id of the container that has a name. Raises Conflict."""
    if not name:
        attempt = 0
        while taken(candidate := naming.made_up(attempt)) is not None:
            attempt += 1
        return candidate
    checked = naming.check(name)
    holder = taken(checked)
    if holder is not None:
        raise Conflict(
            f'Conflict. The container name "/{checked}" is already in use by container "{holder}". '
            "You have to remove (or rename) that container to be able to reuse that name."
        )
    return checked

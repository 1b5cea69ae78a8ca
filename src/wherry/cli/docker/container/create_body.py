"""Flags of `docker create` and `docker run` as the body of POST /containers/create (API v1.50)."""

from __future__ import annotations

import os

from wherry.cli.docker.container.mounts import parse_device, split_volumes
from wherry.cli.docker.container.ports import exposed, published
from wherry.cli.docker.errors import CliError
from wherry.cli.docker.keyvalues import read_file

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.docker.flags import Flags


def create_body(flags: Flags, image: str, command: list[str]) -> dict[str, Any]:
    """The body. CliError says which flag does not fit."""
    attach = flags["attach"]
    stdin = flags["interactive"] or "stdin" in attach
    if flags["memory-swappiness"] != -1 and not 0 <= flags["memory-swappiness"] <= 100:
        raise CliError(f"invalid value: {flags['memory-swappiness']}. Valid memory swappiness range is 0-100")
    mac = flags["mac-address"].strip()
    if mac and not _is_mac(mac):
        raise CliError(f"{mac} is not a valid mac address")
    binds, volumes = split_volumes(flags["volume"])
    ports, bindings = published(flags["publish"])
    ports = {**exposed(flags["expose"]), **ports}
    body: dict[str, Any] = {
        "Hostname": flags["hostname"],
        "Domainname": flags["domainname"],
        "User": flags["user"],
        "AttachStdin": stdin,
        "AttachStdout": not attach or "stdout" in attach,
        "AttachStderr": not attach or "stderr" in attach,
        "Tty": flags["tty"],
        "OpenStdin": flags["interactive"],
        "StdinOnce": stdin and flags["interactive"],
        "Env": _environment(flags),
        "Cmd": command or None,
        "Image": image,
        "Volumes": volumes,
        "WorkingDir": flags["workdir"],
        "Entrypoint": _entrypoint(flags),
        "OnBuild": None,
        "Labels": _labels(flags),
    }
    if ports:
        body["ExposedPorts"] = {port: ports[port] for port in sorted(ports)}
    if health := _healthcheck(flags):
        body["Healthcheck"] = health
    if flags.given("stop-signal"):
        body["StopSignal"] = flags["stop-signal"]
    if flags.given("stop-timeout"):
        body["StopTimeout"] = flags["stop-timeout"]
    mode, endpoints = _networks(flags, mac)
    body["HostConfig"] = _host_config(flags, binds, bindings, mode)
    body["NetworkingConfig"] = {"EndpointsConfig": endpoints}
    return body


def _is_mac(text: str) -> bool:
    parts = text.replace("-", ":").split(":")
    return len(parts) == 6 and all(len(part) == 2 and set(part.lower()) <= set("0123456789abcdef") for part in parts)


def _environment(flags: Flags) -> list[str] | None:
    lines: list[str] = []
    for path in flags["env-file"]:
        lines += read_file(path, from_environment=True)
    return lines + flags["env"] or None


def _labels(flags: Flags) -> dict[str, str]:
    lines: list[str] = []
    for path in flags["label-file"]:
        lines += read_file(path)
    return dict(line.partition("=")[::2] for line in lines + flags["label"])


def _entrypoint(flags: Flags) -> list[str] | None:
    if not flags.given("entrypoint"):
        return None
    return [flags["entrypoint"]]


def _healthcheck(flags: Flags) -> dict[str, Any] | None:
    names = ("cmd", "interval", "timeout", "start-period", "start-interval", "retries")
    given = any(flags[f"health-{name}"] for name in names)
    if flags["no-healthcheck"]:
        if given:
            raise CliError("--no-healthcheck conflicts with --health-* options")
        return {"Test": ["NONE"]}
    if not given:
        return None
    check: dict[str, Any] = {}
    if flags["health-cmd"]:
        check["Test"] = ["CMD-SHELL", flags["health-cmd"]]
    for name, key in (
        ("interval", "Interval"),
        ("timeout", "Timeout"),
        ("start-period", "StartPeriod"),
        ("start-interval", "StartInterval"),
        ("retries", "Retries"),
    ):
        value = flags[f"health-{name}"]
        if value < 0:
            raise CliError(f"--health-{name} cannot be negative")
        if value:
            check[key] = value
    return check


def _networks(flags: Flags, mac: str) -> tuple[str, dict[str, Any]]:
    """The network mode and the endpoints' settings."""
    wanted: list[dict[str, Any]] = [dict(one) for one in flags["network"] + flags["net"]]
    aliases = flags["network-alias"] + flags["net-alias"]
    mode = wanted[0]["name"] if wanted else "default"
    if not wanted:
        wanted = [{"name": "default"}]
    first = wanted[0]
    for flag, key, value in (
        ("network-alias", "aliases", aliases),
        ("ip", "ip", flags["ip"][-1] if flags["ip"] else ""),
        ("ip6", "ip6", flags["ip6"][-1] if flags["ip6"] else ""),
        ("mac-address", "mac-address", mac),
        ("link-local-ip", "link-local-ip", flags["link-local-ip"]),
    ):
        if not value:
            continue
        if first.get(key):
            raise CliError(f"conflicting options: cannot specify both --{flag} and per-network {_WORDS[key]}")
        first[key] = value
    if flags["link"]:
        first["links"] = flags["link"]
    endpoints: dict[str, Any] = {}
    for one in wanted:
        if one["name"] in endpoints:
            raise CliError(f'network "{one["name"]}" is specified multiple times')
        if len(wanted) > 1 and one["name"] in ("host", "none"):
            raise CliError("conflicting options: cannot attach both user-defined and non-user-defined network-modes")
        endpoints[one["name"]] = endpoint(one)
    return mode, endpoints


_WORDS = {
    "aliases": "alias",
    "ip": "IPv4 address",
    "ip6": "IPv6 address",
    "mac-address": "MAC address",
    "link-local-ip": "link-local IP addresses",
}


def endpoint(one: dict[str, Any]) -> dict[str, Any]:
    """The API's EndpointSettings for `aliases`, `ip`, `ip6`, `link-local-ip`, `links`, `mac-address`, …."""
    settings: dict[str, Any] = {}
    ipam = {
        key: value
        for key, value in (
            ("IPv4Address", one.get("ip")),
            ("IPv6Address", one.get("ip6")),
            ("LinkLocalIPs", one.get("link-local-ip")),
        )
        if value
    }
    if ipam:
        settings["IPAMConfig"] = ipam
    for key, name in (
        ("links", "Links"),
        ("aliases", "Aliases"),
        ("mac-address", "MacAddress"),
        ("driver-opt", "DriverOpts"),
        ("gw-priority", "GwPriority"),
    ):
        if one.get(key):
            settings[name] = one[key]
    return settings


def restart_policy(text: str) -> dict[str, Any]:
    """`on-failure:3` as the API's RestartPolicy."""
    name, colon, count = text.partition(":")
    if colon and not name:
        raise CliError("invalid restart policy format: no policy provided before colon")
    if not colon:
        return {"Name": name, "MaximumRetryCount": 0}
    try:
        return {"Name": name, "MaximumRetryCount": int(count)}
    except ValueError:
        raise CliError("invalid restart policy format: maximum retry count must be an integer") from None


def _security(options: list[str]) -> list[str] | None:
    found = []
    for option in options:
        key, equals, value = option.partition("=")
        if not equals:
            key, colon, value = option.partition(":")
            if not colon and option != "no-new-privileges":
                raise CliError(f'Invalid --security-opt: "{option}"')
        if key == "seccomp" and value not in ("unconfined", "builtin"):
            from wherry.cli.format.gojson import dumps, loads

            try:
                with open(value, encoding="utf-8") as file:
                    option = f"seccomp={dumps(loads(file.read()))}"
            except OSError as error:
                reason = (error.strerror or "").lower()
                raise CliError(f"opening seccomp profile ({value}) failed: open {value}: {reason}") from None
            except ValueError as error:
                raise CliError(f"compacting json for seccomp profile ({value}) failed: {error}") from None
        found.append(option)
    return found or None


def _pairs(options: list[str], flag: str) -> dict[str, str]:
    pairs = {}
    for option in options:
        name, equals, value = option.partition("=")
        if not equals:
            if flag == "storage-opt":
                raise CliError("invalid storage option")
            value = ""
        pairs[name] = value
    return pairs


def _capabilities(names: list[str]) -> list[str] | None:
    found = []
    for name in names:
        upper = name.strip().upper()
        found.append(upper if upper == "ALL" or upper.startswith("CAP_") else f"CAP_{upper}")
    return sorted(set(found)) or None


def _mode(flags: Flags, name: str, plain: tuple[str, ...], word: str) -> str:
    value: str = flags[name]
    if value in plain or (value.startswith("container:") and value != "container:" and name in ("pid", "ipc")):
        return value
    raise CliError(f"--{name}: invalid {word} mode")


def _host_config(flags: Flags, binds: list[str], bindings: dict[str, Any], network_mode: str) -> dict[str, Any]:
    driver, options = flags["log-driver"], _pairs(flags["log-opt"], "log-opt")
    if driver == "none" and options:
        raise CliError("invalid logging opts for driver none")
    policy = restart_policy(flags["restart"])
    if flags["rm"] and policy["Name"] not in ("", "no"):
        raise CliError("conflicting options: cannot specify both --restart and --rm")
    tmpfs = dict(one.partition(":")[::2] for one in flags["tmpfs"])
    config: dict[str, Any] = {
        "Binds": binds or None,
        "ContainerIDFile": flags["cidfile"],
        "LogConfig": {"Type": driver, "Config": options},
        "NetworkMode": network_mode,
        "PortBindings": bindings,
        "RestartPolicy": policy,
        "AutoRemove": flags["rm"],
        "VolumeDriver": flags["volume-driver"],
        "VolumesFrom": flags["volumes-from"] or None,
        "ConsoleSize": _console(),
        "CapAdd": _capabilities(flags["cap-add"]),
        "CapDrop": _capabilities(flags["cap-drop"]),
        "CgroupnsMode": _mode(flags, "cgroupns", ("", "host", "private"), "CGROUP"),
        "Dns": flags["dns"],
        "DnsOptions": flags["dns-option"] + flags["dns-opt"],
        "DnsSearch": flags["dns-search"],
        "ExtraHosts": flags["add-host"] or None,
        "GroupAdd": flags["group-add"] or None,
        "IpcMode": flags["ipc"],
        "Links": flags["link"] or None,
        "OomScoreAdj": flags["oom-score-adj"],
        "PidMode": _mode(flags, "pid", ("", "host"), "PID"),
        "Privileged": flags["privileged"],
        "PublishAllPorts": flags["publish-all"],
        "ReadonlyRootfs": flags["read-only"],
        "SecurityOpt": _security(flags["security-opt"]),
        "UTSMode": _mode(flags, "uts", ("", "host"), "UTS"),
        "UsernsMode": _mode(flags, "userns", ("", "host"), "USER"),
        "ShmSize": flags["shm-size"],
        "Runtime": flags["runtime"],
        "Isolation": flags["isolation"],
        "CpuShares": flags["cpu-shares"],
        "Memory": flags["memory"],
        "NanoCpus": flags["cpus"],
        "CgroupParent": flags["cgroup-parent"],
        "BlkioWeight": flags["blkio-weight"],
        "BlkioWeightDevice": flags["blkio-weight-device"],
        "BlkioDeviceReadBps": flags["device-read-bps"],
        "BlkioDeviceWriteBps": flags["device-write-bps"],
        "BlkioDeviceReadIOps": flags["device-read-iops"],
        "BlkioDeviceWriteIOps": flags["device-write-iops"],
        "CpuPeriod": flags["cpu-period"],
        "CpuQuota": flags["cpu-quota"],
        "CpuRealtimePeriod": flags["cpu-rt-period"],
        "CpuRealtimeRuntime": flags["cpu-rt-runtime"],
        "CpusetCpus": flags["cpuset-cpus"],
        "CpusetMems": flags["cpuset-mems"],
        "Devices": [parse_device(device) for device in flags["device"]],
        "DeviceCgroupRules": flags["device-cgroup-rule"] or None,
        "DeviceRequests": flags["gpus"] or None,
        "MemoryReservation": flags["memory-reservation"],
        "MemorySwap": flags["memory-swap"],
        "MemorySwappiness": flags["memory-swappiness"],
        "OomKillDisable": flags["oom-kill-disable"],
        "PidsLimit": flags["pids-limit"],
        "Ulimits": flags["ulimit"],
    }
    for key, value in (
        ("Annotations", flags["annotation"]),
        ("StorageOpt", _pairs(flags["storage-opt"], "storage-opt")),
        ("Tmpfs", tmpfs),
        ("Sysctls", _pairs(flags["sysctl"], "sysctl")),
        ("Mounts", flags["mount"]),
    ):
        if value:
            config[key] = value
    if flags.given("init"):
        config["Init"] = flags["init"]
    return config


def _console() -> list[int]:
    try:
        size = os.get_terminal_size(1)
    except OSError:
        return [0, 0]
    return [size.lines, size.columns]

"""A service as the body of Docker's container create request: pure, so that plans can be printed and compared."""

import math
from typing import Any

from wherry.compose.convert import At, nanoseconds
from wherry.compose.names import container_name, image_name, service_labels
from wherry.compose.port_fields import exposed_ports
from wherry.compose.project import Project

DEFAULT_STOP_SECONDS = 10
_ANYWHERE = At((), {}, None)
"""Where a value stands that has been checked before."""


def create_body(
    project: Project,
    service: str,
    number: int,
    *,
    image_id: str = "",
    oneoff: bool = False,
    overrides: dict[str, Any] | None = None,
    references: dict[str, str] | None = None,
    name: str = "",
    use_aliases: bool = True,
) -> dict[str, Any]:
    """The body of POST /containers/create for container `number` of a service.

    `references` gives the container id for each service that a namespace, link or volumes_from names; `overrides`
    are keys of the service that a one-off run changes, and `name` is that run's own; with `use_aliases` it is found
    under the service's names.
    """
    definition = {**project.services[service], **(overrides or {})}
    own_names = [name or container_name(project, service, number)]
    if not oneoff or use_aliases:
        own_names.append(service)
    body: dict[str, Any] = {
        "Image": image_name(project, service),
        "Env": [f"{name}={value}" for name, value in (definition.get("environment") or {}).items()],
        "Labels": service_labels(project, service, number, image_id=image_id, oneoff=oneoff),
        "HostConfig": _host_config(project, service, definition, references or {}),
    }
    for key, field in (
        ("hostname", "Hostname"),
        ("domainname", "Domainname"),
        ("user", "User"),
        ("tty", "Tty"),
        ("stdin_open", "OpenStdin"),
        ("command", "Cmd"),
        ("entrypoint", "Entrypoint"),
        ("working_dir", "WorkingDir"),
        ("stop_signal", "StopSignal"),
        ("mac_address", "MacAddress"),
    ):
        if definition.get(key) is not None:
            body[field] = definition[key]
    if "stop_grace_period" in definition:
        body["StopTimeout"] = stop_seconds(definition)
    exposed = {port for entry in definition.get("expose") or () for port in exposed_ports(entry, _ANYWHERE)}
    exposed |= {f"{port['target']}/{port['protocol']}" for port in definition.get("ports") or ()}
    if exposed:
        body["ExposedPorts"] = {port: {} for port in sorted(exposed)}
    if "healthcheck" in definition:
        body["Healthcheck"] = healthcheck(definition["healthcheck"])
    endpoints = _endpoints(project, definition, references or {}, own_names)
    if endpoints:
        body["NetworkingConfig"] = {"EndpointsConfig": endpoints}
    return body


def stop_seconds(definition: dict[str, Any]) -> int:
    period = definition.get("stop_grace_period")
    return math.ceil(nanoseconds(period) / 1e9) if period else DEFAULT_STOP_SECONDS


def healthcheck(check: dict[str, Any]) -> dict[str, Any]:
    if check.get("disable"):
        return {"Test": ["NONE"]}
    found: dict[str, Any] = {}
    if "test" in check:
        found["Test"] = check["test"]
    for key, name in (
        ("interval", "Interval"),
        ("timeout", "Timeout"),
        ("start_period", "StartPeriod"),
        ("start_interval", "StartInterval"),
    ):
        if key in check:
            found[name] = nanoseconds(check[key])
    if "retries" in check:
        found["Retries"] = check["retries"]
    return found


def networks_by_priority(definition: dict[str, Any]) -> list[str]:
    """The service's networks, highest priority first, then by name, as Docker Compose connects them."""
    networks = definition.get("networks") or {}
    return sorted(networks, key=lambda name: (-((networks[name] or {}).get("priority") or 0), name))


def _endpoints(
    project: Project, definition: dict[str, Any], references: dict[str, str], own_names: list[str]
) -> dict[str, Any]:
    if "network_mode" in definition:
        return {}
    found: dict[str, Any] = {}
    for network in networks_by_priority(definition):
        wanted = (definition["networks"] or {}).get(network) or {}
        aliases = [*own_names, *((wanted.get("aliases") or ()) if len(own_names) > 1 else ())]
        endpoint: dict[str, Any] = {"Aliases": list(dict.fromkeys(aliases))}
        ipam: dict[str, Any] = {}
        for key, name in (
            ("ipv4_address", "IPv4Address"),
            ("ipv6_address", "IPv6Address"),
            ("link_local_ips", "LinkLocalIPs"),
        ):
            if key in wanted:
                ipam[name] = wanted[key]
        if ipam:
            endpoint["IPAMConfig"] = ipam
        for key, name in (("mac_address", "MacAddress"), ("driver_opts", "DriverOpts"), ("gw_priority", "GwPriority")):
            if key in wanted:
                endpoint[name] = wanted[key]
        links = [_link(link, references) for link in definition.get("links") or ()]
        links += list(definition.get("external_links") or ())
        if links:
            endpoint["Links"] = links
        found[project.networks[network]["name"]] = endpoint
    return found


def _link(link: str, references: dict[str, str]) -> str:
    service, _, alias = link.partition(":")
    return f"{references.get(service, service)}:{alias or service}"


def _namespace(mode: str, references: dict[str, str]) -> str:
    kind, _, name = mode.partition(":")
    return f"container:{references.get(name, name)}" if kind == "service" else mode


def _host_config(
    project: Project, service: str, definition: dict[str, Any], references: dict[str, str]
) -> dict[str, Any]:
    config: dict[str, Any] = {}
    for key, name in (
        ("cap_add", "CapAdd"),
        ("cap_drop", "CapDrop"),
        ("cgroup", "CgroupnsMode"),
        ("cgroup_parent", "CgroupParent"),
        ("cpu_shares", "CpuShares"),
        ("cpuset", "CpusetCpus"),
        ("device_cgroup_rules", "DeviceCgroupRules"),
        ("dns", "Dns"),
        ("dns_opt", "DnsOptions"),
        ("dns_search", "DnsSearch"),
        ("group_add", "GroupAdd"),
        ("init", "Init"),
        ("mem_swappiness", "MemorySwappiness"),
        ("oom_kill_disable", "OomKillDisable"),
        ("oom_score_adj", "OomScoreAdj"),
        ("pids_limit", "PidsLimit"),
        ("privileged", "Privileged"),
        ("read_only", "ReadonlyRootfs"),
        ("runtime", "Runtime"),
        ("security_opt", "SecurityOpt"),
        ("storage_opt", "StorageOpt"),
        ("sysctls", "Sysctls"),
        ("userns_mode", "UsernsMode"),
        ("uts", "UTSMode"),
        ("annotations", "Annotations"),
    ):
        if definition.get(key) is not None:
            config[name] = definition[key]
    for key, name in (
        ("mem_limit", "Memory"),
        ("mem_reservation", "MemoryReservation"),
        ("memswap_limit", "MemorySwap"),
        ("shm_size", "ShmSize"),
        ("cpu_rt_period", "CpuRealtimePeriod"),
        ("cpu_rt_runtime", "CpuRealtimeRuntime"),
        ("cpu_period", "CpuPeriod"),
        ("cpu_quota", "CpuQuota"),
    ):
        if definition.get(key) is not None:
            config[name] = int(definition[key])
    for key, name in (("ipc", "IpcMode"), ("pid", "PidMode")):
        if definition.get(key):
            config[name] = _namespace(definition[key], references)
    if definition.get("cpus"):
        config["NanoCpus"] = round(definition["cpus"] * 1e9)
    _deploy_limits(definition, config)
    config["NetworkMode"] = _network_mode(project, definition, references)
    config["RestartPolicy"] = restart_policy(definition)
    config["LogConfig"] = _logging(definition)
    config["PortBindings"] = _port_bindings(definition)
    config["Binds"], config["Mounts"] = _mounts(project, definition)
    if definition.get("tmpfs"):
        config["Tmpfs"] = dict(_split(entry) for entry in definition["tmpfs"])
    if definition.get("extra_hosts"):
        config["ExtraHosts"] = [
            f"{name}:{address}" for name, addresses in definition["extra_hosts"].items() for address in addresses
        ]
    if definition.get("devices"):
        config["Devices"] = [
            {"PathOnHost": one["source"], "PathInContainer": one["target"], "CgroupPermissions": one["permissions"]}
            for one in definition["devices"]
        ]
    if definition.get("ulimits"):
        config["Ulimits"] = [
            {"Name": name, "Soft": limit["soft"], "Hard": limit["hard"]}
            if isinstance(limit, dict)
            else {"Name": name, "Soft": limit, "Hard": limit}
            for name, limit in definition["ulimits"].items()
        ]
    if definition.get("volumes_from"):
        config["VolumesFrom"] = [_volumes_from(source, references) for source in definition["volumes_from"]]
    if definition.get("blkio_config"):
        config |= _blkio(definition["blkio_config"])
    return config


def _split(entry: str) -> tuple[str, str]:
    path, _, options = entry.partition(":")
    return path, options


def _volumes_from(source: str, references: dict[str, str]) -> str:
    if source.startswith("container:"):
        return source.removeprefix("container:")
    service, colon, mode = source.partition(":")
    return f"{references.get(service, service)}{colon}{mode}"


def _blkio(config: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "weight" in config:
        found["BlkioWeight"] = config["weight"]
    if "weight_device" in config:
        found["BlkioWeightDevice"] = [{"Path": one["path"], "Weight": one["weight"]} for one in config["weight_device"]]
    for way in ("read", "write"):
        for unit, name in (("bps", "Bps"), ("iops", "IOps")):
            rates = config.get(f"device_{way}_{unit}")
            if rates:
                found[f"BlkioDevice{way.title()}{name}"] = [
                    {"Path": one["path"], "Rate": int(one["rate"])} for one in rates
                ]
    return found


def _deploy_limits(definition: dict[str, Any], config: dict[str, Any]) -> None:
    resources = (definition.get("deploy") or {}).get("resources") or {}
    limits, reservations = resources.get("limits") or {}, resources.get("reservations") or {}
    if "cpus" in limits:
        config["NanoCpus"] = round(float(limits["cpus"]) * 1e9)
    if "memory" in limits:
        config["Memory"] = int(limits["memory"])
    if "pids" in limits:
        config["PidsLimit"] = limits["pids"]
    if "memory" in reservations:
        config["MemoryReservation"] = int(reservations["memory"])


def restart_policy(definition: dict[str, Any]) -> dict[str, Any]:
    """`restart` wins over `deploy.restart_policy`."""
    if "restart" in definition:
        name, _, retries = definition["restart"].partition(":")
        return {"Name": name, "MaximumRetryCount": int(retries or 0)}
    policy = (definition.get("deploy") or {}).get("restart_policy")
    if policy:
        name = {"none": "no", "any": "unless-stopped"}.get(policy.get("condition", "any"), "on-failure")
        return {"Name": name, "MaximumRetryCount": policy.get("max_attempts", 0) if name == "on-failure" else 0}
    return {"Name": "no", "MaximumRetryCount": 0}


def _logging(definition: dict[str, Any]) -> dict[str, Any]:
    logging = definition.get("logging") or {}
    return {"Type": logging.get("driver", ""), "Config": logging.get("options") or {}}


def _network_mode(project: Project, definition: dict[str, Any], references: dict[str, str]) -> str:
    if "network_mode" in definition:
        return _namespace(definition["network_mode"], references)
    networks = networks_by_priority(definition)
    return str(project.networks[networks[0]]["name"]) if networks else "none"


def _port_bindings(definition: dict[str, Any]) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for port in definition.get("ports") or ():
        binding = {"HostIp": port.get("host_ip", ""), "HostPort": port.get("published", "")}
        found.setdefault(f"{port['target']}/{port['protocol']}", []).append(binding)
    return found


def _mounts(project: Project, definition: dict[str, Any]) -> tuple[list[str], list[dict[str, Any]]]:
    """(Binds, Mounts): a bind whose source may be created is a Bind, as only those create it; so is a named volume
    without further options, as Docker Compose has it. The rest are Mounts."""
    binds: list[str] = []
    mounts: list[dict[str, Any]] = []
    for volume in definition.get("volumes") or ():
        if volume["type"] == "bind" and (volume.get("bind") or {}).get("create_host_path"):
            options = ["ro" if volume.get("read_only") else "rw"]
            options += [volume["bind"][key] for key in ("propagation", "selinux") if key in volume["bind"]]
            binds.append(f"{volume['source']}:{volume['target']}:{','.join(options)}")
        elif volume["type"] == "volume" and volume.get("source") and not _needs_mount(volume):
            name = project.volumes[volume["source"]]["name"]
            options = ["ro" if volume.get("read_only") else "rw"]
            options += ["nocopy"] if (volume.get("volume") or {}).get("nocopy") else []
            binds.append(f"{name}:{volume['target']}:{','.join(options)}")
        else:
            mounts.append(_mount(project, volume))
    for kind, section in (("configs", project.configs), ("secrets", project.secrets)):
        for grant in definition.get(kind) or ():
            source = section[grant["source"]].get("file")
            if source:
                mounts.append({"Type": "bind", "Source": source, "Target": grant_target(kind, grant), "ReadOnly": True})
    return binds, mounts


def _needs_mount(volume: dict[str, Any]) -> bool:
    options = volume.get("volume") or {}
    return bool(options.get("subpath") or options.get("labels"))


def grant_target(kind: str, grant: dict[str, Any]) -> str:
    """Where a config or secret appears in the container."""
    target: str = grant.get("target") or grant["source"]
    if target.startswith("/"):
        return target
    return f"/run/secrets/{target}" if kind == "secrets" else f"/{target}"


def _mount(project: Project, volume: dict[str, Any]) -> dict[str, Any]:
    mount: dict[str, Any] = {"Type": volume["type"], "Target": volume["target"]}
    source = volume.get("source")
    if source:
        mount["Source"] = project.volumes[source]["name"] if volume["type"] == "volume" else source
    if volume.get("read_only"):
        mount["ReadOnly"] = True
    if volume["type"] == "bind":
        options = volume.get("bind") or {}
        if "propagation" in options:
            mount["BindOptions"] = {"Propagation": options["propagation"]}
    elif volume["type"] == "volume":
        options = volume.get("volume") or {}
        found = {
            name: options[key]
            for key, name in (("nocopy", "NoCopy"), ("subpath", "Subpath"), ("labels", "Labels"))
            if key in options
        }
        if found:
            mount["VolumeOptions"] = found
    elif volume["type"] == "tmpfs":
        options = volume.get("tmpfs") or {}
        found = {}
        if "size" in options:
            found["SizeBytes"] = int(options["size"])
        if "mode" in options:
            found["Mode"] = options["mode"]
        if found:
            mount["TmpfsOptions"] = found
    elif volume["type"] == "image" and (volume.get("image") or {}).get("subpath"):
        mount["ImageOptions"] = {"Subpath": volume["image"]["subpath"]}
    return mount

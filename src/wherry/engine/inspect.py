"""A container as `GET /containers/{id}/json` of the Docker Engine API 1.50 shows it."""

import os
from typing import TYPE_CHECKING, Any

from wherry.engine import links, mountpoints
from wherry.engine.model import Container

if TYPE_CHECKING:
    from wherry.engine.containers import Containers


def inspect(containers: "Containers", container: Container) -> dict[str, Any]:
    """Without sizes. The result is the caller's to change at the top level only."""
    record = container.record
    home = containers.lifecycle.home(record.id)
    snapshots = containers.engine.images.snapshots
    mode = record.host_config["NetworkMode"]
    shares = mode.startswith("container:") or record.pod is not None
    files = {
        "ResolvConfPath": "" if shares else str(home / "resolv.conf"),
        "HostnamePath": "" if shares else str(home / "hostname"),
        "HostsPath": "" if shares else str(home / "hosts"),
    }
    upper = snapshots.upper(record.id) if snapshots.exists(record.id) else None
    return {
        "Id": record.id,
        "Created": record.created,
        "Path": record.path,
        "Args": record.args,
        "State": state(container),
        "Image": record.image_id,
        **(files if record.started_before else dict.fromkeys(files, "")),
        "LogPath": record.log_path,
        "Name": f"/{record.name}",
        "RestartCount": record.restart_count,
        "Driver": "overlay2",
        "Platform": record.platform,
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": list(container.exec_ids) or None,
        "HostConfig": {**record.host_config, "Links": links.shown(container)},
        "GraphDriver": {
            "Data": {
                "ID": record.id,
                "MergedDir": str(containers.lifecycle.bundle(record.id) / "rootfs"),
                "UpperDir": os.fspath(upper) if upper else "",
                "WorkDir": os.fspath(upper.parent / "work") if upper else "",
            },
            "Name": "overlay2",
        },
        "Mounts": [shown for point in record.mounts if (shown := mountpoints.shown(point)) is not None],
        "Config": shown_config(container),
        "NetworkSettings": network_settings(containers, container),
    }


def state(container: Container) -> dict[str, Any]:
    """The `State` object."""
    known = container.state
    result: dict[str, Any] = {
        "Status": known.status,
        "Running": known.running,
        "Paused": known.status == "paused",
        "Restarting": known.status == "restarting",
        "OOMKilled": known.oom_killed,
        "Dead": known.status == "dead",
        "Pid": known.pid,
        "ExitCode": known.exit_code,
        "Error": known.error,
        "StartedAt": known.started_at,
        "FinishedAt": known.finished_at,
    }
    if known.health is not None:
        result["Health"] = known.health
    return result


def network_settings(containers: "Containers", container: Container) -> dict[str, Any]:
    """Live while it runs; the bare endpoints otherwise."""
    record = container.record
    if container.state.alive:
        mode = record.host_config["NetworkMode"]
        if not mode.startswith(("ns:", "container:")):
            live = containers.engine.networks.settings(record.id)
            if live is not None:
                return live
        if record.network_settings:
            return record.network_settings
    return {
        "Bridge": "",
        "SandboxID": "",
        "SandboxKey": "",
        "Ports": {},
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        "EndpointID": "",
        "Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "IPAddress": "",
        "IPPrefixLen": 0,
        "IPv6Gateway": "",
        "MacAddress": "",
        "Networks": _idle_endpoints(record.host_config["NetworkMode"], record.endpoints),
    }


def _idle_endpoints(mode: str, endpoints: dict[str, dict[str, Any]]) -> dict[str, Any]:
    if mode.startswith(("container:", "ns:")):
        return {}
    names = dict(endpoints) or {mode: {}}
    return {
        name: {
            "IPAMConfig": given.get("IPAMConfig"),
            "Links": given.get("Links"),
            "Aliases": given.get("Aliases"),
            "MacAddress": given.get("MacAddress") or "",
            "DriverOpts": given.get("DriverOpts"),
            "GwPriority": given.get("GwPriority") or 0,
            "NetworkID": "",
            "EndpointID": "",
            "Gateway": "",
            "IPAddress": "",
            "IPPrefixLen": 0,
            "IPv6Gateway": "",
            "GlobalIPv6Address": "",
            "GlobalIPv6PrefixLen": 0,
            "DNSNames": None,
        }
        for name, given in names.items()
    }


def shown_config(container: Container) -> dict[str, Any]:
    """The `Config` object, with the MAC address that was asked for at the main network, where older clients look."""
    record = container.record
    wanted = (record.endpoints.get(record.host_config["NetworkMode"]) or {}).get("MacAddress")
    return {**record.config, "MacAddress": wanted} if wanted and not record.config.get("MacAddress") else record.config


def image_size(containers: "Containers", container: Container) -> int:
    """Bytes of the container's image; 0 when it is gone."""
    images = containers.engine.images
    if images.find(container.record.image_id) is None:
        return 0
    return int(images.inspect(container.record.image_id).get("Size") or 0)

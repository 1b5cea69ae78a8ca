"""What is refused before anything is made, in Docker's words, and small readings of endpoint configs."""

import ipaddress
import re
from collections.abc import Iterable
from typing import Any

from wherry.engine.errors import InvalidParameter
from wherry.engine.networks.definitions import Network
from wherry.engine.networks.types import NetworkRequest

MULTIPLE_HOST = "container cannot be disconnected from host network or connected to host network"
MULTIPLE_NONE = "container cannot be connected to multiple networks with one of the networks in private (none) mode"
SHARED = "container sharing network namespace with another container or host cannot be connected to any other network"
NO_USER_SUBNET = "user specified IP address is supported only when connecting to networks with user configured subnets"


def check_modes(mode: str, network: Network) -> None:
    """Whether a container of HostConfig.NetworkMode `mode` can be connected to `network`. Raises InvalidParameter."""
    if mode.startswith("container:"):
        raise InvalidParameter(SHARED)
    if mode == "host" or network.name == "host":
        raise InvalidParameter(MULTIPLE_HOST)
    if mode == "none" or network.name == "none":
        raise InvalidParameter(MULTIPLE_NONE)


def check_config(network: Network, config: dict[str, Any]) -> None:
    """What an endpoint config asks for that `network` cannot give. Raises InvalidParameter."""
    if any(static_addresses(config)) and not network.user_subnets:
        raise InvalidParameter(
            "user specified IP address is supported on user defined networks only"
            if network.is_default
            else NO_USER_SUBNET
        )
    if network.is_default and config.get("Aliases"):
        raise InvalidParameter("network-scoped aliases are only supported for user-defined networks")
    for version, text in zip((4, 6), static_addresses(config), strict=True):
        try:
            good = not text or ipaddress.ip_address(text).version == version
        except ValueError:
            good = False
        if not good:
            raise InvalidParameter(f"invalid endpoint settings:\ninvalid IPv{version} address: {text}")
    for text in (config.get("IPAMConfig") or {}).get("LinkLocalIPs") or ():
        try:
            ipaddress.ip_address(text)
        except ValueError:
            raise InvalidParameter(f"invalid endpoint settings:\ninvalid link-local IP address: {text}") from None
    mac_address(config.get("MacAddress"))
    interface_sysctls(config, interface_name(config, ()) or "eth0")


IFNAME = "com.docker.network.endpoint.ifname"
SYSCTLS = "com.docker.network.endpoint.sysctls"
_INTERFACE = re.compile(r"[^\s/:%]{1,15}")
_SYSCTL = re.compile(r"net\.(ipv4|ipv6|mpls)\.(conf|neigh)\.(?i:IFNAME)\.([A-Za-z0-9_-]+)=(.*)")


def interface_name(config: dict[str, Any], taken: Iterable[str]) -> str:
    """What the client calls the interface, or "". Raises InvalidParameter."""
    name = str((config.get("DriverOpts") or {}).get(IFNAME) or "")
    if name and (not _INTERFACE.fullmatch(name) or name in (".", "..", "lo")):
        raise InvalidParameter(f"invalid endpoint settings:\ninvalid interface name: {name}")
    if name in taken:
        raise InvalidParameter(f"invalid endpoint settings:\nan interface of the name {name} already exists")
    return name


def interface_sysctls(config: dict[str, Any], interface: str) -> dict[str, str]:
    """Sysctls of the endpoint's own interface, written with IFNAME in its place. Raises InvalidParameter.

    Some clients write all of an option in lower case.
    """
    found = {}
    for setting in filter(None, str((config.get("DriverOpts") or {}).get(SYSCTLS) or "").split(",")):
        match = _SYSCTL.fullmatch(setting)
        if match is None:
            raise InvalidParameter(f"invalid endpoint settings:\nunrecognised network interface sysctl '{setting}'")
        found[f"net.{match[1]}.{match[2]}.{interface.replace('.', '/')}.{match[3]}"] = match[4]
    return found


def static_addresses(config: dict[str, Any]) -> tuple[str, str]:
    """The IPv4 and IPv6 address that an endpoint config asks for, "" for none."""
    wanted = config.get("IPAMConfig") or {}
    return wanted.get("IPv4Address") or "", wanted.get("IPv6Address") or ""


def dns_names(request: NetworkRequest, config: dict[str, Any]) -> list[str]:
    """What the container answers to on a user-defined network: its name first."""
    found = [request.name.lstrip("/"), *(config.get("Aliases") or []), request.container_id[:12], request.hostname]
    return list(dict.fromkeys(filter(None, found)))


def mac_address(text: str | None) -> str:
    """Normalised, or "". Raises InvalidParameter."""
    if not text:
        return ""
    parts = text.lower().replace("-", ":").split(":")
    try:
        raw = bytes(int(part, 16) for part in parts)
    except ValueError:
        raw = b""
    if len(raw) != 6 or raw[0] & 1:
        raise InvalidParameter(f"invalid MAC address: address {text}: invalid MAC address")
    return raw.hex(":")

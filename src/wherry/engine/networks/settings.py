"""The NetworkSettings object of `docker inspect` (API 1.50)."""

from typing import Any

from wherry.engine.networks.ports import parse_ports
from wherry.engine.networks.sandboxes import Sandbox


def empty_settings() -> dict[str, Any]:
    """For a container that is not running or has no network of its own."""
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
        "Networks": {},
    }


def endpoint_settings(network_id: str) -> dict[str, Any]:
    """The entry of `Networks` for a network without an interface (`host`, `none`)."""
    return {
        "IPAMConfig": None,
        "Links": None,
        "Aliases": None,
        "MacAddress": "",
        "DriverOpts": None,
        "GwPriority": 0,
        "NetworkID": network_id,
        "EndpointID": "",
        "Gateway": "",
        "IPAddress": "",
        "IPPrefixLen": 0,
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "DNSNames": None,
    }


def sandbox_settings(sandbox: Sandbox, none_network_id: str = "") -> dict[str, Any]:
    """`none_network_id` is the id of network `none` for a container in that mode."""
    settings = empty_settings()
    # Docker's sandbox id is an id of its own; the name of the pin serves, and is as unique.
    settings["SandboxID"] = sandbox.id[::-1]
    settings["SandboxKey"] = str(sandbox.netns)
    settings["Ports"] = _ports(sandbox)
    if none_network_id:
        settings["Networks"] = {"none": endpoint_settings(none_network_id)}
    for endpoint in sandbox.endpoints:
        shown = endpoint.shown(aliases_too=bool(endpoint.names))
        settings["Networks"][endpoint.network_name] = shown
        if endpoint.network_name == "bridge":
            for key in (
                "EndpointID", "Gateway", "GlobalIPv6Address", "GlobalIPv6PrefixLen",
                "IPAddress", "IPPrefixLen", "IPv6Gateway", "MacAddress",
            ):  # fmt: skip
                settings[key] = shown[key]
    return settings


def _ports(sandbox: Sandbox) -> dict[str, list[dict[str, str]] | None]:
    """Container port → its bindings; None for one that is exposed and not published."""
    found: dict[str, list[dict[str, str]] | None] = {}
    if not sandbox.endpoints:
        return found
    for key in sandbox.request.exposed_ports:
        for number, protocol in parse_ports(key):
            found[f"{number}/{protocol}"] = None
    for mapping in sandbox.ports:
        bindings = found.get(mapping.key) or []
        bindings.append({"HostIp": mapping.host_ip, "HostPort": str(mapping.host_port)})
        found[mapping.key] = bindings
    return found

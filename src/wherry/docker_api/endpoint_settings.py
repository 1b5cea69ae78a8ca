"""Container-wide settings that belong to one network's endpoint: what older clients send, moved to where it is kept.

Specified in the Docker Engine API's version history: the MAC address since 1.44, sysctls of `eth0` since 1.46.
"""

from typing import Any

from wherry.docker_api.routing import Version
from wherry.engine.errors import InvalidParameter

_SYSCTLS = "com.docker.network.endpoint.sysctls"


def move_mac_address(
    body: dict[str, Any], host: dict[str, Any], endpoints: dict[str, Any], version: Version
) -> list[str]:
    """Config.MacAddress becomes the MacAddress of the main network's endpoint, in place. Returns warnings."""
    mac = body.pop("MacAddress", None)
    mode = host["NetworkMode"]
    shared = mode in ("host", "none") or mode.startswith("container:")
    if version < (1, 44):
        if not mac:
            for endpoint in endpoints.values():
                endpoint.pop("MacAddress", None)
            return []
        if shared:
            raise InvalidParameter("conflicting options: mac-address and the network mode")
        _main(endpoints, mode, version, "")["MacAddress"] = mac
        return []
    if not mac:
        return []
    if not shared:
        endpoint = _main(endpoints, mode, version, "unable to migrate container-wide MAC address to a specific network")
        if endpoint.get("MacAddress") not in (None, "", mac):
            raise InvalidParameter(
                "the container-wide MAC address must match the endpoint-specific MAC address for the main network, "
                "or be left empty"
            )
        endpoint["MacAddress"] = mac
    return ["The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead."]


def move_sysctls(host: dict[str, Any], endpoints: dict[str, Any], version: Version) -> list[str]:
    """HostConfig.Sysctls of `eth0` become an option of the main network's endpoint, in place. Returns warnings.

    Raises InvalidParameter for other interfaces, and for `eth0` from clients that know the option (1.48 and later).
    """
    mode = host["NetworkMode"]
    if mode == "host" or mode.startswith("container:"):
        return []
    endpoint: dict[str, Any] | None = None
    moved: list[str] = []
    settings: list[str] = []
    for key, value in (host.get("Sysctls") or {}).items():
        parts = key.split(".", 4)
        if len(parts) != 5 or parts[0] != "net" or not parts[3].startswith("eth"):
            continue
        if version >= (1, 48):
            raise InvalidParameter(
                f"interface specific sysctl setting {_quoted(key)} must be supplied using driver option '{_SYSCTLS}'"
            )
        if endpoint is None:
            endpoint = _main(endpoints, mode, version, f"unable to find a network for sysctl {key}")
        if parts[3] != "eth0":
            raise InvalidParameter(
                f"unable to determine network endpoint for sysctl {key}, use driver option '{_SYSCTLS}' to set "
                "per-interface sysctls"
            )
        moved.append(key)
        settings.append(f"net.{parts[1]}.{parts[2]}.IFNAME.{parts[4]}={value}")
    if endpoint is None:
        return []
    option = ",".join(settings)
    options = dict(endpoint.get("DriverOpts") or {})
    # The endpoint's own settings come last, and win.
    options[_SYSCTLS] = ",".join(filter(None, (option, options.get(_SYSCTLS))))
    endpoint["DriverOpts"] = options
    host["Sysctls"] = {key: value for key, value in host["Sysctls"].items() if key not in moved}
    return [f"Migrated sysctl {_quoted(','.join(moved))} to DriverOpts{{{_quoted(_SYSCTLS)}:{_quoted(option)}}}."]


def _main(endpoints: dict[str, Any], mode: str, version: Version, refusal: str) -> dict[str, Any]:
    """The endpoint that container-wide settings are for, made when there is none at all."""
    endpoint: dict[str, Any]
    if not endpoints:
        endpoint = endpoints[mode] = {}
    elif version < (1, 44):
        # There is but one, and older daemons took it whatever it was called.
        endpoint = next(iter(endpoints.values()))
    elif mode in endpoints:
        endpoint = endpoints[mode]
    else:
        raise InvalidParameter(
            f"{refusal}: HostConfig.NetworkMode must match the identity of a network in NetworkSettings.Networks"
        )
    return endpoint


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

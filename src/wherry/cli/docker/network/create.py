"""`docker network create`."""

from __future__ import annotations

import ipaddress

from wherry.cli.docker.errors import CliError

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "[OPTIONS] NETWORK"
ARGUMENTS = (1, 1)
FLAGS = """
  attachable             Let containers be connected by hand
  aux-address map        Address that the driver uses itself (NAME=ADDRESS)
  config-from string     Network to take the settings from
  config-only            Keep settings only
d,driver string=bridge   Driver
  gateway strings        Gateway of a subnet
  ingress                Swarm's routing mesh
  internal               No way to the outside
  ip-range strings       Addresses of containers come from this range
  ipam-driver string=default  Driver of address management
  ipam-opt map           Option of address management
  ipv4=true              Give IPv4 addresses
  ipv6                   Give IPv6 addresses
  label list             Label (NAME=VALUE)
o,opt map                Option of the driver
  scope string           Scope of the network
  subnet strings         Subnet (ADDRESS/BITS)
"""


def run(cli: Cli, flags: Flags, arguments: list[str]) -> None:
    body: dict[str, Any] = {
        "Name": arguments[0],
        "CheckDuplicate": True,  # before API 1.44 a daemon looks only when it is told to
        "Driver": flags["driver"],
        "Scope": flags["scope"],
        "IPAM": {
            "Driver": flags["ipam-driver"],
            "Options": flags["ipam-opt"],
            "Config": _pools(flags["subnet"], flags["ip-range"], flags["gateway"], flags["aux-address"]),
        },
        "Internal": flags["internal"],
        "Attachable": flags["attachable"],
        "Ingress": flags["ingress"],
        "ConfigOnly": flags["config-only"],
        "Options": flags["opt"],
        "Labels": dict(label.partition("=")[::2] for label in flags["label"]),
    }
    if flags.given("ipv4"):
        body["EnableIPv4"] = flags["ipv4"]
    if flags.given("ipv6"):
        body["EnableIPv6"] = flags["ipv6"]
    if flags["config-from"]:
        body["ConfigFrom"] = {"Network": flags["config-from"]}
    answer = cli.client.post("/networks/create", body=body)
    if answer.get("Warning"):
        cli.error(f"WARNING: {answer['Warning']}")
    cli.out(answer["Id"])


def _pools(
    subnets: list[str], ranges: list[str], gateways: list[str], auxiliary: dict[str, str]
) -> list[dict[str, Any]]:
    if len(subnets) < len(ranges) or len(subnets) < len(gateways):
        raise CliError("every ip-range or gateway must have a corresponding subnet")
    pools: dict[str, dict[str, Any]] = {}
    for subnet in subnets:
        for other in pools:
            if _network(subnet).overlaps(_network(other)):
                raise CliError("multiple overlapping subnet configuration is not supported")
        pools[subnet] = {"Subnet": subnet, "AuxiliaryAddresses": {}}
    for kind, key, values in (("range", "IPRange", ranges), ("gateway", "Gateway", gateways)):
        for value in values:
            home = _home(pools, value)
            if home is None:
                raise CliError(f"no matching subnet for {kind} {value}")
            if home.get(key):
                raise CliError(f"cannot configure multiple {kind}s ({value}, {home[key]}) on the same subnet")
            home[key] = value
    for name, value in auxiliary.items():
        home = _home(pools, value)
        if home is None:
            raise CliError(f"no matching subnet for aux-address {value}")
        home["AuxiliaryAddresses"][name] = value
    return list(pools.values())


def _network(text: str) -> Any:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise CliError(f"invalid subnet {text} : invalid CIDR address: {text}") from None


def _home(pools: dict[str, dict[str, Any]], address: str) -> dict[str, Any] | None:
    try:
        first = ipaddress.ip_address(address.partition("/")[0])
    except ValueError:
        raise CliError(f"invalid address: {address}") from None
    return next((pool for subnet, pool in pools.items() if first in _network(subnet)), None)

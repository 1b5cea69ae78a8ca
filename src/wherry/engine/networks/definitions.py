"""What a network is, as stored: read out of `POST /networks/create`, written as `docker network inspect` shows it."""

import ipaddress
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from wherry.engine.errors import Forbidden, InvalidParameter, NotFound
from wherry.engine.errors import NotImplemented as Unsupported
from wherry.engine.networks.firewall import NetworkRules
from wherry.engine.networks.ipam import Pool, Subnet, choose_subnet, overlapping
from wherry.host.netlink import IPNetwork

PREDEFINED = ("bridge", "host", "none")
_RESERVED = (*PREDEFINED, "default")

_BRIDGE = "com.docker.network.bridge."
_DRIVER = "com.docker.network.driver."
KNOWN_OPTIONS = frozenset(
    {
        f"{_BRIDGE}name",
        f"{_BRIDGE}default_bridge",
        f"{_BRIDGE}enable_icc",
        f"{_BRIDGE}enable_ip_masquerade",
        f"{_BRIDGE}host_binding_ipv4",
        f"{_BRIDGE}inhibit_ipv4",
        f"{_BRIDGE}gateway_mode_ipv4",
        f"{_BRIDGE}gateway_mode_ipv6",
        f"{_DRIVER}mtu",
        "com.docker.network.container_iface_prefix",
        "com.docker.network.enable_ipv4",
        "com.docker.network.enable_ipv6",
    }
)
_NOT_YET = ("macvlan", "ipvlan")


@dataclass(frozen=True)
class Network:
    """One network's definition. `subnets` in the order given; `bridge` is the host interface ("" for host and none)."""

    id: str
    name: str
    driver: str
    created: str
    bridge: str = ""
    subnets: tuple[dict[str, Any], ...] = ()
    """Docker's IPAM.Config entries: Subnet, IPRange, Gateway, AuxiliaryAddresses; Subnet and Gateway always filled."""
    user_subnets: bool = False
    ipv4: bool = True
    ipv6: bool = False
    internal: bool = False
    attachable: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    ipam_options: dict[str, str] | None = None

    @property
    def is_default(self) -> bool:
        return self.name == "bridge"

    def flag(self, name: str, default: bool) -> bool:
        """A boolean `com.docker.network.bridge.<name>`."""
        return _boolean(self.options.get(f"{_BRIDGE}{name}"), default)

    @property
    def icc(self) -> bool:
        return self.flag("enable_icc", True)

    @property
    def mtu(self) -> int:
        """0: that of the host's way out."""
        return int(self.options.get(f"{_DRIVER}mtu") or 0)

    @property
    def host_binding(self) -> str:
        return self.options.get(f"{_BRIDGE}host_binding_ipv4") or ""

    @property
    def interface_prefix(self) -> str:
        return self.options.get("com.docker.network.container_iface_prefix") or "eth"

    def ipam(self) -> list[Subnet]:
        """Fresh address pools of this network."""
        return [subnet_of(entry) for entry in self.subnets]

    def rules(self) -> NetworkRules:
        return NetworkRules(
            bridge=self.bridge,
            subnets=tuple(ipaddress.ip_network(entry["Subnet"]) for entry in self.subnets),
            internal=self.internal,
            masquerade=self.flag("enable_ip_masquerade", True),
        )

    def shown(self) -> dict[str, Any]:
        """`docker network ls`/`inspect` (API 1.50), without its containers."""
        return {
            "Name": self.name,
            "Id": self.id,
            "Created": self.created,
            "Scope": "local",
            "Driver": self.driver,
            "EnableIPv4": self.ipv4,
            "EnableIPv6": self.ipv6,
            "IPAM": {
                "Driver": "default",
                "Options": self.ipam_options,
                "Config": [dict(entry) for entry in self.subnets] if self.driver == "bridge" else None,
            },
            "Internal": self.internal,
            "Attachable": self.attachable,
            "Ingress": False,
            "ConfigFrom": {"Network": ""},
            "ConfigOnly": False,
            "Containers": {},
            "Options": dict(self.options),
            "Labels": dict(self.labels),
        }

    def to_json(self) -> str:
        return json.dumps(self.__dict__)

    @staticmethod
    def from_json(text: str) -> "Network":
        stored = json.loads(text)
        return Network(**(stored | {"subnets": tuple(stored["subnets"])}))


def _boolean(text: str | None, default: bool) -> bool:
    if text is None or text == "":
        return default
    return text.lower() in ("1", "t", "true")


def subnet_of(entry: dict[str, Any]) -> Subnet:
    """An IPAM.Config entry → its addresses. Raises InvalidParameter."""
    subnet = _network(entry["Subnet"], "subnet", strict=True)
    ip_range = _network(entry["IPRange"], "ip-range") if entry.get("IPRange") else None
    try:
        gateway = ipaddress.ip_address(entry["Gateway"]) if entry.get("Gateway") else None
        auxiliary = {
            name: ipaddress.ip_address(address) for name, address in (entry.get("AuxiliaryAddresses") or {}).items()
        }
    except ValueError as error:
        raise InvalidParameter(f"invalid network config:\ninvalid subnet {subnet}: {error}") from None
    return Subnet(subnet, ip_range=ip_range, gateway=gateway, auxiliary=auxiliary)


def _network(text: str, what: str, *, strict: bool = False) -> IPNetwork:
    try:
        loose = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise InvalidParameter(f"invalid network config:\ninvalid {what} {text}: invalid CIDR block notation") from None
    if strict and str(text).partition("/")[0] != str(loose.network_address):
        exact = ipaddress.ip_interface(text)
        if exact.ip != loose.network_address:
            raise InvalidParameter(f"invalid network config:\ninvalid subnet {text}: it should be {loose}")
    return loose


def parse_create(
    body: dict[str, Any],
    *,
    id: str,
    created: str,
    bridge: str,
    used: Iterable[IPNetwork],
    pools: Iterable[Pool],
    pool6: Pool,
) -> Network:
    """The network that a `POST /networks/create` body describes, with subnets chosen where none is given.

    `used` are the subnets that must not be overlapped. Raises InvalidParameter, Forbidden, NotFound, NotImplemented.
    """
    name = body.get("Name") or ""
    if not isinstance(name, str) or not name.strip():
        raise InvalidParameter("invalid name: name is empty")
    if name in _RESERVED:
        raise Forbidden(f"operation is not permitted on predefined {name} network")
    if re.fullmatch(r"[a-f0-9]{64}", name):
        raise InvalidParameter(f"invalid name: {name} looks like a network id")
    driver = body.get("Driver") or "bridge"
    _check_driver(driver)
    for unsupported in ("Ingress", "ConfigOnly"):
        if body.get(unsupported):
            raise Unsupported(f"network option {unsupported} is not supported")
    if (body.get("ConfigFrom") or {}).get("Network"):
        raise Unsupported("network option ConfigFrom is not supported")
    if body.get("Scope") not in (None, "", "local"):
        raise Unsupported(f"network scope {body['Scope']} is not supported")
    options = _strings(body.get("Options"), "Options")
    _check_options(options)
    ipv4 = _flag(body, options, "EnableIPv4", "com.docker.network.enable_ipv4", True)
    ipv6 = _flag(body, options, "EnableIPv6", "com.docker.network.enable_ipv6", False)
    if not ipv4:
        raise Unsupported("networks without IPv4 are not supported")
    ipam = body.get("IPAM") or {}
    if ipam.get("Driver") not in (None, "", "default"):
        raise NotFound(f'plugin "{ipam["Driver"]}" not found')
    subnets, user_subnets = _subnets(ipam.get("Config") or [], list(used), ipv6, list(pools), pool6)
    return Network(
        id=id,
        name=name,
        driver=driver,
        created=created,
        bridge=options.get(f"{_BRIDGE}name") or bridge,
        subnets=subnets,
        user_subnets=user_subnets,
        ipv6=ipv6,
        internal=bool(body.get("Internal")),
        attachable=bool(body.get("Attachable")),
        labels=_strings(body.get("Labels"), "Labels"),
        options=options,
        ipam_options=_strings(ipam.get("Options"), "IPAM options") if ipam.get("Options") is not None else None,
    )


def _flag(body: dict[str, Any], options: dict[str, str], key: str, option: str, default: bool) -> bool:
    given = body.get(key)
    return bool(given) if given is not None else _boolean(options.get(option), default)


def _strings(value: Any, what: str) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise InvalidParameter(f"{what} must be an object of strings")
    return dict(value)


def _check_driver(driver: str) -> None:
    if driver in ("host", "null"):
        raise Forbidden(f'only one instance of "{driver}" network is allowed')
    if driver in _NOT_YET:
        raise Unsupported(f"network driver {driver} is not supported")
    if driver == "overlay":
        raise Forbidden(
            'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node '
            "to swarm and try again."
        )
    if driver != "bridge":
        raise NotFound(f'plugin "{driver}" not found')


def _check_options(options: dict[str, str]) -> None:
    for key, value in options.items():
        if key.startswith("com.docker.network.") and key not in KNOWN_OPTIONS:
            raise Unsupported(f"network option {key} is not supported")
        if "gateway_mode" in key and value not in ("", "nat"):
            raise Unsupported(f"network option {key}={value} is not supported")
    mtu = options.get(f"{_DRIVER}mtu", "")
    if mtu and not (mtu.isascii() and mtu.isdigit() and 68 <= int(mtu) <= 65535):
        raise InvalidParameter(f'invalid value for option "{_DRIVER}mtu": {mtu}')
    for key in ("enable_icc", "enable_ip_masquerade", "inhibit_ipv4"):
        value = options.get(f"{_BRIDGE}{key}", "")
        if value.lower() not in ("", "0", "1", "t", "f", "true", "false"):
            raise InvalidParameter(f'invalid value for option "{_BRIDGE}{key}": {value}')
    name = options.get(f"{_BRIDGE}name", "")
    if name and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}", name):
        raise InvalidParameter(f'invalid value for option "{_BRIDGE}name": {name}')
    prefix = options.get("com.docker.network.container_iface_prefix", "")
    if prefix and not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,11}", prefix):
        raise InvalidParameter(f'invalid value for option "com.docker.network.container_iface_prefix": {prefix}')
    address = options.get(f"{_BRIDGE}host_binding_ipv4", "")
    if address:
        try:
            ipaddress.ip_address(address)
        except ValueError:
            raise InvalidParameter(f'invalid value for option "{_BRIDGE}host_binding_ipv4": {address}') from None


def _subnets(
    config: list[dict[str, Any]], used: list[IPNetwork], ipv6: bool, pools: list[Pool], pool6: Pool
) -> tuple[tuple[dict[str, Any], ...], bool]:
    entries: list[dict[str, Any]] = []
    user = False
    for entry in config:
        if not entry.get("Subnet"):
            if entry.get("Gateway") or entry.get("IPRange") or entry.get("AuxiliaryAddresses"):
                raise InvalidParameter("invalid network config:\ninvalid subnet : invalid CIDR block notation")
            continue
        subnet = subnet_of(entry).subnet
        if overlapping(subnet, used):
            raise Forbidden("invalid pool request: Pool overlaps with other one on this address space")
        if subnet.version == 6 and not ipv6:
            raise InvalidParameter(
                f"invalid network config:\ninvalid subnet {subnet}: IPv6 has not been enabled for this network"
            )
        used.append(subnet)
        user = True
        kept = {key: entry[key] for key in ("Subnet", "IPRange", "Gateway", "AuxiliaryAddresses") if entry.get(key)}
        entries.append(kept | {"Subnet": str(subnet)})
    versions = {ipaddress.ip_network(entry["Subnet"]).version for entry in entries}
    choose: Callable[[list[Pool]], dict[str, Any]] = lambda among: {"Subnet": str(choose_subnet(among, used))}  # noqa: E731
    if 4 not in versions:
        entries.insert(0, choose(pools))
    if ipv6 and 6 not in versions:
        entries.append(choose([pool6]))
    for entry in entries:
        entry.setdefault("Gateway", str(subnet_of(entry).gateway))
    return tuple(entries), user

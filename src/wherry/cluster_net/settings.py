"""What the user chooses for Ingress and LoadBalancer Services here: `<root>/config.toml`, all of it optional.

[ingress]
enabled = true          # false: no Ingress is served here
http_port = 80          # where Ingress listens, once there is one
https_port = 443
workers = 0             # nginx's worker processes; 0: one per core, at most 4

[load_balancer]
pool = ["192.168.1.240-192.168.1.250", "10.1.2.0/28"]   # instead of the machine's own addresses
"""

import ipaddress
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any

from wherry.host.instance import Instance


class BadSettings(ValueError):
    """`config.toml` cannot be used; the message names the file, the key and what is wrong."""


@dataclass(frozen=True)
class IngressSettings:
    enabled: bool = True
    http_port: int = 80
    https_port: int = 443
    workers: int = 0


@dataclass(frozen=True)
class NetSettings:
    """`pool`: (first, last) of each range of addresses for LoadBalancer Services; empty: the machine's own."""

    ingress: IngressSettings = field(default_factory=IngressSettings)
    pool: tuple[tuple[IPv4Address, IPv4Address], ...] = ()


def load(instance: Instance) -> NetSettings:
    """The instance's settings; the defaults where the file says nothing. Raises BadSettings."""
    path = instance.root / "config.toml"
    try:
        document = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return NetSettings()
    except (OSError, ValueError) as error:
        raise BadSettings(f"{path}: {error}") from error
    try:
        return parse(document)
    except ValueError as error:
        raise BadSettings(f"{path}: {error}") from error


def parse(document: Mapping[str, Any]) -> NetSettings:
    """Settings from the parsed file; sections of other parts are left alone. Raises ValueError."""
    ingress = _section(document, "ingress", {"enabled": bool, "http_port": int, "https_port": int, "workers": int})
    for name in ("http_port", "https_port"):
        if not 1 <= ingress.get(name, 1) <= 65535:
            raise ValueError(f"ingress.{name}: {ingress[name]} is not a port")
    if not 0 <= ingress.get("workers", 0) <= 256:
        raise ValueError(f"ingress.workers: {ingress['workers']} is not between 0 and 256")
    balancer = _section(document, "load_balancer", {"pool": list})
    pool = tuple(_range(text) for text in balancer.get("pool", ()))
    return NetSettings(IngressSettings(**ingress), pool)


def _section(document: Mapping[str, Any], name: str, fields: Mapping[str, type]) -> dict[str, Any]:
    section = document.get(name, {})
    if not isinstance(section, dict):
        raise ValueError(f"{name}: must be a table")
    for key, value in section.items():
        if key not in fields:
            raise ValueError(f"{name}.{key}: unknown; known are {', '.join(sorted(fields))}")
        if type(value) is not fields[key]:
            raise ValueError(f"{name}.{key}: must be of type {fields[key].__name__}")
    return section


def _range(text: object) -> tuple[IPv4Address, IPv4Address]:
    """`a-b`, a network in CIDR notation (all its addresses), or one address."""
    try:
        first, dash, last = str(text).partition("-")
        if dash:
            low, high = ipaddress.IPv4Address(first.strip()), ipaddress.IPv4Address(last.strip())
            if low > high:
                raise ValueError("its end is below its start")
            return low, high
        network = ipaddress.IPv4Network(str(text).strip())
        return network[0], network[-1]
    except ValueError as error:
        raise ValueError(f"load_balancer.pool: {text!r}: {error}") from error


def addresses(pool: Iterable[tuple[IPv4Address, IPv4Address]]) -> Iterator[str]:
    """Every address of the pool, in order."""
    for first, last in pool:
        for number in range(int(first), int(last) + 1):
            yield str(ipaddress.IPv4Address(number))

"""Published ports: what a container asked for, which host port it gets, and the socket that holds it.

A *binding* is Docker's `{"HostIp", "HostPort"}` of one container port. A *mapping* is a binding with its host port
decided. Traffic itself goes through nftables (`firewall.py`); the socket makes a conflict an error at once, for this
instance and for every other program, and carries the few connections that the kernel cannot translate (`relay.py`).
"""

import errno
import ipaddress
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from wherry.engine.errors import EngineError, InvalidParameter
from wherry.engine.errors import NotImplemented as Unsupported
from wherry.host.namespaces import read_sysctl
from wherry.host.netlink import IPAddress

EPHEMERAL = (32768, 60999)
PROTOCOLS = ("tcp", "udp")


@dataclass(frozen=True)
class PortMapping:
    """`host_ip` 0.0.0.0 or :: stand for every address of that family."""

    protocol: str
    container_port: int
    host_ip: str
    host_port: int

    @property
    def key(self) -> str:
        return f"{self.container_port}/{self.protocol}"


@dataclass(frozen=True)
class PortRequest:
    """One binding before its host port is decided: any of `first`…`last` will do (0: an ephemeral one)."""

    protocol: str
    container_port: int
    host_ips: tuple[str, ...]
    first: int
    last: int


def parse_port(text: str, what: str = "port") -> tuple[int, str]:
    """`80/tcp`, `53/udp` or `80` → (80, "tcp"). Raises InvalidParameter."""
    number, _, protocol = text.partition("/")
    protocol = (protocol or "tcp").lower()
    if protocol == "sctp":
        raise Unsupported("publishing SCTP ports is not supported")
    if protocol not in PROTOCOLS:
        raise InvalidParameter(f"invalid proto: {protocol}")
    if not number.isascii() or not number.isdigit() or not 0 < int(number) < 65536:
        raise InvalidParameter(f"invalid {what} specification: \"{text}\"")  # fmt: skip
    return int(number), protocol


def parse_ports(text: str) -> Iterator[tuple[int, str]]:
    """Like parse_port, also for ranges: `8000-8002/tcp`."""
    numbers, slash, protocol = text.partition("/")
    low, dash, high = numbers.partition("-")
    first, proto = parse_port(f"{low}{slash}{protocol}")
    last = parse_port(f"{high}{slash}{protocol}")[0] if dash else first
    if last < first:
        raise InvalidParameter(f"invalid port range: {text}")
    for number in range(first, last + 1):
        yield number, proto


def port_requests(
    bindings: Mapping[str, list[dict[str, str]] | None],
    exposed: Mapping[str, object],
    publish_all: bool,
    *,
    default_ips: tuple[str, ...],
) -> list[PortRequest]:
    """HostConfig.PortBindings and PublishAllPorts → requests, in order. `default_ips` is for an empty HostIp."""
    requests = []
    bound = set()
    for key, wanted in bindings.items():
        number, protocol = parse_port(key)
        bound.add((number, protocol))
        for binding in wanted or []:
            host_ip = binding.get("HostIp") or ""
            try:
                ips = (str(ipaddress.ip_address(host_ip.strip("[]"))),) if host_ip else default_ips
            except ValueError:
                raise InvalidParameter(f"invalid IP address: {host_ip}") from None
            first, last = _host_range(binding.get("HostPort") or "")
            requests.append(PortRequest(protocol, number, ips, first, last))
    if publish_all:
        for key in exposed:
            for number, protocol in parse_ports(key):
                if (number, protocol) not in bound:
                    requests.append(PortRequest(protocol, number, default_ips, 0, 0))
    # An ephemeral port must not take the number that a later binding asks for.
    return sorted(requests, key=lambda request: request.first == 0)


def _host_range(text: str) -> tuple[int, int]:
    low, dash, high = str(text).partition("-")
    try:
        first = int(low or 0)
        last = int(high) if dash else first
    except ValueError:
        raise InvalidParameter(f"invalid port specification: \"{text}\"") from None  # fmt: skip
    if not 0 <= first <= last < 65536:
        raise InvalidParameter(f"invalid port specification: \"{text}\"")  # fmt: skip
    return first, last


class PortInUse(EngineError):
    """A host port is taken; the message is the part after Docker's "driver failed programming …: "."""


class PortAllocator:
    """Every host port that this instance's containers hold, by its socket."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str, int], socket.socket] = {}
        low, _, high = (read_sysctl("net.ipv4.ip_local_port_range") or "").partition("\t")
        self._low, self._high = (int(low), int(high)) if low and high else EPHEMERAL
        self._next = self._low
        self.ipv6 = os.path.exists("/proc/net/if_inet6")

    def allocate(self, request: PortRequest) -> list[tuple[PortMapping, socket.socket]]:
        """Bind every address of the request to one and the same port. Raises PortInUse; then nothing is held.

        Sockets are non-blocking; those for tcp listen.
        """
        ips = [ip for ip in request.host_ips if self.ipv6 or ipaddress.ip_address(ip).version == 4]
        failure: PortInUse | None = None
        for port in self._candidates(request):
            try:
                return self._bind_all(request, ips, port)
            except PortInUse as error:
                failure = error
        raise failure or PortInUse("no free port in the ephemeral range")

    def _candidates(self, request: PortRequest) -> Iterator[int]:
        if request.first:
            yield from range(request.first, request.last + 1)
            return
        for _ in range(self._low, self._high + 1):
            port, self._next = self._next, self._next + 1
            if self._next > self._high:
                self._next = self._low
            yield port

    def _bind_all(self, request: PortRequest, ips: list[str], port: int) -> list[tuple[PortMapping, socket.socket]]:
        bound: list[tuple[PortMapping, socket.socket]] = []
        try:
            for ip in ips:
                mapping = PortMapping(request.protocol, request.container_port, ip, port)
                bound.append((mapping, self.hold(mapping)))
        except PortInUse:
            for mapping, _ in bound:
                self.release(mapping)
            raise
        return bound

    def hold(self, mapping: PortMapping) -> socket.socket:
        """Bind one mapping's host port. Raises PortInUse with Docker's words."""
        address = ipaddress.ip_address(mapping.host_ip)
        for protocol, held_ip, port in self._held:
            if (protocol, port) == (mapping.protocol, mapping.host_port) and _clash(
                ipaddress.ip_address(held_ip), address
            ):
                raise PortInUse(f"Bind for {_join(mapping.host_ip, port)} failed: port is already allocated")
        try:
            held = _bind(mapping, address)
        except OSError as error:
            reason = {
                errno.EADDRINUSE: "address already in use",
                errno.EADDRNOTAVAIL: "cannot assign requested address",
                errno.EACCES: "permission denied",
            }.get(error.errno or 0, (error.strerror or str(error)).lower())
            raise PortInUse(
                f"failed to bind host port {_join(mapping.host_ip, mapping.host_port)}/{mapping.protocol}: {reason}"
            ) from None
        self._held[mapping.protocol, mapping.host_ip, mapping.host_port] = held
        return held

    def release(self, mapping: PortMapping) -> None:
        """Idempotent."""
        held = self._held.pop((mapping.protocol, mapping.host_ip, mapping.host_port), None)
        if held is not None:
            held.close()

    def close(self) -> None:
        for held in self._held.values():
            held.close()
        self._held.clear()


def _bind(mapping: PortMapping, address: IPAddress) -> socket.socket:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    kind = socket.SOCK_STREAM if mapping.protocol == "tcp" else socket.SOCK_DGRAM
    held = socket.socket(family, kind | socket.SOCK_NONBLOCK)
    try:
        if family == socket.AF_INET6:
            held.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == socket.SOCK_STREAM:
            # As every server does: a port whose last connections are in TIME_WAIT is free. Listening then keeps
            # others out, who could otherwise bind it with the same option.
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((mapping.host_ip, mapping.host_port))
        if kind == socket.SOCK_STREAM:
            held.listen(128)
    except OSError:
        held.close()
        raise
    return held


def _clash(one: IPAddress, other: IPAddress) -> bool:
    return one.version == other.version and (one == other or one.is_unspecified or other.is_unspecified)


def _join(ip: str, port: int) -> str:
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"

"""Netlink: links, addresses, routes, neighbours and connection tracking, in batches of one system call.

A *message* is the bytes of one request; the builders here make them and `Netlink.batch` sends any number at once.
The kernel works a batch off in order and goes on after an error, so a batch is not a transaction.

Written on the socket itself: see docs/decisions/netlink.md for what that saves.
Specified in rtnetlink(7), linux/if_link.h, linux/netfilter/nfnetlink_conntrack.h.
"""

import contextlib
import errno
import ipaddress
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self, TypeAlias

IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
IPInterface: TypeAlias = ipaddress.IPv4Interface | ipaddress.IPv6Interface

_NETLINK_ROUTE, _NETLINK_NETFILTER = 0, 12
_REQUEST, _MULTI, _ACK, _DUMP = 0x1, 0x2, 0x4, 0x300
_REPLACE, _EXCL, _CREATE = 0x100, 0x200, 0x400
_ERROR, _DONE = 2, 3
_NEWLINK, _DELLINK, _GETLINK, _SETLINK = 16, 17, 18, 19
_NEWADDR, _DELADDR, _GETADDR = 20, 21, 22
_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26
_NEWNEIGH, _DELNEIGH = 28, 29
_AF_BRIDGE = 7
_NESTED = 0x8000
_IFF_UP = 0x1
_EXT_ACK = 11
_SOL_NETLINK = 270

_header = struct.Struct("=IHHII")
_ifinfo = struct.Struct("=BxHiII")
_ifaddr = struct.Struct("=BBBBI")
_rtmsg = struct.Struct("=BBBBBBBBI")
_ndmsg = struct.Struct("=BxHiHBB")
_attr = struct.Struct("=HH")


class NetlinkError(OSError):
    """The kernel refused a request; `errno` says why, the text names the request."""


@dataclass(frozen=True)
class Link:
    index: int
    name: str
    kind: str
    """`bridge`, `veth`, … or "" for physical devices."""
    up: bool
    master: int
    """Index of the bridge it is a port of, or 0."""
    mac: str
    mtu: int
    alias: str


@dataclass(frozen=True)
class Message:
    """One request, without its sequence number."""

    type: int
    flags: int
    payload: bytes
    what: str
    """For error messages: `add address 10.0.0.2/24`."""
    ignore: tuple[int, ...] = ()
    """Error numbers that mean that nothing had to be done."""


def _attribute(kind: int, value: bytes) -> bytes:
    length = 4 + len(value)
    return _attr.pack(length, kind) + value + b"\0" * (-length % 4)


def _string(kind: int, value: str) -> bytes:
    return _attribute(kind, value.encode() + b"\0")


def _u32(kind: int, value: int) -> bytes:
    return _attribute(kind, struct.pack("=I", value))


def _attributes(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    offset = 0
    while offset + 4 <= len(data):
        length, kind = _attr.unpack_from(data, offset)
        if length < 4:
            break
        found[kind & 0x3FFF] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def _family(address: IPAddress | IPNetwork | IPInterface) -> int:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def _mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", "").replace("-", ""))


def add_bridge(name: str, *, mac: str | None = None, mtu: int = 0) -> Message:
    """A bridge, up, without spanning tree."""
    payload = _ifinfo.pack(0, 0, 0, _IFF_UP, _IFF_UP) + _string(3, name)
    if mac:
        payload += _attribute(1, _mac_bytes(mac))
    if mtu:
        payload += _u32(4, mtu)
    payload += _attribute(18, _string(1, "bridge"))
    return Message(_NEWLINK, _CREATE | _EXCL, payload, f"add bridge {name}")


def add_dummy(name: str) -> Message:
    """An interface without a wire: its addresses are local, whatever comes and goes."""
    payload = _ifinfo.pack(0, 0, 0, _IFF_UP, _IFF_UP) + _string(3, name) + _attribute(18, _string(1, "dummy"))
    return Message(_NEWLINK, _CREATE | _EXCL, payload, f"add dummy {name}")


def add_veth(
    name: str,
    *,
    peer: str,
    peer_netns: int,
    peer_mac: str | None = None,
    master: int = 0,
    mtu: int = 0,
) -> Message:
    """A veth pair: `name` here, up, a port of bridge `master`; `peer` in the namespace of fd `peer_netns`, still down
    (the kernel cannot bring it up before the pair is whole)."""
    far = _ifinfo.pack(0, 0, 0, 0, 0) + _string(3, peer) + _u32(28, peer_netns)
    if peer_mac:
        far += _attribute(1, _mac_bytes(peer_mac))
    near = _ifinfo.pack(0, 0, 0, _IFF_UP, _IFF_UP) + _string(3, name)
    if mtu:
        near += _u32(4, mtu)
        far += _u32(4, mtu)
    if master:
        near += _u32(10, master)
    data = _attribute(2 | _NESTED, _attribute(1 | _NESTED, far))
    near += _attribute(18 | _NESTED, _string(1, "veth") + data)
    return Message(_NEWLINK, _CREATE | _EXCL, near, f"add veth {name}")


def set_link(
    index: int,
    *,
    up: bool | None = None,
    name: str | None = None,
    mtu: int = 0,
    master: int | None = None,
    mac: str = "",
) -> Message:
    change = _IFF_UP if up is not None else 0
    payload = _ifinfo.pack(0, 0, index, _IFF_UP if up else 0, change)
    if name:
        payload += _string(3, name)
    if mac:
        payload += _attribute(1, _mac_bytes(mac))
    if mtu:
        payload += _u32(4, mtu)
    if master is not None:
        payload += _u32(10, master)
    return Message(_NEWLINK, 0, payload, f"set link {name or index}")


def set_bridge_port(
    index: int, *, hairpin: bool | None = None, isolated: bool | None = None, disabled: bool = False
) -> Message:
    """`hairpin`: frames may leave by the port they came in. `isolated`: no frames between two such ports. `disabled`:
    no frames at all (cheaper than taking the link down)."""
    options = _attribute(1, b"\0") if disabled else b""
    if hairpin is not None:
        options += _attribute(4, bytes([hairpin]))
    if isolated is not None:
        options += _attribute(33, bytes([isolated]))
    payload = _ifinfo.pack(_AF_BRIDGE, 0, index, 0, 0) + _attribute(12 | _NESTED, options)
    return Message(_SETLINK, 0, payload, f"set bridge port {index}")


def set_alias(name: str, alias: str) -> Message:
    """A note to people and to ourselves (`ip link` shows it). The kernel takes it only for links that exist."""
    payload = _ifinfo.pack(0, 0, 0, 0, 0) + _string(3, name) + _attribute(20, alias.encode())
    return Message(_NEWLINK, 0, payload, f"set alias of {name}")


def delete_link(name: str) -> Message:
    payload = _ifinfo.pack(0, 0, 0, 0, 0) + _string(3, name)
    return Message(_DELLINK, 0, payload, f"delete link {name}", (errno.ENODEV,))


def add_address(index: int, address: IPInterface) -> Message:
    """An address of an interface; IPv6 ones without duplicate detection, so that they serve at once."""
    family = _family(address)
    payload = _ifaddr.pack(family, address.network.prefixlen, 0, 0, index)
    payload += _attribute(2, address.packed) + _attribute(1, address.packed)
    if address.version == 4 and address.network.prefixlen < 31:
        payload += _attribute(4, address.network.broadcast_address.packed)
    if address.version == 6:
        payload += _u32(8, 0x02)
    return Message(_NEWADDR, _CREATE | _REPLACE, payload, f"add address {address}")


def delete_address(index: int, address: IPInterface) -> Message:
    payload = _ifaddr.pack(_family(address), address.network.prefixlen, 0, 0, index)
    payload += _attribute(2, address.packed) + _attribute(1, address.packed)
    return Message(_DELADDR, 0, payload, f"delete address {address}", (errno.EADDRNOTAVAIL, errno.ENODEV))


def _route(
    destination: IPNetwork, index: int, gateway: IPAddress | None, source: IPAddress | None, metric: int
) -> bytes:
    scope = 0 if gateway else 253
    if destination.version == 6:
        scope = 0
    payload = _rtmsg.pack(_family(destination), destination.prefixlen, 0, 0, 254, 4, scope, 1, 0)
    if destination.prefixlen:
        payload += _attribute(1, destination.network_address.packed)
    if index:
        payload += _u32(4, index)
    if gateway:
        payload += _attribute(5, gateway.packed)
    if source:
        payload += _attribute(7, source.packed)
    if metric:
        payload += _u32(6, metric)
    return payload


def add_route(
    destination: IPNetwork,
    *,
    index: int = 0,
    gateway: IPAddress | None = None,
    source: IPAddress | None = None,
    metric: int = 0,
) -> Message:
    """A unicast route by interface `index` and/or `gateway`; `source` is the preferred local address. Replaces."""
    payload = _route(destination, index, gateway, source, metric)
    return Message(_NEWROUTE, _CREATE | _REPLACE, payload, f"add route {destination}")


def delete_route(
    destination: IPNetwork, *, index: int = 0, gateway: IPAddress | None = None, metric: int = 0
) -> Message:
    payload = _route(destination, index, gateway, None, metric)
    return Message(_DELROUTE, 0, payload, f"delete route {destination}", (errno.ESRCH,))


def add_forwarding(index: int, mac: str) -> Message:
    """Teach a bridge that `mac` is behind its port `index`, so that no frame is lost to an older port."""
    # NUD_NOARP: an entry that may be made before the port has a carrier. It goes when the port goes.
    payload = _ndmsg.pack(_AF_BRIDGE, 0, index, 0x40, 0x04, 0) + _attribute(2, _mac_bytes(mac))
    return Message(_NEWNEIGH, _CREATE | _REPLACE, payload, f"add forwarding {mac}")


def add_neighbour(index: int, address: IPAddress, mac: str) -> Message:
    """Teach the host (not for ever: NUD_REACHABLE) which MAC has `address` behind interface `index`."""
    payload = _ndmsg.pack(_family(address), 0, index, 0x02, 0, 0)
    payload += _attribute(1, address.packed) + _attribute(2, _mac_bytes(mac))
    return Message(_NEWNEIGH, _CREATE | _REPLACE, payload, f"add neighbour {address}")


@dataclass(frozen=True)
class Route:
    destination: IPNetwork
    index: int
    gateway: IPAddress | None
    table: int


@dataclass(frozen=True)
class Flow:
    """One tracked connection: addresses and ports of its first packet, and of the answer to it."""

    protocol: int
    source: IPAddress
    destination: IPAddress
    source_port: int
    destination_port: int
    reply_source: IPAddress
    reply_source_port: int
    tuple_bytes: bytes
    """The original tuple's attribute, for deletion."""


class Netlink:
    """A netlink socket of the calling thread's network namespace, whatever thread uses it later. Thread-safe."""

    def __init__(self, protocol: int = _NETLINK_ROUTE) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        with contextlib.suppress(OSError):  # kernels before 4.12: errors come without their text
            self._socket.setsockopt(_SOL_NETLINK, _EXT_ACK, 1)
        self._socket.bind((0, 0))
        self._lock = threading.Lock()
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def batch(self, messages: Sequence[Message]) -> None:
        """Carry out `messages` in order with one system call.

        The rest is carried out after an error too. Raises NetlinkError for the first that failed.
        """
        if not messages:
            return
        with self._lock:
            first = self._sequence + 1
            parts = []
            for message in messages:
                self._sequence += 1
                flags = _REQUEST | message.flags | (_ACK if message is messages[-1] else 0)
                padding = b"\0" * (-len(message.payload) % 4)
                parts.append(_header.pack(16 + len(message.payload), message.type, flags, self._sequence, 0))
                parts.append(message.payload + padding)
            self._socket.send(b"".join(parts))
            failure: NetlinkError | None = None
            done = False
            while not done:
                for kind, sequence, body in self._receive():
                    if kind != _ERROR or sequence < first:
                        continue
                    message = messages[sequence - first]
                    code = -int(struct.unpack_from("=i", body)[0])
                    if code and code not in message.ignore and failure is None:
                        failure = NetlinkError(code, f"{message.what}: {os.strerror(code)}{_extended(body)}")
                    done = done or sequence == self._sequence
            if failure:
                raise failure

    def _receive(self) -> Iterator[tuple[int, int, bytes]]:
        data = self._socket.recv(1 << 18)
        offset = 0
        while offset + 16 <= len(data):
            length, kind, _, sequence, _ = _header.unpack_from(data, offset)
            if length < 16:
                break
            yield kind, sequence, data[offset + 16 : offset + length]
            offset += (length + 3) & ~3

    def _dump(self, kind: int, payload: bytes) -> list[bytes]:
        for _ in range(8):
            with self._lock:
                self._sequence += 1
                request = _header.pack(16 + len(payload), kind, _REQUEST | _DUMP, self._sequence, 0)
                self._socket.send(request + payload)
                found, interrupted = self._collect()
            if not interrupted:
                return found
        return found

    def _collect(self) -> tuple[list[bytes], bool]:
        found: list[bytes] = []
        while True:
            for kind, sequence, body in self._receive():
                if sequence != self._sequence:
                    continue
                if kind == _DONE:
                    return found, False
                if kind == _ERROR:
                    code = -int(struct.unpack_from("=i", body)[0])
                    if code == errno.EINTR:
                        return found, True
                    raise NetlinkError(code, f"dump: {os.strerror(code)}")
                found.append(body)

    def links(self) -> list[Link]:
        return [_parse_link(body) for body in self._dump(_GETLINK, _ifinfo.pack(0, 0, 0, 0, 0) + _u32(29, 0))]

    def link(self, name: str) -> Link | None:
        """The interface of that name, or None."""
        payload = _ifinfo.pack(0, 0, 0, 0, 0) + _string(3, name)
        with self._lock:
            self._sequence += 1
            self._socket.send(_header.pack(16 + len(payload), _GETLINK, _REQUEST, self._sequence, 0) + payload)
            while True:
                for kind, sequence, body in self._receive():
                    if sequence != self._sequence:
                        continue
                    if kind == _ERROR:
                        code = -int(struct.unpack_from("=i", body)[0])
                        if code == errno.ENODEV:
                            return None
                        raise NetlinkError(code, f"get link {name}: {os.strerror(code)}")
                    return _parse_link(body)

    def index(self, name: str) -> int:
        """Raises NetlinkError (ENODEV) when there is no such interface."""
        found = self.link(name)
        if found is None:
            raise NetlinkError(errno.ENODEV, f"no interface named {name}")
        return found.index

    def addresses(self) -> list[tuple[int, IPInterface]]:
        """(interface index, address) of every interface."""
        result: list[tuple[int, IPInterface]] = []
        for body in self._dump(_GETADDR, _ifaddr.pack(0, 0, 0, 0, 0)):
            _, prefix, _, _, index = _ifaddr.unpack_from(body)
            found = _attributes(body[8:])
            packed = found.get(2) or found.get(1)
            if packed:
                result.append((index, ipaddress.ip_interface((packed, prefix))))
        return result

    def routes(self) -> list[Route]:
        """Unicast routes of all tables but the kernel's own `local` table."""
        result: list[Route] = []
        for body in self._dump(_GETROUTE, _rtmsg.pack(0, 0, 0, 0, 0, 0, 0, 0, 0)):
            family, length, _, _, table, _, _, kind, _ = _rtmsg.unpack_from(body)
            found = _attributes(body[12:])
            table = struct.unpack("=I", found[15])[0] if 15 in found else table
            if family not in (socket.AF_INET, socket.AF_INET6) or kind != 1 or table == 255:
                continue
            default = b"\0" * (4 if family == socket.AF_INET else 16)
            destination = ipaddress.ip_network((found.get(1, default), length), strict=False)
            index = struct.unpack("=I", found[4])[0] if 4 in found else 0
            gateway = ipaddress.ip_address(found[5]) if 5 in found else None
            result.append(Route(destination, index, gateway, table))
        return result


def _extended(body: bytes) -> str:
    """The kernel's own words (extended acknowledgement), if it sent any."""
    # error code, then the header of the request (its payload is left out with NLM_F_CAPPED or comes whole).
    length = struct.unpack_from("=I", body, 4)[0]
    for offset in (20, 4 + ((length + 3) & ~3)):
        text = _attributes(body[offset:]).get(1, b"")
        with contextlib.suppress(UnicodeDecodeError):
            if text.endswith(b"\0") and len(text) > 8 and text[:-1].decode().isprintable():
                return f" ({text[:-1].decode()})"
    return ""


def _parse_link(body: bytes) -> Link:
    _, _, index, flags, _ = _ifinfo.unpack_from(body)
    found = _attributes(body[16:])
    info = _attributes(found.get(18, b""))
    return Link(
        index=index,
        name=found.get(3, b"").rstrip(b"\0").decode(),
        kind=info.get(1, b"").rstrip(b"\0").decode(),
        up=bool(flags & _IFF_UP),
        master=struct.unpack("=I", found[10])[0] if 10 in found else 0,
        mac=found.get(1, b"").hex(":"),
        mtu=struct.unpack("=I", found[4])[0] if 4 in found else 0,
        alias=found.get(20, b"").rstrip(b"\0").decode(errors="replace"),
    )


class Conntrack(Netlink):
    """The connection tracking table of the calling thread's network namespace."""

    _GET, _DELETE = 0x101, 0x102

    def __init__(self) -> None:
        super().__init__(_NETLINK_NETFILTER)

    def flows(self, version: int = 4) -> list[Flow]:
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        bodies = self._dump(self._GET, struct.pack("=BBH", family, 0, 0))
        return [flow for body in bodies if (flow := _parse_flow(body)) is not None]

    def forget(self, wanted: Callable[[Flow], bool], version: int = 4) -> int:
        """Delete the flows that `wanted` says; the next packet of each is looked at anew. Returns how many."""
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        doomed = [flow for flow in self.flows(version) if wanted(flow)]
        header = struct.pack("=BBH", family, 0, 0)
        for start in range(0, len(doomed), 256):
            self.batch(
                [
                    Message(self._DELETE, 0, header + flow.tuple_bytes, "delete flow", (errno.ENOENT,))
                    for flow in doomed[start : start + 256]
                ]
            )
        return len(doomed)


def _parse_flow(body: bytes) -> Flow | None:
    found = _attributes(body[4:])
    if 1 not in found or 2 not in found:
        return None
    origin, reply = _parse_tuple(found[1]), _parse_tuple(found[2])
    if origin is None or reply is None:
        return None
    protocol, source, destination, source_port, destination_port = origin
    return Flow(
        protocol=protocol,
        source=source,
        destination=destination,
        source_port=source_port,
        destination_port=destination_port,
        reply_source=reply[1],
        reply_source_port=reply[3],
        tuple_bytes=_attribute(1 | _NESTED, found[1]),
    )


def _parse_tuple(data: bytes) -> tuple[int, IPAddress, IPAddress, int, int] | None:
    found = _attributes(data)
    address, transport = _attributes(found.get(1, b"")), _attributes(found.get(2, b""))
    source, destination = address.get(1) or address.get(3), address.get(2) or address.get(4)
    if not source or not destination or 1 not in transport:
        return None
    source_port = struct.unpack("!H", transport[2])[0] if 2 in transport else 0
    destination_port = struct.unpack("!H", transport[3])[0] if 3 in transport else 0
    return (
        transport[1][0],
        ipaddress.ip_address(source),
        ipaddress.ip_address(destination),
        source_port,
        destination_port,
    )

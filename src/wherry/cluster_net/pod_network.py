"""The node's pod network: a bridge, a range of addresses, and a namespace per pod.

A pod has its address as a /32 and reaches everything, its neighbours too, through the host's bridge address. So every
packet is routed by the host, and what the service proxy translated is translated back on its way home, without the
kernel's bridge-netfilter. Traffic that leaves the cluster gets the host's address.

State is kept in `<run>/pod-network/<uid>.json` beside the kernel state it describes: both outlive this process and end
with a reboot. Specified by the Kubernetes network model (every pod reaches every pod without translation) and
`hostPort` in the Pod API.
"""

import asyncio
import contextlib
import ipaddress
import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from wherry.cluster_net import addresses
from wherry.engine.networks.bridges import enable_forwarding, networks_in_use, pools_locked, way_out_mtu
from wherry.engine.networks.ipam import Subnet, overlapping
from wherry.engine.networks.ports import PortAllocator, PortInUse, PortMapping
from wherry.engine.networks.relay import RELAYS, Relay
from wherry.engine.networks.sandboxes import DEFAULT_SYSCTLS, mac_for, random_token, set_sysctls
from wherry.host.instance import Instance
from wherry.host.namespaces import Namespace, NetnsPool, is_pinned, remove, write_sysctl
from wherry.host.netlink import (
    IPNetwork,
    Netlink,
    add_address,
    add_bridge,
    add_forwarding,
    add_route,
    add_veth,
    delete_link,
    delete_route,
    set_alias,
    set_bridge_port,
    set_link,
)
from wherry.host.nftables import Nftables, elements

log = logging.getLogger(__name__)

_PIN = "p-"
_REAP_AFTER = 1.0
_EVERYWHERE = ipaddress.ip_network("0.0.0.0/0")

_TABLE = """
add table inet {table}
delete table inet {table}
table inet {table} {{
    set cluster {{ type ipv4_addr; flags interval; auto-merge; }}
    set hairpin {{ type ipv4_addr . ipv4_addr; }}
    map host_port {{ type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }}
    map host_port_any {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}

    chain guard {{
        type filter hook prerouting priority raw; policy accept;
        # The bridge accepts routes to 127.0.0.0/8 for the answers to host and node ports; nothing else may use that.
        iifname "{bridge}" ip daddr 127.0.0.0/8 drop
        iifname "{bridge}" ip saddr 127.0.0.0/8 drop
    }}
    chain publish {{
        meta l4proto != {{ tcp, udp }} return
        dnat ip to ip daddr . meta l4proto . th dport map @host_port
        dnat ip to meta l4proto . th dport map @host_port_any
    }}
    chain prerouting {{
        type nat hook prerouting priority dstnat; policy accept;
        fib daddr type local jump publish
    }}
    chain output {{
        type nat hook output priority -100; policy accept;
        fib daddr type local jump publish
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        ct status dnat ip saddr . ip daddr @hairpin masquerade
        ct status dnat ip saddr 127.0.0.0/8 oifname "{bridge}" masquerade
        ct status dnat ip saddr != @cluster ip daddr @cluster oifname != "{bridge}" masquerade
        ip saddr {pods} ip daddr != @cluster oifname != "{bridge}" masquerade
    }}
}}
"""


@dataclass(frozen=True)
class PodSandbox:
    """`netns` is the pinned namespace; `ips` the pod's addresses as `status.podIPs` lists them."""

    netns: Path
    ips: tuple[str, ...]


@dataclass
class _Pod:
    uid: str
    netns: str
    ip: str
    link: str
    ports: list[PortMapping] = field(default_factory=list)

    def sandbox(self) -> PodSandbox:
        return PodSandbox(Path(self.netns), (self.ip,))


class HostPortTaken(Exception):
    """A `hostPort` of the pod cannot be had on this machine."""


class RangeTaken(Exception):
    """A range of the cluster leads elsewhere on this machine: chosen by another while this one was not running."""


class PodNetwork:
    """One node's. Methods belong to the event loop's thread."""

    def __init__(
        self,
        instance: Instance,
        cidr: str | None = None,
        *,
        service_cidr: str | None = None,
        cluster_cidr: str | None = None,
    ) -> None:
        """`cidr` is this node's pod range (None: the one used before, or a free one). `service_cidr` gets a route to
        the bridge. `cluster_cidr` holds the pods of all nodes (default: only this node's)."""
        self._instance = instance
        self._wanted = ipaddress.ip_network(cidr) if cidr else None
        self._service_cidr = ipaddress.ip_network(service_cidr) if service_cidr else None
        self._cluster_cidr = ipaddress.ip_network(cluster_cidr) if cluster_cidr else None
        self.bridge = instance.link_name("p", "0")
        self.table = f"{instance.nft_table}_pods"
        self._directory = instance.run / "pod-network"
        self._pods: dict[str, _Pod] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._relays: dict[str, list[Relay]] = {}
        self._netlink = Netlink()
        self._nft = Nftables()
        self._ports = PortAllocator()
        self._warm = NetnsPool(instance.netns_dir, _PIN, sysctls=DEFAULT_SYSCTLS)
        self._index = 0
        self._mtu = 1500
        self._subnet: Subnet
        self._doomed: set[str] = set()
        self._reaper: asyncio.Task[None] | None = None

    @property
    def cidr(self) -> IPNetwork:
        """This node's pod range (`spec.podCIDR`); known after `start`."""
        return self._subnet.subnet

    @property
    def gateway(self) -> str:
        """The bridge's address: the node as pods see it."""
        return str(self._subnet.gateway)

    async def start(self) -> None:
        """Make the bridge and the rules, or take over those of a former run with its pods."""
        await asyncio.to_thread(self._prepare)
        for pod in self._pods.values():
            self._subnet.reserve(ipaddress.ip_address(pod.ip))
            for mapping in pod.ports:
                try:
                    held = self._ports.hold(mapping)
                except PortInUse as error:
                    log.warning("pod %s: %s; its traffic goes on", pod.uid, error.message)
                else:
                    self._relay(pod, mapping, held)
        self._warm.start()

    def _prepare(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._instance.netns_dir.mkdir(parents=True, exist_ok=True, mode=0o755)
        enable_forwarding(ipv6=False)
        with pools_locked():
            self._subnet = Subnet(self._choose())
            self._check_ranges()
            self._make_bridge()
        (self._directory / "cidr").write_text(str(self._subnet.subnet))
        self._load()
        self._sweep()
        self._nft.run(self._whole_table())

    def _choose(self) -> IPNetwork:
        if self._wanted is not None:
            return self._wanted
        with contextlib.suppress(OSError, ValueError):
            former = ipaddress.ip_network((self._directory / "cidr").read_text())
            used = networks_in_use(self._netlink, (), [self.bridge])
            if overlapping(former, used) is None:
                return former
        return addresses.choose_pod_cidr([self._service_cidr] if self._service_cidr else [])

    def _check_ranges(self) -> None:
        """Raises RangeTaken rather than to take traffic away from somebody else.

        A wider route, as a VPN makes it, is in nobody's way: ours is the more specific one.
        """
        links = {link.index: link for link in self._netlink.links()}
        for what, own in (("pods", self._subnet.subnet), ("Services", self._service_cidr)):
            for route in self._netlink.routes() if own is not None else ():
                link, other = links.get(route.index), route.destination
                if link is None or link.name == self.bridge or own is None or own.version != other.version:
                    continue
                if own.prefixlen <= other.prefixlen < other.max_prefixlen and own.overlaps(other):
                    raise RangeTaken(
                        f"the range {own} of this cluster's {what} is in use on this machine by interface {link.name}"
                        f"{f' ({link.alias})' if link.alias else ''}, which has a route to {other}. Both cannot run at "
                        "the same time: stop the other one, or start a new cluster with another --root"
                    )

    def _make_bridge(self) -> None:
        if self._netlink.link(self.bridge) is None:
            mtu = way_out_mtu(self._netlink)
            self._netlink.batch(
                [
                    add_bridge(self.bridge, mtu=mtu),
                    set_alias(self.bridge, f"wherry pods {self._instance.id} of {self._instance.root}"[:255]),
                ]
            )
        link = self._netlink.link(self.bridge)
        assert link is not None
        self._index, self._mtu = link.index, link.mtu
        write_sysctl(f"net.ipv4.conf.{self.bridge}.route_localnet", "1")
        # Neighbours are reached through us on purpose: no advice to the contrary.
        write_sysctl(f"net.ipv4.conf.{self.bridge}.send_redirects", "0")
        write_sysctl("net.ipv4.conf.all.send_redirects", "0")
        with contextlib.suppress(OSError):  # no IPv6 on this kernel
            write_sysctl(f"net.ipv6.conf.{self.bridge}.disable_ipv6", "1")
        own = ipaddress.ip_interface(f"{self._subnet.gateway}/{self._subnet.subnet.prefixlen}")
        messages = [add_address(self._index, own)]
        if self._service_cidr is not None:
            # So that the host's own connections to Services have a route (and a source) before they are translated,
            # and other instances see the range as used.
            messages.append(add_route(self._service_cidr, index=self._index, source=self._subnet.gateway))
        self._netlink.batch(messages)

    def _load(self) -> None:
        for path in self._directory.glob("*.json"):
            try:
                stored = json.loads(path.read_text())
                pod = _Pod(**{**stored, "ports": [PortMapping(**port) for port in stored["ports"]]})
            except (OSError, ValueError, KeyError, TypeError) as error:
                log.warning("ignoring a damaged pod record %s: %s", path, error)
                path.unlink(missing_ok=True)
                continue
            if is_pinned(Path(pod.netns)) and ipaddress.ip_address(pod.ip) in self._subnet.subnet:
                self._pods[pod.uid] = pod
            else:
                path.unlink(missing_ok=True)

    def _sweep(self) -> None:
        pins = {Path(pod.netns) for pod in self._pods.values()}
        for path in self._instance.netns_dir.glob(f"{_PIN}*"):
            if path not in pins:
                remove(path)
        known = {pod.link for pod in self._pods.values()}
        prefix = self._instance.link_name("q", "")
        stray = [link.name for link in self._netlink.links() if link.name.startswith(prefix) and link.name not in known]
        self._netlink.batch([delete_link(name) for name in stray])

    def _whole_table(self) -> str:
        document = _TABLE.format(table=self.table, bridge=self.bridge, pods=self._subnet.subnet)
        cluster = {str(self._subnet.subnet), *(str(cidr) for cidr in (self._cluster_cidr, self._service_cidr) if cidr)}
        document += elements("add", self.table, "cluster", sorted(cluster))
        return document + "".join(self._elements("add", pod) for pod in self._pods.values())

    def _elements(self, verb: str, pod: _Pod) -> str:
        document = elements(verb, self.table, "hairpin", [f"{pod.ip} . {pod.ip}"])
        for mapping in pod.ports:
            if ":" in mapping.host_ip:
                continue
            key = f"{mapping.protocol} . {mapping.host_port}"
            name = "host_port_any"
            if mapping.host_ip != "0.0.0.0":
                name, key = "host_port", f"{mapping.host_ip} . {key}"
            document += elements(verb, self.table, name, [f"{key} : {pod.ip} . {mapping.container_port}"])
        return document

    async def add(
        self,
        pod_uid: str,
        *,
        host_ports: Sequence[Mapping[str, Any]] = (),
        sysctls: Mapping[str, str] | None = None,
    ) -> PodSandbox:
        """The pod's namespace, wired. One that exists already is given as it is.

        `host_ports` are container port entries of the pod (`containerPort`, `hostPort`, `hostIP`, `protocol`); those
        without `hostPort` do not matter. Raises HostPortTaken, EngineError (no address left), OSError (a sysctl).
        """
        async with self._locks.setdefault(pod_uid, asyncio.Lock()):
            if pod_uid in self._pods:
                return self._pods[pod_uid].sandbox()
            ip = str(self._subnet.allocate())
            pod = _Pod(pod_uid, "", ip, self._instance.link_name("q", random_token()))
            try:
                self._hold_ports(pod, host_ports)
                namespace = await self._warm.take()
                pod.netns = str(namespace.path)
                self._pods[pod_uid] = pod
                try:
                    await asyncio.to_thread(self._wire, pod, namespace, dict(sysctls or {}))
                finally:
                    namespace.close()
            except BaseException:
                await self._take_down(pod)
                raise
            return pod.sandbox()

    def _hold_ports(self, pod: _Pod, wanted: Iterable[Mapping[str, Any]]) -> None:
        for port in wanted:
            number = port.get("hostPort")
            if not number:
                continue
            protocol = str(port.get("protocol") or "TCP").lower()
            if protocol == "sctp":
                raise HostPortTaken(f"hostPort {number}: publishing SCTP ports is not supported")
            given = port.get("hostIP") or ""
            for host_ip in (given,) if given else ("0.0.0.0", *(("::",) if self._ports.ipv6 else ())):
                mapping = PortMapping(protocol, int(port["containerPort"]), host_ip, int(number))
                try:
                    held = self._ports.hold(mapping)
                except PortInUse as error:
                    raise HostPortTaken(error.message) from None
                pod.ports.append(mapping)
                self._relay(pod, mapping, held)

    def _relay(self, pod: _Pod, mapping: PortMapping, held: Any) -> None:
        if ":" in mapping.host_ip:
            made = RELAYS[mapping.protocol](held, (pod.ip, mapping.container_port))
            self._relays.setdefault(pod.uid, []).append(made)

    def _wire(self, pod: _Pod, namespace: Namespace, sysctls: Mapping[str, str]) -> None:
        address = ipaddress.ip_interface(f"{pod.ip}/32")
        gateway = self._subnet.gateway
        mac = mac_for(pod.ip)
        descriptor = os.open(namespace.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._netlink.batch(
                [
                    add_veth(
                        pod.link,
                        peer="eth0",
                        peer_netns=descriptor,
                        peer_mac=mac,
                        master=self._index,
                        mtu=self._mtu,
                    )
                ]
            )
            inside = namespace.netlink
            index = inside.index("eth0")
            inside.batch(
                [
                    set_link(index, up=True),
                    add_address(index, address),
                    add_route(ipaddress.ip_network(f"{gateway}/32"), index=index),
                    add_route(_EVERYWHERE, index=index, gateway=gateway),
                ]
            )
            near = self._netlink.index(pod.link)
            self._netlink.batch([add_forwarding(near, mac), set_bridge_port(near, hairpin=True)])
            if sysctls:
                set_sysctls(namespace.path, sysctls)
        finally:
            os.close(descriptor)
        self._nft.run(self._elements("add", pod))
        temporary = self._directory / f".{pod.uid}.tmp"
        temporary.write_text(json.dumps(asdict(pod)))
        temporary.rename(self._directory / f"{pod.uid}.json")

    async def remove(self, pod_uid: str) -> None:
        """Idempotent. Call it when the pod's last process is gone."""
        async with self._locks.setdefault(pod_uid, asyncio.Lock()):
            pod = self._pods.get(pod_uid)
            if pod is not None:
                await self._take_down(pod)
        self._locks.pop(pod_uid, None)

    async def _take_down(self, pod: _Pod) -> None:
        for relay in self._relays.pop(pod.uid, ()):
            relay.close()
        for mapping in pod.ports:
            self._ports.release(mapping)

        def unwire() -> None:
            self._nft.run(self._elements("add", pod) + self._elements("delete", pod))
            near = self._netlink.link(pod.link)
            if near is not None:
                with contextlib.suppress(OSError):
                    self._netlink.batch([set_bridge_port(near.index, disabled=True)])
            if pod.netns:
                remove(Path(pod.netns))
            (self._directory / f"{pod.uid}.json").unlink(missing_ok=True)

        try:
            await asyncio.to_thread(unwire)
        finally:
            self._subnet.release(ipaddress.ip_address(pod.ip))
            self._pods.pop(pod.uid, None)
            self._doomed.add(pod.link)
            if self._reaper is None or self._reaper.done():
                self._reaper = asyncio.get_running_loop().create_task(self._reap(), name="pod-link-reaper")

    async def _reap(self) -> None:
        """Links end with their namespaces; what a stray process keeps alive ends here."""
        while self._doomed:
            links = set(self._doomed)
            await asyncio.sleep(_REAP_AFTER)
            try:
                await asyncio.to_thread(self._netlink.batch, [delete_link(link) for link in links])
            except OSError as error:
                log.warning("cannot remove links of ended pods: %s", error)
            self._doomed -= links

    def list(self) -> dict[str, PodSandbox]:
        """Every pod that has a namespace here, by uid; after `start` also those of a former run."""
        return {uid: pod.sandbox() for uid, pod in self._pods.items()}

    async def stop(self) -> None:
        """Stop serving; the pods' network stays as it is."""
        for relays in self._relays.values():
            for relay in relays:
                relay.close()
        if self._reaper is not None:
            self._reaper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reaper
        await self._warm.close()
        await asyncio.to_thread(self._netlink.batch, [delete_link(link) for link in self._doomed])
        self._ports.close()
        self._netlink.close()
        self._nft.close()

    async def purge(self) -> None:
        """Remove every pod's network, the bridge and the rules, and stop. For when no pod runs."""
        for uid in list(self._pods):
            await self.remove(uid)

        def remove_all() -> None:
            if self._service_cidr is not None:
                self._netlink.batch([delete_route(self._service_cidr, index=self._index)])
            self._netlink.batch([delete_link(self.bridge)])
            self._nft.delete_table(self.table)
            (self._directory / "cidr").unlink(missing_ok=True)

        await asyncio.to_thread(remove_all)
        await self.stop()

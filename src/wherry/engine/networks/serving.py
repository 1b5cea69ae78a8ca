"""What this process itself does for running containers: it holds their ports, relays for them, answers their resolvers.

All of it ends with the process and is taken up again after a restart; traffic that the kernel carries goes on
meanwhile.
"""

import asyncio
import socket

from wherry.engine.errors import EngineError
from wherry.engine.networks import names
from wherry.engine.networks.dns_server import DnsServer
from wherry.engine.networks.files import read_host_resolv_conf
from wherry.engine.networks.ports import PortAllocator, PortInUse, PortMapping, port_requests
from wherry.engine.networks.relay import RELAYS, Relay
from wherry.engine.networks.sandboxes import Endpoint, Sandbox


class Serving:
    """Methods belong to the event loop's thread."""

    def __init__(self) -> None:
        self._ports = PortAllocator()
        self._relays: dict[str, list[Relay]] = {}
        self._table = names.NameTable()
        self._named: dict[str, names.NamedEndpoint] = {}
        self._resolvers: dict[str, DnsServer] = {}

    def close(self) -> None:
        for container_id in list(self._resolvers):
            self.stop_resolver(container_id)
        for relays in self._relays.values():
            for relay in relays:
                relay.close()
        self._ports.close()

    # Ports.

    def allocate_ports(self, sandbox: Sandbox, host_binding: str) -> None:
        """Hold every port that the sandbox's request publishes, and note them in it.

        `host_binding` is the address for bindings without one ("": all). Raises EngineError with Docker's words; what
        was held until then stays in `sandbox.ports`.
        """
        request = sandbox.request
        endpoint = sandbox.gateway_endpoint()
        if endpoint is None:
            return
        default_ips = (host_binding,) if host_binding and host_binding != "0.0.0.0" else ("0.0.0.0", "::")
        wanted = port_requests(
            request.port_bindings, request.exposed_ports, request.publish_all, default_ips=default_ips
        )
        for port in wanted:
            try:
                held = self._ports.allocate(port)
            except PortInUse as error:
                raise EngineError(
                    "failed to set up container networking: "
                    "driver failed programming external connectivity on endpoint "
                    f"{request.name.lstrip('/')} ({endpoint.id}): {error.message}"
                ) from None
            for mapping, listener in held:
                sandbox.ports.append(mapping)
                self._relay(sandbox, mapping, listener)

    def hold_port(self, sandbox: Sandbox, mapping: PortMapping) -> None:
        """Hold a port that an adopted sandbox has. Raises PortInUse."""
        self._relay(sandbox, mapping, self._ports.hold(mapping))

    def _relay(self, sandbox: Sandbox, mapping: PortMapping, listener: socket.socket) -> None:
        if ":" in mapping.host_ip and (endpoint := sandbox.gateway_endpoint()) is not None:
            target = (endpoint.addresses[-1], mapping.container_port)
            self._relays.setdefault(sandbox.id, []).append(RELAYS[mapping.protocol](listener, target))

    def release_ports(self, sandbox: Sandbox) -> None:
        """Idempotent."""
        for relay in self._relays.pop(sandbox.id, ()):
            relay.close()
        for mapping in sandbox.ports:
            self._ports.release(mapping)

    # Names.

    def publish_names(self, sandbox: Sandbox, endpoint: Endpoint) -> None:
        """Let the endpoint be found by its names on its network."""
        if endpoint.names:
            named = names.NamedEndpoint(sandbox.id, endpoint.network_id, tuple(endpoint.names), endpoint.addresses)
            self._named[endpoint.id] = named
            self._table.add(named)

    def forget_names(self, endpoint: Endpoint) -> None:
        """Idempotent."""
        if (named := self._named.pop(endpoint.id, None)) is not None:
            self._table.remove(named)

    async def start_resolver(self, sandbox: Sandbox) -> None:
        """Give the sandbox a resolver, or take up the one it had. Raises OSError, NftError."""
        sockets = await asyncio.to_thread(names.open_sockets, sandbox.netns, sandbox.resolver)
        sandbox.resolver = [sock.getsockname()[1] for sock in sockets]
        await self.serve_names(sandbox, sockets)

    async def serve_names(self, sandbox: Sandbox, sockets: names.Sockets) -> None:
        servers = sandbox.request.dns or read_host_resolv_conf().nameservers
        resolver = names.ContainerResolver(self._table, lambda: _scope(sandbox))
        self._resolvers[sandbox.id] = await names.serve(sockets, resolver, servers)

    def stop_resolver(self, container_id: str) -> None:
        """Idempotent."""
        if (resolver := self._resolvers.pop(container_id, None)) is not None:
            resolver.close()


def _scope(sandbox: Sandbox) -> names.Scope:
    links = {}
    for endpoint in sandbox.endpoints:
        for link in endpoint.config.get("Links") or ():
            target, _, alias = link.partition(":")
            links[(alias or target).lower()] = target.lower()
    return names.Scope(
        networks=tuple((e.network_id, e.network_name) for e in sandbox.endpoints if e.names),
        links=links,
        forwards=any(not endpoint.internal for endpoint in sandbox.endpoints),
    )

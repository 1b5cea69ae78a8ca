"""The words of this folder.

A *network* is what `docker network` shows. A *sandbox* is one container's network namespace with everything
wired into it. An *endpoint* is a sandbox's interface on one network. An *endpoint config* is Docker's
`EndpointSettings` as a client gave it (Aliases, IPAMConfig, Links, MacAddress, DriverOpts…); what comes back in
`NetworkSettings.Networks` is the same object with the addresses filled in.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class NetworkRequest:
    """What a container asks of the network when it starts. Field shapes are those of Docker's HostConfig.

    `mode` is HostConfig.NetworkMode: `default`, `bridge`, `none`, `host`, `container:<full id>` or a network's name
    or id. `endpoints` is NetworkingConfig.EndpointsConfig (network name or id → endpoint config); it may leave out the
    network that `mode` names. `port_bindings` is HostConfig.PortBindings, `exposed_ports` the union of the image's
    and the container's ExposedPorts. `links` are `name:alias` strings (default bridge only).
    """

    container_id: str
    name: str
    hostname: str
    mode: str = "default"
    domainname: str = ""
    endpoints: dict[str, dict[str, Any]] = field(default_factory=dict)
    port_bindings: dict[str, list[dict[str, str]] | None] = field(default_factory=dict)
    exposed_ports: dict[str, Any] = field(default_factory=dict)
    publish_all: bool = False
    dns: list[str] = field(default_factory=list)
    dns_search: list[str] = field(default_factory=list)
    dns_options: list[str] = field(default_factory=list)
    extra_hosts: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    mac: str = ""
    sysctls: dict[str, str] = field(default_factory=dict)
    """The `net.*` ones are set in the namespace before the container starts."""


@dataclass(frozen=True)
class NetworkSandbox:
    """What the runtime needs to start the container.

    `netns` is the pinned namespace (None: the host's own). `settings` is the NetworkSettings object of
    `docker inspect` (Networks, Ports, SandboxKey, IPAddress…). `hosts` and `resolv_conf` are the texts to bind at
    /etc/hosts and /etc/resolv.conf.
    """

    netns: Path | None
    settings: dict[str, Any]
    hosts: str
    resolv_conf: str


@dataclass(frozen=True)
class ContainerView:
    """What networks must know of a container that `network connect` or `disconnect` names.

    `endpoints` is the container's stored EndpointsConfig, keyed by network name; `mode` its HostConfig.NetworkMode.
    """

    id: str
    name: str
    mode: str
    running: bool
    endpoints: dict[str, dict[str, Any]]


class ContainerRecords(Protocol):
    """The side of `engine.containers` that networks call. The engine sets it: `networks.containers = …`."""

    def network_view(self, ref: str) -> ContainerView:
        """By name, id or unique id prefix. Raises NotFound("No such container: …")."""
        ...

    async def save_network(
        self, container_id: str, endpoints: dict[str, dict[str, Any]], sandbox: NetworkSandbox | None
    ) -> None:
        """Store the container's new EndpointsConfig; `sandbox` (None if it is not running) has the new settings."""
        ...

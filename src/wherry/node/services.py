"""What all pod workers of a node share, and what the node lets pods know of itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from wherry.client.api import Client
from wherry.client.clock import Clock
from wherry.host.instance import Instance
from wherry.node.container_logs import LogLinks
from wherry.node.env import Surroundings
from wherry.node.images import Images, Record
from wherry.node.objects import ObjectCache
from wherry.node.resize import Fits
from wherry.node.runtime import Runtime
from wherry.node.sandbox import Sandbox, Sandboxes
from wherry.node.volumes.manager import VolumeManager
from wherry.schema.resource import Object


@dataclass(frozen=True)
class NodeFacts:
    """What pods may ask of their node."""

    name: str
    ips: tuple[str, ...] = ()
    memory: int = 1
    allocatable: dict[str, str] = field(default_factory=dict)
    pids_limit: int = 0


@dataclass
class NodeServices:
    """Everything workers share. `services()` lists the Services known to the node."""

    instance: Instance
    client: Client
    runtime: Runtime
    images: Images
    objects: ObjectCache
    volumes: VolumeManager
    sandboxes: Sandboxes
    logs: LogLinks
    record: Record
    clock: Clock
    facts: NodeFacts
    services: Callable[[], Sequence[Object]]
    written: Callable[[Object], None]
    fits: Fits
    """May a pod that runs here become as large as this?"""

    def surroundings(self, sandbox: Sandbox | None) -> Surroundings:
        """What a pod's environment and volumes may refer to, without ConfigMaps and Secrets."""
        return Surroundings(
            services=self.services(),
            pod_ips=sandbox.ips if sandbox else (),
            host_ips=self.facts.ips,
            node_name=self.facts.name,
            allocatable=self.facts.allocatable,
        )

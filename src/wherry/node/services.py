"""What all pod workers of a node share, and what the node lets pods know of itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from wherry.client.api import Client
from wherry.client.clock import Clock
from wherry.host.instance import Instance
from wherry.node.container_logs import LogLinks
from wherry.node.images import Images, Record
from wherry.node.objects import ObjectCache
from wherry.node.runtime import Runtime
from wherry.node.sandbox import Sandboxes
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

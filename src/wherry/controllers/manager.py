"""The controller manager: every controller, over one set of shared informers."""

import asyncio
import logging
from collections.abc import Collection
from dataclasses import dataclass, field

from wherry.client.api import Client
from wherry.client.clock import Clock, SystemClock
from wherry.client.informer import Informers
from wherry.controllers.catalog import Catalog
from wherry.controllers.deployment import DeploymentController
from wherry.controllers.endpoint_slices import EndpointSliceController
from wherry.controllers.endpoints import EndpointsController
from wherry.controllers.garbage_collector import GarbageCollector
from wherry.controllers.loop import Controller, ControllerLoop, Decision, DecisionLog
from wherry.controllers.namespaces import NamespaceController
from wherry.controllers.node_lifecycle import NodeLifecycleController
from wherry.controllers.pod_gc import PodGCController
from wherry.controllers.replicaset import ReplicaSetController
from wherry.controllers.replication_controller import ReplicationControllerController
from wherry.controllers.root_ca import RootCAController
from wherry.controllers.service_accounts import ServiceAccountController
from wherry.controllers.taint_eviction import TaintEvictionController

log = logging.getLogger(__name__)


@dataclass
class ControllerOptions:
    """`root_ca`: PEM bundle for the ConfigMap kube-root-ca.crt ("" leaves that controller out).
    `disabled`: names of controllers not to run. `explain`: log every decision."""

    root_ca: str = ""
    disabled: Collection[str] = field(default_factory=frozenset)
    explain: bool = False


class ControllerManager:
    """`run()` starts the informers and all controllers and keeps them until cancelled.

    Pass `informers` to share them with the scheduler; whoever calls `run` first starts them.
    """

    def __init__(
        self,
        client: Client,
        clock: Clock | None = None,
        options: ControllerOptions | None = None,
        *,
        informers: Informers | None = None,
    ) -> None:
        self.options = options or ControllerOptions()
        self.clock = clock or SystemClock()
        self.informers = informers or Informers(client, self.clock)
        self.decisions = DecisionLog(_log_decision if self.options.explain else None)
        self._client = client
        self.catalog = Catalog(self.informers)
        self.loops = [
            ControllerLoop(controller, client, self.informers, self.clock, decisions=self.decisions)
            for controller in self._controllers()
            if controller.name not in self.options.disabled
        ]
        self.collector = GarbageCollector(client, self.informers, self.catalog, self.clock, decisions=self.decisions)

    def _controllers(self) -> list[Controller]:
        found: list[Controller] = [
            DeploymentController(),
            ReplicaSetController(),
            ReplicationControllerController(),
            EndpointsController(),
            EndpointSliceController(),
            ServiceAccountController(),
            NamespaceController(self._client, self.catalog),
            NodeLifecycleController(self.clock),
            TaintEvictionController(),
            PodGCController(),
        ]
        if self.options.root_ca:
            found.append(RootCAController(self.options.root_ca))
        return found

    @property
    def idle(self) -> bool:
        """No controller has anything to do right now (waiting for a time does not count)."""
        return all(loop.queue.idle for loop in self.loops)

    async def run(self) -> None:
        self.informers.start()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.informers.watch_over(), name="informers")
            for loop in self.loops:
                group.create_task(loop.run(), name=loop.controller.name)
            group.create_task(self.collector.run(), name="garbage-collector-controller")


def _log_decision(decision: Decision) -> None:
    log.info("%s", decision)

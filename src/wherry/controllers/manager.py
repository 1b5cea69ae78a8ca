"""The controller manager: every controller, over one set of shared informers."""

import asyncio
import logging
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from wherry.client.api import Client
from wherry.client.clock import Clock, SystemClock
from wherry.client.informer import Informers
from wherry.controllers.bootstrap_tokens import BootstrapSignerController, TokenCleanerController
from wherry.controllers.catalog import Catalog
from wherry.controllers.certificates import CertificateController, Sign
from wherry.controllers.cronjob import CronJobController
from wherry.controllers.daemonset import DaemonSetController
from wherry.controllers.deployment import DeploymentController
from wherry.controllers.disruption import DisruptionController
from wherry.controllers.endpoint_slice_mirroring import EndpointSliceMirroringController
from wherry.controllers.endpoint_slices import EndpointSliceController
from wherry.controllers.endpoints import EndpointsController
from wherry.controllers.ephemeral_volumes import EphemeralVolumeController
from wherry.controllers.garbage_collector import GarbageCollector
from wherry.controllers.horizontal_pod_autoscaler import HorizontalPodAutoscalerController
from wherry.controllers.job import JobController
from wherry.controllers.job_orphans import JobOrphansController
from wherry.controllers.loop import Controller, ControllerLoop, Decision, DecisionLog
from wherry.controllers.namespaces import NamespaceController
from wherry.controllers.node_lifecycle import NodeLifecycleController
from wherry.controllers.node_ranges import NodeRangeController
from wherry.controllers.node_ttl import NodeTTLController
from wherry.controllers.persistent_volumes import (
    STANDARD_CLASS,
    PersistentVolumeClaimController,
    PersistentVolumeController,
)
from wherry.controllers.pod_gc import PodGCController
from wherry.controllers.replicaset import ReplicaSetController
from wherry.controllers.replication_controller import ReplicationControllerController
from wherry.controllers.resource_quota import ResourceQuotaController
from wherry.controllers.root_ca import RootCAController
from wherry.controllers.service_account_tokens import Issue, ServiceAccountTokenController
from wherry.controllers.service_accounts import ServiceAccountController
from wherry.controllers.statefulset import StatefulSetController
from wherry.controllers.taint_eviction import TaintEvictionController
from wherry.controllers.ttl_after_finished import TTLAfterFinishedController
from wherry.controllers.volume_protection import ClaimProtectionController, VolumeProtectionController
from wherry.schema.builtin import STORAGE_CLASSES
from wherry.schema.errors import AlreadyExists, ApiError

log = logging.getLogger(__name__)


@dataclass
class ControllerOptions:
    """`root_ca`: PEM bundle for the ConfigMap kube-root-ca.crt ("" leaves that controller out).
    `volumes`: directory below which the default StorageClass `standard` makes volumes (None: there is no such class).
    `cluster_cidr`: the range out of which nodes that have none get theirs ("" leaves that controller out).
    `sign`: signs approved certificate requests (None leaves that controller out).
    `issue`: makes the tokens of Secrets that ask for one (None leaves that controller out).
    `disabled`: names of controllers not to run. `explain`: log every decision."""

    root_ca: str = ""
    volumes: Path | None = None
    cluster_cidr: str = ""
    sign: Sign | None = None
    issue: Issue | None = None
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
            EndpointSliceMirroringController(),
            TokenCleanerController(),
            BootstrapSignerController(),
            NodeTTLController(),
            ServiceAccountController(),
            NamespaceController(self._client, self.catalog),
            NodeLifecycleController(self.clock),
            TaintEvictionController(),
            PodGCController(),
            StatefulSetController(),
            DaemonSetController(),
            JobController(),
            JobOrphansController(),
            TTLAfterFinishedController(),
            CronJobController(),
            DisruptionController(),
            HorizontalPodAutoscalerController(self._client, self.catalog),
            EphemeralVolumeController(),
            ResourceQuotaController(self.catalog),
            PersistentVolumeClaimController(self.options.volumes),
            PersistentVolumeController(self.options.volumes),
            ClaimProtectionController(),
            VolumeProtectionController(),
        ]
        if self.options.root_ca:
            found.append(RootCAController(self.options.root_ca))
        if self.options.root_ca and self.options.issue is not None:
            found.append(ServiceAccountTokenController(self.options.issue, self.options.root_ca))
        if self.options.cluster_cidr:
            found.append(NodeRangeController(self.options.cluster_cidr))
        if self.options.sign is not None:
            found.append(CertificateController(self.options.sign))
        return found

    @property
    def idle(self) -> bool:
        """No controller has anything to do right now (waiting for a time does not count)."""
        return all(loop.queue.idle for loop in self.loops)

    async def run(self) -> None:
        self.informers.start()
        if self.options.volumes is not None:
            await self._make_standard_class()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.informers.watch_over(), name="informers")
            for loop in self.loops:
                group.create_task(loop.run(), name=loop.controller.name)
            group.create_task(self.collector.run(), name="garbage-collector-controller")

    async def _make_standard_class(self) -> None:
        try:
            await self._client.create(STORAGE_CLASSES, STANDARD_CLASS)
        except AlreadyExists:
            return
        except (ApiError, OSError) as error:
            log.warning("the StorageClass %s was not made: %s", STANDARD_CLASS["metadata"]["name"], error)


def _log_decision(decision: Decision) -> None:
    log.info("%s", decision)

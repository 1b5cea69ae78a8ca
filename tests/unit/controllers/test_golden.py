"""Golden plans: tests/golden/controllers/<controller>/<case>.input.yaml -> <case>.plan.yaml.

An input has `now`, `key` and `objects`: what the caches hold. Run with WHERRY_UPDATE_GOLDEN=1 to write the plans anew.
"""

import asyncio
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from wherry.client.clock import parse_time
from wherry.client.informer import Informers
from wherry.controllers.bootstrap_tokens import BootstrapSignerController, TokenCleanerController
from wherry.controllers.catalog import Catalog
from wherry.controllers.cronjob import CronJobController
from wherry.controllers.daemonset import DaemonSetController
from wherry.controllers.deployment import DeploymentController
from wherry.controllers.disruption import DisruptionController
from wherry.controllers.endpoint_slice_mirroring import EndpointSliceMirroringController
from wherry.controllers.endpoint_slices import EndpointSliceController
from wherry.controllers.endpoints import EndpointsController
from wherry.controllers.ephemeral_volumes import EphemeralVolumeController
from wherry.controllers.horizontal_pod_autoscaler import HorizontalPodAutoscalerController
from wherry.controllers.job import JobController
from wherry.controllers.job_orphans import JobOrphansController
from wherry.controllers.loop import Controller
from wherry.controllers.namespaces import NamespaceController
from wherry.controllers.node_lifecycle import NodeLifecycleController
from wherry.controllers.node_ttl import NodeTTLController
from wherry.controllers.persistent_volumes import PersistentVolumeClaimController, PersistentVolumeController
from wherry.controllers.plan import to_data
from wherry.controllers.pod_gc import PodGCController
from wherry.controllers.replicaset import ReplicaSetController
from wherry.controllers.replication_controller import ReplicationControllerController
from wherry.controllers.resource_quota import ResourceQuotaController
from wherry.controllers.root_ca import RootCAController
from wherry.controllers.service_account_tokens import ServiceAccountTokenController
from wherry.controllers.service_accounts import ServiceAccountController
from wherry.controllers.statefulset import StatefulSetController
from wherry.controllers.taint_eviction import TaintEvictionController
from wherry.controllers.ttl_after_finished import TTLAfterFinishedController
from wherry.controllers.volume_protection import ClaimProtectionController
from wherry.schema.table import ResourceTable
from wherry.testing.clock import MockClock
from wherry.testing.fake_client import FakeClient

GOLDEN = Path(__file__).parents[2] / "golden" / "controllers"
CONTROLLERS: dict[str, Any] = {
    "deployment": DeploymentController,
    "replicaset": ReplicaSetController,
    "statefulset": StatefulSetController,
    "daemonset": DaemonSetController,
    "job": JobController,
    "cronjob": CronJobController,
    "endpoints": EndpointsController,
    "endpoint_slices": EndpointSliceController,
    "node_lifecycle": lambda: NodeLifecycleController(MockClock(0.0)),
    "taint_eviction": TaintEvictionController,
    "bootstrap_signer": BootstrapSignerController,
    "bootstrap_tokens": TokenCleanerController,
    "claim_protection": ClaimProtectionController,
    "claims": lambda: PersistentVolumeClaimController(Path("/volumes")),
    "disruption": DisruptionController,
    "endpoint_slice_mirroring": EndpointSliceMirroringController,
    "ephemeral_volumes": EphemeralVolumeController,
    "job_orphans": JobOrphansController,
    "node_ttl": NodeTTLController,
    "pod_gc": PodGCController,
    "replication_controller": ReplicationControllerController,
    "root_ca": lambda: RootCAController("a certificate"),
    "service_account_tokens": lambda: ServiceAccountTokenController(lambda account, secret: "a.b.c", "a certificate"),
    "service_accounts": ServiceAccountController,
    "ttl_after_finished": TTLAfterFinishedController,
    "volumes": lambda: PersistentVolumeController(Path("/volumes")),
}
WITH_CLIENT: dict[str, Callable[[FakeClient, Catalog], Controller]] = {
    "horizontal_pod_autoscaler": HorizontalPodAutoscalerController,
    "namespaces": NamespaceController,
    "resource_quota": lambda _, catalog: ResourceQuotaController(catalog),
}
"""Those that also read live: what the caches hold is there as well."""
CASES = sorted(GOLDEN.glob("*/*.input.yaml"))


def plan_of(case: dict[str, Any], name: str) -> dict[str, Any]:
    """The plan as data; reconciling twice must give the same."""
    table = ResourceTable()
    client = FakeClient(MockClock())
    informers = Informers(client)
    controller = WITH_CLIENT[name](client, Catalog(informers)) if name in WITH_CLIENT else CONTROLLERS[name]()
    controller.setup(informers)
    for watch in controller.watches:
        _ = informers[watch.resource]
    for number, obj in enumerate(case["objects"]):
        resource = table.for_kind(obj["apiVersion"], obj["kind"])
        assert resource is not None
        obj["metadata"].setdefault("uid", f"uid-{obj['metadata']['name']}")
        obj["metadata"].setdefault("resourceVersion", str(number + 1))
        informers[resource].record_write(obj)
        if name in WITH_CLIENT:
            client.seed(resource, obj)
    namespace, _, key = case["key"].rpartition("/")
    subject = informers[controller.resource].get(namespace, key)
    assert subject is not None
    now = parse_time(case["now"])
    assert now is not None

    def once() -> dict[str, Any]:
        children = controller.gather(subject, informers)
        if inspect.iscoroutine(children):
            children = asyncio.run(children)
        return to_data(controller.reconcile(subject, children, now))

    first = once()
    assert first == once()
    return first


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}/{path.name.removesuffix('.input.yaml')}")
def test_plan(path: Path) -> None:
    case = yaml.safe_load(path.read_text())
    found = plan_of(case, path.parent.name)
    golden = path.with_name(path.name.replace(".input.", ".plan."))
    if os.environ.get("WHERRY_UPDATE_GOLDEN"):
        golden.write_text(yaml.dump(found, sort_keys=False, width=120, Dumper=_NoAliases))
    assert found == yaml.safe_load(golden.read_text())


class _NoAliases(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True

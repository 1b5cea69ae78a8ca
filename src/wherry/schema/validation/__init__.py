"""Semantic validation: what is wrong with an object, field by field, in the real API server's words.

`validate_create` and `validate_update` expect an object that has been decoded (`schema.decode`) and defaulted
(`schema.defaults`). They never change it. One module per kind or group of kinds; `field.Causes` collects.
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Final

from wherry.schema import builtin
from wherry.schema.errors import Cause
from wherry.schema.resource import Object, Resource
from wherry.schema.validation import metadata
from wherry.schema.validation.field import Causes

CreateCheck = Callable[[Object, Causes], None]
UpdateCheck = Callable[[Object, Object, Causes, str], None]

_MODULES: Final[dict[Resource, tuple[str, str]]] = {
    builtin.PODS: ("pods", ""),
    builtin.DEPLOYMENTS: ("workloads", "deployment"),
    builtin.REPLICA_SETS: ("workloads", "replicaset"),
    builtin.DAEMON_SETS: ("workloads", "daemonset"),
    builtin.STATEFUL_SETS: ("workloads", "statefulset"),
    builtin.REPLICATION_CONTROLLERS: ("workloads", "replicationcontroller"),
    builtin.CONTROLLER_REVISIONS: ("workloads", "controllerrevision"),
    builtin.JOBS: ("batch", "job"),
    builtin.CRON_JOBS: ("batch", "cronjob"),
    builtin.SERVICES: ("services", "service"),
    builtin.ENDPOINTS: ("services", "endpoints"),
    builtin.ENDPOINT_SLICES: ("services", "endpointslice"),
    builtin.CONFIG_MAPS: ("config", "configmap"),
    builtin.SECRETS: ("config", "secret"),
    builtin.NAMESPACES: ("config", "namespace"),
    builtin.NODES: ("config", "node"),
    builtin.RESOURCE_QUOTAS: ("config", "quota"),
    builtin.LIMIT_RANGES: ("config", "limitrange"),
    builtin.PERSISTENT_VOLUMES: ("storage", "volume"),
    builtin.PERSISTENT_VOLUME_CLAIMS: ("storage", "claim"),
    builtin.STORAGE_CLASSES: ("storage", "storageclass"),
    builtin.CSI_DRIVERS: ("storage", "csidriver"),
    builtin.VOLUME_ATTACHMENTS: ("storage", "attachment"),
    builtin.HORIZONTAL_POD_AUTOSCALERS: ("policy", "autoscaler"),
    builtin.HORIZONTAL_POD_AUTOSCALERS_V1: ("policy", "autoscaler"),
    builtin.INGRESSES: ("policy", "ingress"),
    builtin.INGRESS_CLASSES: ("policy", "ingressclass"),
    builtin.NETWORK_POLICIES: ("policy", "networkpolicy"),
    builtin.POD_DISRUPTION_BUDGETS: ("policy", "budget"),
    builtin.ROLES: ("policy", "role"),
    builtin.CLUSTER_ROLES: ("policy", "clusterrole"),
    builtin.ROLE_BINDINGS: ("policy", "rolebinding"),
    builtin.CLUSTER_ROLE_BINDINGS: ("policy", "clusterrolebinding"),
    builtin.PRIORITY_CLASSES: ("policy", "priorityclass"),
    builtin.CUSTOM_RESOURCE_DEFINITIONS: (".crd", ""),
    builtin.LEASES: ("policy", "lease"),
    builtin.RUNTIME_CLASSES: ("policy", "runtimeclass"),
    builtin.CERTIFICATE_SIGNING_REQUESTS: ("policy", "csr"),
    builtin.VALIDATING_WEBHOOK_CONFIGURATIONS: ("policy", "webhook"),
    builtin.MUTATING_WEBHOOK_CONFIGURATIONS: ("policy", "webhook"),
}


@cache
def _checks(resource: Resource) -> tuple[CreateCheck | None, UpdateCheck | None]:
    """The kind's own checks, imported when the kind is first written."""
    place = _MODULES.get(resource)
    if place is None:
        return None, None
    module, prefix = place
    found = import_module(f".{module}", __name__)
    stem = f"{prefix}_" if prefix else ""
    return getattr(found, f"{stem}create"), getattr(found, f"{stem}update", None)


def validate_create(resource: Resource, obj: Object) -> list[Cause]:
    """Everything that is wrong with a new object; empty when it may be stored."""
    causes = Causes()
    metadata.validate_create(resource, obj, causes)
    create, _ = _checks(resource)
    if create is not None:
        create(obj, causes)
    return _unique(causes)


def validate_update(resource: Resource, new: Object, old: Object, subresource: str = "") -> list[Cause]:
    """Everything that is wrong with replacing `old` by `new`, including fields that may not change.

    `subresource` is what was written (`status`, `scale`, …) or empty for the object itself.
    """
    causes = Causes()
    metadata.validate_update(new, old, causes)
    create, update = _checks(resource)
    if update is not None:
        update(new, old, causes, subresource)
    elif create is not None and not subresource:
        create(new, causes)
    return _unique(causes)


def _unique(causes: Causes) -> list[Cause]:
    return list(dict.fromkeys(causes)) if len(causes) > 1 else causes

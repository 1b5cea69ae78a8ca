"""Tables: what `kubectl get` shows, made by the server (`Accept: application/json;as=Table;g=meta.k8s.io;v=v1`).

Specified in https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables. Columns and
their values are those that a real API server sends, kind by kind.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final, Protocol

from wherry.schema import builtin
from wherry.schema.printers import cluster, network, pods, workloads
from wherry.schema.printers.columns import Column, Printer
from wherry.schema.resource import Object, Resource

__all__ = ["Column", "Printer", "printer_for", "row", "table"]

_PRINTERS: Final[dict[Resource, Printer]] = {
    builtin.PODS: pods.PODS,
    builtin.POD_TEMPLATES: workloads.POD_TEMPLATES,
    builtin.DEPLOYMENTS: workloads.DEPLOYMENTS,
    builtin.REPLICA_SETS: workloads.REPLICA_SETS,
    builtin.REPLICATION_CONTROLLERS: workloads.REPLICA_SETS,
    builtin.STATEFUL_SETS: workloads.STATEFUL_SETS,
    builtin.DAEMON_SETS: workloads.DAEMON_SETS,
    builtin.CONTROLLER_REVISIONS: workloads.CONTROLLER_REVISIONS,
    builtin.JOBS: workloads.JOBS,
    builtin.CRON_JOBS: workloads.CRON_JOBS,
    builtin.POD_DISRUPTION_BUDGETS: workloads.POD_DISRUPTION_BUDGETS,
    builtin.HORIZONTAL_POD_AUTOSCALERS: workloads.AUTOSCALERS,
    builtin.HORIZONTAL_POD_AUTOSCALERS_V1: workloads.AUTOSCALERS,
    builtin.SERVICES: network.SERVICES,
    builtin.ENDPOINTS: network.ENDPOINTS,
    builtin.ENDPOINT_SLICES: network.ENDPOINT_SLICES,
    builtin.INGRESSES: network.INGRESSES,
    builtin.INGRESS_CLASSES: network.INGRESS_CLASSES,
    builtin.NETWORK_POLICIES: network.NETWORK_POLICIES,
    builtin.SERVICE_CIDRS: network.SERVICE_CIDRS,
    builtin.IP_ADDRESSES: network.IP_ADDRESSES,
    builtin.NODES: cluster.NODES,
    builtin.EVENTS: cluster.EVENTS,
    builtin.EVENTS_V1: cluster.EVENTS,
    builtin.NAMESPACES: cluster.NAMESPACES,
    builtin.SECRETS: cluster.SECRETS,
    builtin.CONFIG_MAPS: cluster.CONFIG_MAPS,
    builtin.SERVICE_ACCOUNTS: cluster.SERVICE_ACCOUNTS,
    builtin.RESOURCE_QUOTAS: cluster.RESOURCE_QUOTAS,
    builtin.COMPONENT_STATUSES: cluster.COMPONENT_STATUSES,
    builtin.PERSISTENT_VOLUMES: cluster.PERSISTENT_VOLUMES,
    builtin.PERSISTENT_VOLUME_CLAIMS: cluster.PERSISTENT_VOLUME_CLAIMS,
    builtin.STORAGE_CLASSES: cluster.STORAGE_CLASSES,
    builtin.VOLUME_ATTACHMENTS: cluster.VOLUME_ATTACHMENTS,
    builtin.CSI_DRIVERS: cluster.CSI_DRIVERS,
    builtin.CSI_NODES: cluster.CSI_NODES,
    builtin.CSI_STORAGE_CAPACITIES: cluster.CSI_STORAGE_CAPACITIES,
    builtin.VOLUME_ATTRIBUTES_CLASSES: cluster.VOLUME_ATTRIBUTES_CLASSES,
    builtin.ROLE_BINDINGS: cluster.BINDINGS,
    builtin.CLUSTER_ROLE_BINDINGS: cluster.BINDINGS,
    builtin.CERTIFICATE_SIGNING_REQUESTS: cluster.CERTIFICATE_SIGNING_REQUESTS,
    builtin.LEASES: cluster.LEASES,
    builtin.RUNTIME_CLASSES: cluster.RUNTIME_CLASSES,
    builtin.PRIORITY_CLASSES: cluster.PRIORITY_CLASSES,
    builtin.VALIDATING_WEBHOOK_CONFIGURATIONS: cluster.WEBHOOK_CONFIGURATIONS,
    builtin.MUTATING_WEBHOOK_CONFIGURATIONS: cluster.WEBHOOK_CONFIGURATIONS,
    builtin.NODE_METRICS: cluster.NODE_METRICS,
    builtin.POD_METRICS: cluster.POD_METRICS,
}


class HasPrinter(Protocol):
    """What a ResourceTable keeps about a custom resource."""

    @property
    def printer(self) -> Printer: ...


def printer_for(resource: Resource) -> Printer:
    """Columns and rows of a built-in resource; Name and Created At for any other."""
    return _PRINTERS.get(resource, cluster.DEFAULT)


def table(
    resource: Resource,
    objects: Iterable[Object],
    now: datetime,
    include_object: str = "Metadata",
    custom: "HasPrinter | None" = None,
    *,
    metadata: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """A Table (meta.k8s.io/v1) of `objects`.

    `now` is an aware datetime, for ages. `include_object` is what the client asked for: None, Metadata or Object.
    `custom` brings a custom resource's columns. `metadata` is the list's (resourceVersion, continue).
    """
    chosen = custom.printer if custom is not None else printer_for(resource)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata or {},
        "columnDefinitions": [column.definition() for column in chosen.columns],
        "rows": [row(chosen, one, now, include_object) for one in objects],
    }


def row(printer: Printer, obj: Object, now: datetime, include_object: str = "Metadata") -> dict[str, Any]:
    """One row of a Table."""
    made: dict[str, Any] = {"cells": printer.row(obj, now)}
    if printer is pods.PODS and (ended := _ENDED.get((obj.get("status") or {}).get("phase") or "")):
        made["conditions"] = [ended]
    if include_object == "Object":
        made["object"] = obj
    elif include_object != "None":
        made["object"] = {
            "kind": "PartialObjectMetadata",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": obj.get("metadata") or {},
        }
    return made


_ENDED: Final = {
    "Succeeded": {
        "type": "Completed",
        "status": "True",
        "reason": "Succeeded",
        "message": "The pod has completed successfully.",
    },
    "Failed": {"type": "Completed", "status": "True", "reason": "Failed", "message": "The pod failed."},
}

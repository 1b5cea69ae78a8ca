"""Defaults: what the real API server writes into an object's fields that were left out.

`apply_defaults(resource, obj)` works in place on an object that `schema.decode.check_fields` has seen. Running it
again changes nothing. Kinds without defaults pass untouched. Pods and templates are in `schema.defaults_pod`.
"""

import base64
from collections.abc import Callable
from functools import cache
from typing import Any, Final

from wherry.schema import builtin, defaults_pod
from wherry.schema.defaults_pod import qos_class
from wherry.schema.objects import deep_copy
from wherry.schema.resource import Object, Resource

__all__ = ["apply_defaults", "generate_job_selector", "initial_status", "qos_class"]

JsonDict = dict[str, Any]


def apply_defaults(resource: Resource, obj: Object) -> None:
    """Fill in the documented defaults of `obj`, in place."""
    default = _DEFAULTS.get(resource)
    if default is not None:
        default(obj)


def initial_status(resource: Resource) -> Object | None:
    """The status that a new object of this kind begins with; None for kinds without one. Pods: see `qos_class`."""
    return deep_copy(_initial_status(resource))


@cache
def _initial_status(resource: Resource) -> Object | None:
    blank: Object = {}
    apply_defaults(resource, blank)
    return blank.get("status")


def _blank(obj: JsonDict, field: str, value: Any) -> None:
    """Default for fields whose empty value means absent."""
    if not obj.get(field):
        obj[field] = value


def _service(obj: JsonDict) -> None:
    spec = obj.setdefault("spec", {})
    _blank(spec, "sessionAffinity", "None")
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    elif spec["sessionAffinity"] == "ClientIP":
        config = spec.setdefault("sessionAffinityConfig", {})
        config.setdefault("clientIP", {}).setdefault("timeoutSeconds", 10800)
    _blank(spec, "type", "ClusterIP")
    for port in spec.get("ports") or ():
        _blank(port, "protocol", "TCP")
        if not port.get("targetPort"):
            port["targetPort"] = port.get("port", 0)
    kind = spec["type"]
    if kind in ("NodePort", "LoadBalancer") or (kind == "ClusterIP" and spec.get("externalIPs")):
        _blank(spec, "externalTrafficPolicy", "Cluster")
    if kind in ("ClusterIP", "NodePort", "LoadBalancer"):
        spec.setdefault("internalTrafficPolicy", "Cluster")
    if kind == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
    status = obj.setdefault("status", {})
    balancer = status.setdefault("loadBalancer", {})
    if kind == "LoadBalancer":
        for ingress in balancer.get("ingress") or ():
            if ingress.get("ip"):
                ingress.setdefault("ipMode", "VIP")


def _endpoints(obj: JsonDict) -> None:
    for subset in obj.get("subsets") or ():
        for port in subset.get("ports") or ():
            _blank(port, "protocol", "TCP")


def _namespace(obj: JsonDict) -> None:
    metadata = obj.setdefault("metadata", {})
    if name := metadata.get("name"):
        metadata.setdefault("labels", {})["kubernetes.io/metadata.name"] = name
    obj.setdefault("spec", {})
    obj.setdefault("status", {}).setdefault("phase", "Active")


def _node(obj: JsonDict) -> None:
    obj.setdefault("spec", {})
    status = obj.setdefault("status", {})
    if status.get("capacity"):
        status.setdefault("allocatable", dict(status["capacity"]))


def _secret(obj: JsonDict) -> None:
    _blank(obj, "type", "Opaque")
    plain = obj.pop("stringData", None)
    if plain:
        data = obj.setdefault("data", {})
        for key, value in plain.items():
            data[key] = base64.b64encode(value.encode()).decode()


def _persistent_volume(obj: JsonDict) -> None:
    spec = obj.setdefault("spec", {})
    _blank(spec, "persistentVolumeReclaimPolicy", "Retain")
    spec.setdefault("volumeMode", "Filesystem")
    defaults_pod.volume_source(spec)
    _blank(obj.setdefault("status", {}), "phase", "Pending")


def _persistent_volume_claim(obj: JsonDict) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("volumeMode", "Filesystem")
    spec.setdefault("resources", {})
    _blank(obj.setdefault("status", {}), "phase", "Pending")


def _replication_controller(obj: JsonDict) -> None:
    spec = obj.setdefault("spec", {})
    _template_of(spec)
    labels = (spec.get("template") or {}).get("metadata", {}).get("labels")
    if labels:
        _blank(spec, "selector", dict(labels))
        _blank(obj.setdefault("metadata", {}), "labels", dict(labels))
    spec.setdefault("replicas", 1)
    obj.setdefault("status", {}).setdefault("replicas", 0)


def _pod_template(obj: JsonDict) -> None:
    defaults_pod.template(obj.setdefault("template", {}))


def _limit_range(obj: JsonDict) -> None:
    for limit in (obj.get("spec") or {}).get("limits") or ():
        if limit.get("type") != "Container":
            continue
        default = limit.get("default") or {}
        request = limit.get("defaultRequest") or {}
        for name, amount in (limit.get("max") or {}).items():
            default.setdefault(name, amount)
        for amounts in (default, limit.get("min") or {}):
            for name, amount in amounts.items():
                request.setdefault(name, amount)
        for field, amounts in (("default", default), ("defaultRequest", request)):
            if amounts:
                limit[field] = amounts


def _resource_quota(obj: JsonDict) -> None:
    obj.setdefault("spec", {})
    obj.setdefault("status", {})


def _event(obj: JsonDict) -> None:
    for field in ("source", "involvedObject"):
        obj.setdefault(field, {})
    for field in ("firstTimestamp", "lastTimestamp", "eventTime"):
        obj.setdefault(field, None)
    for field in ("reportingComponent", "reportingInstance"):
        obj.setdefault(field, "")


def _template_of(spec: JsonDict) -> None:
    if spec.get("template") is not None:
        defaults_pod.template(spec["template"])


def _deployment(obj: JsonDict) -> None:
    spec = obj.setdefault("spec", {})
    _template_of(spec)
    spec.setdefault("replicas", 1)
    strategy = spec.setdefault("strategy", {})
    _blank(strategy, "type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    obj.setdefault("status", {})


def _replica_set(obj: JsonDict) -> None:
    spec = obj.setdefault("spec", {})
    _template_of(spec)
    spec.setdefault("replicas", 1)
    obj.setdefault("status", {}).setdefault("replicas", 0)


def _daemon_set(obj: JsonDict) -> None:
    spec = obj.setdefault("spec", {})
    _template_of(spec)
    strategy = spec.setdefault("updateStrategy", {})
    _blank(strategy, "type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", 1)
        rolling.setdefault("maxSurge", 0)
    spec.setdefault("revisionHistoryLimit", 10)
    status = obj.setdefault("status", {})
    for field in ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady"):
        status.setdefault(field, 0)


def _stateful_set(obj: JsonDict) -> None:
    spec = obj.setdefault("spec", {})
    _template_of(spec)
    _blank(spec, "podManagementPolicy", "OrderedReady")
    strategy = spec.setdefault("updateStrategy", {})
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
        strategy.setdefault("rollingUpdate", {})
    if strategy["type"] == "RollingUpdate" and strategy.get("rollingUpdate") is not None:
        strategy["rollingUpdate"].setdefault("partition", 0)
    retention = spec.setdefault("persistentVolumeClaimRetentionPolicy", {})
    _blank(retention, "whenDeleted", "Retain")
    _blank(retention, "whenScaled", "Retain")
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    for claim in spec.get("volumeClaimTemplates") or ():
        claim["apiVersion"], claim["kind"] = "v1", "PersistentVolumeClaim"
        _persistent_volume_claim(claim)
    status = obj.setdefault("status", {})
    for field in ("replicas", "availableReplicas"):
        status.setdefault(field, 0)


def _job(obj: JsonDict) -> None:
    spec = obj.setdefault("spec", {})
    _template_of(spec)
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    spec.setdefault("backoffLimit", 2**31 - 1 if spec.get("backoffLimitPerIndex") is not None else 6)
    labels = (spec.get("template") or {}).get("metadata", {}).get("labels")
    if labels:
        _blank(obj.setdefault("metadata", {}), "labels", dict(labels))
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    spec.setdefault("podReplacementPolicy", "Failed" if spec.get("podFailurePolicy") else "TerminatingOrFailed")
    spec.setdefault("manualSelector", False)
    for rule in (spec.get("podFailurePolicy") or {}).get("rules") or ():
        for condition in rule.get("onPodConditions") or ():
            _blank(condition, "status", "True")
    obj.setdefault("status", {})


def generate_job_selector(obj: Object) -> None:
    """The selector and template labels that tie a new Job to its pods; needs its UID. Not for `manualSelector`."""
    spec, metadata = obj.get("spec") or {}, obj.get("metadata") or {}
    uid, name = metadata.get("uid") or "", metadata.get("name") or ""
    if spec.get("manualSelector") or spec.get("template") is None:
        return
    labels = spec["template"].setdefault("metadata", {}).setdefault("labels", {})
    for prefix in ("", "batch.kubernetes.io/"):
        labels[f"{prefix}controller-uid"], labels[f"{prefix}job-name"] = uid, name
    selector = spec.setdefault("selector", {})
    selector.setdefault("matchLabels", {})["batch.kubernetes.io/controller-uid"] = uid


def _cron_job(obj: JsonDict) -> None:
    spec = obj.setdefault("spec", {})
    _blank(spec, "concurrencyPolicy", "Allow")
    spec.setdefault("suspend", False)
    spec.setdefault("successfulJobsHistoryLimit", 3)
    spec.setdefault("failedJobsHistoryLimit", 1)
    job = spec.setdefault("jobTemplate", {})
    job.setdefault("metadata", {})
    _template_of(job.setdefault("spec", {}))
    obj.setdefault("status", {})


def _autoscaler(obj: JsonDict) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("minReplicas", 1)
    if not spec.get("metrics"):
        spec["metrics"] = [
            {
                "type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
            }
        ]
    behavior = spec.get("behavior")
    if behavior is not None:
        up = behavior.setdefault("scaleUp", {})
        up.setdefault("stabilizationWindowSeconds", 0)
        up.setdefault("selectPolicy", "Max")
        up.setdefault(
            "policies",
            [
                {"type": "Pods", "value": 4, "periodSeconds": 15},
                {"type": "Percent", "value": 100, "periodSeconds": 15},
            ],
        )
        down = behavior.setdefault("scaleDown", {})
        down.setdefault("selectPolicy", "Max")
        down.setdefault("policies", [{"type": "Percent", "value": 100, "periodSeconds": 15}])
    status = obj.setdefault("status", {})
    status.setdefault("currentMetrics", None)
    status.setdefault("desiredReplicas", 0)


def _autoscaler_v1(obj: JsonDict) -> None:
    obj.setdefault("spec", {}).setdefault("minReplicas", 1)
    status = obj.setdefault("status", {})
    for field in ("currentReplicas", "desiredReplicas"):
        status.setdefault(field, 0)


def _ingress(obj: JsonDict) -> None:
    obj.setdefault("spec", {})
    obj.setdefault("status", {}).setdefault("loadBalancer", {})


def _ingress_class(obj: JsonDict) -> None:
    parameters = (obj.get("spec") or {}).get("parameters")
    if parameters is not None:
        parameters.setdefault("scope", "Cluster")


def _network_policy(obj: JsonDict) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("podSelector", {})
    for direction in ("ingress", "egress"):
        for rule in spec.get(direction) or ():
            for port in rule.get("ports") or ():
                _blank(port, "protocol", "TCP")
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]


def _endpoint_slice(obj: JsonDict) -> None:
    if obj.get("endpoints") is None:
        obj["endpoints"] = None
    if obj.get("ports") is None:
        obj["ports"] = None
    for port in obj["ports"] or ():
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")


def _disruption_budget(obj: JsonDict) -> None:
    obj.setdefault("spec", {})
    status = obj.setdefault("status", {})
    for field in ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"):
        status.setdefault(field, 0)


_RBAC: Final = "rbac.authorization.k8s.io"


def _role(obj: JsonDict) -> None:
    if obj.get("rules") is None:
        obj["rules"] = None


def _role_binding(obj: JsonDict) -> None:
    reference = obj.get("roleRef")
    if isinstance(reference, dict):
        _blank(reference, "apiGroup", _RBAC)
    for subject in obj.get("subjects") or ():
        if subject.get("kind") in ("User", "Group"):
            _blank(subject, "apiGroup", _RBAC)


def _webhooks(obj: JsonDict) -> None:
    for webhook in obj.get("webhooks") or ():
        _blank(webhook, "failurePolicy", "Fail")
        _blank(webhook, "matchPolicy", "Equivalent")
        webhook.setdefault("namespaceSelector", {})
        webhook.setdefault("objectSelector", {})
        webhook.setdefault("timeoutSeconds", 10)
        for rule in webhook.get("rules") or ():
            _blank(rule, "scope", "*")
        service = (webhook.get("clientConfig") or {}).get("service")
        if service is not None:
            service.setdefault("port", 443)


def _mutating_webhooks(obj: JsonDict) -> None:
    _webhooks(obj)
    for webhook in obj.get("webhooks") or ():
        _blank(webhook, "reinvocationPolicy", "Never")


def _storage_class(obj: JsonDict) -> None:
    _blank(obj, "reclaimPolicy", "Delete")
    _blank(obj, "volumeBindingMode", "Immediate")


def _csi_driver(obj: JsonDict) -> None:
    spec = obj.setdefault("spec", {})
    for field, value in (
        ("attachRequired", True),
        ("podInfoOnMount", False),
        ("storageCapacity", False),
        ("fsGroupPolicy", "ReadWriteOnceWithFSType"),
        ("requiresRepublish", False),
        ("seLinuxMount", False),
    ):
        spec.setdefault(field, value)
    if not spec.get("volumeLifecycleModes"):
        spec["volumeLifecycleModes"] = ["Persistent"]


def _priority_class(obj: JsonDict) -> None:
    obj.setdefault("preemptionPolicy", "PreemptLowerPriority")


def _custom_resource_definition(obj: JsonDict) -> None:
    spec = obj.setdefault("spec", {})
    names = spec.setdefault("names", {})
    if kind := names.get("kind"):
        _blank(names, "singular", kind.lower())
        _blank(names, "listKind", f"{kind}List")
    _blank(spec.setdefault("conversion", {}), "strategy", "None")
    service = ((spec["conversion"].get("webhook") or {}).get("clientConfig") or {}).get("service")
    if service is not None:
        service.setdefault("port", 443)


def _status(obj: JsonDict) -> None:
    obj.setdefault("status", {})


_DEFAULTS: Final[dict[Resource, Callable[[JsonDict], None]]] = {
    builtin.PODS: defaults_pod.pod,
    builtin.POD_TEMPLATES: _pod_template,
    builtin.SERVICES: _service,
    builtin.ENDPOINTS: _endpoints,
    builtin.NAMESPACES: _namespace,
    builtin.NODES: _node,
    builtin.SECRETS: _secret,
    builtin.PERSISTENT_VOLUMES: _persistent_volume,
    builtin.PERSISTENT_VOLUME_CLAIMS: _persistent_volume_claim,
    builtin.REPLICATION_CONTROLLERS: _replication_controller,
    builtin.LIMIT_RANGES: _limit_range,
    builtin.RESOURCE_QUOTAS: _resource_quota,
    builtin.EVENTS: _event,
    builtin.DEPLOYMENTS: _deployment,
    builtin.REPLICA_SETS: _replica_set,
    builtin.DAEMON_SETS: _daemon_set,
    builtin.STATEFUL_SETS: _stateful_set,
    builtin.JOBS: _job,
    builtin.CRON_JOBS: _cron_job,
    builtin.HORIZONTAL_POD_AUTOSCALERS: _autoscaler,
    builtin.HORIZONTAL_POD_AUTOSCALERS_V1: _autoscaler_v1,
    builtin.INGRESSES: _ingress,
    builtin.INGRESS_CLASSES: _ingress_class,
    builtin.NETWORK_POLICIES: _network_policy,
    builtin.ENDPOINT_SLICES: _endpoint_slice,
    builtin.POD_DISRUPTION_BUDGETS: _disruption_budget,
    builtin.ROLES: _role,
    builtin.CLUSTER_ROLES: _role,
    builtin.ROLE_BINDINGS: _role_binding,
    builtin.CLUSTER_ROLE_BINDINGS: _role_binding,
    builtin.VALIDATING_WEBHOOK_CONFIGURATIONS: _webhooks,
    builtin.MUTATING_WEBHOOK_CONFIGURATIONS: _mutating_webhooks,
    builtin.STORAGE_CLASSES: _storage_class,
    builtin.CSI_DRIVERS: _csi_driver,
    builtin.PRIORITY_CLASSES: _priority_class,
    builtin.CUSTOM_RESOURCE_DEFINITIONS: _custom_resource_definition,
    builtin.CERTIFICATE_SIGNING_REQUESTS: _status,
    builtin.VOLUME_ATTACHMENTS: _status,
    builtin.SERVICE_CIDRS: _status,
}

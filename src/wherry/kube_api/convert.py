"""Views: resources whose objects are stored in another version (autoscaling/v1 as v2, events.k8s.io as core events,
the versions of a custom resource, which differ in their apiVersion alone).

`to_storage` and `present` are inverse; for all other resources both hand back what they got. `views` is `Api.views`:
each view and what it is stored as.
"""

from collections.abc import Mapping
from typing import TypeAlias

import orjson

from wherry.kube_api.objects import Entry
from wherry.schema.builtin import EVENTS_V1, HORIZONTAL_POD_AUTOSCALERS_V1
from wherry.schema.resource import Object, Resource

Views: TypeAlias = Mapping[Resource, Resource]


def to_storage(views: Views, resource: Resource, obj: Object) -> tuple[Resource, Object]:
    """The resource that is stored and the object in its version. `obj` is not changed."""
    stored = views.get(resource)
    if stored is None:
        return resource, obj
    if resource == EVENTS_V1:
        obj = _event_to_core(obj)
    elif resource == HORIZONTAL_POD_AUTOSCALERS_V1:
        obj = _hpa_to_v2(obj)
    return stored, {**obj, "apiVersion": stored.api_version, "kind": stored.kind}


def from_storage(views: Views, resource: Resource, obj: Object) -> Object:
    """A stored object in the version of `resource`; the same object when nothing is to do."""
    if resource not in views:
        return obj
    if resource == EVENTS_V1:
        obj = _event_from_core(obj)
    elif resource == HORIZONTAL_POD_AUTOSCALERS_V1:
        obj = _hpa_from_v2(obj)
    return {**obj, "apiVersion": resource.api_version, "kind": resource.kind}


def present(views: Views, resource: Resource, entry: Entry) -> Entry:
    """A stored entry in the version of `resource`."""
    if resource not in views or entry.data.startswith(_start(resource)):
        return entry
    data = orjson.dumps(from_storage(views, resource, entry.decode()))
    return Entry(entry.namespace, entry.name, data, entry.revision)


def _start(resource: Resource) -> bytes:
    """How the bytes of an object begin that is in its version already (see `objects.encode`)."""
    return f'{{"kind":"{resource.kind}","apiVersion":"{resource.api_version}",'.encode()


_EVENT_FIELDS = (
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
)
"""(core/v1, events.k8s.io/v1) names of the fields that differ."""


def _event_to_core(obj: Object) -> Object:
    names = {new: old for old, new in _EVENT_FIELDS}
    return {names.get(field, field): value for field, value in obj.items()}


def _event_from_core(obj: Object) -> Object:
    names = dict(_EVENT_FIELDS)
    return {names.get(field, field): value for field, value in obj.items()}


_HPA_ANNOTATIONS = (
    ("autoscaling.alpha.kubernetes.io/metrics", "metrics"),
    ("autoscaling.alpha.kubernetes.io/behavior", "behavior"),
)


def _hpa_to_v2(obj: Object) -> Object:
    """CPU utilisation becomes a resource metric; what v1 cannot say travels in annotations."""
    spec = dict(obj.get("spec") or {})
    metadata = dict(obj.get("metadata") or {})
    annotations = dict(metadata.get("annotations") or {})
    target = spec.pop("targetCPUUtilizationPercentage", None)
    metrics = []
    if target is not None:
        metrics.append(
            {
                "type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": target}},
            }
        )
    for annotation, field in _HPA_ANNOTATIONS:
        if annotation in annotations:
            value = orjson.loads(annotations.pop(annotation))
            if field == "metrics":
                metrics.extend(value)
            else:
                spec[field] = value
    if metrics:
        spec["metrics"] = metrics
    if "annotations" in metadata:
        metadata["annotations"] = annotations
        if not annotations:
            del metadata["annotations"]
    result = {**obj, "metadata": metadata, "spec": spec}
    if "status" in obj:
        status = dict(obj["status"])
        current = status.pop("currentCPUUtilizationPercentage", None)
        if current is not None:
            status["currentMetrics"] = [
                {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": current}}}
            ]
        result["status"] = status
    return result


def _hpa_from_v2(obj: Object) -> Object:
    spec = dict(obj.get("spec") or {})
    metadata = dict(obj.get("metadata") or {})
    annotations = dict(metadata.get("annotations") or {})
    rest = []
    for metric in spec.pop("metrics", None) or ():
        resource = metric.get("resource") or {}
        utilization = (resource.get("target") or {}).get("averageUtilization")
        if metric.get("type") == "Resource" and resource.get("name") == "cpu" and utilization is not None:
            spec["targetCPUUtilizationPercentage"] = utilization
        else:
            rest.append(metric)
    behavior = spec.pop("behavior", None)
    if rest:
        annotations["autoscaling.alpha.kubernetes.io/metrics"] = orjson.dumps(rest).decode()
    if behavior:
        annotations["autoscaling.alpha.kubernetes.io/behavior"] = orjson.dumps(behavior).decode()
    if annotations:
        metadata["annotations"] = annotations
    result = {**obj, "metadata": metadata, "spec": spec}
    if "status" in obj:
        status = dict(obj["status"])
        for metric in status.pop("currentMetrics", None) or ():
            resource = metric.get("resource") or {}
            value = (resource.get("current") or {}).get("averageUtilization")
            if metric.get("type") == "Resource" and resource.get("name") == "cpu" and value is not None:
                status["currentCPUUtilizationPercentage"] = value
        status.pop("conditions", None)
        result["status"] = status
    return result

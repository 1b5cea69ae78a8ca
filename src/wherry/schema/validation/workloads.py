"""Checks of Deployments, ReplicaSets, StatefulSets, DaemonSets, ReplicationControllers, ControllerRevisions."""

from typing import Any, Final

from wherry.schema import names
from wherry.schema.objects import deep_copy, same
from wherry.schema.resource import Object
from wherry.schema.selectors import from_label_selector, from_set
from wherry.schema.validation import metadata, selectors
from wherry.schema.validation.field import Causes
from wherry.schema.validation.pods import template

JsonDict = dict[str, Any]


def template_of(spec: JsonDict, what: str, causes: Causes, *, selector: Any = None) -> None:
    """The pod template of a controller whose pods run for ever, and whose selector must select them."""
    found = spec.get("template")
    if found is None:
        causes.required("spec.template")
        return
    labels = (found.get("metadata") or {}).get("labels")
    if selector is not None and not selector.empty and not selector.matches(labels):
        causes.invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")
    template(found, "spec.template", causes)
    pod = found.get("spec") or {}
    if pod.get("restartPolicy") not in (None, "Always"):
        causes.unsupported("spec.template.spec.restartPolicy", pod["restartPolicy"], ("Always",))
    if pod.get("activeDeadlineSeconds") is not None:
        causes.forbidden(
            "spec.template.spec.activeDeadlineSeconds", f"activeDeadlineSeconds in {what} is not Supported"
        )


def _selector(spec: JsonDict, what: str, causes: Causes) -> Any:
    """Check spec.selector; returns it as a Selector, or None when there is no telling what it selects."""
    found = spec.get("selector")
    if found is None:
        causes.required("spec.selector")
        return None
    before = len(causes)
    selectors.label_selector(found, "spec.selector", causes)
    if not found.get("matchLabels") and not found.get("matchExpressions"):
        causes.invalid("spec.selector", found, f"empty selector is invalid for {what}")
    return from_label_selector(found) if len(causes) == before else None


def int_or_percent(value: Any, path: str, causes: Causes) -> None:
    """A number of pods, or a percentage of them."""
    if isinstance(value, str):
        causes.all_invalid(path, value, names.percent(value))
    elif value is not None:
        causes.not_negative(path, value)


def _at_most_all(value: Any, path: str, causes: Causes) -> None:
    if isinstance(value, str) and not names.percent(value) and int(value[:-1]) > 100:
        causes.invalid(path, value, "must not be greater than 100%")


def _is_zero(value: Any) -> bool:
    return value in (0, None) or (isinstance(value, str) and not names.percent(value) and int(value[:-1]) == 0)


def deployment_create(obj: Object, causes: Causes) -> None:
    spec = obj.get("spec") or {}
    causes.not_negative("spec.replicas", spec.get("replicas"))
    selector = _selector(spec, "deployment", causes)
    template_of(spec, "ReplicaSet", causes, selector=selector)
    strategy = spec.get("strategy") or {}
    rolling = strategy.get("rollingUpdate")
    if strategy.get("type") == "Recreate":
        if rolling is not None:
            causes.forbidden("spec.strategy.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'")
    elif strategy.get("type") == "RollingUpdate":
        if rolling is None:
            causes.required("spec.strategy.rollingUpdate", "this should be defaulted and never be nil")
        else:
            _rolling_deployment(rolling, "spec.strategy.rollingUpdate", causes)
    else:
        shown = {"Type": strategy.get("type", ""), "RollingUpdate": rolling}
        causes.unsupported("spec.strategy", shown, ("Recreate", "RollingUpdate"))
    causes.not_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    causes.not_negative("spec.revisionHistoryLimit", spec.get("revisionHistoryLimit"))
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None:
        causes.not_negative("spec.progressDeadlineSeconds", deadline)
        if deadline <= (spec.get("minReadySeconds") or 0):
            causes.invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds")


def _rolling_deployment(rolling: JsonDict, path: str, causes: Causes) -> None:
    unavailable, surge = rolling.get("maxUnavailable"), rolling.get("maxSurge")
    int_or_percent(unavailable, f"{path}.maxUnavailable", causes)
    int_or_percent(surge, f"{path}.maxSurge", causes)
    if _is_zero(unavailable) and _is_zero(surge):
        causes.invalid(f"{path}.maxUnavailable", unavailable, "may not be 0 when `maxSurge` is 0")
    _at_most_all(unavailable, f"{path}.maxUnavailable", causes)


def deployment_update(new: Object, old: Object, causes: Causes, subresource: str) -> None:
    if subresource == "status":
        _status(new, causes, "replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "unavailableReplicas")
        return
    deployment_create(new, causes)
    _immutable_selector(new, old, causes)


def _status(obj: Object, causes: Causes, *fields: str) -> None:
    status = obj.get("status") or {}
    for field in fields:
        causes.not_negative(f"status.{field}", status.get(field))
    replicas = status.get("replicas") or 0
    for field in fields[1:]:
        if field != "unavailableReplicas" and (status.get(field) or 0) > replicas:
            causes.invalid(f"status.{field}", status[field], "cannot be greater than status.replicas")


def _immutable_selector(new: Object, old: Object, causes: Causes) -> None:
    after, before = (new.get("spec") or {}).get("selector"), (old.get("spec") or {}).get("selector")
    if not same(after, before):
        causes.invalid("spec.selector", after, "field is immutable")


def replicaset_create(obj: Object, causes: Causes) -> None:
    spec = obj.get("spec") or {}
    causes.not_negative("spec.replicas", spec.get("replicas"))
    causes.not_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    selector = _selector(spec, "deployment", causes)
    template_of(spec, "ReplicaSet", causes, selector=selector)


def replicaset_update(new: Object, old: Object, causes: Causes, subresource: str) -> None:
    if subresource == "status":
        _status(new, causes, "replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas")
        return
    replicaset_create(new, causes)
    _immutable_selector(new, old, causes)


def daemonset_create(obj: Object, causes: Causes) -> None:
    spec = obj.get("spec") or {}
    selector = _selector(spec, "daemonset", causes)
    template_of(spec, "DaemonSet", causes, selector=selector)
    causes.not_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    strategy = spec.get("updateStrategy") or {}
    if strategy.get("type") == "RollingUpdate":
        rolling = strategy.get("rollingUpdate")
        path = "spec.updateStrategy.rollingUpdate"
        if rolling is None:
            causes.required(path)
        else:
            unavailable, surge = rolling.get("maxUnavailable"), rolling.get("maxSurge")
            int_or_percent(unavailable, f"{path}.maxUnavailable", causes)
            int_or_percent(surge, f"{path}.maxSurge", causes)
            _at_most_all(unavailable, f"{path}.maxUnavailable", causes)
            _at_most_all(surge, f"{path}.maxSurge", causes)
            if not _is_zero(unavailable) and not _is_zero(surge):
                causes.invalid(f"{path}.maxSurge", surge, "may not be set when maxUnavailable is non-zero")
            elif _is_zero(unavailable) and _is_zero(surge):
                causes.required(f"{path}.maxUnavailable", "cannot be 0 when maxSurge is 0")
    elif strategy.get("type") != "OnDelete":
        causes.unsupported("spec.updateStrategy", strategy, ("OnDelete", "RollingUpdate"))
    causes.not_negative("spec.revisionHistoryLimit", spec.get("revisionHistoryLimit"))


def daemonset_update(new: Object, old: Object, causes: Causes, subresource: str) -> None:
    if subresource == "status":
        return
    daemonset_create(new, causes)
    _immutable_selector(new, old, causes)


def statefulset_create(obj: Object, causes: Causes) -> None:
    spec = obj.get("spec") or {}
    policy = spec.get("podManagementPolicy")
    if not policy:
        causes.required("spec.podManagementPolicy")
    elif policy not in ("OrderedReady", "Parallel"):
        causes.invalid("spec.podManagementPolicy", policy, "must be 'OrderedReady' or 'Parallel'")
    _statefulset_strategy(spec.get("updateStrategy") or {}, causes)
    retention = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    for field in ("whenDeleted", "whenScaled"):
        if retention.get(field) not in ("Retain", "Delete"):
            causes.unsupported(
                f"spec.persistentVolumeClaimRetentionPolicy.{field}", retention.get(field, ""), ("Retain", "Delete")
            )
    causes.not_negative("spec.replicas", spec.get("replicas"))
    causes.not_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    causes.not_negative("spec.ordinals.start", (spec.get("ordinals") or {}).get("start"))
    selector = _selector(spec, "statefulset", causes)
    _statefulset_template(spec, selector, causes)
    if name := spec.get("serviceName"):
        causes.all_invalid("spec.serviceName", name, names.dns1035_label(name))


def _statefulset_template(spec: JsonDict, selector: Any, causes: Causes) -> None:
    """Labels only: the real server leaves the pod's spec to the creation of pods, since claims become volumes then."""
    found = spec.get("template")
    if found is None:
        causes.required("spec.template")
        return
    meta, pod = found.get("metadata") or {}, found.get("spec") or {}
    if selector is not None and not selector.empty and not selector.matches(meta.get("labels")):
        causes.invalid(
            "spec.template.metadata.labels", meta.get("labels"), "`selector` does not match template `labels`"
        )
    metadata.labels(meta.get("labels"), "spec.template.labels", causes)
    metadata.annotations(meta.get("annotations"), "spec.template.annotations", causes)
    if pod.get("restartPolicy") not in (None, "Always"):
        causes.unsupported("spec.template.spec.restartPolicy", pod["restartPolicy"], ("Always",))
    if pod.get("activeDeadlineSeconds") is not None:
        causes.forbidden(
            "spec.template.spec.activeDeadlineSeconds", "activeDeadlineSeconds in StatefulSet is not Supported"
        )


def _statefulset_strategy(strategy: JsonDict, causes: Causes) -> None:
    kind, rolling = strategy.get("type"), strategy.get("rollingUpdate")
    if not kind:
        causes.required("spec.updateStrategy")
    elif kind == "OnDelete":
        if rolling is not None:
            causes.invalid(
                "spec.updateStrategy.rollingUpdate", rolling, "only allowed for updateStrategy 'RollingUpdate'"
            )
    elif kind == "RollingUpdate":
        path = "spec.updateStrategy.rollingUpdate"
        causes.not_negative(f"{path}.partition", (rolling or {}).get("partition"))
        unavailable = (rolling or {}).get("maxUnavailable")
        if unavailable is not None:
            int_or_percent(unavailable, f"{path}.maxUnavailable", causes)
            if _is_zero(unavailable):
                causes.invalid(f"{path}.maxUnavailable", unavailable, "cannot be 0")
            _at_most_all(unavailable, f"{path}.maxUnavailable", causes)
    else:
        causes.invalid("spec.updateStrategy", strategy, "must be 'RollingUpdate' or 'OnDelete'")


_STATEFULSET_MAY_CHANGE: Final = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)


def statefulset_update(new: Object, old: Object, causes: Causes, subresource: str) -> None:
    if subresource == "status":
        _status(new, causes, "replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas")
        return
    statefulset_create(new, causes)
    after, before = dict(new.get("spec") or {}), dict(old.get("spec") or {})
    for field in _STATEFULSET_MAY_CHANGE:
        after.pop(field, None)
        before.pop(field, None)
    for spec in (after, before):
        if claims := spec.get("volumeClaimTemplates"):
            spec["volumeClaimTemplates"] = [_claim_core(claim) for claim in claims]
    if not same(after, before):
        causes.forbidden(
            "spec",
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
            "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
        )


def _claim_core(claim: JsonDict) -> JsonDict:
    core = deep_copy(claim)
    core.pop("status", None)
    return core


def replicationcontroller_create(obj: Object, causes: Causes) -> None:
    spec = obj.get("spec") or {}
    causes.not_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    if not spec.get("selector"):
        causes.required("spec.selector")
    causes.not_negative("spec.replicas", spec.get("replicas"))
    template_of(spec, "ReplicationController", causes, selector=from_set(spec.get("selector")))


def controllerrevision_create(obj: Object, causes: Causes) -> None:
    if obj.get("data") is None:
        causes.required("data", "data is mandatory")
    causes.not_negative("revision", obj.get("revision"))


def controllerrevision_update(new: Object, old: Object, causes: Causes, subresource: str) -> None:
    controllerrevision_create(new, causes)
    causes.immutable("data", new.get("data"), old.get("data"))

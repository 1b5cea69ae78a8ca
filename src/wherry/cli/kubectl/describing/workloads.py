"""Deployments, replica sets, stateful sets, daemon sets."""

from typing import Any

from wherry.cli.kubectl.describing.pod_template import describe_template
from wherry.cli.kubectl.describing.writer import (
    Object,
    Writer,
    controller,
    events,
    label_text,
    selector_text,
    time_of,
)
from wherry.cli.kubectl.session import Session


def pod_counts(session: Session, obj: Object) -> tuple[int, int, int, int]:
    """Running, waiting, succeeded and failed pods that an object controls."""
    from wherry.schema.selectors import format_label_selector

    meta, selector = obj["metadata"], obj["spec"].get("selector") or {}
    if obj.get("kind") == "ReplicationController":
        selector = {"matchLabels": selector}
    query = {"labelSelector": format_label_selector(selector)}
    counts = {"Running": 0, "Pending": 0, "Succeeded": 0, "Failed": 0}
    for pod in session.http.get(f"/api/v1/namespaces/{meta['namespace']}/pods", query).get("items") or ():
        owners = pod["metadata"].get("ownerReferences") or ()
        if any(owner.get("controller") and owner.get("uid") == meta["uid"] for owner in owners):
            phase = (pod.get("status") or {}).get("phase", "")
            counts[phase] = counts.get(phase, 0) + 1
    return counts["Running"], counts["Pending"], counts["Succeeded"], counts["Failed"]


def _status_line(counts: tuple[int, int, int, int]) -> str:
    running, waiting, succeeded, failed = counts
    return f"{running} Running / {waiting} Waiting / {succeeded} Succeeded / {failed} Failed"


def _conditions(out: Writer, status: Object) -> None:
    conditions = status.get("conditions") or []
    if conditions:
        out.raw("Conditions:\n  Type\tStatus\tReason\n")
        out.line(1, "----\t------\t------")
        for condition in conditions:
            out.line(1, f"{condition['type']} \t{condition['status']}\t{condition.get('reason', '')}")


def deployment(session: Session, out: Writer, obj: Object, found: list[Object] | None) -> None:
    meta, spec, status = obj["metadata"], obj["spec"], obj.get("status") or {}
    out.field("Name", meta["name"])
    out.field("Namespace", meta["namespace"])
    out.field("CreationTimestamp", time_of(meta.get("creationTimestamp")))
    out.labels("Labels", meta.get("labels"))
    out.annotations(meta.get("annotations"))
    out.field("Selector", selector_text(spec.get("selector")))
    out.field(
        "Replicas",
        f"{spec.get('replicas', 0)} desired | {status.get('updatedReplicas') or 0} updated | "
        f"{status.get('replicas') or 0} total | "
        f"{status.get('availableReplicas') or 0} available | {status.get('unavailableReplicas') or 0} unavailable",
    )
    strategy = spec.get("strategy") or {}
    out.field("StrategyType", strategy.get("type", ""))
    out.field("MinReadySeconds", spec.get("minReadySeconds") or 0)
    rolling = strategy.get("rollingUpdate")
    if rolling:
        out.field(
            "RollingUpdateStrategy",
            f"{rolling.get('maxUnavailable')} max unavailable, {rolling.get('maxSurge')} max surge",
        )
    describe_template(out, spec["template"])
    _conditions(out, status)
    old, new = _replica_sets(session, obj)
    out.field("OldReplicaSets", _named(old))
    out.field("NewReplicaSet", _named(new))
    events(out, found)


def _replica_sets(session: Session, obj: Object) -> tuple[list[Object], list[Object]]:
    from wherry.schema.selectors import format_label_selector

    meta = obj["metadata"]
    query = {"labelSelector": format_label_selector(obj["spec"]["selector"])}
    path = f"/apis/apps/v1/namespaces/{meta['namespace']}/replicasets"
    revision = (meta.get("annotations") or {}).get("deployment.kubernetes.io/revision")
    old: list[Object] = []
    new: list[Object] = []
    for item in session.http.get(path, query).get("items") or ():
        if not any(owner.get("uid") == meta["uid"] for owner in item["metadata"].get("ownerReferences") or ()):
            continue
        own = (item["metadata"].get("annotations") or {}).get("deployment.kubernetes.io/revision")
        (new if revision is not None and own == revision else old).append(item)
    return old, new


def _named(sets: list[Object]) -> str:
    sets = sorted(sets, key=lambda one: str(one["metadata"].get("creationTimestamp")))
    texts = [
        f"{one['metadata']['name']} "
        f"({(one.get('status') or {}).get('replicas', 0)}/{one['spec'].get('replicas', 0)} "
        "replicas created)"
        for one in sets
    ]
    return ", ".join(texts) or "<none>"


def replica_set(session: Session, out: Writer, obj: Object, found: list[Object] | None) -> None:
    meta, spec, status = obj["metadata"], obj["spec"], obj.get("status") or {}
    out.field("Name", meta["name"])
    out.field("Namespace", meta["namespace"])
    is_controller = obj.get("kind") == "ReplicationController"
    out.field("Selector", label_text(spec.get("selector")) if is_controller else selector_text(spec.get("selector")))
    out.labels("Labels", meta.get("labels"))
    out.annotations(meta.get("annotations"))
    owner = controller(obj)
    if owner:
        out.field("Controlled By", owner)
    out.field("Replicas", f"{status.get('replicas') or 0} current / {spec.get('replicas', 0)} desired")
    out.field("Pods Status", _status_line(pod_counts(session, obj)))
    describe_template(out, spec["template"])
    _conditions(out, status)
    events(out, found)


def stateful_set(session: Session, out: Writer, obj: Object, found: list[Object] | None) -> None:
    meta, spec, status = obj["metadata"], obj["spec"], obj.get("status") or {}
    out.field("Name", meta["name"])
    out.field("Namespace", meta["namespace"])
    out.field("CreationTimestamp", time_of(meta.get("creationTimestamp")))
    out.field("Selector", selector_text(spec.get("selector")))
    out.labels("Labels", meta.get("labels"))
    out.annotations(meta.get("annotations"))
    out.field("Replicas", f"{spec.get('replicas', 0)} desired | {status.get('replicas') or 0} total")
    strategy = spec.get("updateStrategy") or {}
    out.field("Update Strategy", strategy.get("type", ""))
    rolling: Any = strategy.get("rollingUpdate") or {}
    if rolling.get("partition") is not None:
        out.field("Partition", rolling["partition"], 1)
        if rolling.get("maxUnavailable") is not None:
            out.field("MaxUnavailable", rolling["maxUnavailable"], 1)
    out.field("Pods Status", _status_line(pod_counts(session, obj)))
    describe_template(out, spec["template"])
    _claims(out, spec.get("volumeClaimTemplates") or [])
    events(out, found)


def _claims(out: Writer, templates: list[Object]) -> None:
    if not templates:
        out.field("Volume Claims", "<none>")
        return
    out.raw("Volume Claims:\n")
    for claim in templates:
        meta, spec = claim.get("metadata") or {}, claim.get("spec") or {}
        out.field("Name", meta.get("name", ""), 1)
        out.field("StorageClass", spec.get("storageClassName") or "", 1)
        out.labels("Labels", meta.get("labels"), "  ", "\t")
        out.raw("  ")
        out.annotations(meta.get("annotations"))
        storage = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
        out.field("Capacity", storage or "<default>", 1)
        out.field("Access Modes", f"[{' '.join(spec.get('accessModes') or ())}]", 1)


def daemon_set(session: Session, out: Writer, obj: Object, found: list[Object] | None) -> None:
    meta, spec, status = obj["metadata"], obj["spec"], obj.get("status") or {}
    out.field("Name", meta["name"])
    out.field("Selector", selector_text(spec.get("selector")))
    out.field("Node-Selector", label_text((spec["template"].get("spec") or {}).get("nodeSelector")))
    out.labels("Labels", meta.get("labels"))
    out.annotations(meta.get("annotations"))
    for title, key in (
        ("Desired Number of Nodes Scheduled", "desiredNumberScheduled"),
        ("Current Number of Nodes Scheduled", "currentNumberScheduled"),
        ("Number of Nodes Scheduled with Up-to-date Pods", "updatedNumberScheduled"),
        ("Number of Nodes Scheduled with Available Pods", "numberAvailable"),
        ("Number of Nodes Misscheduled", "numberMisscheduled"),
    ):
        out.line(0, f"{title}: {status.get(key) or 0}")
    out.field("Pods Status", _status_line(pod_counts(session, obj)))
    describe_template(out, spec["template"])
    events(out, found)

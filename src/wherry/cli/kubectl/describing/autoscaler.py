"""Horizontal pod autoscalers (autoscaling/v2)."""

from typing import Any

from wherry.cli.kubectl.describing.writer import Object, Writer, events, quoted, time_of
from wherry.cli.kubectl.session import Session


def autoscaler(session: Session, out: Writer, obj: Object, found: list[Object] | None) -> None:
    meta, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    target = spec.get("scaleTargetRef") or {}
    out.field("Name", meta["name"])
    out.field("Namespace", meta["namespace"])
    out.labels("Labels", meta.get("labels"))
    out.annotations(meta.get("annotations"))
    out.field("CreationTimestamp", time_of(meta.get("creationTimestamp")))
    out.field("Reference", f"{target.get('kind')}/{target.get('name')}")
    if "targetCPUUtilizationPercentage" in spec:
        out.field("Target CPU utilization", f"{spec['targetCPUUtilizationPercentage']}%")
        current = status.get("currentCPUUtilizationPercentage")
        out.field("Current CPU utilization", f"{'<unknown>' if current is None else current}%")
    else:
        out.field("Metrics", "( current / target )")
        measured = status.get("currentMetrics") or []
        for index, metric in enumerate(spec.get("metrics") or ()):
            _metric(out, metric, measured[index] if index < len(measured) else {})
    out.field("Min replicas", spec.get("minReplicas") if spec.get("minReplicas") is not None else "<unset>")
    out.field("Max replicas", spec.get("maxReplicas", 0))
    behavior = spec.get("behavior")
    if behavior:
        out.raw("Behavior:\n")
        for key, title in (("scaleUp", "Scale Up"), ("scaleDown", "Scale Down")):
            _direction(out, title, behavior.get(key))
    out.field(
        f"{target.get('kind')} pods",
        f"{status.get('currentReplicas') or 0} current / {status.get('desiredReplicas') or 0} desired",
    )
    if status.get("conditions"):
        out.raw("Conditions:\n")
        out.line(1, "Type\tStatus\tReason\tMessage")
        out.line(1, "----\t------\t------\t-------")
        for one in status["conditions"]:
            out.line(1, f"{one['type']}\t{one['status']}\t{one.get('reason', '')}\t{one.get('message', '')}")
    events(out, found)


def _metric(out: Writer, metric: Object, measured: Object) -> None:
    kind = metric.get("type", "")
    field = kind[:1].lower() + kind[1:]
    source = metric.get(field) or {}
    target: Any = source.get("target") or {}
    current: Any = (measured.get(field) or {}).get("current") or {}
    average, value = target.get("averageValue"), target.get("value")
    now = current.get("averageValue", "<unknown>") if average is not None else current.get("value", "<unknown>")
    name = quoted((source.get("metric") or {}).get("name", ""))
    if kind == "External":
        word = "target average value" if average is not None else "target value"
        out.line(1, f"{name} ({word}):\t{now} / {average if average is not None else value}")
    elif kind == "Pods":
        out.line(1, f"{name} on pods:\t{now} / {average}")
    elif kind == "Object":
        described = source.get("describedObject") or {}
        word = "target average value" if average is not None else "target value"
        out.line(
            1,
            f"{name} on {described.get('kind')}/{described.get('name')} ({word}):\t{now} / "
            f"{average if average is not None else value}",
        )
    elif kind in ("Resource", "ContainerResource"):
        text = f"resource {source.get('name')}"
        if kind == "ContainerResource":
            text += f' of container "{source.get("container")}"'
        text += " on pods"
        if average is not None:
            out.line(1, f"{text}:\t{now} / {average}")
        else:
            used = current.get("averageUtilization")
            shown = "<unknown>" if used is None else f"{used}% ({current.get('averageValue')})"
            wanted = target.get("averageUtilization")
            out.line(
                1, f"{text}  (as a percentage of request):\t{shown} / {'<auto>' if wanted is None else f'{wanted}%'}"
            )
    else:
        out.line(1, f"<unknown metric type {quoted(kind)}>")


def _direction(out: Writer, title: str, rules: Object | None) -> None:
    if not rules:
        return
    out.line(1, f"{title}:")
    if rules.get("stabilizationWindowSeconds") is not None:
        out.line(2, f"Stabilization Window: {rules['stabilizationWindowSeconds']} seconds")
    if rules.get("policies"):
        out.line(2, f"Select Policy: {rules.get('selectPolicy') or 'Max'}")
        out.line(2, "Policies:")
        for one in rules["policies"]:
            out.line(
                3, f"- Type: {one.get('type')}\tValue: {one.get('value')}\tPeriod: {one.get('periodSeconds')} seconds"
            )

"""How controllers of pods are shown."""

from datetime import datetime
from typing import Any

from wherry.schema.duration import age, human, parse_time
from wherry.schema.printers.columns import (
    NONE,
    Column,
    JsonDict,
    Printer,
    age_of,
    columns,
    containers_and_images,
    format_labels,
    meta,
    name_of,
    wide,
)
from wherry.schema.selectors import format_label_selector

_TEMPLATE_COLUMNS = (wide("Containers"), wide("Images"), wide("Selector"))


def _number(name: str) -> Column:
    return Column(name, "integer")


def _deployment(obj: JsonDict, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    names, images = containers_and_images(spec.get("template"))
    return [
        name_of(obj),
        f"{status.get('readyReplicas') or 0}/{spec.get('replicas') or 0}",
        status.get("updatedReplicas") or 0,
        status.get("availableReplicas") or 0,
        age_of(obj, now),
        names,
        images,
        format_label_selector(spec.get("selector")),
    ]


DEPLOYMENTS = Printer(
    columns("Name", "Ready", Column("Up-to-date"), Column("Available"), "Age", *_TEMPLATE_COLUMNS), _deployment
)


def _replica_set(obj: JsonDict, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    names, images = containers_and_images(spec.get("template"))
    selector = spec.get("selector")
    is_struct = obj.get("kind") != "ReplicationController"
    return [
        name_of(obj),
        spec.get("replicas") or 0,
        status.get("replicas") or 0,
        status.get("readyReplicas") or 0,
        age_of(obj, now),
        names,
        images,
        format_label_selector(selector) if is_struct else format_labels(selector),
    ]


REPLICA_SETS = Printer(
    columns("Name", _number("Desired"), _number("Current"), _number("Ready"), "Age", *_TEMPLATE_COLUMNS), _replica_set
)


def _stateful_set(obj: JsonDict, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    names, images = containers_and_images(spec.get("template"))
    ready = f"{status.get('readyReplicas') or 0}/{spec.get('replicas') or 0}"
    return [name_of(obj), ready, age_of(obj, now), names, images]


STATEFUL_SETS = Printer(columns("Name", "Ready", "Age", wide("Containers"), wide("Images")), _stateful_set)


def _daemon_set(obj: JsonDict, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    names, images = containers_and_images(spec.get("template"))
    template = (spec.get("template") or {}).get("spec") or {}
    return [
        name_of(obj),
        status.get("desiredNumberScheduled") or 0,
        status.get("currentNumberScheduled") or 0,
        status.get("numberReady") or 0,
        status.get("updatedNumberScheduled") or 0,
        status.get("numberAvailable") or 0,
        format_labels(template.get("nodeSelector")),
        age_of(obj, now),
        names,
        images,
        format_label_selector(spec.get("selector")),
    ]


DAEMON_SETS = Printer(
    columns(
        "Name",
        _number("Desired"),
        _number("Current"),
        _number("Ready"),
        _number("Up-to-date"),
        _number("Available"),
        "Node Selector",
        "Age",
        *_TEMPLATE_COLUMNS,
    ),
    _daemon_set,
)


def _job_status(obj: JsonDict) -> str:
    true = {one.get("type") for one in (obj.get("status") or {}).get("conditions") or () if one.get("status") == "True"}
    if "Complete" in true:
        return "Complete"
    if "Failed" in true:
        return "Failed"
    if meta(obj).get("deletionTimestamp"):
        return "Terminating"
    return next((kind for kind in ("Suspended", "FailureTarget", "SuccessCriteriaMet") if kind in true), "Running")


def _job(obj: JsonDict, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    names, images = containers_and_images(spec.get("template"))
    succeeded, parallelism = status.get("succeeded") or 0, spec.get("parallelism") or 0
    if spec.get("completions") is not None:
        completions = f"{succeeded}/{spec['completions']}"
    elif parallelism > 1:
        completions = f"{succeeded}/1 of {parallelism}"
    else:
        completions = f"{succeeded}/1"
    started, ended = status.get("startTime"), status.get("completionTime")
    duration = ""
    if started:
        end = parse_time(ended) if ended else now
        duration = human((end - parse_time(started)).total_seconds())
    return [
        name_of(obj),
        _job_status(obj),
        completions,
        duration,
        age_of(obj, now),
        names,
        images,
        format_label_selector(spec.get("selector")),
    ]


JOBS = Printer(columns("Name", "Status", "Completions", "Duration", "Age", *_TEMPLATE_COLUMNS), _job)


def _cron_job(obj: JsonDict, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    job = (spec.get("jobTemplate") or {}).get("spec") or {}
    names, images = containers_and_images(job.get("template"))
    suspend = spec.get("suspend")
    return [
        name_of(obj),
        spec.get("schedule") or "",
        spec.get("timeZone") or NONE,
        "<unset>" if suspend is None else str(suspend),
        len(status.get("active") or ()),
        age(status["lastScheduleTime"], now) if status.get("lastScheduleTime") else NONE,
        age_of(obj, now),
        names,
        images,
        format_label_selector(job.get("selector")),
    ]


CRON_JOBS = Printer(
    columns(
        "Name",
        "Schedule",
        "Timezone",
        Column("Suspend", "boolean"),
        _number("Active"),
        "Last Schedule",
        "Age",
        *_TEMPLATE_COLUMNS,
    ),
    _cron_job,
)


def _pod_template(obj: JsonDict, now: datetime) -> list[Any]:
    template = obj.get("template") or {}
    names, images = containers_and_images(template)
    return [name_of(obj), names, images, format_labels((template.get("metadata") or {}).get("labels"))]


POD_TEMPLATES = Printer(columns("Name", "Containers", "Images", "Pod Labels"), _pod_template)


def _controller_revision(obj: JsonDict, now: datetime) -> list[Any]:
    owner = next((one for one in meta(obj).get("ownerReferences") or () if one.get("controller")), None)
    shown = NONE
    if owner:
        group = owner.get("apiVersion", "").rpartition("/")[0]
        kind = owner.get("kind", "").lower()
        shown = f"{kind}.{group}/{owner.get('name', '')}" if group else f"{kind}/{owner.get('name', '')}"
    return [name_of(obj), shown, obj.get("revision") or 0, age_of(obj, now)]


CONTROLLER_REVISIONS = Printer(columns("Name", "Controller", "Revision", "Age"), _controller_revision)


def _budget(obj: JsonDict, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    limits = ["N/A" if spec.get(field) is None else str(spec[field]) for field in ("minAvailable", "maxUnavailable")]
    return [name_of(obj), *limits, status.get("disruptionsAllowed") or 0, age_of(obj, now)]


POD_DISRUPTION_BUDGETS = Printer(
    columns("Name", "Min Available", "Max Unavailable", _number("Allowed Disruptions"), "Age"), _budget
)


def _autoscaler(obj: JsonDict, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    target = spec.get("scaleTargetRef") or {}
    least = spec.get("minReplicas")
    return [
        name_of(obj),
        f"{target.get('kind', '')}/{target.get('name', '')}",
        _metrics(spec, status),
        UNSET_COUNT if least is None else str(least),
        spec.get("maxReplicas") or 0,
        status.get("currentReplicas") or 0,
        age_of(obj, now),
    ]


UNSET_COUNT = "<unset>"


def _metrics(spec: JsonDict, status: JsonDict) -> str:
    if "metrics" not in spec and "targetCPUUtilizationPercentage" in spec:
        now = status.get("currentCPUUtilizationPercentage")
        shown = "<unknown>" if now is None else f"{now}%"
        return f"cpu: {shown}/{spec['targetCPUUtilizationPercentage']}%"
    current = status.get("currentMetrics") or []
    found = []
    for index, metric in enumerate(spec.get("metrics") or ()):
        kind = metric.get("type") or ""
        field = kind[:1].lower() + kind[1:]
        source = metric.get(field) or {}
        target = source.get("target") or {}
        seen = ((current[index] if index < len(current) else {}).get(field) or {}).get("current") or {}
        if kind in ("Resource", "ContainerResource"):
            if target.get("averageValue") is not None:
                found.append(
                    f"{source.get('name')}: {seen.get('averageValue') or '<unknown>'}/{target['averageValue']}"
                )
            else:
                used, wanted = seen.get("averageUtilization"), target.get("averageUtilization")
                shown = "<unknown>" if used is None else f"{used}%"
                found.append(f"{source.get('name')}: {shown}/{'<auto>' if wanted is None else f'{wanted}%'}")
        elif target.get("averageValue") is not None:
            average = "" if kind == "Pods" else " (avg)"
            found.append(f"{seen.get('averageValue') or '<unknown>'}/{target['averageValue']}{average}")
        else:
            found.append(f"{seen.get('value') or '<unknown>'}/{target.get('value')}")
    if not found:
        return NONE
    shown = ", ".join(found[:2])
    return f"{shown} + {len(found) - 2} more..." if len(found) > 2 else shown


AUTOSCALERS = Printer(
    columns("Name", "Reference", "Targets", "MinPods", "MaxPods", _number("Replicas"), "Age"), _autoscaler
)

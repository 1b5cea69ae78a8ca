"""Jobs and cron jobs."""

from wherry.cli.kubectl import times
from wherry.cli.kubectl.describing.pod_template import describe_template
from wherry.cli.kubectl.describing.writer import Object, Writer, controller, events, selector_text, time_of
from wherry.cli.kubectl.session import Session


def job(session: Session, out: Writer, obj: Object, found: list[Object] | None) -> None:
    meta, spec, status = obj["metadata"], obj["spec"], obj.get("status") or {}
    out.field("Name", meta["name"])
    out.field("Namespace", meta["namespace"])
    if spec.get("selector"):
        out.field("Selector", selector_text(spec["selector"]))
    out.labels("Labels", meta.get("labels"))
    out.annotations(meta.get("annotations"))
    owner = controller(obj)
    if owner:
        out.field("Controlled By", owner)
    if spec.get("parallelism") is not None:
        out.field("Parallelism", spec["parallelism"])
    out.field("Completions", spec["completions"] if spec.get("completions") is not None else "<unset>")
    if spec.get("completionMode"):
        out.field("Completion Mode", spec["completionMode"])
    if spec.get("suspend") is not None:
        out.field("Suspend", "true" if spec["suspend"] else "false")
    if spec.get("backoffLimit") is not None:
        out.field("Backoff Limit", spec["backoffLimit"])
    if spec.get("ttlSecondsAfterFinished") is not None:
        out.field("TTL Seconds After Finished", spec["ttlSecondsAfterFinished"])
    started, completed = status.get("startTime"), status.get("completionTime")
    if started:
        out.field("Start Time", time_of(started))
    if completed:
        out.field("Completed At", time_of(completed))
    if started and completed:
        out.field("Duration", times.human(times.parse_time(completed) - times.parse_time(started)))
    if spec.get("activeDeadlineSeconds") is not None:
        out.field("Active Deadline Seconds", f"{spec['activeDeadlineSeconds']}s")
    ready = f" ({status['ready']} Ready)" if status.get("ready") is not None else ""
    out.field(
        "Pods Statuses",
        f"{status.get('active') or 0} Active{ready} / {status.get('succeeded') or 0} Succeeded "
        f"/ {status.get('failed') or 0} Failed",
    )
    if spec.get("completionMode") == "Indexed":
        out.field("Completed Indexes", status.get("completedIndexes") or "<none>")
    describe_template(out, spec["template"])
    events(out, found)


def cron_job(session: Session, out: Writer, obj: Object, found: list[Object] | None) -> None:
    meta, spec, status = obj["metadata"], obj["spec"], obj.get("status") or {}
    out.field("Name", meta["name"])
    out.field("Namespace", meta["namespace"])
    out.labels("Labels", meta.get("labels"))
    out.annotations(meta.get("annotations"))
    out.field("Schedule", spec.get("schedule", ""))
    out.field("Concurrency Policy", spec.get("concurrencyPolicy", ""))
    out.field("Suspend", "<unset>" if spec.get("suspend") is None else "True" if spec["suspend"] else "False")
    template = (spec.get("jobTemplate") or {}).get("spec") or {}

    def limit(title: str, value: object, unit: str = "") -> None:
        out.field(title, "<unset>" if value is None else f"{value}{unit}")

    limit("Successful Job History Limit", spec.get("successfulJobsHistoryLimit"))
    limit("Failed Job History Limit", spec.get("failedJobsHistoryLimit"))
    limit("Starting Deadline Seconds", spec.get("startingDeadlineSeconds"), "s")
    out.field("Selector", selector_text(template["selector"]) if template.get("selector") else "<unset>")
    limit("Parallelism", template.get("parallelism"))
    limit("Completions", template.get("completions"))
    if template.get("activeDeadlineSeconds") is not None:
        out.field("Active Deadline Seconds", f"{template['activeDeadlineSeconds']}s")
    describe_template(out, template.get("template") or {})
    last = status.get("lastScheduleTime")
    out.field("Last Schedule Time", time_of(last) if last else "<unset>")
    active = ", ".join(one.get("name", "") for one in status.get("active") or ())
    out.field("Active Jobs", active or "<none>")
    events(out, found)

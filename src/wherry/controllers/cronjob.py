"""CronJob: make a Job at each time of a schedule. https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from wherry.client.clock import format_time, parse_time, parse_time_or
from wherry.client.informer import Informers
from wherry.controllers.job import is_finished
from wherry.controllers.loop import Controller, Watch
from wherry.controllers.ownership import is_controlled_by, keys_of_controller, owner_reference
from wherry.controllers.plan import NORMAL, WARNING, Event, Plan
from wherry.schema import cron
from wherry.schema.builtin import CRON_JOBS, JOBS
from wherry.schema.resource import Object

SCHEDULED_AT = "batch.kubernetes.io/cronjob-scheduled-timestamp"
_TOO_MANY = 100


@dataclass
class Children:
    jobs: list[Object] = field(default_factory=list)


def reconcile(cron_job: Object, children: Children, now: float) -> Plan:
    plan = Plan()
    spec = cron_job["spec"]
    old = cron_job.get("status") or {}
    status = {name: value for name, value in old.items() if name != "active"}
    known = {one["uid"] for one in old.get("active") or ()}
    active: dict[str, Object] = {}
    for job in children.jobs:
        uid, name = job["metadata"]["uid"], job["metadata"]["name"]
        finished = is_finished(job)
        if finished and uid in known:
            plan.event(NORMAL, "SawCompletedJob", f"Saw completed job: {name}, condition: {finished}")
        elif not finished and (uid in known or SCHEDULED_AT in (job["metadata"].get("annotations") or {})):
            active[uid] = job
        elif not finished:
            # Made by hand from the template: it neither counts as running nor holds back the schedule.
            message = f"Saw a job that the controller did not create or forgot: {name}"
            plan.event(WARNING, "UnexpectedJob", message)
        if finished == "Complete":
            ended = (job.get("status") or {}).get("completionTime")
            if ended and ended > status.get("lastSuccessfulTime", ""):
                status["lastSuccessfulTime"] = ended
    for reference in old.get("active") or ():
        if all(job["metadata"]["uid"] != reference["uid"] for job in children.jobs):
            plan.event(NORMAL, "MissingJob", f"Active job went missing: {reference['name']}")
    _trim(spec, children.jobs, plan)
    before = {name: value for name, value in status.items() if name != "lastScheduleTime"}
    if "lastScheduleTime" in old:
        before["lastScheduleTime"] = old["lastScheduleTime"]
    running = _references(active)
    if not cron_job["metadata"].get("deletionTimestamp"):
        _schedule(cron_job, spec, status, active, plan, now)
    plan.status = _references(active) | status
    # A job that could not be made is not done with: the same time is due again at the next try.
    plan.status_if_failed = running | before
    return plan


def _references(active: dict[str, Object]) -> Object:
    references = [_reference(job) for job in sorted(active.values(), key=lambda one: str(one["metadata"]["name"]))]
    return {"active": references} if references else {}


def _schedule(
    cron_job: Object, spec: Object, status: Object, active: dict[str, Object], plan: Plan, now: float
) -> None:
    try:
        zone = ZoneInfo(spec["timeZone"]) if spec.get("timeZone") else UTC
    except (ZoneInfoNotFoundError, ValueError):
        name = spec["timeZone"]
        plan.event(WARNING, "UnknownTimeZone", f'invalid timeZone: "{name}": unknown time zone {name}')
        return
    if spec.get("suspend"):
        plan.because("suspended")
        return
    try:
        schedule = cron.parse(spec["schedule"])
    except ValueError as error:
        plan.event(WARNING, "UnparseableSchedule", f'unparseable schedule: "{spec["schedule"]}" : {error}')
        return
    earliest = parse_time_or(cron_job["metadata"].get("creationTimestamp"), now)
    last = parse_time(status.get("lastScheduleTime"))
    if last is not None:
        earliest = last
    deadline = spec.get("startingDeadlineSeconds")
    if deadline is not None:
        earliest = max(earliest, now - deadline)
    due, missed, following = _due(schedule, zone, earliest, now)
    if following is not None:
        plan.again_in(following - now + 0.1)
    if due is None:
        return
    if missed > _TOO_MANY:
        message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
        plan.event(WARNING, "TooManyMissedTimes", message)
    name = f"{cron_job['metadata']['name']}-{int(due) // 60}"
    if any(job["metadata"]["name"] == name for job in active.values()):
        return
    policy = spec.get("concurrencyPolicy", "Allow")
    if policy == "Forbid" and active:
        message = "Not starting job because prior execution is running and concurrency policy is Forbid"
        plan.event(NORMAL, "JobAlreadyActive", message)
        plan.because(message)
        return
    if policy == "Replace":
        for uid, job in list(active.items()):
            done = Event(NORMAL, "SuccessfulDelete", f"Deleted job {job['metadata']['name']}")
            plan.delete(JOBS, job, done, propagation="Background")
            del active[uid]
    _create(cron_job, name, due, zone if spec.get("timeZone") else None, plan)
    status["lastScheduleTime"] = format_time(due)


def _due(
    schedule: cron.Schedule, zone: ZoneInfo | object, earliest: float, now: float
) -> tuple[float | None, int, float | None]:
    """The latest time that is due, how many were due, and the next one."""
    assert isinstance(zone, ZoneInfo) or zone is UTC
    moment = datetime.fromtimestamp(earliest, UTC)
    due: float | None = None
    missed = 0
    while True:
        found = schedule.next(moment, zone)
        if found is None:
            return due, missed, None
        at = found.timestamp()
        if at > now:
            return due, missed, at
        due, moment = at, found
        missed += 1
        if missed > _TOO_MANY:
            # Far behind (the cluster was off): look from shortly before now instead of walking through all of it.
            step = max(at - earliest, 60.0) / missed
            moment = max(moment, datetime.fromtimestamp(now - step * 3, UTC))


def _create(cron_job: Object, name: str, due: float, zone: ZoneInfo | object | None, plan: Plan) -> None:
    template = cron_job["spec"]["jobTemplate"]
    source = template.get("metadata") or {}
    tz = zone if isinstance(zone, ZoneInfo) else UTC
    stamp = datetime.fromtimestamp(due, tz).isoformat().replace("+00:00", "Z")
    metadata: Object = {
        "name": name,
        "namespace": cron_job["metadata"]["namespace"],
        "annotations": dict(source.get("annotations") or {}) | {SCHEDULED_AT: stamp},
        "ownerReferences": [owner_reference(cron_job)],
    }
    if source.get("labels"):
        metadata["labels"] = source["labels"]
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template["spec"]}
    done = Event(NORMAL, "SuccessfulCreate", f"Created job {name}")
    failed = Event(WARNING, "FailedCreate", "Error creating job: {error}")
    plan.create(JOBS, job, done, failed, may_exist=True)
    plan.because(f"due at {stamp}")


def _trim(spec: Object, jobs: list[Object], plan: Plan) -> None:
    """Keep so many finished jobs of each kind."""
    for condition, limit in (
        ("Complete", spec.get("successfulJobsHistoryLimit", 3)),
        ("Failed", spec.get("failedJobsHistoryLimit", 1)),
    ):
        finished = [job for job in jobs if is_finished(job) == condition]
        finished.sort(
            key=lambda job: (str((job.get("status") or {}).get("startTime", "~")), str(job["metadata"]["name"]))
        )
        for job in finished[: max(len(finished) - limit, 0)]:
            done = Event(NORMAL, "SuccessfulDelete", f"Deleted job {job['metadata']['name']}")
            plan.delete(JOBS, job, done, propagation="Background")


def _reference(job: Object) -> Object:
    metadata = job["metadata"]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": metadata["name"],
        "namespace": metadata["namespace"],
        "resourceVersion": metadata.get("resourceVersion", ""),
        "uid": metadata["uid"],
    }


class CronJobController(Controller):
    name = "cronjob-controller"
    resource = CRON_JOBS
    watches = (Watch(JOBS, keys_of_controller(CRON_JOBS)),)

    def gather(self, obj: Object, informers: Informers) -> Children:
        found = informers[JOBS].by_index("owner", obj["metadata"]["uid"])
        return Children([job for job in found if is_controlled_by(job, obj)])

    def reconcile(self, obj: Object, children: Children, now: float) -> Plan:
        return reconcile(obj, children, now)

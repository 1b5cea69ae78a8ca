"""Checks of Jobs and CronJobs."""

from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from wherry.schema import cron
from wherry.schema.objects import same
from wherry.schema.resource import Object
from wherry.schema.selectors import from_label_selector
from wherry.schema.validation import selectors
from wherry.schema.validation.field import Causes, quoted
from wherry.schema.validation.pods import template

JsonDict = dict[str, Any]

_CRON_NAME_MAX: Final = 52


def job_create(obj: Object, causes: Causes) -> None:
    spec = obj.get("spec") or {}
    found = spec.get("selector")
    if found is None:
        causes.required("spec.selector")
    else:
        selectors.label_selector(found, "spec.selector", causes)
        labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
        if not from_label_selector(found).matches(labels):
            causes.invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")
    _job_spec(spec, "spec", causes)


def _job_spec(spec: JsonDict, path: str, causes: Causes) -> None:
    for field in ("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"):
        causes.not_negative(f"{path}.{field}", spec.get(field))
    mode = spec.get("completionMode")
    if mode is not None and mode not in ("NonIndexed", "Indexed"):
        causes.unsupported(f"{path}.completionMode", mode, ("NonIndexed", "Indexed"))
    if mode == "Indexed" and spec.get("completions") is None:
        causes.required(f"{path}.completions", "when completion mode is Indexed")
    per_index = spec.get("backoffLimitPerIndex")
    if per_index is not None:
        if mode != "Indexed":
            causes.invalid(f"{path}.backoffLimitPerIndex", per_index, "requires indexed completion mode")
        causes.not_negative(f"{path}.backoffLimitPerIndex", per_index)
    if (failed := spec.get("maxFailedIndexes")) is not None:
        if per_index is None:
            causes.required(f"{path}.backoffLimitPerIndex", "when maxFailedIndexes is specified")
        causes.not_negative(f"{path}.maxFailedIndexes", failed)
    _failure_policy(spec, path, causes)
    found = spec.get("template")
    template(found, f"{path}.template", causes)
    policy = ((found or {}).get("spec") or {}).get("restartPolicy")
    where = f"{path}.template.spec.restartPolicy"
    if policy == "Always":
        causes.required(where, 'valid values: "OnFailure", "Never"')
    elif policy not in ("OnFailure", "Never"):
        causes.unsupported(where, policy or "", ("OnFailure", "Never"))
    elif spec.get("podFailurePolicy") is not None and policy != "Never":
        causes.invalid(where, policy, 'only "Never" is supported when podFailurePolicy is specified')


def _failure_policy(spec: JsonDict, path: str, causes: Causes) -> None:
    policy = spec.get("podFailurePolicy")
    if policy is None:
        return
    where = f"{path}.podFailurePolicy.rules"
    rules = policy.get("rules") or []
    containers = {
        one.get("name")
        for field in ("containers", "initContainers")
        for one in ((spec.get("template") or {}).get("spec") or {}).get(field) or ()
    }
    if len(rules) > 20:
        causes.too_many(where, len(rules), 20)
    for index, rule in enumerate(rules):
        at = f"{where}[{index}]"
        causes.one_of(f"{at}.action", rule.get("action"), ("Count", "FailIndex", "FailJob", "Ignore"))
        codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions") or []
        if codes is not None and conditions:
            causes.invalid(at, rule, "specifying both OnExitCodes and OnPodConditions is not supported")
        elif codes is None and not conditions:
            causes.invalid(at, rule, "specifying one of OnExitCodes and OnPodConditions is required")
        if codes is not None:
            causes.one_of(f"{at}.onExitCodes.operator", codes.get("operator"), ("In", "NotIn"))
            name = codes.get("containerName")
            if name is not None and name not in containers:
                causes.invalid(
                    f"{at}.onExitCodes.containerName",
                    name,
                    "must be one of the container or initContainer names in the pod template",
                )
            if not codes.get("values"):
                causes.invalid(f"{at}.onExitCodes.values", codes.get("values") or [], "at least one value is required")
            elif codes.get("operator") == "In" and 0 in codes["values"]:
                causes.invalid(
                    f"{at}.onExitCodes.values[{codes['values'].index(0)}]", 0, "must not be 0 for the In operator"
                )


def job_update(new: Object, old: Object, causes: Causes, subresource: str) -> None:
    after, before = new.get("spec") or {}, old.get("spec") or {}
    if subresource == "status":
        status = new.get("status") or {}
        for field in ("active", "succeeded", "failed"):
            causes.not_negative(f"status.{field}", status.get(field))
        return
    _job_spec(after, "spec", causes)
    elastic = after.get("completionMode") == "Indexed" and after.get("completions") == after.get("parallelism")
    if after.get("completions") != before.get("completions") and not elastic:
        causes.invalid("spec.completions", after.get("completions"), "field is immutable")
    for field in ("selector", "template", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy"):
        if field == "template" and before.get("suspend") and not (old.get("status") or {}).get("startTime"):
            if not same(_scheduling_free(after.get(field)), _scheduling_free(before.get(field))):
                causes.invalid(f"spec.{field}", after.get(field), "field is immutable")
        elif not same(after.get(field), before.get(field)):
            causes.invalid(f"spec.{field}", after.get(field), "field is immutable")


def _scheduling_free(found: JsonDict | None) -> JsonDict:
    """A template without what may still change while its job has never started: where its pods may run."""
    found = found or {}
    meta = {key: value for key, value in (found.get("metadata") or {}).items() if key not in ("labels", "annotations")}
    free = ("nodeSelector", "affinity", "tolerations", "schedulingGates")
    spec = {key: value for key, value in (found.get("spec") or {}).items() if key not in free}
    return {"metadata": meta, "spec": spec}


def cronjob_create(obj: Object, causes: Causes) -> None:
    _cron_spec(obj.get("spec") or {}, causes)
    name = (obj.get("metadata") or {}).get("name") or ""
    if len(name) > _CRON_NAME_MAX:
        causes.invalid("metadata.name", name, f"must be no more than {_CRON_NAME_MAX} characters")


def cronjob_update(new: Object, old: Object, causes: Causes, subresource: str) -> None:
    if subresource != "status":
        _cron_spec(new.get("spec") or {}, causes)


def _cron_spec(spec: JsonDict, causes: Causes) -> None:
    schedule, zone = spec.get("schedule") or "", spec.get("timeZone")
    if not schedule:
        causes.required("spec.schedule")
    else:
        try:
            cron.parse(schedule)
        except ValueError as error:
            causes.invalid("spec.schedule", schedule, str(error))
        if "TZ" in schedule:
            causes.invalid(
                "spec.schedule", schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
            )
    if zone is not None:
        _time_zone(zone, causes)
    causes.not_negative("spec.startingDeadlineSeconds", spec.get("startingDeadlineSeconds"))
    policy = spec.get("concurrencyPolicy")
    causes.one_of("spec.concurrencyPolicy", policy, ("Allow", "Forbid", "Replace"))
    job = (spec.get("jobTemplate") or {}).get("spec") or {}
    if job.get("manualSelector"):
        causes.unsupported("spec.jobTemplate.spec.manualSelector", True, ("nil", "false"))
    _job_spec(job, "spec.jobTemplate.spec", causes)
    causes.not_negative("spec.successfulJobsHistoryLimit", spec.get("successfulJobsHistoryLimit"))
    causes.not_negative("spec.failedJobsHistoryLimit", spec.get("failedJobsHistoryLimit"))


def _time_zone(zone: str, causes: Causes) -> None:
    path = "spec.timeZone"
    if not zone:
        causes.invalid(path, zone, "timeZone must be nil or non-empty string")
    elif zone.lower() == "local":
        causes.invalid(
            path, zone, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        )
    else:
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            causes.invalid(path, zone, f"unknown time zone {zone}" if zone.isprintable() else quoted(zone))

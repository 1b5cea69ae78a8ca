"""Job: run pods until enough of them have succeeded. https://kubernetes.io/docs/concepts/workloads/controllers/job/

Every pod carries the finalizer `batch.kubernetes.io/job-tracking`. A finished pod is counted in two steps: its UID goes
into `status.uncountedTerminatedPods` together with the new totals' intent, then its finalizer is removed, then the UID
moves into the total. So a pod is counted exactly once, whatever crashes in between.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from wherry.client.clock import format_time, parse_time_or
from wherry.client.informer import Informers
from wherry.controllers import conditions, pods
from wherry.controllers.job_policy import Verdict, judge, success_met
from wherry.controllers.loop import Controller, Watch
from wherry.controllers.ownership import candidates, claim, index_orphans, keys_of_claimants
from wherry.controllers.plan import NORMAL, WARNING, Event, Plan
from wherry.schema.builtin import JOBS, PODS
from wherry.schema.resource import Object
from wherry.schema.selectors import NOTHING, Selector, from_label_selector

TRACKING = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"
FAILURES = "batch.kubernetes.io/job-index-failure-count"
MANAGER = "kubernetes.io/job-controller"
BACKOFF_FIRST, BACKOFF_MAX = 10.0, 600.0
_MAX_UNCOUNTED = 500


@dataclass
class Children:
    pods: list[Object] = field(default_factory=list)


def selector_of(job: Object) -> Selector:
    selector = job["spec"].get("selector")
    return from_label_selector(selector) if selector else NOTHING


def parse_indexes(text: str) -> set[int]:
    """`1,3-5` as a set."""
    found: set[int] = set()
    for part in (text or "").split(","):
        if part:
            first, _, last = part.partition("-")
            found |= set(range(int(first), int(last or first) + 1))
    return found


def format_indexes(indexes: Iterable[int]) -> str:
    """The set as `1,3-5`."""
    parts: list[str] = []
    run: list[int] = []
    for index in [*sorted(indexes), None]:
        if run and index is not None and index == run[-1] + 1:
            run.append(index)
            continue
        if run:
            parts.append(str(run[0]) if len(run) == 1 else f"{run[0]}{',' if len(run) == 2 else '-'}{run[-1]}")
        run = [] if index is None else [index]
    return ",".join(parts)


def is_finished(job: Object) -> str:
    """`Complete`, `Failed`, or "" while it runs."""
    for type in ("Complete", "Failed"):
        if conditions.is_true(job.get("status"), type):
            return type
    return ""


def reconcile(job: Object, children: Children, now: float) -> Plan:
    plan = Plan()
    if (job["spec"].get("managedBy") or MANAGER) != MANAGER:
        return plan
    mine = claim(job, selector_of(job), children.pods, PODS, plan)
    finished = is_finished(job)
    if finished or job["metadata"].get("deletionTimestamp"):
        for pod in mine:
            _release(pod, plan)
            if finished and pods.is_active(pod):
                plan.delete(PODS, pod)
        return plan
    _Round(job, mine, plan, now).run()
    return plan


def _release(pod: Object, plan: Plan) -> None:
    finalizers = pod["metadata"].get("finalizers") or []
    if TRACKING in finalizers:
        left = [one for one in finalizers if one != TRACKING]
        plan.patch(PODS, pod, {"metadata": {"finalizers": left or None}})


class _Round:
    def __init__(self, job: Object, mine: list[Object], plan: Plan, now: float) -> None:
        self.job = job
        self.spec = job["spec"]
        self.old = job.get("status") or {}
        self.plan = plan
        self.now = now
        self.pods = mine
        self.indexed = self.spec.get("completionMode") == "Indexed"
        self.completions: int | None = self.spec.get("completions")
        self.parallelism: int = self.spec.get("parallelism", 1)
        self.suspended = bool(self.spec.get("suspend"))
        self.conditions = list(self.old.get("conditions") or ())
        self.active = [pod for pod in mine if pods.is_active(pod)]
        self.succeeded: int = self.old.get("succeeded", 0)
        self.failed: int = self.old.get("failed", 0)
        uncounted = self.old.get("uncountedTerminatedPods") or {}
        self.uncounted = {
            "succeeded": list(uncounted.get("succeeded") or ()),
            "failed": list(uncounted.get("failed") or ()),
        }
        # A job may be made smaller: indexes beyond its size count no longer.
        self.done_indexes = self._within(self.old.get("completedIndexes", ""))
        self.failed_indexes = self._within(self.old.get("failedIndexes", ""))
        self.failure = ""
        self.failure_reason = ""
        self.success_reason = self.success_message = ""
        self.new_failures = 0

    def _within(self, indexes: str) -> set[int]:
        found = parse_indexes(indexes)
        return found if self.completions is None else {index for index in found if index < self.completions}

    def run(self) -> None:
        started = self.old.get("startTime")
        if not started and not self.suspended:
            started = format_time(self.now)
        self.started = started
        self._recall()
        self._suspend_or_resume()
        self._count()
        self._judge()
        if not self.failure and not self.success_reason:
            self._scale()
        self._write()

    def _recall(self) -> None:
        """A verdict once given stands, also after the pods that led to it have been counted."""
        if (met := conditions.get(self.old, "SuccessCriteriaMet")) is not None and met["status"] == "True":
            self.success_reason, self.success_message = met.get("reason", ""), met.get("message", "")
        elif (target := conditions.get(self.old, "FailureTarget")) is not None and target["status"] == "True":
            self.failure_reason, self.failure = target.get("reason", ""), target.get("message", "")

    # Counting finished pods, each exactly once.

    def _count(self) -> None:
        known = {pod["metadata"]["uid"]: pod for pod in self.pods}
        for kind in ("succeeded", "failed"):
            kept = []
            for uid in self.uncounted[kind]:
                pod = known.get(uid)
                if pod is not None and TRACKING in (pod["metadata"].get("finalizers") or ()):
                    kept.append(uid)
                    _release(pod, self.plan)
                elif kind == "succeeded":
                    # Its finalizer is gone (or it is): it counts now.
                    self.succeeded += not self.indexed
                else:
                    self.failed += 1
            self.uncounted[kind] = kept
        noted = {*self.uncounted["succeeded"], *self.uncounted["failed"]}
        for pod in self.pods:
            metadata = pod["metadata"]
            if TRACKING not in (metadata.get("finalizers") or ()) or metadata["uid"] in noted:
                continue
            if len(noted) >= _MAX_UNCOUNTED:
                self.plan.again_in(0)
                break
            phase = pods.phase(pod)
            if phase == "Succeeded":
                self._note_success(pod)
            elif phase == "Failed" or (pods.is_terminating(pod) and self._counts_when_terminating(pod)):
                self._note_failure(pod)
            else:
                continue
            noted.add(metadata["uid"])
        if self.indexed:
            self.succeeded = len(self.done_indexes)

    def _counts_when_terminating(self, pod: Object) -> bool:
        """A pod that is being deleted counts as failed, unless it is to be replaced only when it has ended."""
        default = "Failed" if self.spec.get("podFailurePolicy") else "TerminatingOrFailed"
        return self.spec.get("podReplacementPolicy", default) != "Failed" or not pod["spec"].get("nodeName")

    def _note_success(self, pod: Object) -> None:
        index = self._index(pod)
        if self.indexed:
            if index is None or index in self.done_indexes or index >= (self.completions or 0):
                _release(pod, self.plan)
                return
            self.done_indexes.add(index)
        self.uncounted["succeeded"].append(pod["metadata"]["uid"])

    def _note_failure(self, pod: Object) -> None:
        verdict = judge(self.spec.get("podFailurePolicy"), pod)
        if verdict.action == "FailJob" and not self.failure:
            self.failure = verdict.message
            self.failure_reason = "PodFailurePolicy"
        elif verdict.action == "FailIndex" and (index := self._index(pod)) is not None:
            self.failed_indexes.add(index)
        if verdict.action == "Ignore":
            _release(pod, self.plan)
            self.plan.because(f"failure of {pod['metadata']['name']} is ignored by the pod failure policy")
            return
        self.uncounted["failed"].append(pod["metadata"]["uid"])
        self.new_failures += 1
        self._check_index_limit(pod, verdict)

    def _check_index_limit(self, pod: Object, verdict: Verdict) -> None:
        limit = self.spec.get("backoffLimitPerIndex")
        index = self._index(pod)
        if limit is None or index is None:
            return
        if self._index_failures(pod) + 1 > limit:
            self.failed_indexes.add(index)

    def _index_failures(self, pod: Object) -> int:
        text = (pod["metadata"].get("annotations") or {}).get(FAILURES, "0")
        return int(text) if text.isdigit() else 0

    def _index(self, pod: Object) -> int | None:
        text = (pod["metadata"].get("annotations") or {}).get(INDEX, "")
        return int(text) if text.isdigit() else None

    # Whether it is over.

    def _judge(self) -> None:
        if self.failure or self.success_reason:
            return
        failures = self.failed + len(self.uncounted["failed"])
        limit = self.spec.get("backoffLimit", 2**31 - 1 if self.spec.get("backoffLimitPerIndex") is not None else 6)
        if failures > limit or self._restarted_too_often(limit):
            self.failure_reason, self.failure = "BackoffLimitExceeded", "Job has reached the specified backoff limit"
            return
        deadline = self.spec.get("activeDeadlineSeconds")
        if deadline is not None and self.started and not self.suspended:
            ends = parse_time_or(self.started, self.now) + deadline
            if ends <= self.now:
                self.failure_reason = "DeadlineExceeded"
                self.failure = "Job was active longer than specified deadline"
                return
            self.plan.again_in(ends - self.now)
        if self.failed_indexes:
            most = self.spec.get("maxFailedIndexes")
            if most is not None and len(self.failed_indexes) > most:
                self.failure_reason = "MaxFailedIndexesExceeded"
                self.failure = "Job has exceeded the specified maximal number of failed indexes"
                return
        if self.indexed and (message := success_met(self.spec.get("successPolicy"), self.done_indexes)):
            self.success_reason, self.success_message = "SuccessPolicy", message
            return
        total = self._successes()
        if self.completions is None:
            if total and not self.active:
                self.success_reason, self.success_message = (
                    "CompletionsReached",
                    "Reached expected number of succeeded pods",
                )
        elif total >= self.completions:
            self.success_reason, self.success_message = (
                "CompletionsReached",
                "Reached expected number of succeeded pods",
            )
        elif (
            self.failed_indexes and len(self.done_indexes | self.failed_indexes) >= self.completions and not self.active
        ):
            self.failure_reason, self.failure = "FailedIndexes", "Job has failed indexes"

    def _successes(self) -> int:
        return len(self.done_indexes) if self.indexed else self.succeeded + len(self.uncounted["succeeded"])

    def _restarted_too_often(self, limit: int) -> bool:
        """With restartPolicy OnFailure the containers' restarts count, and the last one allowed already ends it."""
        if self.spec["template"]["spec"].get("restartPolicy") != "OnFailure":
            return False
        restarts = sum(
            status.get("restartCount", 0)
            for pod in self.pods
            if not pods.is_finished(pod)
            for status in (
                *((pod.get("status") or {}).get("containerStatuses") or ()),
                *((pod.get("status") or {}).get("initContainerStatuses") or ()),
            )
        )
        return bool(restarts >= limit) if limit else restarts > 0

    # Starting and stopping pods.

    def _suspend_or_resume(self) -> None:
        condition = conditions.get({"conditions": self.conditions}, "Suspended")
        if self.suspended and (condition is None or condition["status"] != "True"):
            self._put("Suspended", "True", "JobSuspended", "Job suspended")
            self.plan.event(NORMAL, "Suspended", "Job suspended")
            self.started = None
        elif not self.suspended and condition is not None and condition["status"] == "True":
            self._put("Suspended", "False", "JobResumed", "Job resumed")
            self.plan.event(NORMAL, "Resumed", "Job resumed")
            self.started = format_time(self.now)
        elif self.suspended:
            self.started = None

    def _scale(self) -> None:
        if self.suspended:
            for pod in self.active:
                self._delete(pod, "the job is suspended")
            return
        if self.completions is None:
            # After the first success no more are started; those that run may end by themselves.
            wanted = self.parallelism if not self._successes() else len(self.active)
        else:
            left = self.completions - self._successes()
            if self.indexed:
                left -= len(self.failed_indexes - self.done_indexes)
            wanted = min(self.parallelism, max(left, 0))
        occupying = list(self.active)
        if self.spec.get("podReplacementPolicy") == "Failed":
            occupying += [pod for pod in self.pods if pods.is_terminating(pod) and not pods.is_finished(pod)]
        if self.indexed:
            self._drop_duplicates(occupying)
        if len(self.active) > wanted:
            for pod in pods.first_to_delete(self.active, self.active, self.now)[: len(self.active) - wanted]:
                self._delete(pod, f"{len(self.active)} are active, {wanted} wanted")
            return
        missing = wanted - len(occupying)
        if missing <= 0:
            return
        by_index = self.indexed and self.spec.get("backoffLimitPerIndex") is not None
        wait = 0.0 if by_index else self._backoff()
        if wait > 0:
            self.plan.again_in(wait)
            self.plan.because(f"waiting {wait:.0f} s after a failure")
            return
        indexes = self._free_indexes(occupying) if self.indexed else None
        if by_index and indexes:
            indexes = self._rested(indexes)
        for number in range(missing):
            if indexes is None:
                self._create(None)
            elif number < len(indexes):
                self._create(indexes[number])

    def _drop_duplicates(self, occupying: list[Object]) -> None:
        seen: set[int] = set()
        for pod in sorted(occupying, key=lambda one: str(one["metadata"].get("creationTimestamp"))):
            index = self._index(pod)
            if index is None or index in seen or index in self.done_indexes or index in self.failed_indexes:
                if pod in self.active:
                    self._delete(pod, "its index is taken, done or unknown")
                    self.active.remove(pod)
                occupying.remove(pod)
            else:
                seen.add(index)

    def _free_indexes(self, occupying: list[Object]) -> list[int]:
        taken = {self._index(pod) for pod in occupying} | self.done_indexes | self.failed_indexes
        return [index for index in range(self.completions or 0) if index not in taken]

    def _backoff(self) -> float:
        """Seconds to wait: 10 s after the first failure since the last success, doubling to 10 minutes, counted from
        the last one."""
        success = max(
            (_finished_at(pod, self.now) for pod in self.pods if pods.phase(pod) == "Succeeded"), default=-math.inf
        )
        failures = [_finished_at(pod, self.now) for pod in self.pods if pods.phase(pod) == "Failed"]
        return self._pause([at for at in failures if at > success])

    def _pause(self, failures: list[float]) -> float:
        """`failures`: when each was (epoch seconds)."""
        if not failures:
            return 0.0
        wait = min(BACKOFF_FIRST * 2.0 ** min(len(failures) - 1, 30), BACKOFF_MAX)
        return max(max(failures) + wait - self.now, 0.0)

    def _rested(self, indexes: list[int]) -> list[int]:
        """Those whose own failures are long enough ago; the plan looks again for the others."""
        failures: dict[int | None, list[float]] = {}
        for pod in self.pods:
            if pods.phase(pod) == "Failed":
                failures.setdefault(self._index(pod), []).append(_finished_at(pod, self.now))
        rested = []
        for index in indexes:
            wait = self._pause(failures.get(index, []))
            if wait > 0:
                self.plan.again_in(wait)
                self.plan.because(f"index {index} waits {wait:.0f} s after a failure")
            else:
                rested.append(index)
        return rested

    def _create(self, index: int | None) -> None:
        template = self.spec["template"]
        metadata = self.job["metadata"]
        prefix = f"{metadata['name']}-{index}-" if index is not None else f"{metadata['name']}-"
        pod = pods.from_template(template, self.job, generate_name=prefix)
        pod["metadata"]["finalizers"] = [*pod["metadata"].get("finalizers", []), TRACKING]
        if index is not None:
            pod["metadata"].setdefault("labels", {})[INDEX] = str(index)
            annotations = pod["metadata"].setdefault("annotations", {})
            annotations[INDEX] = str(index)
            if self.spec.get("backoffLimitPerIndex") is not None:
                annotations[FAILURES] = str(self._failures_of_index(index))
            pod["spec"] = _with_index(pod["spec"], f"{metadata['name']}-{index}")
        self.plan.create(
            PODS,
            pod,
            Event(NORMAL, "SuccessfulCreate", "Created pod: {name}"),
            Event(WARNING, "FailedCreate", "Error creating: {error}"),
        )
        self.plan.because("another pod is wanted" if index is None else f"index {index} has no pod")

    def _failures_of_index(self, index: int) -> int:
        return max(
            (
                self._index_failures(pod) + (judge(self.spec.get("podFailurePolicy"), pod).action != "Ignore")
                for pod in self.pods
                if self._index(pod) == index and pods.is_finished(pod)
            ),
            default=0,
        )

    def _delete(self, pod: Object, why: str) -> None:
        self.plan.delete(PODS, pod, Event(NORMAL, "SuccessfulDelete", "Deleted pod: {name}"))
        self.plan.because(f"delete {pod['metadata']['name']}: {why}")

    # Status.

    def _put(self, type: str, status: str, reason: str, message: str) -> None:
        old = conditions.get({"conditions": self.conditions}, type)
        if old is not None and (old["status"], old.get("reason")) == (status, reason):
            return
        probed = format_time(self.now)
        self.conditions = conditions.put(self.conditions, type, status, reason, message, self.now, lastProbeTime=probed)

    def _write(self) -> None:
        status: Object = {}
        over = bool(self.failure or self.success_reason)
        if over:
            self._finish(status)
        if self.conditions:
            status["conditions"] = self.conditions
        if self.started:
            status["startTime"] = self.started
        active = 0 if over else len(self.active)
        counts = {
            "active": active,
            "succeeded": self.succeeded,
            "failed": self.failed,
        }
        status |= {name: count for name, count in counts.items() if count}
        terminating = sum(pods.is_terminating(pod) and not pods.is_finished(pod) for pod in self.pods)
        status["terminating"] = terminating
        ready = 0 if over else sum(pods.is_ready(pod) for pod in self.active)
        status["ready"] = ready
        status["uncountedTerminatedPods"] = {name: uids for name, uids in self.uncounted.items() if uids}
        if self.indexed and self.done_indexes:
            status["completedIndexes"] = format_indexes(self.done_indexes)
        if self.spec.get("backoffLimitPerIndex") is not None:
            status["failedIndexes"] = format_indexes(self.failed_indexes)
        if self.old.get("completionTime"):
            status["completionTime"] = self.old["completionTime"]
        self.plan.status = status
        if self.uncounted["succeeded"] or self.uncounted["failed"]:
            self.plan.again_in(0)

    def _finish(self, status: Object) -> None:
        """Two stages: first the target condition while pods go, then the final one when all are counted."""
        for pod in self.active:
            self._delete(pod, "the job is over")
        pending = self.uncounted["succeeded"] or self.uncounted["failed"]
        waiting = self.active or any(pods.is_terminating(pod) and not pods.is_finished(pod) for pod in self.pods)
        if self.success_reason:
            self._put("SuccessCriteriaMet", "True", self.success_reason, self.success_message)
            if not pending and not waiting:
                self._put("Complete", "True", self.success_reason, self.success_message)
                status["completionTime"] = format_time(self.now)
                self.plan.event(NORMAL, "Completed", "Job completed")
        else:
            self._put("FailureTarget", "True", self.failure_reason, self.failure)
            if not pending and not waiting:
                self._put("Failed", "True", self.failure_reason, self.failure)
                self.plan.event(WARNING, self.failure_reason, self.failure)


def _finished_at(pod: Object, now: float) -> float:
    status = pod.get("status") or {}
    times = [
        parse_time_or((one.get("state", {}).get("terminated") or {}).get("finishedAt"), 0.0)
        for one in status.get("containerStatuses") or ()
    ]
    found = max(times, default=0.0)
    return found or parse_time_or(pod["metadata"].get("creationTimestamp"), now)


def _with_index(spec: Object, hostname: str) -> Object:
    """JOB_COMPLETION_INDEX in every container, from the pod's annotation."""
    source = {"fieldRef": {"fieldPath": f"metadata.annotations['{INDEX}']"}}
    variable = {"name": "JOB_COMPLETION_INDEX", "valueFrom": source}

    def extended(container: Object) -> Object:
        known = container.get("env") or []
        if any(one["name"] == variable["name"] for one in known):
            return container
        return container | {"env": [*known, variable]}

    new = spec | {"containers": [extended(one) for one in spec["containers"]], "hostname": hostname}
    if spec.get("initContainers"):
        new["initContainers"] = [extended(one) for one in spec["initContainers"]]
    return new


class JobController(Controller):
    name = "job-controller"
    resource = JOBS
    watches = (Watch(PODS, keys_of_claimants(JOBS, selector_of)),)

    def setup(self, informers: Informers) -> None:
        index_orphans(informers[PODS])

    def gather(self, obj: Object, informers: Informers) -> Children:
        return Children(candidates(obj, informers[PODS], selector_of(obj)))

    def reconcile(self, obj: Object, children: Children, now: float) -> Plan:
        return reconcile(obj, children, now)

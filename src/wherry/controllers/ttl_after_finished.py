"""TTL after finished: Jobs with ttlSecondsAfterFinished are deleted that long after they ended.

https://kubernetes.io/docs/concepts/workloads/controllers/ttlafterfinished/
"""

from wherry.client.clock import parse_time_or
from wherry.client.informer import Informers
from wherry.controllers import conditions
from wherry.controllers.job import is_finished
from wherry.controllers.loop import Controller
from wherry.controllers.plan import Plan
from wherry.schema.builtin import JOBS
from wherry.schema.resource import Object


def reconcile(job: Object, now: float) -> Plan:
    plan = Plan()
    ttl = job["spec"].get("ttlSecondsAfterFinished")
    finished = is_finished(job)
    if ttl is None or not finished or job["metadata"].get("deletionTimestamp"):
        return plan
    condition = conditions.get(job.get("status"), finished) or {}
    left = parse_time_or(condition.get("lastTransitionTime"), now) + ttl - now
    if left > 0:
        plan.again_in(left)
        return plan
    plan.delete(JOBS, job, propagation="Foreground", check_version=True)
    plan.because(f"it ended more than {ttl} s ago")
    return plan


class TTLAfterFinishedController(Controller):
    name = "ttl-after-finished-controller"
    resource = JOBS

    def gather(self, obj: Object, informers: Informers) -> None:
        return None

    def reconcile(self, obj: Object, children: None, now: float) -> Plan:
        return reconcile(obj, now)

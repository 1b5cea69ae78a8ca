"""Pods whose Job is gone: the tracking finalizer that the Job gave them goes too, or they would stay for ever.

https://kubernetes.io/docs/concepts/workloads/controllers/job/#job-tracking-with-finalizers
"""

from wherry.client.informer import Informers, Key, key_of
from wherry.controllers.job import TRACKING
from wherry.controllers.loop import Controller, Watch
from wherry.controllers.plan import Plan
from wherry.schema.builtin import JOBS, PODS
from wherry.schema.resource import Object


def reconcile(pod: Object, job: Object | None) -> Plan:
    """`job` is the Job that the pod's controller reference means, None when there is none of that UID."""
    plan = Plan()
    finalizers = pod["metadata"].get("finalizers") or []
    if TRACKING in finalizers and job is None:
        left = [one for one in finalizers if one != TRACKING]
        plan.patch(PODS, pod, {"metadata": {"finalizers": left or None}}, check_version=True)
        plan.because("its Job is gone: nobody counts it any more")
    return plan


def _pods_of(job: Object, informers: Informers) -> list[Key]:
    return [key_of(pod) for pod in informers[PODS].by_index("owner", job["metadata"]["uid"])]


class JobOrphansController(Controller):
    name = "job-controller"
    resource = PODS
    watches = (Watch(JOBS, _pods_of, lambda old, new: False),)
    workers = 1

    def keys(self, obj: Object, informers: Informers) -> list[Key]:
        return [key_of(obj)] if TRACKING in (obj["metadata"].get("finalizers") or ()) else []

    def gather(self, obj: Object, informers: Informers) -> Object | None:
        for owner in obj["metadata"].get("ownerReferences") or ():
            if owner.get("controller") and owner.get("kind") == "Job":
                job = informers[JOBS].get(obj["metadata"]["namespace"], owner["name"])
                return job if job is not None and job["metadata"]["uid"] == owner["uid"] else None
        return None

    def reconcile(self, obj: Object, children: Object | None, now: float) -> Plan:
        return reconcile(obj, children)

"""Keeping N pods of one template: the decision that ReplicaSets and ReplicationControllers share.

Specified in https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from wherry.controllers import conditions, pods
from wherry.controllers.ownership import claim
from wherry.controllers.plan import NORMAL, WARNING, Event, Plan
from wherry.schema.builtin import PODS
from wherry.schema.resource import Object
from wherry.schema.selectors import Selector

BURST = 500
"""At most so many creates or deletes in one round."""


@dataclass
class Replicas:
    """`found`: owned pods and orphans that match; `related`: pods of sibling owners, for ranking deletions."""

    found: list[Object] = field(default_factory=list)
    related: list[Object] = field(default_factory=list)


def replicate(owner: Object, selector: Selector, children: Replicas, now: float) -> Plan:
    """Create or delete pods until `spec.replicas` are active; count the rest into the status."""
    plan = Plan()
    spec = owner["spec"]
    wanted = spec.get("replicas", 1)
    found = [pod for pod in children.found if not pods.is_finished(pod)]
    active = [pod for pod in claim(owner, selector, found, PODS, plan) if pods.is_active(pod)]
    failure = ""
    if not owner["metadata"].get("deletionTimestamp"):
        if len(active) < wanted:
            missing = min(wanted - len(active), BURST)
            plan.because(f"{len(active)} of {wanted} pods exist: create {missing}")
            failure = "FailedCreate"
            for _ in range(missing):
                plan.create(
                    PODS,
                    pods.from_template(spec["template"], owner),
                    Event(NORMAL, "SuccessfulCreate", "Created pod: {name}"),
                    Event(WARNING, "FailedCreate", "Error creating: {error}"),
                )
        elif len(active) > wanted:
            surplus = min(len(active) - wanted, BURST)
            plan.because(f"{len(active)} pods exist, {wanted} wanted: delete {surplus}")
            failure = "FailedDelete"
            for pod in pods.first_to_delete(active, children.related or active, now)[:surplus]:
                plan.delete(
                    PODS,
                    pod,
                    Event(NORMAL, "SuccessfulDelete", "Deleted pod: {name}"),
                    Event(WARNING, "FailedDelete", "Error deleting: {error}"),
                )
    _count(plan, owner, active, failure, now)
    return plan


def _count(plan: Plan, owner: Object, active: Iterable[Object], failure: str, now: float) -> None:
    spec, old = owner["spec"], owner.get("status") or {}
    min_ready = spec.get("minReadySeconds", 0)
    template_labels = ((spec["template"].get("metadata") or {}).get("labels") or {}).items()
    total = labeled = ready = available = 0
    for pod in active:
        total += 1
        labeled += template_labels <= (pod["metadata"].get("labels") or {}).items()
        if not pods.is_ready(pod):
            continue
        ready += 1
        wait = pods.available_in(pod, min_ready, now)
        if wait == 0:
            available += 1
        else:
            plan.again_in(wait)
    status: Object = {"replicas": total}
    for name, count in (
        ("fullyLabeledReplicas", labeled),
        ("readyReplicas", ready),
        ("availableReplicas", available),
    ):
        if count:
            status[name] = count
    status["observedGeneration"] = owner["metadata"].get("generation", 0)
    kept = list(old.get("conditions") or ())
    rest = conditions.without(kept, "ReplicaFailure")
    if failure:
        failed = kept
        if conditions.get(old, "ReplicaFailure") is None:
            # Told once: messages name the refused pod, and a status that changes with every try would ask for the next.
            failed = conditions.put(kept, "ReplicaFailure", "True", failure, "{error}", now)
        plan.status_if_failed = status | {"conditions": failed}
    plan.status = status | ({"conditions": rest} if rest else {})

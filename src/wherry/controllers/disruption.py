"""PodDisruptionBudgets: how many pods may be disrupted now. https://kubernetes.io/docs/tasks/run-application/configure-pdb/"""

from dataclasses import dataclass, field

from wherry.client.clock import parse_time_or
from wherry.client.informer import Informers, Key
from wherry.controllers import conditions, pods
from wherry.controllers.loop import Controller, Watch
from wherry.controllers.ownership import controller_of
from wherry.controllers.plan import NORMAL, WARNING, Plan
from wherry.controllers.templates import scaled
from wherry.schema.builtin import (
    DEPLOYMENTS,
    POD_DISRUPTION_BUDGETS,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    STATEFUL_SETS,
)
from wherry.schema.resource import Object
from wherry.schema.selectors import Selector, from_label_selector

_GRACE = 120.0


@dataclass
class Children:
    """`pods`: those that the selector finds; `expected`: how many their controllers want (None: `error` says why);
    `unmanaged`: some have no controller, so that nothing says how many are wanted."""

    pods: list[Object] = field(default_factory=list)
    expected: int | None = 0
    error: str = ""
    unmanaged: bool = False


def selector_of(budget: Object) -> Selector:
    return from_label_selector(budget["spec"].get("selector"))


def reconcile(budget: Object, children: Children, now: float) -> Plan:
    plan = Plan()
    spec, old = budget["spec"], budget.get("status") or {}
    if not children.pods:
        plan.event(NORMAL, "NoPods", "No matching pods found")
        plan.because("no pods match")
    found = list(old.get("conditions") or ())
    generation = budget["metadata"].get("generation", 0)
    if children.expected is None:
        message = children.error
        plan.event(
            WARNING, "CalculateExpectedPodCountFailed", f"Failed to calculate the number of expected pods: {message}"
        )
        found = conditions.put(
            found, "DisruptionAllowed", "False", "SyncFailed", message, now, observedGeneration=generation
        )
        plan.status = old | {"disruptionsAllowed": 0, "observedGeneration": generation, "conditions": found}
        return plan
    if children.unmanaged:
        plan.event(
            WARNING,
            "UnmanagedPods",
            f"Pods selected by this PodDisruptionBudget (selector: {_shown(spec.get('selector') or {})}) were found "
            "to be unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may result in "
            'undefined behavior. To account for these pods please set ".spec.minAvailable" field of the PDB to an '
            "integer value.",
        )
    total = children.expected
    if spec.get("maxUnavailable") is not None:
        desired = max(total - scaled(spec["maxUnavailable"], total, round_up=True), 0)
    else:
        minimum = spec.get("minAvailable", 1)
        desired = scaled(minimum, total, round_up=True)
        if isinstance(minimum, int):
            total = len(children.pods)
    disrupted: dict[str, str] = {}
    for name, at in (old.get("disruptedPods") or {}).items():
        pod = next((one for one in children.pods if one["metadata"]["name"] == name), None)
        if pod is None or pods.is_terminating(pod):
            continue
        left = parse_time_or(at, now) + _GRACE - now
        if left > 0:
            disrupted[name] = at
            plan.again_in(left)
        else:
            metadata = budget["metadata"]
            message = f"Pod was expected by PDB {metadata['namespace']}/{metadata['name']} to be deleted but it wasn't"
            plan.event(WARNING, "NotDeleted", message, pod)
    healthy = sum(
        pods.is_ready(pod) and not pods.is_terminating(pod) and pod["metadata"]["name"] not in disrupted
        for pod in children.pods
    )
    allowed = max(healthy - desired, 0) if total > 0 else 0
    if allowed > 0:
        condition = ("True", "SufficientPods")
    else:
        condition = ("False", "InsufficientPods")
    found = conditions.put(found, "DisruptionAllowed", *condition, "", now, observedGeneration=generation)
    plan.status = {
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "expectedPods": total,
        "disruptionsAllowed": allowed,
        "observedGeneration": generation,
        "conditions": found,
    } | ({"disruptedPods": disrupted} if disrupted else {})
    return plan


def _shown(selector: Object) -> str:
    """A label selector as upstream's messages show it."""
    labels = "".join(f"{name}: {value}," for name, value in sorted((selector.get("matchLabels") or {}).items()))
    requirements = "".join(
        f"{{{one['key']} {one['operator']} [{' '.join(one.get('values') or ())}]}},"
        for one in selector.get("matchExpressions") or ()
    )
    return (
        f"&LabelSelector{{MatchLabels:map[string]string{{{labels}}},"
        f"MatchExpressions:[]LabelSelectorRequirement{{{requirements}}},}}"
    )


def _budgets_of_pod(pod: Object, informers: Informers) -> list[Key]:
    labels = pod["metadata"].get("labels")
    namespace = pod["metadata"]["namespace"]
    return [
        (namespace, one["metadata"]["name"])
        for one in informers[POD_DISRUPTION_BUDGETS].items(namespace)
        if selector_of(one).matches(labels)
    ]


def _pod_matters(old: Object, new: Object) -> bool:
    return (
        pods.is_ready(old) != pods.is_ready(new)
        or pods.is_terminating(old) != pods.is_terminating(new)
        or old["metadata"].get("labels") != new["metadata"].get("labels")
        or old["metadata"].get("ownerReferences") != new["metadata"].get("ownerReferences")
    )


class DisruptionController(Controller):
    name = "controllermanager"
    resource = POD_DISRUPTION_BUDGETS
    watches = (Watch(PODS, _budgets_of_pod, _pod_matters),)

    def setup(self, informers: Informers) -> None:
        for resource in (DEPLOYMENTS, REPLICA_SETS, REPLICATION_CONTROLLERS, STATEFUL_SETS):
            _ = informers[resource]

    def gather(self, obj: Object, informers: Informers) -> Children:
        selector = selector_of(obj)
        namespace = obj["metadata"]["namespace"]
        found = [
            pod
            for pod in informers[PODS].items(namespace)
            if selector.matches(pod["metadata"].get("labels")) and not pods.is_finished(pod)
        ]
        spec = obj["spec"]
        by_controllers = spec.get("maxUnavailable") is not None or isinstance(spec.get("minAvailable"), str)
        if not by_controllers:
            return Children(found, len(found))
        expected = 0
        unmanaged = False
        seen: set[str] = set()
        for pod in found:
            if controller_of(pod) is None:
                unmanaged = True
                continue
            owner = self._root(pod, namespace, informers)
            if owner is None:
                name = pod["metadata"]["name"]
                return Children(found, None, f'found no controllers for pod "{name}"')
            if owner["metadata"]["uid"] not in seen:
                seen.add(owner["metadata"]["uid"])
                expected += owner["spec"].get("replicas", 1)
        return Children(found, expected, unmanaged=unmanaged)

    def _root(self, pod: Object, namespace: str, informers: Informers) -> Object | None:
        reference = controller_of(pod)
        kinds = {
            "ReplicaSet": REPLICA_SETS,
            "StatefulSet": STATEFUL_SETS,
            "ReplicationController": REPLICATION_CONTROLLERS,
        }
        if reference is None or reference["kind"] not in kinds:
            return None
        owner = informers[kinds[reference["kind"]]].get(namespace, reference["name"])
        above = controller_of(owner) if owner is not None else None
        if above is not None and above["kind"] == "Deployment":
            return informers[DEPLOYMENTS].get(namespace, above["name"]) or owner
        return owner

    def reconcile(self, obj: Object, children: Children, now: float) -> Plan:
        return reconcile(obj, children, now)

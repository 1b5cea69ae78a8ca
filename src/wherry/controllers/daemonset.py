"""DaemonSet: one pod on every node that suits. https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/

The pods are bound by the scheduler, to which each is tied by an affinity on the node's name.
"""

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from wherry.client.informer import Informers, Key, key_of
from wherry.controllers import pods, revisions
from wherry.controllers.loop import Controller, Watch
from wherry.controllers.ownership import (
    candidates,
    claim,
    index_orphans,
    is_controlled_by,
    keys_of_claimants,
    keys_of_controller,
)
from wherry.controllers.plan import NORMAL, WARNING, Event, Plan
from wherry.controllers.taint_eviction import tolerates
from wherry.controllers.templates import scaled
from wherry.schema.builtin import CONTROLLER_REVISIONS, DAEMON_SETS, NODES, PODS
from wherry.schema.resource import Object
from wherry.schema.selectors import Selector, from_label_selector, node_selector_matches

GENERATION = "deprecated.daemonset.template.generation"
_TOLERATED = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)
_HOST_NETWORK_TOLERATED = ("node.kubernetes.io/network-unavailable", "NoSchedule")
_BURST = 250
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 900.0


@dataclass
class Children:
    pods: list[Object] = field(default_factory=list)
    nodes: list[Object] = field(default_factory=list)
    revisions: list[Object] = field(default_factory=list)
    paused: dict[str, float] = field(default_factory=dict)
    """Until when (epoch seconds) a failed daemon stays where it is, by node: one that fails again and again must not
    be replaced without end."""


def selector_of(daemon_set: Object) -> Selector:
    return from_label_selector(daemon_set["spec"].get("selector"))


def tolerations(spec: Object) -> list[Object]:
    """The pod's own tolerations and those that every daemon has."""
    found = list(spec.get("tolerations") or ())
    automatic = list(_TOLERATED)
    if spec.get("hostNetwork"):
        automatic.append(_HOST_NETWORK_TOLERATED)
    for key, effect in automatic:
        toleration = {"key": key, "operator": "Exists", "effect": effect}
        if toleration not in found:
            found.append(toleration)
    return found


def should_run(daemon_set: Object, node: Object) -> tuple[bool, bool]:
    """Whether a daemon should be started on `node`, and whether one that runs there may stay."""
    spec = daemon_set["spec"]["template"]["spec"]
    metadata = node["metadata"]
    if spec.get("nodeName") and spec["nodeName"] != metadata["name"]:
        return False, False
    labels = metadata.get("labels") or {}
    if not (spec.get("nodeSelector") or {}).items() <= labels.items():
        return False, False
    affinity = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    if not node_selector_matches(affinity, node):
        return False, False
    own = tolerations(spec)
    taints = (node.get("spec") or {}).get("taints") or ()
    untolerated = [taint for taint in taints if not any(tolerates(one, taint) for one in own)]
    start = not any(taint["effect"] in ("NoSchedule", "NoExecute") for taint in untolerated)
    stay = not any(taint["effect"] == "NoExecute" for taint in untolerated)
    return start, stay


def node_of(pod: Object) -> str:
    """The node that a daemon is on or tied to."""
    spec = pod["spec"]
    if spec.get("nodeName"):
        return str(spec["nodeName"])
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    for term in required.get("nodeSelectorTerms") or ():
        for one in term.get("matchFields") or ():
            if one["key"] == "metadata.name" and one["operator"] == "In" and len(one["values"]) == 1:
                return str(one["values"][0])
    return ""


def reconcile(daemon_set: Object, children: Children, now: float) -> Plan:
    plan = Plan()
    selector = selector_of(daemon_set)
    if selector.empty:
        plan.event(WARNING, "SelectingAll", "This daemon set is selecting all pods. A non-empty selector is required.")
        return plan
    mine = claim(daemon_set, selector, children.pods, PODS, plan)
    history = revisions.record(daemon_set, children.revisions, plan)
    by_node: dict[str, list[Object]] = {}
    for pod in sorted(mine, key=_age):
        if not (pods.is_finished(pod) and pods.is_terminating(pod)):
            by_node.setdefault(node_of(pod), []).append(pod)
    _Round(daemon_set, by_node, children, history, plan, now).run()
    return plan


def _age(pod: Object) -> tuple[bool, str, str]:
    """Scheduled ones first, then the oldest."""
    metadata = pod["metadata"]
    return not pod["spec"].get("nodeName"), metadata.get("creationTimestamp", ""), metadata["name"]


class _Round:
    def __init__(
        self,
        daemon_set: Object,
        by_node: dict[str, list[Object]],
        children: Children,
        history: revisions.History,
        plan: Plan,
        now: float,
    ) -> None:
        self.set = daemon_set
        self.spec = daemon_set["spec"]
        self.by_node = by_node
        self.nodes = {node["metadata"]["name"]: node for node in children.nodes}
        self.paused = children.paused
        self.history = history
        self.plan = plan
        self.now = now
        self.min_ready = self.spec.get("minReadySeconds", 0)
        self.created = 0
        self.deleted: set[str] = set()
        self.verdicts = {name: should_run(daemon_set, node) for name, node in self.nodes.items()}
        self.desired = sum(start for start, _ in self.verdicts.values())
        strategy = self.spec.get("updateStrategy") or {}
        self.rolling = strategy.get("type", "RollingUpdate") == "RollingUpdate"
        rolling = strategy.get("rollingUpdate") or {}
        self.max_surge = scaled(rolling.get("maxSurge"), self.desired, round_up=True, default=0)
        self.max_unavailable = scaled(rolling.get("maxUnavailable"), self.desired, round_up=True, default=1)
        if not self.max_surge and not self.max_unavailable:
            self.max_unavailable = 1

    def run(self) -> None:
        if not self.set["metadata"].get("deletionTimestamp"):
            for name in self.nodes:
                self._manage(name)
            for name, found in self.by_node.items():
                if name not in self.nodes and name:
                    for pod in found:
                        if not pod["spec"].get("nodeName"):
                            self._delete(pod, f"node {name} is gone")
            if self.rolling:
                self._update()
        self._status()
        labels = {str((pod["metadata"].get("labels") or {}).get(revisions.HASH_LABEL)) for pod in self._pods()}
        in_use = [
            one["metadata"]["name"]
            for one in self.history.revisions
            if (one["metadata"].get("labels") or {}).get(revisions.HASH_LABEL) in labels
        ]
        revisions.prune(self.history, in_use, self.spec.get("revisionHistoryLimit", 10), self.plan)

    def _pods(self) -> Iterable[Object]:
        return (pod for found in self.by_node.values() for pod in found)

    def _manage(self, name: str) -> None:
        start, stay = self.verdicts[name]
        found = self.by_node.get(name, [])
        living = [pod for pod in found if not pods.is_terminating(pod)]
        if start and not found:
            self._create(name)
            return
        if not stay:
            for pod in living:
                self._delete(pod, f"it should not run on {name}")
            return
        running = []
        for pod in living:
            if pods.is_finished(pod):
                message = f"Found failed daemon pod {self._full_name(pod)} on node {name}, will try to kill it"
                if pods.phase(pod) == "Failed":
                    if (until := self.paused.get(name, 0.0)) > self.now:
                        self.plan.again_in(until - self.now)
                        self.plan.because(f"the failed daemon on {name} stays for {until - self.now:.0f} s")
                        continue
                    self.plan.event(WARNING, "FailedDaemonPod", message)
                else:
                    message = f"Found succeeded daemon pod {self._full_name(pod)} on node {name}, will try to delete it"
                    self.plan.event(NORMAL, "SucceededDaemonPod", message)
                self._delete(pod, "it has ended")
            else:
                running.append(pod)
        # During a surge the oldest of each revision share the node; otherwise the oldest stays alone.
        kept: set[bool] = set()
        for pod in running:
            kind = self._is_new(pod) if self.max_surge else True
            if kind in kept:
                self._delete(pod, f"{name} has another")
            kept.add(kind)

    def _full_name(self, pod: Object) -> str:
        return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"

    def _is_new(self, pod: Object) -> bool:
        label = (pod["metadata"].get("labels") or {}).get(revisions.HASH_LABEL)
        return bool(label == self.history.update_hash)

    def _is_available(self, pod: Object) -> bool:
        wait = pods.available_in(pod, self.min_ready, self.now)
        if 0 < wait < float("inf"):
            self.plan.again_in(wait)
        return wait == 0 and not pods.is_terminating(pod)

    def _update(self) -> None:
        """Replace old pods: within maxUnavailable, or one beside the other within maxSurge."""
        unavailable = surging = 0
        old: list[tuple[bool, Object]] = []
        to_surge: list[str] = []
        for name, (start, _) in self.verdicts.items():
            if not start:
                continue
            found = [pod for pod in self.by_node.get(name, ()) if pod["metadata"]["uid"] not in self.deleted]
            living = [pod for pod in found if not pods.is_terminating(pod)]
            new = [pod for pod in living if self._is_new(pod)]
            stale = [pod for pod in living if not self._is_new(pod)]
            available = any(self._is_available(pod) for pod in living)
            unavailable += not available
            if self.max_surge:
                surging += bool(new and stale)
                if stale and new and self._is_available(new[0]):
                    self._delete(stale[0], "its successor is available")
                elif stale and not new:
                    if self._is_available(stale[0]):
                        to_surge.append(name)
                    else:
                        self._delete(stale[0], "it is old and not available")
            elif stale and not new:
                old.append((self._is_available(stale[0]), stale[0]))
        for name in to_surge[: max(self.max_surge - surging, 0)]:
            self._create(name)
        room = self.max_unavailable - unavailable
        for available, pod in old:
            if not available:
                self._delete(pod, "it is old and not available")
            elif room > 0:
                room -= 1
                self._delete(pod, "it is old")

    def _create(self, node: str) -> None:
        if self.created >= _BURST:
            self.plan.again_in(0)
            return
        self.created += 1
        template = self.spec["template"]
        pod = pods.from_template(template, self.set)
        labels = pod["metadata"].setdefault("labels", {})
        labels[revisions.HASH_LABEL] = self.history.update_hash
        labels["pod-template-generation"] = str(self.set["metadata"].get("generation", 1))
        spec = copy.deepcopy(pod["spec"])
        spec["tolerations"] = tolerations(spec)
        affinity = spec.setdefault("affinity", {}).setdefault("nodeAffinity", {})
        field = {"key": "metadata.name", "operator": "In", "values": [node]}
        required = affinity.setdefault("requiredDuringSchedulingIgnoredDuringExecution", {"nodeSelectorTerms": [{}]})
        # The terms of the template have been checked against the node already: any one of them may be tied to it.
        required["nodeSelectorTerms"] = [
            {"matchFields": [field]} if not term else term | {"matchFields": [field]}
            for term in required["nodeSelectorTerms"]
        ]
        pod["spec"] = spec
        self.plan.create(
            PODS,
            pod,
            Event(NORMAL, "SuccessfulCreate", "Created pod: {name}"),
            Event(WARNING, "FailedCreate", "Error creating: {error}"),
        )
        self.plan.because(f"node {node} has no daemon of this revision")

    def _delete(self, pod: Object, why: str) -> None:
        uid = pod["metadata"]["uid"]
        if uid in self.deleted or pods.is_terminating(pod):
            return
        self.deleted.add(uid)
        self.plan.delete(
            PODS,
            pod,
            Event(NORMAL, "SuccessfulDelete", "Deleted pod: {name}"),
            Event(WARNING, "FailedDelete", "Error deleting: {error}"),
        )
        self.plan.because(f"delete {pod['metadata']['name']}: {why}")

    def _status(self) -> None:
        current = misscheduled = ready = available = updated = 0
        for name, (start, _) in self.verdicts.items():
            found = self.by_node.get(name)
            if not start:
                misscheduled += bool(found)
                continue
            if not found:
                continue
            current += 1
            # The oldest speaks for the node: beside an old pod, a new one does not count as the node's yet.
            oldest = found[0]
            ready += pods.is_ready(oldest)
            available += pods.is_available(oldest, self.min_ready, self.now)
            updated += self._is_new(oldest)
        status: Object = {
            "currentNumberScheduled": current,
            "numberMisscheduled": misscheduled,
            "desiredNumberScheduled": self.desired,
            "numberReady": ready,
            "observedGeneration": self.set["metadata"].get("generation", 0),
        }
        unavailable = self.desired - available
        for name, count in (
            ("updatedNumberScheduled", updated),
            ("numberAvailable", available),
            ("numberUnavailable", unavailable),
        ):
            if count:
                status[name] = count
        old = self.set.get("status") or {}
        for name in ("collisionCount", "conditions"):
            if name in old:
                status[name] = old[name]
        self.plan.status = status


def _node_matters(old: Object, new: Object) -> bool:
    def footprint(node: Object) -> tuple[object, ...]:
        spec = node.get("spec") or {}
        return node["metadata"].get("labels"), spec.get("taints"), spec.get("unschedulable")

    return footprint(old) != footprint(new)


def _all_sets(node: Object, informers: Informers) -> Iterable[Key]:
    return [key_of(one) for one in informers[DAEMON_SETS]]


class DaemonSetController(Controller):
    name = "daemonset-controller"
    resource = DAEMON_SETS
    watches = (
        Watch(PODS, keys_of_claimants(DAEMON_SETS, selector_of)),
        Watch(NODES, _all_sets, _node_matters),
        Watch(CONTROLLER_REVISIONS, keys_of_controller(DAEMON_SETS)),
    )

    def __init__(self) -> None:
        self._failures: dict[tuple[str, str], tuple[str, float, float]] = {}

    def setup(self, informers: Informers) -> None:
        index_orphans(informers[PODS])

    def gather(self, obj: Object, informers: Informers) -> Children:
        history = informers[CONTROLLER_REVISIONS].by_index("owner", obj["metadata"]["uid"])
        return Children(
            candidates(obj, informers[PODS], selector_of(obj)),
            informers[NODES].items(),
            [one for one in history if is_controlled_by(one, obj)],
        )

    def reconcile(self, obj: Object, children: Children, now: float) -> Plan:
        children.paused = self._pauses(obj, children.pods, now)
        return reconcile(obj, children, now)

    def _pauses(self, obj: Object, found: list[Object], now: float) -> dict[str, float]:
        """The first failed daemon of a node goes at once, the next after a second, and so on, doubling."""
        pauses = {}
        for pod in found:
            if pods.phase(pod) != "Failed" or pods.is_terminating(pod):
                continue
            node, uid = node_of(pod), pod["metadata"]["uid"]
            key = (obj["metadata"]["uid"], node)
            last, at, pause = self._failures.get(key, ("", -math.inf, 0.0))
            if last != uid:
                forgotten = now - at > 2 * _LONGEST_PAUSE
                pause = 0.0 if not last or forgotten else min(max(pause * 2, _FIRST_PAUSE), _LONGEST_PAUSE)
                at = now
                self._failures[key] = (uid, at, pause)
            pauses[node] = at + pause
        return pauses

    def gone(self, key: Key, informers: Informers, now: float) -> None:
        sets = {one["metadata"]["uid"] for one in informers[DAEMON_SETS]}
        for failure in [one for one in self._failures if one[0] not in sets]:
            del self._failures[failure]

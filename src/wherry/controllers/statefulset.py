"""StatefulSet: pods with names and storage of their own, in order.

https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/. With the policy OrderedReady one thing happens
at a time: nothing is created or deleted while another pod is not yet ready or not yet gone. A pod's name is unique in
the API, so two pods of one ordinal never exist together.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from wherry.client.informer import Informers, Key
from wherry.controllers import pods, revisions
from wherry.controllers.loop import Controller, Watch
from wherry.controllers.ownership import (
    candidates,
    claim,
    index_orphans,
    is_controlled_by,
    keys_of_claimants,
    keys_of_controller,
    owner_reference,
)
from wherry.controllers.plan import NORMAL, WARNING, Event, Plan
from wherry.controllers.templates import scaled
from wherry.schema.builtin import CONTROLLER_REVISIONS, PERSISTENT_VOLUME_CLAIMS, PODS, STATEFUL_SETS
from wherry.schema.resource import Object
from wherry.schema.selectors import Selector, from_label_selector

POD_NAME = "statefulset.kubernetes.io/pod-name"
POD_INDEX = "apps.kubernetes.io/pod-index"


@dataclass
class Children:
    """`claims`: PersistentVolumeClaims of the namespace by name, as far as they may belong to the set."""

    pods: list[Object] = field(default_factory=list)
    revisions: list[Object] = field(default_factory=list)
    claims: dict[str, Object] = field(default_factory=dict)


def selector_of(stateful_set: Object) -> Selector:
    return from_label_selector(stateful_set["spec"].get("selector"))


def ordinal_of(stateful_set: Object, pod: Object) -> int | None:
    """The number at the end of the pod's name; None where the name is not one of this set's."""
    prefix, _, number = pod["metadata"]["name"].rpartition("-")
    if prefix != stateful_set["metadata"]["name"] or not number.isdigit():
        return None
    return int(number)


def claim_name(template: Object, stateful_set: Object, ordinal: int) -> str:
    return f"{template['metadata']['name']}-{stateful_set['metadata']['name']}-{ordinal}"


def reconcile(stateful_set: Object, children: Children, now: float) -> Plan:
    plan = Plan()
    selector = selector_of(stateful_set)
    if selector.empty or selector.nothing:
        return plan
    named = [pod for pod in children.pods if ordinal_of(stateful_set, pod) is not None]
    mine = claim(stateful_set, selector, named, PODS, plan)
    history = revisions.record(stateful_set, children.revisions, plan)
    _Round(stateful_set, mine, history, children, plan, now).run()
    return plan


class _Round:
    def __init__(
        self,
        stateful_set: Object,
        mine: list[Object],
        history: revisions.History,
        children: Children,
        plan: Plan,
        now: float,
    ) -> None:
        self.set = stateful_set
        self.spec = stateful_set["spec"]
        self.old = stateful_set.get("status") or {}
        self.name = stateful_set["metadata"]["name"]
        self.history = history
        self.children = children
        self.plan = plan
        self.now = now
        self.min_ready = self.spec.get("minReadySeconds", 0)
        self.start: int = (self.spec.get("ordinals") or {}).get("start", 0)
        self.replicas: int = self.spec.get("replicas", 1)
        self.ordered = self.spec.get("podManagementPolicy", "OrderedReady") == "OrderedReady"
        strategy = self.spec.get("updateStrategy") or {}
        self.rolling = strategy.get("type", "RollingUpdate") == "RollingUpdate"
        rolling = strategy.get("rollingUpdate") or {}
        self.partition: int = rolling.get("partition", 0)
        self.max_unavailable: int | None = None
        if rolling.get("maxUnavailable") is not None:
            self.max_unavailable = max(scaled(rolling["maxUnavailable"], self.replicas, round_up=True), 1)
        current = self.old.get("currentRevision")
        self.current = current if current in history.templates else history.update
        self.by_ordinal = {ordinal: pod for pod in mine if (ordinal := ordinal_of(stateful_set, pod)) is not None}

    def run(self) -> None:
        if not self.set["metadata"].get("deletionTimestamp"):
            self._keep_claims()
            self._act()
        self._status()
        in_use = [self._revision(pod) for pod in self.by_ordinal.values()]
        revisions.prune(self.history, [*in_use, self.current], self.spec.get("revisionHistoryLimit", 10), self.plan)

    @property
    def wanted(self) -> range:
        return range(self.start, self.start + self.replicas)

    def _act(self) -> None:
        for ordinal in self.wanted:
            if self._attend(ordinal) and self.ordered:
                return
        condemned = sorted((one for one in self.by_ordinal if one not in self.wanted), reverse=True)
        for ordinal in condemned:
            pod = self.by_ordinal[ordinal]
            if pods.is_terminating(pod):
                if self.ordered:
                    self.plan.because(f"waiting for {pod['metadata']['name']} to go")
                    return
                continue
            if self.ordered and not self._is_healthy(pod) and self._others_unhealthy(ordinal):
                self.plan.because(f"waiting for other pods before {pod['metadata']['name']} is removed")
                return
            self._delete(pod, "beyond the wanted replicas")
            if self.ordered:
                return
        if self.rolling:
            if rolling_limit := self.max_unavailable:
                self._update_within(rolling_limit)
            else:
                self._update()

    def _attend(self, ordinal: int) -> bool:
        """See to one wanted pod; True if it is not healthy (yet)."""
        pod = self.by_ordinal.get(ordinal)
        if pod is None:
            self._create(ordinal)
            return True
        name = pod["metadata"]["name"]
        if pods.is_terminating(pod):
            self.plan.because(f"waiting for {name} to go before it is made again")
            return True
        if pods.is_finished(pod):
            self._delete(pod, "it has ended")
            return True
        if not pod["spec"].get("nodeName"):
            self._create_claims(ordinal)
        if not self._is_healthy(pod):
            self.plan.because(f"waiting for {name} to be ready")
            return True
        wait = pods.available_in(pod, self.min_ready, self.now)
        if wait > 0:
            self.plan.again_in(wait)
            return True
        return False

    def _is_healthy(self, pod: Object) -> bool:
        return pods.phase(pod) == "Running" and pods.is_ready(pod) and not pods.is_terminating(pod)

    def _others_unhealthy(self, ordinal: int) -> bool:
        return any(not self._is_healthy(pod) for other, pod in self.by_ordinal.items() if other < ordinal)

    def _update(self) -> None:
        """Replace the last pod of another revision, down to the partition, once all behind it are healthy."""
        for ordinal in reversed(self.wanted):
            if ordinal < self.start + self.partition:
                return
            pod = self.by_ordinal.get(ordinal)
            if pod is None:
                return
            if self._revision(pod) != self.history.update and not pods.is_terminating(pod):
                if not self._is_leaving(pod):
                    self._delete(pod, f"it has revision {self._revision(pod)}, {self.history.update} is wanted")
                return
            if not self._is_healthy(pod):
                self.plan.because(f"the update waits for {pod['metadata']['name']} to be ready")
                return

    def _is_leaving(self, pod: Object) -> bool:
        """Whether this round deletes it already."""
        return any(getattr(step, "target", None) is pod for step in self.plan.steps)

    def _update_within(self, limit: int) -> None:
        """Replace pods of other revisions, from the last to the partition, `limit` of them at a time."""
        unavailable = sum(
            not self._is_healthy(pod) or not pods.is_available(pod, self.min_ready, self.now)
            for ordinal in self.wanted
            if (pod := self.by_ordinal.get(ordinal)) is not None
        )
        for ordinal in reversed(self.wanted):
            if ordinal < self.start + self.partition:
                return
            pod = self.by_ordinal.get(ordinal)
            if pod is None or pods.is_terminating(pod):
                if self.ordered:
                    return
                continue
            if self._revision(pod) == self.history.update or self._is_leaving(pod):
                continue
            if unavailable >= limit and self._is_healthy(pod):
                # One that is not healthy may still go: that costs nothing, and else it could hold up the update.
                continue
            self._delete(pod, f"it has revision {self._revision(pod)}, {self.history.update} is wanted")
            unavailable += self._is_healthy(pod)

    def _revision(self, pod: Object) -> str:
        return str((pod["metadata"].get("labels") or {}).get(revisions.HASH_LABEL, ""))

    # Pods and claims.

    def _create(self, ordinal: int) -> None:
        revision = self.history.update
        if self.current != self.history.update and self.rolling:
            strategy = (self.spec.get("updateStrategy") or {}).get("rollingUpdate")
            kept = self.partition if strategy is not None else self.old.get("currentReplicas", 0)
            if ordinal < self.start + kept:
                revision = self.current
        template = self.history.templates[revision]
        name = f"{self.name}-{ordinal}"
        pod = pods.from_template(template, self.set, name=name)
        labels = pod["metadata"].setdefault("labels", {})
        labels |= {POD_NAME: name, POD_INDEX: str(ordinal), revisions.HASH_LABEL: revision}
        spec = dict(pod["spec"]) | {"hostname": name}
        if self.spec.get("serviceName"):
            spec["subdomain"] = self.spec["serviceName"]
        own = {one["metadata"]["name"] for one in self.spec.get("volumeClaimTemplates") or ()}
        volumes = [one for one in spec.get("volumes") or () if one["name"] not in own]
        volumes += [
            {
                "name": one["metadata"]["name"],
                "persistentVolumeClaim": {"claimName": claim_name(one, self.set, ordinal)},
            }
            for one in self.spec.get("volumeClaimTemplates") or ()
        ]
        if volumes:
            spec["volumes"] = volumes
        pod["spec"] = spec
        if stale := self._stale_claim(ordinal):
            self.plan.because(f"waiting for the claim {stale} of an earlier {name} to go")
            return
        self._create_claims(ordinal)
        self.plan.create(
            PODS,
            pod,
            Event(NORMAL, "SuccessfulCreate", f"create Pod {name} in StatefulSet {self.name} successful"),
            Event(WARNING, "FailedCreate", f"create Pod {name} in StatefulSet {self.name} failed error: {{error}}"),
        )
        self.plan.because(f"create {name}")

    def _stale_claim(self, ordinal: int) -> str:
        """A claim that goes with an earlier pod of this name (whenScaled: Delete): a new pod must not take it."""
        policy = self.spec.get("persistentVolumeClaimRetentionPolicy") or {}
        if policy.get("whenScaled") != "Delete":
            return ""
        for template in self.spec.get("volumeClaimTemplates") or ():
            name = claim_name(template, self.set, ordinal)
            metadata = self.children.claims.get(name, {}).get("metadata") or {}
            owners = metadata.get("ownerReferences") or ()
            if any((one["kind"], one["name"]) == ("Pod", f"{self.name}-{ordinal}") for one in owners):
                return name
        return ""

    def _create_claims(self, ordinal: int) -> None:
        for template in self.spec.get("volumeClaimTemplates") or ():
            name = claim_name(template, self.set, ordinal)
            if name in self.children.claims:
                continue
            selector = (self.spec.get("selector") or {}).get("matchLabels") or {}
            source = template["metadata"]
            metadata: Object = {
                "name": name,
                "namespace": self.set["metadata"]["namespace"],
                "labels": dict(source.get("labels") or {}) | selector,
            }
            if source.get("annotations"):
                metadata["annotations"] = source["annotations"]
            if owners := self._claim_owners(ordinal):
                metadata["ownerReferences"] = owners
            claim = {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": metadata,
                "spec": template["spec"],
            }
            pod = f"{self.name}-{ordinal}"
            what = f"create Claim {name} Pod {pod} in StatefulSet {self.name}"
            self.plan.create(
                PERSISTENT_VOLUME_CLAIMS,
                claim,
                Event(NORMAL, "SuccessfulCreate", f"{what} success"),
                Event(WARNING, "FailedCreate", f"{what} failed error: {{error}}"),
                may_exist=True,
            )

    def _claim_owners(self, ordinal: int) -> list[Object]:
        """Who takes the claim along when going, by persistentVolumeClaimRetentionPolicy."""
        policy = self.spec.get("persistentVolumeClaimRetentionPolicy") or {}
        owners = []
        if policy.get("whenDeleted") == "Delete":
            owners.append(owner_reference(self.set))
        pod = self.by_ordinal.get(ordinal)
        if policy.get("whenScaled") == "Delete" and ordinal not in self.wanted and pod is not None:
            owners = [owner_reference(pod, controller=False)]
        return owners

    def _keep_claims(self) -> None:
        """Owner references of existing claims follow the retention policy."""
        for template in self.spec.get("volumeClaimTemplates") or ():
            for ordinal in self.by_ordinal:
                existing = self.children.claims.get(claim_name(template, self.set, ordinal))
                if existing is None:
                    continue
                references = existing["metadata"].get("ownerReferences") or []
                ours = {self.set["metadata"]["uid"], self.by_ordinal[ordinal]["metadata"]["uid"]}
                foreign = [one for one in references if one["uid"] not in ours]
                wanted = foreign + self._claim_owners(ordinal)
                if [one["uid"] for one in wanted] != [one["uid"] for one in references]:
                    patch = {"metadata": {"ownerReferences": wanted or None}}
                    self.plan.patch(PERSISTENT_VOLUME_CLAIMS, existing, patch)

    def _delete(self, pod: Object, why: str) -> None:
        name = pod["metadata"]["name"]
        self.plan.delete(
            PODS,
            pod,
            Event(NORMAL, "SuccessfulDelete", f"delete Pod {name} in StatefulSet {self.name} successful"),
            Event(WARNING, "FailedDelete", f"delete Pod {name} in StatefulSet {self.name} failed error: {{error}}"),
        )
        self.plan.because(f"delete {name}: {why}")

    # Status.

    def _status(self) -> None:
        counts = dict.fromkeys(
            ("replicas", "readyReplicas", "availableReplicas", "currentReplicas", "updatedReplicas"), 0
        )
        for pod in self.by_ordinal.values():
            counts["replicas"] += 1
            if pods.phase(pod) == "Running" and pods.is_ready(pod):
                counts["readyReplicas"] += 1
                counts["availableReplicas"] += pods.is_available(pod, self.min_ready, self.now)
            if not pods.is_terminating(pod):
                counts["currentReplicas"] += self._revision(pod) == self.current
                counts["updatedReplicas"] += self._revision(pod) == self.history.update
        current = self.current
        complete = counts["updatedReplicas"] == counts["replicas"] == counts["readyReplicas"] == self.replicas
        if self.rolling and complete:
            current = self.history.update
            counts["currentReplicas"] = counts["updatedReplicas"]
        status: Object = {
            name: count for name, count in counts.items() if count or name in ("replicas", "availableReplicas")
        }
        status |= {
            "observedGeneration": self.set["metadata"].get("generation", 0),
            "currentRevision": current,
            "updateRevision": self.history.update,
            "collisionCount": self.old.get("collisionCount", 0),
        }
        if self.old.get("conditions"):
            status["conditions"] = self.old["conditions"]
        self.plan.status = status


def _keys_of_claim(obj: Object, informers: Informers) -> Iterable[Key]:
    """A claim that is gone must come back before its pod can start."""
    namespace, name = obj["metadata"]["namespace"], obj["metadata"]["name"]
    for one in informers[STATEFUL_SETS].items(namespace):
        prefixes = (
            f"{template['metadata']['name']}-{one['metadata']['name']}-"
            for template in one["spec"].get("volumeClaimTemplates") or ()
        )
        if any(name.startswith(prefix) for prefix in prefixes):
            yield namespace, one["metadata"]["name"]


class StatefulSetController(Controller):
    name = "statefulset-controller"
    resource = STATEFUL_SETS
    watches = (
        Watch(PODS, keys_of_claimants(STATEFUL_SETS, selector_of)),
        Watch(CONTROLLER_REVISIONS, keys_of_controller(STATEFUL_SETS)),
        Watch(PERSISTENT_VOLUME_CLAIMS, _keys_of_claim, lambda old, new: False),
    )

    def setup(self, informers: Informers) -> None:
        index_orphans(informers[PODS])

    def gather(self, obj: Object, informers: Informers) -> Children:
        metadata = obj["metadata"]
        claims: dict[str, Object] = {}
        if obj["spec"].get("volumeClaimTemplates"):
            found = informers[PERSISTENT_VOLUME_CLAIMS].items(metadata["namespace"])
            claims = {one["metadata"]["name"]: one for one in found}
        history = informers[CONTROLLER_REVISIONS].by_index("owner", metadata["uid"])
        return Children(
            candidates(obj, informers[PODS], selector_of(obj)),
            [one for one in history if is_controlled_by(one, obj)],
            claims,
        )

    def reconcile(self, obj: Object, children: Children, now: float) -> Plan:
        return reconcile(obj, children, now)

"""Deployment: roll from one ReplicaSet to the next. https://kubernetes.io/docs/concepts/workloads/controllers/deployment/

One ReplicaSet per distinct pod template; the *new* one has the Deployment's template, all others are *old*.
Each round does one kind of thing (create, scale up, scale down, clean up) and then writes the status; the change
that it caused brings the next round. Conditions and their reasons are those that `kubectl rollout status` reads.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from wherry.client.clock import format_time, parse_time, parse_time_or
from wherry.client.informer import Informers, Key
from wherry.controllers import conditions, pods
from wherry.controllers.loop import Controller, Watch
from wherry.controllers.ownership import (
    candidates,
    claim,
    controller_of,
    index_orphans,
    is_controlled_by,
    keys_of_claimants,
    owner_reference,
)
from wherry.controllers.plan import NORMAL, WARNING, Event, Plan
from wherry.controllers.templates import POD_TEMPLATE_HASH, plain_template, safe_hash, same_template, scaled
from wherry.schema.builtin import DEPLOYMENTS, PODS, REPLICA_SETS
from wherry.schema.resource import Object
from wherry.schema.selectors import Selector, from_label_selector

REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAX_REPLICAS = "deployment.kubernetes.io/max-replicas"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_OWN_ANNOTATIONS = frozenset(
    {LAST_APPLIED, REVISION, REVISION_HISTORY, DESIRED, MAX_REPLICAS, "deprecated.deployment.rollback.to"}
)
_HISTORY_CHARACTERS = 2000
# progressDeadlineSeconds of "no deadline".
_NO_DEADLINE = 2**31 - 1


@dataclass
class Children:
    """`replica_sets`: owned ones and orphans that match; `old_pods`: pods of each (by UID), for Recreate only;
    `namesake`: a ReplicaSet of the name that the next one would get."""

    replica_sets: list[Object] = field(default_factory=list)
    pods: dict[str, list[Object]] = field(default_factory=dict)
    namesake: Object | None = None


def selector_of(deployment: Object) -> Selector:
    return from_label_selector(deployment["spec"].get("selector"))


def template_hash(deployment: Object) -> str:
    collisions = (deployment.get("status") or {}).get("collisionCount")
    return safe_hash(plain_template(deployment["spec"]["template"]), collisions)


def replica_set_name(deployment: Object) -> str:
    return f"{deployment['metadata']['name']}-{template_hash(deployment)}"


def reconcile(deployment: Object, children: Children, now: float) -> Plan:
    plan = Plan()
    selector = selector_of(deployment)
    if selector.empty:
        plan.event(WARNING, "SelectingAll", "This deployment is selecting all pods. A non-empty selector is required.")
        return plan
    owned = claim(deployment, selector, children.replica_sets, REPLICA_SETS, plan)
    _Round(deployment, owned, children, plan, now).run()
    return plan


class _Round:
    """One reconcile: the state that its steps share."""

    def __init__(self, deployment: Object, owned: list[Object], children: Children, plan: Plan, now: float) -> None:
        self.deployment = deployment
        self.spec = deployment["spec"]
        self.old_status = deployment.get("status") or {}
        self.conditions = list(self.old_status.get("conditions") or ())
        self.plan = plan
        self.now = now
        self.children = children
        self.replicas: int = self.spec.get("replicas", 1)
        strategy = self.spec.get("strategy") or {}
        self.rolling = strategy.get("type", "RollingUpdate") == "RollingUpdate"
        rolling = strategy.get("rollingUpdate") or {}
        self.max_surge = self.max_unavailable = 0
        if self.rolling:
            self.max_surge = scaled(rolling.get("maxSurge"), self.replicas, round_up=True, default="25%")
            self.max_unavailable = scaled(rolling.get("maxUnavailable"), self.replicas, round_up=False, default="25%")
            if self.max_surge == 0 and self.max_unavailable == 0:
                # Rounding must not make a rollout impossible.
                self.max_unavailable = 1
            self.max_unavailable = min(self.max_unavailable, self.replicas)
        ordered = sorted(owned, key=_age)
        template = self.spec["template"]
        self.new = next((one for one in ordered if same_template(one["spec"]["template"], template)), None)
        self.old = [one for one in ordered if one is not self.new]
        self.all = [*self.old, *([self.new] if self.new else [])]
        self.made = ""

    # The course of a round.

    def run(self) -> None:
        if self.deployment["metadata"].get("deletionTimestamp"):
            self._write_status(progress=False)
            return
        self._note_pause()
        if self.spec.get("paused") or self._is_scaling():
            if self.new is not None:
                self._refresh_new()
            self._scale()
            if self.spec.get("paused"):
                self._clean_up()
            self._write_status(progress=False)
            return
        done = self._roll() if self.rolling else self._recreate()
        if done and self._is_complete(self._counts()):
            self._clean_up()
        self._write_status(progress=True)

    def _roll(self) -> bool:
        """One step of a rolling update; True when there was nothing left to scale."""
        if self.new is None:
            self._create_new()
            return False
        self._refresh_new()
        size = _size(self.new)
        wanted = self._new_size(size)
        if size > self.replicas:
            self._resize(self.new, self.replicas)
            return False
        if wanted != size:
            self._resize(self.new, wanted)
            return False
        return not self._shrink_old()

    def _recreate(self) -> bool:
        """One step of Recreate: all old pods go before the first new one comes."""
        active = [one for one in self.old if _size(one) > 0]
        for one in active:
            self._resize(one, 0)
        if active:
            return False
        for one in self.old:
            left = [pod for pod in self.children.pods.get(one["metadata"]["uid"], ()) if not pods.is_finished(pod)]
            if left:
                self.plan.because(f"waiting for {len(left)} old pods of {one['metadata']['name']} to go")
                return False
        if self.new is None:
            self._create_new()
            return False
        self._refresh_new()
        if _size(self.new) != self.replicas:
            self._resize(self.new, self.replicas)
            return False
        return True

    # Making and naming the new ReplicaSet.

    def _create_new(self) -> None:
        deployment, metadata = self.deployment, self.deployment["metadata"]
        digest = template_hash(deployment)
        name = replica_set_name(deployment)
        if self.children.namesake is not None:
            if is_controlled_by(self.children.namesake, deployment) and same_template(
                self.children.namesake["spec"]["template"], self.spec["template"]
            ):
                return
            self.plan.because(f"replica set {name} is taken by another template: hash again")
            self.old_status = self.old_status | {"collisionCount": self.old_status.get("collisionCount", 0) + 1}
            return
        template = plain_template(self.spec["template"])
        labels = template["metadata"].setdefault("labels", {})
        labels[POD_TEMPLATE_HASH] = digest
        selector = self.spec.get("selector") or {}
        size = self._new_size(0)
        revision = str(self._next_revision())
        spec: Object = {
            "replicas": size,
            "selector": selector
            | {"matchLabels": dict(selector.get("matchLabels") or {}) | {POD_TEMPLATE_HASH: digest}},
            "template": template,
        }
        if self.spec.get("minReadySeconds"):
            spec["minReadySeconds"] = self.spec["minReadySeconds"]
        replica_set = {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": name,
                "namespace": metadata["namespace"],
                "labels": dict(labels),
                "annotations": self._copied_annotations() | self._size_annotations() | {REVISION: revision},
                "ownerReferences": [owner_reference(deployment)],
            },
            "spec": spec,
        }
        done = Event(NORMAL, "ScalingReplicaSet", f"Scaled up replica set {name} from 0 to {size}") if size else None
        failed = Event(WARNING, "ReplicaSetCreateError", f'Failed to create new replica set "{name}": {{error}}')
        self.plan.create(REPLICA_SETS, replica_set, done, failed)
        self.made = name
        self.plan.because(f"no replica set has this template: create {name} with {size} of {self.replicas} replicas")
        self._tell_revision(revision)
        if self._deadline is not None:
            message = f'Created new replica set "{name}"'
            self._put("Progressing", "True", "NewReplicaSetCreated", message)
            failure = f'Failed to create new replica set "{name}": {{error}}'
            self._failed_conditions = self._with("Progressing", "False", "ReplicaSetCreateError", failure)

    def _refresh_new(self) -> None:
        """Annotations, minReadySeconds and revision of the new ReplicaSet follow the Deployment."""
        assert self.new is not None
        metadata = self.new["metadata"]
        annotations = dict(metadata.get("annotations") or {})
        wanted = annotations | self._copied_annotations()
        revision = _revision(self.new)
        if self._next_revision() > revision:
            if revision:
                past = [one for one in annotations.get(REVISION_HISTORY, "").split(",") if one] + [str(revision)]
                while len(",".join(past)) > _HISTORY_CHARACTERS:
                    past.pop(0)
                wanted[REVISION_HISTORY] = ",".join(past)
            wanted[REVISION] = str(self._next_revision())
        min_ready = self.spec.get("minReadySeconds", 0)
        patch: Object = {}
        if wanted != annotations:
            patch["metadata"] = {"annotations": wanted}
        if min_ready != self.new["spec"].get("minReadySeconds", 0):
            patch["spec"] = {"minReadySeconds": min_ready}
        if patch:
            self.plan.patch(REPLICA_SETS, self.new, patch)
            self.plan.because(f"replica set {metadata['name']} takes over annotations and revision")
        self._tell_revision(wanted.get(REVISION, ""))
        if self._deadline is not None and conditions.get(self.old_status, "Progressing") is None:
            self._put("Progressing", "True", "FoundNewReplicaSet", f'Found new replica set "{metadata["name"]}"')

    def _next_revision(self) -> int:
        return max((_revision(one) for one in self.old), default=0) + 1

    def _tell_revision(self, revision: str) -> None:
        annotations = self.deployment["metadata"].get("annotations") or {}
        if revision and annotations.get(REVISION) != revision:
            self.plan.patch(DEPLOYMENTS, self.deployment, {"metadata": {"annotations": {REVISION: revision}}})

    def _copied_annotations(self) -> dict[str, str]:
        annotations = self.deployment["metadata"].get("annotations") or {}
        return {name: value for name, value in annotations.items() if name not in _OWN_ANNOTATIONS}

    def _size_annotations(self) -> dict[str, str]:
        return {DESIRED: str(self.replicas), MAX_REPLICAS: str(self.replicas + self.max_surge)}

    # Scaling.

    def _new_size(self, current: int) -> int:
        """How many replicas the new ReplicaSet may have now."""
        if not self.rolling:
            return self.replicas
        room = self.replicas + self.max_surge - sum(_size(one) for one in self.all)
        if room <= 0:
            return current
        return current + min(room, max(self.replicas - current, 0))

    def _is_scaling(self) -> bool:
        """Whether spec.replicas has changed since the active ReplicaSets were last sized."""
        for one in self.all:
            desired = (one["metadata"].get("annotations") or {}).get(DESIRED)
            if _size(one) > 0 and desired is not None and desired != str(self.replicas):
                return True
        return False

    def _resize(self, replica_set: Object, size: int) -> None:
        old = _size(replica_set)
        annotations = replica_set["metadata"].get("annotations") or {}
        wanted = self._size_annotations()
        if old == size and wanted.items() <= annotations.items():
            return
        name = replica_set["metadata"]["name"]
        done = None
        if old != size:
            direction = "up" if size > old else "down"
            message = f"Scaled {direction} replica set {name} from {old} to {size}"
            done = Event(NORMAL, "ScalingReplicaSet", message)
            self.plan.because(f"scale {direction} {name} from {old} to {size}")
        patch = {"metadata": {"annotations": wanted}, "spec": {"replicas": size}}
        self.plan.patch(REPLICA_SETS, replica_set, patch, check_version=True, done=done)

    def _scale(self) -> None:
        """Spread a changed replica count, while paused or in the middle of a rollout."""
        active = [one for one in self.all if _size(one) > 0]
        if len(active) <= 1:
            target = active[0] if active else (self.new or (self.old[-1] if self.old else None))
            if target is not None:
                self._resize(target, self.replicas)
            return
        if self.new is not None and self._is_saturated(self.new):
            for one in self.old:
                if _size(one) > 0:
                    self._resize(one, 0)
            return
        if self.rolling:
            self._scale_proportionally(active)

    def _is_saturated(self, replica_set: Object) -> bool:
        desired = (replica_set["metadata"].get("annotations") or {}).get(DESIRED)
        available = (replica_set.get("status") or {}).get("availableReplicas", 0)
        return desired == str(self.replicas) and _size(replica_set) == self.replicas == available

    def _scale_proportionally(self, active: list[Object]) -> None:
        total = sum(_size(one) for one in active)
        allowed = self.replicas + self.max_surge if self.replicas > 0 else 0
        to_add = allowed - total
        # Grow the newest first, shrink the oldest first; the largest takes what rounding leaves over.
        if to_add > 0:
            ordered = sorted(active, key=lambda one: (-_size(one), *_reversed_age(one)))
        else:
            ordered = sorted(active, key=lambda one: (-_size(one), *_age(one)))
        sizes: dict[str, int] = {}
        added = 0
        for one in ordered:
            name = one["metadata"]["name"]
            sizes[name] = _size(one)
            if to_add != 0:
                share = self._fraction(one)
                left = to_add - added
                share = min(share, left) if to_add > 0 else max(share, left)
                sizes[name] += share
                added += share
        for position, one in enumerate(ordered):
            name = one["metadata"]["name"]
            if position == 0 and to_add != 0:
                sizes[name] = max(sizes[name] + to_add - added, 0)
            self._resize(one, sizes[name])

    def _fraction(self, replica_set: Object) -> int:
        size = _size(replica_set)
        if self.replicas == 0:
            return -size
        annotations = replica_set["metadata"].get("annotations") or {}
        before = int(annotations.get(MAX_REPLICAS) or self.old_status.get("replicas") or self.replicas)
        grown = size * (self.replicas + self.max_surge) / max(before, 1)
        return int(grown + 0.5) - size

    def _shrink_old(self) -> bool:
        """Scale old ReplicaSets down as far as availability allows; True if any was."""
        assert self.new is not None
        old = [one for one in self.old if _size(one) > 0]
        if not old:
            return False
        new_unavailable = _size(self.new) - (self.new.get("status") or {}).get("availableReplicas", 0)
        min_available = self.replicas - self.max_unavailable
        room = sum(_size(one) for one in self.all) - min_available - new_unavailable
        if room <= 0:
            self.plan.because("old pods stay until more new ones are available")
            return False
        sizes = {one["metadata"]["name"]: _size(one) for one in old}
        for one in old:
            # Those that never became healthy cost no availability: they go first.
            name = one["metadata"]["name"]
            unhealthy = sizes[name] - (one.get("status") or {}).get("availableReplicas", 0)
            drop = min(max(unhealthy, 0), room)
            sizes[name] -= drop
            room -= drop
        available = sum((one.get("status") or {}).get("availableReplicas", 0) for one in self.all)
        spare = available - min_available
        for one in old:
            name = one["metadata"]["name"]
            drop = min(sizes[name], max(spare, 0))
            sizes[name] -= drop
            spare -= drop
        changed = [one for one in old if sizes[one["metadata"]["name"]] != _size(one)]
        for one in changed:
            self._resize(one, sizes[one["metadata"]["name"]])
        return bool(changed)

    def _clean_up(self) -> None:
        limit = self.spec.get("revisionHistoryLimit", 10)
        old = [one for one in self.old if not one["metadata"].get("deletionTimestamp")]
        surplus = len(old) - limit
        for one in sorted(old, key=lambda one: (_revision(one), *_age(one)))[: max(surplus, 0)]:
            status = one.get("status") or {}
            unseen = one["metadata"].get("generation", 0) > status.get("observedGeneration", 0)
            if status.get("replicas", 0) or _size(one) or unseen:
                continue
            self.plan.delete(REPLICA_SETS, one)
            self.plan.because(f"{one['metadata']['name']} is beyond the revision history limit of {limit}")

    # Status.

    _failed_conditions: list[conditions.Condition] | None = None

    @property
    def _deadline(self) -> float | None:
        deadline: float = self.spec.get("progressDeadlineSeconds", 600)
        return None if deadline == _NO_DEADLINE else deadline

    def _with(self, type: str, status: str, reason: str, message: str) -> list[conditions.Condition]:
        old = next((one for one in self.conditions if one["type"] == type), None)
        if old is not None and (old["status"], old.get("reason")) == (status, reason):
            # As upstream: the same state is not told again, whatever the message.
            return self.conditions
        updated = format_time(self.now)
        new = conditions.put(self.conditions, type, status, reason, message, self.now, lastUpdateTime=updated)
        # What was told last stands last.
        return [one for one in new if one["type"] != type] + [one for one in new if one["type"] == type]

    def _put(self, type: str, status: str, reason: str, message: str) -> None:
        self.conditions = self._with(type, status, reason, message)

    def _note_pause(self) -> None:
        if self._deadline is None:
            return
        current = conditions.get(self.old_status, "Progressing")
        reason = (current or {}).get("reason")
        if reason == "ProgressDeadlineExceeded":
            return
        paused = bool(self.spec.get("paused"))
        if paused and reason != "DeploymentPaused":
            self._put("Progressing", "Unknown", "DeploymentPaused", "Deployment is paused")
        elif not paused and reason == "DeploymentPaused":
            self._put("Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed")

    def _counts(self) -> Object:
        new_status = (self.new or {}).get("status") or {}
        statuses = [one.get("status") or {} for one in self.all]
        available = sum(status.get("availableReplicas", 0) for status in statuses)
        counts = {
            "replicas": sum(status.get("replicas", 0) for status in statuses),
            "updatedReplicas": new_status.get("replicas", 0),
            "readyReplicas": sum(status.get("readyReplicas", 0) for status in statuses),
            "availableReplicas": available,
            "unavailableReplicas": max(sum(_size(one) for one in self.all) - available, 0),
        }
        return {name: count for name, count in counts.items() if count}

    def _is_complete(self, counts: Object) -> bool:
        return all(
            counts.get(name, 0) == self.replicas for name in ("updatedReplicas", "replicas", "availableReplicas")
        )

    def _write_status(self, *, progress: bool) -> None:
        counts = self._counts()
        if counts.get("availableReplicas", 0) >= self.replicas - self.max_unavailable:
            self._put("Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
        else:
            self._put(
                "Available", "False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability."
            )
        if progress:
            self._note_progress(counts)
        status = dict(counts)
        status["observedGeneration"] = self.deployment["metadata"].get("generation", 0)
        if "collisionCount" in self.old_status:
            status["collisionCount"] = self.old_status["collisionCount"]
        if self._failed_conditions is not None:
            self.plan.status_if_failed = status | {"conditions": self._failed_conditions}
        self.plan.status = status | {"conditions": self.conditions}

    def _note_progress(self, counts: Object) -> None:
        deadline = self._deadline
        if deadline is None:
            self.conditions = conditions.without(self.conditions, "Progressing")
        else:
            current = conditions.get({"conditions": self.conditions}, "Progressing")
            finished = (
                counts.get("replicas", 0) == counts.get("updatedReplicas", 0)
                and current is not None
                and current.get("reason") == "NewReplicaSetAvailable"
            )
            if not finished:
                self._judge_progress(counts, current, deadline)
        failure = next(
            (
                found
                for one in ([self.new] if self.new else []) + self.old
                if (found := conditions.get(one.get("status"), "ReplicaFailure"))
            ),
            None,
        )
        if failure is not None:
            self._put("ReplicaFailure", failure["status"], failure.get("reason", ""), failure.get("message", ""))
        else:
            self.conditions = conditions.without(self.conditions, "ReplicaFailure")

    def _judge_progress(self, counts: Object, current: conditions.Condition | None, deadline: float) -> None:
        made = self.new["metadata"]["name"] if self.new else self.made
        name = f'ReplicaSet "{made}"' if made else f'Deployment "{self.deployment["metadata"]["name"]}"'
        old = self.old_status
        if self._is_complete(counts):
            self._put("Progressing", "True", "NewReplicaSetAvailable", f"{name} has successfully progressed.")
            return
        stale_now = counts.get("replicas", 0) - counts.get("updatedReplicas", 0)
        stale_before = old.get("replicas", 0) - old.get("updatedReplicas", 0)
        grew = ("updatedReplicas", "readyReplicas", "availableReplicas")
        if any(counts.get(one, 0) > old.get(one, 0) for one in grew) or stale_now < stale_before:
            self._replace_progress(current, "True", "ReplicaSetUpdated", f"{name} is progressing.")
            self.plan.again_in(deadline + 1)
            return
        if current is None or current.get("reason") == "NewReplicaSetAvailable":
            return
        since = parse_time_or(current.get("lastUpdateTime"), self.now)
        if current.get("reason") == "ProgressDeadlineExceeded" or since + deadline < self.now:
            self._put("Progressing", "False", "ProgressDeadlineExceeded", f"{name} has timed out progressing.")
        else:
            self.plan.again_in(since + deadline - self.now + 1)

    def _replace_progress(self, current: conditions.Condition | None, status: str, reason: str, message: str) -> None:
        """Progress was made: lastUpdateTime moves even where nothing else does."""
        updated = format_time(self.now)
        self.conditions = conditions.put(
            self.conditions, "Progressing", status, reason, message, self.now, lastUpdateTime=updated
        )


def _size(replica_set: Object) -> int:
    return int(replica_set["spec"].get("replicas", 1))


def _revision(replica_set: Object) -> int:
    text = (replica_set["metadata"].get("annotations") or {}).get(REVISION, "0")
    return int(text) if text.isdigit() else 0


def _age(obj: Object) -> tuple[float, str]:
    metadata = obj["metadata"]
    return parse_time(metadata.get("creationTimestamp")) or 0.0, metadata["name"]


def _reversed_age(obj: Object) -> tuple[float, str]:
    created, name = _age(obj)
    return -created, name


class DeploymentController(Controller):
    name = "deployment-controller"
    resource = DEPLOYMENTS

    def setup(self, informers: Informers) -> None:
        index_orphans(informers[REPLICA_SETS])

    def gather(self, obj: Object, informers: Informers) -> Children:
        replica_sets = candidates(obj, informers[REPLICA_SETS], selector_of(obj))
        found: dict[str, list[Object]] = {}
        if (obj["spec"].get("strategy") or {}).get("type") == "Recreate":
            for one in replica_sets:
                found[one["metadata"]["uid"]] = informers[PODS].by_index("owner", one["metadata"]["uid"])
        namesake = informers[REPLICA_SETS].get(obj["metadata"]["namespace"], replica_set_name(obj))
        return Children(replica_sets, found, namesake)

    def reconcile(self, obj: Object, children: Children, now: float) -> Plan:
        return reconcile(obj, children, now)


def _keys_of_pod(pod: Object, informers: Informers) -> Iterable[Key]:
    """Only Recreate waits for pods to go; all else is seen through ReplicaSets."""
    reference = controller_of(pod)
    if reference is None or reference["kind"] != "ReplicaSet":
        return
    namespace = pod["metadata"].get("namespace", "")
    replica_set = informers[REPLICA_SETS].get(namespace, reference["name"])
    owner = controller_of(replica_set) if replica_set is not None else None
    if owner is None or owner["kind"] != "Deployment":
        return
    deployment = informers[DEPLOYMENTS].get(namespace, owner["name"])
    if deployment is not None and (deployment["spec"].get("strategy") or {}).get("type") == "Recreate":
        yield namespace, owner["name"]


DeploymentController.watches = (
    Watch(REPLICA_SETS, keys_of_claimants(DEPLOYMENTS, selector_of)),
    Watch(PODS, _keys_of_pod),
)

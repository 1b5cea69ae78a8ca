"""Garbage collection by owner references: background, foreground and orphan.

An object all of whose owners are gone is deleted. An owner that is being deleted in the *foreground* waits (by the
finalizer `foregroundDeletion`) until its blocking dependents are gone; one that is deleted as *orphan* waits (by
`orphan`) until its dependents have forgotten it. A reference is only believed dangling after a live read.
Specified in https://kubernetes.io/docs/concepts/architecture/garbage-collection/.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from wherry.client.api import Client
from wherry.client.clock import Clock
from wherry.client.events import EventRecorder
from wherry.client.informer import Informers, Key, key_of
from wherry.controllers.apply import PlanApplier, PlanError
from wherry.controllers.catalog import Catalog
from wherry.controllers.loop import Decision, DecisionLog
from wherry.controllers.plan import WARNING, Event, Plan, describe
from wherry.controllers.queue import KeyedQueue
from wherry.schema.builtin import EVENTS
from wherry.schema.errors import ApiError, NotFound
from wherry.schema.resource import Object, Resource

log = logging.getLogger(__name__)

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
NAME = "garbage-collector-controller"

Node: TypeAlias = tuple[Resource, Key]

SOLID, WAITING, GONE, UNKNOWN = "solid", "waiting for dependents", "gone", "unknown"
"""States of an owner: there; there but being deleted in the foreground; gone; not to be found out (unknown kind)."""


@dataclass(frozen=True)
class Dependent:
    resource: Resource
    object: Object


def reconcile(resource: Resource, obj: Object, owners: Sequence[str], dependents: Sequence[Dependent]) -> Plan:
    """`owners` has the state of each of the object's owner references, in their order."""
    plan = Plan()
    metadata = obj["metadata"]
    finalizers = metadata.get("finalizers") or []
    deleting = bool(metadata.get("deletionTimestamp"))
    if deleting and ORPHAN in finalizers:
        _orphan_dependents(resource, obj, dependents, plan)
        return plan
    if deleting and FOREGROUND in finalizers:
        _delete_dependents(resource, obj, dependents, plan)
        return plan
    if deleting:
        return plan
    references = metadata.get("ownerReferences") or []
    if not references or UNKNOWN in owners:
        return plan
    solid = [reference for reference, state in zip(references, owners, strict=True) if state == SOLID]
    if solid:
        if len(solid) < len(references):
            plan.patch(resource, obj, {"metadata": {"ownerReferences": solid}}, check_version=True)
            plan.because("some owners are gone, others remain: the references to the gone ones are removed")
        return plan
    if WAITING in owners and any(_blocks(one, None) for one in dependents):
        # An owner waits for this one, so this one in turn must wait for its own.
        propagation = "Foreground"
    elif ORPHAN in finalizers:
        propagation = "Orphan"
    elif FOREGROUND in finalizers:
        propagation = "Foreground"
    else:
        propagation = "Background"
    plan.delete(resource, obj, propagation=propagation, check_version=True)
    plan.because("its owner is being deleted" if WAITING in owners else "all its owners are gone")
    return plan


def _orphan_dependents(resource: Resource, obj: Object, dependents: Sequence[Dependent], plan: Plan) -> None:
    uid = obj["metadata"]["uid"]
    for dependent in dependents:
        left = [one for one in dependent.object["metadata"]["ownerReferences"] if one["uid"] != uid]
        patch = {"metadata": {"ownerReferences": left or None}}
        plan.patch(dependent.resource, dependent.object, patch, check_version=True)
    _drop_finalizer(resource, obj, ORPHAN, plan)
    plan.because(f"deleted as orphan: {len(dependents)} dependents are let go")


def _delete_dependents(resource: Resource, obj: Object, dependents: Sequence[Dependent], plan: Plan) -> None:
    uid = obj["metadata"]["uid"]
    blocking = [one for one in dependents if _blocks(one, uid)]
    if not blocking:
        _drop_finalizer(resource, obj, FOREGROUND, plan)
        plan.because("nothing blocks its deletion any more")
        return
    # The dependents themselves are judged in their own rounds; this one only waits.
    plan.because(f"waiting for {len(blocking)} dependents")


def _blocks(dependent: Dependent, uid: str | None) -> bool:
    references = dependent.object["metadata"].get("ownerReferences") or ()
    return any((uid is None or one["uid"] == uid) and one.get("blockOwnerDeletion") for one in references)


def _drop_finalizer(resource: Resource, obj: Object, finalizer: str, plan: Plan) -> None:
    left = [one for one in obj["metadata"].get("finalizers") or () if one != finalizer]
    plan.patch(resource, obj, {"metadata": {"finalizers": left or None}}, check_version=True)


class GarbageCollector:
    """Follows every resource of the catalog; `run()` until cancelled."""

    WORKERS = 10

    def __init__(
        self,
        client: Client,
        informers: Informers,
        catalog: Catalog,
        clock: Clock,
        *,
        decisions: DecisionLog | None = None,
    ) -> None:
        self._client = client
        self._informers = informers
        self._catalog = catalog
        self._clock = clock
        self._decisions = decisions or DecisionLog()
        self._recorder = EventRecorder(client, NAME, clock=clock)
        self._queue: KeyedQueue[Node] = KeyedQueue(clock)
        self._present: dict[str, Node] = {}
        self._dependents: dict[str, set[Node]] = {}
        self._absent: set[str] = set()
        self._followed: set[Resource] = set()
        catalog.listen(self._on_resource)

    async def run(self) -> None:
        await self._informers.wait_synced()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._recorder.run())
            for _ in range(self.WORKERS):
                group.create_task(self._work())

    # The graph.

    def _on_resource(self, resource: Resource, present: bool) -> None:
        if resource == EVENTS:
            return
        if not present:
            for uid, node in list(self._present.items()):
                if node[0] == resource:
                    del self._present[uid]
            self._followed.discard(resource)
            return
        if resource in self._followed:
            return
        self._followed.add(resource)

        def changed(old: Object | None, new: Object | None) -> None:
            self._changed(resource, old, new)

        self._informers[resource].add_handler(changed)

    def _changed(self, resource: Resource, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self._upsert(resource, old, new)
        elif old is not None:
            self._remove(resource, old)

    def _upsert(self, resource: Resource, old: Object | None, new: Object) -> None:
        metadata = new["metadata"]
        node = (resource, key_of(new))
        uid = metadata["uid"]
        self._present[uid] = node
        references = metadata.get("ownerReferences") or ()
        before = {one["uid"] for one in ((old or {}).get("metadata") or {}).get("ownerReferences") or ()}
        after = {one["uid"] for one in references}
        for owner in before - after:
            self._forget_dependent(owner, node)
            self._wake_owner(owner)
        for owner in after:
            self._dependents.setdefault(owner, set()).add(node)
            if owner not in self._present or (owner not in before and self._is_waiting(owner)):
                self._queue.add(node)
        if metadata.get("deletionTimestamp"):
            finalizers = metadata.get("finalizers") or ()
            if FOREGROUND in finalizers:
                self._queue.add(node)
                for dependent in self._dependents.get(uid, ()):
                    self._queue.add(dependent)
            elif ORPHAN in finalizers:
                self._queue.add(node)

    def _remove(self, resource: Resource, old: Object) -> None:
        metadata = old["metadata"]
        node = (resource, key_of(old))
        uid = metadata["uid"]
        if self._present.get(uid) == node:
            del self._present[uid]
        for dependent in self._dependents.get(uid, ()):
            self._queue.add(dependent)
        for reference in metadata.get("ownerReferences") or ():
            self._forget_dependent(reference["uid"], node)
            self._wake_owner(reference["uid"])

    def _forget_dependent(self, owner: str, node: Node) -> None:
        found = self._dependents.get(owner)
        if found is not None:
            found.discard(node)
            if not found:
                del self._dependents[owner]

    def _wake_owner(self, owner: str) -> None:
        if self._is_waiting(owner):
            self._queue.add(self._present[owner])

    def _is_waiting(self, owner: str) -> bool:
        obj = self._cached(self._present.get(owner))
        metadata = obj["metadata"] if obj else {}
        return bool(metadata.get("deletionTimestamp")) and FOREGROUND in (metadata.get("finalizers") or ())

    def _cached(self, node: Node | None) -> Object | None:
        if node is None:
            return None
        informer = self._informers.known(node[0])
        return informer.get(*node[1]) if informer is not None else None

    # Working.

    async def _work(self) -> None:
        while True:
            node = await self._queue.get()
            try:
                await self._judge(node)
            except (PlanError, ApiError, OSError) as error:
                delay = self._queue.add_rate_limited(node)
                log.debug("%s %s %s: %s; again in %.3f s", NAME, node[0].qualified, node[1], error, delay)
            except Exception:  # one object's surprise must not stop the others; it is logged and retried
                self._queue.add_rate_limited(node)
                log.exception("%s %s %s failed", NAME, node[0].qualified, node[1])
            else:
                self._queue.forget(node)
            finally:
                self._queue.done(node)

    async def _judge(self, node: Node) -> None:
        obj = self._cached(node)
        if obj is None:
            return
        resource, key = node
        references = obj["metadata"].get("ownerReferences") or ()
        owners = [await self._owner_state(obj, reference) for reference in references]
        dependents = []
        for one in self._dependents.get(obj["metadata"]["uid"], ()):
            found = self._cached(one)
            if found is not None:
                dependents.append(Dependent(one[0], found))
        plan = reconcile(resource, obj, owners, dependents)
        if UNKNOWN in owners and not obj["metadata"].get("deletionTimestamp"):
            self._queue.add_after(node, 30.0)
        if plan.empty:
            return
        error = ""
        try:
            await PlanApplier(self._client, self._informers, self._recorder, resource).apply(plan, obj)
        except PlanError as failure:
            error = str(failure)
            raise
        finally:
            steps = tuple(describe(step) for step in plan.steps)
            self._decisions.add(Decision(self._clock.time(), NAME, key, tuple(plan.reasons), steps, error))

    async def _owner_state(self, obj: Object, reference: Object) -> str:
        uid = reference["uid"]
        namespace = obj["metadata"].get("namespace", "")
        present = self._present.get(uid)
        if present is not None:
            if present[0].namespaced and present[1][0] != namespace:
                self._complain(obj, reference, namespace)
                return GONE if namespace else UNKNOWN
            return WAITING if self._is_waiting(uid) else SOLID
        if uid in self._absent:
            return GONE
        resource = self._catalog.find(reference["apiVersion"], reference["kind"])
        if resource is None or (resource.namespaced and not namespace):
            return UNKNOWN
        try:
            live = await self._client.get(resource, reference["name"], namespace if resource.namespaced else None)
        except NotFound:
            live = None
        if live is None or live["metadata"]["uid"] != uid:
            # UIDs never come back: remember that this one is gone.
            self._absent.add(uid)
            if len(self._absent) > 5000:
                self._absent.clear()
            return GONE
        metadata = live["metadata"]
        waiting = metadata.get("deletionTimestamp") and FOREGROUND in (metadata.get("finalizers") or ())
        return WAITING if waiting else SOLID

    def _complain(self, obj: Object, reference: Object, namespace: str) -> None:
        message = (
            f"ownerRef [{reference['apiVersion']}/{reference['kind']}, namespace: {namespace}, "
            f'name: {reference["name"]}, uid: {reference["uid"]}] does not exist in namespace "{namespace}"'
        )
        event = Event(WARNING, "OwnerRefInvalidNamespace", message)
        self._recorder.record(obj, event.type, event.reason, event.message)

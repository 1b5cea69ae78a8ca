"""The loop: everything impure that controllers share, so that each controller is a pure function.

A `Controller` says what it follows, how a change maps to keys, which objects it needs (`gather`) and what to do
(`reconcile`). `ControllerLoop` runs it: it fills the queue from informers, hands one key to one worker at a time,
applies the Plan with UID and resourceVersion preconditions, puts every answer back into the cache at once (so that a
stale cache never leads to a second create), records events, and retries failures with back-off.
"""

import asyncio
import inspect
import itertools
import logging
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from wherry.client.api import Client
from wherry.client.clock import Clock
from wherry.client.events import EventRecorder
from wherry.client.informer import Informer, Informers, Key, key_of
from wherry.controllers.apply import PlanApplier, PlanError
from wherry.controllers.plan import Plan, describe
from wherry.controllers.queue import KeyedQueue
from wherry.schema.resource import Object, Resource

log = logging.getLogger(__name__)

KeysOf: TypeAlias = Callable[[Object, Informers], Iterable[Key]]
"""`keys(changed, informers)`: the keys of the objects to reconcile when `changed` (old or new state) changes.

Must not depend on the status of an object that has a spec: when nothing else changes, only the new state is asked."""

_DECISIONS = 512
_PARALLEL = 32


@dataclass(frozen=True)
class Watch:
    """A resource that a controller follows beside its own, and what a change of it means."""

    resource: Resource
    keys: KeysOf
    matters: Callable[[Object, Object], bool] | None = None
    """`matters(old, new)`: whether this update is of interest; None: every one is."""


class Controller(ABC):
    """One controller: declarations, `gather` (reads caches only) and `reconcile` (pure)."""

    name: ClassVar[str]
    """The event source, as upstream names it: `deployment-controller`."""
    resource: ClassVar[Resource]
    """What is reconciled; keys are its namespace and name."""
    watches: ClassVar[Sequence[Watch]] = ()
    workers: ClassVar[int] = 5

    def setup(self, informers: Informers) -> None:  # noqa: B027 - most controllers need none
        """Declare indexes and informers needed by `gather` that are not in `watches`."""

    def keys(self, obj: Object, informers: Informers) -> Iterable[Key]:
        """The keys for a change of the controller's own resource: itself."""
        return (key_of(obj),)

    @abstractmethod
    def gather(self, obj: Object, informers: Informers) -> Any:
        """Everything that `reconcile` needs beside the object, from the caches; a coroutine where the caches
        cannot tell (live lists, metrics)."""

    @abstractmethod
    def reconcile(self, obj: Object, children: Any, now: float) -> Plan:
        """Decide. Pure: same input, same Plan; `now` is epoch seconds."""

    def gone(self, key: Key, informers: Informers, now: float) -> Plan | None:
        """Decide for an object that is no longer there; None means nothing to do."""
        return None


@dataclass(frozen=True)
class Decision:
    """What was decided for a key, when (epoch seconds), and how it went."""

    at: float
    controller: str
    key: Key
    reasons: tuple[str, ...]
    steps: tuple[str, ...]
    error: str = ""

    def __str__(self) -> str:
        name = "/".join(part for part in self.key if part)
        text = f"{self.controller} {name}: {'; '.join(self.reasons) or 'nothing to say'}"
        if self.steps:
            text += f" -> {', '.join(self.steps)}"
        return f"{text} (failed: {self.error})" if self.error else text


class DecisionLog:
    """The last decisions that did something, newest last; at most 512. `sink` hears each one (for --explain)."""

    def __init__(self, sink: Callable[[Decision], None] | None = None) -> None:
        self._entries: OrderedDict[int, Decision] = OrderedDict()
        self._number = itertools.count()
        self._sink = sink

    def add(self, decision: Decision) -> None:
        self._entries[next(self._number)] = decision
        if len(self._entries) > _DECISIONS:
            self._entries.popitem(last=False)
        if self._sink is not None:
            self._sink(decision)

    def about(self, key: Key) -> list[Decision]:
        return [decision for decision in self._entries.values() if decision.key == key]

    def __iter__(self) -> Iterator[Decision]:
        return iter(list(self._entries.values()))


class ControllerLoop:
    """Runs one controller until cancelled. See the module's docstring."""

    def __init__(
        self,
        controller: Controller,
        client: Client,
        informers: Informers,
        clock: Clock,
        *,
        decisions: DecisionLog | None = None,
    ) -> None:
        self.controller = controller
        self.queue: KeyedQueue[Key] = KeyedQueue(clock)
        self.decisions = decisions or DecisionLog()
        self.recorder = EventRecorder(client, controller.name, clock=clock)
        self._informers = informers
        self._applier = PlanApplier(client, informers, self.recorder, controller.resource)
        self._clock = clock
        controller.setup(informers)
        self._follow(informers[controller.resource], Watch(controller.resource, controller.keys))
        for watch in controller.watches:
            self._follow(informers[watch.resource], watch)

    async def run(self) -> None:
        await self._informers.wait_synced()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.recorder.run())
            for _ in range(self.controller.workers):
                group.create_task(self._work())

    def _follow(self, informer: Informer, watch: Watch) -> None:
        def changed(old: Object | None, new: Object | None) -> None:
            if watch.matters is not None and old is not None and new is not None and not watch.matters(old, new):
                return
            if new is not None:
                for key in watch.keys(new, self._informers):
                    self.queue.add(key)
            if old is not None and not informer.only_status:
                for key in watch.keys(old, self._informers):
                    self.queue.add(key)

        informer.add_handler(changed)

    async def _work(self) -> None:
        while True:
            key = await self.queue.get()
            try:
                await self.reconcile_once(key)
            except PlanError as error:
                delay = self.queue.add_rate_limited(key)
                level = logging.DEBUG if error.expected else logging.INFO
                log.log(level, "%s %s/%s: %s; again in %.3f s", self.controller.name, *key, error, delay)
            except Exception:  # one object's surprise must not stop the others; it is logged and retried
                delay = self.queue.add_rate_limited(key)
                log.exception("%s %s/%s failed; again in %.3f s", self.controller.name, *key, delay)
            else:
                self.queue.forget(key)
            finally:
                self.queue.done(key)

    async def reconcile_once(self, key: Key) -> Plan | None:
        """Gather, reconcile and apply for one key. Raises PlanError when a step failed."""
        obj = self._informers[self.controller.resource].get(*key)
        now = self._clock.time()
        if obj is None:
            plan = self.controller.gone(key, self._informers, now)
        else:
            children = self.controller.gather(obj, self._informers)
            if inspect.isawaitable(children):
                children = await children
            plan = self.controller.reconcile(obj, children, now)
        if plan is None:
            return None
        error = ""
        try:
            await self._applier.apply(plan, obj)
        except PlanError as failure:
            error = str(failure)
            raise
        finally:
            if plan.steps or plan.events or error:
                steps = tuple(describe(step) for step in plan.steps)
                self.decisions.add(Decision(now, self.controller.name, key, tuple(plan.reasons), steps, error))
        if plan.requeue_after is not None:
            self.queue.add_after(key, plan.requeue_after)
        return plan

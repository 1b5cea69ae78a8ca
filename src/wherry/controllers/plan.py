"""A Plan: what a controller decided, as data. The loop applies it; tests compare it.

A Plan is an ordered list of *steps* (create, update, patch, delete), the status to write afterwards, events, when to
look again, and the reasons in words. It names no client and no clock, so the same input always gives the same Plan.
"""

from dataclasses import dataclass, field
from typing import Any, TypeAlias

from wherry.schema.resource import Object, Resource

NORMAL, WARNING = "Normal", "Warning"


@dataclass(frozen=True)
class Event:
    """An event to record. `{name}` and `{error}` in `message` stand for the written object's name and the failure.

    `about` is the object it concerns; None means the object being reconciled.
    """

    type: str
    reason: str
    message: str
    about: Object | None = None


@dataclass(frozen=True)
class Create:
    """Create `object` (name or generateName inside). `done`/`failed` tell of it."""

    resource: Resource
    object: Object
    done: Event | None = None
    failed: Event | None = None
    may_exist: bool = False
    """An object of this name that is already there counts as success."""


@dataclass(frozen=True)
class Update:
    """Replace by compare-and-swap: `object` carries the resourceVersion it was computed from."""

    resource: Resource
    object: Object
    subresource: str | None = None
    done: Event | None = None
    failed: Event | None = None


@dataclass(frozen=True)
class Patch:
    """Merge patch of the object that `target` shows, which must still have the same UID."""

    resource: Resource
    target: Object
    patch: Object
    subresource: str | None = None
    check_version: bool = False
    done: Event | None = None
    failed: Event | None = None


@dataclass(frozen=True)
class Delete:
    """Delete the object that `target` shows, which must still have the same UID (and version, if asked)."""

    resource: Resource
    target: Object
    propagation: str | None = None
    grace_period_seconds: int | None = None
    check_version: bool = False
    done: Event | None = None
    failed: Event | None = None


Step: TypeAlias = Create | Update | Patch | Delete


@dataclass
class Plan:
    """See the module's docstring. Times are in seconds."""

    steps: list[Step] = field(default_factory=list)
    status: Object | None = None
    """The whole status the reconciled object should have; written only where it differs. None: leave it."""
    status_if_failed: Object | None = None
    """Written instead of `status` when a step fails; `{error}` in a condition's message stands for the failure."""
    events: list[Event] = field(default_factory=list)
    requeue_after: float | None = None
    reasons: list[str] = field(default_factory=list)

    def create(
        self,
        resource: Resource,
        obj: Object,
        done: Event | None = None,
        failed: Event | None = None,
        *,
        may_exist: bool = False,
    ) -> None:
        self.steps.append(Create(resource, obj, done, failed, may_exist))

    def update(
        self,
        resource: Resource,
        obj: Object,
        done: Event | None = None,
        failed: Event | None = None,
        *,
        subresource: str | None = None,
    ) -> None:
        self.steps.append(Update(resource, obj, subresource, done, failed))

    def patch(
        self,
        resource: Resource,
        target: Object,
        patch: Object,
        *,
        subresource: str | None = None,
        check_version: bool = False,
        done: Event | None = None,
        failed: Event | None = None,
    ) -> None:
        self.steps.append(Patch(resource, target, patch, subresource, check_version, done, failed))

    def delete(
        self,
        resource: Resource,
        target: Object,
        done: Event | None = None,
        failed: Event | None = None,
        *,
        propagation: str | None = None,
        grace_period_seconds: int | None = None,
        check_version: bool = False,
    ) -> None:
        self.steps.append(Delete(resource, target, propagation, grace_period_seconds, check_version, done, failed))

    def event(self, type: str, reason: str, message: str, about: Object | None = None) -> None:
        self.events.append(Event(type, reason, message, about))

    def because(self, reason: str) -> None:
        """Note why, for the decision log."""
        self.reasons.append(reason)

    def again_in(self, seconds: float) -> None:
        """Reconcile again after `seconds` at the latest (the earliest of all calls wins)."""
        seconds = max(seconds, 0.0)
        self.requeue_after = seconds if self.requeue_after is None else min(self.requeue_after, seconds)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to write."""
        return not self.steps and self.status is None and not self.events


def describe(step: Step) -> str:
    """One line for logs: `create pods web-`."""
    if isinstance(step, Create | Update):
        metadata = step.object["metadata"]
    else:
        metadata = step.target["metadata"]
    name = metadata.get("name") or f"{metadata.get('generateName', '')}*"
    place = f"{metadata['namespace']}/" if metadata.get("namespace") else ""
    return f"{type(step).__name__.lower()} {step.resource.qualified} {place}{name}"


def to_data(plan: Plan) -> dict[str, Any]:
    """The plan as plain data, for golden files: deletes and patches name their target only."""
    data: dict[str, Any] = {}
    if plan.steps:
        data["steps"] = [_step_data(step) for step in plan.steps]
    for name in ("status", "status_if_failed", "requeue_after"):
        value = getattr(plan, name)
        if value is not None:
            data[name] = value
    if plan.events:
        data["events"] = [_event_data(event) for event in plan.events]
    if plan.reasons:
        data["reasons"] = list(plan.reasons)
    return data


def _event_data(event: Event) -> str:
    about = f"{event.about['kind']} {event.about['metadata']['name']}: " if event.about else ""
    return f"{about}{event.type} {event.reason} {event.message}"


def _step_data(step: Step) -> dict[str, Any]:
    data: dict[str, Any] = {"do": describe(step)}
    if isinstance(step, Create | Update):
        data["object"] = step.object
    if isinstance(step, Patch):
        data["patch"] = step.patch
    if isinstance(step, Update | Patch) and step.subresource:
        data["subresource"] = step.subresource
    if isinstance(step, Delete):
        if step.propagation:
            data["propagation"] = step.propagation
        if step.grace_period_seconds is not None:
            data["grace_period_seconds"] = step.grace_period_seconds
    for name in ("done", "failed"):
        event = getattr(step, name)
        if event is not None:
            data[name] = _event_data(event)
    return data

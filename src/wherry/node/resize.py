"""Changing cpu and memory of a pod that runs: what was granted, what is in force, and what stands in the way.

The API's `resize` subresource changes `spec`; the kubelet grants it when the node has room (*allocated*), carries it
out on the container's cgroup (*actuated*), and restarts a container only where its resizePolicy says so. Specified in
https://kubernetes.io/docs/tasks/configure-pod-container/resize-container-resources/.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from wherry.node import pods, resources
from wherry.schema.resource import Object

RESIZABLE = ("cpu", "memory")
PENDING, IN_PROGRESS = "PodResizePending", "PodResizeInProgress"
CONDITIONS = (PENDING, IN_PROGRESS)
DEFERRED, INFEASIBLE = "Deferred", "Infeasible"

Section = Mapping[str, Any]
"""A container's `resources`."""


@dataclass(frozen=True)
class Obstacle:
    """Why a resize is not granted: Deferred (there may be room later) or Infeasible (there never will be)."""

    reason: str
    message: str


Fits = Callable[[Object], Obstacle | None]
"""`fits(pod as it would be)`: may it be that large on this node?"""


@dataclass(frozen=True)
class ResizeState:
    """What the status shows of it. `error`: why the last try to carry it out failed."""

    obstacle: Obstacle | None = None
    in_progress: bool = False
    error: str = ""


def resizable(pod: Object) -> Iterable[Object]:
    """The containers whose resources may change: main ones and sidecars."""
    yield from (one for one in pods.init_containers(pod) if pods.is_sidecar(one))
    yield from pods.main_containers(pod)


def with_resources(pod: Object, allocated: Mapping[str, Section]) -> Object:
    """The pod with the resources that were granted to it; the same object when nothing differs."""
    if all(dict(allocated.get(one["name"], _own(one))) == _own(one) for one in resizable(pod)):
        return pod
    spec = {**pod["spec"]}
    for group in ("initContainers", "containers"):
        if group in spec:
            spec[group] = [
                {**one, "resources": dict(allocated[one["name"]])} if one["name"] in allocated else one
                for one in spec[group]
            ]
    return {**pod, "spec": spec}


def restarts(container: Object, before: Section, after: Section) -> bool:
    """Does its resizePolicy ask for a new start when `before` becomes `after`?"""
    policies = {one["resourceName"]: one["restartPolicy"] for one in container.get("resizePolicy") or ()}
    changed = [name for name in RESIZABLE if _amounts(before, name) != _amounts(after, name)]
    return any(policies.get(name) == "RestartContainer" for name in changed)


def _own(container: Object) -> dict[str, Any]:
    return dict(container.get("resources") or {})


def _amounts(section: Section, name: str) -> tuple[Any, Any]:
    def of(part: str) -> Any:
        given = (section.get(part) or {}).get(name)
        return None if given is None else resources.quantity(str(given))

    return of("requests"), of("limits")


class Resizes:
    """Of one pod. `allocated` has container name → resources, `actuated` container id → resources."""

    def __init__(self, pod: Object) -> None:
        granted = {
            entry["name"]: entry["resources"]
            for group in ("initContainerStatuses", "containerStatuses")
            for entry in (pod.get("status") or {}).get(group) or ()
            if entry.get("resources") and "running" in (entry.get("state") or {})
        }
        self.allocated: dict[str, Section] = {
            one["name"]: granted.get(one["name"], _own(one)) for one in resizable(pod)
        }
        self.actuated: dict[str, Section] = {}
        self.restarting: set[str] = set()
        """Ids of containers that end only to come back with other resources."""
        self._obstacle: Obstacle | None = None
        self._told: tuple[str, str] = ("", "")
        self._errors: dict[str, str] = {}

    @property
    def waiting(self) -> bool:
        """Would more room on the node help?"""
        return self._obstacle is not None

    def consider(self, pod: Object, fits: Fits, record: Callable[[str, str, str], None]) -> None:
        """Grant what the spec asks for, or note why not. `record(type, reason, message)` makes an event."""
        wanted: dict[str, Section] = {one["name"]: _own(one) for one in resizable(pod)}
        if wanted == self.allocated:
            self._obstacle = None
            return
        if pods.is_static(pod):
            self._obstacle = Obstacle(INFEASIBLE, "In-place resize of static-pods is not supported")
        else:
            self._obstacle = fits(pod)
        if self._obstacle is None:
            self.allocated = wanted
            self._told = ("", "")
            record("Normal", "ResizeStarted", f"Pod resize started: {summary(pod)}")
            return
        told = (self._obstacle.reason, self._obstacle.message)
        if told != self._told:
            self._told = told
            text = f"Pod resize {told[0]}: {summary(pod, told[1])}"
            record("Warning", f"Resize{told[0]}", text)

    def began(self, id: str, name: str) -> None:
        """A container was started with what is allocated to it."""
        if name in self.allocated:
            self.actuated[id] = self.allocated[name]

    def done(self, id: str, section: Section, name: str) -> None:
        self.actuated[id] = section
        self._errors.pop(name, None)

    def failed(self, name: str, why: str) -> None:
        self._errors[name] = why

    def ended(self, id: str) -> None:
        self.actuated.pop(id, None)

    def differs(self, id: str, name: str) -> bool:
        """Has this container not yet what was granted to it?"""
        granted = self.allocated.get(name)
        return granted is not None and self.actuated.get(id, granted) != granted

    def state(self, running: Mapping[str, str]) -> ResizeState:
        """`running` has container name → id of what runs."""
        differing = [name for name, id in running.items() if self.differs(id, name)]
        error = next((self._errors[name] for name in differing if name in self._errors), "")
        return ResizeState(self._obstacle, bool(differing), error)


def summary(pod: Object, error: str = "") -> str:
    """What a resize is about, as its events show it."""
    told: dict[str, Any] = {
        "containers": [{"name": one["name"], "resources": _own(one)} for one in resizable(pod)],
        "generation": pod["metadata"].get("generation", 0),
    }
    if error:
        told["error"] = error
    return json.dumps(told, separators=(",", ":"))

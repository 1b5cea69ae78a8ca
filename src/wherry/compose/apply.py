"""Carrying out a plan: its steps as tasks that run in parallel as far as they do not wait for each other.

A container is made as soon as its networks, volumes and the containers it shares something with are there; it starts
when what it depends on is what `depends_on` says.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from wherry.compose import conditions, graph, names
from wherry.compose.conditions import ConditionFailed
from wherry.compose.containers import Containers
from wherry.compose.errors import ComposeError
from wherry.compose.pre_start import PreStart
from wherry.compose.project import Project
from wherry.compose.report import Report, State, silent
from wherry.compose.steps import Observed, Step, is_oneoff, name_of
from wherry.docker_api.client import DockerClient, DockerError

_MADE = " (made)"
_BARRIER = "everything is made"


@dataclass
class Applier:
    """Carries out the steps of `up`, `create` and `down` for one project."""

    client: DockerClient
    project: Project | None
    containers: Containers
    report: Report
    no_start: bool = False
    no_deps: bool = False
    renew_anonymous_volumes: bool = False
    dry: bool = False
    parallel: int = 0
    on_made: Callable[[Sequence[Step]], None] | None = None
    """Called once, when everything is made and nothing started; from then on only failures are reported."""
    ids: dict[str, str] = field(default_factory=dict)
    """Container ids by step id, as they become known."""
    steps: Sequence[Step] = ()
    pre_start: PreStart | None = None
    guard: threading.Lock = field(default_factory=threading.Lock)

    def run(self, steps: Sequence[Step]) -> None:
        """Raises what the first failing step raises: ComposeError or DockerError."""
        self.steps = steps
        self.ids = {step.id: step.container for step in steps if step.container}
        tasks: list[graph.Task] = []
        for step in steps:
            tasks += self.tasks(step)
        if self.on_made is not None:
            tasks = self.with_barrier(tasks, self.on_made)
        graph.run(tasks, self.parallel)

    def with_barrier(self, tasks: list[graph.Task], made: Callable[[Sequence[Step]], None]) -> list[graph.Task]:
        """`tasks`, so that none that starts something begins before all that makes something is over."""
        starting = {step.id for step in self.steps if step.action in ("create", "recreate", "start", "restart", "keep")}

        def passed() -> None:
            made(self.steps)
            self.report = silent

        before = [task for task in tasks if task.id not in starting]
        barrier = graph.Task(_BARRIER, passed, [task.id for task in before])
        after = [graph.Task(task.id, task.run, (*task.after, _BARRIER)) for task in tasks if task.id in starting]
        return [*before, barrier, *after]

    def tasks(self, step: Step) -> list[graph.Task]:
        if step.action in ("create", "recreate"):
            making = step.id if self.no_start else step.id + _MADE
            # Something shared with another container needs that one to be there, not to run.
            made_after = [
                one + _MADE if any(s.id == one and s.action in ("create", "recreate") for s in self.steps) else one
                for one in step.made_after
            ]
            made = graph.Task(making, lambda: self.make(step), made_after if not self.no_start else step.made_after)
            if self.no_start:
                return [made]
            return [made, graph.Task(step.id, lambda: self.start(step), (making, *step.after))]
        act = {
            "keep": self.keep,
            "start": self.start,
            "restart": self.restart,
            "rename": self.rename,
            "remove": self.remove,
            "stop": self.stop,
            "create network": self.create_network,
            "recreate network": self.recreate_network,
            "create volume": self.create_volume,
            "remove network": self.remove_network,
            "remove volume": self.remove_volume,
            "remove image": self.remove_image,
        }[step.action]
        return [graph.Task(step.id, lambda: act(step), (*step.made_after, *step.after))]

    def tell(self, step: Step, text: str, state: State = "working") -> None:
        kind = step.action.rpartition(" ")[2].title() if " " in step.action else "Container"
        self.report(f"{kind} {step.name}", text, state)

    # -- containers

    def make(self, step: Step) -> None:
        fresh = step.action == "create"
        self.tell(step, "Creating" if fresh else f"Recreate ({step.why})")
        if not self.dry:
            if fresh:
                self.ids[step.id] = self.containers.create(step.service, step.name, step.body)
            else:
                self.ids[step.id] = self.containers.replace(
                    step.service, step.container, step.name, step.body, renew_volumes=self.renew_anonymous_volumes
                )
        self.tell(step, "Created" if fresh else "Recreated", "done")

    def start(self, step: Step) -> None:
        self.wait_for_dependencies(step.service)
        # What has never run may have been left without its configs by an interrupted run.
        fresh = step.action == "start" and step.why == "it is created"
        if not self.dry and (fresh or step.action in ("create", "recreate")):
            self.prepare(step)
        self.tell(step, "Starting")
        if not self.dry:
            container = self.ids[step.id]
            if step.why == "it is paused":
                self.client.post(f"/containers/{container}/unpause")
            else:
                self.containers.start(container, step.service, step.name, fresh=fresh)
            self.containers.started.append(container)
        self.tell(step, "Started", "done")

    def prepare(self, step: Step) -> None:
        """What the service wants to have run before a container that has never run."""
        if self.project is None or not self.project.services.get(step.service, {}).get("pre_start"):
            return
        with self.guard:
            if self.pre_start is None:
                named = {one.service: one.name for one in reversed(self.steps) if one.number}
                self.pre_start = PreStart(self.client, self.project, self.containers, named)
        others = [one for one in self.steps if one.service == step.service]
        ran_before = any(
            one.action in ("keep", "restart") or (one.action == "start" and one.why != "it is created")
            for one in others
        )
        self.tell(step, "Preparing")
        self.pre_start.run(step.service, step.number, self.ids[step.id], shared=not ran_before)

    def keep(self, step: Step) -> None:
        if not self.no_start:
            self.containers.started.append(step.container)
            for told in (self.containers.before_start, self.containers.after_start):
                if told is not None:
                    told(step.container, step.name)
        self.tell(step, "Created" if self.no_start else "Running", "done")

    def restart(self, step: Step) -> None:
        self.wait_for_dependencies(step.service)
        self.tell(step, "Restarting")
        if not self.dry:
            self.containers.stop(step.container, step.service, quiet=True)
            self.containers.start(step.container, step.service, step.name, fresh=False)
            self.containers.started.append(step.container)
        self.tell(step, "Started", "done")

    def rename(self, step: Step) -> None:
        if not self.dry:
            self.client.post(f"/containers/{step.container}/rename", {"name": step.name})

    def stop(self, step: Step) -> None:
        self.tell(step, "Stopping")
        if not self.dry:
            self.containers.stop(step.container, step.service, quiet=True)
        self.tell(step, "Stopped", "done")

    def remove(self, step: Step) -> None:
        volumes = bool(step.body.get("volumes"))
        if step.body.get("running", True):
            self.stop(step)
        self.tell(step, "Removing")
        if not self.dry:
            self.containers.remove(step.container, volumes=volumes, quiet=True)
        self.tell(step, "Removed", "done")

    # -- conditions

    def adopt(self, observed: Observed) -> None:
        """Takes containers that are there as if steps had kept them: for waiting until they are ready."""
        self.steps = [
            Step(one["Id"], "keep", name_of(one), "", one["Labels"].get(names.SERVICE, ""), container=one["Id"])
            for one in observed.containers
            if not is_oneoff(one)
        ]
        self.ids = {step.id: step.container for step in self.steps}

    def wait_for_dependencies(self, service: str) -> None:
        if self.project is None or self.no_deps or self.dry or service not in self.project.services:
            return
        for other, how in self.project.dependencies(service).items():
            started = [step for step in self.steps if step.service == other and step.id in self.ids]
            for step in started:
                if step.action == "remove" or how["condition"] == "service_started":
                    continue
                try:
                    self.wait_for_condition(step, other, how["condition"])
                except ConditionFailed as error:
                    if how.get("required", True):
                        raise ComposeError(f"dependency failed to start: {error}") from None
                    self.report(f"Container {step.name}", f'optional dependency "{other}" failed to start: {error}',
                                "warning")  # fmt: skip

    def wait_for_condition(self, step: Step, service: str, condition: str) -> None:
        container = self.ids[step.id]
        self.report(f"Container {step.name}", "Waiting")
        try:
            if condition == "service_healthy":
                conditions.wait_for(self.client, container, conditions.is_healthy)
                self.report(f"Container {step.name}", "Healthy", "done")
                return
            code = conditions.wait_completed(self.client, container)
            if code:
                raise ConditionFailed(f'service "{service}" didn\'t complete successfully: exit {code}')
            self.report(f"Container {step.name}", "Exited", "done")
        except ConditionFailed:
            self.report(f"Container {step.name}", "Error", "error")
            raise

    # -- networks, volumes, images

    def create_network(self, step: Step) -> None:
        self.tell(step, "Creating")
        if not self.dry:
            self.client.post("/networks/create", body=step.body)
        self.tell(step, "Created", "done")

    def recreate_network(self, step: Step) -> None:
        self.tell(step, "Recreating")
        if not self.dry:
            path = f"/networks/{quote(step.name)}"
            network: dict[str, Any] = self.client.get(path)
            for container in network.get("Containers") or ():
                self.client.post(f"{path}/disconnect", body={"Container": container, "Force": True})
            self.client.delete(path)
            self.client.post("/networks/create", body=step.body)
        self.tell(step, "Recreated", "done")

    def create_volume(self, step: Step) -> None:
        self.tell(step, "Creating")
        if not self.dry:
            self.client.post("/volumes/create", body=step.body)
        self.tell(step, "Created", "done")

    def remove_network(self, step: Step) -> None:
        self.tell(step, "Removing")
        if self.dry or self._delete(step, f"/networks/{quote(step.body.get('id') or step.name)}"):
            self.tell(step, "Removed", "done")

    def remove_volume(self, step: Step) -> None:
        self.tell(step, "Removing")
        if self.dry or self._delete(step, f"/volumes/{quote(step.name)}"):
            self.tell(step, "Removed", "done")

    def remove_image(self, step: Step) -> None:
        self.tell(step, "Removing")
        if self.dry or self._delete(step, f"/images/{quote(step.name, safe='/:@')}"):
            self.tell(step, "Removed", "done")

    def _delete(self, step: Step, path: str) -> bool:
        try:
            self.client.delete(path)
        except DockerError as error:
            if error.status == 404:
                self.tell(step, "No resource found to remove", "warning")
                return False
            if error.status in (403, 409):
                self.tell(step, "Resource is still in use", "warning")
                return False
            raise
        return True

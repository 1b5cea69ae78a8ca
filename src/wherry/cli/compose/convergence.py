"""Making a project be as its files say: what `up`, `create`, `run`, `scale` and `build` share."""

import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from wherry.cli.compose.session import Session
from wherry.compose import conditions, graph
from wherry.compose.apply import Applier
from wherry.compose.conditions import ConditionFailed
from wherry.compose.containers import Containers
from wherry.compose.errors import ComposeError
from wherry.compose.images import Images, ImageWishes, image_ages, plan_images
from wherry.compose.names import image_name
from wherry.compose.observe import containers, images, observe
from wherry.compose.plan import orphans, plan_up, wanted_services
from wherry.compose.preflight import check_files
from wherry.compose.project import Project
from wherry.compose.report import silent
from wherry.compose.resources import resource_warnings
from wherry.compose.steps import Observed, Step, Wishes, name_of
from wherry.compose.unsupported import refuse


@dataclass
class Convergence:
    """One run: images first, for the ids that they get belong to the plan; then networks, volumes and containers."""

    session: Session
    project: Project
    wishes: Wishes = field(default_factory=Wishes)
    image_wishes: ImageWishes = field(default_factory=ImageWishes)
    timeout: int | None = None
    quiet_build: bool = False
    quiet_pull: bool = False
    containers: Containers = field(init=False)
    steps: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.containers = self.session.containers(self.project, self.timeout)

    def run(self, on_made: Callable[[Sequence[Step]], None] | None = None) -> None:
        """`on_made` is called when all containers are there and none has been started; what follows is not shown.

        Raises ComposeError or DockerError.
        """
        services = wanted_services(self.project, self.wishes.services, no_deps=self.wishes.no_deps)
        if self.session.client.host.startswith("unix://"):
            check_files(self.project, services)
        observed = observe(self.session.client, self.project.name, self.project, services)
        refuse(self.project, services)
        observed = self.ensure_images(services, observed)
        for message in resource_warnings(self.project, services, observed):
            self.session.warn(message)
        self.warn_of_orphans(observed)
        self.steps = plan_up(self.project, observed, self.wishes)
        self.session.progress.title = "Creating" if self.wishes.no_start else "Running"
        Applier(
            self.session.client,
            self.project,
            self.containers,
            self.session.progress,
            no_start=self.wishes.no_start,
            no_deps=self.wishes.no_deps,
            renew_anonymous_volumes=self.wishes.renew_anonymous_volumes,
            dry=self.session.options.dry,
            parallel=self.session.parallel,
            on_made=on_made,
        ).run(self.steps)
        self.session.close()

    def ensure_images(self, services: list[str], observed: Observed) -> Observed:
        """Pulls and builds what is needed; the observation with the ids that images have then."""
        client = self.session.client
        steps = plan_images(
            self.project, services, observed, self.image_wishes, image_ages(client, self.project, services)
        )
        if not steps:
            return observed
        self.session.progress.title = "Building" if all(step.action == "build" for step in steps) else "Pulling"
        Images(
            client,
            self.project,
            silent if self.quiet_pull and all(step.action == "pull" for step in steps) else self.session.progress,
            silent_output if self.quiet_build else BuildOutput(len(steps) > 1),
            self.session.parallel,
            self.session.options.dry,
        ).run(steps)
        self.session.close()
        if self.session.options.dry:
            return observed
        found = images(client, {image_name(self.project, service) for service in services})
        return replace(observed, images=found)

    def warn_of_orphans(self, observed: Observed) -> None:
        ignored = self.session.environment.get("COMPOSE_IGNORE_ORPHANS", "") in ("1", "true")
        strangers = [name_of(one) for one in orphans(self.project, observed)]
        if strangers and not self.wishes.remove_orphans and not ignored:
            self.session.warn(
                f"Found orphan containers ([{' '.join(strangers)}]) for this project. If you removed or renamed this "
                "service in your compose file, you can run this command with the --remove-orphans flag to clean it up."
            )

    def wait_ready(self, timeout: int | None) -> None:
        """Waits until every container that was started is healthy, or runs. Raises ComposeError."""
        deadline = None if timeout is None else time.monotonic() + timeout
        client, progress = self.session.client, self.session.progress
        progress.title = "Running"
        listed = {one["Id"]: name_of(one) for one in containers(client, self.project.name)}

        def wait(container: str) -> None:
            name = listed.get(container, container[:12])
            progress(f"Container {name}", "Waiting")
            left = None if deadline is None else max(0.1, deadline - time.monotonic())
            try:
                ready = conditions.wait_for(client, container, conditions.is_healthy_or_running, left)
            except ConditionFailed as error:
                progress(f"Container {name}", "Error", "error")
                raise ComposeError(str(error)) from None
            if not ready:
                progress(f"Container {name}", "Error", "error")
                raise ComposeError(f"application not healthy after {timeout}s")
            progress(f"Container {name}", "Healthy", "done")

        graph.run([graph.Task(one, lambda one=one: wait(one)) for one in dict.fromkeys(self.containers.started)])  # type: ignore[misc]


def silent_output(service: str, text: str) -> None:
    """Prints nothing of a build."""


class BuildOutput:
    """Prints what builds say, on standard output; with the service's name in front when there are several."""

    def __init__(self, several: bool) -> None:
        self.several = several
        self.pending: dict[str, str] = {}
        self.lock = threading.Lock()

    def __call__(self, service: str, text: str) -> None:
        with self.lock:
            if not self.several:
                sys.stdout.write(text)
            else:
                *lines, rest = (self.pending.pop(service, "") + text).split("\n")
                self.pending[service] = rest
                sys.stdout.write("".join(f"{service}: {line}\n" for line in lines))
            sys.stdout.flush()

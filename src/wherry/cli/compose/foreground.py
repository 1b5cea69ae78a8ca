"""`up` in the foreground: attached to what it starts, until all has ended or Ctrl-C."""

import queue
import signal
import sys
import threading
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from wherry.cli.compose.convergence import Convergence
from wherry.cli.compose.ordered import stop_all
from wherry.cli.compose.session import Session
from wherry.compose import names
from wherry.compose.log_printer import LogPrinter
from wherry.compose.log_streams import Follower, event_container, moment, short_name
from wherry.compose.project import Project
from wherry.compose.steps import Step
from wherry.docker_api.client import DockerError


@dataclass
class Foreground:
    """One attached run. `abort_on` is what ends it early: "exit" of any container, its "failure", or nothing."""

    session: Session
    project: Project
    convergence: Convergence
    watched: Collection[str]
    abort_on: str
    exit_code_from: str | None
    colour: bool
    prefix: bool
    timestamps: bool
    happened: "queue.SimpleQueue[dict[str, Any] | None]" = field(default_factory=queue.SimpleQueue)
    labels: dict[str, str] = field(default_factory=dict)
    """What each attached container is called, by id."""
    begun: str = field(default_factory=lambda: f"{time.time():.9f}")
    """What was logged before belongs to an earlier run."""
    printer: LogPrinter = field(init=False)
    follower: Follower = field(init=False)

    def __post_init__(self) -> None:
        self.printer = LogPrinter(write, colour=self.colour, prefix=self.prefix)
        self.follower = Follower(self.session.client, self.project.name, self.printer, {"timestamps": self.timestamps})

    def run(self) -> int:
        """The exit code: 0, that of the service asked for, or 130 after Ctrl-C."""
        containers = self.convergence.containers
        containers.before_start = self.attach
        if self.timestamps:
            containers.after_start = self.follow
        containers.hook_output = lambda service, data: self.printer.feed(f"{service} ->", 1, data)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            threading.Thread(target=self.listen, daemon=True).start()
            self.convergence.run(on_made=self.announce)
            return self.watch(set(containers.started))
        except KeyboardInterrupt:
            self.interrupted()
            return 130

    def announce(self, steps: Sequence[Step]) -> None:
        """All containers are there, none has been started: from here on it is they who speak."""
        self.session.close()
        separator = self.project.separator
        shown = []
        for step in steps:
            if step.service in self.watched and step.action in ("keep", "create", "recreate", "start", "restart"):
                labels = {names.SERVICE: step.service, names.NUMBER: str(step.number)}
                shown.append(short_name({"Names": [step.name], "Labels": labels}, self.project.name, separator))
        self.printer.register(shown)
        if shown:
            self.printer.note(f"Attaching to {', '.join(sorted(shown))}")

    def attach(self, container: str, name: str) -> None:
        """Called just before a container starts."""
        inspected = self.session.client.get(f"/containers/{container}/json")
        labels = inspected["Config"]["Labels"]
        if labels.get(names.SERVICE) not in self.watched:
            return
        shape = {"Names": ["/" + name], "Labels": labels, "Id": container}
        self.labels[container] = short_name(shape, self.project.name, self.project.separator)
        if not self.timestamps:
            self.follower.attach(container, self.labels[container])

    def follow(self, container: str, name: str) -> None:
        """Only logs have timestamps, and only what has started has a log."""
        if container in self.labels:
            self.follower.follow(container, self.labels[container], since=self.begun)

    def listen(self) -> None:
        try:
            for event in self.follower.events():
                self.happened.put(event)
        except (OSError, ValueError):
            pass
        self.happened.put(None)

    def watch(self, running: set[str]) -> int:
        """Until none of `running` runs any more."""
        running &= set(self.labels) or running
        for container in list(running):
            if not self.lives(container):
                running.discard(container)
                self.report_exit(container, None)
                if (code := self.judge(container)) is not None:
                    return code
        while running:
            event = self.happened.get()
            if event is None:
                break
            container = event["Actor"]["ID"]
            if event["Action"] == "start" and container not in running:
                self.rejoin(event, running)
            elif event["Action"] == "die" and container in running:
                code = event["Actor"]["Attributes"].get("exitCode", "0")
                restarting = self.lives(container)
                self.report_exit(container, code, restarting=moment(event) if restarting else "")
                if restarting:
                    continue
                running.discard(container)
                if (judged := self.judge(container)) is not None:
                    return judged
        return 0

    def rejoin(self, event: dict[str, Any], running: set[str]) -> None:
        """A container of the project has been started again, or by somebody else."""
        found = event_container(event)
        if found["Labels"].get(names.SERVICE) in self.watched and found["Labels"].get(names.ONEOFF) != "True":
            name = short_name(found, self.project.name, self.project.separator)
            self.labels[found["Id"]] = name
            self.follower.follow(found["Id"], name, since=moment(event))
            running.add(found["Id"])

    def lives(self, container: str) -> bool:
        """Runs, or will again by its restart policy."""
        try:
            state = self.session.client.get(f"/containers/{container}/json")["State"]
        except DockerError:
            return False
        return bool(state["Running"] or state["Restarting"] or state["Paused"])

    def report_exit(self, container: str, code: str | None, *, restarting: str = "") -> None:
        """`restarting` says since when, for one that its restart policy starts again."""
        if not restarting:
            self.follower.finish(container)
        if container not in self.labels:
            return
        shown = code if code is not None else str(self.exit_code(container))
        self.printer.note(f"{self.labels[container]} exited with code {shown}{' (restarting)' if restarting else ''}")
        if restarting:
            self.follower.finish(container)
            self.follower.follow(container, self.labels[container], since=restarting)

    def exit_code(self, container: str) -> int:
        try:
            return int(self.session.client.get(f"/containers/{container}/json")["State"]["ExitCode"])
        except DockerError:
            return 0

    def judge(self, container: str) -> int | None:
        """The exit code of the whole when a container's end is the end of all; None when it goes on."""
        code = self.exit_code(container)
        if not self.abort_on or (self.abort_on == "failure" and not code):
            return None
        self.printer.note("Aborting on container exit...")
        stop_all(self.session, self.project, self.convergence.timeout)
        if self.exit_code_from is None:
            return code
        for one in self.convergence.containers.started:
            inspected = self.session.client.get(f"/containers/{one}/json")
            if inspected["Config"]["Labels"].get(names.SERVICE) == self.exit_code_from:
                return int(inspected["State"]["ExitCode"])
        return code

    def interrupted(self) -> None:
        self.session.close()
        sys.stderr.write("Gracefully Stopping... press Ctrl+C again to force\n")
        sys.stderr.flush()
        try:
            stop_all(self.session, self.project, self.convergence.timeout)
        except KeyboardInterrupt:
            self.session.close()
            stop_all(self.session, self.project, 0)


def write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()

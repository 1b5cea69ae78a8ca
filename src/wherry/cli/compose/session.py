"""One invocation: its global options, and, once asked for, the project, the client and the progress display."""

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wherry.cli.compose.progress import Progress
from wherry.compose.errors import ComposeError
from wherry.docker_api.client import DockerClient

if TYPE_CHECKING:
    from wherry.compose.containers import Containers
    from wherry.compose.load import Steps
    from wherry.compose.project import Project
    from wherry.compose.steps import Observed

STDIN = Path("-")


@dataclass(frozen=True)
class Options:
    """The global options as they were typed."""

    files: Sequence[str] = ()
    name: str | None = None
    profiles: Sequence[str] = ()
    env_files: Sequence[str] = ()
    directory: str | None = None
    ansi: str | None = None
    progress: str | None = None
    parallel: int | None = None
    compatible: bool = False
    dry: bool = False
    all_resources: bool = False
    host: str | None = None


class Session:
    """What the verbs work with. Nothing is read and nobody is asked before it is needed."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.begun = time.monotonic()
        self.warned: set[str] = set()

    @cached_property
    def client(self) -> DockerClient:
        host = self.options.host or os.environ.get("DOCKER_HOST")
        if not host:
            from wherry.host.instance import open_instance

            host = f"unix://{open_instance().docker_socket}"
        return DockerClient(host)

    # -- output

    @cached_property
    def ansi(self) -> str:
        return self.options.ansi or self.environment.get("COMPOSE_ANSI") or "auto"

    def colour(self, stream: Any = None) -> bool:
        """Whether control characters go to a stream (by default standard output)."""
        if self.ansi != "auto":
            return self.ansi == "always"
        return "NO_COLOR" not in os.environ and (stream or sys.stdout).isatty()

    @cached_property
    def progress(self) -> Progress:
        mode = self.options.progress or self.environment.get("COMPOSE_PROGRESS") or "auto"
        if mode == "auto":
            mode = "tty" if sys.stderr.isatty() and self.ansi != "never" else "plain"
        return Progress(mode, sys.stderr, colour=self.colour(sys.stderr), dry=self.options.dry)

    def close(self) -> None:
        """Leaves the terminal as it is to be."""
        if "progress" in self.__dict__:
            self.progress.close()

    def warn(self, message: str) -> None:
        """One warning on standard error, once."""
        if message in self.warned:
            return
        self.warned.add(message)
        if sys.stderr.isatty():
            seconds = int(time.monotonic() - self.begun)
            mark = "\x1b[33mWARN\x1b[0m" if self.colour(sys.stderr) else "WARN"
            self.progress.note(f"{mark}[{seconds:04d}] {message}")
        else:
            import json

            moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            self.progress.note(f'time="{moment}" level=warning msg={json.dumps(message, ensure_ascii=False)}')

    @property
    def parallel(self) -> int:
        given = self.options.parallel
        if given is None:
            text = self.environment.get("COMPOSE_PARALLEL_LIMIT", "0")
            if not text.lstrip("-").isdigit():
                raise ComposeError(f"COMPOSE_PARALLEL_LIMIT must be an integer (found: {text!r})")
            given = int(text)
        return max(given, 0)

    # -- the project

    @cached_property
    def directory(self) -> Path | None:
        """`--project-directory`, absolute."""
        return Path(os.path.abspath(self.options.directory)) if self.options.directory else None

    @cached_property
    def files(self) -> list[Path]:
        """The Compose files: -f, COMPOSE_FILE, or those found here or above. Raises ComposeError."""
        from wherry.compose.load import find_files

        given: Sequence[str] = self.options.files
        if not given and (listed := self._first_environment.get("COMPOSE_FILE")):
            given = listed.split(self._first_environment.get("COMPOSE_PATH_SEPARATOR") or os.pathsep)
        if given:
            return [STDIN if one == "-" else Path(os.path.abspath(one)) for one in given]
        return find_files(self.directory or Path.cwd())

    @cached_property
    def _first_environment(self) -> dict[str, str]:
        """What says where the Compose files are: the shell, over the env files of the folder we are in."""
        return self._environment_of(self.directory or Path.cwd())

    def _environment_of(self, folder: Path) -> dict[str, str]:
        from wherry.compose.load import read_environment

        given = [Path(os.path.abspath(one)) for one in self.options.env_files]
        if not given and (listed := os.environ.get("COMPOSE_ENV_FILES")):
            given = [Path(os.path.abspath(one)) for one in listed.split(",")]
        if given or os.environ.get("COMPOSE_DISABLE_ENV_FILE", "").lower() not in ("1", "true"):
            return read_environment(folder, given or None, os.environ)
        return dict(os.environ)

    @cached_property
    def project_directory(self) -> Path:
        if self.directory:
            return self.directory
        first = self.files[0]
        return Path.cwd() if first == STDIN else first.parent

    @cached_property
    def environment(self) -> dict[str, str]:
        """Variables of the shell and the env files; those beside the Compose file when there is one."""
        try:
            folder = self.project_directory
        except ComposeError:
            return self._first_environment
        return {**self._environment_of(folder), **self._first_environment}

    @cached_property
    def texts(self) -> dict[Path, str]:
        """What standard input says, where it is one of the files."""
        return {STDIN: sys.stdin.read()} if STDIN in self.files else {}

    def load(
        self, services: Sequence[str] = (), *, all_profiles: bool = False, steps: "Steps | None" = None
    ) -> "Project":
        """The project of the files; profiles of `services` are on. Raises ComposeError. Warnings are printed."""
        from wherry.compose.load import Steps, load

        compatible = self.options.compatible or self.environment.get("COMPOSE_COMPATIBILITY", "") in ("1", "true")
        project = load(
            self.files,
            directory=self.project_directory,
            environment=self.environment,
            name=self.options.name,
            profiles=["*"] if all_profiles else self.options.profiles,
            enable=services,
            texts=self.texts,
            compatible=compatible,
            steps=steps or Steps(),
        )
        for message in project.warnings:
            self.warn(message)
        for service in services:
            if service not in project.services:
                raise ComposeError(f"no such service: {service}")
        return project

    def project_or_name(self, services: Sequence[str] = ()) -> "tuple[str, Project | None]":
        """The project, or only its name when there is no file but a name: enough for what already runs."""
        name = self.options.name or os.environ.get("COMPOSE_PROJECT_NAME")
        if name and not self.options.files:
            try:
                _ = self.files
            except ComposeError:
                return name, None
        project = self.load(services)
        return project.name, project

    # -- what the engine has

    def observed(self, services: Sequence[str] = ()) -> "tuple[str, Project | None, Observed]":
        """The project (or None), and the containers of it; of `services` only, where given."""
        from wherry.compose.observe import containers
        from wherry.compose.steps import Observed

        name, project = self.project_or_name(services)
        found = Observed(tuple(containers(self.client, name)))
        for service in services:
            if project is None and service not in found.services:
                raise ComposeError(f"no such service: {service}")
        if services:
            kept = (one for one in found.containers if one["Labels"].get("com.docker.compose.service") in services)
            found = Observed(tuple(kept))
        return name, project, found

    def containers(self, project: "Project | None", timeout: int | None = None) -> "Containers":
        from wherry.compose.containers import Containers

        return Containers(self.client, project, self.progress, timeout)

    def one_container(self, service: str, index: int = 0) -> dict[str, Any]:
        """A running container of a service: number `index`, or its first one. Raises ComposeError."""
        from wherry.compose.steps import number_of

        _, _, observed = self.observed([service])
        running = [one for one in observed.of_service(service) if one["State"] in ("running", "paused", "restarting")]
        for one in running:
            if not index or number_of(one) == index:
                return one
        if index:
            raise ComposeError(f'service "{service}" is not running container #{index}')
        raise ComposeError(f'service "{service}" is not running')

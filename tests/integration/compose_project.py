"""A folder with Compose files and the command that acts on it, for the tests of `wherry compose`."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wherry.testing.plugin import RunningWherry, start, stop

if TYPE_CHECKING:
    from wherry.testing.instances import TestInstances

TESTS = Path(__file__).parents[1]
SLEEPER = "image: busybox, init: true, stop_signal: SIGKILL, command: sleep 1000"


def stand_in(name: str, maker: str = "build_images.py") -> Path:
    made = subprocess.run([sys.executable, TESTS / "images" / maker, name], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return Path(made.stdout.strip())


@dataclass
class Compose:
    """`compose("up", "-d")` in a folder, by Wherry's command or by another program."""

    running: RunningWherry
    folder: Path
    program: tuple[str, ...] = ()

    @property
    def command(self) -> tuple[str, ...]:
        return self.program or (str(Path(sys.executable).parent / "wherry"), "compose")

    def __call__(self, *arguments: str, fails: bool = False, timeout: float = 60.0, **options: Any) -> "Ran":
        done = self.running.run(*self.command, *arguments, timeout=timeout, cwd=self.folder, **options)
        assert (done.returncode != 0) is fails, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return Ran(done.returncode, done.stdout, done.stderr)

    def spawn(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.command, *arguments], env=self.running.env, cwd=self.folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def write(self, text: str, name: str = "compose.yaml") -> None:
        (self.folder / name).write_text(text)

    def ps(self) -> dict[str, dict[str, Any]]:
        return {one["Name"]: one for one in map(json.loads, self("ps", "-a", "--format", "json").out.splitlines())}

    def docker(self, *arguments: str) -> str:
        done = self.running.run("docker", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def inspect(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.docker("inspect", name))[0]
        return found

    def left(self, project: str) -> list[str]:
        """What is there of a project."""
        label = f"label=com.docker.compose.project={project}"
        found = []
        for kind in (["ps", "-a"], ["network", "ls"], ["volume", "ls"]):
            found += self.docker(*kind, "-q", "--filter", label).split()
        return found


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


def engine_with_busybox(instances: "TestInstances") -> Iterator[RunningWherry]:
    """An instance that runs its engine only, and has busybox: for a fixture of a whole module."""
    instance = instances.make()
    running = start(instance, "--engine-only")
    loaded = running.run("docker", "load", "-i", str(stand_in("busybox", "make_images.py")))
    assert loaded.returncode == 0, loaded.stderr
    yield running
    stop(instance)


def project_in(engine: RunningWherry, folder: Path) -> Iterator[Compose]:
    """Wherry's own command in a folder `shop` below `folder`; the project goes at the end."""
    (folder / "shop").mkdir()
    found = Compose(engine, folder / "shop")
    yield found
    engine.run(*found.command, "-p", "shop", "down", "-v", "-t", "0", cwd=folder)

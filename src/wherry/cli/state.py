"""What the supervisor says of an instance: the reading side of `supervisor.json`."""

import json
import os
from dataclasses import dataclass
from typing import Any

from wherry.cli import hints
from wherry.cli.supervisor import is_running
from wherry.host.instance import Instance


@dataclass(frozen=True)
class ProcessState:
    """One supervised process. `ready_after` is in seconds since its start, None while it is not ready."""

    name: str
    pid: int
    started: float
    ready_after: float | None
    status: str
    restarts: int
    last_exit: str | None
    command: tuple[str, ...]
    alive: bool


@dataclass(frozen=True)
class SupervisorState:
    """`pid` is 0 when no supervisor runs; processes of a killed supervisor are listed all the same."""

    pid: int
    processes: tuple[ProcessState, ...]

    def process(self, name: str) -> ProcessState | None:
        return next((process for process in self.processes if process.name == name), None)

    @property
    def any_alive(self) -> bool:
        return bool(self.pid) or any(process.alive for process in self.processes)


def read_state(instance: Instance) -> SupervisorState:
    """The truth as of now: pids are checked against their start times, so a reused pid is not mistaken."""
    try:
        raw: dict[str, Any] = json.loads((instance.run / "supervisor.json").read_text())
    except (OSError, ValueError):
        return SupervisorState(0, ())
    processes = tuple(
        ProcessState(
            name=name,
            pid=entry["pid"],
            started=entry["started"],
            ready_after=entry["ready_after"],
            status=entry["status"],
            restarts=entry["restarts"],
            last_exit=entry["last_exit"],
            command=tuple(entry["command"]),
            alive=is_running(entry["pid"], entry["start_ticks"]),
        )
        for name, entry in raw["processes"].items()
    )
    supervisor_alive = is_running(raw["pid"], raw["start_ticks"])
    return SupervisorState(raw["pid"] if supervisor_alive else 0, processes)


def memory_kib(pid: int) -> int:
    """Proportional set size of a process in KiB (its fair share of shared pages); 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            for line in file:
                if line.startswith("Pss:"):
                    return int(line.split()[1])
    except (OSError, ValueError):
        return 0
    return 0


def start_command(instance: Instance) -> str:
    """What starts this instance."""
    return hints.up(str(instance.root), str(instance.run))


def no_cluster(instance: Instance) -> str | None:
    """The sentence to say when this instance's cluster cannot be asked, or None when it can."""
    if not instance.kubeconfig.exists():
        return f"no cluster runs at {instance.root}. Start it with: {start_command(instance)}"
    if not os.access(instance.kubeconfig, os.R_OK):
        return f"{instance.kubeconfig} is root's: run the command with sudo"
    return None


def need_root(what: str) -> str | None:
    """The sentence to say when this command must be run by root, or None when it is."""
    return None if os.geteuid() == 0 else f"{what} needs root: run it with sudo"

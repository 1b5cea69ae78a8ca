"""Instances for tests: each with its own root, run directory, names and address pools; nothing left behind.

`TestInstances` hands them out, remembers their ids, and says at the end what of theirs is still on the machine.
"""

import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from wherry.cli.state import read_state
from wherry.host import leftovers
from wherry.host.instance import Instance, open_instance


class TestInstances:
    """Makes instances below one temporary directory (short paths: a unix socket's path holds 107 bytes)."""

    __test__ = False  # the name is not that of a test class

    def __init__(self) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="wh-", dir="/tmp"))
        self.base.chmod(0o755)  # containers' users must be able to pass through
        self.made: list[Instance] = []
        self._numbers = itertools.count()

    def make(self) -> Instance:
        """A new instance; its directories exist and are empty."""
        place = self.base / str(next(self._numbers))
        instance = open_instance(place / "root", place / "run")
        instance.root.mkdir(parents=True)
        instance.run.mkdir(parents=True)
        self.made.append(instance)
        return instance

    def discard(self, instance: Instance) -> list[str]:
        """Ends all that runs for the instance, removes it, and returns what its own shutdown had left behind.

        Meant for after the test has shut its engine or cluster down: what is listed then is a leak.
        """
        left = self.running_processes(instance)
        end_processes(instance)
        found = leftovers.find(instance)
        left += found.lines()
        if found:
            leftovers.purge(instance)
        shutil.rmtree(instance.root.parent, ignore_errors=True)
        return [f"instance {instance.id}: {line}" for line in left]

    def running_processes(self, instance: Instance) -> list[str]:
        state = read_state(instance)
        found = [f"process {p.pid} {p.name}" for p in state.processes if p.alive]
        return [*found, f"process {state.pid} supervisor"] if state.pid else found

    def close(self) -> list[str]:
        """Discards what is still there; returns every leak found now."""
        leaks = [line for instance in self.made for line in self.discard(instance)]
        shutil.rmtree(self.base, ignore_errors=True)
        return leaks


def end_processes(instance: Instance) -> None:
    """Kills the supervisor first, then what it watched: by pid, only this instance's."""
    state = read_state(instance)
    pids = [state.pid] if state.pid else []
    pids += [process.pid for process in state.processes if process.alive]
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            select_readable(descriptor, 10.0)
        except ProcessLookupError:
            pass
        finally:
            os.close(descriptor)


def select_readable(descriptor: int, timeout: float) -> bool:
    """Waits until a pidfd says that its process has ended."""
    import select

    return bool(select.select([descriptor], [], [], timeout)[0])


def wherry(instance: Instance, *arguments: str, timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
    """Runs the `wherry` command against an instance, as a user would."""
    command = [str(Path(sys.executable).parent / "wherry"), "--root", str(instance.root), "--run", str(instance.run)]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=timeout, check=False)

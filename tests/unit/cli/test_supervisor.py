"""The supervisor against real processes (small shell-free children), no root needed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wherry.cli import supervisor
from wherry.cli.state import SupervisorState, read_state
from wherry.host.instance import Instance, open_instance

# A child that reports READY=1 and its status as the real processes do, then waits for a signal.
CHILD = """
import os, signal, socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect(os.environ["NOTIFY_SOCKET"])
s.send(b"READY=1\\nSTATUS=doing well")
signal.pause()
"""


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    made = open_instance(tmp_path / "root", tmp_path / "run")
    for directory in (made.root, made.run, made.log_dir):
        directory.mkdir(parents=True)
    yield made
    state = read_state(made)
    for pid in [state.pid, *(p.pid for p in state.processes if p.alive)]:
        if pid:
            os.kill(pid, signal.SIGKILL)


def start(instance: Instance, **children: str) -> subprocess.CompletedProcess[str]:
    specs = [f"{name}={json.dumps([sys.executable, '-I', '-S', '-c', code])}" for name, code in children.items()]
    return subprocess.run(
        [sys.executable, "-I", "-S", supervisor.__file__, str(instance.run), str(instance.log_dir), *specs],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def wait_for(instance: Instance, condition: Callable[[SupervisorState], bool]) -> SupervisorState:
    deadline = time.monotonic() + 20
    while True:
        state = read_state(instance)
        if condition(state):
            return state
        assert time.monotonic() < deadline, f"condition not met: {state}"
        time.sleep(0.01)


def all_ready(state: SupervisorState) -> bool:
    return bool(state.processes) and all(p.ready_after is not None and p.alive for p in state.processes)


def test_reports_ready_and_status(instance: Instance) -> None:
    assert start(instance, one=CHILD).returncode == 0
    state = wait_for(instance, all_ready)
    process = state.process("one")
    assert process is not None
    assert process.status == "doing well"
    assert process.restarts == 0


def test_a_killed_process_is_started_again(instance: Instance) -> None:
    start(instance, one=CHILD, two=CHILD)
    before = wait_for(instance, all_ready)
    victim, other = before.process("one"), before.process("two")
    assert victim and other
    os.kill(victim.pid, signal.SIGKILL)
    after = wait_for(instance, lambda s: all_ready(s) and s.process("one").pid != victim.pid)  # type: ignore[union-attr]
    process = after.process("one")
    assert process is not None
    assert (process.restarts, process.last_exit) == (1, "signal SIGKILL")
    assert after.process("two").pid == other.pid  # type: ignore[union-attr]


def test_sigterm_ends_everything(instance: Instance) -> None:
    start(instance, one=CHILD)
    state = wait_for(instance, all_ready)
    os.kill(state.pid, signal.SIGTERM)
    wait_for(instance, lambda s: not s.any_alive)
    assert not (instance.run / "supervisor.json").exists()


def test_a_second_supervisor_is_refused(instance: Instance) -> None:
    start(instance, one=CHILD)
    wait_for(instance, all_ready)
    second = start(instance, one=CHILD)
    assert second.returncode == 3
    assert "another supervisor" in second.stderr


def test_the_processes_of_a_killed_supervisor_are_adopted(instance: Instance) -> None:
    start(instance, one=CHILD)
    before = wait_for(instance, all_ready)
    os.kill(before.pid, signal.SIGKILL)
    wait_for(instance, lambda s: not s.pid)
    assert start(instance, one=CHILD).returncode == 0
    after = wait_for(instance, lambda s: bool(s.pid) and all_ready(s))
    assert after.process("one").pid == before.process("one").pid  # type: ignore[union-attr]
    os.kill(after.process("one").pid, signal.SIGKILL)  # type: ignore[union-attr]
    wait_for(instance, lambda s: all_ready(s) and s.process("one").restarts == 1)  # type: ignore[union-attr]


def test_what_died_with_its_supervisor_is_started_by_the_next_one(instance: Instance) -> None:
    start(instance, one=CHILD, two=CHILD)
    before = wait_for(instance, all_ready)
    os.kill(before.pid, signal.SIGKILL)
    os.kill(before.process("two").pid, signal.SIGKILL)  # type: ignore[union-attr]
    wait_for(instance, lambda s: not s.pid and not s.process("two").alive)  # type: ignore[union-attr]
    assert start(instance, one=CHILD, two=CHILD).returncode == 0
    after = wait_for(instance, lambda s: bool(s.pid) and all_ready(s) and s.process("two").alive)  # type: ignore[union-attr]
    assert after.process("one").pid == before.process("one").pid  # type: ignore[union-attr]
    assert after.process("two").pid != before.process("two").pid  # type: ignore[union-attr]


def test_a_process_that_ended_unseen_by_its_parent_has_ended() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    try:
        assert supervisor.process_start_time(child) == 0
    finally:
        os.waitpid(child, 0)


def test_a_process_that_always_dies_is_retried_with_backoff(instance: Instance) -> None:
    start(instance, one="import sys; sys.exit(7)")
    state = wait_for(instance, lambda s: bool(s.processes) and s.processes[0].restarts >= 3)
    assert state.processes[0].last_exit == "exit code 7"
    assert state.processes[0].ready_after is None

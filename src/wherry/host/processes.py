"""Processes: wait for one that may not be a child, tell a reused pid from the old one, spawn helpers cheaply.

Specified in pidfd_open(2), proc(5) and posix_spawn(3). A pid alone never names a process for long: keep its
start time beside it, or hold a pidfd.
"""

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PF_EXITING = 0x4
"""Of the flags in /proc/<pid>/stat: the process is in exit(2). Kernel, include/linux/sched.h."""


@dataclass(frozen=True)
class Finished:
    """How a helper ended: exit code (128 + signal when killed), and what it wrote."""

    code: int
    stdout: bytes
    stderr: bytes


def start_time(pid: int) -> int | None:
    """When `pid` started, in clock ticks since boot (field 22 of /proc/<pid>/stat); None when there is none."""
    fields = _stat_fields(pid)
    return int(fields[19]) if fields else None


def parent_of(pid: int) -> int | None:
    """The parent's pid; None when `pid` is gone."""
    fields = _stat_fields(pid)
    return int(fields[1]) if fields else None


def children_of(pid: int) -> list[int]:
    """The children of all its threads; empty when it is gone."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    return found


def state_of(pid: int) -> str | None:
    """One letter as ps(1) shows it (`R`, `S`, `Z` …); None when `pid` is gone."""
    fields = _stat_fields(pid)
    return fields[0] if fields else None


def is_alive(pid: int) -> bool:
    """Whether `pid` runs: a zombie does not."""
    return state_of(pid) not in (None, "Z", "X")


def is_ending(pid: int) -> bool:
    """Whether `pid` has ended or is about to: the first process of a namespace ends after all others in it."""
    fields = _stat_fields(pid)
    return fields is None or fields[0] in ("Z", "X") or bool(int(fields[6]) & _PF_EXITING)


def command_line(pid: int) -> list[str]:
    """The arguments of `pid`; empty when it is gone."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return []
    return raw.decode("utf-8", "surrogateescape").split("\0")[:-1]


async def wait_pidfd(pidfd: int) -> None:
    """Return when the process behind `pidfd` has ended, child or not. The descriptor stays open."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def readable() -> None:
        loop.remove_reader(pidfd)
        if not ended.done():
            ended.set_result(None)

    loop.add_reader(pidfd, readable)
    try:
        await ended
    finally:
        loop.remove_reader(pidfd)


async def wait_pid(pid: int) -> None:
    """Return when `pid` has ended, child or not; at once when it is gone."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        await wait_pidfd(pidfd)
    finally:
        os.close(pidfd)


def reap(pid: int) -> int | None:
    """Exit code of the ended child `pid` (128 + signal when killed); None when it is not ours or still runs."""
    try:
        done, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return exit_code(status) if done else None


def exit_code(status: int) -> int:
    """A wait status as a shell shows it: 0–255, 128 + signal when killed."""
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def spawn(
    command: Sequence[str],
    *,
    stdin: int | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
    keep: Sequence[int] = (),
    directory: str | Path | None = None,
    environment: Mapping[str, str] | None = None,
    new_session: bool = False,
) -> int:
    """Start a child and return its pid; the caller waits for it (`wait_pid`, then `reap`).

    The three streams are file descriptors (None: /dev/null). `keep` are descriptors that stay open under
    their own numbers. Raises OSError when the program cannot be executed.
    """
    child = subprocess.Popen(
        list(command),
        stdin=subprocess.DEVNULL if stdin is None else stdin,
        stdout=subprocess.DEVNULL if stdout is None else stdout,
        stderr=subprocess.DEVNULL if stderr is None else stderr,
        pass_fds=tuple(keep),
        cwd=directory,
        env=dict(environment) if environment is not None else None,
        start_new_session=new_session,
    )
    # The caller reaps by pid: keep Popen's destructor from doing it behind its back.
    child.returncode = 0
    return child.pid


async def run(
    command: Sequence[str],
    *,
    stdin: bytes = b"",
    environment: Mapping[str, str] | None = None,
    directory: str | Path | None = None,
) -> Finished:
    """Run a short helper to its end and collect its output. Cancelling kills it."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(environment) if environment is not None else None,
        cwd=directory,
    )
    try:
        stdout, stderr = await process.communicate(stdin or None)
    except asyncio.CancelledError:
        if process.returncode is None:
            process.kill()
            await process.wait()
        raise
    code = process.returncode or 0
    return Finished(128 - code if code < 0 else code, stdout, stderr)


def _stat_fields(pid: int) -> list[str] | None:
    """The fields after the command name (which may hold spaces and brackets): state is [0], ppid [1]."""
    try:
        raw = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    return raw.rpartition(")")[2].split()

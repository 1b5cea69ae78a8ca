"""The monitor: one conmon process per running container, which holds its stdio, its log and its exit code.

It is a small C program that outlives us, so that containers do not notice when this process dies. What it leaves
where (all in the container's *bundle*, a folder below the instance's run directory):

    config.json     the OCI specification             attach   its socket (SOCK_SEQPACKET) for stdin and output
    pid             the container's first process     ctl      its fifo: terminal size, "open the log anew"
    conmon.pid      the monitor itself                oom      exists when the kernel killed for want of memory

and the exit code as a number in `<run>/exits/<container id>`, written last, right before the monitor ends. So the
end of the monitor (a pidfd tells, child or not) is the end of the container. See conmon(8).
"""

import asyncio
import contextlib
import errno
import os
import signal
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from wherry.engine.errors import EngineError
from wherry.engine.pipes import readable
from wherry.engine.runtime import Runtime
from wherry.host import processes

CONMON = "conmon"
STDOUT, STDERR = 1, 2

_RESIZE, _REOPEN_LOG = 1, 2
_START_TIMEOUT = 120.0


@dataclass(frozen=True)
class MonitorOptions:
    """How a container is to be held. `log` is the log file (None: keep none)."""

    container_id: str
    name: str
    bundle: Path
    exits: Path
    terminal: bool = False
    stdin: bool = False
    leave_stdin_open: bool = True
    log: Path | None = None


@dataclass(frozen=True)
class Started:
    """A created container: its first process waits for the runtime's `start`."""

    pid: int
    monitor_pid: int


class RuntimeFailure(EngineError):
    """The runtime refused; `raw` is what it wrote."""

    def __init__(self, raw: str) -> None:
        super().__init__(raw)
        self.raw = raw


async def create(runtime: Runtime, options: MonitorOptions) -> Started:
    """Start the monitor, which has the runtime create the container. Raises RuntimeFailure with the runtime's text.

    The monitor is our child as long as we live: whoever waits for its end also reaps it.
    """
    read, write = os.pipe()
    os.set_blocking(read, False)
    command = [
        CONMON, "--api-version", "1", "--sync", "--cid", options.container_id, "--cuuid", options.container_id,
        "--name", options.name, "--runtime", runtime.program, "--bundle", str(options.bundle),
        "--container-pidfile", str(options.bundle / "pid"), "--conmon-pidfile", str(options.bundle / "conmon.pid"),
        "--exit-dir", str(options.exits), "--full-attach", "--no-sync-log", "--log-level", "error",
    ]  # fmt: skip
    if options.log is None:
        command += ["--log-path", "off"]
    else:
        command += ["--log-path", f"k8s-file:{options.log}"]
    if options.terminal:
        command.append("--terminal")
    if options.stdin:
        command.append("--stdin")
        if options.leave_stdin_open:
            command.append("--leave-stdin-open")
    for argument in runtime.global_arguments():
        command += ["--runtime-arg", argument]
    try:
        monitor_pid = processes.spawn(
            command, keep=[write], directory=options.bundle, environment=_environment({"_OCI_SYNCPIPE": str(write)})
        )
    except OSError as error:
        os.close(read)
        raise EngineError(
            f"cannot start {CONMON}: {os.strerror(error.errno or 0)}; install the package conmon"
        ) from error
    finally:
        os.close(write)
    try:
        answer = await asyncio.wait_for(_read_all(read), _START_TIMEOUT)
    except TimeoutError:
        os.kill(monitor_pid, 9)
        raise EngineError("the runtime did not create the container in time") from None
    finally:
        os.close(read)
    pid, message = _parse(answer)
    if pid <= 0:
        await processes.wait_pid(monitor_pid)
        processes.reap(monitor_pid)
        raise RuntimeFailure(message)
    (options.bundle / "conmon.pid").write_text(str(monitor_pid))
    return Started(pid, monitor_pid)


def exit_code(exits: Path, container_id: str) -> tuple[int, int] | None:
    """(exit code, when in ns since 1970) of an ended container; None when its monitor did not get to write it."""
    path = exits / container_id
    try:
        return int(path.read_text()), path.stat().st_mtime_ns
    except (FileNotFoundError, ValueError):
        return None


def was_oom_killed(bundle: Path) -> bool:
    return (bundle / "oom").exists()


def find(bundle: Path, container_id: str) -> Started | None:
    """The monitor that still holds a container, by the pid files in its bundle; None when there is none.

    A pid file may be from before a reboot: the process must be conmon and hold this very container.
    """
    try:
        monitor_pid = int((bundle / "conmon.pid").read_text())
        pid = int((bundle / "pid").read_text())
    except (OSError, ValueError):
        return _search(bundle, container_id)
    if not _holds(monitor_pid, container_id):
        return None
    return Started(pid, monitor_pid)


async def end_unborn(bundles: Path) -> None:
    """End the monitors below `bundles` that have not got as far as to write their container's pid.

    We were killed while they began. Nobody waits for such a container any more, and once born nobody would know it.
    """
    for pid in await asyncio.to_thread(_unborn, bundles):
        family = [pid, *processes.children_of(pid)]
        for member in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(member, signal.SIGKILL)
        for member in family:
            await processes.wait_pid(member)


def _unborn(bundles: Path) -> list[int]:
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        arguments = processes.command_line(int(entry))
        if not arguments or os.path.basename(arguments[0]) != CONMON or "--bundle" not in arguments:
            continue
        bundle = Path(arguments[arguments.index("--bundle") + 1])
        if bundle.parent == bundles and not (bundle / "pid").exists():
            found.append(int(entry))
    return found


def connect(bundle: Path) -> socket.socket:
    """A connection to the monitor's attach socket: packets, each led by one byte (2 stdout, 3 stderr); not blocking.

    Raises OSError (ENOENT, ECONNREFUSED) when the monitor is gone.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    # A bundle's path may be longer than the 107 bytes of an address.
    directory = os.open(bundle, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        connection.connect(f"/proc/self/fd/{directory}/attach")
    except OSError:
        connection.close()
        raise
    finally:
        os.close(directory)
    connection.setblocking(False)
    return connection


def resize(bundle: Path, height: int, width: int) -> None:
    """Set the terminal's size in characters. Raises OSError when the monitor is gone."""
    _control(bundle, f"{_RESIZE} {min(height, 1000)} {min(width, 1000)}\n")


def reopen_log(bundle: Path) -> None:
    """Have the monitor begin its log file anew (it was renamed). Raises OSError when the monitor is gone."""
    _control(bundle, f"{_REOPEN_LOG} 0 0\n")


def _control(bundle: Path, line: str) -> None:
    # Not blocking: without a reader this fails (ENXIO) instead of waiting for one.
    descriptor = os.open(bundle / "ctl", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    # UTC, so that log lines have times of one length. Nothing of ours leaks into containers.
    return {"PATH": os.environ.get("PATH", os.defpath), "TZ": "UTC", "XDG_RUNTIME_DIR": "/run", **extra}


async def _read_all(descriptor: int) -> bytes:
    """The monitor's answer: one line, or nothing when it failed before it could speak."""
    received = b""
    while not received.endswith(b"\n"):
        await readable(descriptor)
        chunk = os.read(descriptor, 65536)
        if not chunk:
            break
        received += chunk
    return received


def _parse(answer: bytes) -> tuple[int, str]:
    for line in answer.splitlines():
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        return int(value.get("data", value.get("pid", -1))), str(value.get("message") or "")
    return -1, answer.decode("utf-8", "replace") or "the container monitor (conmon) failed"


def _holds(pid: int, container_id: str) -> bool:
    if not processes.is_alive(pid):
        return False
    arguments = processes.command_line(pid)
    return bool(arguments) and os.path.basename(arguments[0]) == CONMON and container_id in arguments


def _search(bundle: Path, container_id: str) -> Started | None:
    """We died before the monitor's pid was written down: look for it among all processes."""
    try:
        pid = int((bundle / "pid").read_text())
    except (OSError, ValueError):
        return None
    parent = processes.parent_of(pid)
    if parent is not None and _holds(parent, container_id):
        return Started(pid, parent)
    return None


def is_gone(error: OSError) -> bool:
    """Whether an OSError of this module means that the monitor has ended."""
    return error.errno in (errno.ENOENT, errno.ECONNREFUSED, errno.ENXIO, errno.EPIPE, errno.ECONNRESET)

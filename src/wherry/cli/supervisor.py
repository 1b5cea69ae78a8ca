"""The supervisor: keeps `wherry-node` and `wherry-server` running, and knows how they are.

It is started by `wherry up`, detached, as `python -I -S supervisor.py …`: only the standard library's smallest
modules are imported, so that watching costs little memory. It starts the processes, restarts what dies
(0.1 s, doubling up to 5 s; a process that lived for 10 s starts the count again), and ends them on SIGTERM.
Containers are children of conmon and not of any of these, so nothing here touches them.

Files in the run directory:
- `supervisor.lock`: held (flock) while a supervisor lives, so that there is one per instance;
- `supervisor.json`: the state below, replaced atomically at each change; `wherry up|down|status` read it;
- `notify.sock`: processes report `READY=1` and `STATUS=…` here, in systemd's sd_notify(3) format, so that the same
  processes also run as `Type=notify` units without this supervisor.

A supervisor that finds the processes of a killed predecessor alive adopts them (pidfd) and starts nothing.
"""

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import sys
import time

BACKOFF_FIRST = 0.1
BACKOFF_MAX = 5.0
STABLE_AFTER = 10.0
STOP_TIMEOUT = 20.0


def process_start_time(pid: int) -> int:
    """Start time of a process in clock ticks since boot (field 22 of /proc/PID/stat); 0 when it has ended.

    With the pid it names one process for ever: a reused pid has another start time. One that has ended and that its
    parent has not taken note of yet (a zombie) has ended.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
            return 0 if fields[0] in (b"Z", b"X") else int(fields[19])
    except (OSError, IndexError, ValueError):
        return 0


def is_running(pid: int, start_ticks: int) -> bool:
    """Whether the process that had this pid and this start time still runs."""
    return pid > 0 and start_ticks > 0 and process_start_time(pid) == start_ticks


class Process:
    """One supervised process and what is known of it."""

    def __init__(self, name: str, command: list[str], log: str) -> None:
        self.name = name
        self.command = command
        self.log = log
        self.pid = 0
        self.start_ticks = 0
        self.pidfd = -1
        self.is_child = False
        self.started = 0.0
        self.ready_after: float | None = None
        self.status = ""
        self.restarts = 0
        self.last_exit: str | None = None
        self.delay = BACKOFF_FIRST
        self.start_at = 0.0

    def start(self) -> None:
        # A crash's last words go to a file of their own, bounded by being started afresh when it is large.
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        with contextlib.suppress(OSError):
            if os.stat(self.log).st_size > 1 << 20:
                os.replace(self.log, self.log + ".1")
        output = os.open(self.log, flags, 0o640)
        null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.pid = os.posix_spawn(
                self.command[0],
                self.command,
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, null, 0),
                    (os.POSIX_SPAWN_DUP2, output, 1),
                    (os.POSIX_SPAWN_DUP2, output, 2),
                ],
                setsigmask=(),
                setsigdef=(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE),
            )
        finally:
            os.close(output)
            os.close(null)
        self.watch(is_child=True)

    def watch(self, is_child: bool) -> None:
        self.is_child = is_child
        self.start_ticks = process_start_time(self.pid)
        self.started = time.time()
        self.pidfd = os.pidfd_open(self.pid)

    def reap(self) -> None:
        """The process has ended: note how, and when it is to be started again."""
        self.last_exit = "unknown"
        if self.is_child:
            status = os.waitpid(self.pid, 0)[1]
            code = os.waitstatus_to_exitcode(status)
            self.last_exit = f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
        os.close(self.pidfd)
        self.pidfd = -1
        self.pid = 0
        self.ready_after = None
        self.status = ""
        if time.time() - self.started > STABLE_AFTER:
            self.delay = BACKOFF_FIRST
        self.start_at = time.monotonic() + self.delay
        self.delay = min(self.delay * 2, BACKOFF_MAX)
        self.restarts += 1

    def describe(self) -> dict[str, object]:
        return {
            "pid": self.pid,
            "start_ticks": self.start_ticks,
            "started": self.started,
            "ready_after": self.ready_after,
            "status": self.status,
            "restarts": self.restarts,
            "last_exit": self.last_exit,
            "command": self.command,
        }


class Supervisor:
    def __init__(self, run: str, log_dir: str, processes: list[Process]) -> None:
        self.run = run
        self.state_path = os.path.join(run, "supervisor.json")
        self.processes = processes
        self.stopping = False
        self.stop_deadline = 0.0
        self.started = time.time()

    def main(self) -> int:
        wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_write)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.on_stop)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        notify = self.open_notify_socket()
        self.adopt()
        for process in self.processes:
            if not process.pid:
                process.start()
        self.save()
        poller = select.poll()
        poller.register(wake_read, select.POLLIN)
        poller.register(notify, select.POLLIN)
        watched: dict[int, Process] = {}
        while True:
            for process in self.processes:
                if process.pidfd >= 0 and process.pidfd not in watched:
                    watched[process.pidfd] = process
                    poller.register(process.pidfd, select.POLLIN)
            if self.stopping and not watched:
                break
            changed = False
            for fd, _ in poller.poll(self.poll_timeout()):
                if fd == wake_read:
                    with contextlib.suppress(BlockingIOError):
                        os.read(wake_read, 64)
                elif fd == notify.fileno():
                    changed = self.read_notifications(notify) or changed
                else:
                    poller.unregister(fd)
                    watched.pop(fd).reap()
                    changed = True
            changed = self.start_due() or changed
            if self.stopping and time.monotonic() > self.stop_deadline:
                for process in watched.values():
                    signal.pidfd_send_signal(process.pidfd, signal.SIGKILL)
                self.stop_deadline = time.monotonic() + STOP_TIMEOUT
            if changed:
                self.save()
        with contextlib.suppress(OSError):
            os.unlink(self.state_path)
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(self.run, "notify.sock"))
        return 0

    def on_stop(self, number: int, frame: object) -> None:
        if not self.stopping:
            self.stopping = True
            self.stop_deadline = time.monotonic() + STOP_TIMEOUT
            for process in self.processes:
                if process.pidfd >= 0:
                    signal.pidfd_send_signal(process.pidfd, signal.SIGTERM)

    def poll_timeout(self) -> int | None:
        """Milliseconds until something is due; None when nothing is."""
        due = [p.start_at for p in self.processes if not p.pid] if not self.stopping else [self.stop_deadline]
        return max(0, int((min(due) - time.monotonic()) * 1000) + 1) if due else None

    def start_due(self) -> bool:
        started = False
        if not self.stopping:
            for process in self.processes:
                if not process.pid and time.monotonic() >= process.start_at:
                    process.start()
                    started = True
        return started

    def adopt(self) -> None:
        try:
            with open(self.state_path, encoding="utf-8") as file:
                known = json.load(file)["processes"]
        except (OSError, ValueError, KeyError):
            return
        for process in self.processes:
            entry = known.get(process.name, {})
            pid = entry.get("pid", 0)
            if is_running(pid, entry["start_ticks"]):
                process.pid = pid
                process.watch(is_child=False)
                process.started = entry["started"]
                process.ready_after = entry["ready_after"]
                process.status = entry["status"]
                process.restarts = entry["restarts"]

    def open_notify_socket(self) -> socket.socket:
        path = os.path.join(self.run, "notify.sock")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        notify.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        notify.bind(path)
        os.chmod(path, 0o600)
        os.environ["NOTIFY_SOCKET"] = path
        return notify

    def read_notifications(self, notify: socket.socket) -> bool:
        changed = False
        with contextlib.suppress(BlockingIOError):
            while True:
                data, ancillary, _, _ = notify.recvmsg(4096, socket.CMSG_SPACE(12))
                pid = int.from_bytes(ancillary[0][2][:4], sys.byteorder) if ancillary else 0
                for process in self.processes:
                    if process.pid != pid:
                        continue
                    changed = True
                    for line in data.decode(errors="replace").splitlines():
                        key, _, value = line.partition("=")
                        if key == "READY" and process.ready_after is None:
                            process.ready_after = round(time.time() - process.started, 3)
                        elif key == "STATUS":
                            process.status = value
        return changed

    def save(self) -> None:
        state = {
            "pid": os.getpid(),
            "start_ticks": process_start_time(os.getpid()),
            "started": self.started,
            "processes": {process.name: process.describe() for process in self.processes},
        }
        temporary = f"{self.state_path}.new"
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(state, file)
        os.replace(temporary, self.state_path)


def main(arguments: list[str]) -> int:
    """`supervisor.py RUN LOG_DIR NAME=COMMAND-AS-JSON …`; detaches itself, returns at once in the parent."""
    run, log_dir, *specs = arguments
    lock = os.open(os.path.join(run, "supervisor.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.stderr.write("another supervisor of this instance is running\n")
        return 3
    if os.fork():
        os._exit(0)
    os.setsid()
    os.chdir("/")
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)
    processes = []
    for spec in specs:
        name, _, command = spec.partition("=")
        processes.append(Process(name, json.loads(command), os.path.join(log_dir, f"{name}.err")))
    return Supervisor(run, log_dir, processes).main()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

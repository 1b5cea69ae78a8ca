"""`engine.execs`: further processes in running containers (`docker exec`, health checks, kubectl exec).

An exec is a child of this process by way of the runtime (`crun exec`, which waits for it and ends with its exit
code): no monitor, because nobody can come back to an exec's streams after a restart. Its runtime writes errors to a
log of its own, so that a command that cannot be started is told from one that failed.
Specified in the Docker Engine API, `ContainerExec` and `ExecStart`.
"""

import asyncio
import contextlib
import os
import shutil
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from wherry.engine import oci, users
from wherry.engine.errors import Conflict, EngineError, InvalidParameter, NotFound
from wherry.engine.model import Container
from wherry.engine.naming import new_id
from wherry.engine.pipes import PipeReader, PipeWriter, readable
from wherry.engine.runtime import explain
from wherry.engine.streams import STDERR, STDOUT, Attachment
from wherry.host import processes
from wherry.host.inotify import Watch

if TYPE_CHECKING:
    from wherry.engine.engine import Engine

_CONSOLE_WAIT = 2.0
"""Seconds for which the terminal of an ended exec is waited for. The runtime sends it before the command begins."""

_KEEP = 300.0
"""Seconds for which an ended exec can be inspected."""


@dataclass
class Exec:
    """One exec. `exit_code` is None until it has ended."""

    id: str
    container: Container
    command: list[str]
    body: dict[str, Any]
    running: bool = False
    started: bool = False
    exit_code: int | None = None
    pid: int = 0
    attachment: Attachment | None = None
    console: int | None = None
    directory: Path | None = None
    done: asyncio.Event = field(default_factory=asyncio.Event)
    ended_at: float = 0.0


class Execs:
    """All execs of one engine."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._execs: dict[str, Exec] = {}

    async def create(self, ref: str, body: Mapping[str, Any]) -> str:
        """`POST /containers/{id}/exec`: the exec's id. Raises Conflict when the container does not run."""
        self._engine.cgroup_moves.expect()
        container = self._engine.containers.get(ref)
        self._check_running(container)
        command = body.get("Cmd") or []
        if isinstance(command, str):
            command = [command]
        if not command:
            raise InvalidParameter("No exec command specified")
        self._forget_old()
        found = Exec(new_id(), container, list(command), dict(body))
        self._execs[found.id] = found
        self._engine.containers.emit(container, f"exec_create: {' '.join(found.command)}", {"execID": found.id})
        return found.id

    async def start(
        self, exec_id: str, *, detach: bool = False, tty: bool = False, console_size: Sequence[int] | None = None
    ) -> Attachment | None:
        """`POST /exec/{id}/start`. The attachment ends with the process; None with `detach`.

        A command that cannot be executed, or whose user is unknown, is an error with `detach`; otherwise, as with
        Docker, the error's text comes as output and the exit code is 126 or 127. Raises NotFound, Conflict.
        """
        found = self._get(exec_id)
        if found.started:
            raise Conflict(f"exec command {exec_id} has already run" if found.exit_code is not None
                           else f"exec command {exec_id} is already running")  # fmt: skip
        container = found.container
        self._check_running(container)
        found.started = found.running = True
        tty = tty or bool(found.body.get("Tty"))
        try:
            return await self._spawn(found, detach=detach, tty=tty, console_size=console_size)
        except EngineError as error:
            self._ended(found, 126)
            if detach:
                raise
            refused = Attachment(tty=tty)
            refused.feed(STDOUT, f"{error.message}\r\n".encode())
            refused.end()
            return refused
        except BaseException:
            self._ended(found, 126)
            raise

    async def wait(self, exec_id: str) -> int:
        """The exit code, once it has ended."""
        found = self._get(exec_id)
        await found.done.wait()
        return found.exit_code if found.exit_code is not None else 137

    async def resize(self, exec_id: str, height: int, width: int) -> None:
        """Raises NotFound, Conflict when it does not run or has no terminal."""
        import fcntl
        import struct
        import termios

        found = self._get(exec_id)
        if not found.running:
            raise Conflict(f"exec process is not started: {exec_id}" if not found.started
                           else f"No such exec instance: {exec_id}")  # fmt: skip
        if found.console is not None:
            fcntl.ioctl(found.console, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    async def inspect(self, exec_id: str) -> dict[str, Any]:
        """`GET /exec/{id}/json`."""
        found = self._get(exec_id)
        body = found.body
        return {
            "ID": found.id,
            "Running": found.running,
            "ExitCode": found.exit_code,
            "ProcessConfig": {
                "tty": bool(body.get("Tty")),
                "entrypoint": found.command[0],
                "arguments": found.command[1:],
                "privileged": bool(body.get("Privileged")),
                **({"user": body["User"]} if body.get("User") else {}),
            },
            "OpenStdin": bool(body.get("AttachStdin")),
            "OpenStderr": bool(body.get("AttachStderr")),
            "OpenStdout": bool(body.get("AttachStdout")),
            "CanRemove": found.exit_code is not None,
            "ContainerID": found.container.id,
            "DetachKeys": body.get("DetachKeys") or "",
            "Pid": self._pid(found),
        }

    def left(self, exec_id: str) -> None:
        """A client of `start` typed its detach keys."""
        with contextlib.suppress(NotFound):
            found = self._get(exec_id)
            self._engine.containers.emit(found.container, "exec_detach", {"execID": found.id})

    def container_ended(self, exec_id: str) -> None:
        """Its container has ended, and with it the process: the runtime's end tells the rest."""

    def forget(self, container: Container) -> None:
        """The container is removed."""
        for exec_id in [key for key, found in self._execs.items() if found.container is container]:
            del self._execs[exec_id]

    async def close(self) -> None:
        """Let go of streams; the processes go on."""
        for found in self._execs.values():
            if found.attachment is not None:
                found.attachment.end()

    # --- inside ---

    def _get(self, exec_id: str) -> Exec:
        found = self._execs.get(exec_id)
        if found is None:
            matches = [key for key in self._execs if exec_id and key.startswith(exec_id)]
            if len(matches) != 1:
                raise NotFound(f"No such exec instance: {exec_id}")
            found = self._execs[matches[0]]
        return found

    def _check_running(self, container: Container) -> None:
        status = container.state.status
        if status == "paused":
            raise Conflict(f"container {container.id} is paused, unpause the container before exec")
        if status == "restarting":
            raise Conflict(f"container {container.id} is restarting, wait until the container is running")
        if status != "running":
            raise Conflict(f"container {container.id} is not running")

    def _pid(self, found: Exec) -> int:
        if found.running and not found.pid and found.directory is not None:
            with contextlib.suppress(OSError, ValueError):
                found.pid = int((found.directory / "pid").read_text())
        return found.pid

    async def _spawn(
        self, found: Exec, *, detach: bool, tty: bool, console_size: Sequence[int] | None
    ) -> Attachment | None:
        container, body = found.container, found.body
        self._engine.cgroup_moves.expect()
        directory = found.directory = self._engine.instance.run / "execs" / found.id[:16]
        directory.mkdir(parents=True)
        spec = await self._process(found, tty, console_size)
        (directory / "process.json").write_bytes(orjson.dumps(spec))
        chosen = self._engine.containers.lifecycle.runtime(container)
        command = [
            chosen.program, *chosen.global_arguments()[:2], "--log", str(directory / "log"), "--log-format", "json",
            *chosen.arguments, "exec", "--process", str(directory / "process.json"), "--pid-file",
            str(directory / "pid"),
        ]  # fmt: skip
        wants_input = bool(body.get("AttachStdin")) and not detach
        ours: list[int] = []
        theirs: list[int] = []
        listener: socket.socket | None = None
        watch = Watch(directory) if detach else None
        streams: dict[str, int] = {}
        try:
            if tty:
                listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
                listener.bind(str(directory / "tty"))
                listener.listen(1)
                listener.setblocking(False)
                command += ["--console-socket", str(directory / "tty")]
            elif not detach:
                for name in ("stdin", "stdout", "stderr"):
                    if name == "stdin" and not wants_input:
                        continue
                    read, write = os.pipe()
                    inner, outer = (read, write) if name == "stdin" else (write, read)
                    theirs.append(inner)
                    ours.append(outer)
                    streams[name] = outer
                    streams[f"their {name}"] = inner
            pid = processes.spawn(
                [*command, container.id],
                stdin=streams.get("their stdin"),
                stdout=streams.get("their stdout"),
                stderr=streams.get("their stderr"),
                environment={"PATH": os.environ.get("PATH", os.defpath), "XDG_RUNTIME_DIR": "/run"},
                new_session=True,
            )
        except BaseException:
            for descriptor in ours:
                os.close(descriptor)
            if listener is not None:
                listener.close()
            if watch is not None:
                watch.close()
            shutil.rmtree(directory, ignore_errors=True)
            raise
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        container.exec_ids.append(found.id)
        self._engine.containers.emit(container, f"exec_start: {' '.join(found.command)}", {"execID": found.id})
        if detach:
            assert watch is not None
            if listener is not None:
                self._engine.containers.spawn(self._drop_console(found, listener))
            watcher = self._engine.containers.spawn(self._wait_detached(found, pid))
            try:
                await self._until_started(found, watch, watcher)
            finally:
                watch.close()
            return None
        attachment = self._attachment(found, tty, wants_input, streams)
        self._engine.containers.spawn(self._wait_attached(found, pid, attachment, listener))
        return attachment.attachment

    async def _process(self, found: Exec, tty: bool, console_size: Sequence[int] | None) -> dict[str, Any]:
        container, body = found.container, found.body
        lifecycle = self._engine.containers.lifecycle
        config = {**container.config, "Tty": tty}
        config["Env"] = [*container.config["Env"], *(body.get("Env") or ())]
        if body.get("WorkingDir"):
            config["WorkingDir"] = body["WorkingDir"]
        host_config = dict(container.host_config)
        if body.get("Privileged"):
            host_config["Privileged"] = True
        host_config["ConsoleSize"] = list(console_size) if console_size else [0, 0]
        rootfs = lifecycle.bundle(container.id) / "rootfs"
        name = body.get("User") or container.config["User"]
        user = await asyncio.to_thread(users.look_up, rootfs, name, host_config["GroupAdd"] or ())
        inputs = oci.SpecInputs(
            id=container.id,
            hostname=lifecycle.hostname(container),
            rootfs=rootfs,
            user=user,
            layout=self._engine.layout,
            cgroup_path="",
            command=found.command,
        )
        return oci.build_process(config, host_config, inputs)

    def _attachment(self, found: Exec, tty: bool, wants_input: bool, streams: dict[str, int]) -> "_Streams":
        body = found.body
        stdin = PipeWriter(streams["stdin"]) if "stdin" in streams else PipeWriter() if tty and wants_input else None
        readers: list[PipeReader] = []

        def resume() -> None:
            for reader in readers:
                reader.resume()

        attachment = Attachment(
            stdout=bool(body.get("AttachStdout", True)) or tty,
            stderr=bool(body.get("AttachStderr", True)),
            tty=tty,
            write=stdin.write if stdin is not None else None,
            close_stdin=stdin.close if stdin is not None and not tty else None,
            on_room=resume,
            on_detach=lambda _: resume(),
        )
        if not tty:
            readers.append(PipeReader(streams["stdout"], STDOUT, attachment))
            assert found.directory is not None
            pid_file = found.directory / "pid"
            readers.append(PipeReader(streams["stderr"], STDERR, attachment, started=pid_file.exists))
        found.attachment = attachment
        return _Streams(attachment, readers, stdin)

    async def _wait_attached(self, found: Exec, pid: int, streams: "_Streams", listener: socket.socket | None) -> None:
        accepting = None
        if listener is not None:
            accepting = asyncio.ensure_future(_receive_console(listener))
            accepting.add_done_callback(lambda done: self._console_arrived(found, streams, done))
        try:
            await processes.wait_pid(pid)
            message, failed = self._failure(found)
            if accepting is not None and message is None:
                # A command that was quicker than we: its terminal is on the way, with all that it wrote.
                await asyncio.wait((accepting,), timeout=_CONSOLE_WAIT)
        finally:
            if accepting is not None and not accepting.done():
                accepting.cancel()
            if listener is not None:
                listener.close()
        code = processes.reap(pid)
        for reader in streams.readers:
            reader.drain(discard_held=message is not None)
        if streams.stdin is not None:
            streams.stdin.close()
        if message is not None:
            streams.attachment.feed(STDOUT, f"{message}\r\n".encode())
            code = failed
        self._ended(found, code if code is not None else 137)
        streams.attachment.end()

    def _console_arrived(self, found: Exec, streams: "_Streams", done: "asyncio.Future[int]") -> None:
        if done.cancelled() or done.exception() is not None:
            return
        console = done.result()
        found.console = os.dup(console)
        streams.readers.append(PipeReader(console, STDOUT, streams.attachment))
        if streams.stdin is not None:
            streams.stdin.open(os.dup(console))

    async def _drop_console(self, found: Exec, listener: socket.socket) -> None:
        """A detached exec with a terminal: keep it open, and read what nobody wants."""
        try:
            console = await _receive_console(listener)
        finally:
            listener.close()
        sink = Attachment(stdout=False, stderr=False)
        reader = PipeReader(console, STDOUT, sink)
        await found.done.wait()
        reader.drain()

    async def _wait_detached(self, found: Exec, pid: int) -> None:
        await processes.wait_pid(pid)
        code = processes.reap(pid)
        message, failed = self._failure(found)
        found.body["error"] = message
        self._ended(found, failed if message is not None else code if code is not None else 137)

    async def _until_started(self, found: Exec, watch: Watch, watcher: "asyncio.Task[None]") -> None:
        assert found.directory is not None
        watcher.add_done_callback(lambda _: watch.poke())
        while not watcher.done() and not (found.directory / "pid").exists():
            await watch.changed()
        if watcher.done() and found.body.get("error"):
            raise _ExecError(str(found.body["error"]))

    def _failure(self, found: Exec) -> tuple[str | None, int]:
        """(the daemon's message, exit code) when the runtime could not start the command."""
        assert found.directory is not None
        try:
            raw = (found.directory / "log").read_text(errors="replace")
        except FileNotFoundError:
            return None, 0
        if not raw.strip() or (found.directory / "pid").exists():
            return None, 0
        text = explain(raw, found.command).removeprefix("error during container init: ")
        code = 127 if "not found" in text or "no such file" in text else 126
        return f"OCI runtime exec failed: exec failed: unable to start container process: {text}: unknown", code

    def _ended(self, found: Exec, code: int) -> None:
        found.exit_code, found.running, found.pid = code, False, 0
        found.ended_at = time.monotonic()
        if found.console is not None:
            os.close(found.console)
            found.console = None
        if found.directory is not None:
            shutil.rmtree(found.directory, ignore_errors=True)
        with contextlib.suppress(ValueError):
            found.container.exec_ids.remove(found.id)
        found.done.set()
        self._engine.containers.emit(found.container, "exec_die", {"execID": found.id, "exitCode": str(code)})

    def _forget_old(self) -> None:
        now = time.monotonic()
        for exec_id in [key for key, found in self._execs.items() if found.ended_at and now - found.ended_at > _KEEP]:
            del self._execs[exec_id]


@dataclass
class _Streams:
    attachment: Attachment
    readers: list[PipeReader]
    stdin: PipeWriter | None


class _ExecError(InvalidParameter):
    pass


async def _receive_console(listener: socket.socket) -> int:
    """The terminal's master that the runtime sends (one SCM_RIGHTS message)."""
    connection, _ = await asyncio.get_running_loop().sock_accept(listener)
    try:
        await readable(connection.fileno())
        _, descriptors, _, _ = socket.recv_fds(connection, 4096, 1)
    finally:
        connection.close()
    if not descriptors:
        raise EngineError("the runtime sent no terminal")
    os.set_inheritable(descriptors[0], False)
    return descriptors[0]

"""From created to running to exited: what is mounted, wired and started, and what is undone at the end.

The order at the start: root file system and network (side by side), volumes, files, specification, monitor; one
transaction; then the process is let go. Each step is undone when a later one fails. At the end everything but the
snapshot goes. Whoever changes a container's state holds its lock.
"""

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wherry.engine import logs, monitor, mountpoints, restart, runtime
from wherry.engine.bundle import Bundles
from wherry.engine.errors import Conflict, EngineError, InvalidParameter, NotModified
from wherry.engine.health import HealthMonitor
from wherry.engine.model import Container, State, parse_timestamp, timestamp
from wherry.engine.networks.types import NetworkSandbox
from wherry.engine.signals import parse as parse_signal
from wherry.engine.streams import Hub
from wherry.host import mounts, processes
from wherry.host.cgroups import Cgroup

if TYPE_CHECKING:
    from wherry.engine.containers import Containers

_log = logging.getLogger(__name__)

DEFAULT_STOP_TIMEOUT = 10
_LAST_LOOK = 0.2
"""Seconds for which a container that is to be removed stays, when it ended by itself and nobody waits for its removal:
a client that starts one, and then asks for its log and its exit code, is slower than a short command."""

_KILL_WAIT = 10.0


class Lifecycle:
    """Starts, stops and cleans up. One per engine."""

    def __init__(self, owner: "Containers") -> None:
        self._containers = owner
        self._engine = owner.engine
        self._bundles = Bundles(owner, self)

    # --- places ---

    @property
    def bundles(self) -> Path:
        return self._engine.instance.run / "containers"

    def bundle(self, container_id: str) -> Path:
        return self.bundles / container_id

    def home(self, container_id: str) -> Path:
        """Files that survive a reboot: resolv.conf, hosts, hostname, log."""
        return self._engine.instance.root / "containers" / container_id

    @property
    def exits(self) -> Path:
        return self._engine.instance.run / "exits"

    def cgroup(self, container: Container) -> Cgroup:
        parent = container.cgroup_parent.strip("/") or self._engine.instance.cgroup
        return Cgroup(self._engine.layout, f"{parent}/{container.id}")

    def runtime(self, container: Container) -> runtime.Runtime:
        return self._engine.runtimes.get(container.host_config.get("Runtime") or "")

    def hostname(self, container: Container) -> str:
        return self._bundles.hostname(container)

    # --- start ---

    async def start(self, container: Container) -> None:
        """Raises NotModified when it runs, Conflict while it is paused or going, EngineErrors when it cannot."""
        async with container.lock:
            state = container.state
            if state.status == "paused":
                raise Conflict("cannot start a paused container, try unpause instead")
            if state.status == "running":
                raise NotModified(f"Container {container.name} is already running")
            if state.status in ("removing", "dead"):
                raise Conflict("container is marked for removal and cannot be started")
            self._cancel_restart(container)
            container.record.manually_stopped = False
            container.restart_delay = 0.0
            container.record.restart_count = 0
            await self._start_locked(container)

    async def _start_locked(self, container: Container) -> None:
        try:
            await self._launch(container)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            # Whatever it was, the container must say so and leave nothing half made.
            code = getattr(error, "exit_code", 128)
            state = container.state
            state.status = "exited" if container.record.started_before else "created"
            state.pid, state.exit_code, state.error = 0, code, str(error)
            await self._containers.save(container)
            if container.hub is not None:
                container.hub.finish()
            container.exits.tell(code, str(error))
            if container.host_config.get("AutoRemove"):
                self._containers.spawn(self._containers.auto_remove(container))
            raise

    async def _launch(self, container: Container) -> None:
        record = container.record
        bundle = self.bundle(record.id)
        undo: list[Any] = []
        self._engine.cgroup_moves.expect()
        try:
            self._make_places(record.id)
            rootfs = bundle / "rootfs"
            sandbox, _ = await _both(self._bundles.attach_network(container), self._mount_root(container, rootfs))
            undo.append(lambda: self._engine.networks.detach(record.id))
            undo.append(lambda: asyncio.to_thread(mounts.unmount, rootfs, lazy=True))
            undo.append(lambda: mountpoints.release(record.mounts, self._engine.volumes, record.id))
            undo.append(lambda: asyncio.to_thread(_unmount_images, bundle))
            oci_mounts = await mountpoints.prepare(
                record.mounts, self._engine.volumes, self._engine.images.snapshots, record.id, rootfs
            )
            spec = await self._bundles.write(container, sandbox, rootfs, oci_mounts)
            command = spec["process"]["args"]
            options = self._monitor_options(container)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.exits / record.id)
            chosen = self.runtime(container)
            undo.append(lambda: chosen.delete(record.id, self.cgroup(container)))
            try:
                started = await monitor.create(chosen, options)
            except monitor.RuntimeFailure as failure:
                raise _start_error(failure.raw, command[2:] if container.host_config.get("Init") else command) from None
            undo.append(lambda: self._kill_monitor(started))
            self._running(container, started, sandbox)
            if container.hub is not None and container.hub.wanted:
                container.hub.connect(bundle)
            self._watch(container, started.monitor_pid)
            await self._containers.save(container)
            await chosen.start(record.id)
        except BaseException:
            if container.watcher is not None:
                container.watcher.cancel()
                container.watcher = None
            for step in reversed(undo):
                try:
                    await step()
                except (OSError, EngineError) as error:
                    _log.warning("container %s: undoing a failed start: %s", record.id[:12], error)
            shutil.rmtree(bundle, ignore_errors=True)
            raise
        self._after_start(container)
        self._containers.emit(container, "start")

    def _make_places(self, container_id: str) -> None:
        bundle = self.bundle(container_id)
        (bundle / "rootfs").mkdir(parents=True, exist_ok=True)
        self.exits.mkdir(exist_ok=True)
        for name in ("oom", "attach", "ctl", "winsz"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(bundle / name)

    async def _mount_root(self, container: Container, rootfs: Path) -> None:
        snapshots = self._engine.images.snapshots
        await asyncio.to_thread(snapshots.mount, container.id, rootfs)

    def _monitor_options(self, container: Container) -> monitor.MonitorOptions:
        record, config = container.record, container.config
        driver = container.host_config["LogConfig"]["Type"]
        return monitor.MonitorOptions(
            container_id=record.id,
            name=record.name,
            bundle=self.bundle(record.id),
            exits=self.exits,
            terminal=bool(config["Tty"]),
            stdin=bool(config["OpenStdin"]),
            leave_stdin_open=bool(config["Tty"]) or not config["StdinOnce"],
            log=None if driver == "none" else Path(record.log_path),
        )

    def _running(self, container: Container, started: monitor.Started, sandbox: NetworkSandbox) -> None:
        record = container.record
        record.state = State(
            status="running", pid=started.pid, started_at=timestamp(), finished_at=record.state.finished_at
        )
        record.started_before = True
        record.monitor_pid = started.monitor_pid
        record.monitor_start = processes.start_time(started.monitor_pid) or 0
        record.netns = str(sandbox.netns) if sandbox.netns else None
        if sandbox.settings:
            record.network_settings = sandbox.settings
        container.stopping = False
        container.exec_ids.clear()

    def _after_start(self, container: Container) -> None:
        """What goes on beside a running container: log rotation and health checks."""
        if container.host_config["LogConfig"]["Type"] != "none":
            container.rotation = logs.LogRotation(
                Path(container.record.log_path),
                self.bundle(container.id),
                logs.limits(container.host_config["LogConfig"]),
            )
            container.rotation.start()
        container.health = HealthMonitor.for_container(self._containers, container)
        if container.health is not None:
            container.health.start()

    async def _kill_monitor(self, started: monitor.Started) -> None:
        for pid in (started.pid, started.monitor_pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await processes.wait_pid(started.monitor_pid)
        processes.reap(started.monitor_pid)

    # --- the end ---

    def _watch(self, container: Container, monitor_pid: int) -> None:
        container.watcher = self._containers.spawn(self._wait_for_exit(container, monitor_pid))

    def adopt(self, container: Container, started: monitor.Started) -> None:
        """The container ran while we did not: watch it again."""
        self._watch(container, started.monitor_pid)
        self._after_start(container)

    async def _wait_for_exit(self, container: Container, monitor_pid: int) -> None:
        await processes.wait_pid(monitor_pid)
        processes.reap(monitor_pid)
        async with container.lock:
            await self.ended(container)

    async def ended(self, container: Container) -> None:
        """The monitor is gone: note the exit, clean up, tell everyone, and restart or remove as asked. Lock held."""
        record, state = container.record, container.state
        found = monitor.exit_code(self.exits, record.id)
        # Without an exit file the monitor itself was killed; what it held dies with it.
        now = time.time_ns()
        code, when = found if found is not None else (137, now)
        if now - when < 1_000_000_000:
            # A file's time comes from the kernel's coarse clock, which may lie before the start.
            when = now
        oom = await asyncio.to_thread(self._was_oom_killed, container)
        self._end_streams(container)
        if container.rotation is not None:
            container.rotation.stop()
            container.rotation = None
        if container.health is not None:
            container.health.stop()
            container.health = None
        for exec_id in container.exec_ids:
            self._engine.execs.container_ended(exec_id)
        await self.clean_up(container)
        duration = max(0.0, when / 1e9 - parse_timestamp(state.started_at))
        decision = restart.decide(
            container.host_config["RestartPolicy"],
            code,
            record.restart_count,
            stopped=record.manually_stopped or container.stopping or self._engine.closing,
            ran=duration,
            last_delay=container.restart_delay,
        )
        health = state.health
        if health is not None:
            health = {**health, "Status": "unhealthy" if health.get("Status") != "none" else "none"}
        record.state = State(
            status="restarting" if decision is not None else "exited",
            exit_code=code,
            oom_killed=oom,
            started_at=state.started_at,
            finished_at=timestamp(when),
            health=health,
        )
        # Whoever attached while this was cleaned up found it still running, and nobody to connect to.
        self._end_streams(container)
        record.monitor_pid = record.monitor_start = 0
        container.watcher = None
        if oom:
            self._containers.emit(container, "oom")
        if decision is not None:
            record.restart_count += 1
        await self._containers.save(container)
        self._containers.emit(container, "die", {"exitCode": str(code), "execDuration": str(int(duration))})
        container.exits.tell(code)
        self._containers.tell_exit(container, code)
        if decision is not None:
            container.restart_delay = decision
            container.restarter = self._containers.spawn(self._restart_later(container, decision))
        elif container.host_config.get("AutoRemove"):
            if container.removals.awaited or container.stopping or self._engine.closing:
                await self._containers.remove_locked(container, volumes=True)
            else:
                self._containers.spawn(self._containers.auto_remove(container, _LAST_LOOK))

    def _end_streams(self, container: Container) -> None:
        if container.hub is not None:
            container.hub.finish()
            container.hub = None

    def _was_oom_killed(self, container: Container) -> bool:
        return monitor.was_oom_killed(self.bundle(container.id)) or self.cgroup(container).oom_kills() > 0

    async def clean_up(self, container: Container) -> None:
        """Undo what a start has made: network, mounts, volumes, cgroup, files of one run. Idempotent."""
        record = container.record
        bundle = self.bundle(record.id)
        chosen = self.runtime(container)

        def files() -> None:
            mounts.unmount(bundle / "rootfs", lazy=True)
            if (bundle / "shm").exists():
                mounts.unmount(bundle / "shm", lazy=True)
            _unmount_images(bundle)

        async def network() -> None:
            if not container.host_config["NetworkMode"].startswith("ns:"):
                await self._engine.networks.detach(record.id)

        results = await asyncio.gather(
            network(),
            asyncio.to_thread(files),
            chosen.delete(record.id, self.cgroup(container)),
            mountpoints.release(record.mounts, self._engine.volumes, record.id),
            return_exceptions=True,
        )
        for result in results:
            if isinstance(result, (OSError, EngineError)):
                _log.warning("container %s: cleaning up: %s", record.id[:12], result)
            elif isinstance(result, BaseException):
                raise result
        await asyncio.to_thread(shutil.rmtree, bundle, ignore_errors=True)

    async def _restart_later(self, container: Container, delay: float) -> None:
        await asyncio.sleep(delay)
        async with container.lock:
            container.restarter = None
            if container.state.status != "restarting":
                return
            try:
                await self._start_locked(container)
            except EngineError as error:
                _log.warning("container %s: restart failed: %s", container.id[:12], error)

    def _cancel_restart(self, container: Container) -> None:
        if container.restarter is not None:
            container.restarter.cancel()
            container.restarter = None

    # --- stop, kill ---

    async def stop(self, container: Container, timeout: int | None, signal_name: str | None) -> None:
        """Raises NotModified when it does not run. `timeout` seconds (negative: for ever) until SIGKILL."""
        state = container.state
        if not state.running:
            raise NotModified(f"Container {container.name} is already stopped")
        container.record.manually_stopped = True
        container.stopping = True
        if await self._stop_restarting(container):
            self._containers.emit(container, "stop")
            return
        number = parse_signal(signal_name or container.config.get("StopSignal") or "SIGTERM")
        seconds = timeout if timeout is not None else container.config.get("StopTimeout")
        if seconds is None:
            seconds = DEFAULT_STOP_TIMEOUT
        ended = container.exits.next()
        if state.status == "paused":
            await self._thaw(container)
        self._signal(container, number)
        if not await _within(ended, None if seconds < 0 else seconds):
            self._signal(container, signal.SIGKILL)
            if not await _within(ended, _KILL_WAIT):
                # A process may have moved out of reach of its parent's death: take the whole cgroup.
                await asyncio.to_thread(self.cgroup(container).kill)
                await ended
        self._containers.emit(container, "stop")

    async def kill(self, container: Container, signal_name: str) -> None:
        """Raises Conflict when it does not run."""
        number = parse_signal(signal_name or "SIGKILL")
        state = container.state
        if not state.running:
            raise Conflict(f"cannot kill container: {container.name}: container {container.id} is not running")
        stop_signal = parse_signal(container.config.get("StopSignal") or "SIGTERM")
        if number in (signal.SIGKILL, stop_signal):
            container.record.manually_stopped = True
            container.stopping = True
        if await self._stop_restarting(container):
            return
        ended = container.exits.next()
        if state.status == "paused" and number == signal.SIGKILL:
            await self._thaw(container)
        self._signal(container, number)
        if number == signal.SIGKILL and not await _within(ended, _KILL_WAIT):
            await asyncio.to_thread(self.cgroup(container).kill)
            await ended

    async def _stop_restarting(self, container: Container) -> bool:
        """A container that waits for its next start has nothing to kill."""
        if container.state.status != "restarting":
            return False
        async with container.lock:
            if container.state.status != "restarting":
                return False
            self._cancel_restart(container)
            container.state.status = "exited"
            await self._containers.save(container)
        return True

    def _signal(self, container: Container, number: int) -> None:
        pid = container.state.pid
        if pid <= 0:
            return
        with contextlib.suppress(ProcessLookupError):
            if number == signal.SIGKILL and (container.host_config.get("PidMode") or ""):
                # Its processes do not die with their first one.
                self.cgroup(container).kill()
            os.kill(pid, number)
        self._containers.emit(container, "kill", {"signal": str(int(number))})

    # --- pause ---

    async def pause(self, container: Container) -> None:
        async with container.lock:
            status = container.state.status
            if status == "paused":
                raise Conflict(f"Container {container.id} is already paused")
            if status == "restarting":
                raise Conflict(f"Container {container.id} is restarting, wait until the container is running")
            if status != "running":
                raise Conflict(f"Container {container.id} is not running")
            try:
                await asyncio.to_thread(self.cgroup(container).freeze)
            except (OSError, TimeoutError) as error:
                raise EngineError(f"cannot pause container {container.id}: {error}") from error
            container.state.status = "paused"
            await self._containers.save(container)
            self._containers.emit(container, "pause")

    async def unpause(self, container: Container) -> None:
        async with container.lock:
            if container.state.status != "paused":
                raise Conflict(f"Container {container.id} is not paused")
            await self._thaw(container)
            await self._containers.save(container)
            self._containers.emit(container, "unpause")

    async def _thaw(self, container: Container) -> None:
        with contextlib.suppress(OSError):
            await asyncio.to_thread(self.cgroup(container).thaw)
        container.state.status = "running"

    def hub(self, container: Container) -> Hub:
        """The container's streams, connected when it runs."""
        if container.hub is None:
            config = container.config
            container.hub = Hub(
                stdin=bool(config["OpenStdin"]),
                # As Docker: a terminal outlives whoever is attached to it, StdinOnce or not.
                stdin_once=bool(config["StdinOnce"]) and not config["Tty"],
                tty=bool(config["Tty"]),
            )
        if container.state.alive and not container.hub.connected:
            with contextlib.suppress(OSError):
                container.hub.connect(self.bundle(container.id))
        return container.hub


class StartError(InvalidParameter):
    """The command could not be executed; `exit_code` is 126 or 127 as a shell would give."""

    exit_code = 127


class RuntimeStartError(EngineError):
    exit_code = 128


def _start_error(raw: str, command: list[str]) -> EngineError:
    message = runtime.create_error(raw, command)
    for needle, code in (
        ("executable file not found", 127),
        ("no such file or directory", 127),
        ("permission denied", 126),
        ("is a directory", 126),
    ):
        if needle in message:
            error = StartError(message)
            error.exit_code = code
            return error
    return RuntimeStartError(message)


def _unmount_images(bundle: Path) -> None:
    images = bundle / "images"
    for place in images.iterdir() if images.is_dir() else ():
        mounts.unmount(place, lazy=True)


async def _within(future: "asyncio.Future[Any]", seconds: float | None) -> bool:
    done, _ = await asyncio.wait({future}, timeout=seconds)
    return bool(done)


async def _both(first: Any, second: Any) -> tuple[Any, Any]:
    """Both results; when one fails the other is still awaited, so that it can be undone."""
    results = await asyncio.gather(first, second, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results[0], results[1]

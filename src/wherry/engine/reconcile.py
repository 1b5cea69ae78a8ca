"""When the engine opens: compare what is stored with what runs, and make them one.

A container whose monitor lives is taken over; one that ended meanwhile gets its exit code from the exit file; a
removal that was cut short is finished; what belongs to no container is removed. The database's word holds for what
exists, the kernel's for what runs.
"""

import asyncio
import contextlib
import logging
import shutil
from typing import TYPE_CHECKING

from wherry.engine import monitor, restart
from wherry.engine.errors import EngineError
from wherry.engine.model import Container, State
from wherry.host import mounts, processes
from wherry.host.cgroups import Cgroup

if TYPE_CHECKING:
    from wherry.engine.engine import Engine

_log = logging.getLogger(__name__)

_LAST_WORDS = 10.0
"""Seconds for the monitor of an ended process to end: it writes the rest of the output and the exit code."""


async def reconcile(engine: "Engine") -> None:
    """Bring containers, snapshots, mounts and cgroups to one state, and start what restart policies ask for."""
    containers = engine.containers
    for container in containers.all():
        for point in container.record.mounts:
            if point["Type"] == "volume" and point.get("Name"):
                engine.volumes.reference(point["Name"], container.id)
    await monitor.end_unborn(engine.instance.run / "containers")
    to_start: list[Container] = []
    running: list[str] = []
    for container in containers.all():
        async with container.lock:
            if container.state.status in ("removing", "dead"):
                continue
            found = await asyncio.to_thread(monitor.find, containers.lifecycle.bundle(container.id), container.id)
            if found is not None and processes.is_ending(found.pid) and await _has_ended(found):
                found = None
            if found is not None and await _take_over(engine, container, found):
                running.append(container.id)
                # Containers that share its network keep it too.
                continue
    await engine.networks.adopt(running)
    for container in containers.all():
        if container.id in running:
            continue
        async with container.lock:
            if container.state.status == "removing":
                await containers.remove_locked(container, volumes=container.record.remove_volumes)
                continue
            was_running = container.state.status in ("running", "paused", "restarting")
            if was_running:
                await containers.lifecycle.ended(container)
                if container.restarter is not None:
                    container.restarter.cancel()
                    container.restarter = None
                    container.state.status = "exited"
                    to_start.append(container)
                continue
            if container.record.started_before and container.host_config.get("AutoRemove"):
                # We died between its end and its removal.
                await containers.remove_locked(container, volumes=True)
                continue
            if (
                container.record.started_before
                and not container.state.running
                and restart.after_boot(
                    container.host_config["RestartPolicy"],
                    stopped=container.record.manually_stopped,
                    was_running=False,
                )
                and container.host_config["RestartPolicy"]["Name"] == "always"
            ):
                to_start.append(container)
    await asyncio.to_thread(_sweep, engine)
    for container in to_start:
        containers.spawn(_start(engine, container))


async def _has_ended(found: monitor.Started) -> bool:
    """Its process is on its way out, killed perhaps by who was here before us: let the monitor write down how."""
    try:
        await asyncio.wait_for(processes.wait_pid(found.monitor_pid), _LAST_WORDS)
    except TimeoutError:
        return False
    return True


async def _take_over(engine: "Engine", container: Container, found: monitor.Started) -> bool:
    """Whether the container now counts as running."""
    containers, record = engine.containers, container.record
    state = record.state
    if state.status not in ("running", "paused") or state.pid != found.pid:
        # The engine died within the start. If the process was let go it is a running container, else nobody's.
        fifo = containers.lifecycle.runtime(container).state / record.id / "exec.fifo"
        if fifo.exists():
            await _abandon(engine, container, found)
            return False
        record.state = State(status="running", pid=found.pid, started_at=state.started_at)
        if record.state.started_at.startswith("0001"):
            from wherry.engine.model import timestamp

            record.state.started_at = timestamp()
        record.started_before = True
    elif (containers.lifecycle.runtime(container).state / record.id / "exec.fifo").exists():
        # The engine died between writing down that it runs and letting it go. An error: it had been let go.
        with contextlib.suppress(EngineError):
            await containers.lifecycle.runtime(container).start(record.id)
    frozen = await asyncio.to_thread(containers.lifecycle.cgroup(container).is_frozen)
    record.state.status = "paused" if frozen else "running"
    record.monitor_pid = found.monitor_pid
    record.monitor_start = processes.start_time(found.monitor_pid) or 0
    for point in record.mounts:
        if point["Type"] == "volume":
            engine.volumes.adopt(point["Name"], record.id)
    await containers.save(container)
    containers.lifecycle.adopt(container, found)
    return True


async def _abandon(engine: "Engine", container: Container, found: monitor.Started) -> None:
    """A container that was created but never let go: as if it had not been started."""
    import os
    import signal

    for pid in (found.pid, found.monitor_pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    await processes.wait_pid(found.monitor_pid)
    await engine.containers.lifecycle.clean_up(container)
    record = container.record
    record.state.status = "exited" if record.started_before and record.state.pid == 0 else "created"
    record.state.pid = 0
    await engine.containers.save(container)


async def _start(engine: "Engine", container: Container) -> None:
    try:
        await engine.containers.lifecycle.start(container)
    except EngineError as error:
        _log.warning("container %s: %s", container.id[:12], error)


def _sweep(engine: "Engine") -> None:
    """Remove what half-made or half-removed containers have left."""
    known = {container.id for container in engine.containers.all()}
    alive = {container.id for container in engine.containers.all() if container.state.alive}
    run, root = engine.instance.run, engine.instance.root
    for bundle in (run / "containers").iterdir():
        if bundle.name in alive:
            continue
        stray = monitor.find(bundle, bundle.name)
        if stray is not None:
            import os
            import signal

            for pid in (stray.pid, stray.monitor_pid):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        mounts.unmount_under(bundle)
        shutil.rmtree(bundle, ignore_errors=True)
    for home in (root / "containers").iterdir():
        if home.name not in known:
            shutil.rmtree(home, ignore_errors=True)
    for exit_file in (run / "exits").iterdir():
        if exit_file.name not in known:
            exit_file.unlink(missing_ok=True)
    for key in list(engine.images.snapshots.keys()):
        # `<id>` is a container's own, `<id>-<number>` that of an image mounted into it.
        if key[64:65] in ("", "-") and len(key) >= 64 and key[:64] not in known:
            engine.images.snapshots.remove(key)
    for state in {engine.runtimes.get(name).state for name in engine.runtimes.names()}:
        if state.is_dir():
            for entry in state.iterdir():
                if len(entry.name) == 64 and entry.name not in alive:
                    shutil.rmtree(entry, ignore_errors=True)
    cgroups = {
        entry.name
        for base in engine.layout.roots()
        if (base / engine.instance.cgroup).is_dir()
        for entry in (base / engine.instance.cgroup).iterdir()
        if entry.is_dir() and len(entry.name) == 64
    }
    for name in cgroups - alive:
        Cgroup(engine.layout, f"{engine.instance.cgroup}/{name}").remove()

"""Health checks: run the image's or the container's test now and then, and say how it is.

Specified in the Docker Engine API, `HealthConfig` and `Health`: starting, healthy, unhealthy; the last five results
are kept, each with at most 4 KiB of output.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wherry.engine.errors import EngineError
from wherry.engine.model import Container, parse_timestamp, timestamp
from wherry.host import processes

if TYPE_CHECKING:
    from wherry.engine.containers import Containers

_SECOND = 1_000_000_000
_DEFAULT_INTERVAL = 30.0
_DEFAULT_TIMEOUT = 30.0
_DEFAULT_START_INTERVAL = 5.0
_DEFAULT_RETRIES = 3
_KEPT = 5
_OUTPUT = 4096


def probe_command(config: Mapping[str, Any]) -> list[str] | None:
    """The command of a container's Healthcheck; None when it has none, or `NONE`."""
    test = (config.get("Healthcheck") or {}).get("Test") or []
    if not test or test[0] == "NONE":
        return None
    if test[0] == "CMD-SHELL":
        shell = config.get("Shell") or ["/bin/sh", "-c"]
        return [*shell, *test[1:]]
    if test[0] == "CMD":
        return list(test[1:])
    return None


class HealthMonitor:
    """Probes one running container."""

    def __init__(self, containers: "Containers", container: Container, command: list[str]) -> None:
        self._containers = containers
        self._container = container
        self._command = command
        options = container.config["Healthcheck"]
        self._interval = (options.get("Interval") or 0) / _SECOND or _DEFAULT_INTERVAL
        self._timeout = (options.get("Timeout") or 0) / _SECOND or _DEFAULT_TIMEOUT
        self._start_period = (options.get("StartPeriod") or 0) / _SECOND
        self._start_interval = (options.get("StartInterval") or 0) / _SECOND or _DEFAULT_START_INTERVAL
        self._retries = options.get("Retries") or _DEFAULT_RETRIES
        self._task: asyncio.Task[None] | None = None

    @classmethod
    def for_container(cls, containers: "Containers", container: Container) -> "HealthMonitor | None":
        """None for a container without a check."""
        command = probe_command(container.config)
        return cls(containers, container, command) if command else None

    def start(self) -> None:
        if self._container.state.health is None:
            self._container.state.health = {"Status": "starting", "FailingStreak": 0, "Log": []}
        self._task = self._containers.spawn(self._run())

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        while True:
            health = self._container.state.health or {}
            starting = self._in_start_period() and health.get("Status") == "starting"
            await asyncio.sleep(self._start_interval if starting else self._interval)
            if self._container.state.status != "running":
                continue
            result = await self._probe()
            await self._note(result)

    def _in_start_period(self) -> bool:
        return time.time() - parse_timestamp(self._container.state.started_at) < self._start_period

    async def _probe(self) -> dict[str, Any]:
        execs = self._containers.engine.execs
        started = timestamp()
        output = bytearray()
        try:
            body = {"Cmd": self._command, "AttachStdout": True, "AttachStderr": True}
            exec_id = await execs.create(self._container.id, body)
            attachment = await execs.start(exec_id)
            assert attachment is not None

            async def read() -> None:
                async for _, data in attachment:
                    if len(output) < _OUTPUT:
                        output.extend(data)

            try:
                await asyncio.wait_for(read(), self._timeout)
                code = await execs.wait(exec_id)
            except TimeoutError:
                pid = (await execs.inspect(exec_id))["Pid"]
                attachment.detach()
                if pid:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                shown = f"{self._timeout:g}s"
                text = f"Health check exceeded timeout ({shown}): {output.decode('utf-8', 'replace')}"
                return {"Start": started, "End": timestamp(), "ExitCode": -1, "Output": text}
        except EngineError as error:
            return {"Start": started, "End": timestamp(), "ExitCode": -1, "Output": error.message}
        text = output[:_OUTPUT].decode("utf-8", "replace")
        return {"Start": started, "End": timestamp(), "ExitCode": code, "Output": text}

    async def _note(self, result: dict[str, Any]) -> None:
        async with self._container.lock:
            state = self._container.state
            if state.health is None or not state.alive or processes.is_ending(state.pid):
                # The probe ended with its container: that says nothing about its health.
                return
            health = dict(state.health)
            before = health["Status"]
            health["Log"] = [*health["Log"], result][-_KEPT:]
            if result["ExitCode"] == 0:
                health["FailingStreak"] = 0
                health["Status"] = "healthy"
            elif not (before == "starting" and self._in_start_period()):
                health["FailingStreak"] += 1
                if health["FailingStreak"] >= self._retries:
                    health["Status"] = "unhealthy"
            state.health = health
            await self._containers.save(self._container)
        if health["Status"] != before:
            self._containers.emit(self._container, f"health_status: {health['Status']}")

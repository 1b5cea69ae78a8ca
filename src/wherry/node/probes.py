"""Probing one running container for as long as it runs: startup first, then liveness and readiness side by side.

A `ContainerProbes` belongs to one attempt of a container and ends with it. Thresholds, delays and event words are
those of https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from wherry.client.clock import Clock
from wherry.node.probe_handlers import Exec, Result, probe
from wherry.schema.resource import Object

EARLY_FIRST = 0.1
"""Seconds between the first two tries of a startup or readiness probe; they double up to its period."""


@dataclass(frozen=True)
class Report:
    """Where results go: `set(kind, ok)` on a change, `unhealthy(message)` for the event of each failed probe,
    `count(kind, "successful" | "failed" | "unknown")` for every one."""

    set: Callable[[str, bool], None]
    unhealthy: Callable[[str], None]
    count: Callable[[str, str], None] = lambda kind, result: None


class ContainerProbes:
    """`started_at` is epoch seconds; `host` is the address probes go to unless they name one."""

    def __init__(
        self, container: Object, started_at: float, host: str, run: Exec, report: Report, clock: Clock
    ) -> None:
        self._container = container
        self._started_at = started_at
        self._host = host
        self._run = run
        self._report = report
        self._clock = clock

    async def run(self, *, started: bool = False) -> None:
        """Until cancelled. `started`: the startup probe has passed already (an adopted container)."""
        startup = self._container.get("startupProbe")
        if startup and not started and not await self._loop("startup", startup, until_first=True):
            return
        self._report.set("startup", True)
        loops = [
            self._loop(kind, self._container[f"{kind}Probe"])
            for kind in ("liveness", "readiness")
            if self._container.get(f"{kind}Probe")
        ]
        if "readinessProbe" not in self._container or not self._container["readinessProbe"]:
            self._report.set("readiness", True)
        await asyncio.gather(*loops)

    async def _loop(self, kind: str, spec: Object, *, until_first: bool = False) -> bool:
        """Probe every period. Returns at the first verdict of a startup probe, and when liveness has failed."""
        period = float(spec.get("periodSeconds") or 10)
        needed = {True: int(spec.get("successThreshold") or 1), False: int(spec.get("failureThreshold") or 3)}
        delay = self._started_at + float(spec.get("initialDelaySeconds") or 0) - self._clock.time()
        if delay > 0:
            await self._clock.sleep(delay)
        last: bool | None = None
        run = 0
        if kind != "liveness" and needed[True] == 1 and await self._early(kind, spec, period):
            if until_first:
                return True
            self._report.set(kind, True)
            last, run = True, 1
            await self._clock.sleep(period)
        while True:
            begun = self._clock.monotonic()
            result = await self._once(kind, spec)
            if result.ok is not None:
                run = run + 1 if result.ok == last else 1
                last = result.ok
                if run >= needed[result.ok]:
                    if until_first and result.ok:
                        return True
                    self._report.set(kind, result.ok)
                    if not result.ok and kind in ("startup", "liveness"):
                        # The container is about to be killed; its successor gets probes of its own.
                        return False
            await self._clock.sleep(max(0.0, period - (self._clock.monotonic() - begun)))

    async def _early(self, kind: str, spec: Object, period: float) -> bool:
        """Ask often within the first period: a program that needs 200 ms to listen is ready after 300, not after 10 s.

        Only a success counts here. False when the first period passed without one.
        """
        pause = EARLY_FIRST
        left = period
        while left > pause:
            begun = self._clock.monotonic()
            result = await self._probe(spec)
            if result.ok:
                self._report.count(kind, "successful")
                return True
            await self._clock.sleep(pause)
            left -= self._clock.monotonic() - begun
            pause *= 2
        await self._clock.sleep(max(0.0, left))
        return False

    async def _probe(self, spec: Object) -> Result:
        try:
            return await probe(spec, self._container, self._host, self._run)
        except (OSError, RuntimeError) as error:
            return Result(None, str(error))

    async def _once(self, kind: str, spec: Object) -> Result:
        result = await self._probe(spec)
        word = kind.capitalize()
        self._report.count(kind, "unknown" if result.ok is None else "successful" if result.ok else "failed")
        if result.ok is False:
            self._report.unhealthy(f"{word} probe failed: {result.output}")
        elif result.ok is None:
            self._report.unhealthy(f"{word} probe errored and resulted in unknown state: {result.output}")
        return result

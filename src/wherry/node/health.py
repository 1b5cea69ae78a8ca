"""What probes say of one pod's containers: which have started, which are ready, which must be killed and why."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable

from wherry.client.clock import Clock
from wherry.node import pods
from wherry.node.images import Record
from wherry.node.probe_handlers import Exec
from wherry.node.probes import ContainerProbes, Report
from wherry.node.state import ContainerView
from wherry.schema.resource import Object

PROBES = ("startup", "liveness", "readiness")


class Health:
    """Of one pod, which is `pod()` now. `current(name)` is a container's newest attempt; `changed()` is called after
    each verdict."""

    def __init__(
        self,
        clock: Clock,
        record: Record,
        *,
        pod: Callable[[], Object],
        current: Callable[[str], ContainerView | None],
        changed: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._record = record
        self._pod = pod
        self._current = current
        self._changed = changed
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.started: set[str] = set()
        self.ready: set[str] = set()
        self.failed: dict[str, str] = {}
        """Container id → why it must be killed."""
        self.counts: Counter[tuple[str, str, str]] = Counter()
        """(container, probe, successful | failed | unknown) → how often."""

    def begin(self, container: Object, view: ContainerView, host: str, run: Exec, *, started: bool) -> None:
        """Probe a running container from now on, at `host` where a probe names none. `started`: its startup probe has
        passed already. A container without probes is started and ready at once."""
        if not any(container.get(f"{kind}Probe") for kind in PROBES):
            self.started.add(view.id)
            self.ready.add(view.id)
            self._changed()
            return

        def set_result(kind: str, ok: bool) -> None:
            current = self._current(view.name)
            if current is None or current.id != view.id:
                return
            if kind == "startup" and ok:
                self.started.add(view.id)
            elif kind == "readiness":
                (self.ready.add if ok else self.ready.discard)(view.id)
            elif not ok:
                self.failed[view.id] = f"Container {view.name} failed {kind} probe, will be restarted"
            self._changed()

        def unhealthy(message: str) -> None:
            if not pods.is_deleted(self._pod()):
                self._record(self._pod(), "Warning", "Unhealthy", message, view.name)

        def count(kind: str, result: str) -> None:
            self.counts[view.name, kind.capitalize(), result] += 1

        report = Report(set_result, unhealthy, count)
        probes = ContainerProbes(container, view.started_at or view.created_at, host, run, report, self._clock)
        self._tasks[view.id] = asyncio.create_task(
            probes.run(started=started), name=f"probes {pods.full_name(self._pod())}/{view.name}"
        )

    def stop(self, id: str) -> None:
        """No more probes of this attempt; what they said stands."""
        task = self._tasks.pop(id, None)
        if task is not None:
            task.cancel()

    def ended(self, id: str) -> None:
        """This attempt is over."""
        self.stop(id)
        self.started.discard(id)
        self.ready.discard(id)
        self.failed.pop(id, None)

    def tasks(self) -> Iterable["asyncio.Task[None]"]:
        return self._tasks.values()

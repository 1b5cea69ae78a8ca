"""The heart of the kubelet: given a pod and what is observed of it, what to do next.

A pure function, no await, no clock: `decide(pod, observed, now) -> Decision`. The pod worker carries the actions
out and asks again whenever something changed, or at `wake_at`.

Specified in https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/ and .../init-containers/ and
.../sidecar-containers/.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from wherry.node import pods
from wherry.node.resize import restarts
from wherry.node.state import ContainerView, Observed
from wherry.schema.resource import Object

BACKOFF_FIRST = 10.0
BACKOFF_MAX = 300.0
BACKOFF_RESET = 2 * BACKOFF_MAX
"""An attempt that lasted longer than this starts the series of delays anew."""


@dataclass(frozen=True)
class Prepare:
    """Make the pod's network sandbox and volumes."""


@dataclass(frozen=True)
class Start:
    """Start one container. `backoff` is the delay to record for the attempt after this one."""

    name: str
    attempt: int
    backoff: float


@dataclass(frozen=True)
class Kill:
    """Stop one running container: preStop hook, stop signal, SIGKILL after `grace` seconds."""

    id: str
    name: str
    message: str
    grace: float


@dataclass(frozen=True)
class Resize:
    """Give a running container's cgroup the resources that were granted to it."""

    id: str
    name: str
    resources: Mapping[str, Any]


@dataclass(frozen=True)
class Remove:
    """Remove a dead container that nobody needs any more."""

    id: str
    name: str


@dataclass(frozen=True)
class TearDown:
    """The pod has ended and stays in the API: release its network and volumes, keep its logs."""


@dataclass(frozen=True)
class Finish:
    """The pod is deleted and nothing of it runs: release everything and remove it from the API."""


Action: TypeAlias = Prepare | Start | Kill | Resize | Remove | TearDown | Finish


@dataclass(frozen=True)
class Decision:
    """`waiting` says, per container that is held back, why: (reason, message)."""

    actions: tuple[Action, ...] = ()
    wake_at: float | None = None
    waiting: dict[str, tuple[str, str]] = field(default_factory=dict)
    ended: bool = False
    """No container of this pod will run again."""


def decide(pod: Object, observed: Observed, now: float) -> Decision:
    """What to do for `pod` at `now` (seconds since the epoch)."""
    if pods.is_deleted(pod) or observed.stop_reason or pods.is_terminal(pod):
        return _terminate(pod, observed)
    if has_ended(pod, observed):
        return _terminate(pod, observed)
    removals = _garbage(observed)
    if not observed.prepared:
        return Decision(actions=(Prepare(), *removals))
    plan = _Plan(pod, observed, now)
    plan.containers()
    return Decision(
        actions=(*plan.actions, *removals),
        wake_at=plan.wake_at,
        waiting=plan.waiting,
    )


def may_restart(pod: Object, container: Object, view: ContainerView) -> bool:
    """Will this ended attempt be followed by another? (restart policy of the container, its rules, the pod's)."""
    for rule in container.get("restartPolicyRules") or []:
        codes = rule.get("exitCodes") or {}
        listed = view.exit_code in (codes.get("values") or [])
        if listed == (codes.get("operator") == "In"):
            return bool(rule.get("action") == "Restart")
    policy = container.get("restartPolicy") or pods.restart_policy(pod)
    if policy == "Always":
        return True
    return bool(policy == "OnFailure" and view.exit_code != 0)


def has_ended(pod: Object, observed: Observed) -> bool:
    """Have all main containers ended for good, or has an init container failed for good?"""
    for container in pods.init_containers(pod):
        view = observed.latest(container["name"])
        if pods.is_sidecar(container) or view is None or not view.exited or view.exit_code == 0:
            continue
        policy = container.get("restartPolicy") or pods.restart_policy(pod)
        if policy == "Never" and not _any_main_created(pod, observed):
            return True
    for container in pods.main_containers(pod):
        view = observed.latest(container["name"])
        if view is None or not view.exited or view.id in observed.restarting or may_restart(pod, container, view):
            return False
    return bool(pods.main_containers(pod))


def _any_main_created(pod: Object, observed: Observed) -> bool:
    """With one main container of this sandbox created, initialisation is over and is not repeated."""
    for container in pods.main_containers(pod):
        view = observed.latest(container["name"])
        if view is not None and (not observed.sandbox or view.sandbox == observed.sandbox):
            return True
    return False


def _garbage(observed: Observed) -> list[Action]:
    """Dead attempts older than the newest dead one: one is kept for `kubectl logs --previous`."""
    removals: list[Action] = []
    for name, attempts in observed.containers.items():
        if name in observed.busy:
            continue
        dead = [view for view in attempts if not view.running]
        # While the newest attempt is dead, the one before it still is "previous".
        spare = dead[1:] if attempts and attempts[0].running else dead[2:]
        removals.extend(Remove(view.id, name) for view in spare)
    return removals


def _terminate(pod: Object, observed: Observed) -> Decision:
    grace = pods.grace_period(pod) if observed.stop_grace is None else observed.stop_grace
    running = observed.running()
    sidecars = [c["name"] for c in pods.init_containers(pod) if pods.is_sidecar(c)]
    others = [view for view in running if view.name not in sidecars]
    kills: list[Action] = []
    if others:
        kills = [
            Kill(view.id, view.name, f"Stopping container {view.name}", grace)
            for view in others
            if view.name not in observed.busy
        ]
        return Decision(actions=tuple(kills))
    if observed.busy - set(sidecars):
        return Decision()
    # Sidecars go when all else is gone, in the reverse of the order in which they were started.
    for name in reversed(sidecars):
        alive = [view for view in running if view.name == name]
        if alive:
            if name not in observed.busy:
                kills = [Kill(view.id, name, f"Stopping container {name}", grace) for view in alive]
            return Decision(actions=tuple(kills))
    if observed.busy:
        return Decision()
    if pods.is_deleted(pod):
        return Decision(actions=(Finish(),), ended=True)
    if not observed.torn_down:
        return Decision(actions=(TearDown(),), ended=True)
    return Decision(ended=True)


class _Plan:
    """Accumulates the actions for a pod that should run."""

    def __init__(self, pod: Object, observed: Observed, now: float) -> None:
        self.pod = pod
        self.observed = observed
        self.now = now
        self.actions: list[Action] = []
        self.waiting: dict[str, tuple[str, str]] = {}
        self.wake_at: float | None = None

    def containers(self) -> None:
        for name in self.observed.busy:
            self._still_waiting(name)
        initialized = _any_main_created(self.pod, self.observed)
        for container in pods.init_containers(self.pod):
            if pods.is_sidecar(container):
                passed = self._sidecar(container)
            elif initialized:
                continue
            else:
                passed = self._init(container)
            if not passed and not initialized:
                self._debuggers()
                return
        for container in pods.main_containers(self.pod):
            self._main(container)
        self._debuggers()

    def _still_waiting(self, name: str) -> None:
        """A start under way does not hide why the container was waiting."""
        error, view = self.observed.errors.get(name), self.observed.latest(name)
        if error is not None:
            self.waiting[name] = (error.reason, error.message)
        elif view is not None and view.exited and view.backoff:
            self.waiting[name] = ("CrashLoopBackOff", self._crash_loop(name, view.backoff))

    def _current(self, name: str) -> ContainerView | None:
        """The newest attempt if it belongs to the present sandbox."""
        view = self.observed.latest(name)
        if view is not None and (view.sandbox == self.observed.sandbox or view.running):
            return view
        return None

    def _init(self, container: Object) -> bool:
        """One plain init container; True when it has done its work."""
        name = container["name"]
        view = self._current(name)
        if view is not None and view.exited and view.exit_code == 0 and not view.error:
            return True
        if name in self.observed.busy:
            return False
        if view is None:
            self._start(container)
        elif view.running:
            self._kill_if_failed(view)
        elif view.exited:
            policy = container.get("restartPolicy") or pods.restart_policy(self.pod)
            if policy != "Never":
                self._start(container)
        return False

    def _sidecar(self, container: Object) -> bool:
        """One sidecar; True when the next container may start."""
        name = container["name"]
        view = self._current(name)
        if view is not None and view.running:
            if name not in self.observed.busy and not self._kill_if_failed(view):
                self._resize(container, view)
            return view.id in self.observed.started
        if name not in self.observed.busy:
            self._start(container)
        return False

    def _main(self, container: Object) -> None:
        name = container["name"]
        if name in self.observed.busy:
            return
        view = self._current(name)
        if view is None:
            before = self.observed.latest(name)
            if before is None or not before.exited or may_restart(self.pod, container, before):
                self._start(container)
        elif view.running:
            if view.hash and view.hash != pods.container_hash(container):
                self._kill(view, f"Container {name} definition changed, will be restarted")
            elif not self._kill_if_failed(view):
                self._resize(container, view)
        elif view.exited and (view.id in self.observed.restarting or may_restart(self.pod, container, view)):
            self._start(container)

    def _resize(self, container: Object, view: ContainerView) -> None:
        """Bring a running container's resources to what was granted."""
        wanted = self.observed.allocated.get(view.name)
        current = self.observed.actuated.get(view.id)
        if wanted is None or current is None or wanted == current:
            return
        if restarts(container, current, wanted):
            self._kill(view, f"Container {view.name} resize requires restart")
            return
        error = self.observed.errors.get(view.name)
        if error is not None and error.retry_at > self.now:
            self._wake(error.retry_at)
            return
        self.actions.append(Resize(view.id, view.name, wanted))

    def _debuggers(self) -> None:
        for container in pods.ephemeral_containers(self.pod):
            name = container["name"]
            if name not in self.observed.busy and self.observed.latest(name) is None:
                self._start(container)

    def _kill_if_failed(self, view: ContainerView) -> bool:
        message = self.observed.failed.get(view.id)
        if message:
            self._kill(view, message)
        return bool(message)

    def _kill(self, view: ContainerView, message: str) -> None:
        container = pods.find_container(self.pod, view.name) or {}
        grace = pods.grace_period(self.pod)
        if "probe" in message:
            for probe in ("livenessProbe", "startupProbe"):
                own = (container.get(probe) or {}).get("terminationGracePeriodSeconds")
                if own is not None and probe.removesuffix("Probe") in message:
                    grace = float(own)
        self.actions.append(Kill(view.id, view.name, message, grace))

    def _start(self, container: Object) -> None:
        """Start, or say why not yet."""
        name = container["name"]
        error = self.observed.errors.get(name)
        if error is not None:
            self.waiting[name] = (error.reason, error.message)
            if error.retry_at > self.now:
                self._wake(error.retry_at)
                return
        view = self.observed.latest(name)
        attempt, backoff = 0, 0.0
        if view is not None:
            attempt, backoff = view.attempt + 1, BACKOFF_FIRST
            ended = view.finished_at if view.finished_at is not None else view.created_at
            lasted = ended - view.created_at
            same = not view.hash or view.hash == pods.container_hash(container)
            same = same and view.id not in self.observed.restarting
            if view.sandbox == self.observed.sandbox and lasted <= BACKOFF_RESET and same:
                until = ended + view.backoff
                if self.now < until:
                    self.waiting[name] = ("CrashLoopBackOff", self._crash_loop(name, view.backoff))
                    self._wake(until)
                    return
                backoff = min(BACKOFF_MAX, max(BACKOFF_FIRST, view.backoff * 2))
        self.actions.append(Start(name, attempt, backoff))

    def _crash_loop(self, name: str, delay: float) -> str:
        return f"back-off {duration(delay)} restarting failed container={name} pod={pods.described(self.pod)}"

    def _wake(self, at: float) -> None:
        self.wake_at = at if self.wake_at is None else min(self.wake_at, at)


def duration(seconds: float) -> str:
    """`10s`, `1m20s`, `5m0s`: Go's way to write a duration of whole seconds."""
    whole = int(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    if hours:
        return f"{hours}h{minutes}m{left}s"
    return f"{minutes}m{left}s" if minutes else f"{left}s"

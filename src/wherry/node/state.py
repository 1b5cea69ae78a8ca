"""What is known about one pod on this node at one moment: the input of `decide` and of `status`.

All of it can be rebuilt from the engine (containers and their labels), the pod's folder and the pod's own status
in the API, so that a restarted kubelet adopts what runs without touching it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from wherry.node.resize import ResizeState

EMPTY: Mapping[str, tuple["ContainerView", ...]] = {}


@dataclass(frozen=True)
class ContainerView:
    """One attempt to run a container of a pod. Times are seconds since the epoch.

    `backoff` is the delay in seconds that must pass after this attempt ends before the next one starts; it was
    fixed when the attempt was created and is kept in a label.
    """

    id: str
    name: str
    attempt: int
    state: str
    """created, running or exited."""
    sandbox: str = ""
    created_at: float = 0.0
    started_at: float | None = None
    finished_at: float | None = None
    exit_code: int = 0
    oom_killed: bool = False
    error: str = ""
    """Why it could not be started, or ""."""
    hash: str = ""
    image: str = ""
    image_id: str = ""
    backoff: float = 0.0
    message: str = ""
    """Termination message."""
    pid: int = 0
    lost: bool = False
    """It was removed behind the kubelet's back: how it ended is not known."""

    @property
    def running(self) -> bool:
        return self.state == "running"

    @property
    def exited(self) -> bool:
        return self.state == "exited"


@dataclass(frozen=True)
class StartError:
    """Why a container has no attempt: a waiting reason, its message, and when to try again."""

    reason: str
    message: str
    retry_at: float


@dataclass(frozen=True)
class Observed:
    """Everything `decide` may look at besides the pod itself."""

    sandbox: str = ""
    """Id of the pod's present network sandbox; "" when there is none."""
    prepared: bool = False
    """Sandbox and volumes are both ready, so containers may start."""
    ips: tuple[str, ...] = ()
    containers: Mapping[str, tuple[ContainerView, ...]] = field(default_factory=lambda: EMPTY)
    """Per container name, newest attempt first."""
    busy: frozenset[str] = frozenset()
    """Names of containers for which a start or a kill is under way."""
    started: frozenset[str] = frozenset()
    """Container ids past their postStart hook and their startup probe."""
    ready: frozenset[str] = frozenset()
    """Container ids whose readiness probe (or lack of one) says ready."""
    failed: Mapping[str, str] = field(default_factory=dict)
    """Container id → why it must be killed (as in the Killing event), e.g. a liveness probe that failed."""
    errors: Mapping[str, StartError] = field(default_factory=dict)
    stop_reason: str = ""
    """Set when the kubelet itself ends the pod (DeadlineExceeded, Evicted, a failed admission …)."""
    stop_message: str = ""
    stop_grace: float | None = None
    """Seconds of grace for that; None means the pod's own."""
    torn_down: bool = False
    """The pod ended and its network and volumes are released."""
    allocated: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Container name → the resources granted to it."""
    actuated: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Id of a running container → the resources that its cgroup has."""
    restarting: frozenset[str] = frozenset()
    """Ids of containers that were ended only to come back with other resources."""
    resize: ResizeState = field(default_factory=ResizeState)

    def latest(self, name: str) -> ContainerView | None:
        attempts = self.containers.get(name)
        return attempts[0] if attempts else None

    def running(self) -> list[ContainerView]:
        return [view for attempts in self.containers.values() for view in attempts if view.running]

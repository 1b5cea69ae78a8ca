"""The kubelet's view of the engine: the few calls it needs, and containers as `ContainerView`.

`Runtime` is the interface that pod workers are written and tested against; `engine_runtime.EngineRuntime` is the
one on a real engine.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from wherry.node import pods
from wherry.node.state import ContainerView

if TYPE_CHECKING:
    from wherry.node.image_gc import StoredImage


class RuntimeFailure(Exception):
    """The engine refused or failed; the message is its own."""


class NoSuchContainer(RuntimeFailure):
    """It has been removed."""


@dataclass(frozen=True)
class ImageInfo:
    """What the kubelet must know of an image. `digests` are its RepoDigests: empty for one that was never pulled."""

    id: str
    user: str = ""
    size: int = 0
    tags: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    stop_signal: str = ""


@dataclass(frozen=True)
class RegistryAuth:
    """Credentials for one registry, from an image pull secret."""

    username: str = ""
    password: str = ""
    identity_token: str = ""


@dataclass(frozen=True)
class ContainerEvent:
    """`action` is `start`, `die` or `destroy`."""

    id: str
    action: str
    labels: Mapping[str, str] = field(default_factory=dict)


class Session(Protocol):
    """A running process's stdio: iterate over (1 stdout | 2 stderr, bytes) until it ends."""

    def __aiter__(self) -> AsyncIterator[tuple[int, bytes]]: ...

    async def write(self, data: bytes) -> None: ...

    def close_stdin(self) -> None: ...

    async def resize(self, height: int, width: int) -> None: ...

    def detach(self) -> None: ...

    async def wait(self) -> int:
        """The exit code, once the iteration has ended."""
        ...


@dataclass(frozen=True)
class LogOptions:
    """What part of a log: `since` in epoch seconds (0 is all), `tail` lines (None is all)."""

    follow: bool = False
    since: float = 0.0
    tail: int | None = None
    timestamps: bool = False
    stdout: bool = True
    stderr: bool = True


class Runtime(Protocol):
    """Every method raises RuntimeFailure; those that take an id raise NoSuchContainer when it is gone."""

    async def containers(self) -> list[tuple[Mapping[str, str], ContainerView]]:
        """(labels, view) of every container that belongs to a pod, running or not."""
        ...

    async def view(self, id: str) -> ContainerView: ...

    async def create(self, name: str, body: dict[str, Any]) -> str: ...

    async def start(self, id: str) -> None: ...

    async def terminate(self, id: str) -> None:
        """Send the container's own stop signal (SIGTERM unless the image or the pod says otherwise)."""
        ...

    async def kill(self, id: str) -> None:
        """SIGKILL."""
        ...

    async def remove(self, id: str) -> None: ...

    async def update(self, id: str, limits: Mapping[str, int]) -> None:
        """Other limits for a running container: CpuShares, CpuPeriod, CpuQuota, Memory, MemorySwap."""
        ...

    async def exec(self, id: str, command: list[str], timeout: float) -> tuple[int, bytes]:
        """(exit code, stdout and stderr together). Raises TimeoutError."""
        ...

    async def tail(self, id: str, lines: int) -> bytes:
        """The last lines of the log."""
        ...

    async def open_exec(self, id: str, command: list[str], *, stdin: bool, tty: bool, stderr: bool) -> Session:
        """Start a command in a container, with its stdio connected."""
        ...

    async def open_attach(self, id: str, *, stdin: bool, stdout: bool, stderr: bool) -> Session:
        """Connect to the container's own process."""
        ...

    def logs(self, id: str, options: LogOptions) -> AsyncIterator[bytes]:
        """The log, one chunk per line or more."""
        ...

    async def cgroup_path(self, id: str) -> str:
        """The container's cgroup, relative to each hierarchy."""
        ...

    async def log_path(self, id: str) -> str:
        """The engine's own log file of a container, or ""."""
        ...

    async def image(self, reference: str) -> ImageInfo | None:
        """None when it is not here. Raises ValueError for what is no image reference."""
        ...

    async def pull(self, reference: str, auths: Mapping[str, RegistryAuth]) -> ImageInfo: ...

    async def image_list(self) -> list[dict[str, Any]]:
        """{names, sizeBytes} of every image, largest first, as NodeStatus shows them."""
        ...

    async def stored_images(self) -> list["StoredImage"]:
        """Every image, and whether it came from a registry and is in use."""
        ...

    async def remove_image(self, id: str) -> None: ...

    def subscribe(self, handler: Callable[[ContainerEvent], None]) -> Callable[[], None]:
        """Tell `handler` of events at once; returns how to stop."""
        ...


def view_of(inspected: Mapping[str, Any]) -> ContainerView:
    """A ContainerView from `docker inspect` JSON of a pod's container."""
    state = inspected["State"]
    labels = inspected["Config"].get("Labels") or {}
    status = state.get("Status", "")
    started, finished = pods.parse_time(state.get("StartedAt")), pods.parse_time(state.get("FinishedAt"))
    created = pods.parse_time(inspected.get("Created")) or 0.0
    error = str(state.get("Error") or "")
    exit_code = int(state.get("ExitCode") or 0)
    if status in ("running", "paused"):
        kind = "running"
        finished = None
    elif status == "created" and not error:
        kind = "created"
    else:
        kind = "exited"
        if status == "created" or started is None:
            # It never ran: the kubelet calls that a StartError with exit code 128.
            exit_code, finished = 128, finished or created
        else:
            error = ""
    return ContainerView(
        id=str(inspected["Id"]),
        name=labels.get(pods.LABEL_CONTAINER, ""),
        attempt=int(labels.get(pods.LABEL_ATTEMPT) or 0),
        state=kind,
        sandbox=labels.get(pods.LABEL_SANDBOX, ""),
        created_at=created,
        started_at=started,
        finished_at=finished,
        exit_code=exit_code,
        oom_killed=bool(state.get("OOMKilled")),
        error=error,
        hash=labels.get(pods.LABEL_HASH, ""),
        image=labels.get(pods.LABEL_IMAGE, ""),
        image_id=str(inspected.get("Image", "")),
        backoff=float(labels.get(pods.LABEL_BACKOFF) or 0),
        pid=int(state.get("Pid") or 0),
    )

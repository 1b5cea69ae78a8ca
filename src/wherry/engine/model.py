"""What a container is to the engine: the record that is stored, and what is known of it only while we run.

Vocabulary: *config* and *host config* are Docker's objects of those names, already merged with the image's. The
*monitor* is the conmon process that holds a running container. A *task* is the container's processes; it begins at
`start` and ends at the exit. Status words are Docker's: created, running, paused, restarting, removing, exited, dead.
"""

import asyncio
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import orjson

if TYPE_CHECKING:
    from wherry.engine.health import HealthMonitor
    from wherry.engine.logs import LogRotation
    from wherry.engine.streams import Hub

Status = Literal["created", "running", "paused", "restarting", "removing", "exited", "dead"]

ZERO_TIME = "0001-01-01T00:00:00Z"


def timestamp(nanoseconds: int | None = None) -> str:
    """RFC 3339 in UTC with nanoseconds, as Docker writes times; now by default."""
    ns = time.time_ns() if nanoseconds is None else nanoseconds
    seconds, fraction = divmod(ns, 1_000_000_000)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{text}.{fraction:09d}Z"


def parse_timestamp(text: str) -> float:
    """Seconds since 1970 of a time that `timestamp` wrote; 0.0 for the zero time."""
    if not text or text == ZERO_TIME:
        return 0.0
    import calendar

    head, _, fraction = text.rstrip("Z").partition(".")
    seconds = calendar.timegm(time.strptime(head, "%Y-%m-%dT%H:%M:%S"))
    return seconds + (float(f"0.{fraction}") if fraction else 0.0)


@dataclass
class State:
    """`State` of `docker inspect`, in our spelling. `exit_code` and `error` are those of the last task."""

    status: Status = "created"
    pid: int = 0
    exit_code: int = 0
    error: str = ""
    oom_killed: bool = False
    started_at: str = ZERO_TIME
    finished_at: str = ZERO_TIME
    health: dict[str, Any] | None = None

    @property
    def running(self) -> bool:
        """Docker counts a paused and a restarting container as running."""
        return self.status in ("running", "paused", "restarting")

    @property
    def alive(self) -> bool:
        """Whether there is a task: processes in the kernel."""
        return self.status in ("running", "paused")


@dataclass
class Record:
    """All that survives a restart of the engine: one row of the database."""

    id: str
    name: str
    created: str
    image_id: str
    config: dict[str, Any]
    host_config: dict[str, Any]
    path: str = ""
    args: list[str] = field(default_factory=list)
    chain_id: str = ""
    platform: str = "linux"
    state: State = field(default_factory=State)
    mounts: list[dict[str, Any]] = field(default_factory=list)
    """MountPoint objects, with the private keys `Owned` (anonymous volume made for it) and `Options`."""
    endpoints: dict[str, dict[str, Any]] = field(default_factory=dict)
    network_settings: dict[str, Any] = field(default_factory=dict)
    restart_count: int = 0
    manually_stopped: bool = False
    started_before: bool = False
    log_path: str = ""
    monitor_pid: int = 0
    monitor_start: int = 0
    netns: str | None = None
    pod: dict[str, Any] | None = None
    remove_volumes: bool = False
    """While it is being removed: whether its anonymous volumes go too."""

    def to_json(self) -> bytes:
        return orjson.dumps(asdict(self))

    @classmethod
    def from_json(cls, raw: bytes) -> "Record":
        values = orjson.loads(raw)
        values["state"] = State(**values["state"])
        return cls(**values)


class Container:
    """A record, and what belongs to it in this process. Change its state only while holding `lock`."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.lock = asyncio.Lock()
        self.exits = Broadcast()
        """Told `(exit code, error)` at the end of each task."""
        self.removals = Broadcast()
        """Told the same when the container has been removed."""
        self.hub: Hub | None = None
        self.health: HealthMonitor | None = None
        self.rotation: LogRotation | None = None
        self.watcher: asyncio.Task[None] | None = None
        self.restarter: asyncio.Task[None] | None = None
        self.restart_delay = 0.0
        self.exec_ids: list[str] = []
        self.stopping = False
        """A stop or kill was asked for: the exit to come is wanted."""

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def state(self) -> State:
        return self.record.state

    @property
    def config(self) -> dict[str, Any]:
        return self.record.config

    @property
    def host_config(self) -> dict[str, Any]:
        return self.record.host_config

    @property
    def cgroup_parent(self) -> str:
        return str(self.host_config.get("CgroupParent") or "")


class Broadcast:
    """Tells each who waits, once, of the next occurrence."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[tuple[int, str]]] = set()

    @property
    def awaited(self) -> bool:
        return bool(self._waiting)

    def next(self) -> "asyncio.Future[tuple[int, str]]":
        """A future of the next occurrence from this moment on: nothing between now and the await is missed."""
        future: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        future.add_done_callback(self._waiting.discard)
        return future

    def tell(self, code: int, error: str = "") -> None:
        for future in tuple(self._waiting):
            if not future.done():
                future.set_result((code, error))

"""An engine that the HTTP layer can be tested on without root: one container, `cat`-like streams, real events."""

from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

from wherry.engine.errors import Conflict, InvalidParameter, NotFound
from wherry.engine.events import Events
from wherry.engine.filters import Filters
from wherry.engine.streams import Attachment

Records = list[tuple[int, bytes]]


class FakeContainers:
    def __init__(self) -> None:
        self.tty = False
        self.created: list[tuple[str | None, dict[str, Any]]] = []
        self.calls: list[tuple[Any, ...]] = []
        self.attached: list[Attachment] = []
        self.records: Records = [(1, b"one\n"), (2, b"two\n")]

    def _find(self, ref: str) -> None:
        if ref != "web":
            raise NotFound(f"No such container: {ref}")

    async def create(self, name: str | None, body: dict[str, Any]) -> dict[str, Any]:
        if name == "taken":
            raise Conflict('Conflict. The container name "/taken" is already in use')
        self.created.append((name, body))
        return {"Id": "f" * 64, "Warnings": []}

    async def list(
        self, all: bool = False, filters: Filters | None = None, limit: int = 0, size: bool = False
    ) -> list[dict[str, Any]]:
        self.calls.append(("list", all, dict(filters or {}), limit, size))
        return [{"Id": "f" * 64, "HostConfig": {"NetworkMode": "bridge", "Annotations": {"a": "b"}}}]

    async def inspect(self, ref: str, size: bool = False) -> dict[str, Any]:
        self._find(ref)
        networks = {"blue": {"Aliases": ["db"]}, "bridge": {"Aliases": None}}
        return {"Id": "f" * 64, "Config": {"Tty": self.tty, "Hostname": "h"}, "NetworkSettings": {"Networks": networks}}

    async def kill(self, ref: str, signal: str) -> None:
        self._find(ref)
        if signal == "SIGNOPE":
            raise InvalidParameter(f"Invalid signal: {signal}")

    async def start(self, ref: str) -> None:
        self._find(ref)

    async def attach(self, ref: str, **options: bool) -> Attachment:
        self._find(ref)
        attachment: Attachment

        async def write(data: bytes) -> None:
            attachment.feed(1, data)

        def close_stdin() -> None:
            attachment.feed(2, b"bye")
            attachment.end()

        attachment = Attachment(tty=self.tty, write=write, close_stdin=close_stdin)
        self.attached.append(attachment)
        return attachment

    async def log_batches(self, ref: str, **options: Any) -> AsyncIterator[Records]:
        self.calls.append(("logs", options))
        yield self.records

    async def resize(self, ref: str, height: int, width: int) -> None:
        self.calls.append(("resize", ref, height, width))


class FakeExecs:
    def __init__(self, containers: FakeContainers) -> None:
        self._containers = containers

    async def inspect(self, ref: str) -> dict[str, Any]:
        if ref != "exec1":
            raise NotFound(f"No such exec instance: {ref}")
        return {"ID": ref}

    async def create(self, ref: str, body: dict[str, Any]) -> str:
        return "exec1"

    async def start(self, ref: str, **options: Any) -> Attachment:
        return await self._containers.attach("web")


class Opened:
    """Awaited, it is there: stands for a build cache that has been opened."""

    def __await__(self) -> Iterator[None]:
        return iter(())


class FakeImages:
    def __init__(self) -> None:
        self.companions: dict[str, Any] = {"build cache": Opened()}


class FakeEngine:
    def __init__(self) -> None:
        self.layout = SimpleNamespace(version=1)
        self.images = FakeImages()
        self.events = Events()
        self.containers = FakeContainers()
        self.execs = FakeExecs(self.containers)

    async def version(self) -> dict[str, Any]:
        return {"ApiVersion": "1.50"}

    async def info(self) -> dict[str, Any]:
        return {"ID": "x", "FirewallBackend": {}, "RuncCommit": {"ID": "abc"}, "Runtimes": {"crun": {"path": "crun"}}}

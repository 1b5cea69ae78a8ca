"""`Runtime` on a real engine, in the same process: no HTTP, no copy of a copy.

Containers of pods carry the labels of `pods.LABEL_*`; everything else in the engine is left alone, and `docker ps`
shows the pods' containers beside all others.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Any

from wherry.engine.engine import Engine
from wherry.engine.errors import Conflict, EngineError, NotFound, NotModified
from wherry.engine.filters import Filters
from wherry.engine.streams import Attachment
from wherry.images import errors as image_errors
from wherry.images.references import parse_reference
from wherry.node import pods
from wherry.node.early_output import EarlyOutput
from wherry.node.image_gc import StoredImage
from wherry.node.runtime import (
    ContainerEvent,
    ImageInfo,
    LogOptions,
    NoSuchContainer,
    RegistryAuth,
    RuntimeFailure,
    view_of,
)
from wherry.node.state import ContainerView

log = logging.getLogger(__name__)

OUTPUT_LIMIT = 64 * 1024
"""Bytes of a probe's or hook's output that are kept."""


class EngineRuntime:
    """See `node.runtime.Runtime` for what each method does."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._early = EarlyOutput(engine)

    async def containers(self) -> list[tuple[Mapping[str, str], ContainerView]]:
        found: list[tuple[Mapping[str, str], ContainerView]] = []
        for container in self._engine.containers.all():
            labels = container.config.get("Labels") or {}
            if pods.LABEL_UID in labels:
                with contextlib.suppress(NoSuchContainer):
                    found.append((labels, await self.view(container.id)))
        return found

    async def view(self, id: str) -> ContainerView:
        with _told():
            inspected = await self._engine.containers.inspect(id)
        view = view_of(inspected)
        image = self._engine.images.find(view.image_id)
        if image is None:
            return view
        digests = self._engine.images.inspect(image.id).get("RepoDigests") or []
        return view if not digests else replace(view, image_id=digests[0])

    async def create(self, name: str, body: dict[str, Any]) -> str:
        with _told():
            try:
                created = await self._engine.containers.create(name, body)
            except Conflict:
                # A try that was cut short by a crash left its container behind: it never ran, so it may go.
                known = self._engine.containers.find(name)
                if known is None or known.state.alive or known.record.started_before:
                    raise
                await self._engine.containers.remove(known.id, force=True, volumes=True)
                created = await self._engine.containers.create(name, body)
        return str(created["Id"])

    async def start(self, id: str) -> None:
        with _told(), contextlib.suppress(NotModified):
            await self._early.before_start(id)
            try:
                await self._engine.containers.start(id)
            except EngineError:
                self._early.claim(id)
                raise

    async def terminate(self, id: str) -> None:
        with _told():
            container = self._engine.containers.get(id)
            signal = container.config.get("StopSignal") or "SIGTERM"
            try:
                await self._engine.containers.kill(id, signal)
            except Conflict:
                log.debug("container %s has ended already", id[:12])

    async def kill(self, id: str) -> None:
        with _told():
            try:
                await self._engine.containers.kill(id, "SIGKILL")
            except Conflict:
                log.debug("container %s has ended already", id[:12])

    async def remove(self, id: str) -> None:
        with _told():
            await self._engine.containers.remove(id, force=True, volumes=True)

    async def update(self, id: str, limits: Mapping[str, int]) -> None:
        with _told():
            await self._engine.containers.update(id, limits)

    async def exec(self, id: str, command: list[str], timeout: float) -> tuple[int, bytes]:
        output = bytearray()
        with _told():
            exec_id = await self._make_exec(id, command, stdin=False, tty=False, stderr=True)
            attachment = await self._engine.execs.start(exec_id, tty=False)
            assert attachment is not None
            try:
                async with asyncio.timeout(timeout):
                    async for _, data in attachment:
                        if len(output) < OUTPUT_LIMIT:
                            output += data
                    code = await self._engine.execs.wait(exec_id)
            except TimeoutError:
                attachment.detach()
                raise
        return code, bytes(output)

    async def tail(self, id: str, lines: int) -> bytes:
        parts = []
        with _told():
            async for _, data in self._engine.containers.logs(id, tail=lines):
                parts.append(data)
        return b"".join(parts)

    async def open_exec(self, id: str, command: list[str], *, stdin: bool, tty: bool, stderr: bool) -> "EngineSession":
        with _told():
            exec_id = await self._make_exec(id, command, stdin=stdin, tty=tty, stderr=stderr)
            attachment = await self._engine.execs.start(exec_id, tty=tty)
            assert attachment is not None

        async def resize(height: int, width: int) -> None:
            with _told():
                await self._engine.execs.resize(exec_id, height, width)

        async def wait() -> int:
            with _told():
                return await self._engine.execs.wait(exec_id)

        return EngineSession(attachment, resize, wait)

    async def open_attach(self, id: str, *, stdin: bool, stdout: bool, stderr: bool) -> "EngineSession":
        with _told():
            container = self._engine.containers.get(id)
            if container.state.status != "running":
                # The engine would wait for a start that never comes: a pod's container is started once.
                raise RuntimeFailure(f"container is not running: it is {container.state.status}")
            tty = bool(container.config.get("Tty"))
            attachment = await self._engine.containers.attach(id, stdin=stdin, stdout=stdout, stderr=stderr and not tty)
            early = self._early.claim(id)
            attachment.prepend(early or [])
            if container.hub is None or not container.hub.connected:
                # It has just ended. Whoever hears nothing of it is better told so, and reads the log.
                if early is None:
                    attachment.detach()
                    raise RuntimeFailure("container is not running: it has ended")
                attachment.end()

        async def resize(height: int, width: int) -> None:
            with _told():
                await self._engine.containers.resize(id, height, width)

        async def wait() -> int:
            with _told():
                await self._engine.containers.wait(id)
            # An attached client is told how its connection ended, not how the container did.
            return 0

        return EngineSession(attachment, resize, wait)

    async def logs(self, id: str, options: LogOptions) -> AsyncIterator[bytes]:
        with _told():
            async for batch in self._engine.containers.log_batches(
                id,
                follow=options.follow,
                since=options.since or None,
                tail="all" if options.tail is None else options.tail,
                timestamps=options.timestamps,
                stdout=options.stdout,
                stderr=options.stderr,
            ):
                yield b"".join(data for _, data in batch)

    async def cgroup_path(self, id: str) -> str:
        with _told():
            container = self._engine.containers.get(id)
            return self._engine.containers.lifecycle.cgroup(container).path

    async def log_path(self, id: str) -> str:
        with _told():
            return self._engine.containers.get(id).record.log_path

    async def image(self, reference: str) -> ImageInfo | None:
        try:
            found = self._engine.images.find(reference)
            if found is None:
                parse_reference(reference)
                return None
        except image_errors.InvalidParameter as error:
            raise ValueError(error.message) from error
        return self._image_info(found.id)

    async def pull(self, reference: str, auths: Mapping[str, RegistryAuth]) -> ImageInfo:
        with _told():
            host = parse_reference(reference).domain
            auth = next((auth for key, auth in auths.items() if key.partition("/")[0] == host), None)
            if auth is None and host == "docker.io":
                auth = next((auth for key, auth in auths.items() if key.startswith("index.docker.io")), None)
            await pull(self._engine.images, reference, auth)
            return self._image_info(self._engine.images.resolve(reference).id)

    async def image_list(self) -> list[dict[str, Any]]:
        shown = []
        for row in self._engine.images.list():
            names = [*(row.get("RepoDigests") or []), *(row.get("RepoTags") or [])]
            if names:
                shown.append({"names": names, "sizeBytes": int(row.get("Size") or 0)})
        return sorted(shown, key=lambda entry: -entry["sizeBytes"])

    async def stored_images(self) -> list[StoredImage]:
        with _told():
            users = {container["ImageID"] for container in await self._engine.containers.list(all=True)}
            return [
                StoredImage(
                    id=str(row["Id"]),
                    size=int(row.get("Size") or 0),
                    pulled=bool(row.get("RepoDigests")),
                    used=row["Id"] in users,
                )
                for row in self._engine.images.list()
            ]

    async def remove_image(self, id: str) -> None:
        with _told():
            await self._engine.images.remove(id, force=True)

    def subscribe(self, handler: Callable[[ContainerEvent], None]) -> Callable[[], None]:
        """Ends come by the engine's direct call; removals by its events, which a task here follows."""

        def labels(id: str) -> Mapping[str, str]:
            container = self._engine.containers.find(id)
            return (container.config.get("Labels") or {}) if container is not None else {}

        stop_exits = self._engine.subscribe_exits(lambda id, _: handler(ContainerEvent(id, "die", labels(id))))
        subscription = self._engine.events.subscribe(Filters({"type": ["container"], "event": ["destroy"]}))

        async def follow() -> None:
            async for event in subscription:
                actor = event["Actor"]
                handler(ContainerEvent(actor["ID"], "destroy", actor.get("Attributes") or {}))

        task = asyncio.create_task(follow(), name="kubelet engine events")

        def stop() -> None:
            stop_exits()
            subscription.close()
            task.cancel()

        return stop

    async def _make_exec(self, id: str, command: list[str], *, stdin: bool, tty: bool, stderr: bool) -> str:
        body = {"Cmd": command, "AttachStdin": stdin, "AttachStdout": True, "AttachStderr": stderr, "Tty": tty}
        return await self._engine.execs.create(id, body)

    def _image_info(self, id: str) -> ImageInfo:
        inspected = self._engine.images.inspect(id)
        config = inspected.get("Config") or {}
        return ImageInfo(
            id=str(inspected["Id"]),
            user=str(config.get("User") or ""),
            size=int(inspected.get("Size") or 0),
            tags=tuple(inspected.get("RepoTags") or ()),
            digests=tuple(inspected.get("RepoDigests") or ()),
            stop_signal=str(config.get("StopSignal") or ""),
        )


class EngineSession:
    """See `node.runtime.Session`."""

    def __init__(
        self,
        attachment: Attachment,
        resize: Callable[[int, int], Any],
        wait: Callable[[], Any],
    ) -> None:
        self._attachment = attachment
        self._resize = resize
        self._wait = wait

    def __aiter__(self) -> AsyncIterator[tuple[int, bytes]]:
        return self._attachment.__aiter__()

    async def write(self, data: bytes) -> None:
        await self._attachment.write(data)

    def close_stdin(self) -> None:
        self._attachment.close_stdin()

    async def resize(self, height: int, width: int) -> None:
        await self._resize(height, width)

    def detach(self) -> None:
        self._attachment.detach()

    async def wait(self) -> int:
        return int(await self._wait())


@contextlib.contextmanager
def _told() -> Any:
    """The engine's errors in the kubelet's two words for them."""
    try:
        yield
    except NotFound as error:
        raise NoSuchContainer(error.message) from error
    except (EngineError, image_errors.ImageError) as error:
        raise RuntimeFailure(error.message) from error


async def pull(images: Any, reference: str, auth: RegistryAuth | None) -> None:
    """Pull by the image store. Raises ImageError, RuntimeFailure when this store cannot pull."""
    if not hasattr(images, "pull"):
        raise RuntimeFailure(f'failed to pull and unpack image "{reference}": no registry client in this build')
    credentials = None
    if auth is not None:
        credentials = {"username": auth.username, "password": auth.password, "identitytoken": auth.identity_token}
    await images.pull(reference, auth=credentials)

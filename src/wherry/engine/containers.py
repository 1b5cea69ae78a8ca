"""`engine.containers`: every verb of Docker's `/containers`, on API-shaped dictionaries.

This file is the entrance; the work is in the files that it names: register, create, holdings, lifecycle, update,
streams, logs, stats, archive, inspect, listing. `ref` is a name, an id or the unique beginning of one.
"""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wherry.engine import create, holdings, inspect, links, listing, logs, mountpoints, naming
from wherry.engine.errors import Conflict, InvalidParameter, NotFound, NotModified
from wherry.engine.filters import Filters, filters_from
from wherry.engine.lifecycle import Lifecycle
from wherry.engine.model import Container, parse_timestamp
from wherry.engine.networks.types import ContainerView, NetworkSandbox
from wherry.engine.register import Register
from wherry.engine.streams import Attachment, Frame

if TYPE_CHECKING:
    from wherry.engine.engine import Engine

Listing = list[dict[str, Any]]

_FIRST_WORDS = 0.1
"""Seconds after a start for which a log that is not followed waits to be written. Docker's own start takes longer."""


class Containers(Register):
    """All containers of one engine. All methods belong to the event loop's thread."""

    def __init__(self, engine: "Engine") -> None:
        super().__init__(engine)
        self.lifecycle = Lifecycle(self)
        self._pruning = False

    # --- create, remove, rename ---

    async def create(self, name: str | None, body: Mapping[str, Any]) -> dict[str, Any]:
        """`POST /containers/create`: `{"Id", "Warnings"}`.

        Raises InvalidParameter, NotFound ("No such image: …"), Conflict (name taken).
        """
        engine = self.engine
        # Most are started at once.
        engine.cgroup_moves.expect()
        image = engine.images.resolve(str(body.get("Image") or ""))
        facts = create.ImageFacts(image.id, image.container_config, image.chain_id or "")
        chosen = create.choose_name(name, self.id_of_name)
        self._reserved.add(chosen)
        container_id = naming.new_id()
        try:
            record, warnings = create.build_record(
                body,
                facts,
                container_id=container_id,
                name=chosen,
                layout=engine.layout,
                runtimes=engine.runtimes,
                volumes_from=self._mounts_of,
                own=(engine.instance.root, self.lifecycle.bundles),
            )
            links.check(self, record.host_config)
            mountpoints.resolve_images(record.mounts, container_id, engine.images)
            home = self.lifecycle.home(container_id)
            record.log_path = str((record.pod or {}).get("LogPath") or "") or (
                str(home / f"{container_id}-json.log") if record.host_config["LogConfig"]["Type"] != "none" else ""
            )
            container = Container(record)
            try:
                await holdings.take(self, container)
                await self.save(container)
            except BaseException:
                await holdings.give_back(self, container)
                raise
            self.register(container)
        finally:
            self._reserved.discard(chosen)
        self.emit(container, "create")
        return {"Id": container_id, "Warnings": warnings}

    def _mounts_of(self, reference: str) -> list[mountpoints.MountPoint]:
        try:
            return self.get(reference).record.mounts
        except NotFound as error:
            # Not Docker's 404, which its client takes for a missing image.
            raise InvalidParameter(error.message) from None

    async def remove(self, ref: str, force: bool = False, volumes: bool = False, link: bool = False) -> None:
        """`DELETE /containers/{id}`. Raises Conflict while it runs (not with `force`)."""
        if link:
            await links.remove(self, ref)
            return
        container = self.get(ref)
        state = container.state
        if state.running and not force:
            what = "paused" if state.status == "paused" else "running" if state.status == "running" else state.status
            raise Conflict(
                f'cannot remove container "/{container.name}": container is {what}: '
                + (
                    "unpause and then stop the container before removal or force remove"
                    if what == "paused"
                    else "stop the container before removing or force remove"
                )
            )
        if state.status == "removing":
            raise Conflict(f"removal of container {ref} is already in progress")
        while True:
            if container.state.running:
                with contextlib.suppress(Conflict):
                    await self.lifecycle.kill(container, "SIGKILL")
            async with container.lock:
                if self._by_id.get(container.id) is not container:
                    if force:
                        return
                    raise NotFound(f"No such container: {ref}")
                if container.state.alive:
                    # It was being started when we looked.
                    if not force:
                        raise Conflict(f'cannot remove container "/{container.name}": container is running: stop the '
                                       "container before removing or force remove")  # fmt: skip
                    continue
                await self.remove_locked(container, volumes=volumes)
                return

    async def auto_remove(self, container: Container, after: float = 0.0) -> None:
        """Remove a container that was created to be removed at its end, `after` seconds, unless it runs again."""
        if after:
            await asyncio.wait((container.removals.next(),), timeout=after)
        async with container.lock:
            if self._by_id.get(container.id) is container and not container.state.running:
                await self.remove_locked(container, volumes=True)

    async def remove_locked(self, container: Container, *, volumes: bool) -> None:
        """Remove a container that does not run, and with `volumes` its anonymous ones. Its lock is held."""
        record = container.record
        exit_code = record.state.exit_code
        record.state.status = "removing"
        record.remove_volumes = volumes
        await self.save(container)
        if container.restarter is not None:
            container.restarter.cancel()
            container.restarter = None
        await asyncio.to_thread(holdings.remove_files, self, container)
        await holdings.release_volumes(self, container, remove=volumes)
        await self.engine.database.run(
            lambda connection: connection.execute("DELETE FROM containers WHERE id = ?", (record.id,))
        )
        self._by_id.pop(record.id, None)
        if self._ids.get(record.name) == record.id:
            del self._ids[record.name]
        self.engine.execs.forget(container)
        if container.hub is not None:
            container.hub.finish()
        self.emit(container, "destroy")
        container.removals.tell(exit_code)
        # Whoever waits for an end that never comes now is told so.
        container.exits.tell(exit_code)

    async def rename(self, ref: str, name: str) -> None:
        """Raises Conflict when the name is taken, InvalidParameter when it is none."""
        container = self.get(ref)
        if not name:
            raise InvalidParameter("Neither old nor new names may be empty")
        if naming.check(name) == container.name:
            raise InvalidParameter("Renaming a container with the same name as its current name")
        old = container.name
        try:
            chosen = create.choose_name(name, self.id_of_name)
        except (Conflict, InvalidParameter) as error:
            raise type(error)(f"Error when allocating new name: {error.message}") from None
        async with container.lock:
            container.record.name = chosen
            try:
                await self.save(container)
            except sqlite3.Error:
                container.record.name = old
                raise
            self._ids.pop(old, None)
            self._ids[chosen] = container.id
        for other in links.renamed(self, old, chosen):
            await self.save(other)
        self.emit(container, "rename", {"oldName": f"/{old}"})

    # --- state ---

    async def start(self, ref: str) -> None:
        await self.lifecycle.start(self.get(ref))

    async def stop(self, ref: str, timeout: int | None = None, signal: str | None = None) -> None:
        await self.lifecycle.stop(self.get(ref), timeout, signal)

    async def restart(self, ref: str, timeout: int | None = None, signal: str | None = None) -> None:
        container = self.get(ref)
        if container.host_config.get("AutoRemove") and container.state.running:
            # Stopping it would remove it.
            container.host_config["AutoRemove"] = False
            try:
                await self._restart(container, timeout, signal)
            finally:
                container.host_config["AutoRemove"] = True
                await self.save(container)
            return
        await self._restart(container, timeout, signal)

    async def _restart(self, container: Container, timeout: int | None, signal: str | None) -> None:
        with contextlib.suppress(NotModified):
            await self.lifecycle.stop(container, timeout, signal)
        await self.lifecycle.start(container)
        self.emit(container, "restart")

    async def kill(self, ref: str, signal: str = "SIGKILL") -> None:
        await self.lifecycle.kill(self.get(ref), signal)

    async def pause(self, ref: str) -> None:
        await self.lifecycle.pause(self.get(ref))

    async def unpause(self, ref: str) -> None:
        await self.lifecycle.unpause(self.get(ref))

    async def wait(self, ref: str, condition: str = "not-running") -> tuple[int, str]:
        """(exit code, error) once `condition` holds: `not-running`, `next-exit` or `removed`."""
        return await (await self.wait_started(ref, condition))

    async def wait_started(self, ref: str, condition: str = "not-running") -> Awaitable[tuple[int, str]]:
        """As `wait`, in two steps: from when this returns nothing is missed; await what it returns for the result."""
        container = self.get(ref)
        if condition in ("", "not-running"):
            if not container.state.running:
                done: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
                done.set_result((container.state.exit_code, container.state.error))
                return done
            # Each end counts, as with Docker, even when a restart policy starts the container again.
            return container.exits.next()
        if condition == "next-exit":
            return container.exits.next()
        if condition == "removed":
            return container.removals.next()
        raise InvalidParameter(f'invalid condition: "{condition}"')

    async def resize(self, ref: str, height: int, width: int) -> None:
        container = self.get(ref)
        if not container.state.alive:
            raise Conflict(f"container {container.id} is not running")
        from wherry.engine import monitor

        try:
            monitor.resize(self.lifecycle.bundle(container.id), height, width)
        except OSError as error:
            if not monitor.is_gone(error):
                raise
        self.emit(container, "resize", {"height": str(height), "width": str(width)})

    async def update(self, ref: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """`POST /containers/{id}/update`: new limits and restart policy, at once. Returns `{"Warnings"}`."""
        from wherry.engine import update

        return await update.update(self, self.get(ref), body)

    # --- streams ---

    async def attach(
        self,
        ref: str,
        *,
        stdin: bool = False,
        stdout: bool = True,
        stderr: bool = True,
        logs: bool = False,
        stream: bool = True,
    ) -> Attachment:
        """`POST /containers/{id}/attach`. May come before the start: output then comes from its first byte on."""
        container = self.get(ref)
        if container.state.status == "paused":
            raise Conflict(f"container {container.id} is paused, unpause the container before attach")
        if container.state.status == "restarting":
            raise Conflict(f"container {container.id} is restarting, wait until the container is running")
        config = container.config
        self.emit(container, "attach")
        if not stream:
            attachment = Attachment(stdout=stdout, stderr=stderr, tty=bool(config["Tty"]))
        else:
            attachment = self.lifecycle.hub(container).attach(stdin=stdin, stdout=stdout, stderr=stderr)
        if logs:
            frames: list[Frame] = []
            async for number, data in self.logs(ref, stdout=stdout, stderr=stderr):
                frames.append((number, data))
            attachment.prepend(frames)
        if not stream:
            attachment.end()
        return attachment

    def left(self, ref: str) -> None:
        """A client of `attach` typed its detach keys."""
        with contextlib.suppress(NotFound):
            self.emit(self.get(ref), "detach")

    async def logs(
        self,
        ref: str,
        *,
        follow: bool = False,
        since: float | None = None,
        until: float | None = None,
        tail: str | int | None = "all",
        timestamps: bool = False,
        details: bool = False,
        stdout: bool = True,
        stderr: bool = True,
    ) -> AsyncIterator[Frame]:
        """`(stream, bytes)` by line, oldest first. `since`/`until` are seconds since 1970."""
        async for batch in self.log_batches(
            ref, follow=follow, since=since, until=until, tail=tail, timestamps=timestamps, details=details,
            stdout=stdout, stderr=stderr,
        ):  # fmt: skip
            for frame in batch:
                yield frame

    async def log_batches(
        self,
        ref: str,
        *,
        follow: bool = False,
        since: float | None = None,
        until: float | None = None,
        tail: str | int | None = "all",
        timestamps: bool = False,
        details: bool = False,
        stdout: bool = True,
        stderr: bool = True,
    ) -> AsyncIterator[list[Frame]]:
        """As `logs`, many lines at a time: what to use where a million of them may come."""
        container = self.get(ref)
        driver = container.host_config["LogConfig"]["Type"]
        if driver == "none":
            raise logs.unreadable(driver)
        count = None
        if tail not in (None, "", "all"):
            with contextlib.suppress(ValueError):
                number = int(str(tail))
                count = number if number >= 0 else None
        query = logs.LogQuery(
            stdout=stdout,
            stderr=stderr,
            since=since or 0.0,
            until=until or 0.0,
            tail=count,
            timestamps=timestamps,
            follow=follow,
            details=_details(container) if details else None,
        )
        path = Path(container.record.log_path)
        if not path.parent.exists():
            return
        ended = container.exits.next()
        if not follow and container.state.alive:
            # As soon after its start as this, a client means what the container says first.
            age = time.time() - parse_timestamp(container.state.started_at)
            await asyncio.wait((ended,), timeout=min(_FIRST_WORDS, max(0.0, _FIRST_WORDS - age)))
        try:
            async for batch in logs.read(path, query, lambda: container.state.alive, ended):
                yield batch
        finally:
            ended.cancel()

    # --- looking ---

    async def inspect(self, ref: str, size: bool = False) -> dict[str, Any]:
        """`GET /containers/{id}/json` in the shape of API 1.50."""
        container = self.get(ref)
        result = inspect.inspect(self, container)
        if size:
            written, total = await asyncio.to_thread(self.sizes, container)
            result["SizeRw"], result["SizeRootFs"] = written, total
        return result

    async def list(
        self,
        *,
        all: bool = False,
        filters: Mapping[str, Any] | None = None,
        limit: int = 0,
        size: bool = False,
    ) -> Listing:
        """`GET /containers/json`, newest first. Raises InvalidParameter for an unknown filter."""
        wanted = filters if isinstance(filters, Filters) else filters_from(filters)
        return await listing.listing(self, wanted, all_containers=all, limit=limit, size=size)

    def sizes(self, container: Container) -> tuple[int, int]:
        """(bytes written, bytes in all). Reads the disk."""
        written = self.engine.images.snapshots.usage(container.id)
        return written, written + inspect.image_size(self, container)

    async def top(self, ref: str, arguments: str = "") -> dict[str, Any]:
        from wherry.engine import top

        return await top.top(self, self.get(ref), arguments or "-ef")

    async def stats(self, ref: str, one_shot: bool = True) -> dict[str, Any]:
        """`GET /containers/{id}/stats?stream=0`; without `one_shot` two samples a second apart, which give rates."""
        from wherry.engine import stats

        return await stats.once(self, self.get(ref), one_shot)

    def stats_stream(self, ref: str) -> AsyncIterator[dict[str, Any]]:
        """A sample every second until the container is removed."""
        from wherry.engine import stats

        return stats.stream(self, self.get(ref))

    async def changes(self, ref: str) -> Listing:
        container = self.get(ref)
        return await asyncio.to_thread(self.engine.images.snapshots.changes, container.id)

    # --- files ---

    async def export(self, ref: str) -> AsyncIterator[bytes]:
        """The container's whole file system as a tar stream."""
        from wherry.engine import archive

        container = self.get(ref)
        self.emit(container, "export")
        return archive.export(self, container)

    async def archive_stat(self, ref: str, path: str) -> dict[str, Any]:
        """`{"name", "size", "mode" (Go's bits), "mtime", "linkTarget"}`. Raises NotFound."""
        from wherry.engine import archive

        return await archive.stat(self, self.get(ref), path)

    async def archive_get(self, ref: str, path: str) -> tuple[dict[str, Any], AsyncIterator[bytes]]:
        from wherry.engine import archive

        container = self.get(ref)
        result = await archive.get(self, container, path)
        self.emit(container, "archive-path")
        return result

    async def archive_put(
        self,
        ref: str,
        path: str,
        chunks: AsyncIterable[bytes],
        *,
        no_overwrite_dir_non_dir: bool = False,
        copy_uid_gid: bool = False,
    ) -> None:
        from wherry.engine import archive

        container = self.get(ref)
        await archive.put(self, container, path, chunks, keep_kinds=no_overwrite_dir_non_dir, own_ids=copy_uid_gid)
        self.emit(container, "extract-to-dir")

    async def commit(
        self,
        ref: str,
        *,
        repo: str = "",
        tag: str = "",
        comment: str = "",
        author: str = "",
        pause: bool = True,
        changes: Sequence[str] = (),
        config: Mapping[str, Any] | None = None,
    ) -> str:
        """`POST /commit`: the new image's id."""
        from wherry.engine import commit

        return await commit.commit(
            self, self.get(ref), repo=repo, tag=tag, comment=comment, author=author, pause=pause, changes=changes,
            config=config,
        )  # fmt: skip

    async def prune(self, filters: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """`POST /containers/prune`: all that do not run; filters until, label, label!."""
        wanted = filters if isinstance(filters, Filters) else filters_from(filters)
        wanted.validate(("until", "label", "label!"))
        before = listing.until(wanted)
        if self._pruning:
            raise Conflict("a prune operation is already running")
        self._pruning = True
        deleted: list[str] = []
        reclaimed = 0
        try:
            for container in self.all():
                if container.state.running or not wanted.prune_labels(container.config["Labels"]):
                    continue
                if before is not None and listing.created(container) >= before:
                    continue
                with contextlib.suppress(Conflict, NotFound):
                    written, _ = await asyncio.to_thread(self.sizes, container)
                    await self.remove(container.id)
                    deleted.append(container.id)
                    reclaimed += written
        finally:
            self._pruning = False
        self.engine.events.emit("container", "prune", "", {"reclaimed": str(reclaimed)})
        return {"ContainersDeleted": deleted, "SpaceReclaimed": reclaimed}

    # --- what networks ask ---

    def network_view(self, ref: str) -> ContainerView:
        container = self.get(ref)
        return ContainerView(
            id=container.id,
            name=container.name,
            mode=container.host_config["NetworkMode"],
            running=container.state.alive,
            endpoints=container.record.endpoints,
        )

    async def save_network(
        self, container_id: str, endpoints: dict[str, dict[str, Any]], sandbox: NetworkSandbox | None
    ) -> None:
        container = self.get(container_id)
        container.record.endpoints = endpoints
        if sandbox is not None:
            container.record.network_settings = sandbox.settings
            home = self.lifecycle.home(container_id)
            # In place: the files are bound into the container.
            (home / "hosts").write_text(sandbox.hosts)
            (home / "resolv.conf").write_text(sandbox.resolv_conf)
        await self.save(container)

    def image_users(self) -> Iterable[Any]:
        """Which containers stand on which images, for the image store."""
        from wherry.images.removal import User

        return [
            User(item.id, image, item.state.running)
            for item in self._by_id.values()
            for image in (item.record.image_id, *(point["image"] for point in mountpoints.images(item.record.mounts)))
        ]


def _details(container: Container) -> str:
    record = container.record
    image = record.image_id.removeprefix("sha256:")
    identity = {
        "ID": record.id[:12],
        "FullID": record.id,
        "Name": record.name,
        "ImageID": image[:12],
        "ImageFullID": image,
        "ImageName": record.config["Image"],
        "DaemonName": "docker",
    }
    return logs.details(container.host_config["LogConfig"], container.config, identity)

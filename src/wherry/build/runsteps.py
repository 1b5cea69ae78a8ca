"""RUN: its command line, its mounts, and the layer that comes of it."""

import asyncio
import contextlib
import os
import secrets
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..images.threads import in_thread
from . import copying, runmounts
from .errors import BuildError, StepFailed
from .instructions import Command
from .running import Process
from .sources import Source, TreeSource, follow
from .state import PREDEFINED_ARGS, stable

if TYPE_CHECKING:
    from .steps import StageBuilder


class RunSteps:
    """Carries out the RUN instructions of one stage. Any caller may use the host's network: the classic API knows no
    entitlements."""

    def __init__(self, worker: "StageBuilder") -> None:
        self._worker = worker

    async def carry_out(self, step: Command) -> None:
        """Run the command, or take what came of it from the cache. Raises StepFailed, BuildError."""
        if step.security == "insecure":
            raise BuildError("the --security=insecure option is not supported by this builder")
        if step.devices:
            raise BuildError("the --device option is not supported by this builder")
        command, script = self._command_of(step)
        state = self._worker.state
        environment = state.environment
        arguments = {
            name: value
            for name, value in {**dict.fromkeys(PREDEFINED_ARGS), **state.args}.items()
            if name not in environment
        }
        values = {
            name: self._worker.options.args.get(name) if name in PREDEFINED_ARGS and value is None else value
            for name, value in arguments.items()
        }
        declared = {n: v for n, v in values.items() if v is not None}
        for name in declared:
            if name in self._worker.options.args:
                self._worker.build.used_args.add(name)
        visible = sorted(f"{n}={v}" for n, v in declared.items() if n not in PREDEFINED_ARGS or n in state.args)
        workdir = state.config.get("WorkingDir") or "/"
        mounts = [self._mount(text, workdir) for text in step.mounts]
        prints = [await self._mount_print(mount) for mount in mounts]
        shown = [f"|{len(visible)}", *visible, *command] if visible else command
        if self._worker.lookup("run", stable(shown), stable(prints), step.network, script or ""):
            return
        tag = secrets.token_hex(6)
        self._worker.say(f" ---> Running in {tag}\n")
        full = [f"{name}={value}" for name, value in {**environment, **declared}.items()]
        diff_id = await self._run_on_snapshot(command, script, full, mounts, step)
        self._worker.say(f" ---> Removed intermediate container {tag}\n")
        await self._worker.done(" ".join(shown), diff_id, step.text)

    def _command_of(self, step: Command) -> tuple[list[str], str | None]:
        """The command line, and a script to bind when a heredoc with `#!` is the whole command."""
        if not step.heredocs:
            return self._worker.with_shell(step), None
        text = step.args[0] if step.args else ""
        only = len(step.heredocs) == 1 and text.strip().startswith("<<") and len(text.split()) == 1
        heredoc = step.heredocs[0]
        shell = self._worker.state.config.get("Shell") or ["/bin/sh", "-c"]
        if only:
            if heredoc.text.startswith("#!"):
                return [f"/dev/pipes/{heredoc.name}"], heredoc.text
            return [*shell, heredoc.text], None
        for each in step.heredocs:
            text += f"\n{each.content}{each.name}"
        return [*shell, text], None

    def _mount(self, text: str, workdir: str) -> runmounts.RunMount:
        try:
            mount = runmounts.parse_mount(self._worker.expand(text), workdir)
        except ValueError as error:
            raise BuildError(str(error)) from None
        return mount

    async def _mount_print(self, mount: runmounts.RunMount) -> str:
        """What of a mount counts for the cache: a bind mount's content does, a cache's or a secret's does not."""
        if mount.kind != "bind":
            return mount.canonical()
        source = await self._bind_source(mount)

        def fingerprint() -> str:
            path = follow(source, os.fsencode(mount.source.strip("/")))
            item = source.stat(path) if path is not None else None
            if path is None or item is None:
                raise BuildError(f'"{mount.source}": not found')
            return copying.fingerprint(copying.Selection(source, [(path, item)], [path]))

        return mount.canonical() + await in_thread(fingerprint)

    async def _bind_source(self, mount: runmounts.RunMount) -> Source:
        if mount.origin:
            return await self._worker.build.files_of(mount.origin, self._worker.stage.index)
        assert self._worker.build.context is not None
        return self._worker.build.context

    async def _run_on_snapshot(
        self,
        command: list[str],
        script: str | None,
        environment: list[str],
        mounts: list[runmounts.RunMount],
        step: Command,
    ) -> str | None:
        images, build = self._worker.build.images, self._worker.build
        key = f"build-{secrets.token_hex(8)}"
        target = build.work / key
        parent = self._worker.state.chain_id
        epoch = self._worker.options.epoch
        async with contextlib.AsyncExitStack() as stack:
            with (
                tempfile.TemporaryDirectory(dir=build.work) as small,
                tempfile.TemporaryDirectory(dir=build.scratch) as large,
            ):
                place = Path(small)
                oci_mounts, extra = await self._prepare_mounts(mounts, place, Path(large), stack)
                if script is not None:
                    path = place / "script"
                    path.write_text(script)
                    path.chmod(0o755)
                    oci_mounts.append(runmounts.oci_bind(path, command[0], read_only=True))

                def mount() -> None:
                    target.mkdir()
                    images.snapshots.prepare(key, parent)
                    images.snapshots.mount(key, target, volatile=True)

                await in_thread(mount)
                try:
                    points = runmounts.mount_points_removed(target, [m["destination"] for m in oci_mounts])
                    with points:
                        process_ = Process(
                            command, self._worker.state.config, environment + extra, oci_mounts, step.network
                        )
                        code = await self._execute(target, process_)
                    await asyncio.to_thread(images.snapshots.unmount, target, lazy=True)
                    if code:
                        raise StepFailed(f"The command '{' '.join(command)}' returned a non-zero code: {code}", code)
                    staged = await in_thread(lambda: images.snapshots.commit_move(key, epoch))
                finally:

                    def clean() -> None:
                        images.snapshots.unmount(target, lazy=True)
                        images.snapshots.remove(key)
                        target.rmdir()

                    await asyncio.shield(in_thread(clean))
        return await self._worker.register(parent, staged)

    async def _execute(self, target: Path, process_: Process) -> int:
        def output(stream: str, data: bytes) -> None:
            text = data.decode("utf-8", "replace")
            self._worker.say(f"\x1b[91m{text}\x1b[0m" if stream == "stderr" else text)

        try:
            return await self._worker.runner.run(target, process_, output)
        except OSError as error:
            raise BuildError(f"cannot run the build step: {error}") from error

    async def _prepare_mounts(
        self, mounts: list[runmounts.RunMount], place: Path, copies: Path, stack: contextlib.AsyncExitStack
    ) -> tuple[list[dict[str, Any]], list[str]]:
        """OCI mounts and extra environment; what must outlive the command hangs on `stack`."""
        found: list[dict[str, Any]] = []
        environment: list[str] = []
        for number, mount in enumerate(mounts):
            if mount.kind == "tmpfs":
                found.append(runmounts.oci_tmpfs(mount))
            elif mount.kind == "cache":
                found.append(await self._cache_mount(mount, stack))
            elif mount.kind == "secret":
                if mount.env:
                    content = self._worker.options.secrets.get(mount.id)
                    if content is None and mount.required:
                        raise BuildError(f"secret {mount.id}: not found")
                    if content is not None:
                        environment.append(f"{mount.env}={content.decode('utf-8', 'replace')}")
                if mount.target and (not mount.env or mount.target != f"/run/secrets/{mount.id}"):
                    path = runmounts.secret_file(place, mount, self._worker.options.secrets, number)
                    if path is not None:
                        found.append(runmounts.oci_bind(path, mount.target, read_only=True))
            else:
                found.append(await self._bind_mount(mount, copies, number))
        return found, environment

    async def _cache_mount(self, mount: runmounts.RunMount, stack: contextlib.AsyncExitStack) -> dict[str, Any]:
        builder = self._worker.build.builder
        caches = builder.cache.mounts
        alone = False
        if mount.sharing == "locked":
            lock = builder.locks.setdefault(mount.id, asyncio.Lock())
            await stack.enter_async_context(lock)
        elif mount.sharing == "private":
            lock = builder.locks.setdefault(mount.id, asyncio.Lock())
            if lock.locked():
                alone = True
            else:
                await stack.enter_async_context(lock)
        path = await asyncio.to_thread(caches.take, mount, alone=alone)
        stack.push_async_callback(asyncio.to_thread, caches.release, path)
        return runmounts.oci_bind(path, mount.target, read_only=mount.read_only)

    async def _bind_mount(self, mount: runmounts.RunMount, place: Path, number: int) -> dict[str, Any]:
        source = await self._bind_source(mount)
        wanted = os.fsencode(mount.source.strip("/"))

        def prepare() -> Path:
            path = follow(source, wanted)
            item = source.stat(path) if path is not None else None
            if path is None or item is None:
                raise BuildError(f'"{mount.source}": not found')
            if isinstance(source, TreeSource) and mount.read_only and not source.is_filtered:
                return source.path / os.fsdecode(path)
            # Written to, filtered or never unpacked: the command gets a copy of its own.
            copy = place / f"bind-{number}"
            copy.mkdir()
            selection = copying.Selection(source, [(path, item)], [b"content"])
            writer = copying.Writer(copy, copying.Ownership())
            try:
                writer.write(selection, "/content", "RUN --mount")
            finally:
                writer.close()
            return copy / "content"

        path = await in_thread(prepare)
        # Changes are thrown away with the copy, as BuildKit does.
        return runmounts.oci_bind(path, mount.target, read_only=mount.read_only)

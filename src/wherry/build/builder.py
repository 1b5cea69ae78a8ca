"""One build: from a Dockerfile and a context to an image.

The stages that the target needs run as tasks, each waiting for the stages it names. Each instruction is one step:
work out its key, look into the cache, else do it and remember what came of it.
"""

import asyncio
import contextlib
import os
import secrets
import shutil
from collections.abc import AsyncIterable, Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..images.blobs import canonical_json
from ..images.catalog import Image
from ..images.errors import ImageError, NotFound
from ..images.references import key_of
from ..images.threads import feed, in_thread
from . import checks, graph, outputs, recovery
from .cache import BuildCache
from .errors import BuildError, DockerfileError, InvalidOptions
from .ignore import Patterns, read_ignore_file
from .instructions import Dockerfile, Stage, interpret
from .options import BuildOptions
from .parser import parse
from .progress import Progress, Stream, short
from .running import Runner
from .shellwords import SubstitutionError, expand
from .sources import ArchiveSource, Source, TreeSource, follow
from .state import StageState

if TYPE_CHECKING:
    from ..engine.engine import Engine

Context = AsyncIterable[bytes] | Path
_SMALL_CONTEXT = 8 << 20
"""Bytes that the file system frees in no time."""


class Builder:
    """The builder of one engine: its cache, and one `Build` at a time per call."""

    def __init__(self, engine: "Engine", cache: BuildCache) -> None:
        self.engine = engine
        self.cache = cache
        self.locks: dict[str, asyncio.Lock] = {}

    @classmethod
    async def of(cls, engine: "Engine") -> "Builder":
        """The engine's builder, made at the first call."""
        found = engine.images.companions.get("builder")
        if isinstance(found, cls):
            return found
        cache = await recovery.open_cache(engine)
        kept: Builder = engine.images.companions.setdefault("builder", cls(engine, cache))
        return kept

    async def build(self, options: BuildOptions, context: Context, progress: Progress) -> str:
        """Build and tag; the image's id. `progress` gets the messages of `POST /build`, without the error.

        Raises BuildError (a Dockerfile's carries its line), ImageError and EngineError.
        """
        build = Build(self, options, progress)
        try:
            return await build.run(context)
        finally:
            await build.close()

    async def check(self, options: BuildOptions, context: Context) -> list[checks.Warning]:
        """`docker build --check`: read and judge the Dockerfile, build nothing. Raises as `build` does."""
        build = Build(self, options, lambda message: None)
        try:
            return await build.check(context)
        finally:
            await build.close()


async def build(engine: "Engine", options: BuildOptions, context: Context, progress: Progress) -> str:
    """Build an image with the engine's builder: see `Builder.build`."""
    return await (await Builder.of(engine)).build(options, context, progress)


class Build:
    """The state of one build. Use it once."""

    def __init__(self, builder: Builder, options: BuildOptions, progress: Progress) -> None:
        self.builder = builder
        self.engine = builder.engine
        self.images = builder.engine.images
        self.options = options
        self.stream = Stream(progress, 0, quiet=options.quiet)
        self.dockerfile: Dockerfile
        self.context: Source | None = None
        self.global_args: dict[str, str | None] = {}
        self.platform: tuple[str, str] | None = _platform(options.platform)
        identity = secrets.token_hex(8)
        self.work = builder.engine.instance.run / "build" / identity
        """For mount points and secrets: in memory, as a rule."""
        self.scratch = recovery.scratch(builder.engine) / identity
        """For what may be large: contexts, downloads, copies that a command may write to."""
        self.used_args: set[str] = set()
        self.warnings: list[checks.Warning] = []
        self._ignore: Patterns | None = None
        self._tasks: dict[int, asyncio.Task[StageState]] = {}
        self._mounted: dict[str, tuple[str, Path, TreeSource]] = {}
        self._named: dict[str, Source] = {}
        self._mounting = asyncio.Lock()

    async def run(self, context: Context) -> str:
        names = [key_of(tag, None).key for tag in self.options.tags]
        if self.options.cache_from and not any(map(self._is_here, self.options.cache_from)):
            # As with Docker: the images named stand in for the builder's own cache, and there are none.
            self.options = replace(self.options, no_cache=True)
        self._make_directories()
        await self._read(context)
        self._read_global_args()
        target = self._target()
        needed = graph.needed(self.dockerfile, target, self._expand_global, self.options.contexts)
        self._number_steps(needed)
        self.stream.begin(needed)
        async with self.images.arriving():
            try:
                state = await self.stage(target)
            except BaseException:
                await self._cancel_stages()
                raise
            result = await self._finish(state, names)
            for output in self.options.outputs:
                await outputs.write(self.engine, result, output)
        files = (self.options.id_file, self.options.metadata_file)
        await outputs.write_about(result, id_file=files[0], metadata_file=files[1])
        await self.builder.cache.keep_to_budget()
        return result.id

    def _make_directories(self) -> None:
        self.work.mkdir(parents=True)
        self.scratch.mkdir(parents=True, mode=0o700)

    async def _read(self, context: Context) -> None:
        self.context = await self._open_context(context)
        for name, given in self.options.contexts.items():
            if not isinstance(given, str):
                self._named[name] = await self._open_archive(given)
        text = self._dockerfile_text
        self.dockerfile = interpret(parse(text() if self._is_archive else await asyncio.to_thread(text)))
        self.warnings = checks.check(self.dockerfile, self._ignore)

    async def check(self, context: Context) -> list[checks.Warning]:
        """Only read the Dockerfile: what the build checks say of it."""
        self._make_directories()
        await self._read(context)
        return self.warnings

    async def _finish(self, state: StageState, names: list[str]) -> outputs.Result:
        labels = self.options.labels
        if labels and any((state.config.get("Labels") or {}).get(k) != v for k, v in labels.items()):
            text = "LABEL " + " ".join(f"{key}={value}" for key, value in sorted(labels.items()))
            if not await self._cached_labels(state, text):
                state.config["Labels"] = {**(state.config.get("Labels") or {}), **labels}
                state.add_history(f"/bin/sh -c #(nop)  {text}", None, self.options.epoch)
                await self.builder.cache.put([(state.key, state.document, text)])
        known = self.images.catalog.get(state.image_id)
        config = canonical_json(state.document) if known is None else self.images.blobs.get(known.id)
        result = outputs.Result(state.image_id, config, state.chain_id, list(self.options.tags))
        if self.options.keep:
            await self._keep(result, names)
        self.images.layers.flush_soon()
        unused = {name for name in self.options.args if name not in self.used_args} - graph.always_known()
        if unused:
            self.stream.send(
                {"stream": f"[Warning] One or more build-args {sorted(unused)} were not consumed\n".replace("'", "")}
            )
        if not self.options.quiet:
            for warning in self.warnings:
                self.stream.send({"stream": f"[Warning] {warning}\n"})
        self.stream.send({"aux": {"ID": result.id}})
        if self.options.quiet:
            self.stream.send({"stream": f"{result.id}\n"})
        else:
            self.stream.send({"stream": f"Successfully built {short(result.id)}\n"})
            for tag in self.options.tags if self.options.keep else ():
                self.stream.send({"stream": f"Successfully tagged {key_of(tag, None).familiar}\n"})
        return result

    async def _keep(self, result: outputs.Result, names: list[str]) -> None:
        if self.images.catalog.get(result.id) is None:
            await self.images.create(result.config)
        for name in names:
            await self.images.tag(result.id, name)

    async def _cached_labels(self, state: StageState, text: str) -> bool:
        state.advance(state.image_id, text)
        found = None if self.options.no_cache else self.builder.cache.get(state.key)
        if found is not None:
            state.take(*found)
        return found is not None

    async def close(self) -> None:
        """Give back everything that is mounted or open."""
        await self._cancel_stages()

        def undo() -> None:
            for source in self._named.values():
                source.close()
            for key, target, source in self._mounted.values():
                source.close()
                self.images.snapshots.unmount(target, lazy=True)
                self.images.snapshots.remove(key)
            if self.context is not None:
                self.context.close()
            for place in (self.work, self.scratch):
                _remove(place)

        small = isinstance(self.context, ArchiveSource) and self.context.size < _SMALL_CONTEXT
        if small and not self._mounted and not self._named:
            undo()  # a handful of system calls
        else:
            await asyncio.to_thread(undo)

    async def _cancel_stages(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    # The context

    def _is_here(self, name: str) -> bool:
        try:
            return self.images.find(name) is not None
        except ImageError:
            return False

    async def _open_context(self, context: Context) -> Source:
        if isinstance(context, Path):
            return await asyncio.to_thread(self._open_directory, context)
        return await self._open_archive(context, self._apply_ignore)

    async def _open_archive(
        self, context: AsyncIterable[bytes], then: Callable[[ArchiveSource], None] | None = None
    ) -> ArchiveSource:
        source = ArchiveSource(self.scratch)

        def fill(chunks: Iterable[bytes]) -> None:
            source.fill(chunks)
            if then is not None:
                then(source)

        try:
            await feed(context, fill)
        except BaseException:
            source.close()
            raise
        return source

    def _open_directory(self, path: Path) -> Source:
        plain = TreeSource(path, owners=False)
        lines = _ignore_lines(plain, self.options.dockerfile)
        if not lines:
            return plain
        plain.close()
        self._ignore = _patterns(lines)
        return TreeSource(path, owners=False, ignore=self._ignore)

    def _apply_ignore(self, source: ArchiveSource) -> None:
        lines = _ignore_lines(source, self.options.dockerfile)
        if not lines:
            return
        self._text = _read_text(source, self.options.dockerfile)
        self._ignore = _patterns(lines)
        source.prune(self._ignore)

    _text: str | None = None

    @property
    def _is_archive(self) -> bool:
        return isinstance(self.context, ArchiveSource)

    def _dockerfile_text(self) -> str:
        if self._text is not None:
            return self._text
        assert self.context is not None
        text = _read_text(self.context, self.options.dockerfile)
        if text is None and isinstance(self.context, TreeSource):
            text = _read_text(self.context.unfiltered(), self.options.dockerfile)
        if text is None:
            raise InvalidOptions(f"Cannot locate specified Dockerfile: {self.options.dockerfile}")
        if not text.strip():
            raise DockerfileError(f"the Dockerfile ({self.options.dockerfile}) cannot be empty")
        return text

    # The plan

    def _read_global_args(self) -> None:
        known = graph.platform_args(self.platform)
        self.global_args.update(known)
        self.global_values: dict[str, str] = dict(known)
        for arg in self.dockerfile.global_args:
            for name, default in arg.pairs:
                given: str | None
                if name in self.options.args:
                    given = self.options.args[name]
                    self.used_args.add(name)
                else:
                    given = self._expand(default, self.global_values, arg.line) if default is not None else None
                self.global_args[name] = given
                if given is not None:
                    self.global_values[name] = given

    def _expand(self, text: str, env: dict[str, str], line: int) -> str:
        try:
            return expand(text, env, self.dockerfile.escape)
        except SubstitutionError as error:
            raise DockerfileError(str(error), line) from None

    def _expand_global(self, text: str, line: int) -> str:
        return self._expand(text, self.global_values, line)

    def _target(self) -> int:
        name = self.options.target
        if not name:
            return len(self.dockerfile.stages) - 1
        stage = self.dockerfile.stage(name)
        if stage is None:
            raise InvalidOptions(f"failed to reach build target {name} in Dockerfile")
        return stage.index

    def _number_steps(self, needed: list[int]) -> None:
        self.first_step: dict[int, int] = {}
        number = 1 + len(self.dockerfile.global_args)
        for index in needed:
            self.first_step[index] = number
            number += 1 + len(self.dockerfile.stages[index].instructions)
        self.stream.total = number - 1

    # Stages

    async def stage(self, index: int) -> StageState:
        """The finished state of a stage; it is built at the first call."""
        task = self._tasks.get(index)
        if task is None:
            task = self._tasks[index] = asyncio.create_task(self._build_stage(self.dockerfile.stages[index]))
        return await asyncio.shield(task)

    def start_stage(self, index: int) -> None:
        """Let a stage be built beside this one."""
        if index not in self._tasks:
            self._tasks[index] = asyncio.create_task(self._build_stage(self.dockerfile.stages[index]))
            self._tasks[index].add_done_callback(_retrieve)

    async def _build_stage(self, stage: Stage) -> StageState:
        from .steps import StageBuilder

        for index in graph.dependencies(self.dockerfile, stage, self._expand_global, self.options.contexts):
            self.start_stage(index)
        runner = Runner(self.engine, self.options)
        worker = StageBuilder(self, stage, runner)
        try:
            state = await worker.run()
        except asyncio.CancelledError:
            raise
        except BaseException:
            self.stream.reveal(stage.index)
            raise
        finally:
            await runner.close()
        self.stream.close(stage.index)
        return state

    # Images and their files

    async def image(self, name: str, platform: tuple[str, str] | None = None) -> Image | None:
        """The image that FROM or --from names: a named context, a local image, else pulled. None is scratch.

        A local image of another platform than the one asked for counts as not there.
        """
        name = self._named_context(name)
        if name == "scratch":
            return None
        found = self.images.find(name)
        if found is not None and platform is not None and not _is_for(found, platform):
            if found.id.startswith(name):
                raise BuildError(_other_platform(found, name, platform))
            return await self._pulled_for(name, platform, found)
        if found is not None and not self.options.pull:
            return found
        if found is not None and found.id.startswith(name):
            return found
        try:
            await self.images.pull(
                name, self.stream.send, auth=self.options.auth, platform="/".join(platform) if platform else None
            )
        except ImageError as error:
            if found is not None and isinstance(error, NotFound):
                return found
            raise
        return self.images.resolve(name)

    async def _pulled_for(self, name: str, platform: tuple[str, str], local: Image) -> Image:
        """The image of that platform from its registry; the local one of another keeps its names on failure."""
        try:
            pulled = await self.images.pull(name, self.stream.send, auth=self.options.auth, platform="/".join(platform))
        except ImageError as error:
            raise BuildError(f"{_other_platform(local, name, platform)}: {error.message}") from None
        if not _is_for(pulled, platform):
            raise BuildError(_other_platform(pulled, name, platform))
        return pulled

    def _named_context(self, name: str) -> str:
        given = self.options.contexts.get(name)
        if given is None:
            return name
        if isinstance(given, str) and given.startswith("docker-image://"):
            return given.removeprefix("docker-image://")
        raise BuildError(f"named context {name} is a directory and cannot be used as a base image")

    async def files_of(self, name: str, before: int) -> Source:
        """The files that --from names: a named context's, else those of a stage (one before stage number `before`),
        else of an image."""
        given = self.options.contexts.get(name)
        if isinstance(given, str) and not given.startswith("docker-image://") and name not in self._named:
            self._named[name] = await asyncio.to_thread(self._open_directory, Path(given))
        if name in self._named:
            return self._named[name]
        index = None if given is not None else graph.earlier(self.dockerfile, name, before)
        if index is not None:
            state = await self.stage(index)
            return await self._mounted_tree(f"stage:{index}", state.chain_id)
        image = await self.image(name)
        return await self._mounted_tree(f"image:{name}", image.chain_id if image else None)

    async def _mounted_tree(self, key: str, chain_id: str | None) -> TreeSource:
        async with self._mounting:
            if key not in self._mounted:
                snapshot = f"build-{secrets.token_hex(8)}"
                target = self.work / snapshot

                def mount() -> TreeSource:
                    target.mkdir(parents=True)
                    self.images.snapshots.prepare(snapshot, chain_id, init=False)
                    self.images.snapshots.mount(snapshot, target, volatile=True)
                    return TreeSource(target)

                self._mounted[key] = (snapshot, target, await in_thread(mount))
            return self._mounted[key][2]


def _remove(place: Path) -> None:
    """Take away a build's own directory; as a rule it is empty by now."""
    with contextlib.suppress(FileNotFoundError):
        try:
            place.rmdir()
        except OSError:
            shutil.rmtree(place, ignore_errors=True)


def _retrieve(task: "asyncio.Task[Any]") -> None:
    """The error of a stage that runs ahead is raised by whoever waits for it."""
    if not task.cancelled():
        task.exception()


def _is_for(image: Image, platform: tuple[str, str]) -> bool:
    return (image.config.get("os") or "linux", image.config.get("architecture") or "") == platform


def _other_platform(image: Image, name: str, platform: tuple[str, str]) -> str:
    its = f"{image.config.get('os') or 'linux'}/{image.config.get('architecture') or ''}"
    return (
        f"image with reference {name} was found but its platform ({its}) does not match the specified platform "
        f"({'/'.join(platform)})"
    )


def _platform(text: str) -> tuple[str, str] | None:
    if not text:
        return None
    parts = text.lower().split("/")
    if len(parts) == 1:
        return ("linux", parts[0]) if parts[0] != "linux" else None
    return parts[0], parts[1]


def _read_text(source: Source, path: str) -> str | None:
    resolved = follow(source, os.fsencode(path.strip("/")))
    if resolved is None:
        return None
    return b"".join(source.read(resolved)).decode("utf-8", "replace")


def _ignore_lines(source: Source, dockerfile: str) -> list[str]:
    for name in (f"{dockerfile}.dockerignore", ".dockerignore"):
        text = _read_text(source, name)
        if text is not None:
            return read_ignore_file(text)
    return []


def _patterns(lines: list[str]) -> Patterns:
    try:
        return Patterns(lines)
    except ValueError as error:
        raise BuildError(f"error reading .dockerignore: {error}") from None

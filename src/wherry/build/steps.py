"""The instructions of one stage, carried out one after the other."""

import asyncio
import json
import os
import posixpath
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..engine import users
from ..engine.errors import EngineError
from ..images.diff import lookup
from ..images.errors import ImageError
from ..images.rootdir import RootDir
from ..images.tarstream import DIRECTORY
from ..images.threads import in_thread
from . import copying, graph
from .download import download
from .errors import BuildError, DockerfileError
from .instructions import (
    Arg,
    Command,
    Copy,
    Healthcheck,
    Instruction,
    KeyValue,
    Onbuild,
    Stage,
    Words,
    interpret_node,
)
from .parser import parse
from .progress import short
from .running import Runner
from .runsteps import RunSteps
from .shellwords import SubstitutionError, process
from .sources import ArchiveSource, Source
from .state import StageState, stable

if TYPE_CHECKING:
    from .builder import Build

EMPTY_LAYER = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
_NOP = "/bin/sh -c #(nop) "
_FEW = 500
"""Entries of a context that are looked through in about a millisecond."""
T = TypeVar("T")


class StageBuilder:
    """Builds one stage. `run` gives its final state."""

    def __init__(self, build: "Build", stage: Stage, runner: Runner) -> None:
        self.build = build
        self.stage = stage
        self.runner = runner
        self.options = build.options
        self.escape = build.dockerfile.escape
        self.state: StageState
        self._cached_so_far = not (build.options.no_cache or self._filtered(stage))
        self._touched: list[str] = []

    def _filtered(self, stage: Stage) -> bool:
        wanted = [name.lower() for name in self.options.no_cache_filter]
        return bool(stage.name) and stage.name in wanted

    def say(self, text: str) -> None:
        self.build.stream.text(self.stage.index, text)

    async def run(self) -> StageState:
        stage, build = self.stage, self.build
        number = build.first_step[stage.index]
        total = build.stream.total
        if stage.index == min(build.first_step):
            for at, arg in enumerate(build.dockerfile.global_args, 1):
                self.say(f"Step {at}/{total} : {arg.text}\n")
        self.say(f"Step {number}/{total} : {stage.text}\n")
        await self._begin()
        self.say(f" ---> {short(self.state.image_id) if self.state.document['history'] else ''}\n")
        await self._triggers()
        for offset, instruction in enumerate(stage.instructions, 1):
            self.say(f"Step {number + offset}/{total} : {instruction.text}\n")
            await self._step(instruction)
        await build.builder.cache.touch(self._touched)
        return self.state

    async def _begin(self) -> None:
        stage, build = self.stage, self.build
        name = self._expand_with(stage.base, build.global_values, stage.line)
        if not name:
            raise DockerfileError(f"base name ({stage.base}) should not be blank", stage.line)
        platform = self._expand_with(stage.platform, build.global_values, stage.line) if stage.platform else ""
        if platform and "/" in platform:
            system, architecture = platform.split("/")[:2]
            wanted: tuple[str, str] | None = (system, architecture)
        else:
            wanted = build.platform
        index = graph.earlier(build.dockerfile, name, stage.index)
        if index is not None and name not in self.options.contexts:
            parent = await build.stage(index)
            self.state = StageState(json.loads(json.dumps(parent.document)), parent.key, base=parent.base)
        else:
            image = await build.image(name, wanted)
            self.state = StageState.begin(image, image.id if image else "scratch", wanted)

    async def _triggers(self) -> None:
        triggers = self.state.config.pop("OnBuild", None) or []
        if not triggers:
            return
        self.say(f"# Executing {len(triggers)} build trigger{'s' if len(triggers) > 1 else ''}\n")
        for text in triggers:
            parsed = parse(text)
            if len(parsed.nodes) != 1:
                raise BuildError("onbuild trigger should be a single expression")
            try:
                instruction = interpret_node(parsed.nodes[0])
            except ValueError as error:
                raise BuildError(str(error)) from None
            await self._step(instruction)

    async def _step(self, instruction: Instruction) -> None:
        try:
            await _STEPS[instruction.keyword](self, instruction)
        except SubstitutionError as error:
            raise DockerfileError(str(error), instruction.line) from None

    # What all steps share

    def _expand_with(self, text: str, env: dict[str, str], line: int) -> str:
        try:
            return process(text, env, self.escape).text
        except SubstitutionError as error:
            raise DockerfileError(str(error), line) from None

    def expand(self, text: str) -> str:
        return process(text, self.state.variables(), self.escape).text

    def lookup(self, *inputs: str) -> bool:
        """Work out the step's key; on a hit take over what came of it."""
        state = self.state
        state.key = state.image_id
        epoch = self.options.epoch
        state.advance(*inputs, "" if epoch is None else str(epoch))
        if not self._cached_so_far:
            return False
        found = self.build.builder.cache.get(state.key)
        if found is None:
            self._cached_so_far = False
            return False
        self._touched.append(state.key)
        state.take(*found)
        self.say(" ---> Using cache\n")
        self.say(f" ---> {short(state.image_id)}\n")
        return True

    async def done(self, created_by: str, diff_id: str | None, description: str) -> None:
        state = self.state
        state.add_history(created_by, diff_id, self.options.epoch)
        await self.build.builder.cache.put([(state.key, state.document, description)])
        self.say(f" ---> {short(state.image_id)}\n")

    async def _metadata(self, text: str, change: "dict[str, Any]", *, author: str | None = None) -> None:
        """A step that only changes the configuration: `change` replaces its keys."""
        if self.lookup("meta", text, stable(change), author or ""):
            return
        self.state.config.update(change)
        if author is not None:
            self.state.document["author"] = author
        await self.done(f"{_NOP} {text}", None, text)

    # Steps that only change the configuration

    async def _env(self, step: Instruction) -> None:
        assert isinstance(step, KeyValue)
        before = self.state.variables()
        pairs = [(self._expand_in(name, before), self._expand_in(value, before)) for name, value, _ in step.pairs]
        text = "ENV " + " ".join(f"{name}={value}" for name, value in pairs)
        saved = list(self.state.config.get("Env") or [])
        for name, value in pairs:
            self.state.set_env(name, value)
        changed, self.state.config["Env"] = self.state.config["Env"], saved
        await self._metadata(text, {"Env": changed})

    def _expand_in(self, text: str, env: dict[str, str]) -> str:
        return process(text, env, self.escape).text

    async def _label(self, step: Instruction) -> None:
        assert isinstance(step, KeyValue)
        pairs = [(self.expand(name), self.expand(value)) for name, value, _ in step.pairs]
        text = "LABEL " + " ".join(f"{name}={value}" for name, value in pairs)
        await self._metadata(text, {"Labels": {**(self.state.config.get("Labels") or {}), **dict(pairs)}})

    async def _maintainer(self, step: Instruction) -> None:
        assert isinstance(step, Words)
        name = step.args[0]
        await self._metadata(f"MAINTAINER {name}", {}, author=name)

    async def _arg(self, step: Instruction) -> None:
        assert isinstance(step, Arg)
        build = self.build
        shown: list[str] = []
        for raw, default in step.pairs:
            name = self.expand(raw)
            value: str | None
            if name in self.options.args:
                value = self.options.args[name]
                build.used_args.add(name)
            elif default is not None:
                value = self.expand(default)
            else:
                value = build.global_args.get(name)
            self.state.args[name] = value
            shown.append(name if default is None else f"{name}={self.expand(default)}")
        await self._metadata("ARG " + " ".join(shown), {})

    async def _expose(self, step: Instruction) -> None:
        assert isinstance(step, Words)
        ports: list[str] = []
        for word in step.args:
            ports += process(word, self.state.variables(), self.escape).words
        exposed = dict(self.state.config.get("ExposedPorts") or {})
        for port in ports:
            for each in _ports(port):
                exposed[each] = {}
        await self._metadata("EXPOSE " + " ".join(ports), {"ExposedPorts": exposed})

    async def _user(self, step: Instruction) -> None:
        assert isinstance(step, Words)
        user = self.expand(step.args[0])
        await self._metadata(f"USER {user}", {"User": user})

    async def _volume(self, step: Instruction) -> None:
        assert isinstance(step, Words)
        volumes = [self.expand(word) for word in step.args]
        if not all(volumes):
            raise BuildError("VOLUME specified can not be an empty string")
        known = self.state.config.get("Volumes") or {}
        await self._metadata(f"VOLUME {_go_list(volumes)}", {"Volumes": {**known, **{v: {} for v in volumes}}})

    async def _stop_signal(self, step: Instruction) -> None:
        assert isinstance(step, Words)
        from ..engine.signals import parse as parse_signal

        name = self.expand(step.args[0])
        parse_signal(name)
        await self._metadata(f"STOPSIGNAL {name}", {"StopSignal": name})

    async def _shell(self, step: Instruction) -> None:
        assert isinstance(step, Words)
        await self._metadata(f"SHELL {_go_list(step.args)}", {"Shell": step.args})

    async def _healthcheck(self, step: Instruction) -> None:
        assert isinstance(step, Healthcheck)
        previous = (self.state.config.get("Healthcheck") or {}).get("Test") or []
        if previous and previous[0] != "NONE":
            self.say(f"Note: overriding previous HEALTHCHECK: {_go_list(previous)}\n")
        await self._metadata(f"HEALTHCHECK {stable(step.health)}", {"Healthcheck": step.health})

    async def _onbuild(self, step: Instruction) -> None:
        assert isinstance(step, Onbuild)
        triggers = [*(self.state.config.get("OnBuild") or []), step.trigger]
        await self._metadata(f"ONBUILD {step.trigger}", {"OnBuild": triggers})

    async def _cmd(self, step: Instruction) -> None:
        assert isinstance(step, Command)
        command = self.with_shell(step)
        await self._metadata(f"CMD {_go_quoted(command)}", {"Cmd": command})
        self.state.command_set = bool(step.args)

    async def _entrypoint(self, step: Instruction) -> None:
        assert isinstance(step, Command)
        entrypoint = self.with_shell(step)
        change: dict[str, Any] = {"Entrypoint": entrypoint or None}
        if not self.state.command_set:
            change["Cmd"] = None
        await self._metadata(f"ENTRYPOINT {_go_quoted(entrypoint)}", change)

    def with_shell(self, step: Command) -> list[str]:
        if not step.shell:
            return step.args
        shell = self.state.config.get("Shell") or ["/bin/sh", "-c"]
        return [*shell, *(step.args or [""])]

    # Steps that make a layer

    async def _workdir(self, step: Instruction) -> None:
        assert isinstance(step, Words)
        given = self.expand(step.args[0])
        if not given:
            raise BuildError("cannot normalize nothing")
        path = posixpath.normpath(posixpath.join(self.state.config.get("WorkingDir") or "/", given))
        path = "/" + path.lstrip("/")
        text = f"WORKDIR {path}"
        if self.lookup("workdir", text):
            return
        diff_id = None
        if not await asyncio.to_thread(self._is_directory, path):

            def make(root: Path) -> None:
                writer = copying.Writer(root, copying.Ownership(0, 0), self.options.epoch)
                try:
                    writer.make_directories(path)
                finally:
                    writer.close()

            diff_id = await self._change(make)
        self.state.config["WorkingDir"] = path
        await self.done(f"{_NOP}{text}", diff_id, text)

    def _is_directory(self, path: str) -> bool:
        """Whether the layers show a directory there. A link on the way counts as no: then it is made, or found."""
        layers = [RootDir(lower) for lower in self.build.images.layers.lowers(self.state.chain_id)]
        try:
            inside = os.fsencode(path.strip("/"))
            if not inside:
                return True
            found = lookup(layers, inside)
            return found is not None and (found[1].st_mode & 0o170000) == 0o040000
        except OSError:
            return False
        finally:
            for layer in layers:
                layer.close()

    async def _change(self, work: Any) -> str | None:
        """Let `work(root)` change the mounted file system; the diff id of what it wrote, None when nothing."""
        images = self.build.images
        key = f"build-{secrets.token_hex(8)}"
        target = self.build.work / key
        parent = self.state.chain_id

        def change() -> Any:
            target.mkdir(parents=True)
            images.snapshots.prepare(key, parent, init=False)
            try:
                images.snapshots.mount(key, target, volatile=True)
                try:
                    work(target)
                finally:
                    images.snapshots.unmount(target, lazy=True)
                return images.snapshots.commit_move(key, self.options.epoch)
            finally:
                images.snapshots.remove(key)
                target.rmdir()

        staged = await in_thread(change)
        return await self.register(parent, staged)

    async def register(self, parent: str | None, staged: Any) -> str | None:
        if staged.digested.diff_id == EMPTY_LAYER:
            await asyncio.to_thread(self.build.images.layers.discard, staged)
            return None
        chain = await self.build.images.layers.register(parent, staged)
        return chain.layer.diff_id

    async def _copy(self, step: Instruction) -> None:
        assert isinstance(step, Copy)
        verb = step.keyword
        if step.keep_git_dir:
            raise BuildError("the --keep-git-dir option is not supported by this builder: it has no Git sources")
        sources = [self.expand(source) for source in step.sources]
        destination = self.expand(step.destination)
        workdir = self.state.config.get("WorkingDir") or "/"
        slash = "/" if destination.endswith(("/", "/.")) or destination in (".", "") else ""
        absolute = posixpath.normpath(posixpath.join(workdir, destination))
        absolute = "/" + absolute.lstrip("/")
        if slash and absolute != "/":
            absolute += "/"
        selection = await self._select(step, verb, sources)
        try:
            digest = await self._look(selection.source, lambda: copying.fingerprint(selection))
            chown, chmod = self.expand(step.chown), self.expand(step.chmod)
            kind = "dir" if len(selection.roots) == 1 and selection.roots[0][1].kind == DIRECTORY else "file"
            shown = "multi" if selection.count > 1 else kind
            owner = f"--chown={chown} " if chown else ""
            mode = f"--chmod={chmod} " if chmod else ""
            text = f"{verb} {owner}{mode}{shown}:{digest} in {absolute} "
            if self.lookup(verb, text, stable([sorted(step.excludes), step.parents, str(step.unpack), step.link])):
                return
            change_mode = copying.parse_chmod(chmod) if chmod else None
            from_stage = bool(step.source_stage)
            epoch = self.options.epoch

            def write(root: Path) -> None:
                uid, gid = _owner(root, chown) if chown else (None, None) if from_stage else (0, 0)
                writer = copying.Writer(root, copying.Ownership(uid, gid, change_mode), epoch)
                try:
                    writer.write(selection, absolute, verb)
                finally:
                    writer.close()

            try:
                diff_id = await self._change(write)
            except OSError as error:
                raise BuildError(f"{verb} failed: {error.strerror}: {error.filename or absolute}") from error
            await self.done(f"{_NOP}{text}", diff_id, step.text)
        except ValueError as error:
            raise BuildError(str(error)) from None
        finally:
            for each in selection.remote:
                each.path.unlink(missing_ok=True)

    async def _look(self, source: Source | None, work: Callable[[], T]) -> T:
        """Run what only looks at a source: at once where the source is a small index in memory, else in a thread."""
        if isinstance(source, ArchiveSource) and source.entries <= _FEW:
            return work()
        return await in_thread(work)

    async def _select(self, step: Copy, verb: str, sources: list[str]) -> copying.Selection:
        build = self.build
        source: Source | None = build.context
        if step.source_stage:
            name = self.expand(step.source_stage)
            try:
                source = await build.files_of(name, self.stage.index)
            except (ImageError, EngineError) as error:
                raise BuildError(f"invalid from flag value {name}: {error}") from None
        remote = [text for text in sources if verb == "ADD" and text.startswith(("http://", "https://"))]
        if verb == "ADD" and any(text.startswith(("git@", "git://")) or text.endswith(".git") for text in sources):
            raise BuildError("ADD failed: Git sources are not supported by this builder")
        if step.checksum and (len(sources) != 1 or not remote):
            raise BuildError(
                "checksum can't be specified for non-HTTP sources"
                if not remote
                else "checksum can't be specified for multiple sources"
            )
        local = [text for text in sources if text not in remote]
        excludes = [self.expand(pattern) for pattern in step.excludes]
        selection = await self._look(
            source,
            lambda: copying.select(verb, source, local, excludes, parents=step.parents, context=not step.source_stage),
        )
        variables = self.state.variables()
        for heredoc in step.inline:
            content = heredoc.text
            if heredoc.expand:
                content = process(content, variables, self.escape, ignore_quotes=True).text
            selection.inline.append((heredoc.name, content.encode()))
        for url in remote:
            self.say(f"Downloading {url}\n" if not self.options.quiet else "")
            selection.remote.append(await download(url, build.scratch, self.expand(step.checksum)))
        selection.unpack = False
        if verb == "ADD":
            selection.unpack = step.unpack if step.unpack is not None else None
            if step.unpack is None and local:
                selection.unpack = True
        return selection

    async def _run(self, step: Instruction) -> None:
        assert isinstance(step, Command)
        await RunSteps(self).carry_out(step)


def _owner(root: Path, text: str) -> tuple[int, int]:
    """--chown in the words of the image's own users. A user without a group has the group of that name or number."""
    user, separator, group = text.partition(":")
    try:
        found = users.look_up(root, user)
        if separator and group:
            gid = users.look_up(root, f"0:{group}").gid
        else:
            gid = found.uid if user.isdigit() else found.gid
    except EngineError as error:
        raise BuildError(f"unable to convert uid/gid chown string to host mapping: {error.message}") from None
    return found.uid, gid


def _ports(text: str) -> list[str]:
    """`80`, `80/udp`, `8000-8010/tcp`; a host part as in `-p` is read and left out, as Docker does."""
    port, _, protocol = text.rpartition(":")[2].partition("/")
    protocol = (protocol or "tcp").lower()
    if not port:
        raise BuildError(f"no port specified: {text}<empty>")
    if protocol not in ("tcp", "udp", "sctp"):
        raise BuildError(f"invalid proto: {protocol}")
    first, _, last = port.partition("-")
    if not first.isdigit() or (last and not last.isdigit()):
        raise BuildError(f"invalid containerPort: {port}")
    start, end = int(first), int(last or first)
    if not 0 < start <= end <= 65535:
        raise BuildError(f"invalid containerPort: {port}")
    return [f"{number}/{protocol}" for number in range(start, end + 1)]


def _go_list(items: list[str]) -> str:
    return "[" + " ".join(items) + "]"


def _go_quoted(items: list[str]) -> str:
    return "[" + " ".join(json.dumps(item, ensure_ascii=False) for item in items) + "]"


_STEPS: dict[str, Any] = {
    "ENV": StageBuilder._env, "LABEL": StageBuilder._label, "MAINTAINER": StageBuilder._maintainer,
    "ARG": StageBuilder._arg, "EXPOSE": StageBuilder._expose, "USER": StageBuilder._user,
    "VOLUME": StageBuilder._volume, "STOPSIGNAL": StageBuilder._stop_signal, "SHELL": StageBuilder._shell,
    "HEALTHCHECK": StageBuilder._healthcheck, "ONBUILD": StageBuilder._onbuild, "CMD": StageBuilder._cmd,
    "ENTRYPOINT": StageBuilder._entrypoint, "WORKDIR": StageBuilder._workdir, "COPY": StageBuilder._copy,
    "ADD": StageBuilder._copy, "RUN": StageBuilder._run,
}  # fmt: skip

"""The instructions of one stage, carried out one after the other."""

import asyncio
import contextlib
import json
import os
import posixpath
import secrets
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..engine import users
from ..engine.errors import EngineError
from ..images.diff import lookup
from ..images.errors import ImageError
from ..images.rootdir import RootDir
from ..images.tarstream import DIRECTORY
from ..images.threads import in_thread
from . import copying, graph, runmounts
from .download import download
from .errors import BuildError, DockerfileError, StepFailed
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
from .running import Process, Runner
from .shellwords import SubstitutionError, process
from .sources import Source, TreeSource, follow
from .state import PREDEFINED_ARGS, StageState, stable

if TYPE_CHECKING:
    from .builder import Build

EMPTY_LAYER = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
_NOP = "/bin/sh -c #(nop) "


class StageBuilder:
    """Builds one stage. `run` gives its final state."""

    def __init__(self, build: "Build", stage: Stage, runner: Runner) -> None:
        self._build = build
        self._stage = stage
        self._runner = runner
        self._options = build.options
        self._escape = build.dockerfile.escape
        self._state: StageState
        self._cached_so_far = not (build.options.no_cache or self._filtered(stage))
        self._touched: list[str] = []

    def _filtered(self, stage: Stage) -> bool:
        wanted = [name.lower() for name in self._options.no_cache_filter]
        return bool(stage.name) and stage.name in wanted

    def _say(self, text: str) -> None:
        self._build.stream.text(self._stage.index, text)

    async def run(self) -> StageState:
        stage, build = self._stage, self._build
        number = build.first_step[stage.index]
        total = build.stream.total
        if stage.index == min(build.first_step):
            for at, arg in enumerate(build.dockerfile.global_args, 1):
                self._say(f"Step {at}/{total} : {arg.text}\n")
        self._say(f"Step {number}/{total} : {stage.text}\n")
        await self._begin()
        self._say(f" ---> {short(self._state.image_id) if self._state.document['history'] else ''}\n")
        await self._triggers()
        for offset, instruction in enumerate(stage.instructions, 1):
            self._say(f"Step {number + offset}/{total} : {instruction.text}\n")
            await self._step(instruction)
        await build.builder.cache.touch(self._touched)
        return self._state

    async def _begin(self) -> None:
        stage, build = self._stage, self._build
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
        if index is not None and name not in self._options.contexts:
            parent = await build.stage(index)
            self._state = StageState(json.loads(json.dumps(parent.document)), parent.key, base=parent.base)
        else:
            image = await build.image(name, wanted)
            self._state = StageState.begin(image, image.id if image else "scratch", wanted)

    async def _triggers(self) -> None:
        triggers = self._state.config.pop("OnBuild", None) or []
        if not triggers:
            return
        self._say(f"# Executing {len(triggers)} build trigger{'s' if len(triggers) > 1 else ''}\n")
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
            return process(text, env, self._escape).text
        except SubstitutionError as error:
            raise DockerfileError(str(error), line) from None

    def _expand(self, text: str) -> str:
        return process(text, self._state.variables(), self._escape).text

    def _lookup(self, *inputs: str) -> bool:
        """Work out the step's key; on a hit take over what came of it."""
        state = self._state
        state.key = state.image_id
        epoch = self._options.epoch
        state.advance(*inputs, "" if epoch is None else str(epoch))
        if not self._cached_so_far:
            return False
        found = self._build.builder.cache.get(state.key)
        if found is None:
            self._cached_so_far = False
            return False
        self._touched.append(state.key)
        state.take(found)
        self._say(" ---> Using cache\n")
        self._say(f" ---> {short(state.image_id)}\n")
        return True

    async def _done(self, created_by: str, diff_id: str | None, description: str) -> None:
        state = self._state
        state.add_history(created_by, diff_id, self._options.epoch)
        await self._build.builder.cache.put([(state.key, state.document, description)])
        self._say(f" ---> {short(state.image_id)}\n")

    async def _metadata(self, text: str, change: "dict[str, Any]", *, author: str | None = None) -> None:
        """A step that only changes the configuration: `change` replaces its keys."""
        if self._lookup("meta", text, stable(change), author or ""):
            return
        self._state.config.update(change)
        if author is not None:
            self._state.document["author"] = author
        await self._done(f"{_NOP} {text}", None, text)

    # Steps that only change the configuration

    async def _env(self, step: Instruction) -> None:
        assert isinstance(step, KeyValue)
        before = self._state.variables()
        pairs = [(self._expand_in(name, before), self._expand_in(value, before)) for name, value, _ in step.pairs]
        text = "ENV " + " ".join(f"{name}={value}" for name, value in pairs)
        saved = list(self._state.config.get("Env") or [])
        for name, value in pairs:
            self._state.set_env(name, value)
        changed, self._state.config["Env"] = self._state.config["Env"], saved
        await self._metadata(text, {"Env": changed})

    def _expand_in(self, text: str, env: dict[str, str]) -> str:
        return process(text, env, self._escape).text

    async def _label(self, step: Instruction) -> None:
        assert isinstance(step, KeyValue)
        pairs = [(self._expand(name), self._expand(value)) for name, value, _ in step.pairs]
        text = "LABEL " + " ".join(f"{name}={value}" for name, value in pairs)
        await self._metadata(text, {"Labels": {**(self._state.config.get("Labels") or {}), **dict(pairs)}})

    async def _maintainer(self, step: Instruction) -> None:
        assert isinstance(step, Words)
        name = step.args[0]
        await self._metadata(f"MAINTAINER {name}", {}, author=name)

    async def _arg(self, step: Instruction) -> None:
        assert isinstance(step, Arg)
        build = self._build
        shown: list[str] = []
        for raw, default in step.pairs:
            name = self._expand(raw)
            value: str | None
            if name in self._options.args:
                value = self._options.args[name]
                build.used_args.add(name)
            elif default is not None:
                value = self._expand(default)
            else:
                value = build.global_args.get(name)
            self._state.args[name] = value
            shown.append(name if default is None else f"{name}={self._expand(default)}")
        await self._metadata("ARG " + " ".join(shown), {})

    async def _expose(self, step: Instruction) -> None:
        assert isinstance(step, Words)
        ports: list[str] = []
        for word in step.args:
            ports += process(word, self._state.variables(), self._escape).words
        exposed = dict(self._state.config.get("ExposedPorts") or {})
        for port in ports:
            for each in _ports(port):
                exposed[each] = {}
        await self._metadata("EXPOSE " + " ".join(ports), {"ExposedPorts": exposed})

    async def _user(self, step: Instruction) -> None:
        assert isinstance(step, Words)
        user = self._expand(step.args[0])
        await self._metadata(f"USER {user}", {"User": user})

    async def _volume(self, step: Instruction) -> None:
        assert isinstance(step, Words)
        volumes = [self._expand(word) for word in step.args]
        if not all(volumes):
            raise BuildError("VOLUME specified can not be an empty string")
        known = self._state.config.get("Volumes") or {}
        await self._metadata(f"VOLUME {_go_list(volumes)}", {"Volumes": {**known, **{v: {} for v in volumes}}})

    async def _stop_signal(self, step: Instruction) -> None:
        assert isinstance(step, Words)
        from ..engine.signals import parse as parse_signal

        name = self._expand(step.args[0])
        parse_signal(name)
        await self._metadata(f"STOPSIGNAL {name}", {"StopSignal": name})

    async def _shell(self, step: Instruction) -> None:
        assert isinstance(step, Words)
        await self._metadata(f"SHELL {_go_list(step.args)}", {"Shell": step.args})

    async def _healthcheck(self, step: Instruction) -> None:
        assert isinstance(step, Healthcheck)
        previous = (self._state.config.get("Healthcheck") or {}).get("Test") or []
        if previous and previous[0] != "NONE":
            self._say(f"Note: overriding previous HEALTHCHECK: {_go_list(previous)}\n")
        await self._metadata(f"HEALTHCHECK {stable(step.health)}", {"Healthcheck": step.health})

    async def _onbuild(self, step: Instruction) -> None:
        assert isinstance(step, Onbuild)
        triggers = [*(self._state.config.get("OnBuild") or []), step.trigger]
        await self._metadata(f"ONBUILD {step.trigger}", {"OnBuild": triggers})

    async def _cmd(self, step: Instruction) -> None:
        assert isinstance(step, Command)
        command = self._with_shell(step)
        await self._metadata(f"CMD {_go_quoted(command)}", {"Cmd": command})
        self._state.command_set = bool(step.args)

    async def _entrypoint(self, step: Instruction) -> None:
        assert isinstance(step, Command)
        entrypoint = self._with_shell(step)
        change: dict[str, Any] = {"Entrypoint": entrypoint or None}
        if not self._state.command_set:
            change["Cmd"] = None
        await self._metadata(f"ENTRYPOINT {_go_quoted(entrypoint)}", change)

    def _with_shell(self, step: Command) -> list[str]:
        if not step.shell:
            return step.args
        shell = self._state.config.get("Shell") or ["/bin/sh", "-c"]
        return [*shell, *(step.args or [""])]

    # Steps that make a layer

    async def _workdir(self, step: Instruction) -> None:
        assert isinstance(step, Words)
        given = self._expand(step.args[0])
        if not given:
            raise BuildError("cannot normalize nothing")
        path = posixpath.normpath(posixpath.join(self._state.config.get("WorkingDir") or "/", given))
        path = "/" + path.lstrip("/")
        text = f"WORKDIR {path}"
        if self._lookup("workdir", text):
            return
        diff_id = None
        if not await asyncio.to_thread(self._is_directory, path):

            def make(root: Path) -> None:
                writer = copying.Writer(root, copying.Ownership(0, 0), self._options.epoch)
                try:
                    writer.make_directories(path)
                finally:
                    writer.close()

            diff_id = await self._change(make)
        self._state.config["WorkingDir"] = path
        await self._done(f"{_NOP}{text}", diff_id, text)

    def _is_directory(self, path: str) -> bool:
        """Whether the layers show a directory there. A link on the way counts as no: then it is made, or found."""
        layers = [RootDir(lower) for lower in self._build.images.layers.lowers(self._state.chain_id)]
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
        images = self._build.images
        key = f"build-{secrets.token_hex(8)}"
        target = self._build.work / key
        parent = self._state.chain_id

        def change() -> Any:
            target.mkdir(parents=True)
            images.snapshots.prepare(key, parent, init=False)
            try:
                images.snapshots.mount(key, target, volatile=True)
                try:
                    work(target)
                finally:
                    images.snapshots.unmount(target, lazy=True)
                return images.snapshots.commit_move(key)
            finally:
                images.snapshots.remove(key)
                target.rmdir()

        staged = await in_thread(change)
        return await self._register(parent, staged)

    async def _register(self, parent: str | None, staged: Any) -> str | None:
        if staged.digested.diff_id == EMPTY_LAYER:
            await asyncio.to_thread(self._build.images.layers.discard, staged)
            return None
        chain = await self._build.images.layers.register(parent, staged)
        return chain.layer.diff_id

    async def _copy(self, step: Instruction) -> None:
        assert isinstance(step, Copy)
        verb = step.keyword
        if step.keep_git_dir:
            raise BuildError("the --keep-git-dir option is not supported by this builder: it has no Git sources")
        sources = [self._expand(source) for source in step.sources]
        destination = self._expand(step.destination)
        workdir = self._state.config.get("WorkingDir") or "/"
        slash = "/" if destination.endswith(("/", "/.")) or destination in (".", "") else ""
        absolute = posixpath.normpath(posixpath.join(workdir, destination))
        absolute = "/" + absolute.lstrip("/")
        if slash and absolute != "/":
            absolute += "/"
        selection = await self._select(step, verb, sources)
        try:
            digest = await in_thread(lambda: copying.fingerprint(selection))
            chown, chmod = self._expand(step.chown), self._expand(step.chmod)
            kind = "dir" if len(selection.roots) == 1 and selection.roots[0][1].kind == DIRECTORY else "file"
            shown = "multi" if selection.count > 1 else kind
            owner = f"--chown={chown} " if chown else ""
            mode = f"--chmod={chmod} " if chmod else ""
            text = f"{verb} {owner}{mode}{shown}:{digest} in {absolute} "
            if self._lookup(verb, text, stable([sorted(step.excludes), step.parents, str(step.unpack), step.link])):
                return
            change_mode = copying.parse_chmod(chmod) if chmod else None
            from_stage = bool(step.source_stage)
            epoch = self._options.epoch

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
            await self._done(f"{_NOP}{text}", diff_id, step.text)
        except ValueError as error:
            raise BuildError(str(error)) from None
        finally:
            for each in selection.remote:
                each.path.unlink(missing_ok=True)

    async def _select(self, step: Copy, verb: str, sources: list[str]) -> copying.Selection:
        build = self._build
        source: Source | None = build.context
        if step.source_stage:
            name = self._expand(step.source_stage)
            try:
                source = await build.files_of(name, self._stage.index)
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
        excludes = [self._expand(pattern) for pattern in step.excludes]
        selection = await in_thread(
            lambda: copying.select(verb, source, local, excludes, parents=step.parents, context=not step.source_stage)
        )
        variables = self._state.variables()
        for heredoc in step.inline:
            content = heredoc.text
            if heredoc.expand:
                content = process(content, variables, self._escape, ignore_quotes=True).text
            selection.inline.append((heredoc.name, content.encode()))
        for url in remote:
            self._say(f"Downloading {url}\n" if not self._options.quiet else "")
            selection.remote.append(await download(url, build.work, self._expand(step.checksum)))
        selection.unpack = False
        if verb == "ADD":
            selection.unpack = step.unpack if step.unpack is not None else None
            if step.unpack is None and local:
                selection.unpack = True
        return selection

    async def _run(self, step: Instruction) -> None:
        assert isinstance(step, Command)
        if step.security == "insecure":
            raise BuildError("the --security=insecure option is not supported by this builder")
        if step.devices:
            raise BuildError("the --device option is not supported by this builder")
        if step.network == "host" and self._options.network not in ("host",):
            pass  # the classic API has no entitlements: whoever may build may use the host's network
        command, script = self._command_of(step)
        state = self._state
        environment = state.environment
        arguments = {
            name: value
            for name, value in {**dict.fromkeys(PREDEFINED_ARGS), **state.args}.items()
            if name not in environment
        }
        values = {
            name: self._options.args.get(name) if name in PREDEFINED_ARGS and value is None else value
            for name, value in arguments.items()
        }
        declared = {n: v for n, v in values.items() if v is not None}
        for name in declared:
            if name in self._options.args:
                self._build.used_args.add(name)
        visible = sorted(f"{n}={v}" for n, v in declared.items() if n not in PREDEFINED_ARGS or n in state.args)
        workdir = state.config.get("WorkingDir") or "/"
        mounts = [self._mount(text, workdir) for text in step.mounts]
        prints = [await self._mount_print(mount) for mount in mounts]
        shown = [f"|{len(visible)}", *visible, *command] if visible else command
        if self._lookup("run", stable(shown), stable(prints), step.network, script or ""):
            return
        tag = secrets.token_hex(6)
        self._say(f" ---> Running in {tag}\n")
        full = [f"{name}={value}" for name, value in {**environment, **declared}.items()]
        diff_id = await self._run_on_snapshot(command, script, full, mounts, step)
        self._say(f" ---> Removed intermediate container {tag}\n")
        await self._done(" ".join(shown), diff_id, step.text)

    def _command_of(self, step: Command) -> tuple[list[str], str | None]:
        """The command line, and a script to bind when a heredoc with `#!` is the whole command."""
        if not step.heredocs:
            return self._with_shell(step), None
        text = step.args[0] if step.args else ""
        only = len(step.heredocs) == 1 and text.strip().startswith("<<") and len(text.split()) == 1
        heredoc = step.heredocs[0]
        shell = self._state.config.get("Shell") or ["/bin/sh", "-c"]
        if only:
            if heredoc.text.startswith("#!"):
                return [f"/dev/pipes/{heredoc.name}"], heredoc.text
            return [*shell, heredoc.text], None
        for each in step.heredocs:
            text += f"\n{each.content}{each.name}"
        return [*shell, text], None

    def _mount(self, text: str, workdir: str) -> runmounts.RunMount:
        try:
            mount = runmounts.parse_mount(self._expand(text), workdir)
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
            return await self._build.files_of(mount.origin, self._stage.index)
        assert self._build.context is not None
        return self._build.context

    async def _run_on_snapshot(
        self,
        command: list[str],
        script: str | None,
        environment: list[str],
        mounts: list[runmounts.RunMount],
        step: Command,
    ) -> str | None:
        images, build = self._build.images, self._build
        key = f"build-{secrets.token_hex(8)}"
        target = build.work / key
        parent = self._state.chain_id
        async with contextlib.AsyncExitStack() as stack:
            with tempfile.TemporaryDirectory(dir=build.work) as scratch:
                place = Path(scratch)
                oci_mounts, extra = await self._prepare_mounts(mounts, place, stack)
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
                        process_ = Process(command, self._state.config, environment + extra, oci_mounts, step.network)
                        code = await self._execute(target, process_)
                    await asyncio.to_thread(images.snapshots.unmount, target, lazy=True)
                    if code:
                        raise StepFailed(f"The command '{' '.join(command)}' returned a non-zero code: {code}", code)
                    staged = await in_thread(lambda: images.snapshots.commit_move(key))
                finally:

                    def clean() -> None:
                        images.snapshots.unmount(target, lazy=True)
                        images.snapshots.remove(key)
                        target.rmdir()

                    await asyncio.shield(in_thread(clean))
        return await self._register(parent, staged)

    async def _execute(self, target: Path, process_: Process) -> int:
        def output(stream: str, data: bytes) -> None:
            text = data.decode("utf-8", "replace")
            self._say(f"\x1b[91m{text}\x1b[0m" if stream == "stderr" else text)

        try:
            return await self._runner.run(target, process_, output)
        except OSError as error:
            raise BuildError(f"cannot run the build step: {error}") from error

    async def _prepare_mounts(
        self, mounts: list[runmounts.RunMount], place: Path, stack: contextlib.AsyncExitStack
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
                    content = self._options.secrets.get(mount.id)
                    if content is None and mount.required:
                        raise BuildError(f"secret {mount.id}: not found")
                    if content is not None:
                        environment.append(f"{mount.env}={content.decode('utf-8', 'replace')}")
                if mount.target and (not mount.env or mount.target != f"/run/secrets/{mount.id}"):
                    path = runmounts.secret_file(place, mount, self._options.secrets, number)
                    if path is not None:
                        found.append(runmounts.oci_bind(path, mount.target, read_only=True))
            else:
                found.append(await self._bind_mount(mount, place, number))
        return found, environment

    async def _cache_mount(self, mount: runmounts.RunMount, stack: contextlib.AsyncExitStack) -> dict[str, Any]:
        builder = self._build.builder
        nonce = ""
        if mount.sharing == "locked":
            lock = builder.locks.setdefault(mount.id, asyncio.Lock())
            await stack.enter_async_context(lock)
        elif mount.sharing == "private":
            lock = builder.locks.setdefault(mount.id, asyncio.Lock())
            if lock.locked():
                nonce = secrets.token_hex(4)
            else:
                await stack.enter_async_context(lock)
        path = await asyncio.to_thread(runmounts.cache_directory, builder.cache_mounts, mount, nonce=nonce)
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

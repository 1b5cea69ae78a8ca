"""The OCI runtime: what is asked of crun (or another) besides what the monitor does at the start.

Specified in the OCI runtime specification, "Runtime and Lifecycle". `crun` gets shortcuts for what would otherwise
be one more process on the path of every `docker run`: starting is a byte into the fifo in which crun's own `start`
writes it, and deleting a stopped container is removing its cgroup and its state folder.
"""

import asyncio
import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from wherry.engine.errors import EngineError, InvalidParameter
from wherry.host import processes
from wherry.host.cgroups import Cgroup


class Runtime:
    """Any OCI runtime by its command line. `state` is the folder in which it keeps its containers."""

    takes_compiled_seccomp = False
    """Whether it takes a ready filter program (see `seccomp_bpf`)."""

    def __init__(self, name: str, program: str, state: Path, arguments: Sequence[str] = ()) -> None:
        self.name = name
        self.path = program
        """The file that it is."""
        self.program = program
        """What to execute."""
        self.state = state
        self.arguments = tuple(arguments)

    def command(self, *arguments: str) -> list[str]:
        return [self.program, *self.global_arguments(), *arguments]

    def global_arguments(self) -> list[str]:
        """Options that stand before the verb, also for the monitor."""
        return ["--root", str(self.state), *self.arguments]

    def close(self) -> None:
        """Let go of what it holds open. Idempotent."""

    async def start(self, container_id: str) -> None:
        """Let a created container's process run. Raises EngineError."""
        await self._run("start", container_id)

    async def delete(self, container_id: str, cgroup: Cgroup) -> None:
        """Remove what the runtime keeps of a container whose process has ended. Idempotent."""
        await processes.run(self.command("delete", "--force", container_id))
        await asyncio.to_thread(cgroup.remove)

    async def update(self, container_id: str, resources: Mapping[str, Any]) -> None:
        """New limits (`linux.resources`) for a running container. Raises EngineError."""
        # A file and not stdin, which crun opens by name: that does not work on a socket.
        with tempfile.NamedTemporaryFile(prefix="wherry-update-") as file:
            file.write(orjson.dumps(dict(resources)))
            file.flush()
            done = await processes.run(self.command("update", "--resources", file.name, container_id))
        if done.code:
            raise EngineError(f"cannot update container: {_message(done.stderr)}: unknown")

    async def _run(self, *arguments: str) -> None:
        done = await processes.run(self.command(*arguments))
        if done.code:
            raise EngineError(_message(done.stderr))


class Crun(Runtime):
    """crun, with its state folder's layout known (tested with 1.8; falls back to the command line)."""

    takes_compiled_seccomp = True

    def __init__(self, name: str, program: str, state: Path, arguments: Sequence[str] = ()) -> None:
        super().__init__(name, program, state, arguments)
        self._sealed = _sealed_copy(program)
        if self._sealed is not None:
            self.program = f"/proc/{os.getpid()}/fd/{self._sealed}"

    def close(self) -> None:
        if self._sealed is not None:
            os.close(self._sealed)
            self._sealed, self.program = None, self.path

    async def start(self, container_id: str) -> None:
        fifo = self.state / container_id / "exec.fifo"
        try:
            # crun's init has it open for reading by now: neither call waits.
            descriptor = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            await super().start(container_id)
            return
        try:
            # The byte first: killed in between, we find the fifo, and not a process that nobody lets go.
            os.write(descriptor, b"\0")
            os.unlink(fifo)
        finally:
            os.close(descriptor)

    async def delete(self, container_id: str, cgroup: Cgroup) -> None:
        def remove() -> None:
            cgroup.remove()
            shutil.rmtree(self.state / container_id, ignore_errors=True)

        await asyncio.to_thread(remove)


_MFD_EXEC = 0x10
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def _sealed_copy(program: str) -> int | None:
    """A descriptor of an unchangeable copy of `program` in memory; None where the machine forbids to execute one.

    So that no container can write to it by way of /proc/self/exe, crun makes such a copy of itself at each call, or,
    where it can, a read-only mount, whose unmounting takes the kernel 5 to 15 ms. Started from one, it does neither.
    """
    content = Path(program).read_bytes()
    for flags in (_MFD_EXEC, 0):
        try:
            descriptor = os.memfd_create("crun", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING | flags)
        except OSError:
            continue
        try:
            with open(descriptor, "wb", closefd=False) as file:
                file.write(content)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
            subprocess.run([f"/proc/{os.getpid()}/fd/{descriptor}", "--version"], capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            os.close(descriptor)
            continue
        return descriptor
    return None


class Runtimes:
    """The runtimes by name, as `docker run --runtime` gives them."""

    def __init__(self, run: Path) -> None:
        self._run = run
        self._known: dict[str, Runtime] = {}
        self.default = "crun" if shutil.which("crun") else "runc"
        for name, kind in (("crun", Crun), ("runc", Runtime)):
            program = shutil.which(name)
            if program:
                arguments = ("--cgroup-manager=cgroupfs",) if name == "crun" else ()
                self._known[name] = kind(name, program, run / name, arguments)

    def close(self) -> None:
        for runtime in self._known.values():
            runtime.close()

    def names(self) -> list[str]:
        return list(self._known)

    def get(self, name: str) -> Runtime:
        """The runtime `name` ("" the default; a path or `io.containerd.runc.v2` too). Raises InvalidParameter."""
        if name in ("", "io.containerd.runc.v2"):
            name = self.default
        known = self._known.get(name)
        if known is None and name.startswith("/") and os.access(name, os.X_OK):
            known = self._known[name] = Runtime(name, name, self._run / "other")
        if known is None:
            raise InvalidParameter(f"unknown or invalid runtime name: {name}")
        return known


_NOT_FOUND = re.compile(r"executable file [`']?(?P<name>.*?)[`']? not found(?: in \$PATH)?")
_LOGRUS = re.compile(r'level=\w+ msg="(?P<text>(?:[^"\\]|\\.)*)"')
"""How runc writes its errors without --log-format."""
_RUNC = re.compile(
    r"^(runc \w+ failed: )?(exec failed: )?(unable to start container process: )?(error during container init: )?"
)
_CHDIR = re.compile(r"chdir (?:to )?`?(?P<path>[^`:]+)`?: (?P<why>.*)")
_EXEC = re.compile(r"(?:exec|open executable|cannot (?:open|stat)) `?(?P<name>[^`:]+)`?: (?P<why>Permission denied|.*)")


def create_error(raw: str, command: Sequence[str], tty: bool = False) -> str:
    """What `docker run` says when the runtime could not make the container. `raw` is the runtime's own text."""
    return (
        "failed to create task for container: failed to create shim task: OCI runtime create failed: "
        f"runc create failed: unable to start container process: {explain(raw, command)}: unknown"
    )


def explain(raw: str, command: Sequence[str]) -> str:
    """A runtime's error in the words that Docker users and their scripts know."""
    text = _RUNC.sub("", _message(raw.encode()))
    if text.startswith('exec: "'):
        return text
    program = command[0] if command else ""
    if match := _NOT_FOUND.search(text):
        name = match["name"] or program
        if "/" in name:
            return f'exec: "{name}": stat {name}: no such file or directory'
        return f'exec: "{name}": executable file not found in $PATH'
    if "Permission denied" in text and ("exec" in text or program in text):
        return f'exec: "{program}": permission denied'
    if "Is a directory" in text and program in text:
        return f'exec: "{program}": is a directory'
    if text == "open executable: Operation not permitted":
        # crun's word for a command that is a directory.
        return f'exec: "{program}": is a directory: permission denied'
    if match := _CHDIR.search(text):
        why = match["why"].lower()
        return f'error during container init: chdir to cwd ("{match["path"]}") set in config.json failed: {why}'
    return f"error during container init: {text}" if text else "error during container init: unknown failure"


def _message(raw: bytes) -> str:
    """The last line of a runtime's error output, without its time stamps and JSON."""
    lines = [line for line in raw.decode("utf-8", "replace").strip().splitlines() if line.strip()]
    if not lines:
        return ""
    line = lines[-1].strip()
    if line.startswith("{"):
        with contextlib.suppress(orjson.JSONDecodeError):
            line = str(orjson.loads(line).get("msg", line))
    if match := _LOGRUS.search(line):
        line = re.sub(r"\\(.)", r"\1", match["text"])
    return re.sub(r"^(\d{4}-\d\d-\d\dT[0-9:.]+Z?: )?(crun: |\[conmon:[a-z]\]: )?", "", line)

"""RUN: a process on a snapshot, without a container's record, monitor or log.

The OCI specification is the engine's; the runtime runs in the foreground with its output on pipes. The network
is made at a stage's first RUN and kept until its end.
"""

import asyncio
import json
import os
import secrets
import shutil
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..engine import oci, users
from ..engine.networks.types import NetworkRequest, NetworkSandbox
from ..host.cgroups import Cgroup
from .errors import BuildError
from .options import BuildOptions

if TYPE_CHECKING:
    from ..engine.engine import Engine

Output = Callable[[str, bytes], None]
"""Called with `stdout` or `stderr` and a piece of output."""


@dataclass
class Process:
    """One command. `config` is the stage's container configuration; `mounts` are OCI mounts."""

    args: list[str]
    config: dict[str, Any]
    environment: list[str]
    mounts: list[dict[str, Any]] = field(default_factory=list)
    network: str = ""


class Runner:
    """Runs the commands of one stage, one after the other. `close` it."""

    def __init__(self, engine: "Engine", options: BuildOptions) -> None:
        self._engine = engine
        self._options = options
        self._id = secrets.token_hex(32)
        self._sandboxes: dict[str, tuple[str, NetworkSandbox]] = {}
        self._directory = engine.instance.run / "build" / self._id[:16]

    async def run(self, rootfs: Path, process: Process, output: Output) -> int:
        """The exit code. Raises BuildError when the process cannot be started."""
        container_id = secrets.token_hex(32)
        sandbox = await self._sandbox(process.network or self._options.network)
        bundle = self._directory / container_id[:16]
        spec = await asyncio.to_thread(self._prepare, container_id, bundle, rootfs, process, sandbox)
        cgroup = Cgroup(self._engine.layout, f"{self._engine.instance.cgroup}/build-{container_id[:16]}")
        try:
            return await self._execute(container_id, bundle, spec, output)
        finally:
            await asyncio.to_thread(shutil.rmtree, bundle, True)
            await asyncio.to_thread(_remove_cgroup, cgroup)

    def _prepare(
        self, container_id: str, bundle: Path, rootfs: Path, process: Process, sandbox: NetworkSandbox
    ) -> dict[str, Any]:
        bundle.mkdir(parents=True)
        (bundle / "container").write_text(container_id)  # for `recovery`, should this process die
        options = self._options
        config = {**process.config, "Env": process.environment, "Tty": False}
        host_config: dict[str, Any] = {
            "ShmSize": options.shm_size,
            "Memory": options.memory,
            "MemorySwap": options.memory_swap,
            "CpuShares": options.cpu_shares,
            "CpuPeriod": options.cpu_period,
            "CpuQuota": options.cpu_quota,
            "CpusetCpus": options.cpuset_cpus,
            "CpusetMems": options.cpuset_mems,
            "Ulimits": options.ulimits,
        }
        hostname = container_id[:12]
        files: dict[str, Path] = {}
        for name, text in (
            ("hosts", sandbox.hosts),
            ("resolv.conf", sandbox.resolv_conf),
            ("hostname", hostname + "\n"),
        ):
            (bundle / name).write_text(text)
            files[f"/etc/{name}"] = bundle / name
        user = users.look_up(rootfs, config.get("User") or "")
        inputs = oci.SpecInputs(
            id=container_id,
            hostname=hostname,
            rootfs=rootfs,
            user=user,
            layout=self._engine.layout,
            cgroup_path=f"{self._engine.instance.cgroup}/build-{container_id[:16]}",
            command=process.args,
            netns=sandbox.netns,
            files=files,
            mounts=process.mounts,
        )
        spec = oci.build_spec(config, host_config, inputs)
        (bundle / "config.json").write_text(json.dumps(spec))
        return spec

    async def _execute(self, container_id: str, bundle: Path, spec: dict[str, Any], output: Output) -> int:
        runtime = self._engine.runtimes.get("")
        command = [runtime.program, *runtime.global_arguments()]
        started = await asyncio.create_subprocess_exec(
            *command, "run", "--bundle", str(bundle), container_id,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            cwd=bundle, env={"PATH": os.environ.get("PATH", os.defpath), "XDG_RUNTIME_DIR": "/run"},
        )  # fmt: skip
        assert started.stdout is not None and started.stderr is not None
        tail = bytearray()

        async def pump(stream: asyncio.StreamReader, name: str) -> None:
            while data := await stream.read(1 << 16):
                if name == "stderr":
                    tail[:] = (tail + data)[-4096:]
                output(name, data)

        try:
            await asyncio.gather(pump(started.stdout, "stdout"), pump(started.stderr, "stderr"))
            code = await started.wait()
        except BaseException:
            await self._kill(command, container_id, started)
            raise
        if code and b"executable file" in tail and b"not found" in tail:
            raise BuildError(_start_failure(tail.decode("utf-8", "replace")))
        return code if code >= 0 else 128 - code

    async def _kill(self, command: list[str], container_id: str, started: asyncio.subprocess.Process) -> None:
        delete = await asyncio.create_subprocess_exec(
            *command, "delete", "--force", container_id,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        await delete.wait()
        with suppress(ProcessLookupError):
            started.send_signal(signal.SIGKILL)
        await started.wait()

    async def _sandbox(self, mode: str) -> NetworkSandbox:
        mode = mode or "default"
        if mode not in self._sandboxes:
            key = secrets.token_hex(32)
            request = NetworkRequest(
                container_id=key,
                name=f"build-{key[:12]}",
                hostname=key[:12],
                mode=mode,
                extra_hosts=self._options.extra_hosts,
            )
            self._sandboxes[mode] = (key, await self._engine.networks.attach(request))
        return self._sandboxes[mode][1]

    async def close(self) -> None:
        for key, _ in self._sandboxes.values():
            await self._engine.networks.detach(key)
        self._sandboxes.clear()
        await asyncio.to_thread(shutil.rmtree, self._directory, True)


def _start_failure(text: str) -> str:
    last = text.strip().splitlines()[-1] if text.strip() else ""
    return f"failed to create task for container: failed to create shim task: OCI runtime create failed: {last}"


def _remove_cgroup(cgroup: Cgroup) -> None:
    with suppress(OSError):
        cgroup.remove()


Cleanup = Callable[[], Awaitable[None]]

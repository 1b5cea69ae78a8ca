"""The nginx process: found again or started, given configurations that it has checked, ended.

nginx is nobody's child: it makes itself a daemon, so it goes on serving while wherry-node is away, and is found again
by its pid file and command line. It lives in the cgroup `<instance>/ingress`, by which `wherry down --all` finds it
and its workers. Specified in https://nginx.org/en/docs/control.html.
"""

import asyncio
import contextlib
import grp
import json
import os
import pwd
import re
import shutil
import signal
import socket
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from wherry.cluster_net.ingress.render import draining_marker
from wherry.cluster_net.settings import IngressSettings
from wherry.host import cgroups, processes
from wherry.host.instance import Instance

NEXT_PORTS = {80: 8080, 443: 8443}
"""Where Ingress listens when its port is taken; when that is taken too, on any free port."""
START_SECONDS = 10.0
LOG_BYTES = 16 << 20
DRAIN_SECONDS = 0.25
"""How long clients are told to close their connections before the workers that hold them end."""
_POLL = 0.01


class NginxError(Exception):
    """nginx is missing, or refuses to start; the message has its words."""


class BadConfig(NginxError):
    """`nginx -t` refused a configuration; nothing has changed."""


@dataclass(frozen=True)
class Ports:
    """Where it listens, and which wanted ports were taken."""

    http: int
    https: int
    taken: tuple[int, ...] = ()


class Nginx:
    """One instance's nginx. Use from one task at a time."""

    def __init__(self, instance: Instance, settings: IngressSettings) -> None:
        self.directory = instance.run / "ingress"
        self.log_directory = instance.log_dir
        self._settings = settings
        self._cgroup = f"{instance.cgroup}/ingress"
        self._config = self.directory / "nginx.conf"
        self.ports: Ports | None = None

    @property
    def socket(self) -> Path:
        return self.directory / "status.sock"

    @staticmethod
    def binary() -> str:
        """Where nginx is. Raises NginxError when it is not installed."""
        found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
        if found is None:
            raise NginxError("nginx is not installed: apt-get install nginx-light")
        return found

    @staticmethod
    def user() -> str:
        """`user group` that nginx's workers run as."""
        for name in ("www-data", "nginx", "nobody"):
            with contextlib.suppress(KeyError):
                entry = pwd.getpwnam(name)
                return f"{name} {grp.getgrgid(entry.pw_gid).gr_name}"
        return "root"

    def workers(self) -> int:
        return self._settings.workers or min(4, len(os.sched_getaffinity(0)))

    def pid(self) -> int | None:
        """The master's pid, if it runs."""
        try:
            pid = int((self.directory / "nginx.pid").read_text())
        except (OSError, ValueError):
            return None
        words = " ".join(processes.command_line(pid))
        if words.startswith("nginx: master process") and str(self._config) in words and processes.is_alive(pid):
            return pid
        return None

    def choose_ports(self) -> Ports:
        """The ports of the running nginx, or those wanted where they are free, or the next ones. Blocks shortly."""
        wanted = [self._settings.http_port, self._settings.https_port]
        record = self.directory / "ports.json"
        if self.pid() is not None:
            with contextlib.suppress(OSError, ValueError, KeyError):
                saved = json.loads(record.read_text())
                if saved["wanted"] == wanted:
                    self.ports = Ports(saved["http"], saved["https"], tuple(saved["taken"]))
                    return self.ports
        else:
            # Workers of a master that was killed would hold the ports.
            cgroups.Cgroup(cgroups.detect(), self._cgroup).remove()
        chosen: list[int] = []
        taken: list[int] = []
        for port in wanted:
            if self._free(port) and port not in chosen:
                chosen.append(port)
                continue
            taken.append(port)
            following = NEXT_PORTS.get(port, 0)
            chosen.append(following if following and self._free(following) and following not in chosen else _any_free())
        self.ports = Ports(chosen[0], chosen[1], tuple(taken))
        self.directory.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps({"wanted": wanted, "http": chosen[0], "https": chosen[1], "taken": taken}) + "\n")
        return self.ports

    def _free(self, port: int) -> bool:
        return is_free("0.0.0.0", port) and (not has_ipv6() or is_free("::", port))

    async def check(self, text: str) -> None:
        """Raises BadConfig with nginx's words about what is wrong."""
        await asyncio.to_thread(self._prepare)
        candidate = self.directory / "candidate.conf"
        await asyncio.to_thread(candidate.write_text, text)
        # The test opens listening sockets of its own; those that the running nginx holds are no error to it.
        result = await processes.run(self._command(candidate, "-t", "-q"))
        if result.code:
            words = result.stderr.decode(errors="replace").strip()
            lines = [line for line in words.splitlines() if "[emerg]" in line] or words.splitlines()[-1:]
            raise BadConfig("; ".join(line.partition("[emerg] ")[2] or line for line in lines))

    async def apply(self, text: str, generation: str) -> None:
        """Make `text`, which `check` has accepted, the configuration in force. Returns once it answers.

        Raises NginxError when nginx does not start or does not take it over within `START_SECONDS`.
        """
        await asyncio.to_thread(self._prepare)
        temporary = self._config.with_suffix(".new")
        await asyncio.to_thread(temporary.write_text, text)
        os.replace(temporary, self._config)
        pid = self.pid()
        former: list[int] = []
        if pid is not None:
            await self._drain()
            draining_marker(self.directory, generation).unlink(missing_ok=True)
            former = await asyncio.to_thread(self._workers, pid)
            os.kill(pid, signal.SIGHUP)
        else:
            await self._start()
        try:
            async with asyncio.timeout(START_SECONDS):
                while await self.generation() != generation:  # noqa: ASYNC110 - another process, which says nothing
                    await asyncio.sleep(_POLL)
                # The former workers accept connections until the new ones have had a moment to start.
                while any(_accepts(worker) for worker in former):  # noqa: ASYNC110 - as above
                    await asyncio.sleep(_POLL)
        except TimeoutError:
            words = await asyncio.to_thread(self._last_words)
            raise NginxError(f"nginx did not take its configuration over: {words}") from None

    async def _drain(self) -> None:
        """Have the clients that are connected close their connections themselves, at an answer of their own."""
        before = await self.generation()
        if not before:
            return
        markers = draining_marker(self.directory, "*")
        await asyncio.to_thread(
            _keep_files, markers.parent, markers.name, {draining_marker(markers.parent, before).name}
        )
        active = re.search(r"Active connections: (\d+)", await self._ask("/status"))
        if active and int(active[1]) > 1:  # the question itself is one
            await asyncio.sleep(DRAIN_SECONDS)

    def mark_empty(self, upstreams: Collection[str]) -> None:
        """Say to nginx which Services have no endpoint: it answers 503 for them. Blocks shortly."""
        directory = self.directory / "empty"
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o711)
        _keep_files(directory, "*", upstreams)

    def _workers(self, master: int) -> list[int]:
        cgroup = cgroups.Cgroup(cgroups.detect(), self._cgroup)
        return [pid for pid in cgroup.pids() if processes.parent_of(pid) == master]

    async def _start(self) -> None:
        layout = await asyncio.to_thread(cgroups.detect)
        cgroup = cgroups.Cgroup(layout, self._cgroup)
        await asyncio.to_thread(cgroup.create)
        # Workers outlive a killed master and hold its ports.
        cgroup.kill(signal.SIGQUIT)
        self.socket.unlink(missing_ok=True)
        entries = [str(root / self._cgroup / "cgroup.procs") for root in layout.roots()]
        # Into the cgroup before it forks, so that its workers are there too.
        script = 'n=$1; shift; while [ "$n" -gt 0 ]; do echo $$ > "$1"; shift; n=$((n - 1)); done; exec "$@"'
        command = ["/bin/sh", "-c", script, "sh", str(len(entries)), *entries, *self._command(self._config)]
        words = self.directory / "start.err"
        descriptor = os.open(words, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            pid = processes.spawn(command, stderr=descriptor, new_session=True)
        finally:
            os.close(descriptor)
        await processes.wait_pid(pid)
        code = processes.reap(pid)
        if code:
            raise NginxError(f"nginx does not start: {words.read_text(errors='replace').strip()[-500:]}")

    def _command(self, config: Path, *arguments: str) -> list[str]:
        error_log = str(self.log_directory / "ingress-error.log")
        return [self.binary(), "-p", str(self.directory), "-e", error_log, "-c", str(config), *arguments]

    def _prepare(self) -> None:
        self.log_directory.mkdir(parents=True, exist_ok=True)
        # Workers pass through to their temporary files and to the users' files.
        for directory in (self.directory, self.directory / "secrets", self.directory / "tmp"):
            directory.mkdir(parents=True, exist_ok=True)
            directory.chmod(0o711)

    def _last_words(self) -> str:
        for path in (self.directory / "start.err", self.log_directory / "ingress-error.log"):
            with contextlib.suppress(OSError):
                text = path.read_text(errors="replace").strip()
                if text:
                    return text[-500:]
        return "it says nothing"

    async def generation(self) -> str:
        """What the configuration in force calls itself; "" when nginx does not answer."""
        return await self._ask("/generation")

    async def _ask(self, path: str) -> str:
        try:
            async with asyncio.timeout(2):
                reader, writer = await asyncio.open_unix_connection(str(self.socket))
                try:
                    writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
                    answer = await reader.read()
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return ""
        return answer.rpartition(b"\r\n\r\n")[2].decode(errors="replace")

    async def stop(self) -> None:
        """End it: requests under way are finished for a moment, then everything is killed."""
        cgroup = cgroups.Cgroup(await asyncio.to_thread(cgroups.detect), self._cgroup)
        pid = self.pid()
        if pid is not None:
            os.kill(pid, signal.SIGQUIT)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2):
                    await processes.wait_pid(pid)
        await asyncio.to_thread(cgroup.remove)
        for name in ("nginx.pid", "ports.json", "status.sock"):
            (self.directory / name).unlink(missing_ok=True)
        await asyncio.to_thread(_keep_files, self.directory, draining_marker(self.directory, "*").name, ())
        self.ports = None

    async def ended(self) -> None:
        """Returns when the master is gone, however that came."""
        pid = self.pid()
        if pid is not None:
            await processes.wait_pid(pid)

    def rotate_logs(self) -> None:
        """Keep one older file of each log that has grown too long. Blocks shortly."""
        rotated = False
        for name in ("ingress-access.log", "ingress-error.log"):
            path = self.log_directory / name
            with contextlib.suppress(OSError):
                if path.stat().st_size > LOG_BYTES:
                    os.replace(path, path.with_suffix(".log.1"))
                    rotated = True
        pid = self.pid()
        if rotated and pid is not None:
            os.kill(pid, signal.SIGUSR1)


def _keep_files(directory: Path, pattern: str, wanted: Collection[str]) -> None:
    """Of the files that match, exactly those `wanted` (names) exist afterwards, empty."""
    for path in directory.glob(pattern):
        if path.name not in wanted:
            path.unlink(missing_ok=True)
    for name in wanted:
        (directory / name).touch()


def _accepts(worker: int) -> bool:
    return processes.is_alive(worker) and "shutting down" not in " ".join(processes.command_line(worker))


def has_ipv6() -> bool:
    return Path("/proc/net/if_inet6").exists()


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def _any_free() -> int:
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        port: int = probe.getsockname()[1]
        return port

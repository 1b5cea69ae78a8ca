"""A private dockerd + containerd to compare with: started by hand, stopped by pid, nothing of the system's touched.

Run it by itself (`python bench/peer.py`) to get a daemon and its DOCKER_HOST until Ctrl-C, or use `Peer` as a
context manager. Everything lives below one directory; the bridge, the iptables chains that dockerd makes and the
processes are removed at the end. Needs root, and Debian's docker.io and containerd packages.
"""

import fcntl
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType

BRIDGE = "whpeer0"
BRIDGE_ADDRESS = "172.31.250.1/24"
LOCK = Path("/run/lock/wherry-bench-peer")


class PeerError(RuntimeError):
    """dockerd or containerd did not come up; the message holds the end of its log."""


class Peer:
    """A dockerd of its own. `host` is its DOCKER_HOST, `pids` are those of the daemons themselves."""

    def __init__(self, directory: Path | None = None) -> None:
        self._own_directory = directory is None
        self.directory = directory or Path(tempfile.mkdtemp(prefix="dockerd-"))
        self.host = f"unix://{self.directory}/docker.sock"
        self._daemons: list[subprocess.Popen[bytes]] = []
        self._lock: int | None = None

    @staticmethod
    def available() -> bool:
        return os.geteuid() == 0 and all(shutil.which(name) for name in ("dockerd", "containerd", "ip", "iptables"))

    @property
    def pids(self) -> list[int]:
        return [daemon.pid for daemon in self._daemons]

    def __enter__(self) -> "Peer":
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self) -> None:
        # Two at once would share the bridge and dockerd's iptables chains: the second waits for the first to end.
        self._lock = os.open(LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.directory.mkdir(parents=True, exist_ok=True)
        base = str(self.directory)
        # cri needs a network set-up that is not ours to make.
        (self.directory / "daemon.json").write_text("{}")
        (self.directory / "containerd.toml").write_text(
            'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
        )
        self._spawn(
            "containerd",
            f"--config={base}/containerd.toml",
            f"--root={base}/containerd-root",
            f"--state={base}/containerd-state",
            f"--address={base}/containerd.sock",
        )
        self._wait_for(self.directory / "containerd.sock", 20)
        # dockerd wants its own bridge to exist when it is not docker0.
        _run(["ip", "link", "add", BRIDGE, "type", "bridge"], check=False)
        _run(["ip", "addr", "add", BRIDGE_ADDRESS, "dev", BRIDGE], check=False)
        _run(["ip", "link", "set", BRIDGE, "up"])
        # With forwarding already on, dockerd leaves the policy of the FORWARD chain alone (it would set it to DROP and
        # cut every other bridge on the machine off). It stays on: others may have come to rely on it.
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        self._spawn(
            "dockerd",
            f"--data-root={base}/data",
            f"--exec-root={base}/exec",
            f"--pidfile={base}/docker.pid",
            f"--host={self.host}",
            f"--containerd={base}/containerd.sock",
            f"--bridge={BRIDGE}",
            f"--config-file={base}/daemon.json",
            "--storage-driver=overlay2",
        )
        self._wait_for(self.directory / "docker.sock", 40)

    def _spawn(self, name: str, *options: str) -> None:
        with open(self.directory / f"{name}.log", "wb") as log:
            self._daemons.append(
                subprocess.Popen(
                    [name, *options], stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
                )
            )

    def _wait_for(self, path: Path, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        daemon = self._daemons[-1]
        while time.monotonic() < deadline:
            if daemon.poll() is not None:
                break
            with socket.socket(socket.AF_UNIX) as probe:
                try:
                    probe.connect(str(path))
                except OSError:
                    time.sleep(0.05)
                    continue
            return
        name = str(daemon.args[0]) if isinstance(daemon.args, list) else str(daemon.args)
        log = (self.directory / f"{name}.log").read_text(errors="replace")
        raise PeerError(f"{name} did not come up on {path}:\n{log[-3000:]}")

    def stop(self) -> None:
        """Stop both daemons and remove what they made. Idempotent."""
        if len(self._daemons) == 2 and self._daemons[1].poll() is None:
            # dockerd leaves the bridges and rules of its networks behind when it stops, so they go first.
            listed = subprocess.run(
                ["docker", "--host", self.host, "ps", "-aq"], capture_output=True, text=True, check=False
            ).stdout.split()
            if listed:
                _run(["docker", "--host", self.host, "rm", "-f", "-v", *listed], check=False)
            _run(["docker", "--host", self.host, "network", "prune", "-f"], check=False)
        for daemon in reversed(self._daemons):
            if daemon.poll() is None:
                daemon.send_signal(signal.SIGTERM)
                try:
                    daemon.wait(30)
                except subprocess.TimeoutExpired:
                    daemon.kill()
                    daemon.wait()
        started = bool(self._daemons)
        self._daemons.clear()
        if started:
            _run(["ip", "link", "del", BRIDGE], check=False)
            _remove_chains()
            for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
                target = line.split(" ")[4]
                if target.startswith(f"{self.directory}/"):
                    _run(["umount", "-l", target], check=False)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        if self._own_directory:
            shutil.rmtree(self.directory, ignore_errors=True)


def _remove_chains() -> None:
    """Delete the rules and chains that dockerd leaves in the iptables tables, and nothing else."""
    for family in ("iptables", "ip6tables"):
        for table in ("nat", "filter"):
            listed = subprocess.run([family, "-t", table, "-S"], capture_output=True, text=True, check=False).stdout
            lines = listed.splitlines()
            for line in lines:
                if line.startswith("-A ") and (BRIDGE in line or "DOCKER" in line or "172.31.250." in line):
                    _run([family, "-t", table, "-D", *shlex.split(line[3:])], check=False)
            for line in lines:
                if line.startswith("-N DOCKER"):
                    _run([family, "-t", table, "-F", line[3:]], check=False)
            for line in lines:
                if line.startswith("-N DOCKER"):
                    _run([family, "-t", table, "-X", line[3:]], check=False)


def _run(command: list[str], *, check: bool = True) -> None:
    subprocess.run(command, check=check, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main() -> None:
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with Peer(directory) as peer:
        print(f"export DOCKER_HOST={peer.host}", flush=True)
        stop.wait()


if __name__ == "__main__":
    main()

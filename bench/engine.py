"""The same work on Wherry and on Debian's dockerd, in one run: medians of paired runs, and their ratios.

    python bench/engine.py [--rounds N] [--only NAME] [--json] [--markdown FILE]

Both engines run side by side, each on its own state; a round does every piece of work once on each, in turns, so
that what else the machine does weighs on both alike. Times are those of the real `docker` client, seconds of wall
clock. The throughput through a published port is MB/s to a web server in a container, idle processor time is in
milliseconds per second, memory is PSS (proportional set size); both of the daemons themselves, after the work. A
ratio below 1 means that Wherry needs less; of throughput, where more is better, that it gives less.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from peer import Peer

HERE = Path(__file__).parent
IMAGE = "busybox:latest"


def docker(host: str, *arguments: str, check: bool = True) -> str:
    """Run the real client against `host`; what it printed."""
    done = subprocess.run(
        ["docker", *arguments], env={**os.environ, "DOCKER_HOST": host}, capture_output=True, text=True, check=False
    )
    if check and done.returncode:
        raise SystemExit(f"docker {' '.join(arguments)} on {host}: {done.stderr.strip()}")
    return done.stdout.strip()


def load_image(*hosts: str) -> None:
    """Give the engines the image that all work uses."""
    maker = HERE.parent / "tests" / "images" / "make_images.py"
    made = subprocess.run([sys.executable, maker, "busybox"], capture_output=True, text=True, check=True)
    for host in hosts:
        docker(host, "load", "-i", made.stdout.strip())


def pss_kib(pids: list[int]) -> int:
    """Proportional set size of processes, in KiB: shared pages count by their share."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total


class Wherry:
    """Wherry's engine alone, in a process of its own, on a fresh instance."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="wh-bench-"))
        self.root, self.run = self._directory / "root", self._directory / "run"
        self.host = f"unix://{self.run}/docker.sock"
        self.log = open(self._directory / "log", "wb")  # noqa: SIM115  lives as long as the process
        self._process = subprocess.Popen(
            [sys.executable, HERE / "serve.py", self.root, self.run], stdout=subprocess.PIPE, stderr=self.log
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() != b"ready":
            self._process.wait()
            raise SystemExit((self._directory / "log").read_text())

    @property
    def pids(self) -> list[int]:
        return [self._process.pid]

    def stop(self) -> None:
        from wherry.host.instance import open_instance
        from wherry.host.leftovers import purge

        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.log.close()
        purge(open_instance(self.root, self.run))
        shutil.rmtree(self._directory, ignore_errors=True)


@dataclass
class Work:
    """One kind of work: `run` does it once on the engine at a host; `after` tidies up, untimed.

    `before` and `at_last` are done once, before the first round and after the last.
    """

    name: str
    run: Callable[[str], object]
    after: Callable[[str], object] = lambda host: None
    before: Callable[[str], object] = lambda host: None
    at_last: Callable[[str], object] = lambda host: None
    rounds: int | None = None
    times: dict[str, list[float]] = field(default_factory=dict)


def remove_all(host: str) -> None:
    running = docker(host, "ps", "-aq", "--filter", "label=bench").split()
    if running:
        docker(host, "rm", "-f", *running)


def many(host: str, number: int, *options: str) -> None:
    arguments = ["run", "-d", "--label", "bench", *options, IMAGE, "sleep", "6000"]
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda _: docker(host, *arguments), range(number)))


def to_nowhere(host: str, *arguments: str) -> None:
    """Run the client without keeping what it prints."""
    environment = {**os.environ, "DOCKER_HOST": host}
    subprocess.run(["docker", *arguments], env=environment, stdout=subprocess.DEVNULL, check=True)


def write_log(host: str) -> None:
    docker(host, "run", "--name", "bench-log", "--label", "bench", IMAGE, "seq", "1000000")


def serve_file(host: str) -> None:
    script = "mkdir /www; dd if=/dev/zero of=/www/big bs=1M count=256 2>/dev/null; exec httpd -f -p 80 -h /www"
    options = ["-d", "--name", "bench-web", "--label", "bench", "-p", "127.0.0.1::80"]
    docker(host, "run", *options, IMAGE, "sh", "-c", script)
    deadline = time.monotonic() + 30
    while not docker(host, "exec", "bench-web", "sh", "-c", "pidof httpd && ls /www/big", check=False):
        if time.monotonic() > deadline:
            raise SystemExit("the web server did not come up")
        time.sleep(0.1)


def fetch(host: str) -> None:
    """Read the file through the published port, without a client's own cost."""
    address, _, port = docker(host, "port", "bench-web", "80").splitlines()[0].rpartition(":")
    with socket.create_connection((address, int(port)), 10) as connection:
        connection.sendall(b"GET /big HTTP/1.0\r\n\r\n")
        buffer, total = bytearray(1 << 20), 0
        while count := connection.recv_into(buffer):
            total += count
    if total < 256 << 20:
        raise SystemExit(f"only {total} bytes came through the published port of {host}")


WORK = [
    Work("run --rm true, bridge", lambda host: docker(host, "run", "--rm", IMAGE, "true")),
    Work("run --rm true, none", lambda host: docker(host, "run", "--rm", "--network", "none", IMAGE, "true")),
    Work("exec true", lambda host: docker(host, "exec", "bench-target", "true")),
    Work("ps", lambda host: docker(host, "ps", "-a")),
    Work("run --rm -p, bridge", lambda host: docker(host, "run", "--rm", "-p", "127.0.0.1::80", IMAGE, "true")),
    Work("50 x run -d, parallel", lambda host: many(host, 50), remove_all, rounds=3),
    Work(
        "logs of 1 M lines",
        lambda host: to_nowhere(host, "logs", "bench-log"),
        rounds=5,
        before=write_log,
        at_last=remove_all,
    ),
    Work(
        "ps, 200 containers",
        lambda host: docker(host, "ps"),
        before=lambda host: many(host, 200, "--network", "none"),
        at_last=remove_all,
    ),
    Work(
        "stats --no-stream, 50 containers",
        lambda host: docker(host, "stats", "--no-stream"),
        rounds=3,
        before=lambda host: many(host, 50, "--network", "none"),
        at_last=remove_all,
    ),
    Work("256 MB by a published port", fetch, rounds=5, before=serve_file, at_last=remove_all),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="paired runs of each piece of work (default 9)")
    parser.add_argument("--only", help="only the work whose name contains this")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--markdown", metavar="FILE", help="write the results there too")
    arguments = parser.parse_args()
    chosen = [work for work in WORK if not arguments.only or arguments.only in work.name]
    results: dict[str, dict[str, float]] = {}
    with Peer() as peer:
        wherry = Wherry()
        try:
            engines = {"wherry": wherry.host, "dockerd": peer.host}
            load_image(*engines.values())
            for host in engines.values():
                docker(host, "run", "-d", "--name", "bench-target", IMAGE, "sleep", "100000")
                docker(host, "run", "--rm", IMAGE, "true")
            for work in chosen:
                for host in engines.values():
                    work.before(host)
                measure(work, engines, work.rounds or arguments.rounds)
                for host in engines.values():
                    work.at_last(host)
                results[work.name] = summary(work)
                if "published port" in work.name:
                    results["published port, MB/s"] = throughput(results[work.name], 268.4)
            for host in engines.values():
                docker(host, "rm", "-f", "bench-target")
            idle = idle_processor({"wherry": wherry.pids, "dockerd": peer.pids})
            results["idle processor, ms/s"] = {**idle, "ratio": idle["wherry"] / max(idle["dockerd"], 0.01)}
            memory = {"wherry": float(pss_kib(wherry.pids)), "dockerd": float(pss_kib(peer.pids))}
            results["idle memory, KiB PSS"] = {**memory, "ratio": memory["wherry"] / memory["dockerd"]}
            load = os.getloadavg()[2]
        finally:
            wherry.stop()
    if arguments.json:
        print(json.dumps(results, indent=2))
        return
    if arguments.markdown:
        Path(arguments.markdown).write_text(markdown(results, chosen, arguments.rounds, load))
    print(f"{'':34}{'wherry':>12}{'dockerd':>12}{'ratio':>8}")
    for name, row in results.items():
        digits = 0 if "KiB" in name or "MB/s" in name else 3
        print(f"{name:34}{row['wherry']:12.{digits}f}{row['dockerd']:12.{digits}f}{row['ratio']:8.2f}")


def markdown(results: dict[str, dict[str, float]], chosen: list[Work], rounds: int, load: float) -> str:
    """The results as a page, with what they depend on."""

    def said(*command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()[0].strip()

    model = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    lines = [
        "# Wherry's engine and Debian's dockerd",
        "",
        "Made by `python bench/engine.py --markdown bench/results/engine.md`; see there for what is measured.",
        "",
        f"- machine: {os.cpu_count()} cores ({model.partition(':')[2].strip()}), Linux {os.uname().release}, "
        f"load average of the last 15 minutes at the end {load:.1f}",
        f"- {said('dockerd', '--version')}; {said('runc', '--version')}; {said('crun', '--version')}; "
        f"{said('docker', '--version')} as the client of both",
        "- medians of paired rounds, each engine first in turn",
        "",
        "| work | rounds | wherry | dockerd | ratio |",
        "|---|---:|---:|---:|---:|",
    ]
    times = {work.name: work.rounds or rounds for work in chosen}
    for name, row in results.items():
        digits = 0 if "KiB" in name or "MB/s" in name else 3
        shown = f"{row['wherry']:.{digits}f} | {row['dockerd']:.{digits}f} | {row['ratio']:.2f}"
        unit = "" if name not in times else ", s"
        lines.append(f"| {name}{unit} | {times.get(name, '')} | {shown} |")
    return "\n".join(lines) + "\n"


def throughput(seconds: dict[str, float], megabytes: float) -> dict[str, float]:
    rates = {name: megabytes / seconds[name] for name in ("wherry", "dockerd")}
    return {**rates, "ratio": rates["wherry"] / rates["dockerd"]}


def idle_processor(daemons: dict[str, list[int]], seconds: float = 10.0) -> dict[str, float]:
    """Milliseconds of processor time per second that each daemon takes with nothing to do."""

    def used() -> dict[str, int]:
        return {name: sum(map(_ticks, pids)) for name, pids in daemons.items()}

    time.sleep(2)
    before = used()
    time.sleep(seconds)
    ticks = os.sysconf("SC_CLK_TCK")
    return {name: (now - before[name]) / ticks * 1000 / seconds for name, now in used().items()}


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def measure(work: Work, engines: dict[str, str], rounds: int) -> None:
    for number in range(rounds):
        # Whoever goes first changes from round to round.
        order = list(engines.items())[:: 1 if number % 2 else -1]
        for name, host in order:
            begun = time.perf_counter()
            work.run(host)
            work.times.setdefault(name, []).append(time.perf_counter() - begun)
            work.after(host)


def summary(work: Work) -> dict[str, float]:
    medians = {name: statistics.median(times) for name, times in work.times.items()}
    return {**medians, "ratio": medians["wherry"] / medians["dockerd"]}


if __name__ == "__main__":
    main()

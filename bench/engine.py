"""The same work on Wherry and on Debian's dockerd, in one run: medians of paired runs, and their ratios.

    python bench/engine.py [--rounds N] [--only NAME] [--json]

Both engines run side by side, each on its own state; a round does every piece of work once on each, in turns, so
that what else the machine does weighs on both alike. Times are those of the real `docker` client, seconds of wall
clock. Memory is PSS (proportional set size) of the daemons themselves, idle, after the work. A ratio below 1 means
that Wherry needs less.
"""

import argparse
import json
import os
import shutil
import signal
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
    """One kind of work: `run` does it once on the engine at a host; `after` tidies up, untimed."""

    name: str
    run: Callable[[str], object]
    after: Callable[[str], object] = lambda host: None
    rounds: int | None = None
    times: dict[str, list[float]] = field(default_factory=dict)


def remove_all(host: str) -> None:
    running = docker(host, "ps", "-aq", "--filter", "label=bench").split()
    if running:
        docker(host, "rm", "-f", *running)


def twenty(host: str) -> None:
    arguments = ["run", "-d", "--label", "bench", IMAGE, "sleep", "600"]
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda _: docker(host, *arguments), range(20)))


WORK = [
    Work("run --rm true, bridge", lambda host: docker(host, "run", "--rm", IMAGE, "true")),
    Work("run --rm true, none", lambda host: docker(host, "run", "--rm", "--network", "none", IMAGE, "true")),
    Work("exec true", lambda host: docker(host, "exec", "bench-target", "true")),
    Work("ps", lambda host: docker(host, "ps", "-a")),
    Work("20 x run -d, parallel", twenty, remove_all, rounds=3),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="paired runs of each piece of work (default 9)")
    parser.add_argument("--only", help="only the work whose name contains this")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    archive = subprocess.run(
        [sys.executable, HERE.parent / "tests" / "images" / "make_images.py", "busybox"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    chosen = [work for work in WORK if not arguments.only or arguments.only in work.name]
    results: dict[str, dict[str, float]] = {}
    with Peer() as peer:
        wherry = Wherry()
        try:
            engines = {"wherry": wherry.host, "dockerd": peer.host}
            for host in engines.values():
                docker(host, "load", "-i", archive)
                docker(host, "run", "-d", "--name", "bench-target", IMAGE, "sleep", "100000")
                docker(host, "run", "--rm", IMAGE, "true")
            for work in chosen:
                measure(work, engines, work.rounds or arguments.rounds)
                results[work.name] = summary(work)
            for host in engines.values():
                docker(host, "rm", "-f", "bench-target")
            memory = {"wherry": float(pss_kib(wherry.pids)), "dockerd": float(pss_kib(peer.pids))}
            results["idle memory, KiB PSS"] = {**memory, "ratio": memory["wherry"] / memory["dockerd"]}
        finally:
            wherry.stop()
    if arguments.json:
        print(json.dumps(results, indent=2))
        return
    print(f"{'':28}{'wherry':>12}{'dockerd':>12}{'ratio':>8}")
    for name, row in results.items():
        digits = 0 if "KiB" in name else 3
        print(f"{name:28}{row['wherry']:12.{digits}f}{row['dockerd']:12.{digits}f}{row['ratio']:8.2f}")


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

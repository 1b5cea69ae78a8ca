"""Builds, pulls, loads and saves on Wherry, on dockerd's classic builder and on buildah, in one run.

    python bench/images.py [--rounds N] [--only NAME] [--scale PERCENT]

Writes bench/results/images.md when nothing is left out. Wherry and dockerd are driven by the same real client; each
round does every piece of work once on each, in turns. Times are seconds of wall clock, medians of the rounds; a ratio
below 1 means that Wherry needs less. Needs root, and Debian's docker.io, docker-registry and buildah.
"""

import argparse
import io
import json
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from engine import Wherry
from peer import Peer
from wherry.docker_api.client import DockerClient

HERE = Path(__file__).parent
CACHED = "build of 12 steps, cached"
OVER_THE_API = "the same over the API, without the docker client"
GOALS = {
    "build of 12 steps, cold": {"dockerd": 0.6, "buildah": 0.6},
    CACHED: {"dockerd": 0.3, "buildah": 0.3},
    OVER_THE_API: {"dockerd": 0.3},
    "build of 12 steps, one file changed": {"dockerd": 0.5, "buildah": 0.5},
    "context of 20,000 files": {"dockerd": 0.7},
    "pull, 300 MB in 6 layers": {"dockerd": 0.8},
    "push, 300 MB in 6 layers": {},
    "load, 300 MB in 6 layers": {"dockerd": 0.8},
    "save, 300 MB in 6 layers": {"dockerd": 1.0},
    "disk of 20 images that share layers": {"dockerd": 1.05},
}
TWELVE = """\
FROM busybox
ENV APP=/app MODE=production
WORKDIR /app
RUN echo "app:x:1000:1000::/app:/bin/sh" >> /etc/passwd
COPY requirements.txt .
RUN mkdir -p lib && for i in 1 2 3 4 5 6 7 8; do cp requirements.txt lib/$i; done
RUN tr a-z A-Z < requirements.txt > lib/upper
COPY src src
RUN cat src/* | wc -c > built
RUN chown -R app lib
EXPOSE 8000
CMD ["cat", "built"]
"""


def run(*command: str | Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, env={**os.environ, **(env or {})}, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command}: {done.stderr.decode(errors='replace')[-2000:]}")
    return done.stdout.decode(errors="replace")


class Client:
    """The real docker client on one engine."""

    def __init__(self, name: str, host: str, data: Path) -> None:
        self.name = name
        self.data = data
        self.host = host
        self._env = {"DOCKER_HOST": host, "DOCKER_BUILDKIT": "0"}

    def __call__(self, *arguments: str | Path) -> str:
        return run("docker", *arguments, env=self._env)

    def build(self, context: Path, tag: str, *options: str) -> None:
        self("build", "-q", "-t", tag, *options, context)


class Buildah:
    """buildah on overlay with its quickest isolation, a layer an instruction."""

    name = "buildah"

    def __init__(self, place: Path) -> None:
        self.data = place / "root"
        self._program = [
            "buildah",
            "--root",
            str(self.data),
            "--runroot",
            str(place / "run"),
            "--storage-driver",
            "overlay",
        ]

    def __call__(self, *arguments: str | Path) -> str:
        return run(*self._program, *arguments)

    def build(self, context: Path, tag: str, *options: str) -> None:
        self("bud", "-q", "--layers", "--isolation", "chroot", "--pull-never", "-t", tag, *options, context)


@dataclass
class Results:
    """Seconds (or bytes) by work and by engine."""

    times: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, work: str, engine: str, value: float) -> None:
        self.times.setdefault(work, {}).setdefault(engine, []).append(value)

    def measure(self, work: str, engine: str, action: Callable[..., object], *arguments: str | Path) -> None:
        os.sync()
        begun = time.perf_counter()
        action(*arguments)
        self.add(work, engine, time.perf_counter() - begun)


def builds(engines: list[Client | Buildah], place: Path, rounds: int, results: Results) -> None:
    context = place / "twelve"
    (context / "src").mkdir(parents=True)
    (context / "Dockerfile").write_text(TWELVE)
    (context / "requirements.txt").write_text("flask==2.0.1\n" * 400)
    for number in range(40):
        (context / "src" / f"module{number}.py").write_text(f"value = {number}\n" * 200)
    for number in range(rounds):
        for engine in engines:
            # A change that no cache has seen makes every step run, and what it makes is cached for the next two.
            (context / "requirements.txt").write_text(f"# {engine.name} {number}\n" + "flask==2.0.1\n" * 400)
            results.measure("build of 12 steps, cold", engine.name, engine.build, context, "t", "--no-cache")
            engine.build(context, "t")
            # Short work: several times in a row, so that one hiccup does not decide.
            for _ in range(3):
                results.measure(CACHED, engine.name, engine.build, context, "t")
            if isinstance(engine, Client):
                _over_the_api(engine, context, results)
            (context / "src" / "module7.py").write_text(f"value = '{engine.name} {number}'\n")
            results.measure("build of 12 steps, one file changed", engine.name, engine.build, context, "t")


def _over_the_api(engine: Client, context: Path, results: Results) -> None:
    """The engine's own time: a client that is there already, and a context that is packed already."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(context, ".")
    client = DockerClient(engine.host)
    headers = {"Content-Type": "application/x-tar"}

    def build() -> None:
        said = client.call("POST", "/build", {"t": "t", "q": True}, data=packed.getvalue(), headers=headers).read()
        if b"errorDetail" in said:
            raise SystemExit(said.decode())

    build()  # other headers of the members: perhaps other keys
    for _ in range(5):
        results.measure(OVER_THE_API, engine.name, build)


def large_context(engines: list[Client], place: Path, rounds: int, results: Results, count: int) -> None:
    context = place / "large"
    source = random.Random(1)
    for number in range(count):
        directory = context / "files" / f"{number % 100:02}" / f"{number % 7}"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"{number}.txt").write_bytes(source.randbytes(source.randrange(100, 3000)))
    (context / "Dockerfile").write_text("FROM busybox\nCOPY files /files\n")
    for _ in range(rounds):
        for engine in engines:
            results.measure("context of 20,000 files", engine.name, engine.build, context, "l", "--no-cache")
    shutil.rmtree(context)


@contextmanager
def registry(place: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = {
        "version": 0.1, "log": {"level": "error"}, "storage": {"filesystem": {"rootdirectory": str(place / "storage")}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }  # fmt: skip
    (place / "registry.json").write_text(json.dumps(config))
    process = subprocess.Popen(
        ["docker-registry", "serve", place / "registry.json"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def six_layers(place: Path, scale: float) -> Path:
    """A context whose build gives about 300 MB in 6 layers: many small files, some large, half compressible."""
    context = place / "six"
    source = random.Random(2)
    lines = ["FROM busybox"]
    for layer in range(5):
        directory = context / f"layer{layer}"
        total = 0
        number = 0
        while total < 60e6 * scale:
            size = source.choice((2_000, 8_000, 30_000, 200_000, 3_000_000))
            path = directory / f"{number % 40}" / f"file{number}"
            path.parent.mkdir(parents=True, exist_ok=True)
            half = source.randbytes(size // 2)
            path.write_bytes(half + half[: len(half) // 8] * 8)
            total += size
            number += 1
        lines.append(f"COPY layer{layer} /data/{layer}")
    (context / "Dockerfile").write_text("\n".join(lines) + "\n")
    return context


def forget(engine: Client, archive: str) -> None:
    """No image and no cache but the base."""
    engine("image", "prune", "-af")
    if engine.name == "wherry":
        engine("builder", "prune", "-af")
    engine("load", "-q", "-i", archive)


def transfers(engines: list[Client], place: Path, rounds: int, results: Results, scale: float, base: str) -> None:
    context = six_layers(place, scale)
    with registry(place) as address:
        name = f"{address}/six:1"
        archive = place / "six.tar"
        engines[0].build(context, name)
        engines[0]("push", "-q", name)
        for engine in engines:
            forget(engine, base)
        for number in range(rounds):
            for engine in engines:
                results.measure("pull, 300 MB in 6 layers", engine.name, engine, "pull", "-q", name)
                results.measure("save, 300 MB in 6 layers", engine.name, engine, "save", "-o", archive, name)
                engine("rmi", name)
                results.measure("load, 300 MB in 6 layers", engine.name, engine, "load", "-q", "-i", archive)
                if number == 0:
                    # Into a repository of its own and from a registry that has no such layers under this digest.
                    with registry(_fresh(place, engine.name)) as other:
                        engine("tag", name, f"{other}/mine:1")
                        results.measure(
                            "push, 300 MB in 6 layers", engine.name, engine, "push", "-q", f"{other}/mine:1"
                        )
                        engine("rmi", f"{other}/mine:1")
                engine("rmi", name)
    disk(engines, context, place, results, base)


def _fresh(place: Path, name: str) -> Path:
    path = place / f"registry-{name}"
    path.mkdir()
    return path


def disk(engines: list[Client], context: Path, place: Path, results: Results, base: str) -> None:
    small = place / "small"
    small.mkdir()
    (small / "Dockerfile").write_text("FROM six\nARG N\nCOPY file /file\nENV N=$N\n")
    for engine in engines:
        forget(engine, base)
        before = used(engine.data)
        engine.build(context, "six")
        for number in range(20):
            (small / "file").write_bytes(random.Random(number).randbytes(300_000))
            engine.build(small, f"image{number}", f"--build-arg=N={number}")
        os.sync()
        results.add("disk of 20 images that share layers", engine.name, used(engine.data) - before)


def used(path: Path) -> int:
    return int(run("du", "-sx", "--block-size=1", path).split()[0])


def report(results: Results, rounds: int, scale: int) -> str:
    lines = ["# Images and builds: Wherry, dockerd, buildah", ""]
    load = os.getloadavg()
    versions = [run("dockerd", "--version").strip(), run("buildah", "--version").strip()]
    lines += [f"{'; '.join(versions)}. {os.cpu_count()} cores, load {load[1]:.1f}, {rounds} rounds, medians.",
              "A ratio below 1 means that Wherry needs less.", ""]  # fmt: skip
    if scale != 100:
        lines += [f"A smaller run: {scale} % of the files of the context and of the bytes of the layers.", ""]
    lines += [
        "| work | wherry | dockerd | ratio | goal | buildah | ratio | goal |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for work in [work for work in GOALS if work in results.times]:
        by_engine = results.times[work]
        middle = {engine: statistics.median(values) for engine, values in by_engine.items()}
        cells = [work, _shown(work, middle["wherry"])]
        for peer in ("dockerd", "buildah"):
            goal = GOALS[work].get(peer)
            if peer in middle:
                cells += [
                    _shown(work, middle[peer]),
                    f"{middle['wherry'] / middle[peer]:.2f}",
                    f"≤ {goal}" if goal else "",
                ]
            else:
                cells += ["", "", ""]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _shown(work: str, value: float) -> str:
    return f"{value / 1e6:.1f} MB" if work.startswith("disk") else f"{value:.3f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["builds", "context", "transfers"])
    parser.add_argument("--scale", type=int, default=100, metavar="PERCENT")
    given = parser.parse_args()
    # `timeout` and friends end it as Ctrl-C does: what it started is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    archive = run(sys.executable, HERE.parent / "tests" / "images" / "make_images.py", "busybox").strip()
    results = Results()
    place = Path(tempfile.mkdtemp(prefix="wh-bench-images-"))
    wherry = Wherry()
    buildah = Buildah(place / "buildah")
    try:
        with Peer() as peer:
            clients = [
                Client("wherry", wherry.host, wherry.root),
                Client("dockerd", peer.host, peer.directory / "data"),
            ]
            for client in clients:
                client("load", "-q", "-i", archive)
            buildah("pull", "-q", f"docker-archive:{archive}")
            if given.only in (None, "builds"):
                builds([*clients, buildah], place, given.rounds, results)
            if given.only in (None, "context"):
                count = 200 * given.scale
                large_context(clients, place, given.rounds, results, count)
            if given.only in (None, "transfers"):
                transfers(clients, place, given.rounds, results, given.scale / 100, archive)
    finally:
        wherry.stop()
        subprocess.run([*buildah._program, "rmi", "-af"], capture_output=True, check=False)
        run("sh", "-c", f"grep -o ' {place}[^ ]*' /proc/self/mountinfo | xargs -r umount -l")
        shutil.rmtree(place, ignore_errors=True)
    text = report(results, given.rounds, given.scale)
    print(text)
    if given.only is None and given.scale == 100:
        (HERE / "results").mkdir(exist_ok=True)
        (HERE / "results" / "images.md").write_text(text)


if __name__ == "__main__":
    main()

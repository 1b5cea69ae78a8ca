"""A Compose project of ten services: `wherry compose` on Wherry, and docker-compose 1.29 on Debian's dockerd.

Both in one run.

    python bench/compose.py [--rounds N] [--services N] [--json]

Each round makes the project (`up -d`), runs `up -d` again with nothing to do, and takes it down (`down`), once with
each pair, in turns, so that what else the machine does weighs on both alike. Medians of wall clock seconds, and their
ratios: below 1 means that Wherry needs less. Containers end at once when they are stopped (SIGKILL), so that `down`
is the work and not the waiting.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from engine import IMAGE, Wherry, docker
from peer import Peer

OLD = "/usr/bin/docker-compose"
STEPS = {"up": ("up", "-d"), "up, nothing to do": ("up", "-d"), "down": ("down",)}


def write_project(folder: Path, services: int) -> None:
    """A chain-free project: services on one network, each with a volume and a variable of its own."""
    lines = ["version: '3.8'", "services:"]
    for number in range(services):
        lines += [
            f"  s{number}:",
            f"    image: {IMAGE}",
            "    command: sleep 10000",
            "    stop_signal: SIGKILL",
            f"    environment: [NUMBER={number}]",
            f"    volumes: ['data{number}:/data']",
        ]
    lines += ["volumes:", *(f"  data{number}:" for number in range(services))]
    (folder / "docker-compose.yml").write_text("\n".join(lines) + "\n")


def run(command: list[str], host: str, folder: Path) -> float:
    """Seconds that a command took. Exits when it fails."""
    begun = time.perf_counter()
    done = subprocess.run(
        command, env={**os.environ, "DOCKER_HOST": host}, cwd=folder, capture_output=True, text=True, check=False
    )
    passed = time.perf_counter() - begun
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.strip()}")
    return passed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="paired runs (default 5)")
    parser.add_argument("--services", type=int, default=10, help="services of the project (default 10)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    if not Path(OLD).exists():
        raise SystemExit("docker-compose 1.29 (Debian's package docker-compose) is not installed")
    archive = subprocess.run(
        [sys.executable, Path(__file__).parent.parent / "tests" / "images" / "make_images.py", "busybox"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    folder = Path(tempfile.mkdtemp(prefix="wh-bench-compose-"))
    write_project(folder, arguments.services)
    times: dict[str, dict[str, list[float]]] = {step: {"wherry": [], "docker-compose": []} for step in STEPS}
    try:
        with Peer() as peer:
            wherry = Wherry()
            try:
                ours = [str(Path(sys.executable).parent / "wherry"), "compose"]
                pairs = {"wherry": (ours, wherry.host), "docker-compose": ([OLD], peer.host)}
                for _, host in pairs.values():
                    docker(host, "load", "-i", archive)
                    docker(host, "run", "--rm", IMAGE, "true")
                for number in range(arguments.rounds):
                    # Whoever goes first changes from round to round.
                    for name, (command, host) in list(pairs.items())[:: 1 if number % 2 else -1]:
                        for step, verb in STEPS.items():
                            times[step][name].append(run([*command, *verb], host, folder))
                        run([*command, "down", "-v"], host, folder)
            finally:
                wherry.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    results = {}
    for step, measured in times.items():
        medians = {name: statistics.median(found) for name, found in measured.items()}
        results[step] = {**medians, "ratio": medians["wherry"] / medians["docker-compose"]}
    if arguments.json:
        print(json.dumps(results, indent=2))
        return
    print(f"{'':20}{'wherry':>12}{'1.29+dockerd':>14}{'ratio':>8}")
    for step, row in results.items():
        print(f"{step:20}{row['wherry']:12.3f}{row['docker-compose']:14.3f}{row['ratio']:8.2f}")


if __name__ == "__main__":
    main()

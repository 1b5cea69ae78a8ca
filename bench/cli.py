"""Start-up times of Wherry's own docker and kubectl against the real ones, on one running Wherry.

    eval "$(wherry env)"; python bench/cli.py [--runs N]

Each pair is run in turn, N times each; the medians and their ratio are printed. What is not installed, or has no
server to talk to, is left out.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import time
from pathlib import Path

from wherry.cli import launchers
from wherry.host.instance import open_instance

CASES = [
    ("docker", ["--version"], 1.5),
    ("docker", ["ps"], 1.5),
    ("docker", ["images"], 1.5),
    ("docker", ["inspect", "--type", "network", "bridge"], 1.5),
    ("kubectl", ["version", "--client"], 1.0),
    ("kubectl", ["get", "pods"], 1.0),
]
"""Program, arguments, and the ratio that is the goal."""


def milliseconds(command: list[str]) -> tuple[float, float]:
    """Time on the clock and time on the CPU (user and system) of one run."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    ended, after = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return (ended - started) * 1000, spent * 1000


def real(program: str, own: Path) -> str | None:
    """The installed program of that name, not ours."""
    path = os.pathsep.join(part for part in os.environ.get("PATH", "").split(os.pathsep) if part != str(own))
    return shutil.which(program, path=path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=21)
    runs = parser.parse_args().runs
    own = launchers.write(open_instance(None, None))
    print(f"{'command':<42} {'real':>9} {'Wherry':>9} {'ratio':>6} {'goal':>5}   CPU real / Wherry")
    for program, arguments, goal in CASES:
        theirs = real(program, own)
        name = " ".join([program, *arguments])
        if theirs is None:
            print(f"{name:<42} not installed")
            continue
        pair = ([theirs, *arguments], [str(own / program), *arguments])
        try:
            for command in pair:
                milliseconds(command)
            times = [[milliseconds(command) for command in pair] for _ in range(runs)]
        except subprocess.CalledProcessError as error:
            print(f"{name:<42} left out: {' '.join(map(str, error.cmd))} ended with {error.returncode}")
            continue
        (real_ms, real_cpu), (our_ms, our_cpu) = (
            [statistics.median(row[which][kind] for row in times) for kind in (0, 1)] for which in (0, 1)
        )
        print(
            f"{name:<42} {real_ms:6.1f} ms {our_ms:6.1f} ms {our_ms / real_ms:6.2f} {goal:5.1f}   "
            f"{real_cpu:.0f} / {our_cpu:.0f} ms"
        )


if __name__ == "__main__":
    main()

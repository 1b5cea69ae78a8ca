"""What an engine keeps of work that is over, and how long a lot of work takes: `load.py [--small] [--json]`.

One fresh engine: 100 containers running on one network, 50 started in parallel, 500 times `run --rm` one after another.
Before and after: the daemon's file descriptors, its memory (RSS and PSS, KiB), and the mounts, interfaces, network
namespaces and processes of the instance. What differs at the end, apart from the memory, was leaked.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine import IMAGE, Wherry, docker, load_image, pss_kib
from wherry.host.instance import open_instance
from wherry.host.leftovers import find


def counts(wherry: Wherry) -> dict[str, int]:
    """What the daemon and its instance hold at this moment."""
    pid = wherry.pids[0]
    left = find(open_instance(wherry.root, wherry.run))
    status = Path(f"/proc/{pid}/status").read_text()
    return {
        "file descriptors": len(os.listdir(f"/proc/{pid}/fd")),
        "threads": int(status.partition("Threads:")[2].split()[0]),
        "RSS KiB": int(status.partition("VmRSS:")[2].split()[0]),
        "PSS KiB": pss_kib(wherry.pids),
        "mounts": len(left.mounts),
        "interfaces": len(left.links),
        "processes": len(left.processes),
        "cgroups": len(left.cgroups),
    }


@contextmanager
def timed(results: dict[str, Any], name: str) -> Iterator[None]:
    begun = time.perf_counter()
    yield
    results[name] = round(time.perf_counter() - begun, 2)


def parallel(host: str, number: int, *options: str) -> None:
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: docker(host, "run", "-d", "--label", "load", *options, IMAGE, "sleep", "1000"),
                      range(number)))  # fmt: skip


def remove_all(host: str) -> None:
    docker(host, "rm", "-f", *docker(host, "ps", "-aq", "--filter", "label=load").split())


def settled(wherry: Wherry, seconds: float = 15.0) -> dict[str, int]:
    """The counts once they have not changed for a second: warm pools fill up and links go in their own time."""
    deadline = time.monotonic() + seconds
    before = counts(wherry)
    while time.monotonic() < deadline:
        time.sleep(1.0)
        now = counts(wherry)
        if {**now, "RSS KiB": 0, "PSS KiB": 0} == {**before, "RSS KiB": 0, "PSS KiB": 0}:
            return now
        before = now
    return before


def work(wherry: Wherry, running: int, at_once: int, times: int) -> dict[str, Any]:
    """Do it all. Returns seconds of each part, and the counts before, in the middle and after."""
    host = wherry.host
    results: dict[str, Any] = {}
    # Once around, so that what is made once is there.
    docker(host, "network", "create", "load")
    parallel(host, 4, "--network", "load", "-p", "127.0.0.1::80")
    remove_all(host)
    results["before"] = settled(wherry)
    with timed(results, f"{running} running on one network, s"):
        parallel(host, running, "--network", "load")
    results["with them running"] = counts(wherry)
    name = docker(host, "ps", "--format", "{{.Names}}", "--filter", "label=load").split()[0]
    docker(host, "run", "--rm", "--network", "load", IMAGE, "ping", "-c", "1", name)
    with timed(results, f"{at_once} more in parallel, s"):
        parallel(host, at_once, "-p", "127.0.0.1::80")
    with timed(results, f"removing {running + at_once}, s"):
        remove_all(host)
    results["after those"] = settled(wherry)
    with timed(results, f"{times} times run --rm, s"):
        for _ in range(times):
            docker(host, "run", "--rm", "--network", "load", "-v", "/data", IMAGE, "true")
    results["after"] = settled(wherry)
    docker(host, "network", "rm", "load")
    return results


def leaked(results: dict[str, Any]) -> dict[str, int]:
    """What there is more of at the end than at the beginning, apart from memory and threads."""
    kept = ("RSS KiB", "PSS KiB", "threads")
    return {
        name: value - results["before"][name]
        for name, value in results["after"].items()
        if name not in kept and value > results["before"][name]
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a tenth of it")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    running, at_once, times = (10, 5, 50) if arguments.small else (100, 50, 500)
    wherry = Wherry()
    try:
        load_image(wherry.host)
        results = work(wherry, running, at_once, times)
    finally:
        wherry.stop()
    results["leaked"] = leaked(results)
    if arguments.json:
        print(json.dumps(results, indent=2))
    else:
        report(results)
    sys.exit(1 if results["leaked"] else 0)


def report(results: dict[str, Any]) -> None:
    moments = [name for name, value in results.items() if isinstance(value, dict) and name != "leaked"]
    print(f"{'':20}" + "".join(f"{moment:>20}" for moment in moments))
    for name in results["before"]:
        print(f"{name:20}" + "".join(f"{results[moment][name]:20}" for moment in moments))
    for name, value in results.items():
        if not isinstance(value, dict):
            print(f"{name:44}{value:>8}")
    print("leaked:", results["leaked"] or "nothing")


if __name__ == "__main__":
    main()

"""Cold start of engine and cluster to a Ready node, and what it costs at rest.

    bench/cluster.py [--runs N]

Each run starts from an empty state directory. "Ready" is the moment at which the API shows the node's Ready
condition as True. Memory is the proportional set size (PSS) of the supervisor, wherry-node and wherry-server,
taken once nothing has changed for a while.
"""

import argparse
import json
import statistics
import sys
import time

from wherry.cli.state import memory_kib, read_state
from wherry.testing.instances import TestInstances, wherry

SETTLE_SECONDS = 5.0


def one_run(instances: TestInstances) -> dict[str, float]:
    """Seconds and KiB of one cold start."""
    instance = instances.make()
    begin = time.monotonic()
    up = wherry(instance, "up")
    ready = time.monotonic() - begin
    if up.returncode:
        sys.exit(up.stdout + up.stderr)
    time.sleep(SETTLE_SECONDS)  # idle is what is measured: nothing to wait for but time itself
    state = read_state(instance)
    found = {"ready_seconds": ready, "supervisor_kib": float(memory_kib(state.pid))}
    before = {process.pid: cpu_seconds(process.pid) for process in state.processes}
    time.sleep(SETTLE_SECONDS)
    for process in state.processes:
        found[f"{process.name}_kib"] = float(memory_kib(process.pid))
        found[f"{process.name}_idle_cpu_percent"] = (
            (cpu_seconds(process.pid) - before[process.pid]) / SETTLE_SECONDS * 100
        )
    wherry(instance, "down", "--all")
    instances.discard(instance)
    instances.made.remove(instance)
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    instances = TestInstances()
    try:
        runs = [one_run(instances) for _ in range(arguments.runs)]
    finally:
        instances.close()
    medians = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    total = sum(value for name, value in medians.items() if name.endswith("_kib"))
    print(json.dumps({"runs": arguments.runs, "medians": {k: round(v, 3) for k, v in medians.items()}}, indent=2))
    print(f"cold start to a Ready node: {medians['ready_seconds']:.2f} s (median of {arguments.runs})")
    print(f"idle memory of all processes: {total / 1024:.0f} MiB PSS")


if __name__ == "__main__":
    main()

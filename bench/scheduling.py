"""Scheduling at scale: `wherry simulate` in every shape, each on a fresh instance.

    bench/scheduling.py [--nodes N] [--pods N] [--shapes plain,spread,anti-affinity,preemption]

The rates are those of everything together: API server, store, scheduler and controllers in one process, and beside it
the simulated kubelets, which answer for every pod over HTTPS. `server_cpu_ms_per_pod` is the server's processor time
from the opening of the nodes until all pods run.
"""

import argparse
import json
import sys

from wherry.testing.instances import TestInstances, wherry

SECONDS = 900.0


def one_run(instances: TestInstances, shape: str, nodes: int, pods: int) -> dict[str, object]:
    instance = instances.make()
    up = wherry(instance, "up")
    if up.returncode:
        sys.exit(up.stdout + up.stderr)
    arguments = ("--json", "--nodes", str(nodes), "--pods", str(pods), "--shape", shape, "--timeout", str(SECONDS))
    simulate = wherry(instance, "simulate", *arguments, timeout=2 * SECONDS)
    if simulate.returncode:
        sys.exit(simulate.stdout + simulate.stderr)
    wherry(instance, "down", "--all")
    found: dict[str, object] = json.loads(simulate.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=5000)
    parser.add_argument("--pods", type=int, default=20_000, help="of the plain shape; a quarter of them of the others")
    parser.add_argument("--shapes", default="plain,spread,anti-affinity,preemption")
    arguments = parser.parse_args()
    instances = TestInstances()
    try:
        for shape in arguments.shapes.split(","):
            pods = arguments.pods if shape == "plain" else arguments.pods // 4
            print(json.dumps(one_run(instances, shape, arguments.nodes, pods), indent=2), flush=True)
    finally:
        instances.close()


if __name__ == "__main__":
    main()

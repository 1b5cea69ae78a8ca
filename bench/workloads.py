"""One real node's workloads: how long a person waits, with images that are present.

    bench/workloads.py [--runs N] [--replicas N]

Measures, over the API server's own watch on an instance of its own:
- apply → Running: from the creation of one pod to the moment the API shows its container running;
- scale: a Deployment from 1 to N replicas, until all are Ready;
- delete: from the DELETE of a pod whose process exits on SIGTERM until the API no longer has it.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wherry.cli.env import variables
from wherry.client.http import HttpClient
from wherry.client.informer import Informer
from wherry.schema.builtin import DEPLOYMENTS, PODS, SERVICE_ACCOUNTS
from wherry.schema.errors import NotFound
from wherry.schema.resource import Object
from wherry.testing.instances import TestInstances, wherry

IMAGES = Path(__file__).parents[1] / "tests" / "images" / "make_images.py"
COMMAND = ["sh", "-c", 'trap "exit 0" TERM; touch /trapped; while :; do sleep 3600 & wait $!; done']
TRAPPED = {"exec": {"command": ["test", "-e", "/trapped"]}, "periodSeconds": 1}
"""A shell that gets SIGTERM before its trap ignores it (it is process 1): a pod is deleted only once it is ready."""
WAIT_SECONDS = 120.0


def pod_spec(**more: Any) -> Object:
    container = {"name": "main", "image": "busybox", "imagePullPolicy": "IfNotPresent", "command": COMMAND, **more}
    return {"containers": [container]}


class Watched:
    """Pods of the default namespace as the watch shows them."""

    def __init__(self, client: HttpClient) -> None:
        self.informer = Informer(client, PODS, namespace="default")
        self._changed = asyncio.Event()
        self.informer.add_handler(lambda old, new: self._changed.set())

    async def until(self, done: Callable[[list[Object]], bool]) -> float:
        """The moment (time.monotonic) at which `done(pods)` held. Raises TimeoutError."""
        async with asyncio.timeout(WAIT_SECONDS):
            while not done(self.informer.items()):
                self._changed.clear()
                await self._changed.wait()
        return time.monotonic()


def is_running(pod: Object) -> bool:
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    return any("running" in one.get("state", {}) for one in statuses)


def is_ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


async def measure(kubeconfig: Path, runs: int, replicas: int) -> dict[str, Any]:
    async with HttpClient.from_kubeconfig(kubeconfig) as client:
        await account_ready(client)
        watched = Watched(client)
        watch = asyncio.create_task(watched.informer.run())
        await watched.informer.synced.wait()
        try:
            starts, deletes = [], []
            for number in range(runs):
                name = f"one-{number}"
                begin = time.monotonic()
                await client.create(
                    PODS, {"metadata": {"name": name}, "spec": pod_spec(readinessProbe=TRAPPED)}, "default"
                )
                starts.append(await watched.until(lambda pods: any(map(is_running, pods))) - begin)
                await watched.until(lambda pods: any(map(is_ready, pods)))
                begin = time.monotonic()
                await client.delete(PODS, name, "default")
                deletes.append(await watched.until(lambda pods: not pods) - begin)
            scaled = await scale(client, watched, replicas)
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
    return {
        "apply_to_running_p50_seconds": round(statistics.median(starts), 3),
        "apply_to_running_max_seconds": round(max(starts), 3),
        "delete_p50_seconds": round(statistics.median(deletes), 3),
        "delete_max_seconds": round(max(deletes), 3),
        f"scale_1_to_{replicas}_all_ready_seconds": round(scaled, 2),
    }


async def account_ready(client: HttpClient) -> None:
    """Pods are refused until their namespace has its default service account."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            try:
                await client.get(SERVICE_ACCOUNTS, "default", "default")
                return
            except NotFound:
                await asyncio.sleep(0.02)


async def scale(client: HttpClient, watched: Watched, replicas: int) -> float:
    template = {"metadata": {"labels": {"app": "many"}}, "spec": pod_spec()}
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": "many"}}, "template": template}
    await client.create(DEPLOYMENTS, {"metadata": {"name": "many"}, "spec": spec}, "default")
    await watched.until(lambda pods: any(map(is_ready, pods)))
    begin = time.monotonic()
    await client.patch(DEPLOYMENTS, "many", {"spec": {"replicas": replicas}}, "default")
    end = await watched.until(lambda pods: sum(map(is_ready, pods)) == replicas)
    await client.delete(DEPLOYMENTS, "many", "default", propagation_policy="Foreground")
    await watched.until(lambda pods: not pods)
    return end - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--replicas", type=int, default=50)
    arguments = parser.parse_args()
    instances = TestInstances()
    try:
        instance = instances.make()
        up = wherry(instance, "up")
        if up.returncode:
            sys.exit(up.stdout + up.stderr)
        archive = subprocess.run([sys.executable, IMAGES, "busybox"], capture_output=True, text=True, check=True).stdout
        load = ["docker", "load", "-q", "-i", archive.strip()]
        subprocess.run(load, env={"PATH": "/usr/local/bin:/usr/bin:/bin", **variables(instance)}, check=True)
        found = asyncio.run(measure(instance.kubeconfig, arguments.runs, arguments.replicas))
        wherry(instance, "down", "--all")
    finally:
        instances.close()
    print(json.dumps({"runs": arguments.runs, **found}, indent=2))


if __name__ == "__main__":
    main()

"""Chaos, then order: whatever is killed and changed meanwhile, what was declared comes true and nothing is left over.

For a while (60 s; WHERRY_CHAOS_SECONDS says otherwise) things are done at random, from a printed seed
(WHERRY_CHAOS_SEED repeats it): containers are killed or removed behind the kubelet's back, all containers of a pod at
once, wherry-node and wherry-server are killed, replicas and images change, Jobs begin. The kernel itself is watched
throughout: never do two pods of one StatefulSet name have processes at the same time.
"""

import json
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until

from wherry.cli.state import read_state
from wherry.testing.plugin import RunningWherry

SECONDS = float(os.environ.get("WHERRY_CHAOS_SECONDS", "60"))
pytestmark = [pytest.mark.root, pytest.mark.timeout(int(SECONDS) + 400)]

MARK = "chaos-stateful-"
JOB_COMPLETIONS = 4
LOOP = "trap 'exit 0' TERM; while :; do sleep 0.2; done"

MANIFEST = f"""\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: 3
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 2
      containers:
      - {{name: web, image: "busybox:one", imagePullPolicy: Never, command: [sh, -c, "{LOOP}"]}}
      - {{name: side, image: "busybox:one", imagePullPolicy: Never, command: [sh, -c, "{LOOP}"]}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: db}}
spec:
  serviceName: db
  replicas: 2
  podManagementPolicy: Parallel
  selector: {{matchLabels: {{app: db}}}}
  template:
    metadata: {{labels: {{app: db}}}}
    spec:
      terminationGracePeriodSeconds: 2
      containers:
      - name: db
        image: busybox:one
        imagePullPolicy: Never
        command: [sh, -c, "{LOOP}", "{MARK}$(NAME)"]
        env: [{{name: NAME, valueFrom: {{fieldRef: {{fieldPath: metadata.name}}}}}}]
"""

JOB = f"""\
apiVersion: batch/v1
kind: Job
metadata: {{name: "%(name)s"}}
spec:
  completions: {JOB_COMPLETIONS}
  parallelism: 2
  backoffLimit: 100
  template:
    metadata: {{labels: {{app: job}}}}
    spec:
      restartPolicy: Never
      containers:
      - name: work
        image: busybox:one
        imagePullPolicy: Never
        command: [sh, -c, "sleep 0.5; touch /out/$HOSTNAME"]
        volumeMounts: [{{name: out, mountPath: /out}}]
      volumes: [{{name: out, hostPath: {{path: "%(out)s"}}}}]
"""


class Witness:
    """Reads /proc all the time: which StatefulSet pods have processes, by the PID namespace they are in."""

    def __init__(self) -> None:
        self.doubles: dict[str, list[float]] = {}
        """What was seen → when (seconds since the epoch), first and last."""
        self.looks = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "Witness":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            self.looks += 1
            for name, places in stateful_processes().items():
                if len(places) > 1:
                    seen = self.doubles.setdefault(f"{name} in {sorted(places.items())}", [time.time(), 0.0])
                    seen[1] = time.time()


def stateful_processes() -> dict[str, dict[str, str]]:
    """Pod name → PID namespaces in which its marked process lives → the cgroup that it is in."""
    found: dict[str, dict[str, str]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            arguments = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            marked = next((one for one in arguments[3:] if one.startswith(MARK)), None)
            if marked and arguments[0] == "sh":
                group = (entry / "cgroup").read_text().splitlines()[0].rpartition(":")[2]
                found.setdefault(marked, {})[os.readlink(entry / "ns" / "pid")] = group
        except OSError:
            continue  # it ended meanwhile
    return found


class Chaos:
    """The things that happen. Each returns what it did, or "" when there was nothing to do it to."""

    def __init__(self, machine: RunningWherry, seed: int, out: Path) -> None:
        self.machine = machine
        self.random = random.Random(seed)
        self.out = out
        self.replicas = {"deployment/web": 3, "statefulset/db": 2}
        self.images = {"deployment/web": "busybox:one", "statefulset/db": "busybox:one"}
        self.jobs: list[str] = []

    def kubectl(self, *arguments: str, **options: Any) -> bool:
        return self.machine.run("kubectl", *arguments, **options).returncode == 0

    def containers(self) -> list[tuple[str, str]]:
        """(container id, pod's uid) of what runs for pods."""
        form = '{{.ID}} {{.Label "io.kubernetes.pod.uid"}}'
        listed = self.machine.run("docker", "ps", "--no-trunc", "--format", form).stdout.splitlines()
        return [(line.split()[0], line.split()[1]) for line in listed if len(line.split()) == 2]

    def kill_container(self) -> str:
        found = self.containers()
        if not found:
            return ""
        id, _ = self.random.choice(found)
        self.machine.run("docker", "kill", id)
        return f"killed container {id[:12]}"

    def remove_container(self) -> str:
        found = self.containers()
        if not found:
            return ""
        id, _ = self.random.choice(found)
        self.machine.run("docker", "rm", "-f", id)
        return f"removed container {id[:12]}"

    def kill_pod(self) -> str:
        found = self.containers()
        if not found:
            return ""
        _, uid = self.random.choice(found)
        ids = [id for id, owner in found if owner == uid]
        self.machine.run("docker", "rm", "-f", *ids)
        return f"removed all of pod {uid}"

    def delete_pod(self) -> str:
        listed = self.machine.run("kubectl", "get", "pods", "-o", "name").stdout.split()
        if not listed:
            return ""
        name = self.random.choice(listed)
        grace = self.random.choice(("0", "1", "2"))
        force = ["--force"] if grace == "0" else []
        self.kubectl("delete", name, f"--grace-period={grace}", "--wait=false", *force)
        return f"deleted {name} with {grace} s"

    def kill_process(self) -> str:
        name = self.random.choice(("wherry-node", "wherry-server"))
        process = read_state(self.machine.instance).process(name)
        if process is None or not process.alive or process.ready_after is None:
            return ""
        os.kill(process.pid, signal.SIGKILL)
        return f"killed {name}"

    def scale(self) -> str:
        target = self.random.choice(sorted(self.replicas))
        wanted = self.random.randint(0, 4)
        if self.kubectl("scale", target, f"--replicas={wanted}"):
            self.replicas[target] = wanted
        return f"scaled {target} to {wanted}"

    def set_image(self) -> str:
        target = self.random.choice(sorted(self.images))
        wanted = self.random.choice(("busybox:one", "busybox:two"))
        if self.kubectl("set", "image", target, f"*={wanted}"):
            self.images[target] = wanted
        return f"{target} gets {wanted}"

    def new_job(self) -> str:
        name = f"job-{len(self.jobs)}"
        if not self.kubectl("create", "-f", "-", input=JOB % {"name": name, "out": self.out}):
            return ""
        self.jobs.append(name)
        return f"made {name}"

    def step(self) -> str:
        deeds = [
            *[self.kill_container] * 3,
            *[self.remove_container] * 2,
            *[self.kill_pod] * 2,
            *[self.delete_pod] * 2,
            *[self.scale] * 2,
            *[self.set_image] * 2,
            self.new_job,
            self.kill_process,
        ]
        return self.random.choice(deeds)()


@pytest.fixture
def machine(wherry_cluster: RunningWherry, busybox_archive: Path) -> Iterator[RunningWherry]:
    assert wherry_cluster.run("docker", "load", "-q", "-i", str(busybox_archive)).returncode == 0
    for tag in ("one", "two"):
        assert wherry_cluster.run("docker", "tag", "busybox", f"busybox:{tag}").returncode == 0
    yield wherry_cluster


def get(machine: RunningWherry, what: str) -> Any:
    found = machine.run("kubectl", "get", *what.split(), "-o", "json")
    return json.loads(found.stdout) if found.returncode == 0 else {}


def pods_of(machine: RunningWherry, app: str) -> list[dict[str, Any]]:
    return [dict(pod) for pod in get(machine, f"pods -l app={app}").get("items", [])]


def as_declared(machine: RunningWherry, chaos: Chaos, target: str) -> str:
    """What is not yet as declared; empty when all is."""
    replicas, image = chaos.replicas[target], chaos.images[target]
    found = get(machine, target)
    if not found:
        return f"{target} cannot be read"
    status = found.get("status", {})
    if found["spec"]["replicas"] != replicas:
        # An answer may have been lost after the change was made: what the API holds is what was declared.
        chaos.replicas[target] = found["spec"]["replicas"]
        return "replicas differ"
    images = {container["image"] for container in found["spec"]["template"]["spec"]["containers"]}
    if images != {image}:
        chaos.images[target] = images.pop()
        return "image differs"
    if status.get("observedGeneration") != found["metadata"]["generation"]:
        return f"{target} is not observed"
    pods = pods_of(machine, target.rpartition("/")[2])
    if len(pods) != replicas or status.get("readyReplicas", 0) != replicas:
        return f"{target} has {len(pods)} pods, {status.get('readyReplicas', 0)} ready, {replicas} wanted"
    running = {container["image"] for pod in pods for container in pod["spec"]["containers"]}
    return "" if running <= {image} else f"{target} runs {running}"


def test_chaos_settles_to_what_was_declared(machine: RunningWherry, tmp_path: Path) -> None:
    seed = int(os.environ.get("WHERRY_CHAOS_SEED") or random.randrange(1_000_000))
    print(f"WHERRY_CHAOS_SEED={seed}")
    out = tmp_path / "out"
    out.mkdir(mode=0o777)
    chaos = Chaos(machine, seed, out)
    assert machine.run("kubectl", "apply", "-f", "-", input=MANIFEST).returncode == 0
    chaos.new_job()
    begin = time.monotonic()
    with Witness() as witness:
        while time.monotonic() - begin < SECONDS:
            print(f"{time.monotonic() - begin:6.1f} {chaos.step()}", flush=True)
            time.sleep(chaos.random.uniform(0.1, 0.8))  # chaos has a pace of its own: nothing is waited for here
        print("settling")
        for target in sorted(chaos.replicas):
            wait_until(lambda target=target: not as_declared(machine, chaos, target), f"{target} as declared", 120)
        for name in chaos.jobs:
            wait_until(lambda name=name: finished(machine, name), f"{name} ends", 120)
        looks = witness.looks
    assert looks > 20
    assert not witness.doubles, f"two pods of one name: {list(witness.doubles.items())[:3]}"
    done = {path.name for path in out.iterdir()}
    for name in chaos.jobs:
        status = get(machine, f"job {name}")["status"]
        assert status["succeeded"] == JOB_COMPLETIONS, f"{name}: {status}"
        assert not status.get("active")
        mine = get(machine, f"pods -l job-name={name}")["items"]
        succeeded = {pod["metadata"]["name"] for pod in mine if pod["status"]["phase"] == "Succeeded"}
        assert succeeded <= done, f"{name} counts what did not run: {succeeded - done}"
    check_nothing_extra(machine)
    machine.run("kubectl", "delete", "deployment,statefulset,job", "--all", "--wait=true", timeout=90)
    wait_until(lambda: not get(machine, "pods").get("items", [0]), "all pods go", 60)
    wait_until(lambda: not machine.run("docker", "ps", "-aq").stdout.strip(), "all containers go")
    wait_until(lambda: not sandboxes(machine), "all network sandboxes go")


def finished(machine: RunningWherry, name: str) -> bool:
    conditions = get(machine, f"job {name}").get("status", {}).get("conditions", [])
    assert not any(one["type"] == "Failed" and one["status"] == "True" for one in conditions), conditions
    return any(one["type"] == "Complete" and one["status"] == "True" for one in conditions)


def check_nothing_extra(machine: RunningWherry) -> None:
    """Every container that runs belongs to a pod that should run, one container of each name."""

    def extra() -> list[str]:
        known = {pod["metadata"]["uid"] for pod in get(machine, "pods").get("items", [])}
        form = '{{.Label "io.kubernetes.pod.uid"}} {{.Label "io.kubernetes.container.name"}}'
        lines = machine.run("docker", "ps", "--format", form).stdout.splitlines()
        strangers = [line for line in lines if line.split()[0] not in known]
        return strangers + [line for line in set(lines) if lines.count(line) > 1]

    wait_until(lambda: not extra(), "no container without a pod")


def sandboxes(machine: RunningWherry) -> list[str]:
    """Network namespaces of pods that are pinned for this instance."""
    folder = machine.instance.run / "pods"
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []

"""Wherry's kubectl with things that run: followed logs, attach, copy, forwarded ports, rollouts, top and drain."""

import os
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import wait_until

from wherry.testing import clients
from wherry.testing.plugin import RunningWherry

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

MANIFEST = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: talk}
spec:
  replicas: 2
  selector: {matchLabels: {app: talk}}
  template:
    metadata: {labels: {app: talk}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: say
        image: busybox
        imagePullPolicy: IfNotPresent
        command: [sh, -c, "echo begun; mkdir /www; echo page > /www/index.html; exec httpd -f -p 8080 -h /www"]
        resources: {requests: {cpu: 10m, memory: 8Mi}}
---
apiVersion: v1
kind: Service
metadata: {name: talk}
spec: {selector: {app: talk}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: echo, labels: {app: echo}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: cat
    image: busybox
    imagePullPolicy: IfNotPresent
    stdin: true
    command: [sh, -c, "while read line; do echo got $line; done"]
"""

Result = subprocess.CompletedProcess[str]


class Kubectl:
    """Wherry's kubectl in a namespace of the module's own."""

    def __init__(self, machine: RunningWherry, home: Path) -> None:
        clients.path(machine.instance)
        self.env = {**machine.env, "HOME": str(home)}
        self.program = str(machine.instance.root / "bin" / "kubectl")

    def run(self, *words: str, **options: object) -> Result:
        return subprocess.run(  # type: ignore[call-overload,no-any-return]
            [self.program, "-n", "live", *words],
            env=self.env, capture_output=True, text=True, timeout=90, check=False, **options,
        )  # fmt: skip

    def __call__(self, *words: str, **options: object) -> str:
        done = self.run(*words, **options)
        assert done.returncode == 0, f"kubectl {' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    def start(self, *words: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [self.program, "-n", "live", *words], env=self.env, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip


def lines_until(process: "subprocess.Popen[str]", wanted: set[str]) -> list[str]:
    """Lines of its output until each of `wanted` was part of one."""
    assert process.stdout is not None
    seen: list[str] = []
    for line in process.stdout:
        seen.append(line.rstrip())
        if all(any(part in one for one in seen) for part in wanted):
            return seen
    raise AssertionError(f"it ended without {wanted}: {seen}")


@pytest.fixture(scope="module")
def kubectl(
    wherry_shared_cluster: RunningWherry, busybox_archive: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Kubectl]:
    loaded = wherry_shared_cluster.run("docker", "load", "-i", str(busybox_archive))
    assert loaded.returncode == 0, loaded.stderr
    kubectl = Kubectl(wherry_shared_cluster, tmp_path_factory.mktemp("home"))
    kubectl("create", "namespace", "live")
    wait_until(lambda: kubectl.run("get", "sa", "default").returncode == 0, "the namespace has its account")
    kubectl("apply", "-f", "-", input=MANIFEST)
    kubectl("rollout", "status", "deployment/talk", "--timeout=60s")
    kubectl("wait", "--for=condition=Ready", "pod/echo", "--timeout=60s")
    yield kubectl
    kubectl("delete", "namespace", "live", "--timeout=60s")


def pods(kubectl: Kubectl) -> set[str]:
    return set(kubectl("get", "pods", "-l", "app=talk", "-o", "jsonpath={.items[*].metadata.name}").split())


def test_logs_of_several_pods_are_followed(kubectl: Kubectl) -> None:
    names = pods(kubectl)
    assert len(names) == 2
    wanted = {f"[pod/{name}/say] begun" for name in names}
    assert set(kubectl("logs", "-l", "app=talk", "--prefix").splitlines()) == wanted
    following = kubectl.start("logs", "-f", "-l", "app=talk", "--prefix")
    lines_until(following, wanted)
    for name in names:
        kubectl("exec", name, "--", "sh", "-c", "echo later > /proc/1/fd/1")
    lines_until(following, {f"[pod/{name}/say] later" for name in names})
    following.send_signal(signal.SIGINT)
    following.communicate(timeout=30)
    assert following.returncode in (1, 130)
    refused = kubectl.run("logs", "-f", "-l", "app=talk", "--max-log-requests=1")
    assert refused.returncode == 1
    assert "you are attempting to follow 2 log streams, but maximum allowed concurrency is 1" in refused.stderr
    assert kubectl("logs", "deployment/talk", "--tail=1").strip() in ("begun", "later")


def test_attach_reads_and_writes(kubectl: Kubectl) -> None:
    attached = kubectl.start("attach", "echo", "-i", "-q")
    assert attached.stdin is not None
    attached.stdin.write("hello\n")
    attached.stdin.flush()
    assert lines_until(attached, {"got hello"})
    attached.send_signal(signal.SIGINT)
    attached.communicate(timeout=30)
    assert kubectl("get", "pod", "echo", "-o", "jsonpath={.status.phase}") == "Running"
    assert "got hello" in kubectl("logs", "echo")
    assert 'pods "nope" not found' in kubectl.run("attach", "nope").stderr


def test_ports_are_forwarded(kubectl: Kubectl) -> None:
    for target in ("service/talk", "deployment/talk"):
        forward = kubectl.start("port-forward", target, ":80" if target.startswith("service") else ":8080")
        (line,) = [one for one in lines_until(forward, {"Forwarding from 127.0.0.1:"}) if "127.0.0.1" in one]
        port = line.partition("127.0.0.1:")[2].partition(" ")[0]
        for _ in range(3):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as answer:
                assert answer.read() == b"page\n"
        forward.send_signal(signal.SIGINT)
        forward.communicate(timeout=30)


def test_files_are_copied(kubectl: Kubectl, tmp_path: Path) -> None:
    name = min(pods(kubectl))
    data = os.urandom(3_000_000)
    (tmp_path / "big").write_bytes(data)
    kubectl("cp", str(tmp_path / "big"), f"{name}:/tmp/big")
    kubectl("cp", f"{name}:/tmp/big", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == data
    missing = kubectl.run("cp", f"{name}:/nope", str(tmp_path / "nope"))
    assert missing.returncode == 1
    assert "No such file or directory" in missing.stderr
    assert "is not recognized as a" in kubectl.run("cp", "a", "b").stderr or kubectl.run("cp", "a", "b").returncode == 1


def test_rollouts(kubectl: Kubectl) -> None:
    before = pods(kubectl)
    kubectl("set", "env", "deployment/talk", "ROUND=2")
    following = kubectl.run("rollout", "status", "deployment/talk", "--timeout=60s")
    assert following.stdout.endswith('deployment "talk" successfully rolled out\n')
    wait_until(lambda: not pods(kubectl) & before, "the old pods are gone")
    kubectl("annotate", "deployment/talk", "kubernetes.io/change-cause=round two")
    history = kubectl("rollout", "history", "deployment/talk").splitlines()
    assert [line.split() for line in history[1:] if line] == [
        ["REVISION", "CHANGE-CAUSE"],
        ["1", "<none>"],
        ["2", "round", "two"],
    ]
    assert "ROUND:\t2" in kubectl("rollout", "history", "deployment/talk", "--revision=2")
    kubectl("rollout", "pause", "deployment/talk")
    assert "already paused" in kubectl.run("rollout", "pause", "deployment/talk").stderr
    kubectl("rollout", "resume", "deployment/talk")
    assert kubectl("rollout", "undo", "deployment/talk") == "deployment.apps/talk rolled back\n"
    kubectl("rollout", "status", "deployment/talk", "--timeout=60s")
    assert kubectl("set", "env", "deployment/talk", "--list") == "# Deployment talk, container say\n"
    assert kubectl("rollout", "restart", "deployment/talk") == "deployment.apps/talk restarted\n"
    kubectl("rollout", "status", "deployment/talk", "--timeout=60s")
    assert (
        "unable to find specified revision 9"
        in kubectl.run("rollout", "undo", "deployment/talk", "--to-revision=9").stderr
    )


def test_top_shows_what_is_used(kubectl: Kubectl) -> None:
    wait_until(lambda: kubectl.run("top", "pods").returncode == 0, "the pods are measured", 60)
    wait_until(lambda: all(name in kubectl("top", "pods") for name in pods(kubectl)), "each of them is", 60)
    table = [line.split() for line in kubectl("top", "pods", "-l", "app=talk").splitlines()]
    assert table[0] == ["NAME", "CPU(cores)", "MEMORY(bytes)"]
    assert {row[0] for row in table[1:]} == pods(kubectl)
    assert all(row[1].endswith("m") and row[2].endswith("Mi") for row in table[1:])
    assert kubectl("top", "pods", "-l", "app=talk", "--containers").split()[:4] == ["POD", "NAME", "CPU(cores)",
                                                                                  "MEMORY(bytes)"]  # fmt: skip
    node = kubectl("top", "nodes").splitlines()
    assert node[0].split() == ["NAME", "CPU(cores)", "CPU(%)", "MEMORY(bytes)", "MEMORY(%)"]
    assert len(node) == 2
    assert 'nope" not found' in kubectl.run("top", "pod", "nope").stderr


def test_a_node_is_drained(kubectl: Kubectl) -> None:
    node = kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
    selector = ("--pod-selector", "app in (talk,echo)")
    try:
        refused = kubectl.run("drain", node, *selector)
        assert refused.returncode == 1
        assert "cannot delete" in refused.stderr
        assert "live/echo" in refused.stderr
        assert "SchedulingDisabled" in kubectl("get", "nodes")
        drained = kubectl("drain", node, *selector, "--force", "--timeout=60s")
        assert f"node/{node} drained" in drained
        assert "pod/echo evicted" in drained
        assert not [one for one in pods(kubectl) if f"pod/{one} evicted" in drained]
        pending = kubectl("get", "pods", "-l", "app=talk", "--field-selector=status.phase=Pending", "-o", "name")
        assert len(pending.split()) == 2
    finally:
        assert kubectl("uncordon", node) == f"node/{node} uncordoned\n"
    kubectl("rollout", "status", "deployment/talk", "--timeout=60s")


@pytest.mark.parametrize("script", ["echo said; exit 4", "sleep 0.7; echo said; exit 4", "cat; echo said; exit 4"])
def test_a_pod_that_is_run_once_ends_as_its_command(kubectl: Kubectl, script: str) -> None:
    """However quick it is, and with nothing on standard input: all of its output, and its exit code."""
    for round_ in range(3):
        done = kubectl.run(
            *("run", f"once-{round_}", "--image=busybox", "--image-pull-policy=IfNotPresent", "--restart=Never"),
            *("--rm", "-i", "--quiet", "--", "sh", "-c", script),
            stdin=subprocess.DEVNULL,
        )
        assert (done.returncode, done.stdout) == (4, "said\n"), done.stderr
    assert kubectl("get", "pods", "-l", "run", "-o", "name") == ""

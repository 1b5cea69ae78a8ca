"""What a user does with pods through the real kubectl: run, attach, exec, cp, port-forward, logs, debug, drain, resize;
static pods, image volumes, volumes for users that are not root, pull secrets and metrics."""

import asyncio
import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from registries import PASSWORD, USER, registry
from waiting import wait_until

from wherry.testing.plugin import RunningWherry

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]

NAMESPACE = "users"
LOOP = "trap 'exit 0' TERM; while :; do sleep 0.1; done"


class User:
    """Somebody with kubectl, in a namespace of their own."""

    def __init__(self, machine: RunningWherry) -> None:
        self.machine = machine
        self.env = {**os.environ, **machine.env}

    def try_(self, *arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
        options.setdefault("timeout", 60)
        return self.machine.run("kubectl", "-n", NAMESPACE, *arguments, **options)

    def __call__(self, *arguments: str, **options: Any) -> str:
        done = self.try_(*arguments, **options)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def pod(self, name: str, command: str = LOOP, *, container: Any = (), **spec: Any) -> None:
        main = {"name": "c", "image": "busybox", "imagePullPolicy": "Never", "command": ["sh", "-c", command]}
        body = {"terminationGracePeriodSeconds": 1, "containers": [main | dict(container)], **spec}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": body}
        self("create", "-f", "-", input=json.dumps(pod))

    def get(self, what: str, name: str) -> dict[str, Any]:
        found = self.try_("get", what, name, "-o", "json")
        return dict(json.loads(found.stdout)) if found.returncode == 0 else {}

    def until(self, name: str, condition: Callable[[dict[str, Any]], Any], what: str = "") -> Any:
        return wait_until(lambda: condition(self.get("pod", name).get("status") or {}), f"pod {name} {what}", 60)

    def ready(self, name: str) -> None:
        self("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=60s", timeout=70)


@pytest.fixture(scope="module")
def user(wherry_shared_cluster: RunningWherry, busybox_archive: Path) -> Iterator[User]:
    machine = wherry_shared_cluster
    assert machine.run("docker", "load", "-q", "-i", str(busybox_archive)).returncode == 0
    assert machine.run("kubectl", "create", "namespace", NAMESPACE).returncode == 0
    yield User(machine)
    assert machine.run("kubectl", "delete", "namespace", NAMESPACE, "--wait=true", timeout=90).returncode == 0


def test_what_a_short_command_says_and_returns_is_never_lost(user: User) -> None:
    for number in range(4):
        run = ("run", "--image=busybox", "--image-pull-policy=Never", "--restart=Never", "-i", "--rm", "--quiet")
        said = user(*run, f"say-{number}", "--", "echo", "hello", input="")
        assert said.splitlines()[-1] == "hello"
        assert user(*run, f"pipe-{number}", "--", "cat", input="through\n").splitlines()[-1] == "through"
        failed = user.try_(*run, f"fail-{number}", "--", "sh", "-c", "exit 3", input="")
        assert failed.returncode == 3, failed.stderr


def test_exec_attach_and_logs_at_a_containers_beginning_and_end(user: User) -> None:
    user.pod("short", "echo begun; sleep 0.3; exit 1")
    for _ in range(10):
        for words in (("exec", "short", "--", "echo", "in"), ("attach", "short"), ("logs", "-f", "short")):
            # Whatever the container does just now: an answer comes, and one that says why.
            done = user.try_(*words, input="", timeout=30)
            assert done.returncode == 0 or done.stderr.strip() not in ("", "Error from server:"), (words, done)
    user.until(
        "short", lambda status: "lastState" in json.dumps(status) and status["containerStatuses"][0]["restartCount"]
    )
    assert "begun" in user("logs", "--previous", "-f", "short", timeout=30)


def test_a_container_that_does_not_run_is_refused_with_the_reason(user: User) -> None:
    user.pod("ended", "exit 0", restartPolicy="OnFailure")
    user.until("ended", lambda status: status.get("phase") == "Succeeded")
    refused = user.try_("exec", "ended", "--", "true")
    assert "cannot exec into a container in a completed pod; current phase is Succeeded" in refused.stderr
    user.pod("crashing", "exit 1")
    user.until("crashing", lambda status: "CrashLoopBackOff" in json.dumps(status), "waits")
    refused = user.try_("exec", "crashing", "--", "true")
    assert refused.stderr == (
        'error: Internal error occurred: unable to upgrade connection: container not found ("c")\n'
    )
    plain = user.try_("get", "--raw", f"/api/v1/namespaces/{NAMESPACE}/pods/crashing/exec?command=ls&stdout=true")
    assert "Upgrade request required" in plain.stderr


def test_files_and_connections_go_both_ways(user: User, tmp_path: Path) -> None:
    serve = "mkdir -p /www && echo served > /www/index.html && httpd -f -p 8080 -h /www"
    user.pod("server", serve, container={"ports": [{"containerPort": 8080}]})
    user.ready("server")
    folder = tmp_path / "there" / "below"
    folder.mkdir(parents=True)
    (folder / "data").write_bytes(os.urandom(300_000))
    user("cp", str(tmp_path / "there"), "server:/tmp/there")
    user("cp", "server:/tmp/there", str(tmp_path / "back"))
    assert (tmp_path / "back" / "below" / "data").read_bytes() == (folder / "data").read_bytes()
    forward = subprocess.Popen(
        ["kubectl", "-n", NAMESPACE, "port-forward", "server", ":8080"],
        env=user.env, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert forward.stdout is not None
        port = int(forward.stdout.readline().split("127.0.0.1:")[1].split()[0])
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
                connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
                answer = b""
                while data := connection.recv(4096):
                    answer += data
            assert answer.endswith(b"served\n")
    finally:
        forward.terminate()
        forward.wait(20)


def test_debugging_a_pod_and_a_copy_of_it(user: User) -> None:
    user.pod("patient", "exec sleep 1000")
    user.ready("patient")
    debug = ("debug", "patient", "--image=busybox", "--image-pull-policy=Never", "--profile=general", "-i")
    look = "until ps | grep -q 'sleep 100[0]'; do sleep 0.1; done; echo it is there"
    assert "it is there" in user(*debug, "--target=c", "--", "sh", "-c", look, input="")
    names = [one["name"] for one in user.get("pod", "patient")["spec"]["ephemeralContainers"]]
    assert len(names) == 1
    copied = user(*debug, "--copy-to=copy", "--share-processes", "--", "sh", "-c", look, input="")
    assert "it is there" in copied


def test_cpu_and_memory_change_without_a_restart(user: User) -> None:
    resources = {"requests": {"cpu": "50m", "memory": "16Mi"}, "limits": {"cpu": "100m", "memory": "32Mi"}}
    policy = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
    user.pod("grows", container={"resources": resources, "resizePolicy": policy})
    user.ready("grows")

    def resize(resources: dict[str, Any]) -> None:
        patch = {"spec": {"containers": [{"name": "c", "resources": resources}]}}
        user("patch", "pod", "grows", "--subresource=resize", "-p", json.dumps(patch))

    def own(status: dict[str, Any]) -> dict[str, Any]:
        return dict((status.get("containerStatuses") or [{}])[0])

    resize({"limits": {"cpu": "200m"}})
    user.until("grows", lambda status: own(status).get("resources", {}).get("limits", {}).get("cpu") == "200m")
    quota = "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || cut -d' ' -f1 /sys/fs/cgroup/cpu.max"
    assert user("exec", "grows", "--", "sh", "-c", quota).strip() == "20000"
    assert own(user.get("pod", "grows")["status"])["restartCount"] == 0
    resize({"limits": {"memory": "48Mi"}})
    user.until("grows", lambda status: own(status).get("restartCount") == 1 and own(status).get("ready"))
    assert own(user.get("pod", "grows")["status"])["resources"]["limits"]["memory"] == "48Mi"
    resize({"requests": {"cpu": "900"}, "limits": {"cpu": "900"}})

    def pending(status: dict[str, Any]) -> Any:
        return next((one for one in status["conditions"] if one["type"] == "PodResizePending"), None)

    condition = user.until("grows", pending)
    assert condition["reason"] == "Infeasible"
    assert condition["message"].startswith("Node didn't have enough capacity: cpu, requested: 900000, capacity: ")


def test_static_pods_follow_their_files(user: User) -> None:
    folder = user.machine.instance.root / "manifests"
    node = user("get", "nodes", "-o", "name").strip().removeprefix("node/")
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "fixed", "namespace": NAMESPACE},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [
                {"name": "c", "image": "busybox", "imagePullPolicy": "Never", "command": ["sh", "-c", LOOP]}
            ],
        },
    }
    name = f"fixed-{node}"
    path = folder / "fixed.yaml"
    path.write_text(json.dumps(manifest))
    try:
        wait_until(lambda: user.get("pod", name), "the mirror", 30)
        user.ready(name)
        first = user.get("pod", name)
        container = first["status"]["containerStatuses"][0]["containerID"]
        assert first["metadata"]["ownerReferences"][0]["kind"] == "Node"
        user("delete", "pod", name, "--grace-period=0", "--force", "--wait=false")

        def mirrored_anew() -> bool:
            found = user.get("pod", name)
            statuses = found.get("status", {}).get("containerStatuses") or []
            known = [one.get("containerID") for one in statuses]
            return bool(found) and found["metadata"]["uid"] != first["metadata"]["uid"] and known == [container]

        wait_until(mirrored_anew, "another mirror of the same pod", 30)
    finally:
        path.unlink()
    wait_until(lambda: not user.get("pod", name), "the static pod goes", 30)


def test_an_image_is_a_volume(user: User) -> None:
    volume = {"name": "image", "image": {"reference": "busybox", "pullPolicy": "Never"}}
    mounts = [
        {"name": "image", "mountPath": "/whole"},
        {"name": "image", "mountPath": "/part", "subPath": "bin"},
    ]
    user.pod("imaged", container={"volumeMounts": mounts}, volumes=[volume])
    user.ready("imaged")
    assert user("exec", "imaged", "--", "ls", "/whole/bin/busybox", "/part/busybox")
    assert "Read-only file system" in user.try_("exec", "imaged", "--", "touch", "/whole/x").stderr
    volume = {"name": "image", "image": {"reference": "no-such-image", "pullPolicy": "Never"}}
    user.pod("unimaged", container={"volumeMounts": mounts[:1]}, volumes=[volume])
    user.until("unimaged", lambda status: "ErrImageNeverPull" in json.dumps(status), "waits for its volume's image")


def test_who_is_not_root_can_use_the_volumes_and_sysctls(user: User) -> None:
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    volumes = [
        {"name": "empty", "emptyDir": {}},
        {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": "claim", "ephemeral": {"volumeClaimTemplate": {"spec": claim}}},
    ]
    mounts = [{"name": one["name"], "mountPath": f"/{one['name']}"} for one in volumes]
    sysctls = [
        {"name": "net.ipv4.ip_unprivileged_port_start", "value": "80"},
        {"name": "kernel.shm_rmid_forced", "value": "1"},
    ]
    context = {"runAsUser": 1000, "runAsGroup": 3000, "fsGroup": 2000, "sysctls": sysctls}
    user.pod("other", container={"volumeMounts": mounts}, volumes=volumes, securityContext=context)
    user.ready("other")
    check = "for d in empty memory claim; do touch /$d/x && stat -c %g /$d/x; done; " \
            "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shm_rmid_forced"  # fmt: skip
    assert user("exec", "other", "--", "sh", "-c", check).split() == ["2000", "2000", "2000", "80", "1"]
    bad = {"sysctls": [{"name": "kernel.msgmax", "value": "65536"}]}
    user.pod("forbidden", securityContext=bad)
    status = user.until("forbidden", lambda status: status if status.get("phase") == "Failed" else None)
    assert status["reason"] == "SysctlForbidden"
    assert status["message"] == 'Pod was rejected: forbidden sysctl: "kernel.msgmax" not allowlisted'


def test_a_pull_secret_opens_a_private_registry(user: User, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with registry(tmp_path / "registry", auth="basic") as private:
            image = f"{private.address}/private/busybox:1"
            await asyncio.to_thread(_push, user, private.address, image)
            for name, secrets in (("with-secret", [{"name": "login"}]), ("without", [])):
                container = {"image": image, "imagePullPolicy": "Always"}
                user.pod(name, container=container, imagePullSecrets=secrets)
            await asyncio.to_thread(user.ready, "with-secret")
            await asyncio.to_thread(
                user.until,
                "without",
                lambda status: "ErrImagePull" in json.dumps(status) or "BackOff" in json.dumps(status),
            )
            await asyncio.to_thread(user, "delete", "pod", "with-secret", "without", "--now")

    asyncio.run(scenario())


def _push(user: User, address: str, image: str) -> None:
    run = user.machine.run
    assert run("docker", "tag", "busybox", image).returncode == 0
    login = run("docker", "login", address, "-u", USER, "--password-stdin", input=PASSWORD)
    assert login.returncode == 0, login.stderr
    try:
        pushed = run("docker", "push", "-q", image, timeout=60)
        assert pushed.returncode == 0, pushed.stderr
    finally:
        run("docker", "logout", address)
    assert run("docker", "rmi", image).returncode == 0
    user(
        "create", "secret", "docker-registry", "login",
        f"--docker-server={address}", f"--docker-username={USER}", f"--docker-password={PASSWORD}",
    )  # fmt: skip


def test_the_node_tells_its_metrics(user: User) -> None:
    user.pod("measured", container={"readinessProbe": {"exec": {"command": ["true"]}}})
    user.ready("measured")
    node = user("get", "nodes", "-o", "name").strip().removeprefix("node/")
    for path, wanted in (
        ("metrics", "kubelet_running_pods "),
        ("metrics/resource", f'pod_memory_working_set_bytes{{namespace="{NAMESPACE}",pod="measured"}}'),
        ("metrics/cadvisor", 'container_network_receive_bytes_total{id="'),
        ("metrics/probes", 'pod="measured",pod_uid="'),
    ):
        text = user("get", "--raw", f"/api/v1/nodes/{node}/proxy/{path}")
        assert wanted in text, path
    assert "measured" in wait_until(lambda: user.try_("top", "pod", "measured").stdout, "kubectl top has data", 60)


def test_draining_respects_budgets_and_gives_the_node_back(user: User) -> None:
    node = user("get", "nodes", "-o", "name").strip()
    user("create", "deployment", "kept", "--image=busybox", "--", "sh", "-c", LOOP)
    patch = {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 1, "containers": [
        {"name": "busybox", "imagePullPolicy": "Never"}]}}}}  # fmt: skip
    user("patch", "deployment", "kept", "-p", json.dumps(patch))
    user("rollout", "status", "deployment", "kept", "--timeout=60s", timeout=70)
    user("create", "pdb", "kept", "--selector=app=kept", "--min-available=1")
    wait_until(lambda: user.get("pdb", "kept").get("status", {}).get("currentHealthy") == 1, "the budget counts", 30)
    only = ("--pod-selector=app=kept", "--delete-emptydir-data", "--force")
    try:
        refused = user.try_("drain", node, *only, "--timeout=3s")
        assert refused.returncode == 1
        assert "Cannot evict pod as it would violate the pod's disruption budget." in refused.stderr
        user("delete", "pdb", "kept")
        drained = user("drain", node, *only, "--timeout=60s", timeout=70)
        assert "drained" in drained
        assert user.get("node", node.removeprefix("node/"))["spec"]["unschedulable"]
    finally:
        user("uncordon", node)
    user("rollout", "status", "deployment", "kept", "--timeout=60s", timeout=70)

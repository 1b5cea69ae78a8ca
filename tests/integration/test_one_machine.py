"""The main line, as a user walks it with the real clients: build an image, run it, serve it from a Deployment.

One instance for the whole module; every test leaves it as it was found.
"""

import json
import os
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until

from wherry.cli.state import read_state
from wherry.testing.instances import wherry
from wherry.testing.plugin import RunningWherry

pytestmark = [pytest.mark.root]

DOCKERFILE = """\
FROM busybox
WORKDIR /www
ENV GREETING=hello
COPY index.html .
RUN echo "$GREETING, built" > built.txt
EXPOSE 8080
CMD ["sh", "-c", "hostname > host.txt; exec httpd -f -p 8080"]
"""

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 3
  selector:
    matchLabels: {app: web}
  template:
    metadata:
      labels: {app: web}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: web-app
        imagePullPolicy: IfNotPresent
        ports: [{containerPort: 8080}]
---
apiVersion: v1
kind: Service
metadata:
  name: web
spec:
  type: NodePort
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
"""


def fetch(url: str, timeout: float = 2.0) -> str:
    """The body of a page; empty when nobody answers (yet)."""
    try:
        with urllib.request.urlopen(url, timeout=timeout) as response:
            return str(response.read().decode().strip())
    except (OSError, urllib.error.URLError):
        return ""


def ok(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 0, f"{result.args}: exit code {result.returncode}\n{result.stdout}{result.stderr}"
    return result.stdout.strip()


@pytest.fixture(scope="module")
def machine(
    wherry_shared_cluster: RunningWherry, busybox_archive: Path, tmp_path_factory: Any
) -> Iterator[RunningWherry]:
    """A running instance that has the images busybox and web-app."""
    running = wherry_shared_cluster
    ok(running.run("docker", "load", "-i", str(busybox_archive)))
    context = tmp_path_factory.mktemp("web-app")
    (context / "Dockerfile").write_text(DOCKERFILE)
    (context / "index.html").write_text("Hello from the image")
    ok(running.run("docker", "build", "-t", "web-app", str(context)))
    yield running


def kubectl_json(machine: RunningWherry, *arguments: str) -> Any:
    return json.loads(ok(machine.run("kubectl", *arguments, "-o", "json")))


@pytest.fixture(scope="module")
def web(machine: RunningWherry, tmp_path_factory: Any) -> Iterator[RunningWherry]:
    manifest = tmp_path_factory.mktemp("web") / "web.yaml"
    manifest.write_text(DEPLOYMENT)
    ok(machine.run("kubectl", "apply", "-f", str(manifest)))
    ok(machine.run("kubectl", "rollout", "status", "deployment/web", "--timeout=60s", timeout=90))
    yield machine
    ok(machine.run("kubectl", "delete", "-f", str(manifest), "--wait=true"))
    wait_until(lambda: not pods(machine), "the pods of the deleted Deployment go")


def pods(machine: RunningWherry) -> list[dict[str, Any]]:
    return list(kubectl_json(machine, "get", "pods", "-l", "app=web")["items"])


def is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions) and not pod["metadata"].get(
        "deletionTimestamp"
    )


def test_up_again_changes_nothing(machine: RunningWherry) -> None:
    before = [p.pid for p in read_state(machine.instance).processes]
    again = wherry(machine.instance, "up")
    assert "already running" in ok(again)
    assert [p.pid for p in read_state(machine.instance).processes] == before


def test_status_and_doctor_are_content(machine: RunningWherry) -> None:
    status = ok(wherry(machine.instance, "status"))
    assert "wherry-node" in status
    assert "Problem" not in status
    ok(wherry(machine.instance, "doctor"))


def test_version_names_client_and_server(machine: RunningWherry) -> None:
    out = ok(machine.run("docker", "version"))
    assert "Server" in out
    assert "Wherry" in out
    assert machine.instance.root.as_posix() in ok(machine.run("docker", "info"))


def test_a_second_build_uses_the_cache(machine: RunningWherry, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    (tmp_path / "index.html").write_text("Hello from the image")
    built = machine.run("docker", "build", "-t", "web-app", str(tmp_path))
    # Docker's client without BuildKit tells each step, Wherry's shows those that make layers.
    assert ok(built).count("Using cache") == 6 or built.stderr.count(" CACHED") == 3


def test_run_in_the_foreground(machine: RunningWherry) -> None:
    assert ok(machine.run("docker", "run", "--rm", "web-app", "cat", "built.txt")) == "hello, built"
    assert machine.run("docker", "run", "--rm", "busybox", "sh", "-c", "exit 7").returncode == 7
    assert ok(machine.run("docker", "run", "--rm", "-i", "busybox", "wc", "-c", input="12345")) == "5"
    both = machine.run("docker", "run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2")
    assert (both.stdout, both.stderr) == ("out\n", "err\n")


def test_a_published_port_answers_everywhere(machine: RunningWherry) -> None:
    ok(machine.run("docker", "run", "-d", "--name", "site", "-p", "18080:8080", "web-app"))
    try:
        assert wait_until(lambda: fetch("http://127.0.0.1:18080/index.html"), "the port on 127.0.0.1") == (
            "Hello from the image"
        )
        own = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=True).stdout.split()[0]
        assert fetch(f"http://{own}:18080/index.html") == "Hello from the image"
        taken = machine.run("docker", "run", "-d", "--name", "second", "-p", "18080:8080", "web-app")
        assert taken.returncode == 125
        assert "port is already allocated" in taken.stderr
        assert "0.0.0.0:18080->8080/tcp" in ok(machine.run("docker", "ps"))
    finally:
        machine.run("docker", "rm", "-f", "site", "second")
    assert fetch("http://127.0.0.1:18080/") == ""


def test_containers_find_each_other_by_name(machine: RunningWherry) -> None:
    ok(machine.run("docker", "network", "create", "shop"))
    try:
        ok(machine.run("docker", "run", "-d", "--name", "backend", "--network", "shop", "web-app"))
        page = wait_until(
            lambda: (
                machine.run(
                    "docker",
                    "run",
                    "--rm",
                    "--network",
                    "shop",
                    "busybox",
                    "wget",
                    "-qO-",
                    "http://backend:8080/index.html",
                ).stdout
            ),
            "the backend answers by name",
        )
        assert page == "Hello from the image"
    finally:
        machine.run("docker", "rm", "-f", "backend")
        ok(machine.run("docker", "network", "rm", "shop"))


def test_stop_start_and_remove(machine: RunningWherry) -> None:
    ok(
        machine.run(
            "docker",
            "run",
            "-d",
            "--name",
            "life",
            "busybox",
            "sh",
            "-c",
            "trap 'exit 3' TERM; while :; do sleep 0.1; done",
        )
    )
    try:
        assert ok(machine.run("docker", "exec", "life", "echo", "inside")) == "inside"
        ok(machine.run("docker", "stop", "life"))
        assert ok(machine.run("docker", "inspect", "-f", "{{.State.ExitCode}}", "life")) == "3"
        ok(machine.run("docker", "start", "life"))
        assert machine.run("docker", "rm", "life").returncode == 1
    finally:
        ok(machine.run("docker", "rm", "-f", "life"))
    assert "life" not in ok(machine.run("docker", "ps", "-a"))


def test_stop_kills_after_the_timeout(machine: RunningWherry) -> None:
    ok(
        machine.run(
            "docker", "run", "-d", "--name", "deaf", "busybox", "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"
        )
    )
    try:
        ok(machine.run("docker", "stop", "-t", "1", "deaf"))
        assert ok(machine.run("docker", "inspect", "-f", "{{.State.ExitCode}}", "deaf")) == "137"
    finally:
        machine.run("docker", "rm", "-f", "deaf")


def test_bad_input_to_docker(machine: RunningWherry, tmp_path: Path) -> None:
    taken = ok(machine.run("docker", "create", "--name", "taken", "busybox"))
    try:
        again = machine.run("docker", "create", "--name", "taken", "busybox")
        assert "Conflict. The container name" in again.stderr
        assert taken in again.stderr
    finally:
        ok(machine.run("docker", "rm", "taken"))
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUNN echo\n")
    broken = machine.run("docker", "build", str(tmp_path))
    assert broken.returncode == 1
    assert "dockerfile parse error" in broken.stderr
    assert "line 2" in broken.stderr
    assert machine.run("docker", "run", "--rm", "busybox", "nosuchcommand").returncode == 127
    assert machine.run("docker", "run", "--rm", "--restart", "sometimes", "busybox").returncode == 125


def test_the_node_is_ready(machine: RunningWherry) -> None:
    out = ok(machine.run("kubectl", "get", "nodes"))
    assert out.splitlines()[0].split() == ["NAME", "STATUS", "ROLES", "AGE", "VERSION"]
    assert out.splitlines()[1].split()[1] == "Ready"


def test_a_deployment_of_the_image_just_built(web: RunningWherry) -> None:
    assert len([pod for pod in pods(web) if is_ready(pod)]) == 3
    table = ok(web.run("kubectl", "get", "deployments"))
    assert table.splitlines()[0].split() == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    assert table.splitlines()[1].split()[:4] == ["web", "3/3", "3", "3"]
    described = ok(web.run("kubectl", "describe", "deployment", "web"))
    assert "Scaled up replica set" in described
    name = pods(web)[0]["metadata"]["name"]
    assert "Started" in ok(web.run("kubectl", "describe", "pod", name))
    assert ok(web.run("kubectl", "exec", name, "--", "cat", "built.txt")) == "hello, built"


def test_the_service_spreads_requests(web: RunningWherry) -> None:
    service = kubectl_json(web, "get", "service", "web")
    address, node_port = service["spec"]["clusterIP"], service["spec"]["ports"][0]["nodePort"]
    names = {pod["metadata"]["name"] for pod in pods(web)}
    wait_until(lambda: fetch(f"http://{address}/host.txt"), "the cluster IP answers")
    assert {fetch(f"http://{address}/host.txt") for _ in range(60)} == names
    assert fetch(f"http://127.0.0.1:{node_port}/index.html") == "Hello from the image"
    asked = web.run(
        "kubectl", "run", "ask", "--image=busybox", "--image-pull-policy=IfNotPresent", "--restart=Never", "--rm", "-i",
        "--command", "--", "wget", "-qO-", "http://web.default.svc.cluster.local/index.html",
    )  # fmt: skip
    assert "Hello from the image" in ok(asked)


def test_a_killed_container_and_a_deleted_pod_come_back(web: RunningWherry) -> None:
    victim = pods(web)[0]
    container = victim["status"]["containerStatuses"][0]["containerID"].rpartition("/")[2]
    ok(web.run("docker", "kill", container))
    uid = victim["metadata"]["uid"]
    wait_until(
        lambda: any(
            pod["metadata"]["uid"] == uid
            and pod["status"]["containerStatuses"][0]["restartCount"] == 1
            and is_ready(pod)
            for pod in pods(web)
        ),
        "the killed container is restarted",
    )
    ok(web.run("kubectl", "delete", "pod", victim["metadata"]["name"]))
    wait_until(lambda: len([pod for pod in pods(web) if is_ready(pod)]) == 3, "the deleted pod is replaced")
    assert uid not in {pod["metadata"]["uid"] for pod in pods(web)}


def test_scale_to_five(web: RunningWherry) -> None:
    ok(web.run("kubectl", "scale", "deployment", "web", "--replicas=5"))
    wait_until(lambda: len([pod for pod in pods(web) if is_ready(pod)]) == 5, "five pods are ready")
    ok(web.run("kubectl", "scale", "deployment", "web", "--replicas=3"))
    wait_until(lambda: len(pods(web)) == 3, "three pods are left")


def test_bad_input_to_kubectl(machine: RunningWherry, tmp_path: Path) -> None:
    def apply(text: str) -> str:
        manifest = tmp_path / "bad.yaml"
        manifest.write_text(text)
        result = machine.run("kubectl", "apply", "-f", str(manifest))
        assert result.returncode == 1
        return result.stderr

    assert "error converting YAML to JSON" in apply("a: [")
    assert 'no matches for kind "Gadget" in version "v1"' in apply(
        "apiVersion: v1\nkind: Gadget\nmetadata: {name: a}\n"
    )
    assert 'unknown field "spec.colour"' in apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {colour: red, containers: [{name: a, image: b}]}\n"
    )
    assert "a lowercase RFC 1123 subdomain must consist of" in apply(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: Not_A_Name}\n"
    )
    assert "spec.containers[0].image: Required value" in apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a}]}\n"
    )
    assert 'pods "nosuch" not found' in machine.run("kubectl", "get", "pod", "nosuch").stderr


@pytest.mark.parametrize("name", ["wherry-node", "wherry-server"])
def test_a_killed_process_loses_nothing(web: RunningWherry, name: str) -> None:
    run = ("docker", "run", "-d", "--name")
    ok(web.run(*run, "stays", "busybox", "sh", "-c", "i=0; while :; do echo line $i; i=$((i+1)); sleep 0.2; done"))
    ok(web.run(*run, "ends", "busybox", "sh", "-c", "while [ ! -e /stop ]; do sleep 0.05; done; exit 5"))
    try:
        started = {pod["metadata"]["uid"]: pod["status"]["containerStatuses"][0]["containerID"] for pod in pods(web)}
        pid = int(ok(web.run("docker", "inspect", "-f", "{{.State.Pid}}", "ends")))
        process = read_state(web.instance).process(name)
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        Path(f"/proc/{pid}/root/stop").touch()  # ends while nobody watches
        wait_until(
            lambda: (
                (p := read_state(web.instance).process(name)) and p.pid != process.pid and p.ready_after is not None
            ),
            f"{name} is back",
        )
        wait_until(
            lambda: (
                web.run("docker", "inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "ends").stdout.strip()
                == "exited 5"
            ),
            "the exit code of what ended meanwhile",
        )
        assert ok(web.run("docker", "inspect", "-f", "{{.State.Status}}", "stays")) == "running"
        lines = ok(web.run("docker", "logs", "stays")).splitlines()
        assert lines[:2] == ["line 0", "line 1"]
        wait_until(lambda: len(ok(web.run("docker", "logs", "stays")).splitlines()) > len(lines), "the log goes on")
        wait_until(lambda: len([pod for pod in pods(web) if is_ready(pod)]) == 3, "the pods are ready")
        assert {
            pod["metadata"]["uid"]: pod["status"]["containerStatuses"][0]["containerID"] for pod in pods(web)
        } == started
    finally:
        web.run("docker", "rm", "-f", "stays", "ends")


def test_down_leaves_containers_running_and_up_finds_them(wherry_cluster: RunningWherry, busybox_archive: Path) -> None:
    own = wherry_cluster
    ok(own.run("docker", "load", "-i", str(busybox_archive)))
    ok(own.run("docker", "run", "-d", "--name", "stays", "busybox", "sleep", "1000"))
    pid = int(ok(own.run("docker", "inspect", "-f", "{{.State.Pid}}", "stays")))
    ok(wherry(own.instance, "down"))
    assert wherry(own.instance, "status").returncode == 3
    assert Path(f"/proc/{pid}").exists()
    ok(wherry(own.instance, "up"))
    assert ok(own.run("docker", "inspect", "-f", "{{.State.Pid}}", "stays")) == str(pid)
    ok(wherry(own.instance, "down", "--containers"))
    assert not Path(f"/proc/{pid}").exists()
    ok(wherry(own.instance, "up"))

"""All commands of the guide, as typed, with only Wherry's programs on PATH: no other docker or kubectl is to be found.

The images are stand-ins; what the other tests of the guide prove in depth is looked at briefly here.
"""

import shlex
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from stand_ins import stand_in
from waiting import wait_until

from wherry.testing.instances import wherry
from wherry.testing.plugin import RunningWherry

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

HERE = Path(__file__).parent
GUIDE = HERE.parent / "guide"
TOOLS = ("sh", "pwd", "cat")


def commands(part: str) -> list[str]:
    """The guide's commands in its order; one that continues on the next line is one."""
    return (GUIDE / part / "commands.txt").read_text().replace("\\\n", "").strip().splitlines()


class Shell:
    """`sh` in which docker, docker-compose and kubectl are Wherry's, and nothing else is installed."""

    def __init__(self, env: dict[str, str], folder: Path) -> None:
        self.env = env
        self.folder = folder

    def __call__(self, command: str, timeout: float = 120) -> str:
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            env=self.env,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def follow(self, command: str, wanted: str) -> None:
        """Runs what does not end by itself until it prints `wanted`, then interrupts it as Ctrl-C does."""
        words = shlex.split(command)
        words[0] = shutil.which(words[0], path=self.env["PATH"]) or words[0]
        running = subprocess.Popen(
            words,
            env=self.env,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        assert running.stdout is not None
        seen = []
        for line in running.stdout:
            seen.append(line)
            if wanted in line:
                break
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=30)
        assert wanted in "".join(seen), f"{command}: {''.join(seen)}"
        assert running.returncode in (1, 130), running.returncode


def fetch(url: str, timeout: float = 5) -> str:
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


@pytest.fixture(scope="module")
def shell(wherry_shared_cluster: RunningWherry, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    machine = wherry_shared_cluster
    shown = wherry(machine.instance, "env", "--clients", "wherry")
    assert shown.returncode == 0, shown.stderr
    place = tmp_path_factory.mktemp("only")
    tools = place / "tools"
    tools.mkdir()
    for name in TOOLS:
        (tools / name).symlink_to(shutil.which(name) or name)
    env = {name: machine.env[name] for name in ("DOCKER_HOST", "KUBECONFIG")}
    env |= {"PATH": f"{machine.instance.root / 'bin'}:{tools}", "HOME": str(place)}
    for name in ("docker", "docker-compose", "kubectl"):
        assert shutil.which(name, path=env["PATH"]) == str(machine.instance.root / "bin" / name)
    return Shell(env, place)


@pytest.fixture
def docker(shell: Shell, tmp_path: Path) -> Iterator[Shell]:
    """In the folder of the guide's application, with its images."""
    folder = shutil.copytree(HERE / "dockerfiles" / "flask", tmp_path / "guide")
    for name in ("python", "postgres"):
        shell(f"docker load -q -i {stand_in(name)}")
    (tmp_path / "Dockerfile").write_text("FROM python:3.9-slim\nCMD sleep 1000\n")
    shell(f"docker build -q -t my-app {tmp_path}")
    shell(f"docker build -q -t my-web-app {GUIDE / 'docker' / 'webapp'}")
    yield Shell({**shell.env, "PWD": str(folder)}, folder)
    names = "my-running-app my-postgres dev-container database webapp secure-app"
    shell(f"docker rm -f -v {names}; docker network rm my-app-network; docker volume rm -f postgres-data; true")


def test_the_docker_part(docker: Shell) -> None:
    listed = commands("docker")
    assert len(listed) == 19
    run = listed[2]
    for command in listed:
        if command.startswith("docker-compose"):
            continue  # has a test of its own: its port is another container's here
        if command == "docker logs -f my-running-app":
            wait_until(lambda: "Hello from Docker!" in fetch("http://127.0.0.1:5000/"), "the application answers")
            docker.follow(command, "GET / HTTP/1.1")
            continue
        if command == "docker rm my-running-app":
            docker("docker stop -t 0 my-running-app")
        if command == "docker rm -f my-running-app":
            docker(run)
        shown = docker(command)
        if command in ("docker ps", "docker ps -a"):
            assert "0.0.0.0:5000->5000/tcp" in shown
        if command == "docker images":
            assert "my-python-app" in shown
    assert docker("docker exec dev-container ls /app").split() == ["Dockerfile", "app.py", "requirements.txt"]
    assert docker("docker exec secure-app id -u") == "1000\n"
    docker("docker exec webapp getent hosts database")


def test_the_compose_part(docker: Shell, tmp_path: Path) -> None:
    place = shutil.copytree(GUIDE / "docker" / "webapp", tmp_path / "compose")
    shutil.copy(GUIDE / "docker" / "docker-compose.yml", place)
    here = Shell({**docker.env, "PWD": str(place)}, place)
    assert {"docker-compose up -d", "docker-compose logs -f", "docker-compose down"} <= set(commands("docker"))
    here("docker-compose up -d")
    try:
        answer = wait_until(lambda: fetch("http://127.0.0.1:8080/", 40), "the web application answers", 90)
        assert answer in ("database at database answers N\n", "database at database answers S\n")
        here.follow("docker-compose logs -f", "webapp listens on 8080")
    finally:
        here("docker-compose down")
        here("docker volume rm compose_postgres-data")
    assert here("docker ps -aq --filter label=com.docker.compose.project=compose") == ""


def test_the_kubernetes_part(shell: Shell) -> None:
    kubectl = Shell(shell.env, GUIDE / "kubernetes")
    shell(f"docker load -q -i {stand_in('nginx')}")
    listed = commands("kubernetes")
    assert len(listed) == 19
    try:
        for command in listed:
            shown = kubectl(command)
            if command == "kubectl apply -f pod-definition.yaml":
                kubectl("kubectl wait --for=condition=Ready pod/nginx-pod --timeout=60s")
            elif command == "kubectl describe pod nginx-pod":
                assert "Successfully assigned default/nginx-pod" in shown
            elif command.startswith("kubectl rollout status"):
                assert shown.endswith('deployment "nginx-deployment" successfully rolled out\n')
            elif command.startswith("kubectl rollout history"):
                assert [line.split()[0] for line in shown.splitlines()[2:] if line] == ["1", "2"]
            elif command.startswith("kubectl rollout undo"):
                kubectl("kubectl rollout status deployment/nginx-deployment --timeout=60s")
            elif command == "kubectl describe service nginx-service":
                assert "LoadBalancer" in shown
        assert kubectl("kubectl get deployment nginx-deployment -o jsonpath={.status.readyReplicas}") == "5"
        address = kubectl("kubectl get service nginx-service -o jsonpath={.spec.clusterIP}")
        assert wait_until(lambda: "Welcome to nginx!" in fetch(f"http://{address}/"), "the service answers")
    finally:
        for what in ("deployment/nginx-deployment", "pod/nginx-pod", "service/nginx-service", "secret/database-secret",
                     "namespace/development"):  # fmt: skip
            kubectl(f"kubectl delete {what} --ignore-not-found")


@pytest.mark.skipif(not shutil.which("nginx"), reason="nginx is not installed")
def test_the_application(shell: Shell) -> None:
    kubectl = Shell(shell.env, GUIDE / "application")
    for name in ("postgres", "mybackend", "myfrontend"):
        shell(f"docker load -q -i {stand_in(name)}")
    try:
        for command in commands("application"):
            assert kubectl(command).endswith(" created\n")
        for what in ("statefulset/postgres", "deployment/backend", "deployment/frontend"):
            kubectl(f"kubectl rollout status -n myapp {what} --timeout=120s", timeout=150)
        entry = "{.status.loadBalancer.ingress[0].ip}:{.status.loadBalancer.ingress[0].ports[0].port}"
        asked = f"kubectl get ingress -n myapp myapp-ingress -o jsonpath='{entry}'"
        origin = wait_until(lambda: kubectl(asked).strip(":"), "the Ingress has an address")
        if ":" not in origin:
            origin += ":80"

        def page() -> str:
            request = urllib.request.Request(f"http://{origin}/", headers={"Host": "myapp.example.com"})
            return fetch(request)  # type: ignore[arg-type]

        assert wait_until(lambda: "<h1>My application</h1>" in page(), "the frontend answers")
    finally:
        kubectl("kubectl delete namespace myapp --ignore-not-found")
        wait_until(lambda: not kubectl("kubectl get pv -o name"), "its volume is deleted")

"""The guide's complete application: its ten files applied in its order, reached by host name through the Ingress."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stand_ins import stand_in
from waiting import wait_until

from wherry.testing.plugin import RunningWherry

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not shutil.which("nginx"), reason="nginx is not installed"),
]

GUIDE = Path(__file__).parents[1] / "guide" / "application"
HOST = "myapp.example.com"
READY_SECONDS = 120.0


class Application:
    """The running application as a user sees it: kubectl, and HTTP through the Ingress."""

    def __init__(self, machine: RunningWherry) -> None:
        self.machine = machine

    def kubectl(self, *arguments: str) -> str:
        done = self.machine.run("kubectl", "-n", "myapp", *arguments, timeout=120)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.kubectl(*arguments, "-o", "json"))

    def ready(self, app: str) -> set[str]:
        """Names of the ready pods of one tier that are not being deleted."""
        return {
            pod["metadata"]["name"]
            for pod in self.json("get", "pods", "-l", f"app={app}")["items"]
            if not pod["metadata"].get("deletionTimestamp")
            and any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))
        }

    def all_ready(self) -> bool:
        return (len(self.ready("postgres")), len(self.ready("backend")), len(self.ready("frontend"))) == (1, 3, 2)

    def origin(self) -> str:
        """`address:port` where the Ingress answers HTTP: port 80 unless somebody else has it."""
        (entry,) = self.json("get", "ingress", "myapp-ingress")["status"]["loadBalancer"]["ingress"]
        ports = entry.get("ports") or [{"port": 80}]
        return f"{entry['ip']}:{ports[0]['port']}"

    def http(self, path: str, *, host: str = HOST, body: str | None = None) -> tuple[int, str]:
        """Status and body of one request through the Ingress; status 0 when nobody answers."""
        data = ["--data", body] if body is not None else []
        marked = ["-s", "-m", "10", "-w", "\n%{http_code}", "-H", f"Host: {host}", *data]
        done = subprocess.run(
            ["curl", *marked, f"http://{self.origin()}{path}"], capture_output=True, text=True, check=False
        )
        text, _, status = done.stdout.rpartition("\n")
        return int(status or 0), text

    def notes(self) -> list[str]:
        status, text = self.http("/api/notes")
        return list(json.loads(text)["notes"]) if status == 200 else []


@pytest.fixture(scope="module")
def application(wherry_shared_cluster: RunningWherry) -> Iterator[Application]:
    machine = wherry_shared_cluster
    for name in ("postgres", "mybackend", "myfrontend"):
        loaded = machine.run("docker", "load", "-i", str(stand_in(name)))
        assert loaded.returncode == 0, loaded.stderr
    for line in (GUIDE / "commands.txt").read_text().splitlines():
        applied = machine.run(*line.split(), cwd=GUIDE)
        assert applied.returncode == 0, f"{line}: {applied.stderr}"
        assert applied.stdout.strip().endswith("created")
    made = Application(machine)
    wait_until(made.all_ready, "every pod of the application is ready", timeout=READY_SECONDS)
    yield made
    machine.run("kubectl", "delete", "namespace", "myapp", "--ignore-not-found", timeout=120)


def test_the_application_works_and_its_data_outlives_every_pod(application: Application) -> None:
    front = wait_until(lambda: application.http("/")[0] == 200 and application.http("/"), "the frontend answers")
    assert "<h1>My application</h1>" in front[1]
    assert "api_url=http://backend-service:8080" in application.http("/config.txt")[1]
    assert application.http("/", host="other.example.com")[0] == 404
    wait_until(lambda: application.http("/api/notes")[0] == 200, "the backend answers")
    assert application.http("/api/notes", body="kept") == (201, '{"id": 1}')
    assert json.loads(application.http("/api/notes")[1]) == {"notes": ["kept"], "logLevel": "info"}

    service = application.json("get", "service", "frontend-service")
    (entry,) = service["status"]["loadBalancer"]["ingress"]
    page = subprocess.run(["curl", "-s", "-m", "5", f"http://{entry['ip']}:80/"], capture_output=True, text=True)
    assert "My application" in page.stdout, "the LoadBalancer address answers"
    claim = application.json("get", "pvc", "postgres-storage-postgres-0")
    assert (claim["status"]["phase"], claim["spec"]["storageClassName"]) == ("Bound", "standard")

    before = application.ready("postgres") | application.ready("backend") | application.ready("frontend")
    uids = {pod["metadata"]["uid"] for pod in application.json("get", "pods")["items"]}
    assert len(before) == len(uids) == 6
    application.kubectl("delete", "pods", "--all")

    def replaced() -> bool:
        found = {pod["metadata"]["uid"] for pod in application.json("get", "pods")["items"]}
        return application.all_ready() and not found & uids

    wait_until(replaced, "every pod is replaced", timeout=READY_SECONDS)
    assert wait_until(application.notes, "the backend answers again") == ["kept"]


def test_the_application_goes_away_with_its_namespace(application: Application) -> None:
    volume = application.json("get", "pvc", "postgres-storage-postgres-0")["spec"]["volumeName"]
    path = Path(application.json("get", "pv", volume)["spec"]["hostPath"]["path"])
    assert (path / "PG_VERSION").exists()
    gone = application.machine.run("kubectl", "delete", "namespace", "myapp", timeout=120)
    assert gone.returncode == 0, gone.stderr
    wait_until(
        lambda: application.machine.run("kubectl", "get", "pv", "-o", "name").stdout == "", "its volume is deleted"
    )
    assert not path.exists(), "and its data, as its reclaim policy is Delete"
    nginx = application.machine.instance.run / "ingress" / "nginx.pid"
    wait_until(lambda: not nginx.exists(), "nginx ends with the last Ingress")

"""A rolling update under steady load through the Service: nobody may notice.

The pods do what the documentation advises: a readiness probe, and a preStop hook that outlasts the time in which the
node's proxy learns that the pod goes.
"""

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import wait_until

from wherry.testing.plugin import RunningWherry

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]

REQUESTS = 5_000
CLIENTS = 4
ROLLOUTS = 2

MANIFEST = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: steady}
spec:
  replicas: 3
  selector: {matchLabels: {app: steady}}
  strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}
  template:
    metadata: {labels: {app: steady}}
    spec:
      terminationGracePeriodSeconds: 10
      containers:
      - name: web
        image: busybox
        imagePullPolicy: IfNotPresent
        command: ["sh", "-c", "mkdir /www && echo $VERSION > /www/index.html && exec httpd -f -p 8080 -h /www"]
        env: [{name: VERSION, value: "0"}]
        ports: [{containerPort: 8080}]
        readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
        lifecycle: {preStop: {exec: {command: ["sleep", "2"]}}}
---
apiVersion: v1
kind: Service
metadata: {name: steady}
spec:
  selector: {app: steady}
  ports: [{port: 80, targetPort: 8080}]
"""


class Load:
    """Clients that ask one after the other, each time on a new connection, until told to stop."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._client) for _ in range(CLIENTS)]

    @property
    def total(self) -> int:
        return sum(self.answers.values()) + len(self.failures)

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _client(self) -> None:
        while not self._stop.is_set():
            connection = http.client.HTTPConnection(self.address, timeout=5)
            try:
                connection.request("GET", "/")
                answer = connection.getresponse()
                body = answer.read().decode().strip()
                if answer.status == 200:
                    self.answers[body] += 1
                else:
                    self.failures.append(f"{time.monotonic():.3f}: status {answer.status}")
            except OSError as error:
                self.failures.append(f"{time.monotonic():.3f}: {error!r}")
            except http.client.HTTPException as error:
                self.failures.append(f"{time.monotonic():.3f}: {error!r}")
            finally:
                connection.close()


@pytest.fixture
def steady(wherry_shared_cluster: RunningWherry, busybox_archive: Path) -> Iterator[RunningWherry]:
    running = wherry_shared_cluster
    assert running.run("docker", "load", "-q", "-i", str(busybox_archive)).returncode == 0
    assert running.run("kubectl", "apply", "-f", "-", input=MANIFEST).returncode == 0
    rolled(running)
    yield running
    assert running.run("kubectl", "delete", "-f", "-", input=MANIFEST).returncode == 0


def rolled(machine: RunningWherry) -> None:
    status = machine.run("kubectl", "rollout", "status", "deployment/steady", "--timeout=90s", timeout=100)
    assert status.returncode == 0, status.stderr


def test_no_request_fails_while_the_deployment_rolls(steady: RunningWherry) -> None:
    service = json.loads(steady.run("kubectl", "get", "service", "steady", "-o", "json").stdout)
    with Load(service["spec"]["clusterIP"]) as load:
        wait_until(lambda: load.answers["0"] > 100, "the first version answers")
        for version in range(1, ROLLOUTS + 1):
            steady.run("kubectl", "set", "env", "deployment/steady", f"VERSION={version}")
            rolled(steady)
            wait_until(lambda version=version: load.answers[str(version)] > 100, f"version {version} answers")
        wait_until(lambda: load.total >= REQUESTS, "enough requests", timeout=60)
    assert not load.failures, f"{len(load.failures)} of {load.total} requests failed: {load.failures[:5]}"

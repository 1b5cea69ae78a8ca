"""A HorizontalPodAutoscaler with the node's own numbers: up under load, down again without, and `kubectl top`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until

from wherry.testing.plugin import RunningWherry

pytestmark = [pytest.mark.root]

MANIFEST = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: myapp
spec:
  replicas: 2
  selector:
    matchLabels: {app: burner}
  template:
    metadata:
      labels: {app: burner}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: burner
        image: busybox
        imagePullPolicy: IfNotPresent
        command: [sh, -c, "while :; do if [ -e /load/on ]; then n=0; while [ $n -lt 9999 ]; do n=$((n+1)); done; \
else sleep 0.2; fi; done"]
        resources:
          requests: {cpu: 50m, memory: 32Mi}
          limits: {cpu: 100m}
        volumeMounts: [{name: load, mountPath: /load}]
      volumes:
      - name: load
        hostPath: {path: LOAD}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: myapp-hpa
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: myapp}
  minReplicas: 2
  maxReplicas: 4
  metrics:
  - type: Resource
    resource: {name: cpu, target: {type: Utilization, averageUtilization: 70}}
  - type: Resource
    resource: {name: memory, target: {type: Utilization, averageUtilization: 80}}
  behavior:
    scaleDown: {stabilizationWindowSeconds: 0}
"""


@pytest.fixture
def machine(wherry_shared_cluster: RunningWherry, busybox_archive: Path, tmp_path: Path) -> Iterator[RunningWherry]:
    machine = wherry_shared_cluster
    assert machine.run("docker", "load", "-i", str(busybox_archive)).returncode == 0
    manifest = tmp_path / "hpa.yaml"
    manifest.write_text(MANIFEST.replace("LOAD", str(tmp_path)))
    applied = machine.run("kubectl", "apply", "-f", str(manifest))
    assert applied.returncode == 0, applied.stderr
    yield machine
    machine.run("kubectl", "delete", "-f", str(manifest), "--ignore-not-found")


def autoscaler(machine: RunningWherry) -> dict[str, Any]:
    return dict(json.loads(machine.run("kubectl", "get", "hpa", "myapp-hpa", "-o", "json").stdout))


def replicas(machine: RunningWherry) -> int:
    found = json.loads(machine.run("kubectl", "get", "deployment", "myapp", "-o", "json").stdout)
    return int((found.get("status") or {}).get("readyReplicas", 0))


def test_scales_up_under_load_and_down_without(machine: RunningWherry, tmp_path: Path) -> None:
    wait_until(lambda: replicas(machine) == 2, "two pods are ready", timeout=60)
    wait_until(lambda: autoscaler(machine)["status"].get("currentMetrics") or [], "metrics are seen", timeout=60)
    (tmp_path / "on").touch()
    wait_until(lambda: replicas(machine) == 4, "the maximum under load", timeout=120)
    status = autoscaler(machine)["status"]
    conditions = {one["type"]: (one["status"], one["reason"]) for one in status["conditions"]}
    assert conditions["ScalingActive"] == ("True", "ValidMetricFound")
    events = machine.run("kubectl", "describe", "hpa", "myapp-hpa").stdout
    assert "SuccessfulRescale" in events and "above target" in events
    table = machine.run("kubectl", "get", "hpa").stdout.splitlines()[1]
    assert "Deployment/myapp" in table and "/70%" in table
    top = machine.run("kubectl", "top", "pods", "-l", "app=burner")
    assert top.returncode == 0, top.stderr
    assert len(top.stdout.splitlines()) >= 3
    (tmp_path / "on").unlink()
    wait_until(lambda: replicas(machine) == 2, "the minimum without load", timeout=120)


def test_top_names_the_node_and_its_use(machine: RunningWherry) -> None:
    top = machine.run("kubectl", "top", "nodes")
    assert top.returncode == 0, top.stderr
    head, node = top.stdout.splitlines()
    assert head.split() == ["NAME", "CPU(cores)", "CPU(%)", "MEMORY(bytes)", "MEMORY(%)"]
    assert node.split()[1].endswith("m") and node.split()[3].endswith("Mi")

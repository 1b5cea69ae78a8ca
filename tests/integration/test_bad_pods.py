"""Pods that can never run: the status, reason, message and events that Kubernetes gives them."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from waiting import wait_until

from wherry.testing.instances import wherry
from wherry.testing.plugin import RunningWherry

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

Pod = dict[str, Any]


@pytest.fixture(scope="module")
def machine(wherry_shared_cluster: RunningWherry, busybox_archive: Any) -> Iterator[RunningWherry]:
    running = wherry_shared_cluster
    assert running.run("docker", "load", "-q", "-i", str(busybox_archive)).returncode == 0
    assert running.run("kubectl", "create", "namespace", "bad").returncode == 0
    yield running
    assert running.run("kubectl", "delete", "namespace", "bad", "--wait=true").returncode == 0


def make(machine: RunningWherry, name: str, spec: Pod) -> None:
    container = {"name": "main", "image": "busybox", "imagePullPolicy": "Never", "command": ["sleep", "1000"]}
    spec = {"terminationGracePeriodSeconds": 0, "containers": [container | spec.pop("container", {})], **spec}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "bad"}, "spec": spec}
    made = machine.run("kubectl", "create", "-f", "-", input=json.dumps(pod))
    assert made.returncode == 0, made.stderr


def status(machine: RunningWherry, name: str) -> Pod:
    found = machine.run("kubectl", "get", "pod", "-n", "bad", name, "-o", "json")
    return dict(json.loads(found.stdout)["status"]) if found.returncode == 0 else {}


def waiting(machine: RunningWherry, name: str, reason: str) -> Pod:
    def found() -> Pod:
        for one in status(machine, name).get("containerStatuses") or []:
            state = one["state"].get("waiting") or {}
            if state.get("reason") == reason:
                return dict(one)
        return {}

    return wait_until(found, f"{name} waits with {reason}")


def described(machine: RunningWherry, name: str, text: str) -> None:
    wait_until(
        lambda: text in machine.run("kubectl", "describe", "pod", "-n", "bad", name).stdout, f"{text!r} of {name}"
    )


def test_an_image_that_does_not_exist(machine: RunningWherry) -> None:
    make(machine, "no-image", {"container": {"image": "nosuch:1", "imagePullPolicy": "Never"}})
    state = waiting(machine, "no-image", "ErrImageNeverPull")["state"]["waiting"]
    assert state["message"] == 'Container image "nosuch:1" is not present with pull policy of Never'
    assert status(machine, "no-image")["phase"] == "Pending"
    make(machine, "bad-name", {"container": {"image": "Not A Name", "imagePullPolicy": "Always"}})
    state = waiting(machine, "bad-name", "InvalidImageName")["state"]["waiting"]
    assert "couldn't parse image name" in state["message"]


def test_a_command_that_does_not_exist(machine: RunningWherry) -> None:
    make(machine, "no-command", {"container": {"command": ["nosuchcommand"]}})

    def ended() -> Pod:
        statuses = status(machine, "no-command").get("containerStatuses") or [{}]
        one = statuses[0]
        return dict((one.get("lastState") or {}).get("terminated") or (one.get("state") or {}).get("terminated") or {})

    terminated = wait_until(ended, "the start fails")
    assert (terminated["reason"], terminated["exitCode"]) == ("StartError", 128)
    assert "nosuchcommand" in terminated["message"]
    waiting(machine, "no-command", "CrashLoopBackOff")
    described(machine, "no-command", "Back-off restarting failed container main")


def test_a_config_map_that_does_not_exist(machine: RunningWherry) -> None:
    source = {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "nosuch", "key": "a"}}}
    make(machine, "no-map", {"container": {"env": [source]}})
    state = waiting(machine, "no-map", "CreateContainerConfigError")["state"]["waiting"]
    assert state["message"] == 'configmap "nosuch" not found'
    described(machine, "no-map", 'Error: configmap "nosuch" not found')
    made = machine.run("kubectl", "create", "configmap", "-n", "bad", "nosuch", "--from-literal=a=1")
    assert made.returncode == 0
    wait_until(lambda: status(machine, "no-map")["phase"] == "Running", "it runs once the ConfigMap is there")


def test_a_volume_that_does_not_exist(machine: RunningWherry) -> None:
    mount = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    make(machine, "no-secret", {"container": mount, "volumes": [{"name": "v", "secret": {"secretName": "nosuch"}}]})
    described(machine, "no-secret", 'MountVolume.SetUp failed for volume "v" : secret "nosuch" not found')
    waiting(machine, "no-secret", "ContainerCreating")
    claim = {"name": "v", "persistentVolumeClaim": {"claimName": "nosuch"}}
    make(machine, "no-claim", {"container": mount, "volumes": [claim]})
    described(machine, "no-claim", 'persistentvolumeclaim "nosuch" not found')
    assert status(machine, "no-claim")["conditions"][0]["reason"] == "Unschedulable"


def test_requests_that_no_node_can_meet(machine: RunningWherry) -> None:
    huge = {"resources": {"requests": {"cpu": "1000"}}}
    make(machine, "too-big", {"container": huge})
    described(machine, "too-big", "0/1 nodes are available: 1 Insufficient cpu.")
    condition = status(machine, "too-big")["conditions"][0]
    assert (condition["type"], condition["status"], condition["reason"]) == ("PodScheduled", "False", "Unschedulable")
    explained = wherry(machine.instance, "explain", "pod", "too-big", "-n", "bad")
    assert explained.returncode == 0, explained.stderr
    assert "NodeResourcesFit: Insufficient cpu" in explained.stdout
    assert "0 of 1 nodes can run it" in explained.stdout
    assert wherry(machine.instance, "explain", "pod", "nosuch").returncode == 1
    node = json.loads(machine.run("kubectl", "get", "nodes", "-o", "json").stdout)["items"][0]["metadata"]["name"]
    make(machine, "forced", {"container": huge, "nodeName": node})
    found = wait_until(
        lambda: s if (s := status(machine, "forced")).get("phase") == "Failed" else None, "the kubelet refuses it"
    )
    assert found["reason"] == "OutOfcpu"
    assert "Pod was rejected: Node didn't have enough resource: cpu, requested: 1000000," in found["message"]
    make(machine, "elsewhere", {"nodeName": node, "nodeSelector": {"planet": "mars"}})
    found = wait_until(
        lambda: s if (s := status(machine, "elsewhere")).get("phase") == "Failed" else None, "the kubelet refuses it"
    )
    assert (found["reason"], found["message"]) == ("NodeAffinity", "Pod was rejected: Predicate NodeAffinity failed")


def test_a_pod_that_outgrows_its_empty_dir_is_evicted(machine: RunningWherry) -> None:
    fill = ["sh", "-c", "head -c 3m /dev/zero > /v/file; sleep 1000"]
    make(
        machine,
        "greedy",
        {
            "container": {"command": fill, "volumeMounts": [{"name": "v", "mountPath": "/v"}]},
            "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}],
        },
    )
    found = wait_until(
        lambda: s if (s := status(machine, "greedy")).get("phase") == "Failed" else None, "it is evicted", timeout=45
    )
    assert found["reason"] == "Evicted"
    assert found["message"] == 'Usage of EmptyDir volume "v" exceeds the limit "1Mi". '

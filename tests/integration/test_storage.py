"""Persistent volumes as a user meets them: static and dynamic, kept, deleted, grown, and those that cannot be had."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until

from wherry.testing.plugin import RunningWherry

pytestmark = pytest.mark.root


class Storage:
    def __init__(self, machine: RunningWherry, directory: Path) -> None:
        self.machine, self.directory = machine, directory

    def kubectl(self, *arguments: str, **options: Any) -> str:
        done = self.machine.run("kubectl", "-n", "storage", *arguments, **options)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    def refused(self, *arguments: str) -> str:
        done = self.machine.run("kubectl", "-n", "storage", *arguments)
        assert done.returncode == 1, done.stdout
        return done.stderr

    def create(self, *objects: dict[str, Any]) -> None:
        document = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        self.kubectl("apply", "-f", "-", input=document)

    def get(self, kind: str, name: str) -> Any:
        done = self.machine.run("kubectl", "-n", "storage", "get", kind, name, "-o", "json")
        return json.loads(done.stdout) if done.returncode == 0 else {"status": {}, "spec": {}}

    def phase(self, kind: str, name: str) -> str:
        return str(self.get(kind, name)["status"].get("phase", ""))

    def wait_phase(self, kind: str, name: str, phase: str) -> None:
        wait_until(lambda: self.phase(kind, name) == phase, f"{kind} {name} is {phase}", timeout=60)

    def events(self, name: str) -> str:
        return self.kubectl("get", "events", "--field-selector", f"involvedObject.name={name}")

    def write(self, pod: str, text: str) -> None:
        self.kubectl("exec", pod, "--", "sh", "-c", f"echo {text} >> /data/file")

    def read(self, pod: str) -> str:
        return self.kubectl("exec", pod, "--", "cat", "/data/file").strip()


def claim(name: str, size: str = "1Gi", **spec: Any) -> dict[str, Any]:
    base = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": base | spec}


def volume(name: str, path: Path, size: str = "1Gi", **spec: Any) -> dict[str, Any]:
    base = {
        "capacity": {"storage": size},
        "accessModes": ["ReadWriteOnce"],
        "hostPath": {"path": str(path)},
        "persistentVolumeReclaimPolicy": "Retain",
    }
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": base | spec}


def pod(name: str, claim_name: str) -> dict[str, Any]:
    container = {
        "name": "c",
        "image": "busybox",
        "imagePullPolicy": "IfNotPresent",
        "command": ["sleep", "9999"],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    spec = {
        "terminationGracePeriodSeconds": 0,
        "containers": [container],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim_name}}],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


@pytest.fixture
def storage(wherry_shared_cluster: RunningWherry, busybox_archive: Path, tmp_path: Path) -> Iterator[Storage]:
    machine = wherry_shared_cluster
    assert machine.run("docker", "load", "-i", str(busybox_archive)).returncode == 0
    assert machine.run("kubectl", "create", "namespace", "storage").returncode == 0
    yield Storage(machine, tmp_path)
    machine.run("kubectl", "delete", "namespace", "storage", timeout=120)
    machine.run("kubectl", "delete", "pv", "--all", timeout=60)
    machine.run("kubectl", "delete", "storageclass", "slow", "nowhere", "--ignore-not-found")


def test_a_dynamic_volume_is_made_kept_grown_and_deleted(storage: Storage) -> None:
    storage.create(claim("dyn"))
    wait_until(lambda: "WaitForFirstConsumer" in storage.events("dyn"), "it waits for a pod")
    assert storage.phase("pvc", "dyn") == "Pending"
    storage.create(pod("one", "dyn"))
    storage.wait_phase("pod", "one", "Running")
    bound = storage.get("pvc", "dyn")
    made = storage.get("pv", bound["spec"]["volumeName"])
    assert (bound["spec"]["storageClassName"], bound["status"]["phase"]) == ("standard", "Bound")
    path = Path(made["spec"]["hostPath"]["path"])
    assert storage.machine.instance.root in path.parents
    node = made["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0]["values"]
    assert node == [storage.get("pod", "one")["spec"]["nodeName"]], "the volume knows its node"
    storage.write("one", "first")
    storage.kubectl("delete", "pod", "one")
    storage.create(pod("two", "dyn"))
    storage.wait_phase("pod", "two", "Running")
    assert storage.read("two") == "first"

    storage.kubectl("patch", "pvc", "dyn", "-p", '{"spec":{"resources":{"requests":{"storage":"2Gi"}}}}')
    wait_until(lambda: storage.get("pvc", "dyn")["status"]["capacity"]["storage"] == "2Gi", "it has grown")
    assert storage.get("pv", bound["spec"]["volumeName"])["spec"]["capacity"]["storage"] == "2Gi"
    smaller = storage.refused("patch", "pvc", "dyn", "-p", '{"spec":{"resources":{"requests":{"storage":"1Gi"}}}}')
    assert "spec.resources.requests.storage: Forbidden: field can not be less than status.capacity" in smaller

    storage.kubectl("delete", "pvc", "dyn", "--wait=false")
    assert storage.get("pvc", "dyn")["metadata"]["deletionTimestamp"], "kept while a pod uses it"
    assert storage.read("two") == "first"
    storage.kubectl("delete", "pod", "two")
    wait_until(lambda: not path.exists(), "the claim goes, and the data with it")
    wait_until(lambda: not storage.get("pv", bound["spec"]["volumeName"])["spec"], "and the volume")


def test_a_static_volume_is_found_by_class_size_mode_and_selector_and_retained(storage: Storage) -> None:
    place = storage.directory
    storage.create(
        volume("small", place / "small", "1Gi", storageClassName="manual"),
        volume("right", place / "right", "3Gi", storageClassName="manual"),
        volume("large", place / "large", "9Gi", storageClassName="manual"),
        volume("other", place / "other", "3Gi", storageClassName="else"),
        volume("many", place / "many", "3Gi", storageClassName="manual", accessModes=["ReadWriteMany"]),
        claim("two", "2Gi", storageClassName="manual"),
        claim("shared", "1Gi", storageClassName="manual", accessModes=["ReadWriteMany"]),
        claim("none", "50Gi", storageClassName="manual"),
    )
    storage.wait_phase("pvc", "two", "Bound")
    storage.wait_phase("pvc", "shared", "Bound")
    assert storage.get("pvc", "two")["spec"]["volumeName"] == "right", "the smallest that is large enough"
    assert storage.get("pvc", "shared")["spec"]["volumeName"] == "many"
    assert storage.get("pvc", "two")["status"]["capacity"] == {"storage": "3Gi"}
    assert storage.phase("pvc", "none") == "Pending"
    wait_until(lambda: 'storageclass.storage.k8s.io "manual" not found' in storage.events("none"), "the reason is said")
    storage.create(pod("user", "two"))
    storage.wait_phase("pod", "user", "Running")
    storage.write("user", "kept")
    storage.kubectl("delete", "pod", "user")
    storage.kubectl("delete", "pvc", "two")
    storage.wait_phase("pv", "right", "Released")
    assert (place / "right" / "file").read_text() == "kept\n"
    refusal = storage.refused("patch", "pvc", "shared", "-p", '{"spec":{"resources":{"requests":{"storage":"2Gi"}}}}')
    assert "only dynamically provisioned pvc can be resized" in refusal


def test_the_guides_volume_and_claim_meet_when_a_pod_asks(storage: Storage) -> None:
    storage.create(
        volume("postgres-pv", storage.directory / "postgres", "10Gi", storageClassName="standard"),
        claim("postgres-pvc", "10Gi", storageClassName="standard"),
        pod("db", "postgres-pvc"),
    )
    storage.wait_phase("pod", "db", "Running")
    assert storage.get("pvc", "postgres-pvc")["spec"]["volumeName"] == "postgres-pv", "rather than a new one"
    storage.write("db", "row")
    assert (storage.directory / "postgres" / "file").read_text() == "row\n"


def test_classes_that_bind_at_once_and_that_nobody_provisions(storage: Storage) -> None:
    def storage_class(name: str, provisioner: str, **more: Any) -> dict[str, Any]:
        base = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name}}
        return base | {"provisioner": provisioner} | more

    storage.create(
        storage_class("slow", "wherry.dev/local-path", volumeBindingMode="Immediate", reclaimPolicy="Retain"),
        storage_class("nowhere", "example.com/nobody"),
        claim("now", storageClassName="slow"),
        claim("later", storageClassName="nowhere"),
        claim("classless", storageClassName=""),
        claim("block", storageClassName="slow", volumeMode="Block"),
    )
    storage.wait_phase("pvc", "now", "Bound")
    name = storage.get("pvc", "now")["spec"]["volumeName"]
    wait_until(lambda: "external provisioner 'example.com/nobody'" in storage.events("later"), "who must do it")
    wait_until(lambda: "no persistent volumes available for this claim" in storage.events("classless"), "the reason")
    wait_until(lambda: "ProvisioningFailed" in storage.events("block"), "what it cannot make")
    refusal = storage.refused("patch", "pvc", "now", "-p", '{"spec":{"resources":{"requests":{"storage":"2Gi"}}}}')
    assert "the storageclass that provisions the pvc must support resize" in refusal
    storage.kubectl("delete", "pvc", "now")
    storage.wait_phase("pv", name, "Released")

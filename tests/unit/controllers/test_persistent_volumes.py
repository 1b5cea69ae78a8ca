"""Claims and volumes: who finds whom, what is made, what is said when nothing fits."""

from pathlib import Path
from typing import Any

import pytest

from wherry.controllers.persistent_volumes import (
    PROVISIONER,
    STANDARD_CLASS,
    ClaimChildren,
    VolumeChildren,
    reconcile_claim,
    reconcile_volume,
)

DIRECTORY = Path("/volumes")


def volume(name: str, size: str = "1Gi", *, labels: dict[str, str] | None = None, **spec: Any) -> Any:
    base = {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "storageClassName": "manual"}
    return {
        "metadata": {"name": name, "labels": labels or {}, "resourceVersion": "1", "uid": name},
        "spec": base | spec,
        "status": {"phase": "Available"},
    }


def claim(size: str = "1Gi", *, annotations: dict[str, str] | None = None, **spec: Any) -> Any:
    base = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "manual",
        "resources": {"requests": {"storage": size}},
    }
    metadata = {"name": "data", "namespace": "default", "uid": "u1", "resourceVersion": "1"}
    return {"metadata": metadata | {"annotations": annotations or {}}, "spec": base | spec}


def chosen(wanted: Any, *volumes: Any, storage_class: Any = None) -> str | None:
    plan = reconcile_claim(wanted, ClaimChildren(list(volumes), storage_class), 0.0, directory=DIRECTORY)
    return next((reason.rpartition(" ")[2] for reason in plan.reasons if reason.startswith("bind to")), None)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (claim("1Gi"), "one"),
        (claim("1100Mi"), "two"),
        (claim("3Gi"), None),
        (claim(accessModes=["ReadWriteMany"]), "shared"),
        (claim(accessModes=["ReadWriteOnce", "ReadWriteMany"]), None),
        (claim(selector={"matchLabels": {"tier": "db"}}), "labelled"),
        (claim(selector={"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["db"]}]}), "one"),
        (claim(storageClassName=""), "plain"),
        (claim(storageClassName="other"), None),
        (claim(volumeMode="Block"), "raw"),
    ],
)
def test_the_smallest_that_fits_is_found(wanted: Any, found: str | None) -> None:
    volumes = [
        volume("two", "2Gi"),
        volume("one"),
        volume("labelled", "2500Mi", labels={"tier": "db"}),
        volume("shared", accessModes=["ReadWriteMany"]),
        volume("plain", storageClassName=""),
        volume("raw", volumeMode="Block"),
        volume("taken", "1Gi", claimRef={"namespace": "default", "name": "other", "uid": "u2"}),
    ]
    assert chosen(wanted, *volumes) == found


def test_a_volume_that_names_the_claim_is_for_it_alone() -> None:
    kept = volume("kept", "5Gi", claimRef={"namespace": "default", "name": "data"})
    assert chosen(claim(), volume("one"), kept) == "kept"
    elsewhere = volume("kept", claimRef={"namespace": "default", "name": "data", "uid": "a former one"})
    assert chosen(claim(), elsewhere) is None


def said(wanted: Any, *volumes: Any, storage_class: Any = None) -> dict[str, str]:
    plan = reconcile_claim(wanted, ClaimChildren(list(volumes), storage_class), 0.0, directory=DIRECTORY)
    return {event.reason: event.message for event in plan.events}


def test_what_fits_nothing_is_said() -> None:
    assert said(claim(storageClassName="")) == {
        "FailedBinding": "no persistent volumes available for this claim and no storage class is set"
    }
    assert said(claim(storageClassName="nope")) == {
        "ProvisioningFailed": 'storageclass.storage.k8s.io "nope" not found'
    }
    assert said(claim(storageClassName="standard"), storage_class=STANDARD_CLASS) == {
        "WaitForFirstConsumer": "waiting for first consumer to be created before binding"
    }
    foreign = STANDARD_CLASS | {"provisioner": "example.com/disk", "volumeBindingMode": "Immediate"}
    picky = claim(selector={"matchLabels": {"a": "b"}}, annotations={"volume.kubernetes.io/selected-node": "n1"})
    assert "claim Selector is not supported" in said(picky, storage_class=STANDARD_CLASS)["ProvisioningFailed"]
    assert "'example.com/disk'" in said(claim(), storage_class=foreign)["ExternalProvisioning"]
    taken = volume("one", claimRef={"namespace": "default", "name": "other", "uid": "u2"})
    assert said(claim(volumeName="one"), taken) == {"FailedBinding": 'volume "one" already bound to a different claim.'}
    lost = claim(volumeName="gone", annotations={"pv.kubernetes.io/bind-completed": "yes"})
    assert "ClaimLost" in said(lost)


def test_a_volume_is_made_where_the_pod_will_run() -> None:
    wanted = claim(storageClassName="standard", annotations={"volume.kubernetes.io/selected-node": "n1"})
    plan = reconcile_claim(wanted, ClaimChildren([], STANDARD_CLASS), 0.0, directory=DIRECTORY)
    assert plan.reasons == ["no volume suits: provision pvc-u1 on n1"]


@pytest.mark.parametrize(
    ("policy", "provisioner", "gone", "phase", "deleted"),
    [
        ("Retain", PROVISIONER, False, "Released", False),
        ("Delete", PROVISIONER, True, "Released", True),
        ("Delete", PROVISIONER, False, "Released", False),
        ("Delete", "example.com/disk", True, "Released", False),
        ("Recycle", "", False, "Failed", False),
    ],
)
def test_a_released_volume_follows_its_policy(
    policy: str, provisioner: str, gone: bool, phase: str, deleted: bool
) -> None:
    item = volume(
        "one",
        claimRef={"namespace": "default", "name": "data", "uid": "u1"},
        persistentVolumeReclaimPolicy=policy,
    )
    item["metadata"]["annotations"] = {"pv.kubernetes.io/provisioned-by": provisioner}
    plan = reconcile_volume(item, VolumeChildren(None, gone), 0.0)
    assert plan.status is not None and plan.status["phase"] == phase
    assert bool(plan.steps) is deleted

"""From a pod's container to the create body."""

from typing import Any

import pytest
from node_samples import make_pod

from wherry.node import pods
from wherry.node.container_spec import Mount, Placement, cgroup_parent, container_name, create_body
from wherry.node.env import ConfigError


def placement(**more: Any) -> Placement:
    defaults: dict[str, Any] = {
        "attempt": 2,
        "backoff": 20.0,
        "sandbox": "s1",
        "image_id": "sha256:abc",
        "image_user": "",
        "environment": {"A": "one"},
        "netns": "/run/netns/p",
        "cgroup_parent": "w/kubepods/podu1",
        "memory_capacity": 1 << 30,
    }
    return Placement(**{**defaults, **more})


def body(container: dict[str, Any] | None = None, place: Placement | None = None, **spec: Any) -> dict[str, Any]:
    pod = make_pod(**spec)
    pod["spec"]["containers"][0] |= container or {}
    return create_body(pod, pod["spec"]["containers"][0], place or placement())


def test_names_and_labels() -> None:
    assert container_name(make_pod(), "web", 2) == "k8s_web_p_default_u1_2"
    labels = body()["Labels"]
    assert labels["io.kubernetes.pod.name"] == "p"
    assert labels["io.kubernetes.container.restartCount"] == "2"
    assert labels[pods.LABEL_BACKOFF] == "20"


def test_command_and_args_stand_for_entrypoint_and_cmd() -> None:
    made = body({"command": ["run", "$(A)"], "args": ["$(B)", "$$(A)"], "workingDir": "/w"})
    assert (made["Entrypoint"], made["Cmd"], made["WorkingDir"]) == (["run", "one"], ["$(B)", "$(A)"], "/w")
    assert "Entrypoint" not in body({"args": ["x"]})


def test_resources_become_cgroup_values() -> None:
    section = {"requests": {"cpu": "250m", "memory": "32Mi"}, "limits": {"cpu": "0.5", "memory": "64Mi"}}
    host = body({"resources": section})["HostConfig"]
    assert (host["CpuShares"], host["CpuQuota"], host["CpuPeriod"]) == (256, 50_000, 100_000)
    assert host["Memory"] == host["MemorySwap"] == 64 << 20
    assert host["OomScoreAdj"] == 1000 - 1000 * (32 << 20) // (1 << 30)
    assert body()["HostConfig"]["OomScoreAdj"] == 1000
    assert body()["HostConfig"]["CpuShares"] == 2


def test_qos_decides_over_the_cgroup() -> None:
    assert cgroup_parent("w", make_pod()) == "w/kubepods/besteffort/podu1"
    pod = make_pod()
    pod["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "1", "memory": "1Gi"}}
    assert cgroup_parent("w", pod) == "w/kubepods/podu1"


def test_security_contexts() -> None:
    context = {
        "runAsGroup": 7,
        "capabilities": {"add": ["CAP_NET_ADMIN"], "drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
    }
    pod_context = {
        "runAsUser": 1000,
        "fsGroup": 2000,
        "supplementalGroups": [5],
        "seccompProfile": {"type": "Unconfined"},
    }
    made = body({"securityContext": context}, securityContext=pod_context)
    host = made["HostConfig"]
    assert made["User"] == "1000:7"
    assert (host["CapAdd"], host["CapDrop"], host["GroupAdd"]) == (["NET_ADMIN"], ["ALL"], ["5", "2000"])
    assert host["ReadonlyRootfs"] is True
    assert host["SecurityOpt"] == ["no-new-privileges", "seccomp=unconfined"]


@pytest.mark.parametrize(
    ("user", "image_user", "message"),
    [
        (0, "", "container's runAsUser breaks non-root policy"),
        (None, "", "image will run as root"),
        (None, "nginx", r"image has non-numeric user \(nginx\), cannot verify user is non-root"),
    ],
)
def test_run_as_non_root_is_enforced(user: int | None, image_user: str, message: str) -> None:
    context = {"runAsNonRoot": True, **({} if user is None else {"runAsUser": user})}
    with pytest.raises(ConfigError, match=message):
        body({"securityContext": context}, placement(image_user=image_user))
    body({"securityContext": {"runAsNonRoot": True}}, placement(image_user="1000"))


def test_namespaces() -> None:
    shared = body(None, placement(ipcns="/i", pidns="/p"))["HostConfig"]
    assert (shared["NetworkMode"], shared["IpcMode"], shared["PidMode"]) == ("ns:/run/netns/p", "ns:/i", "ns:/p")
    host = body(None, placement(netns=""), hostNetwork=True, hostIPC=True, hostPID=True)["HostConfig"]
    assert (host["NetworkMode"], host["IpcMode"], host["PidMode"]) == ("host", "host", "host")


def test_mounts() -> None:
    (mount,) = body(None, placement(mounts=[Mount("/s", "/t", read_only=True)]))["HostConfig"]["Mounts"]
    assert (mount["Source"], mount["Target"], mount["ReadOnly"]) == ("/s", "/t", True)
    assert mount["BindOptions"] == {"Propagation": "rprivate", "ReadOnlyNonRecursive": True}

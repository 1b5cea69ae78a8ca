"""What the kubelet refuses itself, in the real kubelet's words."""

from typing import Any

from node_samples import make_pod

from wherry.node.admission import Refusal, admit

ALLOCATABLE = {"cpu": "2", "memory": "1Gi", "pods": "3"}
NODE = {"metadata": {"name": "n", "labels": {"disk": "ssd"}}, "spec": {}}


def asking(uid: str = "u1", **requests: str) -> dict[str, Any]:
    pod = make_pod()
    pod["metadata"]["uid"] = uid
    pod["spec"]["containers"][0]["resources"] = {"requests": requests}
    return pod


def test_a_pod_that_fits_is_admitted() -> None:
    assert admit(asking(cpu="500m"), [asking("u2", cpu="1500m")], NODE, ALLOCATABLE) is None


def test_too_little_cpu_is_told_in_thousandths() -> None:
    refusal = admit(asking(cpu="1"), [asking("u2", cpu="1500m")], NODE, ALLOCATABLE)
    assert refusal == Refusal(
        "OutOfcpu", "Node didn't have enough resource: cpu, requested: 1000, used: 1500, capacity: 2000"
    )
    assert refusal.status_message.startswith("Pod was rejected: Node didn't")


def test_an_unknown_resource_is_one_that_the_node_has_none_of() -> None:
    refusal = admit(asking(**{"example.com/gpu": "1"}), [], NODE, ALLOCATABLE)
    assert refusal is not None
    assert refusal.reason == "OutOfexample.com/gpu"


def test_the_number_of_pods_is_bounded() -> None:
    refusal = admit(asking(), [asking(uid) for uid in "abc"], NODE, ALLOCATABLE)
    assert refusal == Refusal("OutOfpods", "Node didn't have enough resource: pods, requested: 1, used: 3, capacity: 3")


def test_labels_and_affinity_must_match() -> None:
    assert admit(make_pod(nodeSelector={"disk": "ssd"}), [], NODE, ALLOCATABLE) is None
    refusal = admit(make_pod(nodeSelector={"disk": "tape"}), [], NODE, ALLOCATABLE)
    assert refusal == Refusal("NodeAffinity", "Predicate NodeAffinity failed")


def test_only_no_execute_taints_keep_a_bound_pod_away() -> None:
    soft = NODE | {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}
    hard = NODE | {"spec": {"taints": [{"key": "a", "value": "b", "effect": "NoExecute"}]}}
    assert admit(make_pod(), [], soft, ALLOCATABLE) is None
    refusal = admit(make_pod(), [], hard, ALLOCATABLE)
    assert refusal is not None
    assert refusal.reason == "TaintToleration"
    assert admit(make_pod(tolerations=[{"key": "a", "operator": "Exists"}]), [], hard, ALLOCATABLE) is None


def test_a_host_port_is_given_once() -> None:
    def with_port(uid: str, address: str) -> dict[str, Any]:
        pod = asking(uid)
        pod["spec"]["containers"][0]["ports"] = [{"containerPort": 80, "hostPort": 80, "hostIP": address}]
        return pod

    refusal = admit(with_port("u1", ""), [with_port("u2", "127.0.0.1")], NODE, ALLOCATABLE)
    assert refusal == Refusal("NodePorts", "Predicate NodePorts failed")
    assert admit(with_port("u1", "127.0.0.2"), [with_port("u2", "127.0.0.1")], NODE, ALLOCATABLE) is None


def test_sysctls_that_could_hurt_others_are_refused() -> None:
    pod = make_pod(securityContext={"sysctls": [{"name": "net/ipv4/tcp_syncookies", "value": "1"}]})
    assert admit(pod, [], None, {}) is None
    pod["spec"]["hostNetwork"] = True
    refusal = admit(pod, [], None, {})
    assert refusal is not None
    assert refusal.message == 'forbidden sysctl: "net.ipv4.tcp_syncookies" not allowed with host net enabled'
    pod = make_pod(securityContext={"sysctls": [{"name": "kernel.msgmax", "value": "65536"}]})
    refusal = admit(pod, [], None, {})
    assert refusal is not None
    assert (refusal.reason, refusal.message) == ("SysctlForbidden", 'forbidden sysctl: "kernel.msgmax" not allowlisted')

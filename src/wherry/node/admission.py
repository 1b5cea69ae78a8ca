"""May this pod run here? What the kubelet checks itself before it takes a pod, whoever bound it.

The scheduler has checked already, but a pod may name its node directly, two schedulers may have chosen the same room,
or the node may have changed since. A refused pod is Failed with the reason and message of the real kubelet.
Pure: `admit(pod, others, node, allocatable) -> Refusal | None`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from wherry.node import pods, resources
from wherry.node.resize import DEFERRED, INFEASIBLE, Obstacle
from wherry.schema.resource import Object
from wherry.schema.selectors import from_set, node_selector_matches


@dataclass(frozen=True)
class Refusal:
    """`reason` of the pod's status and event; `message` of the event, to which the status adds where it came from."""

    reason: str
    message: str

    @property
    def status_message(self) -> str:
        return f"Pod was rejected: {self.message}"


def admit(pod: Object, others: Iterable[Object], node: Object | None, allocatable: Mapping[str, str]) -> Refusal | None:
    """None when `pod` may run beside `others` (the pods that use this node's resources now)."""
    rest = list(others)
    return _sysctls(pod) or _placement(pod, node) or _ports(pod, rest) or _resources(pod, rest, allocatable)


def fits(pod: Object, others: Iterable[Object], allocatable: Mapping[str, str]) -> Obstacle | None:
    """May a pod that runs here become as large as `pod`, beside `others`?"""
    for name in ("memory", "cpu"):
        scale = 1000 if name == "cpu" else 1
        requested = resources.pod_requests(pod).get(name, Decimal(0))
        capacity = resources.quantity(str(allocatable.get(name, "0")))
        if requested > capacity:
            numbers = f"{name}, requested: {int(requested * scale)}, capacity: {int(capacity * scale)}"
            return Obstacle(INFEASIBLE, f"Node didn't have enough capacity: {numbers}")
    refusal = _resources(pod, list(others), allocatable)
    return None if refusal is None else Obstacle(DEFERRED, refusal.message)


SAFE_SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range", "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
    }
)  # fmt: skip
"""Those that belong to a pod's own namespaces and cannot hurt others."""


def _sysctls(pod: Object) -> Refusal | None:
    spec = pod["spec"]
    for name in pods.sysctls(pod, ""):
        why = "" if name in SAFE_SYSCTLS else "not allowlisted"
        if not why and name.startswith("net.") and spec.get("hostNetwork"):
            why = "not allowed with host net enabled"
        if not why and name.startswith(pods.IPC_SYSCTLS) and spec.get("hostIPC"):
            why = "not allowed with host ipc enabled"
        if why:
            return Refusal("SysctlForbidden", f'forbidden sysctl: "{name}" {why}')
    return None


def _placement(pod: Object, node: Object | None) -> Refusal | None:
    if node is None:
        return None
    spec = pod["spec"]
    labels = node["metadata"].get("labels") or {}
    affinity = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    if not from_set(spec.get("nodeSelector")).matches(labels) or (
        affinity is not None and not node_selector_matches(affinity, node)
    ):
        return Refusal("NodeAffinity", "Predicate NodeAffinity failed")
    if not pods.is_static(pod):
        for taint in (node.get("spec") or {}).get("taints") or ():
            if taint.get("effect") == "NoExecute" and not _tolerated(taint, spec.get("tolerations") or ()):
                return Refusal("TaintToleration", "Predicate TaintToleration failed")
    return None


def _tolerated(taint: Mapping[str, str], tolerations: Iterable[Mapping[str, str]]) -> bool:
    for one in tolerations:
        if one.get("effect") and one["effect"] != taint["effect"]:
            continue
        if one.get("key") and one["key"] != taint["key"]:
            continue
        if one.get("operator", "Equal") == "Exists" or one.get("value", "") == taint.get("value", ""):
            return True
    return False


def _ports(pod: Object, others: Iterable[Object]) -> Refusal | None:
    mine = set(_host_ports(pod))
    if not mine:
        return None
    for other in others:
        for protocol, address, port in _host_ports(other):
            for own_protocol, own_address, own_port in mine:
                same = (protocol, port) == (own_protocol, own_port)
                if same and (address == own_address or "0.0.0.0" in (address, own_address)):
                    return Refusal("NodePorts", "Predicate NodePorts failed")
    return None


def _host_ports(pod: Object) -> Iterable[tuple[str, str, int]]:
    for container in pods.main_containers(pod):
        for port in container.get("ports") or ():
            if port.get("hostPort"):
                yield port.get("protocol") or "TCP", port.get("hostIP") or "0.0.0.0", int(port["hostPort"])


def _resources(pod: Object, others: list[Object], allocatable: Mapping[str, str]) -> Refusal | None:
    room = int(allocatable.get("pods") or 0)
    if room and len(others) + 1 > room:
        return Refusal("OutOfpods", _insufficient("pods", 1, len(others), room))
    used: dict[str, Decimal] = {}
    for other in others:
        for name, amount in resources.pod_requests(other).items():
            used[name] = used.get(name, Decimal(0)) + amount
    for name, amount in resources.pod_requests(pod).items():
        if amount == 0:
            continue
        taken = used.get(name, Decimal(0))
        capacity = resources.quantity(str(allocatable.get(name, "0")))
        if taken + amount > capacity:
            scale = 1000 if name == "cpu" else 1
            numbers = [int(value * scale) for value in (amount, taken, capacity)]
            return Refusal(f"OutOf{name}", _insufficient(name, *numbers))
    return None


def _insufficient(resource: str, requested: int, used: int, capacity: int) -> str:
    """cpu is in thousandths, as the real kubelet says it."""
    return f"Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, capacity: {capacity}"

"""Nodes, with their pods and what those ask for."""

from fractions import Fraction
from typing import Any

from wherry.cli.kubectl.describing.writer import Object, Writer, events, since, time_of
from wherry.cli.kubectl.errors import ServerError
from wherry.cli.kubectl.session import Session

_ROLE = "node-role.kubernetes.io/"
_STANDARD = ("cpu", "memory", "ephemeral-storage")


def node(session: Session, out: Writer, obj: Object, found: list[Object] | None) -> None:
    meta, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    out.field("Name", meta["name"])
    labels = meta.get("labels") or {}
    roles = sorted(key[len(_ROLE) :] for key in labels if key.startswith(_ROLE) and len(key) > len(_ROLE))
    if labels.get("kubernetes.io/role"):
        roles.append(labels["kubernetes.io/role"])
    out.field("Roles", ",".join(roles) or "<none>")
    out.labels("Labels", labels)
    out.annotations(meta.get("annotations"))
    out.field("CreationTimestamp", time_of(meta.get("creationTimestamp")))
    taints = sorted(spec.get("taints") or (), key=lambda taint: (taint.get("effect", ""), taint.get("key", "")))
    out.below(
        "Taints",
        [
            t["key"] + (f"={t['value']}" if t.get("value") else "") + (f":{t['effect']}" if t.get("effect") else "")
            for t in taints
        ],
    )
    out.field("Unschedulable", "true" if spec.get("unschedulable") else "false")
    _lease(session, out, meta["name"])
    if status.get("conditions"):
        out.raw("Conditions:\n  Type\tStatus\tLastHeartbeatTime\tLastTransitionTime\tReason\tMessage\n")
        out.line(1, "----\t------\t-----------------\t------------------\t------\t-------")
        for one in status["conditions"]:
            beat, change = time_of(one.get("lastHeartbeatTime")), time_of(one.get("lastTransitionTime"))
            out.line(
                1,
                f"{one['type']} \t{one['status']} \t{beat} \t{change} \t{one.get('reason', '')} "
                f"\t{one.get('message', '')}",
            )
    out.raw("Addresses:\n")
    for address in status.get("addresses") or ():
        out.field(address["type"], address["address"], 1)
    for title, key in (("Capacity", "capacity"), ("Allocatable", "allocatable")):
        if status.get(key):
            out.raw(f"{title}:\n")
            for name in sorted(status[key]):
                out.field(name, status[key][name], 1)
    info = status.get("nodeInfo") or {}
    out.raw("System Info:\n")
    for title, key in (
        ("Machine ID", "machineID"),
        ("System UUID", "systemUUID"),
        ("Boot ID", "bootID"),
        ("Kernel Version", "kernelVersion"),
        ("OS Image", "osImage"),
        ("Operating System", "operatingSystem"),
        ("Architecture", "architecture"),
        ("Container Runtime Version", "containerRuntimeVersion"),
        ("Kubelet Version", "kubeletVersion"),
        ("Kube-Proxy Version", "kubeProxyVersion"),
    ):
        out.field(title, info.get(key, ""), 1)
    if spec.get("podCIDR"):
        out.field("PodCIDR", spec["podCIDR"])
    if spec.get("podCIDRs"):
        out.field("PodCIDRs", ",".join(spec["podCIDRs"]))
    if spec.get("providerID"):
        out.field("ProviderID", spec["providerID"])
    _pods(session, out, obj)
    events(out, found)


def _lease(session: Session, out: Writer, name: str) -> None:
    try:
        lease = session.http.get(f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{name}")
    except ServerError as error:
        out.field("Lease", f"Failed to get lease: {error}")
        return
    spec = lease.get("spec") or {}
    out.raw("Lease:\n")
    out.field("HolderIdentity", spec.get("holderIdentity") or "<unset>", 1)
    for title, key in (("AcquireTime", "acquireTime"), ("RenewTime", "renewTime")):
        out.field(title, time_of(spec[key]) if spec.get(key) else "<unset>", 1)


def _amounts(pod: Object, field: str) -> dict[str, Fraction]:
    """What a pod asks for: the sum of its containers, or its largest init container where that is more."""
    from wherry.schema.quantity import parse

    spec = pod.get("spec") or {}

    def amounts(container: Object) -> dict[str, Fraction]:
        return {
            name: Fraction(parse(value).nano, 10**9)
            for name, value in ((container.get("resources") or {}).get(field) or {}).items()
        }

    total: dict[str, Fraction] = {}
    for container in spec.get("containers") or ():
        for name, value in amounts(container).items():
            total[name] = total.get(name, Fraction(0)) + value
    sidecars: dict[str, Fraction] = {}
    for container in spec.get("initContainers") or ():
        own = amounts(container)
        if container.get("restartPolicy") == "Always":
            for name, value in own.items():
                sidecars[name] = sidecars.get(name, Fraction(0)) + value
                total[name] = total.get(name, Fraction(0)) + value
        else:
            for name, value in own.items():
                total[name] = max(total.get(name, Fraction(0)), value + sidecars.get(name, Fraction(0)))
    for name, value in (spec.get("overhead") or {}).items():
        if field == "requests" or name in total:
            total[name] = total.get(name, Fraction(0)) + Fraction(parse(value).nano, 10**9)
    return total


def _pods(session: Session, out: Writer, obj: Object) -> None:
    from wherry.schema.quantity import parse

    name, status = obj["metadata"]["name"], obj.get("status") or {}
    query = {"fieldSelector": f"spec.nodeName={name},status.phase!=Succeeded,status.phase!=Failed"}
    pods: list[Any] = session.http.get("/api/v1/pods", query).get("items") or []
    allocatable = {
        key: Fraction(parse(value).nano, 10**9)
        for key, value in (status.get("allocatable") or status.get("capacity") or {}).items()
    }

    def share(amount: Fraction, key: str) -> str:
        whole = allocatable.get(key) or Fraction(0)
        percent = int(amount * 100 / whole) if whole else 0
        return f"{_shown(amount, key)} ({percent}%)"

    out.field("Non-terminated Pods", f"({len(pods)} in total)")
    out.line(1, "Namespace\tName\t\tCPU Requests\tCPU Limits\tMemory Requests\tMemory Limits\tAge")
    out.line(1, "---------\t----\t\t------------\t----------\t---------------\t-------------\t---")
    totals: dict[str, dict[str, Fraction]] = {"requests": {}, "limits": {}}
    for pod in pods:
        own = {field: _amounts(pod, field) for field in totals}
        for field, amounts in own.items():
            for key, value in amounts.items():
                totals[field][key] = totals[field].get(key, Fraction(0)) + value
        columns = [
            share(own[field].get(key, Fraction(0)), key)
            for key in ("cpu", "memory")
            for field in ("requests", "limits")
        ]
        meta = pod["metadata"]
        cells = "\t".join(columns)
        out.line(1, f"{meta['namespace']}\t{meta['name']}\t\t{cells}\t{since(meta.get('creationTimestamp'))}")
    out.raw("Allocated resources:\n  (Total limits may be over 100 percent, i.e., overcommitted.)\n")
    out.line(1, "Resource\tRequests\tLimits")
    out.line(1, "--------\t--------\t------")
    huge = sorted(key for key in allocatable if key.startswith("hugepages-"))
    for key in (*_STANDARD, *huge):
        requests, limits = (totals[field].get(key, Fraction(0)) for field in ("requests", "limits"))
        out.line(1, f"{key}\t{share(requests, key)}\t{share(limits, key)}")
    for key in sorted(allocatable):
        if key not in _STANDARD and key not in huge and key != "pods":
            requests, limits = (totals[field].get(key, Fraction(0)) for field in ("requests", "limits"))
            out.line(1, f"{key}\t{_shown(requests, key)}\t{_shown(limits, key)}")


def _shown(amount: Fraction, key: str) -> str:
    """An amount as Kubernetes writes it: cpu in thousandths where needed, the rest in powers of 1024."""
    if not amount:
        return "0"
    if key == "cpu":
        return str(int(amount)) if amount.denominator == 1 else f"{int(-(-amount * 1000 // 1))}m"
    value = int(-(-amount // 1))
    for unit, power in (("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)):
        if value % (1 << power) == 0:
            return f"{value >> power}{unit}"
    for unit, decimal in (("T", 10**12), ("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if value % decimal == 0:
            return f"{value // decimal}{unit}"
    return str(value)

"""Requests and limits as the kernel takes them: cpu shares, quota, memory bytes, and a pod's sums.

Specified in https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/ ("How Kubernetes applies
resource requests and limits"); the arithmetic of cpu is the kubelet's own: 1 cpu = 1024 shares, a quota counts in
periods of 100 ms and is never below 1 ms.
"""

import re
from collections.abc import Iterable
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache

from wherry.node import pods
from wherry.schema.resource import Object

CPU_PERIOD = 100_000
HUGE_PAGES = "hugepages-"
MIN_QUOTA = 1_000
MIN_SHARES = 2
MAX_SHARES = 262_144

_SUFFIX = {
    "": Decimal(1), "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"),
    "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12),
    "P": Decimal(10**15), "E": Decimal(10**18),
    "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40),
    "Pi": Decimal(2**50), "Ei": Decimal(2**60),
}  # fmt: skip
_QUANTITY = re.compile(r"^([+-]?[0-9]*\.?[0-9]*(?:[eE][+-]?[0-9]+)?)([numkMGTPE]i?|Ki)?$")


@lru_cache(maxsize=1024)
def quantity(text: str) -> Decimal:
    """Exact value of a Kubernetes quantity. Raises ValueError."""
    found = _QUANTITY.match(text.strip())
    if not found or not found[1]:
        raise ValueError(f"not a quantity: {text!r}")
    return Decimal(found[1]) * _SUFFIX[found[2] or ""]


def is_zero(value: object) -> bool:
    return quantity(str(value)) == 0


def same_quantity(left: object, right: object) -> bool:
    return left is not None and right is not None and quantity(str(left)) == quantity(str(right))


def value(text: object) -> int:
    """Whole units, rounded up (bytes, counts)."""
    return int(quantity(str(text)).to_integral_value(rounding=ROUND_CEILING))


def milli(text: object) -> int:
    """Thousandths, rounded up (cpu)."""
    return int((quantity(str(text)) * 1000).to_integral_value(rounding=ROUND_CEILING))


def cpu_shares(milli_cpu: int) -> int:
    """cgroup v1 `cpu.shares` for a request in thousandths of a cpu."""
    if milli_cpu <= 0:
        return MIN_SHARES
    return min(MAX_SHARES, max(MIN_SHARES, milli_cpu * 1024 // 1000))


def cpu_quota(milli_cpu: int) -> int:
    """CFS quota in microseconds per period of 100 ms; 0 means no limit."""
    if milli_cpu <= 0:
        return 0
    return max(MIN_QUOTA, milli_cpu * CPU_PERIOD // 1000)


def requests(container: Object) -> dict[str, str]:
    """Requests with limits standing in where only a limit is given (as API defaulting does)."""
    section = container.get("resources") or {}
    return {**(section.get("limits") or {}), **(section.get("requests") or {})}


def limits(container: Object) -> dict[str, str]:
    return dict((container.get("resources") or {}).get("limits") or {})


def pod_total(pod: Object, section: str, resource: str) -> Decimal | None:
    """The pod's sum of `requests` or `limits` of one resource, or None when a container has none (no bound).

    Main containers and sidecars add up; a plain init container counts with the sidecars started before it, and
    the largest of both wins. Overhead is added.
    """
    pod_level = ((pod["spec"].get("resources") or {}).get(section) or {}).get(resource)
    if pod_level is not None:
        return quantity(str(pod_level))
    pick = requests if section == "requests" else limits

    def of(container: Object) -> Decimal | None:
        given = pick(container).get(resource)
        return None if given is None else quantity(str(given))

    bounded = True
    total = Decimal(0)
    for container in pods.main_containers(pod):
        amount = of(container)
        bounded = bounded and amount is not None
        total += amount or 0
    before = Decimal(0)
    peak = Decimal(0)
    for container in pods.init_containers(pod):
        amount = of(container)
        bounded = bounded and amount is not None
        if pods.is_sidecar(container):
            before += amount or 0
            peak = max(peak, before)
        else:
            peak = max(peak, before + (amount or 0))
    result = max(total + before, peak)
    if section == "limits" and not bounded:
        return None
    overhead = (pod["spec"].get("overhead") or {}).get(resource)
    return result + (quantity(str(overhead)) if overhead is not None else 0)


def pod_requests(pod: Object) -> dict[str, Decimal]:
    """All requests of a pod, per resource, as the scheduler counts them."""
    names: set[str] = set()
    groups: Iterable[Object] = (*pods.main_containers(pod), *pods.init_containers(pod))
    for container in groups:
        names.update(requests(container))
    names.update((pod["spec"].get("resources") or {}).get("requests") or {})
    names.update(pod["spec"].get("overhead") or {})
    return {name: pod_total(pod, "requests", name) or Decimal(0) for name in names}


def oom_score_adj(pod: Object, container: Object, memory_capacity: int) -> int:
    """The kernel's OOM preference of one container.

    Guaranteed −997, BestEffort 1000, Burstable 1000 − 1000 × request ÷ capacity within 3…999.
    """
    qos = pods.qos_class(pod)
    if (pod["spec"].get("priorityClassName") or "") in ("system-node-critical",):
        return -997
    if qos == "Guaranteed":
        return -997
    if qos == "BestEffort":
        return 1000
    request = value(requests(container).get("memory", "0"))
    adjusted = 1000 - (1000 * request) // max(1, memory_capacity)
    return max(3, min(999, adjusted))


def human(amount: Decimal, resource: str) -> str:
    """A canonical quantity string for sums: cpu in `m`, the rest whole."""
    if resource == "cpu":
        thousandths = int((amount * 1000).to_integral_value(rounding=ROUND_CEILING))
        return f"{thousandths // 1000}" if thousandths % 1000 == 0 else f"{thousandths}m"
    return str(int(amount.to_integral_value(rounding=ROUND_CEILING)))


def huge_page_sizes(pod: Object) -> list[str]:
    """The sizes of huge pages that a pod asks for, as quantities: `2Mi`, `1Gi`."""
    names = sorted(pod_requests(pod))
    return [name.removeprefix(HUGE_PAGES) for name in names if name.startswith(HUGE_PAGES)]


def huge_page_limit(pod: Object, size: str) -> int:
    """Bytes of huge pages of one size that all containers of a pod together may use."""
    return int(pod_total(pod, "requests", HUGE_PAGES + size) or 0)

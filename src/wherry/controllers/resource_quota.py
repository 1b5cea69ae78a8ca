"""ResourceQuotas: what a namespace uses of what it may. https://kubernetes.io/docs/concepts/policy/resource-quotas/

This controller keeps `status.used` true; refusing what goes beyond is admission's part.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from wherry.client.clock import parse_time
from wherry.client.informer import Informers, Key, key_of
from wherry.controllers import pods
from wherry.controllers.catalog import Catalog
from wherry.controllers.loop import Controller, Watch
from wherry.controllers.plan import Plan
from wherry.schema import quantity
from wherry.schema.builtin import PERSISTENT_VOLUME_CLAIMS, PODS, RESOURCE_QUOTAS, SERVICES
from wherry.schema.resource import Object

_COUNTED = {
    "configmaps": ("", "ConfigMap"),
    "persistentvolumeclaims": ("", "PersistentVolumeClaim"),
    "replicationcontrollers": ("", "ReplicationController"),
    "resourcequotas": ("", "ResourceQuota"),
    "secrets": ("", "Secret"),
    "services": ("", "Service"),
}


@dataclass
class Children:
    """`counts`: how many objects of each counted kind, by the name the quota gives it."""

    pods: list[Object] = field(default_factory=list)
    services: list[Object] = field(default_factory=list)
    claims: list[Object] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


def in_scope(pod: Object, quota: Object) -> bool:
    """Whether a pod counts for the quota's scopes."""
    spec = quota["spec"]
    best_effort = not any(
        quantity.parse(((container.get("resources") or {}).get(kind) or {}).get(resource, "0")) > quantity.ZERO
        for container in (*pod["spec"].get("containers", ()), *(pod["spec"].get("initContainers") or ()))
        for kind in ("requests", "limits")
        for resource in ("cpu", "memory")
    )
    truths = {
        "Terminating": pod["spec"].get("activeDeadlineSeconds") is not None,
        "NotTerminating": pod["spec"].get("activeDeadlineSeconds") is None,
        "BestEffort": best_effort,
        "NotBestEffort": not best_effort,
        "CrossNamespacePodAffinity": _looks_across_namespaces(pod),
    }
    if not all(truths.get(scope, True) for scope in spec.get("scopes") or ()):
        return False
    for one in (spec.get("scopeSelector") or {}).get("matchExpressions") or ():
        if one["scopeName"] == "PriorityClass":
            name = pod["spec"].get("priorityClassName")
            values, operator = one.get("values") or (), one["operator"]
            held = {
                "In": name in values,
                "NotIn": name not in values,
                "Exists": bool(name),
                "DoesNotExist": not name,
            }
            if not held[operator]:
                return False
        elif not truths.get(one["scopeName"], True):
            return False
    return True


def _looks_across_namespaces(pod: Object) -> bool:
    """Whether a term of its pod (anti-)affinity names namespaces."""
    affinity = pod["spec"].get("affinity") or {}
    terms: list[Object] = []
    for kind in ("podAffinity", "podAntiAffinity"):
        rules = affinity.get(kind) or {}
        terms += rules.get("requiredDuringSchedulingIgnoredDuringExecution") or ()
        preferred = rules.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        terms += [one["podAffinityTerm"] for one in preferred]
    return any(term.get("namespaces") or term.get("namespaceSelector") is not None for term in terms)


def _stuck_in(pod: Object, now: float) -> float | None:
    """Seconds until a pod that is being deleted no longer counts (its node may be lost); None while it is not."""
    metadata = pod["metadata"]
    ends = parse_time(metadata.get("deletionTimestamp"))
    grace = metadata.get("deletionGracePeriodSeconds")
    return None if ends is None or grace is None else ends + grace - now


def reconcile(quota: Object, children: Children, now: float) -> Plan:
    plan = Plan()
    hard = quota["spec"].get("hard") or {}
    counted = []
    for pod in children.pods:
        if pods.is_finished(pod) or not in_scope(pod, quota):
            continue
        left = _stuck_in(pod, now)
        if left is not None and left < 0:
            continue
        if left is not None:
            plan.again_in(left + 1)
        counted.append(pod)
    used = {name: str(_used(name, counted, children)) for name in hard}
    plan.status = {"hard": {name: quantity.canonical(text) for name, text in hard.items()}, "used": used}
    return plan


def _used(name: str, counted: list[Object], children: Children) -> quantity.Quantity:
    if name == "pods":
        return quantity.of(len(counted))
    if name in children.counts:
        return quantity.of(children.counts[name])
    if name == "services.loadbalancers":
        return quantity.of(sum(one["spec"].get("type") == "LoadBalancer" for one in children.services))
    if name == "services.nodeports":
        ports = [
            port
            for one in children.services
            if one["spec"].get("type") in ("NodePort", "LoadBalancer")
            for port in one["spec"].get("ports") or ()
            if port.get("nodePort") or one["spec"]["type"] == "NodePort"
        ]
        return quantity.of(len(ports))
    class_name, marker, rest = name.partition(".storageclass.storage.k8s.io/")
    if marker:
        mine = [one for one in children.claims if one["spec"].get("storageClassName") == class_name]
        return quantity.of(len(mine)) if rest == "persistentvolumeclaims" else _storage(mine)
    if name == "requests.storage":
        return _storage(children.claims)
    kind, dot, resource = name.partition(".")
    if not dot or kind not in ("requests", "limits"):
        kind, resource = "requests", name
    return _total(counted, kind, resource)


def _storage(claims: Iterable[Object]) -> quantity.Quantity:
    total = quantity.ZERO
    for claim in claims:
        requests = (claim["spec"].get("resources") or {}).get("requests") or {}
        total += quantity.parse(requests.get("storage", "0"))
    return total


def _total(counted: Iterable[Object], kind: str, resource: str) -> quantity.Quantity:
    total = quantity.ZERO
    for pod in counted:
        spec = pod["spec"]
        needs = sidecars = largest = quantity.ZERO
        for container in spec.get("containers", ()):
            needs += _amount(container, kind, resource)
        for container in spec.get("initContainers") or ():
            if container.get("restartPolicy") == "Always":
                sidecars += _amount(container, kind, resource)
            else:
                # The sidecars before it run on beside it.
                largest = max(largest, _amount(container, kind, resource) + sidecars)
        needs = max(needs + sidecars, largest)
        needs += quantity.parse((spec.get("overhead") or {}).get(resource, "0"))
        total += needs
    return total


def _amount(container: Object, kind: str, resource: str) -> quantity.Quantity:
    return quantity.parse(((container.get("resources") or {}).get(kind) or {}).get(resource, "0"))


def _quotas_of(obj: Object, informers: Informers) -> list[Key]:
    return [key_of(quota) for quota in informers[RESOURCE_QUOTAS].items(obj["metadata"]["namespace"])]


def _pod_matters(old: Object, new: Object) -> bool:
    return pods.is_finished(old) != pods.is_finished(new) or old["spec"] != new["spec"]


class ResourceQuotaController(Controller):
    name = "resourcequota-controller"
    resource = RESOURCE_QUOTAS
    watches = (
        Watch(PODS, _quotas_of, _pod_matters),
        Watch(SERVICES, _quotas_of),
        Watch(PERSISTENT_VOLUME_CLAIMS, _quotas_of, lambda old, new: old["spec"] != new["spec"]),
    )

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def setup(self, informers: Informers) -> None:
        followed = {watch.resource for watch in self.watches} | {RESOURCE_QUOTAS}
        wanted = set(_COUNTED.values())
        for resource in self._catalog:
            if (resource.group, resource.kind) in wanted and resource not in followed:
                _ = informers[resource]

    def gather(self, obj: Object, informers: Informers) -> Children:
        namespace = obj["metadata"]["namespace"]
        counts: dict[str, int] = {}
        for name in obj["spec"].get("hard") or {}:
            group_kind = _COUNTED.get(name)
            plural, _, group = name.removeprefix("count/").partition(".")
            for resource in self._catalog:
                if not resource.namespaced:
                    continue
                named = name.startswith("count/") and (resource.plural, resource.group) == (plural, group)
                if named or (resource.group, resource.kind) == group_kind:
                    counts[name] = len(informers[resource].items(namespace))
                    break
        return Children(
            informers[PODS].items(namespace),
            informers[SERVICES].items(namespace),
            informers[PERSISTENT_VOLUME_CLAIMS].items(namespace),
            counts,
        )

    def reconcile(self, obj: Object, children: Children, now: float) -> Plan:
        plan = reconcile(obj, children, now)
        # Other kinds are counted by a look every so often, as nothing tells of their changes.
        plan.again_in(10.0)
        return plan

"""ResourceQuota: what goes beyond a namespace's quotas is refused, and what is let in is counted at once.

The counting is a compare-and-swap on the quota's status, so that creations that arrive together cannot pass
together; the quota controller puts right what was counted for a write that failed afterwards.
https://kubernetes.io/docs/concepts/policy/resource-quotas/
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from wherry.controllers.resource_quota import in_scope
from wherry.kube_api.admission.chain import Plugin
from wherry.kube_api.admission.limit_ranger import pod_total
from wherry.kube_api.call import Call
from wherry.schema import builtin, errors, quantity
from wherry.schema.quantity import ZERO, Quantity
from wherry.schema.resource import Object

if TYPE_CHECKING:
    from wherry.kube_api.api import Api
    from wherry.kube_api.objects import Entry

Usage = dict[str, Quantity]

COUNTED = frozenset(
    {
        "pods", "services", "replicationcontrollers", "resourcequotas", "secrets", "configmaps",
        "persistentvolumeclaims",
    }
)  # fmt: skip
COMPUTE = ("cpu", "memory", "ephemeral-storage")


class ResourceQuota(Plugin):
    """See the module."""

    async def validate(self, api: "Api", call: Call, obj: Object, old: Object | None) -> None:
        if call.subresource not in ("", "resize") or not call.resource.namespaced or call.namespace is None:
            return
        quotas = api.cache_of(builtin.RESOURCE_QUOTAS)
        if not quotas.size(call.namespace):
            return
        wanted = usage(call, obj)
        before = usage(call, old) if old is not None else {}
        delta = {name: wanted[name] - before.get(name, ZERO) for name in wanted}
        delta = {
            name: amount for name, amount in delta.items() if amount.nano > 0 or (old is None and amount.nano == 0)
        }
        if not delta:
            return
        for entry in list(quotas.entries(call.namespace)):
            await self._charge(api, call, obj, entry, delta, created=old is None)

    async def _charge(
        self, api: "Api", call: Call, obj: Object, entry: "Entry", delta: Usage, *, created: bool
    ) -> None:
        if not _applies(call, obj, entry.shared()):
            return
        _check_specified(call, obj, entry.shared(), created)

        async def charged(current: "Entry | None") -> Object | None:
            if current is None:
                return None
            quota = current.decode()
            status = quota.setdefault("status", {})
            hard = status.get("hard") or quota["spec"].get("hard") or {}
            used = dict(status.get("used") or {})
            touched = {name: amount for name, amount in delta.items() if name in hard}
            over = [
                name
                for name, amount in touched.items()
                if amount.nano > 0 and quantity.parse(used.get(name, "0")) + amount > quantity.parse(hard[name])
            ]
            if over:
                raise _forbidden(call, obj, _exceeded(entry.name, sorted(over), touched, used, hard))
            if call.dry_run or not any(amount.nano > 0 for amount in touched.values()):
                return None
            for name, amount in touched.items():
                used[name] = str(quantity.parse(used.get(name, "0")) + amount)
            status["hard"], status["used"] = hard, used
            return quota

        if call.dry_run:
            await charged(entry)
            return
        try:
            await api.modify(builtin.RESOURCE_QUOTAS, entry.namespace, entry.name, charged)
        except errors.NotFound:
            return


def usage(call: Call, obj: Object) -> Usage:
    """What an object takes of a quota, by the names that quotas use."""
    resource = call.resource
    found: Usage = {f"count/{resource.qualified}": quantity.of(1)}
    if not resource.group and resource.plural in COUNTED:
        found[resource.plural] = quantity.of(1)
    if resource == builtin.PODS:
        phase = (obj.get("status") or {}).get("phase")
        if phase in ("Succeeded", "Failed"):
            return {f"count/{resource.qualified}": quantity.of(1)}
        for kind in ("requests", "limits"):
            for name, text in pod_total(obj.get("spec") or {}, kind).items():
                found[f"{kind}.{name}"] = quantity.parse(text)
                if kind == "requests" and name in COMPUTE:
                    found[name] = quantity.parse(text)
    elif resource == builtin.SERVICES:
        spec = obj.get("spec") or {}
        if spec.get("type") == "LoadBalancer":
            found["services.loadbalancers"] = quantity.of(1)
        if spec.get("type") in ("NodePort", "LoadBalancer"):
            found["services.nodeports"] = quantity.of(len(spec.get("ports") or ()))
    elif resource == builtin.PERSISTENT_VOLUME_CLAIMS:
        spec = obj.get("spec") or {}
        storage = quantity.parse(((spec.get("resources") or {}).get("requests") or {}).get("storage", "0"))
        found["requests.storage"] = storage
        if class_name := spec.get("storageClassName"):
            prefix = f"{class_name}.storageclass.storage.k8s.io/"
            found[f"{prefix}requests.storage"] = storage
            found[f"{prefix}persistentvolumeclaims"] = quantity.of(1)
    return found


def _applies(call: Call, obj: Object, quota: Object) -> bool:
    spec = quota["spec"]
    if not spec.get("scopes") and not spec.get("scopeSelector"):
        return True
    return call.resource == builtin.PODS and in_scope(obj, quota)


def _check_specified(call: Call, obj: Object, quota: Object, created: bool) -> None:
    """A quota on cpu or memory makes it a duty to say how much a container needs."""
    if call.resource != builtin.PODS or not created:
        return
    missing: dict[str, list[str]] = {}
    for name in quota["spec"].get("hard") or {}:
        kind, dot, resource = name.partition(".")
        if not dot:
            kind, resource = "requests", name
        if kind not in ("requests", "limits") or resource not in COMPUTE[:2]:
            continue
        for container in (obj.get("spec") or {}).get("containers") or ():
            if resource not in ((container.get("resources") or {}).get(kind) or {}):
                missing.setdefault(name, []).append(container["name"])
    if missing:
        parts = "; ".join(f"{name} for: {','.join(sorted(set(missing[name])))}" for name in sorted(missing))
        raise _forbidden(call, obj, f"failed quota: {quota['metadata']['name']}: must specify {parts}")


def _exceeded(name: str, over: list[str], delta: Usage, used: Mapping[str, str], hard: Mapping[str, str]) -> str:
    requested = ",".join(f"{one}={delta[one]}" for one in over)
    taken = ",".join(f"{one}={used.get(one, '0')}" for one in over)
    limited = ",".join(f"{one}={hard[one]}" for one in over)
    return f"exceeded quota: {name}, requested: {requested}, used: {taken}, limited: {limited}"


def _forbidden(call: Call, obj: Object, why: str) -> errors.Forbidden:
    name = obj["metadata"]["name"]
    details = {"name": name, "kind": call.resource.plural}
    if call.resource.group:
        details["group"] = call.resource.group
    return errors.Forbidden(f'{call.resource.qualified} "{name}" is forbidden: {why}', details=details)

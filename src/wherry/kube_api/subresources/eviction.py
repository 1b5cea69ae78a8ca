"""`pods/NAME/eviction`: deletion that respects PodDisruptionBudgets (429 when it may not happen now).

https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/
"""

from typing import Any

from wherry.kube_api.api import Api
from wherry.kube_api.call import Call, DeleteOptions
from wherry.kube_api.objects import Entry
from wherry.kube_api.verbs.delete import delete
from wherry.schema import builtin, errors, selectors
from wherry.schema.resource import Object


async def evict(api: Api, call: Call, body: Any) -> Object:
    """Evict the pod. Raises NotFound, TooManyRequests (the budget is used up), InternalError (two budgets)."""
    name = call.name or ""
    given = (body if isinstance(body, dict) else {}).get("deleteOptions") or {}
    preconditions = given.get("preconditions") or {}
    options = DeleteOptions(
        preconditions.get("uid"),
        preconditions.get("resourceVersion"),
        given.get("gracePeriodSeconds"),
        given.get("propagationPolicy"),
    )
    call.dry_run = call.dry_run or "All" in (given.get("dryRun") or ())
    entry = await api.read(builtin.PODS, call.namespace, name)
    if entry is None:
        raise api.not_found(builtin.PODS, name)
    pod = entry.peek()
    phase = (pod.get("status") or {}).get("phase")
    if phase not in ("Succeeded", "Failed", "Pending") and not pod["metadata"].get("deletionTimestamp"):
        await _use_budget(api, call, pod)
    await delete(api, call.with_(resource=builtin.PODS, subresource="", verb="delete"), options)
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


async def _use_budget(api: Api, call: Call, pod: Object) -> None:
    """Take one disruption from the budget that covers the pod."""
    labels = pod["metadata"].get("labels")
    budgets = [
        entry
        for entry in api.cache_of(builtin.POD_DISRUPTION_BUDGETS).entries(call.namespace)
        if selectors.from_label_selector(entry.peek()["spec"].get("selector")).matches(labels)
    ]
    if not budgets:
        return
    if len(budgets) > 1:
        raise errors.InternalError(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        )
    ready = any(
        one.get("type") == "Ready" and one.get("status") == "True"
        for one in (pod.get("status") or {}).get("conditions") or ()
    )
    budget = budgets[0].peek()
    status = budget.get("status") or {}
    if not ready:
        policy = budget["spec"].get("unhealthyPodEvictionPolicy") or "IfHealthyBudget"
        if policy == "AlwaysAllow" or (
            status.get("currentHealthy", 0) >= status.get("desiredHealthy", 0) > 0 and policy == "IfHealthyBudget"
        ):
            return

    async def change(entry: Entry | None) -> Object | None:
        if entry is None:
            return None
        obj = entry.decode()
        now = obj.get("status") or {}
        if now.get("observedGeneration", 0) < obj["metadata"].get("generation", 0):
            raise _refused(obj["metadata"]["name"], 10, "is still being processed by the server.")
        if now.get("disruptionsAllowed", 0) <= 0:
            raise _refused(
                obj["metadata"]["name"], 0,
                f"needs {now.get('desiredHealthy', 0)} healthy pods and has {now.get('currentHealthy', 0)} currently",
            )  # fmt: skip
        now["disruptionsAllowed"] -= 1
        now.setdefault("disruptedPods", {})[pod["metadata"]["name"]] = api.timestamp()
        obj["status"] = now
        return obj

    if call.dry_run:
        await change(budgets[0])
    else:
        await api.modify(builtin.POD_DISRUPTION_BUDGETS, call.namespace, budgets[0].name, change)


def _refused(name: str, retry: int, why: str) -> errors.TooManyRequests:
    details: dict[str, Any] = {
        "causes": [{"reason": "DisruptionBudget", "message": f"The disruption budget {name} {why}"}]
    }
    if retry:
        details["retryAfterSeconds"] = retry
    return errors.TooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", details=details)

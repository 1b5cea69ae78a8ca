"""`pods/NAME/binding`: the scheduler's decision. Sets spec.nodeName once and notes it in the conditions."""

from typing import Any

from wherry.kube_api.api import Api
from wherry.kube_api.call import Call
from wherry.kube_api.objects import Entry
from wherry.schema import builtin, errors
from wherry.schema.resource import Object


async def bind_by_body(api: Api, call: Call, body: Any) -> Object:
    """POST to `bindings`: the pod's name stands in the body."""
    name = ((body if isinstance(body, dict) else {}).get("metadata") or {}).get("name")
    return await bind(api, call.with_(resource=builtin.PODS, name=name, subresource="binding"), body)


async def bind(api: Api, call: Call, body: Any) -> Object:
    """Bind the pod to `target.name`. Raises NotFound, Conflict (bound already, being deleted), Invalid."""
    name = call.name or ""
    target = (body if isinstance(body, dict) else {}).get("target") or {}
    metadata = (body if isinstance(body, dict) else {}).get("metadata") or {}
    if target.get("kind") not in (None, "", "Node"):
        raise _invalid(
            name,
            "FieldValueNotSupported",
            f'Unsupported value: "{target["kind"]}": supported values: "Node", "<empty>"',
            "target.kind",
        )
    if not target.get("name"):
        raise _invalid(name, "FieldValueRequired", "Required value", "target.name")

    async def change(entry: Entry | None) -> Object:
        if entry is None:
            raise api.not_found(builtin.PODS, name)
        pod = entry.decode()
        uid = metadata.get("uid")
        if uid and uid != pod["metadata"]["uid"]:
            raise _conflict(
                name, f"Precondition failed: UID in precondition: {uid}, UID in object meta: {pod['metadata']['uid']}"
            )
        if pod["metadata"].get("deletionTimestamp"):
            raise _conflict(name, f"pod {name} is being deleted, cannot be assigned to a host")
        if pod["spec"].get("nodeName"):
            raise _conflict(name, f'pod {name} is already assigned to node "{pod["spec"]["nodeName"]}"')
        if pod["spec"].get("schedulingGates"):
            raise _conflict(name, f"pod {name} has non-empty .spec.schedulingGates")
        pod["spec"]["nodeName"] = target["name"]
        if metadata.get("annotations"):
            pod["metadata"].setdefault("annotations", {}).update(metadata["annotations"])
        status = pod.setdefault("status", {})
        others = [one for one in status.get("conditions") or () if one.get("type") != "PodScheduled"]
        now = api.timestamp()
        others.append({"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": now})
        status["conditions"] = others
        return pod

    if call.dry_run:
        await change(await api.read(builtin.PODS, call.namespace, name))
    else:
        await api.modify(builtin.PODS, call.namespace, name, change)
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def _conflict(name: str, why: str) -> errors.Conflict:
    return errors.Conflict(
        f'Operation cannot be fulfilled on pods/binding "{name}": {why}',
        details={"name": name, "kind": "pods/binding"},
    )


def _invalid(name: str, reason: str, message: str, field: str) -> errors.Invalid:
    return errors.invalid("", "Binding", name, [errors.Cause(reason, message, field)])

"""`scale`: replicas and selector of anything that can be scaled, as autoscaling/v1 Scale.

https://kubernetes.io/docs/reference/kubernetes-api/ (Scale v1 autoscaling); custom resources give their own paths.
"""

from typing import Any

import orjson

from wherry.kube_api import rules
from wherry.kube_api.api import MODIFIED, Api
from wherry.kube_api.call import Call
from wherry.kube_api.objects import Entry
from wherry.kube_api.pipeline import prepare_changed
from wherry.kube_api.verbs.get import get
from wherry.kube_api.verbs.update import write
from wherry.schema import builtin, errors, selectors
from wherry.schema.objects import deep_copy, dig
from wherry.schema.resource import Object, Resource

SCALE = Resource("autoscaling", "v1", "Scale", "scales")


def has_scale(api: Api, resource: Resource) -> bool:
    return "scale" in resource.subresources


def _paths(api: Api, resource: Resource) -> tuple[list[str], list[str], list[str]]:
    """Paths of (spec replicas, status replicas, selector in status)."""
    extra = api.table.extra(resource)
    declared = getattr(extra, "scale", None)
    if declared:
        return tuple(  # type: ignore[return-value]
            [one for one in str(declared.get(field) or "").strip(".").split(".") if one]
            for field in ("specReplicasPath", "statusReplicasPath", "labelSelectorPath")
        )
    return ["spec", "replicas"], ["status", "replicas"], []


def to_scale(api: Api, resource: Resource, obj: Object) -> Object:
    """The Scale of an object."""
    spec_path, status_path, selector_path = _paths(api, resource)
    metadata = obj["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    status: Object = {"replicas": dig(obj, *status_path) or 0}
    if selector_path:
        selector = dig(obj, *selector_path)
        if isinstance(selector, str) and selector:
            status["selector"] = selector
    elif resource == builtin.REPLICATION_CONTROLLERS:
        status["selector"] = str(selectors.from_set(dig(obj, "spec", "selector")))
    else:
        status["selector"] = selectors.format_label_selector(dig(obj, "spec", "selector") or {}).replace("<none>", "")
    replicas = dig(obj, *spec_path)
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {field: metadata[field] for field in kept if field in metadata},
        "spec": {"replicas": replicas} if replicas is not None else {},
        "status": status,
    }


async def read_scale(api: Api, call: Call) -> Entry:
    """GET of `scale`."""
    entry = await get(api, call)
    return Entry(entry.namespace, entry.name, orjson.dumps(to_scale(api, call.resource, entry.peek())), entry.revision)


async def write_scale(api: Api, call: Call, body: Any, patch_type: str) -> tuple[Entry, bool]:
    """PUT (`patch_type` "") or PATCH of `scale`: changes spec.replicas alone. Raises Conflict, Invalid, NotFound."""
    main = call.with_(subresource="")

    async def change(current: Object | None) -> Object:
        if current is None:
            raise api.not_found(call.resource, call.name or "")
        scale = to_scale(api, call.resource, current)
        wanted = body
        if patch_type:
            wanted = rules.patched(api, call.with_(resource=SCALE), scale, deep_copy(body), patch_type)
        if not isinstance(wanted, dict) or wanted.get("kind") not in (None, "Scale"):
            raise errors.BadRequest("the body of the request must be a Scale object")
        version = dig(wanted, "metadata", "resourceVersion")
        if version and version != current["metadata"]["resourceVersion"]:
            raise errors.conflict(call.resource.group, call.resource.plural, call.name or "", MODIFIED)
        replicas = dig(wanted, "spec", "replicas") or 0
        if isinstance(replicas, bool) or not isinstance(replicas, int) or replicas < 0:
            raise errors.invalid(
                "autoscaling", "Scale", call.name or "",
                [errors.Cause("FieldValueInvalid",
                              f"Invalid value: {replicas}: must be greater than or equal to 0", "spec.replicas")],
            )  # fmt: skip
        new = deep_copy(current)
        target = new
        spec_path = _paths(api, call.resource)[0]
        for part in spec_path[:-1]:
            target = target.setdefault(part, {})
        target[spec_path[-1]] = replicas
        return await prepare_changed(api, main, new, current)

    entry, created = await write(api, main, change)
    shown = api.present(call.resource, entry)
    return Entry(
        entry.namespace, entry.name, orjson.dumps(to_scale(api, call.resource, shown.decode())), entry.revision
    ), created

"""PATCH: JSON patch, merge patch, strategic merge patch, and server-side apply."""

from typing import Any

from wherry.kube_api import rules
from wherry.kube_api.api import Api
from wherry.kube_api.call import Call
from wherry.kube_api.objects import Entry
from wherry.kube_api.pipeline import check_fields, check_object, prepare_changed, prepare_new
from wherry.kube_api.verbs.update import write
from wherry.schema import errors
from wherry.schema.objects import deep_copy, json_copy
from wherry.schema.resource import Object

JSON = "application/json-patch+json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"


async def patch(api: Api, call: Call, body: Any, type_: str) -> tuple[Entry, bool]:
    """Apply a patch of content type `type_`; returns the entry and whether it was created (apply only).

    Raises NotFound, Conflict (resourceVersion in the patch, or fields of other managers), Invalid, BadRequest.
    """
    if type_ == APPLY:
        call.applying = True
        _check_apply(api, call, body)
    elif call.force:
        raise errors.Invalid(
            'PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified for non-apply patch'
        )

    async def change(current: Object | None) -> Object:
        if current is None:
            if type_ != APPLY or call.subresource:
                raise api.not_found(call.resource, call.name or "")
            return await _create_by_apply(api, call, deep_copy(body))
        try:
            # Apply shares what it leaves alone with the object it is given; the other patches copy by themselves.
            base = json_copy(current) if type_ == APPLY else current
            new = rules.patched(api, call, base, deep_copy(body) if type_ == APPLY else body, type_)
        except ValueError as error:
            raise errors.BadRequest(str(error)) from error
        new = check_object(call, new)
        if type_ != APPLY:
            check_fields(api, call, new)
        return await prepare_changed(api, call, new, current)

    return await write(api, call, change)


def _check_apply(api: Api, call: Call, body: Any) -> None:
    if not call.field_manager:
        raise errors.Invalid(
            'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch'
        )
    if not isinstance(body, dict):
        raise errors.BadRequest("error decoding YAML: the body of an apply patch must be an object")
    if not body.get("apiVersion") or not body.get("kind"):
        raise errors.BadRequest(
            "Object 'Kind' is missing in 'unstructured object has no kind'"
            if not body.get("kind")
            else "Object 'apiVersion' is missing in 'unstructured object has no version'"
        )
    metadata = body.get("metadata")
    if isinstance(metadata, dict) and metadata.get("managedFields"):
        raise errors.BadRequest("metadata.managedFields must be nil")
    check_fields(api, call, body)


async def _create_by_apply(api: Api, call: Call, body: Object) -> Object:
    obj = check_object(call, body)
    obj["metadata"].setdefault("name", call.name)
    if call.namespace:
        obj["metadata"].setdefault("namespace", call.namespace)
    obj = rules.patched(api, call, None, obj, APPLY)
    return await prepare_new(api, call, obj)

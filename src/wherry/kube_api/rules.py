"""What the schema says about an object: one place where the verbs ask it."""

from typing import Any

from wherry.kube_api.api import Api
from wherry.kube_api.call import Call
from wherry.schema import apply, decode, defaults, merge, validation
from wherry.schema.errors import Cause
from wherry.schema.resource import Object, Resource


def apply_defaults(resource: Resource, obj: Object) -> None:
    """Fill in the documented defaults, in place."""
    defaults.apply_defaults(resource, obj)


def check_fields(resource: Resource, obj: Object, raw: bytes | None) -> list[str]:
    """Unknown and duplicate fields, worded as the API server does; unknown ones are dropped from `obj`."""
    messages = decode.parse(raw)[1] if raw is not None else []
    return messages + decode.check_fields(resource, obj)


def validate_create(resource: Resource, obj: Object) -> list[Cause]:
    """Everything that is wrong with a new object."""
    return validation.validate_create(resource, obj)


def validate_update(resource: Resource, obj: Object, old: Object, subresource: str) -> list[Cause]:
    """Everything that is wrong with replacing `old` by `obj`."""
    return validation.validate_update(resource, obj, old, subresource)


def track_managers(call: Call, obj: Object, old: Object | None, now: str) -> None:
    """Note in metadata.managedFields which manager changed which fields; server-side apply has done so already."""
    if not call.applying:
        apply.track_update(call.resource, obj, old, call.field_manager, call.subresource, now)


def patched(api: Api, call: Call, current: Object | None, body: Any, type_: str) -> Object:
    """The object after a patch of content type `type_`; `current` is None when server-side apply creates."""
    if type_ == "application/apply-patch+yaml":
        return apply.apply(
            call.resource,
            current,
            body,
            manager=call.field_manager,
            force=call.force,
            now=api.timestamp(),
            subresource=call.subresource,
        )
    assert current is not None
    if type_ == "application/json-patch+json":
        return merge.json_patch(current, body)
    if type_ == "application/merge-patch+json":
        merged: Object = merge.merge_patch(current, body)
        return merged
    return merge.strategic_merge(call.resource, current, body)

"""What the schema says about an object: one place where the verbs ask it, for built-in and custom kinds alike."""

from typing import Any

from wherry.kube_api.api import Api
from wherry.kube_api.call import Call
from wherry.schema import apply, decode, defaults, errors, merge, validation
from wherry.schema.crd import CustomKind
from wherry.schema.definitions import ANY, Type, by_name, type_of
from wherry.schema.errors import Cause
from wherry.schema.resource import Object, Resource

_DELETE_OPTIONS = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"
_DELETE_OPTIONS_KIND = Resource("", "v1", "DeleteOptions", "")
_OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


def custom(api: Api, resource: Resource) -> CustomKind | None:
    """What a CustomResourceDefinition says of a resource; None for built-in ones."""
    found: CustomKind | None = api.table.extra(resource)
    return found


def apply_defaults(api: Api, resource: Resource, obj: Object) -> None:
    """Fill in the documented defaults, in place."""
    kind = custom(api, resource)
    if kind is not None:
        kind.apply_defaults(obj)
    else:
        defaults.apply_defaults(resource, obj)


def check_fields(api: Api, resource: Resource, obj: Object, raw: bytes | None) -> list[str]:
    """Unknown and duplicate fields, worded as the API server does; unknown ones are dropped from `obj`."""
    messages = decode.parse(raw)[1] if raw is not None else []
    kind = custom(api, resource)
    if kind is None:
        return messages + decode.check_fields(resource, obj)
    fields = {**dict.fromkeys(obj, ANY), "metadata": by_name(_OBJECT_META)}
    return messages + decode.check_value(Type("object", fields=fields), obj, resource) + kind.check_fields(obj)


_ACTION_BODIES = {
    "binding": "io.k8s.api.core.v1.Binding",
    "eviction": "io.k8s.api.policy.v1.Eviction",
    "token": "io.k8s.api.authentication.v1.TokenRequest",
}


def check_action_body(call: Call, body: Any) -> None:
    """The body of an action has the types of its kind. Raises BadRequest."""
    if not isinstance(body, dict):
        raise errors.BadRequest("the body of the request must be an object")
    name = _ACTION_BODIES.get(call.subresource)
    kind = by_name(name) if name else type_of(call.resource)
    if kind is not None:
        decode.check_value(kind, body, call.resource)


def check_delete_options(body: Any) -> None:
    """The body of DELETE is a DeleteOptions. Raises BadRequest."""
    if not isinstance(body, dict):
        raise errors.BadRequest("the body of a DELETE must be a DeleteOptions object")
    decode.check_value(by_name(_DELETE_OPTIONS), body, _DELETE_OPTIONS_KIND)


def validate_create(api: Api, resource: Resource, obj: Object) -> list[Cause]:
    """Everything that is wrong with a new object."""
    kind = custom(api, resource)
    return kind.validate_create(obj) if kind is not None else validation.validate_create(resource, obj)


def validate_update(api: Api, resource: Resource, obj: Object, old: Object, subresource: str) -> list[Cause]:
    """Everything that is wrong with replacing `old` by `obj`."""
    kind = custom(api, resource)
    if kind is not None:
        return kind.validate_update(obj, old)
    return validation.validate_update(resource, obj, old, subresource)


def track_managers(api: Api, call: Call, obj: Object, old: Object | None, now: str) -> None:
    """Note in metadata.managedFields which manager changed which fields; server-side apply has done so already."""
    if not call.applying:
        kind = custom(api, call.resource)
        type_ = kind.type if kind is not None else None
        apply.track_update(call.resource, obj, old, call.field_manager, call.subresource, now, type_)


def patched(api: Api, call: Call, current: Object | None, body: Any, type_: str) -> Object:
    """The object after a patch of content type `type_`; `current` is None when server-side apply creates."""
    kind = custom(api, call.resource)
    if type_ == "application/apply-patch+yaml":
        return apply.apply(
            call.resource,
            current,
            body,
            manager=call.field_manager,
            force=call.force,
            now=api.timestamp(),
            subresource=call.subresource,
            kind=kind.type if kind is not None else None,
        )
    assert current is not None
    if type_ == "application/json-patch+json":
        return merge.json_patch(current, body)
    if type_ == "application/merge-patch+json":
        merged: Object = merge.merge_patch(current, body)
        return merged
    if kind is not None:
        raise errors.UnsupportedMediaType(
            "the body of the request was in an unknown format - accepted media types include: "
            "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
        )
    return merge.strategic_merge(call.resource, current, body)

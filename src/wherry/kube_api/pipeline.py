"""What every write goes through before the store: checks of identity, defaults, admission, strategy, validation.

`prepare_new` for objects that come into being, `prepare_changed` for those that replace an older state. Both take
an object that belongs to them and leave in it what is to be written.
"""

from wherry.kube_api import rules
from wherry.kube_api.api import MODIFIED, Api
from wherry.kube_api.call import Call
from wherry.schema import errors
from wherry.schema.resource import Object

IMMUTABLE_METADATA = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink")


def check_object(call: Call, obj: object) -> Object:
    """The body as an object of the call's kind, with a metadata that is an object. Raises BadRequest."""
    resource = call.resource
    if not isinstance(obj, dict):
        raise errors.BadRequest(f"the body of the request must be a {resource.kind} object")
    kind, api_version = obj.get("kind"), obj.get("apiVersion")
    if kind is None and api_version is None:
        obj["kind"], obj["apiVersion"] = resource.kind, resource.api_version
    elif not kind:
        raise errors.BadRequest(f"Object 'Kind' is missing in '{_shown(obj)}'")
    elif kind != resource.kind or api_version != resource.api_version:
        group, _, version = str(api_version or "").rpartition("/")
        raise errors.BadRequest(
            f"{resource.kind} in version {_quoted(resource.version)} cannot be handled as a {resource.kind}: "
            f"the object provided is {group or 'core'}/{version}, Kind={kind}"
            if kind == resource.kind
            else f"the object provided is unrecognized (must be of type {resource.kind}): "
            f"got {api_version}, Kind={kind}"
        )
    metadata = obj.get("metadata")
    if metadata is None:
        obj["metadata"] = {}
    elif not isinstance(metadata, dict):
        raise errors.BadRequest(
            f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: json: cannot '
            f"unmarshal {_json_type(metadata)} into Go struct field {resource.kind}.metadata of type v1.ObjectMeta"
        )
    return obj


def _quoted(text: str) -> str:
    return f'"{text}"'


def _shown(obj: Object) -> str:
    import orjson

    return orjson.dumps(obj).decode()[:256]


def _json_type(value: object) -> str:
    return {list: "array", str: "string", bool: "bool", int: "number", float: "number"}.get(type(value), "object")


def check_fields(api: Api, call: Call, obj: Object) -> None:
    """Unknown and duplicate fields: refused, warned of, or dropped in silence, as `fieldValidation` says."""
    if call.trusted and rules.custom(api, call.resource) is None:
        return
    found = rules.check_fields(api, call.resource, obj, call.raw)
    if not found or call.field_validation == "Ignore":
        return
    if call.field_validation == "Strict":
        listed = ", ".join(found)
        raise errors.BadRequest(
            f'{call.resource.kind} in version "{call.resource.version}" cannot be handled as a '
            f"{call.resource.kind}: strict decoding error: {listed}"
        )
    for message in found:
        call.warn(message)


def check_namespace(call: Call, obj: Object) -> None:
    """The object's namespace is the URL's. Raises BadRequest."""
    metadata = obj["metadata"]
    if not call.resource.namespaced:
        if metadata.get("namespace"):
            raise errors.BadRequest(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        metadata.pop("namespace", None)
        return
    namespace = metadata.get("namespace")
    if not namespace:
        metadata["namespace"] = call.namespace
    elif namespace != call.namespace:
        raise errors.BadRequest("the namespace of the provided object does not match the namespace sent on the request")


async def prepare_new(api: Api, call: Call, obj: Object) -> Object:
    """A new object, ready to write. Raises BadRequest, Forbidden, Invalid…"""
    resource = call.resource
    metadata = obj["metadata"]
    check_namespace(call, obj)
    version = metadata.get("resourceVersion")
    # What is no number counts as not set: clients' own examples send such.
    if version and version.isdecimal() and int(version):
        raise errors.BadRequest("resourceVersion should not be set on objects to be created")
    rules.apply_defaults(api, resource, obj)
    strategy = api.strategy(resource)
    if not call.applying:
        metadata.pop("managedFields", None)
    # What admission and strategy add, and a status that is dropped, is nobody's.
    asked = {key: value for key, value in obj.items() if key != "status"} if strategy.has_status else obj
    rules.track_managers(api, call, asked, None, api.timestamp())
    obj = await api.admission.mutate(api, call, obj, None)
    metadata = obj["metadata"]
    if not metadata.get("name") and metadata.get("generateName"):
        metadata["name"] = api.generate_name(metadata["generateName"])
    for field in ("resourceVersion", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"):
        metadata.pop(field, None)
    metadata["uid"] = api.new_uid()
    metadata["creationTimestamp"] = api.timestamp()
    if strategy.has_generation:
        metadata["generation"] = 1
    strategy.prepare_create(api, call, obj)
    causes = rules.validate_create(api, resource, obj)
    if causes:
        raise errors.invalid(resource.group, resource.kind, metadata.get("name") or "", causes)
    await api.admission.validate(api, call, obj, None)
    return obj


async def prepare_changed(api: Api, call: Call, obj: Object, old: Object) -> Object:
    """A changed object, ready to write. `old` is the stored state in the call's version and is not changed.

    Raises Conflict when the object's resourceVersion or UID are not the stored ones, Invalid, Forbidden…
    """
    resource = call.resource
    strategy = api.strategy(resource)
    metadata, before = obj["metadata"], old["metadata"]
    check_namespace(call, obj)
    check_versions(call, metadata, before, unconditional=strategy.unconditional_update)
    rules.apply_defaults(api, resource, obj)
    for field in IMMUTABLE_METADATA:
        if field in before:
            metadata[field] = before[field]
        else:
            metadata.pop(field, None)
    metadata["generation"] = before.get("generation")
    if metadata["generation"] is None:
        del metadata["generation"]
    _prepare(api, call, obj, old)
    rules.track_managers(api, call, obj, old, api.timestamp())
    obj = await api.admission.mutate(api, call, obj, old)
    metadata = obj["metadata"]
    if strategy.has_generation and strategy.changed(obj, old):
        metadata["generation"] = (before.get("generation") or 0) + 1
    if before.get("deletionTimestamp"):
        _check_finalizers(call, metadata, before)
    causes = rules.validate_update(api, resource, obj, old, call.subresource)
    if causes:
        raise errors.invalid(resource.group, resource.kind, before["name"], causes)
    await api.admission.validate(api, call, obj, old)
    return obj


def _prepare(api: Api, call: Call, obj: Object, old: Object) -> None:
    strategy = api.strategy(call.resource)
    if not call.subresource:
        strategy.prepare_update(api, call, obj, old)
    elif call.subresource == "status":
        strategy.prepare_status(api, call, obj, old)
    else:
        getattr(strategy, f"prepare_{call.subresource}")(api, call, obj, old)


def check_versions(call: Call, metadata: Object, before: Object, *, unconditional: bool) -> None:
    """Compare-and-swap as the client asked for it. Raises Conflict."""
    resource, name = call.resource, before["name"]
    if metadata.get("name") not in (None, name):
        raise errors.BadRequest(
            f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})"
        )
    metadata["name"] = name
    version = metadata.get("resourceVersion")
    if version:
        if version != before["resourceVersion"]:
            raise errors.conflict(resource.group, resource.plural, name, MODIFIED)
    elif not unconditional and call.verb == "update" and not call.trusted:
        raise errors.invalid(
            resource.group, resource.kind, name,
            [errors.Cause("FieldValueInvalid", "Invalid value: 0x0: must be specified for an update",
                          "metadata.resourceVersion")],
        )  # fmt: skip
    metadata["resourceVersion"] = before["resourceVersion"]
    uid = metadata.get("uid")
    if uid and uid != before["uid"]:
        raise errors.conflict(
            resource.group, resource.plural, name,
            f"Precondition failed: UID in precondition: {uid}, UID in object meta: {before['uid']}",
        )  # fmt: skip


def _check_finalizers(call: Call, metadata: Object, before: Object) -> None:
    """A deletion that has begun only lets finalizers go."""
    added = sorted(set(metadata.get("finalizers") or ()) - set(before.get("finalizers") or ()))
    if added:
        shown = "[]string{" + ", ".join(f'"{one}"' for one in added) + "}"
        message = (
            f"Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers {shown}"
        )
        raise errors.invalid(
            call.resource.group,
            call.resource.kind,
            before["name"],
            [errors.Cause("FieldValueForbidden", message, "metadata.finalizers")],
        )


def same(obj: Object, old: Object) -> bool:
    """Whether writing would change nothing."""
    return obj == old


def removable(obj: Object) -> bool:
    """Whether an object that is being deleted has nothing left to wait for."""
    metadata = obj["metadata"]
    return (
        bool(metadata.get("deletionTimestamp"))
        and not metadata.get("finalizers")
        and metadata.get("deletionGracePeriodSeconds", 0) == 0
        and not (obj["kind"] == "Namespace" and obj["apiVersion"] == "v1" and (obj.get("spec") or {}).get("finalizers"))
    )

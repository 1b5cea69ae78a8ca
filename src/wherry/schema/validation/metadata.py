"""Checks of `metadata`: names by kind, labels, annotations, owner references, finalizers, what may not change."""

from collections.abc import Callable
from typing import Any, Final

from wherry.schema import builtin, names
from wherry.schema.resource import Object, Resource
from wherry.schema.validation.field import NEGATIVE, Causes

ANNOTATIONS_LIMIT: Final = 256 * 1024

_ANY_PATH_SEGMENT: Final = (
    builtin.ROLES,
    builtin.CLUSTER_ROLES,
    builtin.ROLE_BINDINGS,
    builtin.CLUSTER_ROLE_BINDINGS,
)
_NAME_CHECKS: Final[dict[Resource, Callable[[str], list[str]]]] = {
    builtin.SERVICES: names.dns1035_label,
    builtin.NAMESPACES: names.dns_label,
    **dict.fromkeys(_ANY_PATH_SEGMENT, names.path_segment),
}


def name_check(resource: Resource) -> Callable[[str], list[str]]:
    """What checks the names of this resource's objects."""
    return _NAME_CHECKS.get(resource, names.dns_subdomain)


def validate_create(resource: Resource, obj: Object, causes: Causes) -> None:
    metadata = obj.get("metadata") or {}
    check = name_check(resource)
    if prefix := metadata.get("generateName"):
        masked = prefix if check is names.path_segment else names.mask_trailing_dash(prefix)
        causes.all_invalid("metadata.generateName", prefix, check(masked))
    name = metadata.get("name")
    if not name:
        causes.required("metadata.name", "name or generateName is required")
    else:
        causes.all_invalid("metadata.name", name, check(name))
    namespace = metadata.get("namespace")
    if resource.namespaced:
        if not namespace:
            causes.required("metadata.namespace")
        else:
            causes.all_invalid("metadata.namespace", namespace, names.dns_label(namespace))
    elif namespace:
        causes.forbidden("metadata.namespace", "not allowed on this type")
    if (metadata.get("generation") or 0) < 0:
        causes.invalid("metadata.generation", metadata["generation"], NEGATIVE)
    _common(metadata, causes)
    _finalizers(metadata.get("finalizers"), causes)


def validate_update(new: Object, old: Object, causes: Causes) -> None:
    after, before = new.get("metadata") or {}, old.get("metadata") or {}
    if before.get("deletionTimestamp"):
        fresh = sorted(set(after.get("finalizers") or ()) - set(before.get("finalizers") or ()))
        if fresh:
            listed = ", ".join(f'"{one}"' for one in fresh)
            causes.forbidden(
                "metadata.finalizers",
                "no new finalizers can be added if the object is being deleted, "
                f"found new finalizers []string{{{listed}}}",
            )
    if not after.get("resourceVersion"):
        causes.invalid("metadata.resourceVersion", "", "must be specified for an update")
    for field in ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"):
        if after.get(field) != before.get(field):
            value = after.get(field)
            shown = "" if value is None and field in ("name", "namespace", "uid") else value
            causes.immutable(f"metadata.{field}", shown, before.get(field))
    if (after.get("generation") or 0) < (before.get("generation") or 0):
        causes.invalid("metadata.generation", after.get("generation") or 0, "must not be decremented")
    _common(after, causes)


def labels(found: Any, path: str, causes: Causes) -> None:
    """A map of labels: keys are qualified names, values label values."""
    if not found:
        return
    for key, value in found.items():
        causes.all_invalid(path, key, names.qualified_name(key))
        causes.all_invalid(path, value, names.label_value(value))


def annotations(found: Any, path: str, causes: Causes) -> None:
    if not found:
        return
    total = 0
    for key, value in found.items():
        causes.all_invalid(path, key, names.qualified_name(key.lower()))
        total += len(key) + len(value)
    if total > ANNOTATIONS_LIMIT:
        causes.too_long(path, ANNOTATIONS_LIMIT)


def _common(metadata: dict[str, Any], causes: Causes) -> None:
    labels(metadata.get("labels"), "metadata.labels", causes)
    annotations(metadata.get("annotations"), "metadata.annotations", causes)
    _owners(metadata.get("ownerReferences"), causes)


def _owners(owners: Any, causes: Causes) -> None:
    controller = ""
    for index, owner in enumerate(owners or ()):
        path = f"metadata.ownerReferences[{index}]"
        api_version = owner.get("apiVersion")
        if not api_version:
            causes.required(f"{path}.apiVersion", "must not be empty")
        elif api_version.count("/") > 1 or api_version.endswith("/"):
            causes.invalid(f"{path}.apiVersion", api_version, "must be <group>/<version> or <version>")
        for field in ("kind", "name", "uid"):
            if not owner.get(field):
                causes.required(f"{path}.{field}", "must not be empty")
        if api_version == "v1" and owner.get("kind") == "Event":
            causes.invalid(path, owner, "/v1, Kind=Event is disallowed from being an owner")
        if owner.get("controller"):
            this = f"{owner.get('kind', '')}/{owner.get('name', '')}"
            if controller:
                causes.invalid(
                    "metadata.ownerReferences",
                    owners,
                    "Only one reference can have Controller set to true. "
                    f'Found "true" in references for {controller} and {this}',
                )
            else:
                controller = this


def _finalizers(finalizers: Any, causes: Causes) -> None:
    for one in finalizers or ():
        causes.all_invalid("metadata.finalizers", one, names.qualified_name(one))
    if finalizers and "orphan" in finalizers and "foregroundDeletion" in finalizers:
        causes.invalid("metadata.finalizers", finalizers, "finalizer orphan and foregroundDeletion cannot be both set")

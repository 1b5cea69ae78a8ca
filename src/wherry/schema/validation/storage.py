"""Checks of PersistentVolumes, PersistentVolumeClaims, StorageClasses and CSI objects."""

from typing import Any, Final

from wherry.schema import names, quantity
from wherry.schema.objects import deep_copy, same
from wherry.schema.resource import Object
from wherry.schema.validation import resources, selectors
from wherry.schema.validation.field import Causes
from wherry.schema.validation.volumes import ACCESS_MODES, claim_spec, host_path

JsonDict = dict[str, Any]

_NOT_SOURCES: Final = frozenset(
    {
        "accessModes",
        "capacity",
        "claimRef",
        "mountOptions",
        "nodeAffinity",
        "persistentVolumeReclaimPolicy",
        "storageClassName",
        "volumeAttributesClassName",
        "volumeMode",
    }
)


def volume_create(obj: Object, causes: Causes) -> None:
    spec = obj.get("spec") or {}
    modes = spec.get("accessModes") or []
    if not modes:
        causes.required("spec.accessModes")
    for mode in modes:
        if mode not in ACCESS_MODES:
            causes.unsupported("spec.accessModes", mode, ACCESS_MODES)
    if "ReadWriteOncePod" in modes and len(modes) > 1:
        causes.forbidden("spec.accessModes", "may not use ReadWriteOncePod with other access modes")
    capacity = spec.get("capacity") or {}
    if not capacity:
        causes.required("spec.capacity")
    if "storage" not in capacity or len(capacity) > 1:
        causes.unsupported("spec.capacity", capacity, ("storage",))
    for name, value in capacity.items():
        resources.amount(name, value, f"spec.capacity[{name}]", causes)
        if quantity.parse(value).nano <= 0:
            causes.invalid(f"spec.capacity[{name}]", value, "must be greater than zero")
    policy = spec.get("persistentVolumeReclaimPolicy")
    if policy not in ("Delete", "Recycle", "Retain"):
        causes.unsupported("spec.persistentVolumeReclaimPolicy", policy or "", ("Delete", "Recycle", "Retain"))
    affinity = (spec.get("nodeAffinity") or {}).get("required")
    if spec.get("nodeAffinity") is not None:
        if affinity is None:
            causes.required("spec.nodeAffinity.required", "must specify required node constraints")
        else:
            selectors.node_selector(affinity, "spec.nodeAffinity.required", causes)
    _volume_source(spec, affinity, causes)
    if name := spec.get("storageClassName"):
        causes.all_invalid("spec.storageClassName", name, names.dns_subdomain(name))
    if spec.get("volumeMode") not in (None, "Block", "Filesystem"):
        causes.unsupported("spec.volumeMode", spec["volumeMode"], ("Block", "Filesystem"))


def _volume_source(spec: JsonDict, affinity: Any, causes: Causes) -> None:
    sources = [key for key in spec if key not in _NOT_SOURCES]
    if not sources:
        causes.required("spec", "must specify a volume type")
    for at, source in enumerate(sources):
        path = f"spec.{source}"
        if at:
            causes.forbidden(path, "may not specify more than 1 volume type")
        elif source == "hostPath":
            host_path(spec[source], path, causes)
            if (
                spec.get("persistentVolumeReclaimPolicy") == "Recycle"
                and (spec[source].get("path") or "").strip("/") == ""
            ):
                causes.forbidden(
                    "spec.persistentVolumeReclaimPolicy", "may not be 'recycle' for a hostPath mount of '/'"
                )
        elif source == "local":
            if not spec[source].get("path"):
                causes.required(f"{path}.path")
            if affinity is None:
                causes.required("spec.nodeAffinity", "Local volume requires node affinity")
        elif source == "nfs":
            for field in ("server", "path"):
                if not spec[source].get(field):
                    causes.required(f"{path}.{field}")
            if spec[source].get("path") and not spec[source]["path"].startswith("/"):
                causes.invalid(f"{path}.path", spec[source]["path"], "must be an absolute path")
        elif source == "csi":
            for field in ("driver", "volumeHandle"):
                if not spec[source].get(field):
                    causes.required(f"{path}.{field}")


def volume_update(new: Object, old: Object, causes: Causes, subresource: str) -> None:
    if subresource == "status":
        return
    volume_create(new, causes)
    after, before = new.get("spec") or {}, old.get("spec") or {}
    source_after = {key: value for key, value in after.items() if key not in _NOT_SOURCES}
    source_before = {key: value for key, value in before.items() if key not in _NOT_SOURCES}
    if not same(source_after, source_before):
        causes.forbidden("spec.persistentvolumesource", "spec.persistentvolumesource is immutable after creation")
    if after.get("volumeMode") != before.get("volumeMode"):
        causes.invalid("spec.volumeMode", after.get("volumeMode"), "field is immutable")
    if before.get("nodeAffinity") is not None and not same(after.get("nodeAffinity"), before.get("nodeAffinity")):
        causes.invalid(
            "spec.nodeAffinity",
            after.get("nodeAffinity"),
            "field is immutable, except for updating from beta label to GA",
        )


def claim_create(obj: Object, causes: Causes) -> None:
    claim_spec(obj.get("spec") or {}, "spec", causes)


_CLAIM_IMMUTABLE: Final = (
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
)


def claim_update(new: Object, old: Object, causes: Causes, subresource: str) -> None:
    if subresource == "status":
        return
    claim_create(new, causes)
    after, before = deep_copy(new.get("spec") or {}), old.get("spec") or {}
    if not before.get("volumeName"):
        # The binder fills this in; nobody may take it out again.
        after.pop("volumeName", None)
    if not before.get("storageClassName") and after.get("storageClassName") and not before.get("volumeName"):
        after.pop("storageClassName", None)
    asked = (after.get("resources") or {}).get("requests") or {}
    had = (before.get("resources") or {}).get("requests") or {}
    bound = (old.get("status") or {}).get("phase") == "Bound"
    if bound and asked.get("storage") != had.get("storage"):
        after.setdefault("resources", {})["requests"] = had
        size = ((old.get("status") or {}).get("capacity") or {}).get("storage")
        wanted = quantity.parse(asked.get("storage", "0"))
        # A claim may be bound to a larger volume than it asks for: only shrinking is looked at.
        shrinks = wanted < quantity.parse(had.get("storage", "0"))
        if shrinks and size is not None and wanted < quantity.parse(size):
            causes.forbidden("spec.resources.requests.storage", "field can not be less than status.capacity")
    if bound or before.get("volumeAttributesClassName") is None:
        after.pop("volumeAttributesClassName", None)
    unchanged = {key: value for key, value in before.items() if key in after or key != "volumeAttributesClassName"}
    if not before.get("storageClassName"):
        unchanged.pop("storageClassName", None)
    if not same(after, unchanged):
        causes.forbidden("spec", _CLAIM_IMMUTABLE)


def storageclass_create(obj: Object, causes: Causes) -> None:
    provisioner = obj.get("provisioner") or ""
    if not provisioner:
        causes.required("provisioner")
    else:
        causes.all_invalid("provisioner", provisioner.lower(), names.qualified_name(provisioner.lower()))
    for key in obj.get("parameters") or {}:
        if not key:
            causes.invalid("parameters", key, "field can not be empty.")
    policy = obj.get("reclaimPolicy")
    if policy and policy not in ("Delete", "Retain"):
        causes.unsupported("reclaimPolicy", policy, ("Delete", "Retain"))
    mode = obj.get("volumeBindingMode")
    if mode is None:
        causes.required("volumeBindingMode")
    elif mode not in ("Immediate", "WaitForFirstConsumer"):
        causes.unsupported("volumeBindingMode", mode, ("Immediate", "WaitForFirstConsumer"))


def storageclass_update(new: Object, old: Object, causes: Causes, subresource: str) -> None:
    for field in ("parameters", "provisioner", "reclaimPolicy"):
        if not same(new.get(field), old.get(field)):
            causes.forbidden(field, f"updates to {field} are forbidden.")
    causes.immutable("volumeBindingMode", new.get("volumeBindingMode"), old.get("volumeBindingMode"))


def csidriver_create(obj: Object, causes: Causes) -> None:
    spec = obj.get("spec") or {}
    for index, mode in enumerate(spec.get("volumeLifecycleModes") or ()):
        if mode not in ("Persistent", "Ephemeral"):
            causes.unsupported(f"spec.volumeLifecycleModes[{index}]", mode, ("Ephemeral", "Persistent"))
    policy = spec.get("fsGroupPolicy")
    policies = ("File", "None", "ReadWriteOnceWithFSType")
    if policy is not None and policy not in policies:
        causes.unsupported("spec.fsGroupPolicy", policy, policies)


def attachment_create(obj: Object, causes: Causes) -> None:
    spec = obj.get("spec") or {}
    for field in ("attacher", "nodeName"):
        if not spec.get(field):
            causes.required(f"spec.{field}")
    source = spec.get("source") or {}
    if not source.get("persistentVolumeName") and not source.get("inlineVolumeSpec"):
        causes.required("spec.source", "must specify exactly one of inlineVolumeSpec and persistentVolumeName")


def attachment_update(new: Object, old: Object, causes: Causes, subresource: str) -> None:
    if not subresource and not same(new.get("spec"), old.get("spec")):
        causes.invalid("spec", new.get("spec"), "field is immutable")

"""Checks of ConfigMaps, Secrets, Namespaces, Nodes, LimitRanges and ResourceQuotas."""

import base64
import binascii
from typing import Any, Final

import orjson

from wherry.schema import names, quantity
from wherry.schema.resource import Object
from wherry.schema.validation import resources
from wherry.schema.validation.field import Causes

JsonDict = dict[str, Any]

MAX_BYTES: Final = 1024 * 1024
_IMMUTABLE: Final = "field is immutable when `immutable` is set"


def configmap_create(obj: Object, causes: Causes) -> None:
    data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
    total = 0
    for key, value in data.items():
        causes.all_invalid(f"data[{key}]", key, names.config_key(key))
        if key in binary:
            causes.invalid(f"data[{key}]", key, "duplicate of key present in binaryData")
        total += _bytes(value)
    for key, value in binary.items():
        causes.all_invalid(f"binaryData[{key}]", key, names.config_key(key))
        total += len(value) * 3 // 4
    if total > MAX_BYTES:
        causes.too_long("[]", MAX_BYTES)


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def configmap_update(new: Object, old: Object, causes: Causes, subresource: str) -> None:
    _immutable_data(new, old, causes, "data", "binaryData")
    configmap_create(new, causes)


def _immutable_data(new: Object, old: Object, causes: Causes, *fields: str) -> None:
    if not old.get("immutable"):
        return
    if not new.get("immutable"):
        causes.forbidden("immutable", _IMMUTABLE)
    for field in fields:
        if (new.get(field) or {}) != (old.get(field) or {}):
            causes.forbidden(field, _IMMUTABLE)


_REQUIRED_KEYS: Final = {
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}
_DOCKER_KEYS: Final = {
    "kubernetes.io/dockerconfigjson": ".dockerconfigjson",
    "kubernetes.io/dockercfg": ".dockercfg",
}


def secret_create(obj: Object, causes: Causes) -> None:
    data = obj.get("data") or {}
    total = 0
    for key, value in data.items():
        causes.all_invalid(f"data[{key}]", key, names.config_key(key))
        total += len(value) * 3 // 4
    if total > MAX_BYTES:
        causes.too_long("data", MAX_BYTES)
    kind = obj.get("type") or ""
    if kind == "kubernetes.io/service-account-token":
        if not ((obj.get("metadata") or {}).get("annotations") or {}).get("kubernetes.io/service-account.name"):
            causes.required("metadata.annotations[kubernetes.io/service-account.name]")
    elif kind in _DOCKER_KEYS:
        _docker_config(data, _DOCKER_KEYS[kind], causes)
    elif kind == "kubernetes.io/basic-auth":
        if "username" not in data and "password" not in data:
            causes.required("data[username]")
            causes.required("data[password]")
    else:
        for key in _REQUIRED_KEYS.get(kind, ()):
            if key not in data:
                causes.required(f"data[{key}]")


def _docker_config(data: JsonDict, key: str, causes: Causes) -> None:
    if key not in data:
        causes.required(f"data[{key}]")
        return
    try:
        orjson.loads(base64.b64decode(data[key]))
    except (binascii.Error, orjson.JSONDecodeError) as error:
        causes.invalid(f"data[{key}]", "<secret contents redacted>", str(error))


def secret_update(new: Object, old: Object, causes: Causes, subresource: str) -> None:
    causes.immutable("type", new.get("type"), old.get("type"))
    _immutable_data(new, old, causes, "data")
    secret_create(new, causes)


def namespace_create(obj: Object, causes: Causes) -> None:
    for index, finalizer in enumerate((obj.get("spec") or {}).get("finalizers") or ()):
        path = f"spec.finalizers[{index}]"
        causes.all_invalid(path, finalizer, names.qualified_name(finalizer))
        if "/" not in finalizer and finalizer != "kubernetes":
            causes.invalid(path, finalizer, "name is neither a standard finalizer name nor is it fully qualified")


def namespace_update(new: Object, old: Object, causes: Causes, subresource: str) -> None:
    """Nothing but metadata may be wrong here."""


_EFFECTS: Final = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def node_create(obj: Object, causes: Causes) -> None:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate(spec.get("taints") or ()):
        path = f"spec.taints[{index}]"
        key, effect = taint.get("key") or "", taint.get("effect") or ""
        causes.all_invalid(f"{path}.key", key, names.qualified_name(key))
        if problems := names.label_value(taint.get("value") or ""):
            causes.invalid(f"{path}.value", taint["value"], ";".join(problems))
        causes.one_of(f"{path}.effect", effect, _EFFECTS)
        if (key, effect) in seen:
            causes.duplicate(path, taint)
        seen.add((key, effect))
    resources.amounts(status.get("capacity"), "status.capacity", causes)
    resources.amounts(status.get("allocatable"), "status.allocatable", causes)


def node_update(new: Object, old: Object, causes: Causes, subresource: str) -> None:
    node_create(new, causes)
    after, before = new.get("spec") or {}, old.get("spec") or {}
    if before.get("podCIDRs") and after.get("podCIDRs") != before["podCIDRs"]:
        causes.forbidden("spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid')
    if before.get("providerID") and after.get("providerID") != before["providerID"]:
        causes.forbidden("spec.providerID", 'node updates may not change providerID except from "" to valid')


_QUOTA_STANDARD: Final = frozenset(
    {
        "configmaps",
        "count/",
        "cpu",
        "ephemeral-storage",
        "limits.cpu",
        "limits.ephemeral-storage",
        "limits.memory",
        "memory",
        "persistentvolumeclaims",
        "pods",
        "replicationcontrollers",
        "requests.cpu",
        "requests.ephemeral-storage",
        "requests.memory",
        "requests.storage",
        "resourcequotas",
        "secrets",
        "services",
        "services.loadbalancers",
        "services.nodeports",
    }
)
_SCOPES: Final = (
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
)


def quota_create(obj: Object, causes: Causes) -> None:
    spec = obj.get("spec") or {}
    for name, value in (spec.get("hard") or {}).items():
        path = f"spec.hard[{name}]"
        if resources.resource_name(name, path, causes) and not _is_quota_name(name):
            causes.invalid(path, name, "must be a standard resource for quota")
        resources.amount(name, value, path, causes)
    for scope in spec.get("scopes") or ():
        if scope not in _SCOPES:
            causes.invalid("spec.scopes", spec["scopes"], "unsupported scope")


def _is_quota_name(name: str) -> bool:
    return (
        name in _QUOTA_STANDARD
        or "/" in name
        or name.startswith(("requests.hugepages-", "limits.hugepages-", "hugepages-"))
        or ".storageclass.storage.k8s.io" in name
    )


def quota_update(new: Object, old: Object, causes: Causes, subresource: str) -> None:
    quota_create(new, causes)
    if not subresource and sorted((new.get("spec") or {}).get("scopes") or ()) != sorted(
        (old.get("spec") or {}).get("scopes") or ()
    ):
        causes.invalid("spec.scopes", (new.get("spec") or {}).get("scopes"), "field is immutable")


def limitrange_create(obj: Object, causes: Causes) -> None:
    kinds: set[str] = set()
    for index, limit in enumerate((obj.get("spec") or {}).get("limits") or ()):
        path = f"spec.limits[{index}]"
        kind = limit.get("type") or ""
        causes.all_invalid(f"{path}.type", kind, names.qualified_name(kind))
        if kind in kinds:
            causes.duplicate(f"{path}.type", kind)
        kinds.add(kind)
        if kind == "Pod":
            for field in ("default", "defaultRequest"):
                if limit.get(field):
                    causes.forbidden(f"{path}.{field}", "may not be specified when `type` is 'Pod'")
        if kind == "PersistentVolumeClaim" and not {"storage"} & (
            (limit.get("min") or {}).keys() | (limit.get("max") or {}).keys()
        ):
            causes.required(
                f"{path}.limits", "either minimum or maximum storage value is required, but neither was provided"
            )
        _limit_order(limit, path, causes)


def _limit_order(limit: JsonDict, path: str, causes: Causes) -> None:
    """min <= defaultRequest <= default <= max, resource by resource."""
    order = ("min", "defaultRequest", "default", "max")
    for name in sorted({name for field in order for name in limit.get(field) or {}}):
        amounts = [(field, (limit.get(field) or {}).get(name)) for field in order]
        present = [(field, value) for field, value in amounts if value is not None]
        for at, (field, value) in enumerate(present):
            for other, most in present[at + 1 :]:
                if quantity.parse(value) > quantity.parse(most):
                    words = {"min": "min", "defaultRequest": "default request", "default": "default", "max": "max"}
                    causes.invalid(
                        f"{path}.{field}[{name}]",
                        value,
                        f"{words[field]} value {value} is greater than {words[other]} value {most}",
                    )

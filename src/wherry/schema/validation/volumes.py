"""Checks of a pod's volumes."""

import re
from typing import Any, Final

from wherry.schema import names
from wherry.schema.validation import resources
from wherry.schema.validation.field import Causes

JsonDict = dict[str, Any]

MODE_TEXT: Final = "must be a number between 0 and 0777 (octal), both inclusive"
ACCESS_MODES: Final = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
FIELD_PATHS: Final = ("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")
_HOST_PATH_TYPES: Final = (
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
)
_RESOURCE_FIELDS: Final = (
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
)
_SUBSCRIPTED: Final = re.compile(r"metadata\.(labels|annotations)\['(.*)'\]\Z")


def volumes(found: Any, path: str, causes: Causes) -> dict[str, JsonDict]:
    """All volumes; returns those with a valid name, by name."""
    known: dict[str, JsonDict] = {}
    for index, volume in enumerate(found or ()):
        where = f"{path}[{index}]"
        name = volume.get("name") or ""
        if not name:
            causes.required(f"{where}.name")
        elif problems := names.dns_label(name):
            causes.all_invalid(f"{where}.name", name, problems)
        elif name in known:
            causes.duplicate(f"{where}.name", name)
        else:
            known[name] = volume
        sources = [key for key in volume if key != "name"]
        if not sources:
            causes.required(where, "must specify a volume type")
        for at, source in enumerate(sources):
            if at:
                causes.forbidden(f"{where}.{source}", "may not specify more than 1 volume type")
            elif (check := _SOURCES.get(source)) is not None:
                check(volume[source], f"{where}.{source}", causes)
    return known


def host_path(source: JsonDict, path: str, causes: Causes) -> None:
    if not source.get("path"):
        causes.required(f"{path}.path")
    else:
        no_backsteps(source["path"], f"{path}.path", causes)
    if (kind := source.get("type")) and kind not in _HOST_PATH_TYPES:
        causes.unsupported(f"{path}.type", kind, _HOST_PATH_TYPES)


def no_backsteps(target: str, path: str, causes: Causes) -> None:
    if ".." in target.split("/"):
        causes.invalid(path, target, "must not contain '..'")


def local_path(target: str, path: str, causes: Causes) -> None:
    """A relative path that stays where it is."""
    if target.startswith("/"):
        causes.invalid(path, target, "must be a relative path")
    no_backsteps(target, path, causes)


def _local_non_reserved(target: str, path: str, causes: Causes) -> None:
    local_path(target, path, causes)
    if target.startswith("..") and not target.startswith("../"):
        causes.invalid(path, target, "must not start with '..'")


def _mode(mode: Any, path: str, causes: Causes) -> None:
    if mode is not None and not 0 <= mode <= 0o777:
        causes.invalid(path, mode, MODE_TEXT)


def _key_to_path(items: Any, path: str, causes: Causes) -> None:
    for index, item in enumerate(items or ()):
        where = f"{path}[{index}]"
        if not item.get("key"):
            causes.required(f"{where}.key")
        if not item.get("path"):
            causes.required(f"{where}.path")
        else:
            _local_non_reserved(item["path"], f"{where}.path", causes)
        _mode(item.get("mode"), f"{where}.mode", causes)


def _empty_dir(source: JsonDict, path: str, causes: Causes) -> None:
    if (limit := source.get("sizeLimit")) is not None:
        resources.amount("memory", limit, f"{path}.sizeLimit", causes)


def _config_map(source: JsonDict, path: str, causes: Causes) -> None:
    if not source.get("name"):
        causes.required(f"{path}.name")
    _mode(source.get("defaultMode"), f"{path}.defaultMode", causes)
    _key_to_path(source.get("items"), f"{path}.items", causes)


def _secret(source: JsonDict, path: str, causes: Causes) -> None:
    if not source.get("secretName"):
        causes.required(f"{path}.secretName")
    _mode(source.get("defaultMode"), f"{path}.defaultMode", causes)
    _key_to_path(source.get("items"), f"{path}.items", causes)


def _claim(source: JsonDict, path: str, causes: Causes) -> None:
    if not source.get("claimName"):
        causes.required(f"{path}.claimName")


def _downward(source: JsonDict, path: str, causes: Causes) -> None:
    _mode(source.get("defaultMode"), f"{path}.defaultMode", causes)
    _downward_items(source.get("items"), f"{path}", causes)


def _downward_items(items: Any, path: str, causes: Causes) -> None:
    for item in items or ():
        if not item.get("path"):
            causes.required(f"{path}.path")
        else:
            _local_non_reserved(item["path"], f"{path}.path", causes)
        if item.get("fieldRef"):
            field_selector(item["fieldRef"], FIELD_PATHS, f"{path}.fieldRef", causes)
            if item.get("resourceFieldRef"):
                causes.invalid(path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously")
        elif item.get("resourceFieldRef"):
            resource_field(item["resourceFieldRef"], f"{path}.resourceFieldRef", causes, in_volume=True)
        else:
            causes.required(path, "one of fieldRef and resourceFieldRef is required")
        _mode(item.get("mode"), f"{path}.mode", causes)


def field_selector(ref: JsonDict, supported: tuple[str, ...], path: str, causes: Causes) -> None:
    """`fieldRef`: one of the pod's own fields."""
    if not ref.get("apiVersion"):
        causes.required(f"{path}.apiVersion")
        return
    field = ref.get("fieldPath")
    if not field:
        causes.required(f"{path}.fieldPath")
        return
    if subscripted := _SUBSCRIPTED.match(field):
        kind, key = subscripted.groups()
        problems = names.qualified_name(key if kind == "labels" else key.lower())
        causes.all_invalid(path, key, problems)
        return
    if field not in _CONVERTIBLE:
        causes.invalid(f"{path}.fieldPath", field, f"error converting fieldPath: field label not supported: {field}")
    elif field not in supported:
        causes.unsupported(f"{path}.fieldPath", field, supported)


_CONVERTIBLE: Final = frozenset(
    {
        "metadata.annotations",
        "metadata.labels",
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.serviceAccountName",
        "spec.schedulerName",
        "status.phase",
        "status.hostIP",
        "status.hostIPs",
        "status.podIP",
        "status.podIPs",
    }
)


def resource_field(ref: JsonDict, path: str, causes: Causes, *, in_volume: bool = False) -> None:
    if in_volume and not ref.get("containerName"):
        causes.required(f"{path}.containerName")
    resource = ref.get("resource")
    if not resource:
        causes.required(f"{path}.resource")
    elif resource not in _RESOURCE_FIELDS and not resource.startswith(("limits.hugepages-", "requests.hugepages-")):
        causes.unsupported(f"{path}.resource", resource, _RESOURCE_FIELDS)


def _projected(source: JsonDict, path: str, causes: Causes) -> None:
    _mode(source.get("defaultMode"), f"{path}.defaultMode", causes)
    paths: set[str] = set()
    for index, one in enumerate(source.get("sources") or ()):
        where = f"{path}.sources[{index}]"
        kinds = [key for key in one if one[key] is not None]
        if len(kinds) > 1:
            causes.forbidden(where, "may not specify more than 1 volume type")
        for kind in kinds[:1]:
            at, inner = f"{where}.{kind}", one[kind]
            if kind in ("secret", "configMap"):
                if not inner.get("name"):
                    causes.required(f"{at}.name")
                _key_to_path(inner.get("items"), f"{at}.items", causes)
            elif kind == "downwardAPI":
                _downward_items(inner.get("items"), at, causes)
            elif kind == "serviceAccountToken":
                seconds = inner.get("expirationSeconds", 3600)
                if seconds < 600:
                    causes.invalid(
                        f"{at}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes"
                    )
                if seconds > 1 << 32:
                    causes.invalid(
                        f"{at}.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds"
                    )
                if not inner.get("path"):
                    causes.required(f"{at}.path")
                else:
                    _local_non_reserved(inner["path"], f"{at}.path", causes)
            targets = [item.get("path") for item in inner.get("items") or ()] if isinstance(inner, dict) else []
            for target in [*targets, inner.get("path") if kind == "serviceAccountToken" else None]:
                if target and target in paths:
                    causes.invalid(path, target, "conflicting duplicate paths")
                elif target:
                    paths.add(target)


def _nfs(source: JsonDict, path: str, causes: Causes) -> None:
    for field in ("server", "path"):
        if not source.get(field):
            causes.required(f"{path}.{field}")
    if source.get("path") and not source["path"].startswith("/"):
        causes.invalid(f"{path}.path", source["path"], "must be an absolute path")


def _csi(source: JsonDict, path: str, causes: Causes) -> None:
    if not source.get("driver"):
        causes.required(f"{path}.driver")


def _ephemeral(source: JsonDict, path: str, causes: Causes) -> None:
    template = source.get("volumeClaimTemplate")
    if template is None:
        causes.required(f"{path}.volumeClaimTemplate")
    else:
        claim_spec(template.get("spec") or {}, f"{path}.volumeClaimTemplate.spec", causes)


def _image(source: JsonDict, path: str, causes: Causes) -> None:
    if not source.get("reference"):
        causes.required(f"{path}.reference")
    causes.one_of(f"{path}.pullPolicy", source.get("pullPolicy"), ("Always", "IfNotPresent", "Never"))


_SOURCES: Final = {
    "emptyDir": _empty_dir,
    "hostPath": host_path,
    "configMap": _config_map,
    "secret": _secret,
    "persistentVolumeClaim": _claim,
    "downwardAPI": _downward,
    "projected": _projected,
    "nfs": _nfs,
    "csi": _csi,
    "ephemeral": _ephemeral,
    "image": _image,
}


def claim_spec(spec: JsonDict, path: str, causes: Causes) -> None:
    """The spec of a PersistentVolumeClaim or of a claim template."""
    from wherry.schema import quantity
    from wherry.schema.validation import selectors

    access_modes(spec.get("accessModes"), f"{path}.accessModes", causes)
    selectors.label_selector(spec.get("selector"), f"{path}.selector", causes)
    requests = (spec.get("resources") or {}).get("requests") or {}
    storage = requests.get("storage")
    if storage is None:
        causes.required(f"{path}.resources[storage]")
    else:
        if quantity.parse(storage).nano <= 0:
            causes.invalid(f"{path}.resources[storage]", storage, "must be greater than zero")
        resources.resource_name("storage", f"{path}.resources[storage]", causes)
    if spec.get("storageClassName"):
        causes.all_invalid(
            f"{path}.storageClassName", spec["storageClassName"], names.dns_subdomain(spec["storageClassName"])
        )
    if spec.get("volumeMode") not in (None, "Block", "Filesystem"):
        causes.unsupported(f"{path}.volumeMode", spec["volumeMode"], ("Block", "Filesystem"))
    for field in ("dataSource", "dataSourceRef"):
        if source := spec.get(field):
            for part in ("name", "kind"):
                if not source.get(part):
                    causes.required(f"{path}.{field}.{part}")


def access_modes(modes: Any, path: str, causes: Causes) -> None:
    if not modes:
        causes.required(path, "at least 1 access mode is required")
        return
    for mode in modes:
        if mode not in ACCESS_MODES:
            causes.unsupported(path, mode, ACCESS_MODES)
    if "ReadWriteOncePod" in modes and len(modes) > 1:
        causes.forbidden(path, "may not use ReadWriteOncePod with other access modes")

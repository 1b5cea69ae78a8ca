"""How everything else is shown: nodes, events, configuration, storage, access."""

from datetime import datetime
from typing import Any

from wherry.schema.duration import age, human
from wherry.schema.printers.columns import (
    NONE,
    UNKNOWN,
    UNSET,
    Column,
    JsonDict,
    Printer,
    age_of,
    columns,
    meta,
    name_of,
    wide,
)

_ROLE = "node-role.kubernetes.io/"


def _node(obj: JsonDict, now: datetime) -> list[Any]:
    status, labels = obj.get("status") or {}, meta(obj).get("labels") or {}
    ready = next((one for one in status.get("conditions") or () if one.get("type") == "Ready"), None)
    state = ["Unknown" if ready is None else "Ready" if ready.get("status") == "True" else "NotReady"]
    if (obj.get("spec") or {}).get("unschedulable"):
        state.append("SchedulingDisabled")
    roles = {key.removeprefix(_ROLE) for key in labels if key.startswith(_ROLE) and key != _ROLE}
    if labels.get("kubernetes.io/role"):
        roles.add(labels["kubernetes.io/role"])
    addresses = {one.get("type"): one.get("address") for one in reversed(status.get("addresses") or [])}
    info = status.get("nodeInfo") or {}
    return [
        name_of(obj),
        ",".join(state),
        ",".join(sorted(roles)) or NONE,
        age_of(obj, now),
        info.get("kubeletVersion") or "",
        addresses.get("InternalIP") or NONE,
        addresses.get("ExternalIP") or NONE,
        info.get("osImage") or UNKNOWN,
        info.get("kernelVersion") or UNKNOWN,
        info.get("containerRuntimeVersion") or UNKNOWN,
    ]


NODES = Printer(
    columns(
        "Name",
        "Status",
        "Roles",
        "Age",
        "Version",
        wide("Internal-IP"),
        wide("External-IP"),
        wide("OS-Image"),
        wide("Kernel-Version"),
        wide("Container-Runtime"),
    ),
    _node,
)


def _event(obj: JsonDict, now: datetime) -> list[Any]:
    first = obj.get("firstTimestamp") or obj.get("deprecatedFirstTimestamp") or obj.get("eventTime")
    last = obj.get("lastTimestamp") or obj.get("deprecatedLastTimestamp") or first
    count = obj.get("count") or obj.get("deprecatedCount") or 1
    if series := obj.get("series"):
        last, count = series.get("lastObservedTime"), series.get("count") or 0
    about = obj.get("involvedObject") or obj.get("regarding") or {}
    kind = (about.get("kind") or "").lower()
    source = obj.get("source") or obj.get("deprecatedSource") or {}
    component = source.get("component") or obj.get("reportingComponent") or obj.get("reportingController") or ""
    instance = source.get("host") or obj.get("reportingInstance") or ""
    return [
        age(last, now),
        obj.get("type") or "",
        obj.get("reason") or "",
        f"{kind}/{about['name']}" if about.get("name") else kind,
        about.get("fieldPath") or "",
        f"{component}, {instance}" if component and instance else component or instance,
        (obj.get("message") or obj.get("note") or "").strip(),
        age(first, now),
        count,
        name_of(obj),
    ]


EVENTS = Printer(
    (
        Column("Last Seen"),
        Column("Type"),
        Column("Reason"),
        Column("Object"),
        wide("Subobject"),
        wide("Source"),
        Column("Message"),
        wide("First Seen"),
        wide("Count"),
        Column("Name", format="name", priority=1),
    ),
    _event,
)


def _namespace(obj: JsonDict, now: datetime) -> list[Any]:
    return [name_of(obj), (obj.get("status") or {}).get("phase") or "", age_of(obj, now)]


NAMESPACES = Printer(columns("Name", "Status", "Age"), _namespace)


def _secret(obj: JsonDict, now: datetime) -> list[Any]:
    return [name_of(obj), obj.get("type") or "", len(obj.get("data") or ()), age_of(obj, now)]


SECRETS = Printer(columns("Name", "Type", Column("Data", "integer"), "Age"), _secret)


def _config_map(obj: JsonDict, now: datetime) -> list[Any]:
    return [name_of(obj), len(obj.get("data") or ()) + len(obj.get("binaryData") or ()), age_of(obj, now)]


CONFIG_MAPS = Printer(columns("Name", Column("Data", "integer"), "Age"), _config_map)


def _service_account(obj: JsonDict, now: datetime) -> list[Any]:
    return [name_of(obj), len(obj.get("secrets") or ()), age_of(obj, now)]


SERVICE_ACCOUNTS = Printer(columns("Name", Column("Secrets", "integer"), "Age"), _service_account)


def _quota(obj: JsonDict, now: datetime) -> list[Any]:
    status = obj.get("status") or {}
    hard = status.get("hard") or (obj.get("spec") or {}).get("hard") or {}
    used = status.get("used") or {}
    requests: list[str] = []
    limits: list[str] = []
    for name in sorted(hard):
        target = limits if name.startswith("limits.") else requests
        target.append(f"{name}: {used.get(name, '0')}/{hard[name]}")
    return [name_of(obj), ", ".join(requests), ", ".join(limits), age_of(obj, now)]


RESOURCE_QUOTAS = Printer(columns("Name", "Request", "Limit", "Age"), _quota)


def _created_at(obj: JsonDict, now: datetime) -> list[Any]:
    return [name_of(obj), meta(obj).get("creationTimestamp") or ""]


DEFAULT = Printer(columns("Name", "Created At"), _created_at)
"""For kinds that have no columns of their own."""


def _component_status(obj: JsonDict, now: datetime) -> list[Any]:
    status, message, error = "Unknown", "", ""
    for condition in obj.get("conditions") or ():
        if condition.get("type") == "Healthy":
            status = "Healthy" if condition.get("status") == "True" else "Unhealthy"
            message, error = condition.get("message") or "", condition.get("error") or ""
    return [name_of(obj), status, message, error]


COMPONENT_STATUSES = Printer(columns("Name", "Status", "Message", "Error"), _component_status)


_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


def _modes(modes: list[str] | None) -> str:
    present = set(modes or ())
    return ",".join(short for mode, short in _MODES.items() if mode in present)


def _phase(obj: JsonDict) -> str:
    if meta(obj).get("deletionTimestamp"):
        return "Terminating"
    return (obj.get("status") or {}).get("phase") or ""


def _volume(obj: JsonDict, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    claim = spec.get("claimRef")
    return [
        name_of(obj),
        (spec.get("capacity") or {}).get("storage") or "0",
        _modes(spec.get("accessModes")),
        spec.get("persistentVolumeReclaimPolicy") or "",
        _phase(obj),
        f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else "",
        _storage_class_of(obj),
        spec.get("volumeAttributesClassName") or UNSET,
        (obj.get("status") or {}).get("reason") or "",
        age_of(obj, now),
        spec.get("volumeMode") or UNSET,
    ]


def _storage_class_of(obj: JsonDict) -> str:
    annotated = (meta(obj).get("annotations") or {}).get("volume.beta.kubernetes.io/storage-class")
    return annotated or (obj.get("spec") or {}).get("storageClassName") or ""


PERSISTENT_VOLUMES = Printer(
    columns(
        "Name",
        "Capacity",
        "Access Modes",
        "Reclaim Policy",
        "Status",
        "Claim",
        "StorageClass",
        "VolumeAttributesClass",
        "Reason",
        "Age",
        wide("VolumeMode"),
    ),
    _volume,
)


def _claim(obj: JsonDict, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    volume = spec.get("volumeName") or ""
    return [
        name_of(obj),
        _phase(obj),
        volume,
        ((status.get("capacity") or {}).get("storage") or "0") if volume else "",
        _modes(status.get("accessModes")) if volume else "",
        _storage_class_of(obj),
        spec.get("volumeAttributesClassName") or UNSET,
        age_of(obj, now),
        spec.get("volumeMode") or UNSET,
    ]


PERSISTENT_VOLUME_CLAIMS = Printer(
    columns(
        "Name",
        "Status",
        "Volume",
        "Capacity",
        "Access Modes",
        "StorageClass",
        "VolumeAttributesClass",
        "Age",
        wide("VolumeMode"),
    ),
    _claim,
)


def _storage_class(obj: JsonDict, now: datetime) -> list[Any]:
    annotations = meta(obj).get("annotations") or {}
    default = annotations.get("storageclass.kubernetes.io/is-default-class") == "true"
    return [
        f"{name_of(obj)} (default)" if default else name_of(obj),
        obj.get("provisioner") or "",
        obj.get("reclaimPolicy") or "Delete",
        obj.get("volumeBindingMode") or "Immediate",
        bool(obj.get("allowVolumeExpansion")),
        age_of(obj, now),
    ]


STORAGE_CLASSES = Printer(
    columns("Name", "Provisioner", "ReclaimPolicy", "VolumeBindingMode", "AllowVolumeExpansion", "Age"),
    _storage_class,
)


def _attachment(obj: JsonDict, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    return [
        name_of(obj),
        spec.get("attacher") or "",
        (spec.get("source") or {}).get("persistentVolumeName") or "",
        spec.get("nodeName") or "",
        bool((obj.get("status") or {}).get("attached")),
        age_of(obj, now),
    ]


VOLUME_ATTACHMENTS = Printer(
    columns("Name", "Attacher", "PV", "Node", Column("Attached", "boolean"), "Age"), _attachment
)


def _csi_driver(obj: JsonDict, now: datetime) -> list[Any]:
    spec = obj.get("spec") or {}
    tokens = ",".join(one.get("audience", "") for one in spec.get("tokenRequests") or ()) or UNSET
    return [
        name_of(obj),
        bool(spec.get("attachRequired", True)),
        bool(spec.get("podInfoOnMount")),
        bool(spec.get("storageCapacity")),
        tokens,
        bool(spec.get("requiresRepublish")),
        ",".join(spec.get("volumeLifecycleModes") or ()) or NONE,
        age_of(obj, now),
    ]


CSI_DRIVERS = Printer(
    columns(
        "Name",
        Column("AttachRequired", "boolean"),
        Column("PodInfoOnMount", "boolean"),
        Column("StorageCapacity", "boolean"),
        "TokenRequests",
        Column("RequiresRepublish", "boolean"),
        "Modes",
        "Age",
    ),
    _csi_driver,
)


def _csi_node(obj: JsonDict, now: datetime) -> list[Any]:
    return [name_of(obj), len((obj.get("spec") or {}).get("drivers") or ()), age_of(obj, now)]


CSI_NODES = Printer(columns("Name", Column("Drivers", "integer"), "Age"), _csi_node)


def _csi_capacity(obj: JsonDict, now: datetime) -> list[Any]:
    return [
        name_of(obj),
        obj.get("storageClassName") or "",
        obj.get("capacity") or UNSET,
        obj.get("maximumVolumeSize") or UNSET,
        age_of(obj, now),
    ]


CSI_STORAGE_CAPACITIES = Printer(
    columns("Name", "StorageClassName", "Capacity", wide("MaximumVolumeSize"), "Age"), _csi_capacity
)


def _attributes_class(obj: JsonDict, now: datetime) -> list[Any]:
    return [name_of(obj), obj.get("driverName") or "", age_of(obj, now)]


VOLUME_ATTRIBUTES_CLASSES = Printer(columns("Name", "DriverName", "Age"), _attributes_class)


def _binding(obj: JsonDict, now: datetime) -> list[Any]:
    reference, subjects = obj.get("roleRef") or {}, obj.get("subjects") or []
    named = [
        ", ".join(one.get("name", "") for one in subjects if one.get("kind") == kind) for kind in ("User", "Group")
    ]
    accounts = ", ".join(
        f"{one.get('namespace', '')}/{one.get('name', '')}" for one in subjects if one.get("kind") == "ServiceAccount"
    )
    role = f"{reference.get('kind', '')}/{reference.get('name', '')}"
    return [name_of(obj), role, age_of(obj, now), *named, accounts]


BINDINGS = Printer(columns("Name", "Role", "Age", wide("Users"), wide("Groups"), wide("ServiceAccounts")), _binding)


def _signing_request(obj: JsonDict, now: datetime) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    kinds = {one.get("type") for one in status.get("conditions") or ()}
    state = [kind for kind in ("Approved", "Denied", "Failed") if kind in kinds][:1] or ["Pending"]
    if "Failed" in kinds and state != ["Failed"]:
        state.append("Failed")
    if status.get("certificate"):
        state.append("Issued")
    seconds = spec.get("expirationSeconds")
    return [
        name_of(obj),
        age_of(obj, now),
        spec.get("signerName") or NONE,
        spec.get("username") or "",
        NONE if seconds is None else human(seconds),
        ",".join(state),
    ]


CERTIFICATE_SIGNING_REQUESTS = Printer(
    columns("Name", "Age", "SignerName", "Requestor", "RequestedDuration", "Condition"), _signing_request
)


def _lease(obj: JsonDict, now: datetime) -> list[Any]:
    return [name_of(obj), (obj.get("spec") or {}).get("holderIdentity") or "", age_of(obj, now)]


LEASES = Printer(columns("Name", "Holder", "Age"), _lease)


def _runtime_class(obj: JsonDict, now: datetime) -> list[Any]:
    return [name_of(obj), obj.get("handler") or "", age_of(obj, now)]


RUNTIME_CLASSES = Printer(columns("Name", "Handler", "Age"), _runtime_class)


def _priority_class(obj: JsonDict, now: datetime) -> list[Any]:
    return [
        name_of(obj),
        obj.get("value") or 0,
        bool(obj.get("globalDefault")),
        age_of(obj, now),
        obj.get("preemptionPolicy") or "",
    ]


PRIORITY_CLASSES = Printer(
    columns("Name", Column("Value", "integer"), Column("Global-Default", "boolean"), "Age", "PreemptionPolicy"),
    _priority_class,
)


def _webhooks(obj: JsonDict, now: datetime) -> list[Any]:
    return [name_of(obj), len(obj.get("webhooks") or ()), age_of(obj, now)]


WEBHOOK_CONFIGURATIONS = Printer(columns("Name", Column("Webhooks", "integer"), "Age"), _webhooks)


def _node_metrics(obj: JsonDict, now: datetime) -> list[Any]:
    usage = obj.get("usage") or {}
    return [name_of(obj), usage.get("cpu") or "", usage.get("memory") or "", obj.get("window") or ""]


NODE_METRICS = Printer(columns("Name", "cpu", "memory", "window"), _node_metrics)


def _pod_metrics(obj: JsonDict, now: datetime) -> list[Any]:
    from wherry.schema import quantity

    totals = []
    for name in ("cpu", "memory"):
        total = quantity.ZERO
        for container in obj.get("containers") or ():
            total = total + quantity.parse((container.get("usage") or {}).get(name) or "0")
        totals.append(str(total))
    return [name_of(obj), *totals, obj.get("window") or ""]


POD_METRICS = Printer(columns("Name", "cpu", "memory", "window"), _pod_metrics)

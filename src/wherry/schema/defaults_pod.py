"""Defaults of pods and pod templates: what the API server writes into fields that were left out.

Specified in the field descriptions of https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/.
"""

from collections.abc import Iterator
from typing import Any, Final

JsonDict = dict[str, Any]

FILE_MODE: Final = 0o644
TOKEN_SECONDS: Final = 3600


def pod(obj: JsonDict) -> None:
    """A pod, in place: its spec's defaults, and those that only pods get and templates do not."""
    spec = obj.setdefault("spec", {})
    pod_spec(spec)
    spec.setdefault("enableServiceLinks", True)
    host_network = spec.get("hostNetwork")
    for container in _containers(spec, "containers", "initContainers"):
        resources = container["resources"]
        if limits := resources.get("limits"):
            requests = resources.setdefault("requests", {})
            for name, amount in limits.items():
                requests.setdefault(name, amount)
        if host_network:
            for port in container.get("ports") or ():
                if not port.get("hostPort"):
                    port["hostPort"] = port.get("containerPort")
    status = obj.setdefault("status", {})
    status.setdefault("phase", "Pending")
    status.setdefault("qosClass", qos_class(obj))


def template(obj: JsonDict) -> None:
    """A pod template (`metadata` and `spec`), in place."""
    obj.setdefault("metadata", {})
    pod_spec(obj.setdefault("spec", {}))


def pod_spec(spec: JsonDict) -> None:
    if not spec.get("dnsPolicy"):
        spec["dnsPolicy"] = "ClusterFirst"
    if not spec.get("restartPolicy"):
        spec["restartPolicy"] = "Always"
    spec.setdefault("securityContext", {})
    spec.setdefault("terminationGracePeriodSeconds", 30)
    if not spec.get("schedulerName"):
        spec["schedulerName"] = "default-scheduler"
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    for one in _containers(spec, "containers", "initContainers", "ephemeralContainers"):
        container(one)
    for volume in spec.get("volumes") or ():
        if isinstance(volume, dict):
            volume_source(volume)


def _containers(spec: JsonDict, *lists: str) -> Iterator[JsonDict]:
    for name in lists:
        yield from spec.get(name) or ()


def pull_policy(image: str) -> str:
    """Always for `:latest` (said or implied), IfNotPresent for another tag or a digest."""
    if "@" in image:
        return "IfNotPresent"
    tag = image.rpartition("/")[2].partition(":")[2]
    return "Always" if tag in ("", "latest") else "IfNotPresent"


def container(obj: JsonDict) -> None:
    if not obj.get("imagePullPolicy"):
        obj["imagePullPolicy"] = pull_policy(obj.get("image") or "")
    if not obj.get("terminationMessagePath"):
        obj["terminationMessagePath"] = "/dev/termination-log"
    if not obj.get("terminationMessagePolicy"):
        obj["terminationMessagePolicy"] = "File"
    obj.setdefault("resources", {})
    for port in obj.get("ports") or ():
        if not port.get("protocol"):
            port["protocol"] = "TCP"
    for env in obj.get("env") or ():
        source = env.get("valueFrom")
        if source:
            field = source.get("fieldRef")
            if field is not None and not field.get("apiVersion"):
                field["apiVersion"] = "v1"
            resource = source.get("resourceFieldRef")
            if resource is not None:
                resource.setdefault("divisor", "0")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = obj.get(name)
        if probe is not None:
            _probe(probe)
    lifecycle = obj.get("lifecycle")
    if lifecycle:
        for name in ("postStart", "preStop"):
            _http_get((lifecycle.get(name) or {}).get("httpGet"))


def _probe(probe: JsonDict) -> None:
    for field, value in (
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ):
        if not probe.get(field):
            probe[field] = value
    _http_get(probe.get("httpGet"))
    grpc = probe.get("grpc")
    if grpc is not None:
        grpc.setdefault("service", "")


def _http_get(action: JsonDict | None) -> None:
    if action is not None:
        if not action.get("path"):
            action["path"] = "/"
        if not action.get("scheme"):
            action["scheme"] = "HTTP"


def volume_source(volume: JsonDict) -> None:
    """One entry of `volumes`, in place; also used for the sources of a PersistentVolume."""
    if len(volume) == 1 and "name" in volume:
        volume["emptyDir"] = {}
        return
    for name, source in volume.items():
        default = _VOLUME_DEFAULTS.get(name)
        if default is not None and isinstance(source, dict):
            default(source)


def _file_mode(source: JsonDict) -> None:
    source.setdefault("defaultMode", FILE_MODE)


def _field_refs(items: Any) -> None:
    for item in items or ():
        field = item.get("fieldRef")
        if field is not None and not field.get("apiVersion"):
            field["apiVersion"] = "v1"
        resource = item.get("resourceFieldRef")
        if resource is not None:
            resource.setdefault("divisor", "0")


def _downward(source: JsonDict) -> None:
    _file_mode(source)
    _field_refs(source.get("items"))


def _projected(source: JsonDict) -> None:
    _file_mode(source)
    for one in source.get("sources") or ():
        token = one.get("serviceAccountToken")
        if token is not None:
            token.setdefault("expirationSeconds", TOKEN_SECONDS)
        _field_refs((one.get("downwardAPI") or {}).get("items"))


def _host_path(source: JsonDict) -> None:
    source.setdefault("type", "")


def _iscsi(source: JsonDict) -> None:
    source.setdefault("iscsiInterface", "default")


def _rbd(source: JsonDict) -> None:
    for field, value in (("pool", "rbd"), ("user", "admin"), ("keyring", "/etc/ceph/keyring")):
        source.setdefault(field, value)


def _azure_disk(source: JsonDict) -> None:
    for field, value in (("cachingMode", "ReadWrite"), ("kind", "Shared"), ("fsType", "ext4"), ("readOnly", False)):
        source.setdefault(field, value)


def _scale_io(source: JsonDict) -> None:
    for field, value in (("storageMode", "ThinProvisioned"), ("fsType", "xfs")):
        source.setdefault(field, value)


def _ephemeral(source: JsonDict) -> None:
    claim = source.get("volumeClaimTemplate")
    if claim is not None:
        claim.setdefault("metadata", {})
        claim.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")


def _image(source: JsonDict) -> None:
    if not source.get("pullPolicy"):
        source["pullPolicy"] = pull_policy(source.get("reference") or "")


_VOLUME_DEFAULTS: Final = {
    "secret": _file_mode,
    "configMap": _file_mode,
    "downwardAPI": _downward,
    "projected": _projected,
    "hostPath": _host_path,
    "iscsi": _iscsi,
    "rbd": _rbd,
    "azureDisk": _azure_disk,
    "scaleIO": _scale_io,
    "ephemeral": _ephemeral,
    "image": _image,
}


def qos_class(obj: JsonDict) -> str:
    """Guaranteed, Burstable or BestEffort, from the cpu and memory of all (init) containers, or the pod's own.

    Specified in https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/.
    """
    spec = obj.get("spec") or {}
    own = spec.get("resources")
    if own and (own.get("requests") or own.get("limits")):
        blocks = [own]
    else:
        blocks = [one.get("resources") or {} for one in _containers(spec, "containers", "initContainers")]
    anything, guaranteed = False, bool(blocks)
    for block in blocks:
        requests, limits = block.get("requests") or {}, block.get("limits") or {}
        for name in ("cpu", "memory"):
            request, limit = requests.get(name), limits.get(name)
            if _positive(request) or _positive(limit):
                anything = True
            if not _positive(limit) or (request is not None and request != limit):
                guaranteed = False
    if not anything:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def _positive(amount: Any) -> bool:
    return amount is not None and amount not in ("0", 0)

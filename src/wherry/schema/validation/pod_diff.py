"""What changed in a pod's spec, printed as the API server prints it.

The real server writes both specs as JSON under the names of its own Go fields, in the order of their declaration, zero
values included, and shows a unified diff of that. The structs that people change are spelt out here; of all others
the fields that are set are shown.
"""

import difflib
import re
from typing import Any, Final

import orjson

JsonDict = dict[str, Any]

_POINTER: Final = None
_TEXT: Final = ""

_SPEC: Final[JsonDict] = {
    "Volumes": _POINTER, "InitContainers": _POINTER, "Containers": _POINTER, "EphemeralContainers": _POINTER,
    "RestartPolicy": _TEXT, "TerminationGracePeriodSeconds": _POINTER, "ActiveDeadlineSeconds": _POINTER,
    "DNSPolicy": _TEXT, "NodeSelector": _POINTER, "ServiceAccountName": _TEXT, "AutomountServiceAccountToken": _POINTER,
    "NodeName": _TEXT, "SecurityContext": _POINTER, "ImagePullSecrets": _POINTER, "Hostname": _TEXT,
    "Subdomain": _TEXT, "SetHostnameAsFQDN": _POINTER, "Affinity": _POINTER, "SchedulerName": _TEXT,
    "Tolerations": _POINTER, "HostAliases": _POINTER, "PriorityClassName": _TEXT, "Priority": _POINTER,
    "PreemptionPolicy": _POINTER, "DNSConfig": _POINTER, "ReadinessGates": _POINTER, "RuntimeClassName": _POINTER,
    "Overhead": _POINTER, "EnableServiceLinks": _POINTER, "TopologySpreadConstraints": _POINTER, "OS": _POINTER,
    "SchedulingGates": _POINTER, "ResourceClaims": _POINTER, "Resources": _POINTER, "HostnameOverride": _POINTER,
}  # fmt: skip
_CONTAINER: Final[JsonDict] = {
    "Name": _TEXT, "Image": _TEXT, "Command": _POINTER, "Args": _POINTER, "WorkingDir": _TEXT, "Ports": _POINTER,
    "EnvFrom": _POINTER, "Env": _POINTER, "Resources": {}, "ResizePolicy": _POINTER, "RestartPolicy": _POINTER,
    "RestartPolicyRules": _POINTER, "VolumeMounts": _POINTER, "VolumeDevices": _POINTER, "LivenessProbe": _POINTER,
    "ReadinessProbe": _POINTER, "StartupProbe": _POINTER, "Lifecycle": _POINTER, "TerminationMessagePath": _TEXT,
    "TerminationMessagePolicy": _TEXT, "ImagePullPolicy": _TEXT, "SecurityContext": _POINTER, "Stdin": False,
    "StdinOnce": False, "TTY": False,
}  # fmt: skip
_PROBE: Final[JsonDict] = {
    "Exec": _POINTER, "HTTPGet": _POINTER, "TCPSocket": _POINTER, "GRPC": _POINTER, "InitialDelaySeconds": 0,
    "TimeoutSeconds": 0, "PeriodSeconds": 0, "SuccessThreshold": 0, "FailureThreshold": 0,
    "TerminationGracePeriodSeconds": _POINTER,
}  # fmt: skip
_POD_SECURITY: Final[JsonDict] = {
    "HostNetwork": False, "HostPID": False, "HostIPC": False, "ShareProcessNamespace": _POINTER, "HostUsers": _POINTER,
    "SELinuxOptions": _POINTER, "WindowsOptions": _POINTER, "RunAsUser": _POINTER, "RunAsGroup": _POINTER,
    "RunAsNonRoot": _POINTER, "SupplementalGroups": _POINTER, "SupplementalGroupsPolicy": _POINTER,
    "FSGroup": _POINTER, "FSGroupChangePolicy": _POINTER, "Sysctls": _POINTER, "SeccompProfile": _POINTER,
    "AppArmorProfile": _POINTER, "SELinuxChangePolicy": _POINTER,
}  # fmt: skip
_SECURITY: Final[JsonDict] = {
    "Capabilities": _POINTER, "Privileged": _POINTER, "SELinuxOptions": _POINTER, "WindowsOptions": _POINTER,
    "RunAsUser": _POINTER, "RunAsGroup": _POINTER, "RunAsNonRoot": _POINTER, "ReadOnlyRootFilesystem": _POINTER,
    "AllowPrivilegeEscalation": _POINTER, "ProcMount": _POINTER, "SeccompProfile": _POINTER,
    "AppArmorProfile": _POINTER,
}  # fmt: skip
_PORT: Final[JsonDict] = {"Name": _TEXT, "HostPort": 0, "ContainerPort": 0, "Protocol": _TEXT, "HostIP": _TEXT}
_ENV: Final[JsonDict] = {"Name": _TEXT, "Value": _TEXT, "ValueFrom": _POINTER}
_RESOURCES: Final[JsonDict] = {"Limits": _POINTER, "Requests": _POINTER, "Claims": _POINTER}
_MOUNT: Final[JsonDict] = {
    "Name": _TEXT, "ReadOnly": False, "RecursiveReadOnly": _POINTER, "MountPath": _TEXT, "SubPath": _TEXT,
    "MountPropagation": _POINTER, "SubPathExpr": _TEXT,
}  # fmt: skip
_TOLERATION: Final[JsonDict] = {
    "Key": _TEXT, "Operator": _TEXT, "Value": _TEXT, "Effect": _TEXT, "TolerationSeconds": _POINTER,
}  # fmt: skip

_CHILDREN: Final[dict[str, JsonDict]] = {
    "Containers": _CONTAINER, "InitContainers": _CONTAINER, "EphemeralContainers": _CONTAINER, "Ports": _PORT,
    "Env": _ENV, "Resources": _RESOURCES, "VolumeMounts": _MOUNT, "LivenessProbe": _PROBE, "ReadinessProbe": _PROBE,
    "StartupProbe": _PROBE, "Tolerations": _TOLERATION,
}  # fmt: skip
_MAPS: Final = frozenset({"NodeSelector", "Limits", "Requests", "Overhead", "MatchLabels"})
"""Fields whose keys are data and stay as they are."""

_HOST_FIELDS: Final = ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers")
"""Fields of the API's spec that the server keeps in its security context."""

_SPELT: Final = {"os": "OS", "ip": "IP", "tty": "TTY", "nfs": "NFS", "iscsi": "ISCSI", "csi": "CSI", "rbd": "RBD"}
_ACRONYMS: Final = re.compile(r"(dns|http|tcp|grpc|fs|se(?=L)|uid|api)(?=[A-Z]|\Z)")


def spec_diff(before: JsonDict, after: JsonDict) -> str:
    """A unified diff with three lines of context; ends with a line break unless nothing differs."""
    found = list(difflib.unified_diff(_lines(before), _lines(after), n=3))
    return "".join(found[2:])


def _lines(spec: JsonDict) -> list[str]:
    text = _printed(_go(_with_host_fields(spec), _SPEC), 0)
    return f"{text}\n".splitlines(keepends=True)


def _with_host_fields(spec: JsonDict) -> JsonDict:
    moved = {field: spec[field] for field in _HOST_FIELDS if field in spec}
    if not moved:
        return spec
    kept = {field: value for field, value in spec.items() if field not in moved}
    kept["securityContext"] = {**moved, **(spec.get("securityContext") or {})}
    return kept


def _go(value: Any, known: JsonDict | None, name: str = "") -> Any:
    """A value under Go's names; `known` are the fields of its struct with their zero values, when it is spelt out."""
    if isinstance(value, list):
        return [_go(item, known, name) for item in value]
    if not isinstance(value, dict) or name in _MAPS:
        return value
    made = dict(known or {})
    for field, item in value.items():
        spelt = _field(field)
        made[spelt] = _go(item, _fields_of(spelt, known), spelt)
    if known is not None and "Resources" in made and made["Resources"] == {}:
        made["Resources"] = dict(_RESOURCES)
    return made


def _fields_of(name: str, parent: JsonDict | None) -> JsonDict | None:
    if name == "SecurityContext":
        return _POD_SECURITY if parent is _SPEC else _SECURITY
    return _CHILDREN.get(name)


def _field(name: str) -> str:
    if name in _SPELT:
        return _SPELT[name]
    name = _ACRONYMS.sub(lambda found: found[1].upper(), name, count=1) if _ACRONYMS.match(name) else name
    return name[:1].upper() + name[1:]


def _printed(value: Any, depth: int) -> str:
    """As Go's MarshalIndent with one space does."""
    inner, outer = " " * (depth + 1), " " * depth
    if isinstance(value, dict) and value:
        rows = [f"{inner}{_text(key)}: {_printed(item, depth + 1)}" for key, item in value.items()]
        return "{\n" + ",\n".join(rows) + f"\n{outer}}}"
    if isinstance(value, list) and value:
        rows = [inner + _printed(item, depth + 1) for item in value]
        return "[\n" + ",\n".join(rows) + f"\n{outer}]"
    if isinstance(value, str):
        return _text(value)
    return orjson.dumps(value).decode()


def _text(text: str) -> str:
    shown = orjson.dumps(text).decode()
    return shown.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")

"""The environment of a container: service variables, envFrom, env with valueFrom, and `$(VAR)` expansion.

Pure: the ConfigMaps and Secrets that are referred to come in as decoded objects. Specified in
https://kubernetes.io/docs/tasks/inject-data-application/ and in the API reference of EnvVar.
"""

import base64
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING
from typing import Any

from wherry.node import pods, resources
from wherry.schema.resource import Object


class ConfigError(Exception):
    """The container cannot be created from what the API holds: waiting reason CreateContainerConfigError."""


@dataclass(frozen=True)
class Surroundings:
    """What a container's configuration may refer to. Objects are keyed by name, in the pod's namespace."""

    config_maps: Mapping[str, Object] = field(default_factory=dict)
    secrets: Mapping[str, Object] = field(default_factory=dict)
    services: Sequence[Object] = ()
    """Services of the pod's namespace, and `kubernetes` of namespace default."""
    pod_ips: Sequence[str] = ()
    host_ips: Sequence[str] = ()
    node_name: str = ""
    allocatable: Mapping[str, str] = field(default_factory=dict)


_REFERENCE = re.compile(r"\$(?:\$|\(([^()]*)\))")


def expand(text: str, lookup: Callable[[str], str | None]) -> str:
    """Replace `$(NAME)` where NAME is known; unknown ones stay, `$$(NAME)` becomes the text `$(NAME)`."""
    if "$" not in text:
        return text

    def replace(match: re.Match[str]) -> str:
        name = match[1]
        if name is None:
            return "$"
        value = lookup(name)
        return match[0] if value is None else value

    return _REFERENCE.sub(replace, text)


def references(containers: Iterable[Object]) -> tuple[set[str], set[str]]:
    """Names of the ConfigMaps and of the Secrets that these containers' environments need."""
    config_maps: set[str] = set()
    secrets: set[str] = set()
    for container in containers:
        for source in container.get("envFrom") or []:
            if "configMapRef" in source:
                config_maps.add(source["configMapRef"].get("name", ""))
            if "secretRef" in source:
                secrets.add(source["secretRef"].get("name", ""))
        for variable in container.get("env") or []:
            value_from = variable.get("valueFrom") or {}
            if "configMapKeyRef" in value_from:
                config_maps.add(value_from["configMapKeyRef"].get("name", ""))
            if "secretKeyRef" in value_from:
                secrets.add(value_from["secretKeyRef"].get("name", ""))
    return config_maps, secrets


def environment(pod: Object, container: Object, around: Surroundings) -> dict[str, str]:
    """All variables in order. Raises ConfigError for a reference that is not optional and cannot be resolved."""
    services: dict[str, str] = {}
    if pod["spec"].get("enableServiceLinks", True):
        services = service_variables(pods.namespace(pod), around.services)
    else:
        services = service_variables("", [s for s in around.services if _is_master(s)])
    own: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        own.update(_env_from(pod, source, around))
    for variable in container.get("env") or []:
        name = variable["name"]
        if "valueFrom" in variable:
            found = _value_from(pod, container, variable["valueFrom"], around)
            if found is None:
                continue
            own[name] = found
        else:
            own[name] = expand(variable.get("value") or "", lambda key: own[key] if key in own else services.get(key))
    return {**{key: value for key, value in services.items() if key not in own}, **own}


def _is_master(service: Object) -> bool:
    meta = service["metadata"]
    return bool(meta["name"] == "kubernetes" and meta.get("namespace") == "default")


def service_variables(namespace: str, services: Iterable[Object]) -> dict[str, str]:
    """`WEB_SERVICE_HOST`, `WEB_PORT_80_TCP_ADDR` and their kin for each service with an address."""
    chosen: dict[str, Object] = {}
    for service in services:
        address = (service.get("spec") or {}).get("clusterIP")
        if not address or address == "None":
            continue
        meta = service["metadata"]
        if meta.get("namespace") == namespace or (_is_master(service) and meta["name"] not in chosen):
            chosen[meta["name"]] = service
    found: dict[str, str] = {}
    for name in sorted(chosen):
        spec = chosen[name]["spec"]
        address = spec["clusterIP"]
        prefix = name.upper().replace("-", "_")
        shown = f"[{address}]" if ":" in address else address
        ports = spec.get("ports") or []
        if not ports:
            continue
        found[f"{prefix}_SERVICE_HOST"] = address
        found[f"{prefix}_SERVICE_PORT"] = str(ports[0]["port"])
        for port in ports:
            if port.get("name"):
                found[f"{prefix}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(port["port"])
        for index, port in enumerate(ports):
            protocol = port.get("protocol") or "TCP"
            number = port["port"]
            url = f"{protocol.lower()}://{shown}:{number}"
            if index == 0:
                found[f"{prefix}_PORT"] = url
            stem = f"{prefix}_PORT_{number}_{protocol}"
            found[stem] = url
            found[f"{stem}_PROTO"] = protocol.lower()
            found[f"{stem}_PORT"] = str(number)
            found[f"{stem}_ADDR"] = address
    return found


def decode(value: str) -> bytes:
    """Bytes of one entry of a Secret's data."""
    return base64.b64decode(value)


def _env_from(pod: Object, source: dict[str, Any], around: Surroundings) -> dict[str, str]:
    prefix = source.get("prefix") or ""
    if "configMapRef" in source:
        reference, pool, what = source["configMapRef"], around.config_maps, "configmap"
    else:
        reference, pool, what = source["secretRef"], around.secrets, "secret"
    name = reference.get("name", "")
    found = pool.get(name)
    if found is None:
        if reference.get("optional"):
            return {}
        raise ConfigError(f'{what} "{name}" not found')
    data = found.get("data") or {}
    if what == "secret":
        data = {key: decode(value).decode("utf-8", "surrogateescape") for key, value in data.items()}
    return {prefix + key: str(data[key]) for key in sorted(data) if _valid_name(prefix + key)}


def _valid_name(name: str) -> bool:
    return bool(name) and "=" not in name and all(32 <= ord(char) < 127 for char in name)


def _value_from(pod: Object, container: Object, source: dict[str, Any], around: Surroundings) -> str | None:
    if "fieldRef" in source:
        return field_value(pod, source["fieldRef"].get("fieldPath", ""), around)
    if "resourceFieldRef" in source:
        reference = source["resourceFieldRef"]
        named = reference.get("containerName")
        target = pods.find_container(pod, named) if named else container
        if target is None:
            raise ConfigError(f"container {named} not found")
        return resource_value(target, reference, around.allocatable)
    if "configMapKeyRef" in source:
        reference, pool, what, kind = source["configMapKeyRef"], around.config_maps, "configmap", "ConfigMap"
    elif "secretKeyRef" in source:
        reference, pool, what, kind = source["secretKeyRef"], around.secrets, "secret", "Secret"
    else:
        raise ConfigError(f"env valueFrom {', '.join(source) or 'without a source'} is not supported")
    name, key = reference.get("name", ""), reference.get("key", "")
    found = pool.get(name)
    if found is None:
        if reference.get("optional"):
            return None
        raise ConfigError(f'{what} "{name}" not found')
    data = found.get("data") or {}
    if key not in data:
        if reference.get("optional"):
            return None
        raise ConfigError(f"couldn't find key {key} in {kind} {pods.namespace(pod)}/{name}")
    value = str(data[key])
    return decode(value).decode("utf-8", "surrogateescape") if what == "secret" else value


_SUBSCRIPT = re.compile(r"^metadata\.(labels|annotations)\['(.+)'\]$")


def field_value(pod: Object, path: str, around: Surroundings) -> str:
    """The downward API's value of a field path. Raises ConfigError for a path it does not offer."""
    meta, spec = pod["metadata"], pod["spec"]
    subscript = _SUBSCRIPT.match(path)
    if subscript:
        return str((meta.get(subscript[1]) or {}).get(subscript[2], ""))
    if path in ("metadata.labels", "metadata.annotations"):
        return format_map(meta.get(path.partition(".")[2]) or {})
    simple = {
        "metadata.name": meta["name"],
        "metadata.namespace": pods.namespace(pod),
        "metadata.uid": pods.uid(pod),
        "spec.nodeName": spec.get("nodeName") or around.node_name,
        "spec.serviceAccountName": spec.get("serviceAccountName") or "default",
        "status.hostIP": around.host_ips[0] if around.host_ips else "",
        "status.hostIPs": ",".join(around.host_ips[:2]),
        "status.podIP": around.pod_ips[0] if around.pod_ips else "",
        "status.podIPs": ",".join(around.pod_ips),
    }
    if path not in simple:
        raise ConfigError(f"unsupported fieldPath: {path}")
    return str(simple[path])


def format_map(entries: Mapping[str, str]) -> str:
    """`key="value"` lines, sorted: labels and annotations as a downward API file shows them."""
    lines = []
    for key in sorted(entries):
        text = entries[key].replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
        lines.append(f'{key}="{text}"')
    return "\n".join(lines)


def resource_value(container: Object, reference: Mapping[str, Any], allocatable: Mapping[str, str]) -> str:
    """`limits.cpu` and its kin, divided by the divisor and rounded up."""
    path = str(reference.get("resource", ""))
    section, _, resource = path.partition(".")
    if section not in ("limits", "requests") or not resource:
        raise ConfigError(f"unsupported container resource : {path}")
    table = (container.get("resources") or {}).get(section) or {}
    given = table.get(resource)
    if given is None and section == "limits":
        given = allocatable.get(resource, "0")
    amount = resources.quantity(str(given if given is not None else "0"))
    divisor = resources.quantity(str(reference.get("divisor") or "1"))
    if divisor == 0:
        divisor = resources.quantity("1")
    return str(int((amount / divisor).to_integral_value(rounding=ROUND_CEILING)))

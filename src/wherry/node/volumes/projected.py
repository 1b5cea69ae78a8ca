"""The files of configMap, secret, downwardAPI and projected volumes, from the objects they name.

Specified in https://kubernetes.io/docs/concepts/storage/projected-volumes/. A source that is not optional and
cannot be read raises VolumeError with the kubelet's own wording.
"""

import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from wherry.node import pods
from wherry.node.env import ConfigError, Surroundings, field_value, resource_value
from wherry.node.volumes.atomic import File
from wherry.node.volumes.hostpath import VolumeError
from wherry.schema.resource import Object

DEFAULT_MODE = 0o644


@dataclass(frozen=True)
class Readers:
    """How to reach what volumes refer to; each returns None for an object that does not exist."""

    config_map: Callable[[str], Awaitable[Object | None]]
    secret: Callable[[str], Awaitable[Object | None]]
    token: Callable[[str, int], Awaitable[str]]
    """`token(audience, expiration seconds)`: a fresh or cached service account token of the pod."""
    around: Surroundings = field(default_factory=Surroundings)


async def files(pod: Object, volume: Object, readers: Readers) -> dict[str, File]:
    """Relative path → File for a volume of one of the four kinds."""
    if "configMap" in volume:
        source = volume["configMap"]
        return await _config_map(source, _mode(source), readers)
    if "secret" in volume:
        source = volume["secret"]
        renamed = {"name": source.get("secretName", ""), **source}
        return await _secret(renamed, _mode(source), readers)
    if "downwardAPI" in volume:
        source = volume["downwardAPI"]
        return _downward(pod, source, _mode(source), readers)
    source = volume["projected"]
    mode = _mode(source)
    found: dict[str, File] = {}
    for part in source.get("sources") or []:
        if "configMap" in part:
            found.update(await _config_map(part["configMap"], mode, readers))
        elif "secret" in part:
            found.update(await _secret(part["secret"], mode, readers))
        elif "downwardAPI" in part:
            found.update(_downward(pod, part["downwardAPI"], mode, readers))
        elif "serviceAccountToken" in part:
            token = part["serviceAccountToken"]
            text = await readers.token(token.get("audience") or "", int(token.get("expirationSeconds") or 3600))
            user = _common_user(pod)
            group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
            secret_mode = 0o600 if user is not None or group is not None else mode
            found[token["path"]] = File(text.encode(), secret_mode, -1 if user is None else user)
        else:
            raise VolumeError(f"projected volume source {', '.join(part) or 'without a kind'} is not supported")
    return found


def _mode(source: dict[str, Any]) -> int:
    given = source.get("defaultMode")
    return DEFAULT_MODE if given is None else int(given)


def _common_user(pod: Object) -> int | None:
    """The one runAsUser that all containers share, or None."""
    shared = (pod["spec"].get("securityContext") or {}).get("runAsUser")
    users = {
        (container.get("securityContext") or {}).get("runAsUser", shared) for container in pods.all_containers(pod)
    }
    return users.pop() if len(users) == 1 else None


async def _config_map(source: dict[str, Any], mode: int, readers: Readers) -> dict[str, File]:
    name = source.get("name", "")
    found = await readers.config_map(name)
    if found is None:
        if source.get("optional"):
            return {}
        raise VolumeError(f'configmap "{name}" not found')
    payload = {key: str(value).encode() for key, value in (found.get("data") or {}).items()}
    payload |= {key: base64.b64decode(value) for key, value in (found.get("binaryData") or {}).items()}
    return _select(payload, source, mode, "configmap references non-existent config key")


async def _secret(source: dict[str, Any], mode: int, readers: Readers) -> dict[str, File]:
    name = source.get("name", "")
    found = await readers.secret(name)
    if found is None:
        if source.get("optional"):
            return {}
        raise VolumeError(f'secret "{name}" not found')
    payload = {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}
    return _select(payload, source, mode, "references non-existent secret key")


def _select(payload: dict[str, bytes], source: dict[str, Any], mode: int, missing: str) -> dict[str, File]:
    items = source.get("items")
    if not items:
        return {key: File(content, mode) for key, content in payload.items()}
    chosen: dict[str, File] = {}
    for item in items:
        if item["key"] not in payload:
            if source.get("optional"):
                continue
            raise VolumeError(f"{missing}: {item['key']}")
        own = item.get("mode")
        chosen[item["path"]] = File(payload[item["key"]], mode if own is None else int(own))
    return chosen


def _downward(pod: Object, source: dict[str, Any], mode: int, readers: Readers) -> dict[str, File]:
    chosen: dict[str, File] = {}
    for item in source.get("items") or []:
        own = item.get("mode")
        try:
            if "fieldRef" in item:
                text = field_value(pod, item["fieldRef"].get("fieldPath", ""), readers.around)
            else:
                reference = item["resourceFieldRef"]
                container = pods.find_container(pod, reference.get("containerName", ""))
                if container is None:
                    raise VolumeError(f"container {reference.get('containerName', '')} not found")
                text = resource_value(container, reference, readers.around.allocatable)
        except ConfigError as error:
            raise VolumeError(str(error)) from error
        chosen[item["path"]] = File(text.encode(), mode if own is None else int(own))
    return chosen

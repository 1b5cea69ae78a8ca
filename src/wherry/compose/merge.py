"""Merging canonical files: later ones say more about, or something else than, earlier ones.

Mappings merge key by key; of single values the later one counts; sequences are joined. Exceptions, from
https://docs.docker.com/reference/compose-file/merge/: a command, an entrypoint and a healthcheck's test are replaced
whole; ports, volumes, configs, secrets and devices are one per place they take in the container, the later counts;
other sequences hold each value once. `!reset` takes a key away, `!override` replaces it unmerged.
"""

from collections.abc import Callable, Hashable
from typing import Any

from wherry.compose.source import KeyPath, Override, Reset, untagged

strip = untagged

_REPLACED = {"command", "entrypoint", "test"}
_UNIQUE_BY: dict[str, Callable[[Any], Hashable]] = {
    "ports": lambda port: (port.get("host_ip", ""), port["target"], port.get("published", ""), port["protocol"]),
    "volumes": lambda volume: volume.get("target"),
    "configs": lambda grant: grant.get("target") or grant["source"],
    "secrets": lambda grant: grant.get("target") or grant["source"],
    "devices": lambda device: device.get("target") or repr(device),
    "env_file": lambda entry: entry["path"],
}


def merge(base: Any, later: Any, path: KeyPath = ()) -> Any:
    """What `base` is after `later` has had its say. Neither is changed."""
    if isinstance(later, Override):
        return strip(later.value)
    if isinstance(later, Reset):
        return later
    if isinstance(base, Reset | Override):
        base = base.value if isinstance(base, Override) else None
    if isinstance(base, dict) and isinstance(later, dict):
        if (
            path
            and path[-1] == "logging"
            and base.get("driver", later.get("driver")) != later.get("driver", base.get("driver"))
        ):
            return strip(later)
        merged = dict(base)
        for key, value in later.items():
            if isinstance(value, Reset):
                merged.pop(key, None)
            elif key in merged:
                merged[key] = merge(merged[key], value, (*path, key))
            else:
                merged[key] = strip(value)
        return merged
    if isinstance(base, list) and isinstance(later, list):
        key = str(path[-1]) if path else ""
        if key in _REPLACED:
            return strip(later)
        in_service = len(path) == 3 and path[0] == "services"
        identity = _UNIQUE_BY.get(key) if in_service else None
        return _joined(base, later, identity or repr)
    if later is None and isinstance(base, dict):
        return base
    return strip(later)


def _joined(base: list[Any], later: list[Any], identity: Callable[[Any], Hashable]) -> list[Any]:
    found: dict[Hashable, Any] = {}
    for item in [*base, *later]:
        found[identity(item)] = item
    return list(found.values())

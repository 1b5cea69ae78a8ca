"""What a project says and its containers will not have: warned of by name, or refused by name when it is to run."""

from collections.abc import Collection
from typing import Any

from wherry.compose.project import Project

WARNED = {
    "credential_spec": "Windows only",
    "isolation": "Windows only",
    "cpu_count": "Windows only",
    "cpu_percent": "Windows only",
    "models": "no model runner",
    "use_api_socket": "the engine's socket is not shared with containers",
    "gpus": "no GPU runtime",
    "storage_opt": "the overlay snapshotter has no size limit",
}
"""Keys of a service that are carried and have no effect, each with what is lost."""


def not_honoured(project: Project, definition: dict[str, Any]) -> list[tuple[str, str]]:
    """(key, what is lost) for all that a service says and its containers will not have, though they can run."""
    found = [(key, WARNED[key]) for key in sorted(WARNED.keys() & definition.keys())]
    resources = (definition.get("deploy") or {}).get("resources") or {}
    for part in ("limits", "reservations"):
        for key, lost in (("devices", "no GPU runtime"), ("generic_resources", "no resources of that kind")):
            if (resources.get(part) or {}).get(key):
                found.append((f"deploy.resources.{part}.{key}", lost))
    for name, network in (definition.get("networks") or {}).items():
        if (network or {}).get("interface_name"):
            found.append((f"networks.{name}.interface_name", "interfaces are named by the engine"))
    for kind, section in (("configs", project.configs), ("secrets", project.secrets)):
        for grant in definition.get(kind) or ():
            if section.get(grant["source"], {}).get("file"):
                said = [key for key in ("uid", "gid", "mode") if key in grant]
                found += [(f"{kind}.{grant['source']}.{key}", "the file is mounted as it is") for key in said]
    for volume in definition.get("volumes") or ():
        if isinstance(volume, dict) and (volume.get("bind") or {}).get("recursive"):
            found.append((f"volumes.{volume['target']}.bind.recursive", "mounts below it are always taken along"))
    return found


def refuse(project: Project, services: Collection[str]) -> None:
    """Raises ComposeError for the first thing without which a container of these services would not be what it says."""
    for name in services:
        definition = project.services[name]
        place = ("services", name)
        if "provider" in definition:
            kind = definition["provider"]["type"]
            raise project.error(f'provider "{kind}" is not supported: services are containers', (*place, "provider"))
        for kind, section in (("configs", project.configs), ("secrets", project.secrets)):
            for grant in definition.get(kind) or ():
                source = section[grant["source"]]
                if source.get("external"):
                    known_as = source.get("name", grant["source"])
                    raise project.error(f"unsupported external {kind[:-1]} {known_as}", (kind, grant["source"]))
                for key in ("driver", "template_driver"):
                    if source.get(key):
                        raise project.error(
                            f"unsupported {kind[:-1]} {key} {source[key]}", (kind, grant["source"], key)
                        )
        for index, volume in enumerate(definition.get("volumes") or ()):
            if volume["type"] in ("npipe", "cluster"):
                raise project.error(f"mounts of type {volume['type']} are not supported", (*place, "volumes", index))
        for index, device in enumerate(definition.get("devices") or ()):
            if "=" in device["source"] and not device["source"].startswith("/"):
                raise project.error(f"CDI device {device['source']} is not supported", (*place, "devices", index))

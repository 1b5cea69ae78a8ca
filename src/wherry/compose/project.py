"""A project: what one or more Compose files say together, in canonical form."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wherry.compose.errors import ComposeError
from wherry.compose.source import KeyPath, error_at


@dataclass
class Project:
    """Services, networks, volumes, configs and secrets by name; `disabled` services are those whose profiles are off.

    `environment` is what interpolation saw: the caller's variables over those of the env files.
    """

    name: str
    directory: Path
    files: list[Path]
    services: dict[str, dict[str, Any]]
    networks: dict[str, dict[str, Any]]
    volumes: dict[str, dict[str, Any]]
    configs: dict[str, dict[str, Any]]
    secrets: dict[str, dict[str, Any]]
    environment: dict[str, str]
    profiles: tuple[str, ...] = ()
    disabled: dict[str, dict[str, Any]] = field(default_factory=dict)
    extensions: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    lines: dict[KeyPath, tuple[Path, int]] = field(default_factory=dict)
    separator: str = "-"
    """Between the parts of a container's name; `--compatibility` makes it `_`, as Docker Compose 1 had it."""

    def error(self, message: str, path: KeyPath) -> ComposeError:
        """A ComposeError that names the file and line of `path`."""
        return error_at(self.lines, message, path, self.files[0] if self.files else None)

    def dependencies(self, service: str) -> dict[str, dict[str, Any]]:
        """What must be there before `service`, with its conditions: depends_on, and what other keys imply."""
        definition = self.services[service]
        found: dict[str, dict[str, Any]] = dict(definition.get("depends_on") or {})
        for other in implied_dependencies(definition):
            found.setdefault(other, {"condition": "service_started", "required": True})
        return found


def implied_dependencies(service: dict[str, Any]) -> list[str]:
    """Services that a service names by links, volumes_from or a shared namespace."""
    found = [link.partition(":")[0] for link in service.get("links") or ()]
    found += [
        source.partition(":")[0] for source in service.get("volumes_from") or () if not source.startswith("container:")
    ]
    for key in ("network_mode", "ipc", "pid"):
        kind, _, name = (service.get(key) or "").partition(":")
        if kind == "service":
            found.append(name)
    return found

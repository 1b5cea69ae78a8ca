"""What a project's files leave out: variables from other files, real names, the default network."""

import os
from collections.abc import Mapping
from typing import Any

from wherry.compose import dotenv
from wherry.compose.project import Project


def complete(
    project: Project, services: Mapping[str, dict[str, Any]], *, read_env_files: bool, normalize: bool
) -> None:
    """Completes services (those with profiles that are off, too), networks, volumes, configs and secrets in place.

    Raises ComposeError for files that are missing or cannot be read.
    """
    for name, service in services.items():
        if read_env_files:
            _resolve_environment(project, name, service)
        _read_label_files(project, name, service)
        if "build" in service and service["build"].get("args"):
            args = service["build"]["args"]
            service["build"]["args"] = {
                key: project.environment.get(key) if value is None else value for key, value in args.items()
            }
        if "network_mode" in service and service.get("networks"):
            raise project.error(
                "service declares mutually exclusive `network_mode` and `networks`: invalid compose project",
                ("services", name, "network_mode"),
            )
        if normalize and "network_mode" not in service and not service.get("networks"):
            service["networks"] = {"default": None}
    if normalize:
        _complete_resources(project)


def _resolve_environment(project: Project, name: str, service: dict[str, Any]) -> None:
    """Variables of `env_file`, under those of `environment`; those without a value have the caller's, or go."""
    from_files: dict[str, str | None] = {}
    for entry in service.pop("env_file", ()):
        path = project.directory / entry["path"]
        if not os.path.exists(path):
            if entry["required"]:
                raise project.error(f"env file {path} not found: stat {path}: no such file or directory",
                                    ("services", name, "env_file"))  # fmt: skip
            continue
        if os.path.isdir(path):
            raise project.error(f"env file {path} cannot be read: is a directory", ("services", name, "env_file"))
        reader = dotenv.read_raw if entry.get("format") == "raw" else dotenv.read
        from_files |= reader(path, project.environment)
    environment = from_files | (service.get("environment") or {})
    resolved = {key: project.environment.get(key) if value is None else value for key, value in environment.items()}
    if environment:
        service["environment"] = {key: value for key, value in resolved.items() if value is not None}


def _read_label_files(project: Project, name: str, service: dict[str, Any]) -> None:
    for label_file in service.pop("label_file", ()):
        path = project.directory / label_file
        if not os.path.isfile(path):
            raise project.error(f"label file {path} not found: stat {path}: no such file or directory",
                                ("services", name, "label_file"))  # fmt: skip
        read = dotenv.read(path, {})
        service["labels"] = {key: value or "" for key, value in read.items()} | service.get("labels", {})


def _complete_resources(project: Project) -> None:
    """Gives every network and volume its real name, and adds the default network where it is used."""
    everything = [*project.services.values(), *project.disabled.values()]
    if any("default" in (service.get("networks") or {}) for service in everything):
        project.networks.setdefault("default", {})
    for section in (project.networks, project.volumes, project.configs, project.secrets):
        for key, definition in section.items():
            external = definition.get("external")
            if isinstance(external, dict):
                definition["name"] = external.get("name", key)
                definition["external"] = True
            elif external:
                definition.setdefault("name", key)
            else:
                definition.pop("external", None)
                definition.setdefault("name", f"{project.name}_{key}")

"""Names and labels: how a project's resources are found again, by Wherry and by Docker Compose alike.

The labels are Docker Compose's own, so each sees the other's projects.
"""

import hashlib
import json
from typing import Any

from wherry.compose.project import Project

PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"
NUMBER = "com.docker.compose.container-number"
ONEOFF = "com.docker.compose.oneoff"
CONFIG_HASH = "com.docker.compose.config-hash"
CONFIG_FILES = "com.docker.compose.project.config_files"
ENVIRONMENT_FILES = "com.docker.compose.project.environment_file"
WORKING_DIR = "com.docker.compose.project.working_dir"
DEPENDS_ON = "com.docker.compose.depends_on"
IMAGE = "com.docker.compose.image"
NETWORK = "com.docker.compose.network"
VOLUME = "com.docker.compose.volume"
VERSION = "com.docker.compose.version"
REPLACES = "com.docker.compose.replace"
SLUG = "com.docker.compose.slug"

COMPOSE_VERSION = "2.39.0"
"""The Docker Compose release whose labels and behaviour these are."""

# What may change without the container being made anew.
_NOT_HASHED = ("build", "pull_policy", "scale", "depends_on", "profiles", "develop", "attach", "post_start", "pre_stop")


def config_hash(definition: dict[str, Any]) -> str:
    """SHA-256 of all in a service that a running container depends on: unlike hashes mean "recreate"."""
    kept = {key: value for key, value in definition.items() if key not in _NOT_HASHED and not key.startswith("x-")}
    deploy = dict(kept.get("deploy") or {})
    deploy.pop("replicas", None)
    if deploy:
        kept["deploy"] = deploy
    else:
        kept.pop("deploy", None)
    return resource_hash(kept)


def resource_hash(definition: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(definition, sort_keys=True, default=str).encode()).hexdigest()


def container_name(project: Project, service: str, number: int) -> str:
    """`container_name` of the service, or `project-service-1` with the project's separator."""
    given = project.services[service].get("container_name")
    return str(given) if given else project.separator.join((project.name, service, str(number)))


def image_name(project: Project, service: str) -> str:
    """The image a service runs: its `image`, or the name that its build is given."""
    return str(project.services[service].get("image") or f"{project.name}{project.separator}{service}")


def service_labels(project: Project, service: str, number: int, *, image_id: str, oneoff: bool) -> dict[str, str]:
    """All labels of a container: the service's own and those by which it is found again."""
    definition = project.services[service]
    dependencies = ",".join(
        f"{name}:{how['condition']}:{'true' if how.get('restart') else 'false'}"
        for name, how in (definition.get("depends_on") or {}).items()
    )
    return {
        **(definition.get("labels") or {}),
        CONFIG_HASH: config_hash(definition),
        NUMBER: str(number),
        DEPENDS_ON: dependencies,
        IMAGE: image_id,
        ONEOFF: "True" if oneoff else "False",
        PROJECT: project.name,
        CONFIG_FILES: ",".join(str(path) for path in project.files),
        WORKING_DIR: str(project.directory),
        SERVICE: service,
        VERSION: COMPOSE_VERSION,
    }

"""What a `build` section asks for beyond Docker's build API: secrets, further contexts, stages without cache."""

import os
from collections.abc import Collection
from pathlib import Path

from wherry.compose import names
from wherry.compose.build_context import pack
from wherry.compose.project import Project
from wherry.docker_api.build_request import Wishes

_SERVICE = "service:"


def wishes_of(project: Project, service: str) -> Wishes:
    """Of one service's build. Raises ComposeError for a secret that cannot be had and a context that is none."""
    build = project.services[service]["build"]
    found = Wishes()
    for grant in build.get("secrets") or ():
        found.secrets[grant.get("target") or grant["source"]] = _secret(project, grant["source"])
    for name, source in (build.get("additional_contexts") or {}).items():
        if source.startswith(_SERVICE):
            found.contexts[name] = f"docker-image://{names.image_name(project, source.removeprefix(_SERVICE))}"
        elif source.startswith("docker-image://"):
            found.contexts[name] = source
        elif os.path.isdir(source):
            found.contexts[name] = pack(Path(source), "", None)
        else:
            why = "is not supported: a context is a folder, docker-image://IMAGE or service:NAME"
            if source.startswith("/"):
                why = "not found: no such directory"
            raise project.error(f"additional context {source} {why}",
                                ("services", service, "build", "additional_contexts", name))  # fmt: skip
    found.no_cache_filter = list(build.get("no_cache_filter") or ())
    return found


def _secret(project: Project, key: str) -> bytes:
    source = project.secrets[key]
    if source.get("file"):
        try:
            return Path(source["file"]).read_bytes()
        except OSError as error:
            reason = (error.strerror or "").lower()
            raise project.error(f"open {source['file']}: {reason}", ("secrets", key, "file")) from None
    if "content" in source:
        return str(source["content"]).encode()
    variable = source.get("environment")
    if variable is None:
        raise project.error(f'build.secrets only supports environment or file-based secrets: "{key}"',
                            ("secrets", key))  # fmt: skip
    if variable not in project.environment:
        raise project.error(f'environment variable "{variable}" required by secret "{key}" is not set',
                            ("secrets", key, "environment"))  # fmt: skip
    return project.environment[variable].encode()


def context_services(project: Project, service: str) -> list[str]:
    """The services whose images are contexts of this one's build. Raises ComposeError for one that there is not."""
    found = []
    contexts = (project.services[service].get("build") or {}).get("additional_contexts") or {}
    for name, source in contexts.items():
        if source.startswith(_SERVICE):
            other = source.removeprefix(_SERVICE)
            if other not in project.services:
                raise project.error(f"no such service: {other}",
                                    ("services", service, "build", "additional_contexts", name))  # fmt: skip
            found.append(other)
    return found


def with_context_services(project: Project, services: Collection[str]) -> list[str]:
    """`services` and all whose images their builds need, those first."""
    found: list[str] = []

    def add(service: str, above: tuple[str, ...]) -> None:
        if service in found or service in above:
            return
        for other in context_services(project, service):
            add(other, (*above, service))
        found.append(service)

    for service in services:
        add(service, ())
    return found

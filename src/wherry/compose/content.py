"""Configs and secrets with content from the file or a variable: copied into the container before it starts."""

import io
import tarfile
from typing import Any
from urllib.parse import quote

from wherry.compose.container import grant_target
from wherry.compose.project import Project
from wherry.docker_api.client import DockerClient

DEFAULT_MODE = 0o444


def grants(project: Project, service: str) -> list[tuple[str, dict[str, Any], str]]:
    """(path in the container, grant, content) of each. Raises ComposeError for what cannot be had."""
    found = []
    for kind, section in (("configs", project.configs), ("secrets", project.secrets)):
        for grant in project.services[service].get(kind) or ():
            key = grant["source"]
            source = section[key]
            if source.get("file"):
                continue
            if source.get("external"):
                name = source.get("name", key)
                raise project.error(f"unsupported external {kind[:-1]} {name}", (kind, key))
            if "content" in source:
                text = source["content"]
            else:
                variable = source["environment"]
                if variable not in project.environment:
                    raise project.error(f'environment variable "{variable}" required by {kind[:-1]} "{key}" is not set',
                                        (kind, key, "environment"))  # fmt: skip
                text = project.environment[variable]
            found.append((grant_target(kind, grant), grant, text))
    return found


def archive(entries: list[tuple[str, dict[str, Any], str]]) -> bytes:
    """A tar of the files, to be unpacked at the container's root."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for target, grant, text in entries:
            data = text.encode()
            member = tarfile.TarInfo(target.lstrip("/"))
            member.size = len(data)
            member.mode = int(grant["mode"].replace("o", ""), 8) if "mode" in grant else DEFAULT_MODE
            member.uid, member.gid = int(grant.get("uid") or 0), int(grant.get("gid") or 0)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def copy_in(client: DockerClient, project: Project, service: str, container: str) -> None:
    """Gives a container that has not started its configs and secrets. Doing it twice does no harm."""
    entries = grants(project, service)
    if entries:
        path = f"/containers/{quote(container)}/archive"
        headers = {"Content-Type": "application/x-tar"}
        client.call("PUT", path, {"path": "/"}, data=archive(entries), headers=headers).read()

"""Files between this machine and a container, with `docker cp`'s rules for what lands where.

https://docs.docker.com/reference/cli/docker/container/cp/.
"""

import base64
import io
import json
import os
import posixpath
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from wherry.compose.errors import ComposeError
from wherry.docker_api.client import DockerClient, DockerError

_IS_FOLDER = 1 << 31


def split(text: str) -> tuple[str, str]:
    """(service, path); the service is empty for a path on this machine."""
    if text.startswith(("/", ".")) or ":" not in text:
        return "", text
    service, _, path = text.partition(":")
    return service, path


def stat(client: DockerClient, container: str, path: str) -> dict[str, Any] | None:
    """The container's X-Docker-Container-Path-Stat of a path; None when it is not there."""
    response = client.request("HEAD", f"/containers/{quote(container)}/archive", {"path": path})
    response.close()
    if response.status == 404:
        return None
    if response.status >= 400:
        raise ComposeError(f"cannot look at {path} in the container (status {response.status})")
    found: dict[str, Any] = json.loads(base64.b64decode(response.headers["x-docker-container-path-stat"]))
    return found


def copy_from(client: DockerClient, container: str, source: str, target: str, *, follow: bool) -> None:
    """Raises ComposeError or DockerError."""
    try:
        if follow and (found := stat(client, container, source)) and found.get("linkTarget"):
            source = posixpath.join(posixpath.dirname(source), found["linkTarget"])
        response = client.call("GET", f"/containers/{quote(container)}/archive", {"path": source})
    except DockerError as error:
        if error.status == 404:
            raise ComposeError(f"Could not find the file {source} in container {container[:12]}") from None
        raise
    if target == "-":
        for chunk in response.chunks():
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
        return
    place = Path(target)
    if not place.parent.is_dir():
        response.close()
        raise ComposeError(f"invalid output path: directory {place.parent} does not exist")
    # Into a folder that is there things go by their own names; else what is copied takes the target's name.
    renamed = source.endswith("/.") or not place.is_dir()
    with tarfile.open(fileobj=_Reader(response.chunks()), mode="r|") as tar:
        for member in tar:
            base = place
            if renamed:
                _, _, rest = member.name.strip("/").partition("/")
                if not rest and member.isdir():
                    place.mkdir(exist_ok=True)
                    continue
                member.name, base = (rest, place) if rest else (place.name, place.parent)
            inside = os.path.realpath(base)
            folder = os.path.realpath(os.path.join(inside, os.path.dirname(member.name)))
            if os.path.isabs(member.name) or os.path.commonpath([inside, folder]) != inside:
                raise ComposeError(f"refusing to write {member.name}: it lies outside of {base}")
            try:
                tar.extract(member, base, numeric_owner=True)
            except (OSError, tarfile.TarError) as error:
                raise ComposeError(f"cannot write {base / member.name}: {error}") from None


class _Reader(io.RawIOBase):
    """Pieces as a file that can only be read."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.pieces = pieces
        self.rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self.rest:
            self.rest = next(self.pieces, b"")
        count = min(len(buffer), len(self.rest))
        buffer[:count] = self.rest[:count]
        self.rest = self.rest[count:]
        return count


def copy_to(client: DockerClient, container: str, source: str, target: str, *, follow: bool, keep_owner: bool) -> None:
    """Raises ComposeError or DockerError."""
    path = f"/containers/{quote(container)}/archive"
    headers = {"Content-Type": "application/x-tar"}
    if source == "-":
        data = iter(lambda: sys.stdin.buffer.read(1 << 16), b"")
        client.call("PUT", path, {"path": target}, data=data, headers=headers).read()
        return
    local = Path(source)
    if not os.path.lexists(local):
        raise ComposeError(f"lstat {local}: no such file or directory")
    there = stat(client, container, target)
    is_folder = bool(there and there["mode"] & _IS_FOLDER)
    if is_folder:
        folder, name = target, local.resolve().name if not source.endswith("/.") else "."
    elif target.endswith("/") and not local.is_dir():
        raise ComposeError(f"no such directory: {target} in the container")
    else:
        folder, name = posixpath.dirname(target.rstrip("/")) or "/", posixpath.basename(target.rstrip("/"))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", dereference=follow) as tar:

        def owner(member: tarfile.TarInfo) -> tarfile.TarInfo:
            if not keep_owner:
                member.uid = member.gid = 0
            member.uname = member.gname = ""
            return member

        tar.add(local, name, filter=owner)
    client.call("PUT", path, {"path": folder}, data=buffer.getvalue(), headers=headers).read()

"""`kubectl cp`: a tar stream through `exec` in either direction. The container needs tar."""

import io
import os
import posixpath
import tarfile
import threading
from typing import Any, NamedTuple

from wherry.cli.kubectl import remote
from wherry.cli.kubectl.errors import KubectlError, UsageError
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.pods import container_of
from wherry.cli.kubectl.session import Session

HELP = "Copy files and directories to and from containers. The container's image must have tar."
EXAMPLES = """
kubectl cp /tmp/foo_dir some-pod:/tmp/bar_dir
kubectl cp some-namespace/some-pod:/tmp/foo /tmp/bar
"""
USAGE = "<file-spec-src> <file-spec-dest>"
FLAGS = (
    Flag("container", "c", "str", "", "Container name; the pod's default, or its first, when left out."),
    Flag("no-preserve", "", "bool", False, "Do not keep owners and permissions in the container."),
    Flag("retries", "", "int", 0, "Accepted for compatibility."),
)


class Place(NamedTuple):
    namespace: str
    pod: str
    path: str


def place(session: Session, text: str) -> Place:
    """`[[namespace/]pod:]path`."""
    colon = text.find(":")
    if colon == 0:
        raise UsageError("filespec must match the canonical format: [[namespace/]pod:]file/path")
    if colon < 0:
        return Place("", "", text)
    where, path = text[:colon], text[colon + 1 :]
    parts = where.split("/")
    if len(parts) > 2:
        raise UsageError("filespec must match the canonical format: [[namespace/]pod:]file/path")
    if len(parts) == 2 and (where.startswith(("/", ".")) or os.path.exists(text)):
        return Place("", "", text)
    namespace = parts[0] if len(parts) == 2 else session.namespace
    return Place(namespace, parts[-1], path)


def run(session: Session) -> int:
    options = session.options
    if len(options.arguments) != 2:
        raise KubectlError("source and destination are required")
    source, target = (place(session, word) for word in options.arguments)
    if source.pod and target.pod:
        raise KubectlError("one of src or dest must be a local file specification")
    if not source.path or not target.path:
        raise KubectlError("filepath can not be empty")
    if source.pod:
        return _from_pod(session, source, target.path)
    if target.pod:
        return _to_pod(session, source.path, target)
    raise KubectlError("one of src or dest must be a remote file specification")


def _stream(session: Session, where: Place, command: list[str], stdin: Any, stdout: Any) -> tuple[int, str]:
    resource = session.find("pods")
    pod = session.http.get(resource.path(where.namespace, where.pod))
    container = container_of(session, pod, session.options["container"])
    query: dict[str, Any] = {"command": command, "container": container, "stdout": "true", "stderr": "true"}
    if stdin is not None:
        query["stdin"] = "true"
    ws = remote.open_streams(session, resource.path(where.namespace, where.pod, "exec"), query)
    said: list[bytes] = []
    code = remote.run(ws, stdin=stdin, stdout=stdout, stderr=said.append)
    return code, b"".join(said).decode(errors="replace")


def _to_pod(session: Session, path: str, target: Place) -> int:
    if not os.path.lexists(path):
        raise KubectlError(f"{path} doesn't exist in local filesystem")
    destination = target.path
    if len(destination) > 1:
        destination = destination.rstrip("/")
    code, _ = _stream(session, target, ["test", "-d", destination], None, lambda data: None)
    if code == 0:
        destination = posixpath.join(destination, os.path.basename(os.path.abspath(path)))
    reading, writing = os.pipe()

    def pack() -> None:
        with os.fdopen(writing, "wb") as file, tarfile.open(fileobj=file, mode="w|", format=tarfile.GNU_FORMAT) as tar:
            tar.add(path, arcname=posixpath.basename(destination), recursive=True)

    packer = threading.Thread(target=pack, daemon=True)
    packer.start()
    command = (
        ["tar", "--no-same-permissions", "--no-same-owner", "-xmf", "-"]
        if session.options["no-preserve"]
        else ["tar", "-xmf", "-"]
    )
    folder = posixpath.dirname(destination)
    if folder:
        command += ["-C", folder]
    with os.fdopen(reading, "rb") as stdin:
        code, said = _stream(session, target, command, stdin, remote.write_stdout)
    if said:
        session.say(said.rstrip("\n"))
    return remote.exit_with(code)


class _Feed(io.RawIOBase):
    """What the container's tar writes, as a file for tarfile to read."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def read(self, size: int = -1) -> bytes:
        parts: list[bytes] = []
        while size:
            data = os.read(self.descriptor, size)
            if not data:
                break
            parts.append(data)
            size -= len(data)
        return b"".join(parts)


def _from_pod(session: Session, source: Place, destination: str) -> int:
    reading, writing = os.pipe()
    result: list[tuple[int, str]] = []
    failed: list[KubectlError] = []

    def receive() -> None:
        try:
            result.append(
                _stream(session, source, ["tar", "cf", "-", source.path], None, lambda data: _write_all(writing, data))
            )
        except KubectlError as error:
            failed.append(error)
        finally:
            os.close(writing)

    receiver = threading.Thread(target=receive, daemon=True)
    receiver.start()
    prefix = source.path.lstrip("/")
    prefix = posixpath.normpath(prefix) if prefix else "."
    try:
        with tarfile.open(fileobj=_Feed(reading), mode="r|") as tar:
            _unpack(session, tar, prefix, source, destination)
    except tarfile.ReadError:
        pass
    finally:
        receiver.join()
        os.close(reading)
    if failed:
        raise failed[0]
    code, said = result[0]
    if said:
        session.say(said.rstrip("\n"))
    return remote.exit_with(code)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _unpack(session: Session, tar: tarfile.TarFile, prefix: str, source: Place, destination: str) -> None:
    """Files below `destination` only: a hostile container's names and links never lead outside it."""
    base = destination
    if os.path.isdir(destination):
        base = os.path.join(destination, posixpath.basename(prefix))
    root = os.path.realpath(base)
    for member in tar:
        name = posixpath.normpath(member.name.lstrip("/"))
        if prefix != "." and name != prefix and not name.startswith(prefix + "/"):
            session.say(f'warning: file "{member.name}" is outside target destination, skipping')
            continue
        rest = name[len(prefix) :].lstrip("/") if prefix != "." else name
        target = os.path.join(base, rest) if rest and rest != "." else base
        folder = os.path.realpath(os.path.dirname(target) or ".")
        if rest and os.path.commonpath([folder, root]) != root:
            session.say(f'warning: file "{target}" is outside target destination, skipping')
            continue
        if member.isdir():
            os.makedirs(target, exist_ok=True)
        elif member.issym() or member.islnk():
            session.say(
                f'warning: skipping symlink: "{target}" -> "{member.linkname}" (consider using '
                f'"kubectl exec -n "{source.namespace}" "{source.pod}" -- tar cf - "{source.path}" | '
                'tar xf -")'
            )
        elif member.isfile():
            os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
            content = tar.extractfile(member)
            assert content is not None
            with open(target, "wb") as file:
                while data := content.read(65536):
                    file.write(data)
            os.chmod(target, member.mode & 0o777)

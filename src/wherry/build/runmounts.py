"""`RUN --mount`: bind, cache, tmpfs and secret.

Specified in the Dockerfile reference, "RUN --mount". What a mount needs on the host is made before the command
and undone after it; the mount points that had to be made in the image are taken away again.
"""

import csv
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..images.rootdir import RootDir
from .errors import BuildError

_KINDS = ("bind", "cache", "tmpfs", "secret", "ssh")
_SHARING = ("shared", "private", "locked")


@dataclass
class RunMount:
    """One `--mount`, read. `source` is a path in `origin` (a stage, an image, or "" for the context)."""

    kind: str
    target: str
    source: str = ""
    origin: str = ""
    read_only: bool = False
    sharing: str = "shared"
    id: str = ""
    size: int = 0
    mode: int | None = None
    uid: int = 0
    gid: int = 0
    required: bool = False
    env: str = ""

    def canonical(self) -> str:
        return repr(self)


def parse_mount(text: str, workdir: str) -> RunMount:
    """Raises ValueError with BuildKit's words."""
    fields = next(csv.reader([text]))
    values: dict[str, str] = {}
    for field in fields:
        key, separator, value = field.partition("=")
        key = key.lower()
        if not separator and key not in ("readonly", "ro", "readwrite", "rw", "required"):
            raise ValueError(f"invalid field '{field}' must be a key=value pair")
        values[key] = value if separator else "true"
    kind = values.pop("type", "bind")
    if kind not in _KINDS:
        raise ValueError(f'unsupported mount type "{kind}"')
    if kind == "ssh":
        raise ValueError("mounts of type ssh are not supported by this builder")
    mount = RunMount(kind, "")
    for key, value in values.items():
        _set(mount, key, value)
    if kind == "secret":
        if not mount.id:
            mount.id = os.path.basename(mount.target)
        if not mount.id:
            raise ValueError("invalid mount: secret needs an id or a target")
        if not mount.target and not mount.env:
            mount.target = f"/run/secrets/{mount.id}"
        mount.mode = 0o400 if mount.mode is None else mount.mode
    elif not mount.target:
        raise ValueError("invalid mount: target is required")
    if mount.target:
        mount.target = os.path.normpath(os.path.join(workdir or "/", mount.target))
        if kind in ("cache", "bind") and mount.target == "/":
            raise ValueError(f"invalid mount target {mount.target!r}")
    if kind == "bind" and "readwrite" not in values and "rw" not in values:
        mount.read_only = True
    if kind == "cache" and not mount.id:
        mount.id = mount.target
    return mount


def _set(mount: RunMount, key: str, value: str) -> None:
    if key in ("target", "dst", "destination"):
        mount.target = value
    elif key in ("source", "src"):
        mount.source = value
    elif key == "from":
        mount.origin = value
    elif key in ("readonly", "ro"):
        mount.read_only = _boolean(key, value)
    elif key in ("readwrite", "rw"):
        mount.read_only = not _boolean(key, value)
    elif key == "required":
        mount.required = _boolean(key, value)
    elif key == "id":
        mount.id = value
    elif key == "env":
        mount.env = value
    elif key == "sharing":
        if value not in _SHARING:
            raise ValueError(f'unsupported sharing value "{value}"')
        mount.sharing = value
    elif key in ("mode", "uid", "gid"):
        try:
            setattr(mount, key, int(value, 8 if key == "mode" else 10))
        except ValueError:
            raise ValueError(f"invalid value {value} for {key}") from None
    elif key == "size":
        mount.size = _size(value)
    else:
        raise ValueError(f"unexpected key '{key}' in '{key}={value}'")


def _boolean(key: str, value: str) -> bool:
    if value.lower() not in ("true", "false", "1", "0"):
        raise ValueError(f"invalid value for {key}: {value}")
    return value.lower() in ("true", "1")


def _size(text: str) -> int:
    units = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
    number = text.lower().rstrip("b") or "0"
    unit = number[-1] if number[-1] in "kmg" else ""
    try:
        return int(float(number.removesuffix(unit)) * units[unit])
    except ValueError:
        raise ValueError(f"invalid size: '{text}'") from None


def secret_file(directory: Path, mount: RunMount, secrets: dict[str, bytes], number: int) -> Path | None:
    """The file to bind for a secret; None when it was not given and is not required."""
    content = secrets.get(mount.id)
    if content is None:
        if mount.required:
            raise BuildError(f"secret {mount.id}: not found")
        return None
    path = directory / f"secret-{number}"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(fd, "wb") as file:
        file.write(content)
        os.fchown(fd, mount.uid, mount.gid)
        os.fchmod(fd, mount.mode if mount.mode is not None else 0o400)
    return path


def oci_bind(source: Path, target: str, *, read_only: bool) -> dict[str, Any]:
    return {
        "destination": target,
        "type": "bind",
        "source": os.fspath(source),
        "options": ["rbind", "rprivate", "ro" if read_only else "rw"],
    }


def oci_tmpfs(mount: RunMount) -> dict[str, Any]:
    options = ["nosuid", "nodev", "noexec", "mode=1777"]
    if mount.size:
        options.append(f"size={mount.size}")
    return {"destination": mount.target, "type": "tmpfs", "source": "tmpfs", "options": options}


@contextmanager
def mount_points_removed(rootfs: Path, targets: list[str]) -> Iterator[None]:
    """Take away the mount points that the runtime makes for `targets`, when they were not there before."""
    missing: list[bytes] = []
    with RootDir(rootfs) as root:
        for target in targets:
            path = os.fsencode(target.strip("/"))
            parts = path.split(b"/")
            for depth in range(1, len(parts) + 1):
                if not root.lexists(b"/".join(parts[:depth])):
                    missing.append(b"/".join(parts[:depth]) + b"\0" + path)
                    break
    yield
    for item in missing:
        first, _, path = item.partition(b"\0")
        with RootDir(rootfs) as root:
            _remove_empty(root, path, first)


def _remove_empty(root: RootDir, path: bytes, first: bytes) -> None:
    """Remove `path` and its parents down to `first`, as long as they are empty."""
    while len(path) >= len(first):
        directory, _, name = path.rpartition(b"/")
        with suppress(OSError):
            parent, _ = root.parent(directory)
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                os.rmdir(name, dir_fd=parent)
            elif found.st_size == 0:
                os.unlink(name, dir_fd=parent)
            root.forget()
        if not directory:
            return
        path = directory

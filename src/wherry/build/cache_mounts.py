"""What `RUN --mount=type=cache` keeps between builds: a directory for each cache, and beside it a note of what it is.

The note is `<name>.json`; its date is when the cache was last used. All methods block.
"""

import hashlib
import json
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from ..images.layers import remove_tree
from .runmounts import RunMount


@dataclass(frozen=True)
class Kept:
    """One cache. `size` in bytes, times in seconds since 1970."""

    name: str
    description: str
    size: int
    created: float
    used: float
    in_use: bool


class CacheMounts:
    """The caches of one engine."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._in_use: dict[str, int] = {}

    def take(self, mount: RunMount, *, alone: bool = False) -> Path:
        """The directory of a mount's cache, made with its owner and mode when new; `release` it after the command.

        With `alone` it is a fresh one, which goes with its release.
        """
        text = f"{mount.id}\0{secrets.token_hex(8) if alone else ''}"
        name = ("alone-" if alone else "") + hashlib.sha256(text.encode()).hexdigest()[:24]
        path = self.directory / name
        note = self.directory / f"{name}.json"
        self._in_use[name] = self._in_use.get(name, 0) + 1
        if not path.exists():
            path.mkdir(parents=True)
            os.chown(path, mount.uid, mount.gid)
            os.chmod(path, 0o755 if mount.mode is None else mount.mode)
        if note.exists():
            os.utime(note)
        else:
            note.write_text(json.dumps({"id": mount.id, "created": time.time()}))
        return path

    def release(self, path: Path) -> None:
        left = self._in_use.pop(path.name, 1) - 1
        if left:
            self._in_use[path.name] = left
        elif path.name.startswith("alone-"):
            self.remove(path.name)

    def all(self) -> list[Kept]:
        found = []
        for note in sorted(self.directory.glob("*.json")):
            name = note.stem
            try:
                about = json.loads(note.read_text())
                used = note.stat().st_mtime
            except (FileNotFoundError, ValueError):
                continue  # it goes away, or a crash cut its making short: the next `take` writes it anew
            size = _size(self.directory / name)
            found.append(Kept(name, f"cached mount {about['id']}", size, about["created"], used, name in self._in_use))
        return found

    def remove(self, name: str) -> None:
        remove_tree(self.directory / name)
        (self.directory / f"{name}.json").unlink(missing_ok=True)

    def sweep(self) -> None:
        """At the start: what a crash kept that nobody can come back to."""
        for path in self.directory.glob("alone-*"):
            if path.is_dir():
                self.remove(path.name)


def _size(top: Path) -> int:
    total = 0
    for folder, _, files in os.walk(top):
        for name in files:
            try:
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512
            except FileNotFoundError:
                continue
    return total

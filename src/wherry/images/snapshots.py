"""Snapshots: a writable layer over a chain, on overlayfs.

Vocabulary: a *snapshot* is named by its `key` (a container's id, or a name the builder makes up); it has an
upper directory that holds what was written, and the layers of one chain below. It lives in
`snapshots/<key>/` with its facts in `snapshot.json`, so that mounting needs neither database nor event loop.

Every method blocks for a few system calls, or, where it says *reads*, for as long as reading the upper
directory takes: call those in a thread.
"""

import errno
import json
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..host import mounts
from . import diff
from .errors import Conflict, NotFound
from .layers import LayerStore, Staged, copy_directory_attributes, remove_tree
from .rootdir import RootDir

_NEVER = ("index=off", "redirect_dir=off", "metacopy=off")

# What the runtime mounts things onto. It is made in a layer of its own below the writable one, where the image
# does not have it, so that it never shows up in `docker diff` nor in a committed image.
_MOUNT_POINTS: tuple[tuple[str, int], ...] = (
    ("dev", stat.S_IFDIR), ("dev/pts", stat.S_IFDIR), ("dev/shm", stat.S_IFDIR), ("dev/mqueue", stat.S_IFDIR),
    ("proc", stat.S_IFDIR), ("sys", stat.S_IFDIR), ("etc", stat.S_IFDIR), ("etc/resolv.conf", stat.S_IFREG),
    ("etc/hosts", stat.S_IFREG), ("etc/hostname", stat.S_IFREG), ("dev/console", stat.S_IFREG),
    (".dockerenv", stat.S_IFREG), ("etc/mtab", stat.S_IFLNK),
)  # fmt: skip


class Snapshotter:
    """All snapshots of one store."""

    def __init__(self, directory: Path, layers: LayerStore) -> None:
        self._directory = directory
        self._layers = layers
        self._inits = directory / "init"
        self._inits.mkdir(parents=True, exist_ok=True)
        for leftover in self._directory.glob("tmp-*"):
            remove_tree(leftover)

    def prepare(self, key: str, chain_id: str | None, *, init: bool = True) -> None:
        """Make the snapshot `key` over `chain_id` (None: over nothing). Raises Conflict when it exists.

        `init` puts the mount points of a container below it, where the image lacks them.
        """
        path = self._directory / key
        if path.exists():
            raise Conflict(f"snapshot {key} already exists")
        lowers = self._layers.lowers(chain_id)
        if init:
            lowers = [self._init_layer(chain_id, lowers), *lowers]
        temporary = self._directory / f"tmp-{secrets.token_hex(8)}"
        (temporary / "upper").mkdir(parents=True)
        (temporary / "work").mkdir()
        facts = {"chain": chain_id, "lowers": [os.fspath(lower) for lower in lowers]}
        (temporary / "snapshot.json").write_text(json.dumps(facts))
        # The root directory of the merged tree takes its mode and owner from the upper one.
        below = os.stat(lowers[-1] if chain_id is None else lowers[1 if init else 0])
        os.chown(temporary / "upper", below.st_uid, below.st_gid)
        os.chmod(temporary / "upper", stat.S_IMODE(below.st_mode))
        os.rename(temporary, path)

    def mount(self, key: str, target: Path, *, read_only: bool = False, volatile: bool = False) -> None:
        """Mount the merged tree at `target`, an existing directory.

        `volatile` makes fsync inside it free; only for trees that are thrown away when the machine dies.
        """
        path = self._path(key)
        lowers = [Path(lower) for lower in self._facts(key)["lowers"]]
        options = (*_NEVER, "volatile") if volatile else _NEVER
        if read_only:
            mounts.overlay([path / "upper", *lowers], None, None, target, options=_NEVER)
        else:
            mounts.overlay(lowers, path / "upper", path / "work", target, options=options)

    def unmount(self, target: Path, *, lazy: bool = False) -> bool:
        """Unmount the tree at `target`; False when nothing is mounted there."""
        return mounts.unmount(target, lazy=lazy)

    def remove(self, key: str) -> None:
        """Forget the snapshot and all that was written in it; fine when it does not exist. Reads."""
        path = self._directory / key
        temporary = self._directory / f"tmp-{secrets.token_hex(8)}"
        try:
            os.rename(path, temporary)
        except FileNotFoundError:
            return
        remove_tree(temporary)

    def exists(self, key: str) -> bool:
        return (self._directory / key / "snapshot.json").exists()

    def keys(self) -> list[str]:
        return [entry.name for entry in os.scandir(self._directory) if entry.name != "init"]

    def chain(self, key: str) -> str | None:
        """The chain id that the snapshot stands on."""
        chain: str | None = self._facts(key)["chain"]
        return chain

    def chains_in_use(self) -> set[str]:
        return {chain for key in self.keys() if self.exists(key) and (chain := self.chain(key)) is not None}

    def upper(self, key: str) -> Path:
        return self._path(key) / "upper"

    def usage(self, key: str) -> int:
        """Bytes in files written in the snapshot, hard links counted once (Docker's SizeRw). Reads."""
        total = 0
        seen: set[tuple[int, int]] = set()
        pending = [os.fsencode(self.upper(key))]
        while pending:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    found = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(found.st_mode):
                        pending.append(entry.path)
                    elif (found.st_dev, found.st_ino) not in seen:
                        seen.add((found.st_dev, found.st_ino))
                        total += found.st_size
        return total

    def changes(self, key: str) -> list[dict[str, str | int]]:
        """What was written, as Docker's `/containers/{id}/changes`: `{"Path", "Kind"}`, 0 modified, 1 added,
        2 deleted. Reads."""
        lowers = [Path(lower) for lower in self._facts(key)["lowers"]]
        return [{"Path": os.fsdecode(path), "Kind": kind} for path, kind in diff.changes(self.upper(key), lowers)]

    def diff(self, key: str) -> Iterator[bytes]:
        """What was written, as the tar stream of a layer (whiteouts as `.wh.` entries). Reads."""
        return diff.tar_stream(self.upper(key))

    def commit(self, key: str) -> Staged:
        """Copy what was written into a staged layer, the snapshot staying as it is; `LayerStore.register` it.

        The container should be paused. Reads.
        """
        return self._layers.stage(self.diff(key))

    def commit_move(self, key: str, newest: int | None = None) -> Staged:
        """Turn what was written into a staged layer without copying; the snapshot, unmounted, is gone. Reads.

        Files that are newer than `newest` (seconds since 1970) get that time.
        """
        if newest is not None:
            diff.clamp_times(self.upper(key), newest)
        staged = self._layers.stage_upper(self.upper(key))
        self.remove(key)
        return staged

    def forget_unused_inits(self, needed: set[str]) -> None:
        """Remove the mount point layers of chains that are no longer there."""
        names = {_init_name(chain) for chain in needed} | {_init_name(None)}
        for entry in list(os.scandir(self._inits)):
            if entry.name not in names:
                remove_tree(Path(entry.path))

    def _path(self, key: str) -> Path:
        path = self._directory / key
        if not path.exists():
            raise NotFound(f"snapshot {key} does not exist")
        return path

    def _facts(self, key: str) -> dict[str, Any]:
        try:
            facts: dict[str, Any] = json.loads((self._directory / key / "snapshot.json").read_bytes())
        except FileNotFoundError:
            raise NotFound(f"snapshot {key} does not exist") from None
        return facts

    def _init_layer(self, chain_id: str | None, lowers: list[Path]) -> Path:
        path = self._inits / _init_name(chain_id)
        if path.exists():
            return path
        temporary = self._directory / f"tmp-{secrets.token_hex(8)}"
        temporary.mkdir()
        layers = [RootDir(lower) for lower in lowers]
        top = RootDir(temporary)
        try:
            for name, kind in _MOUNT_POINTS:
                _make_mount_point(layers, top, os.fsencode(name), kind)
            os.chmod(temporary, 0o755)
        finally:
            top.close()
            for layer in layers:
                layer.close()
        try:
            os.rename(temporary, path)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            remove_tree(temporary)  # another container of the same image was first
        return path


def _make_mount_point(layers: list[RootDir], top: RootDir, path: bytes, kind: int) -> None:
    if diff.lookup(layers, path) is not None:
        return
    directory, _, name = path.rpartition(b"/")
    if directory:
        below = diff.lookup(layers, directory)
        if below is not None and not stat.S_ISDIR(below[1].st_mode):
            return  # a link or a file in the way: the image has its own idea
        if not top.lexists(directory):
            os.mkdir(directory, 0o755, dir_fd=top.fd)
            copy_directory_attributes(layers, top, directory)
    parent, _ = top.parent(directory)
    if kind == stat.S_IFDIR:
        os.mkdir(name, 0o755, dir_fd=parent)
    elif kind == stat.S_IFLNK:
        os.symlink(b"/proc/mounts", name, dir_fd=parent)
    else:
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o755, dir_fd=parent))
    if directory:
        copy_directory_attributes(layers, top, directory)


def _init_name(chain_id: str | None) -> str:
    return chain_id.removeprefix("sha256:")[:24] if chain_id else "scratch"

"""Layers on disk and the chains they form.

Vocabulary: a *layer* is one unpacked archive, `layers/<name>/fs`, named after its *diff id* (the digest of the
uncompressed archive); a *chain* is a stack of layers, named by its *chain id* (OCI image specification,
"Layer ChainID"); the parent of a chain is the same stack without its topmost layer. A layer does not depend on
what is below it, so layers unpack in parallel and two images with the same layer over different parents share
it. The exception is an archive that leans on the layers below (a hard link to a file there, a directory it
has no entry for): such a layer is filed under its chain id.

A layer is first *staged*: unpacked below a temporary name, invisible. `register` gives it its name and its row.
"""

import asyncio
import ctypes
import hashlib
import logging
import os
import queue
import secrets
import shutil
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..host.database import Database, DatabaseClosed
from .diff import Digested, digest_tree, lookup
from .errors import BadArchive, DigestMismatch, ImageError, NotFound
from .recipe import rebuild
from .rootdir import RootDir
from .unpack import Limits, Unpacked, Unpacker, as_image_error

_log = logging.getLogger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS image_layers (
    name TEXT PRIMARY KEY, diff_id TEXT NOT NULL, size INTEGER NOT NULL, tar_size INTEGER NOT NULL, boot TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS image_chains (
    chain_id TEXT PRIMARY KEY, parent TEXT, diff_id TEXT NOT NULL, layer TEXT NOT NULL)
"""


@dataclass(frozen=True)
class Layer:
    """`size` is the sum of the files' bytes, `tar_size` the length of the archive."""

    name: str
    diff_id: str
    size: int
    tar_size: int


@dataclass(frozen=True)
class Chain:
    chain_id: str
    parent: str | None
    layer: Layer


@dataclass
class Staged:
    """An unpacked layer that nobody can see yet."""

    path: Path
    digested: Digested
    unpacked: Unpacked = field(default_factory=Unpacked)


def chain_id_of(parent: str | None, diff_id: str) -> str:
    if parent is None:
        return diff_id
    return "sha256:" + hashlib.sha256(f"{parent} {diff_id}".encode()).hexdigest()


def chain_ids(diff_ids: Iterable[str]) -> list[str]:
    """The chain id after each layer, bottom first."""
    found: list[str] = []
    for diff_id in diff_ids:
        found.append(chain_id_of(found[-1] if found else None, diff_id))
    return found


class LayerStore:
    """All layers of one store. Reads answer from memory; what blocks runs in threads."""

    def __init__(self, directory: Path, database: Database) -> None:
        self.directory = directory
        self._database = database
        self._layers: dict[str, Layer] = {}
        self._chains: dict[str, Chain] = {}
        self._boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        self.limits = Limits()
        self._flushing: asyncio.Task[None] | None = None
        self._flush_again = False
        self._unflushed = False
        """Whether there may be layers that are not on the disk yet."""

    @classmethod
    async def open(cls, directory: Path, database: Database) -> "LayerStore":
        """Load what is complete and drop what a crash left half-made."""
        store = cls(directory, database)
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "empty").mkdir(exist_ok=True)
        await database.ensure(_SCHEMA)
        on_disk = {entry.name for entry in os.scandir(directory)} - {"empty"}
        boot = store._boot

        def load(
            connection: sqlite3.Connection,
        ) -> tuple[list[tuple[str, str, int, int]], list[tuple[str, str | None, str]], bool]:
            # A layer that was never flushed and has lived through a reboot may have lost content.
            known = connection.execute("SELECT name, boot FROM image_layers").fetchall()
            lost = [(name,) for name, made in known if name not in on_disk or made not in ("", boot)]
            if lost:
                connection.executemany("DELETE FROM image_layers WHERE name = ?", lost)
            connection.execute(
                "DELETE FROM image_chains WHERE chain_id IN (WITH RECURSIVE gone(id) AS ("
                " SELECT chain_id FROM image_chains WHERE layer NOT IN (SELECT name FROM image_layers)"
                " UNION SELECT c.chain_id FROM image_chains c JOIN gone ON c.parent = gone.id) SELECT id FROM gone)"
            )
            return (
                connection.execute("SELECT name, diff_id, size, tar_size FROM image_layers").fetchall(),
                connection.execute("SELECT chain_id, parent, layer FROM image_chains").fetchall(),
                any(made != "" for _, made in known),
            )

        layers, chains, store._unflushed = await database.run(load)
        store._layers = {row[0]: Layer(*row) for row in layers}
        store._chains = {row[0]: Chain(row[0], row[1], store._layers[row[2]]) for row in chains}
        leftovers = [directory / name for name in on_disk - store._layers.keys()]
        if leftovers:
            await asyncio.to_thread(_remove_trees, leftovers)
        return store

    # What is there

    def has(self, chain_id: str) -> bool:
        return chain_id in self._chains

    def chain(self, chain_id: str) -> Chain:
        try:
            return self._chains[chain_id]
        except KeyError:
            raise NotFound(f"layer {chain_id} does not exist") from None

    def by_diff_id(self, diff_id: str) -> Layer | None:
        """A layer with this content that can go on top of any chain."""
        return self._layers.get(_name(diff_id))

    def stack(self, chain_id: str | None) -> list[Chain]:
        """The chain and its parents, topmost first."""
        found = []
        while chain_id is not None:
            chain = self.chain(chain_id)
            found.append(chain)
            chain_id = chain.parent
        return found

    def lowers(self, chain_id: str | None) -> list[Path]:
        """The directories to mount, topmost first; an empty one for the empty chain."""
        return [self.fs(chain.layer) for chain in self.stack(chain_id)] or [self.directory / "empty"]

    def fs(self, layer: Layer) -> Path:
        return self.directory / layer.name / "fs"

    def size(self, chain_id: str | None) -> int:
        """Bytes of all files of the chain's layers, as Docker gives an image's size."""
        return sum(chain.layer.size for chain in self.stack(chain_id))

    def total_size(self) -> int:
        """Bytes of all layers, each counted once."""
        return sum(layer.size for layer in self._layers.values())

    def tar_stream(self, layer: Layer) -> Iterator[bytes]:
        """The layer's archive, identical to the one it came from. Blocks; raises when the disk has lost bytes."""
        digest = hashlib.sha256()
        for chunk in rebuild(self.directory / layer.name):
            digest.update(chunk)
            yield chunk
        if "sha256:" + digest.hexdigest() != layer.diff_id:
            raise ImageError(
                f"layer {layer.diff_id} on disk no longer has its digest; remove the image and pull it again"
            )

    # Making layers

    def stage_directory(self) -> Path:
        """A fresh place for a layer in the making; `discard` it or `register` it."""
        path = self.directory / f"tmp-{secrets.token_hex(8)}"
        path.mkdir()
        return path

    def stage(self, chunks: Iterable[bytes], expected: str | None = None, limits: Limits | None = None) -> Staged:
        """Unpack an uncompressed archive in one pass, hashing it in a second thread. Blocks.

        Raises BadArchive or DigestMismatch; nothing is left behind then.
        """
        path = self.stage_directory()
        try:
            with _Hasher() as hasher:
                unpacked = Unpacker(path, limits or self.limits).run(hasher.tee(chunks))
            diff_id = hasher.digest()
            if expected is not None and diff_id != expected:
                raise DigestMismatch(f"wrong diff id calculated on extraction {diff_id!r}, expected {expected!r}")
        except BaseException:
            remove_tree(path)
            raise
        return Staged(path, Digested(diff_id, unpacked.size, hasher.total), unpacked)

    def stage_upper(self, upper: Path) -> Staged:
        """Take over an overlay's upper directory, unmounted, as a layer: renamed, not copied. Blocks."""
        path = self.stage_directory()
        try:
            os.rename(upper, path / "fs")
            return Staged(path, digest_tree(path / "fs", path / "recipe"))
        except BaseException:
            remove_tree(path)
            raise

    def discard(self, staged: Staged) -> None:
        remove_tree(staged.path)

    async def register(self, parent: str | None, staged: Staged) -> Chain:
        """Put a staged layer on top of `parent` and make it visible. Consumes `staged`, also when it fails."""
        try:
            return await self._register(parent, staged)
        except BaseException:
            await asyncio.to_thread(remove_tree, staged.path)
            raise

    async def _register(self, parent: str | None, staged: Staged) -> Chain:
        diff_id = staged.digested.diff_id
        chain_id = chain_id_of(parent, diff_id)
        if chain_id in self._chains:
            await asyncio.to_thread(remove_tree, staged.path)
            return self._chains[chain_id]
        leaning = parent is not None and bool(staged.unpacked.implied)
        if staged.unpacked.outer_links or leaning:
            lowers = self.lowers(parent) if parent is not None else []
            try:
                await asyncio.to_thread(_lean_on, staged, lowers)
            except OSError as error:
                raise as_image_error(error) from error
            name = _name(chain_id)
        else:
            name = _name(diff_id)
        layer = self._layers.get(name)
        if layer is None:
            layer = Layer(name, diff_id, staged.digested.size, staged.digested.tar_size)
            await asyncio.to_thread(_rename_over, staged.path, self.directory / name)
        else:
            await asyncio.to_thread(remove_tree, staged.path)
        return await self._add_chain(Chain(chain_id, parent, layer))

    async def adopt(self, staged: Staged) -> Layer:
        """Keep a staged layer that leans on nothing, before any chain has it; `register_known` puts it into one."""
        name = _name(staged.digested.diff_id)
        known = self._layers.get(name)
        if known is not None:
            await asyncio.to_thread(remove_tree, staged.path)
            return known
        layer = Layer(name, staged.digested.diff_id, staged.digested.size, staged.digested.tar_size)
        await asyncio.to_thread(_rename_over, staged.path, self.directory / name)

        def insert(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT OR IGNORE INTO image_layers VALUES (?, ?, ?, ?, ?)",
                (layer.name, layer.diff_id, layer.size, layer.tar_size, self._boot),
            )

        self._unflushed = True
        await self._database.run(insert)
        return self._layers.setdefault(name, layer)

    async def register_known(self, parent: str | None, layer: Layer) -> Chain:
        """Put a layer that is there already on top of `parent`."""
        chain_id = chain_id_of(parent, layer.diff_id)
        return self._chains.get(chain_id) or await self._add_chain(Chain(chain_id, parent, layer))

    async def _add_chain(self, chain: Chain) -> Chain:
        layer = chain.layer

        def insert(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT OR IGNORE INTO image_layers VALUES (?, ?, ?, ?, ?)",
                (layer.name, layer.diff_id, layer.size, layer.tar_size, self._boot),
            )
            connection.execute(
                "INSERT OR IGNORE INTO image_chains VALUES (?, ?, ?, ?)",
                (chain.chain_id, chain.parent, layer.diff_id, layer.name),
            )

        self._unflushed = True
        await self._database.run(insert)
        self._layers.setdefault(layer.name, layer)
        return self._chains.setdefault(chain.chain_id, chain)

    def flush_soon(self) -> None:
        """`flush` in the background. Until it is done, a reboot (not the death of the process) takes the layers
        made since back, and the images on them; whole, never in part."""
        if not self._unflushed:
            return
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush_quietly())
        else:
            self._flush_again = True

    async def _flush_quietly(self) -> None:
        while True:
            self._flush_again = False
            try:
                await self.flush()
            except (OSError, DatabaseClosed) as error:
                _log.warning("layers are not on the disk yet: %s", error)
                return
            if not self._flush_again:
                return

    async def flush(self) -> None:
        """All layers made so far are on the disk when this returns (syncfs)."""
        self._unflushed = False
        try:
            await asyncio.to_thread(_syncfs, self.directory)
        except BaseException:
            self._unflushed = True
            raise
        boot = self._boot
        await self._database.run(
            lambda connection: connection.execute("UPDATE image_layers SET boot = '' WHERE boot = ?", (boot,)).rowcount
        )

    # Removing

    async def collect(self, roots: Iterable[str], candidates: Iterable[str] | None = None) -> list[str]:
        """Remove the chains that no root needs (all, or only `candidates` and their parents); their ids.

        Rows go first, then directories: a crash in between leaves only what the next `open` sweeps.
        """
        needed: set[str] = set()
        for root in roots:
            current: str | None = root
            while current is not None and current not in needed and current in self._chains:
                needed.add(current)
                current = self._chains[current].parent
        if candidates is None:
            gone = [chain_id for chain_id in self._chains if chain_id not in needed]
        else:
            gone = []
            for candidate in candidates:
                current = candidate
                while current is not None and current in self._chains and current not in needed and current not in gone:
                    gone.append(current)
                    current = self._chains[current].parent
            # A parent stays while any chain that stays is built on it.
            kept_parents = {chain.parent for chain_id, chain in self._chains.items() if chain_id not in gone}
            gone = self._without_needed(gone, kept_parents)
        removed = set(gone)
        used = {chain.layer.name for chain_id, chain in self._chains.items() if chain_id not in removed}
        # A pull that was given up leaves layers that no chain has; only a whole collection takes those.
        mine = set(self._layers) if candidates is None else {self._chains[chain_id].layer.name for chain_id in gone}
        layers = mine - used
        if not gone and not layers:
            return []

        def delete(connection: sqlite3.Connection) -> None:
            connection.executemany("DELETE FROM image_chains WHERE chain_id = ?", [(chain_id,) for chain_id in gone])
            connection.executemany("DELETE FROM image_layers WHERE name = ?", [(name,) for name in layers])

        await self._database.run(delete)
        doomed = []
        for chain_id in gone:
            del self._chains[chain_id]
        for name in layers:
            del self._layers[name]
            tomb = self.directory / f"tmp-{secrets.token_hex(8)}"
            os.rename(self.directory / name, tomb)
            doomed.append(tomb)
        await asyncio.to_thread(_remove_trees, doomed)
        return gone

    def _without_needed(self, gone: list[str], kept_parents: set[str | None]) -> list[str]:
        keep: set[str] = set()
        for chain_id in gone:
            if chain_id in kept_parents:
                current: str | None = chain_id
                while current is not None and current not in keep:
                    keep.add(current)
                    current = self._chains[current].parent
        return [chain_id for chain_id in gone if chain_id not in keep]


class _Hasher:
    """Hashes a stream in a thread of its own, while the caller unpacks it."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._queue: queue.Queue[bytes | None] = queue.Queue(maxsize=8)
        self._thread = threading.Thread(target=self._loop, name="wherry-hash", daemon=True)
        self.total = 0

    def __enter__(self) -> "_Hasher":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._queue.put(None)
        self._thread.join()

    def _loop(self) -> None:
        while (data := self._queue.get()) is not None:
            self._hash.update(data)

    def tee(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self.total += len(chunk)
            self._queue.put(chunk)
            yield chunk

    def digest(self) -> str:
        """Only after the `with` block."""
        return "sha256:" + self._hash.hexdigest()


def _name(digest: str) -> str:
    """A directory's name: short, because the names of all lower layers must fit one page of mount options."""
    return digest.removeprefix("sha256:")[:24]


def _lean_on(staged: Staged, lowers: list[Path]) -> None:
    """Complete a layer that leans on those below: owners of implied directories, hard links to files there."""
    layers = [RootDir(path) for path in lowers]
    top = RootDir(staged.path / "fs")
    try:
        for path in staged.unpacked.implied:
            copy_directory_attributes(layers, top, path)
        for name, target in staged.unpacked.outer_links:
            found = lookup(layers, target)
            if found is None or not stat.S_ISREG(found[1].st_mode):
                raise BadArchive(f"link {os.fsdecode(target)} {os.fsdecode(name)}: no such file or directory")
            _copy_up(found[0], found[1], target, name, staged.path / "fs", top)
    finally:
        top.close()
        for layer in layers:
            layer.close()


def copy_directory_attributes(layers: list[RootDir], top: RootDir, path: bytes) -> None:
    """Give the directory `path` of `top` the mode, owner, times and attributes it has in the layers below."""
    below = lookup(layers, path)
    if below is None or not stat.S_ISDIR(below[1].st_mode):
        return
    source = below[0].open(path, os.O_RDONLY | os.O_DIRECTORY)
    fd = top.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.chown(fd, below[1].st_uid, below[1].st_gid)
        os.chmod(fd, stat.S_IMODE(below[1].st_mode))
        for key in os.listxattr(source):
            if not key.startswith("trusted.overlay."):
                os.setxattr(fd, key, os.getxattr(source, key))
        os.utime(fd, ns=(below[1].st_mtime_ns, below[1].st_mtime_ns))
    finally:
        os.close(fd)
        os.close(source)


def _copy_up(root: RootDir, found: os.stat_result, target: bytes, name: bytes, fs: Path, top: RootDir) -> None:
    directory, _, last = name.rpartition(b"/")
    parent, _ = top.parent(directory)
    source = root.open(target, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fd = os.open(last, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=parent)
        with open(fd, "wb") as out, open(os.dup(source), "rb") as content:
            shutil.copyfileobj(content, out, 1 << 20)
            os.fchown(fd, found.st_uid, found.st_gid)
            os.fchmod(fd, stat.S_IMODE(found.st_mode))
            for key in os.listxattr(source):
                if not key.startswith("trusted.overlay."):
                    os.setxattr(fd, key, os.getxattr(source, key))
            out.flush()
            os.utime(fd, ns=(found.st_mtime_ns, found.st_mtime_ns))
    finally:
        os.close(source)


def _rename_over(source: Path, target: Path) -> None:
    """Two builds may make the same layer at once; the second finds it in place."""
    try:
        os.rename(source, target)
    except OSError:
        if not target.exists():
            raise
        remove_tree(source)


def _remove_trees(paths: Iterable[Path]) -> None:
    for path in paths:
        remove_tree(path)


def remove_tree(path: Path) -> None:
    """rm -rf that does not mind names it cannot decode; a missing path is fine."""

    def retry(function: Callable[..., object], name: str, error: object) -> None:
        if not os.path.lexists(name):
            return
        raise error[1] if isinstance(error, tuple) else OSError(f"cannot remove {name}")

    shutil.rmtree(os.fsencode(path), onerror=retry)


_libc = ctypes.CDLL(None, use_errno=True)


def _syncfs(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if _libc.syncfs(fd) != 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error), os.fspath(directory))
    finally:
        os.close(fd)

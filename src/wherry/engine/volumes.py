"""Volumes: directories that outlive containers, by Docker's `local` driver.

A volume's data is `<root>/volumes/<name>/_data`. With the options `type`, `device` and `o` that directory is a mount
point: the file system is mounted when the first container uses the volume, and unmounted after the last one. An
*owner* is a container id: a volume with owners is *in use* and cannot be removed; an owner is *active* while its
container runs. Owners are the engine's to tell again after a restart (`reference`, `adopt`); all else is in the
database. Specified in the Docker Engine API, `/volumes`.
"""

import asyncio
import json
import os
import re
import secrets
import shutil
import socket
import sqlite3
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, cast, get_args

from wherry.engine.errors import Conflict, EngineError, InvalidParameter, NotFound
from wherry.engine.events import Events
from wherry.engine.filters import Filters
from wherry.host import mounts
from wherry.host.database import Database
from wherry.host.instance import Instance

Volume: TypeAlias = dict[str, Any]
"""A volume as the API shows it: Name, Driver, Mountpoint, Labels, Options, Scope, CreatedAt."""

_Rows: TypeAlias = list[tuple[str, str, str, str, str]]
_Names: TypeAlias = list[str]
_Usage: TypeAlias = list[Volume]

ANONYMOUS_LABEL = "com.docker.volume.anonymous"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS volumes (
    name TEXT PRIMARY KEY, driver TEXT NOT NULL, created TEXT NOT NULL, labels TEXT NOT NULL, options TEXT NOT NULL
) WITHOUT ROWID
"""

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_OPTIONS = frozenset({"type", "o", "device", "size"})
_NEEDS = {"device": ("type",), "type": ("device",), "o": ("device", "type")}
_LIST_FILTERS = frozenset({"dangling", "name", "driver", "label"})
_PRUNE_FILTERS = frozenset({"label", "label!", "all"})


@dataclass(slots=True)
class _Volume:
    name: str
    driver: str
    created: str
    labels: dict[str, str] | None
    options: dict[str, str] | None
    data: Path
    owners: set[str] = field(default_factory=set)
    active: set[str] = field(default_factory=set)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def is_mount(self) -> bool:
        """Whether `_data` is a mount point of its own (options given)."""
        return bool(self.options and (self.options.get("type") or self.options.get("device")))

    def to_api(self) -> dict[str, Any]:
        return {
            "CreatedAt": self.created,
            "Driver": self.driver,
            "Labels": self.labels,
            "Mountpoint": str(self.data),
            "Name": self.name,
            "Options": self.options,
            "Scope": "local",
        }


class Volumes:
    """All volumes of one engine. Build it with `await Volumes.open(...)`."""

    def __init__(self, instance: Instance, database: Database, events: Events) -> None:
        self.root = instance.root / "volumes"
        self._db = database
        self._events = events
        self._volumes: dict[str, _Volume] = {}
        self._pruning = False

    @classmethod
    async def open(cls, instance: Instance, database: Database, events: Events) -> "Volumes":
        """Reads the volumes of `instance` and finishes removals that were cut short."""
        volumes = cls(instance, database, events)

        def load(conn: sqlite3.Connection) -> _Rows:
            conn.execute(_SCHEMA)
            return conn.execute("SELECT name, driver, created, labels, options FROM volumes").fetchall()

        rows = await database.run(load)
        lost = await asyncio.to_thread(volumes._load, rows)
        if lost:
            await database.run(
                lambda conn: conn.executemany("DELETE FROM volumes WHERE name = ?", [(n,) for n in lost])
            )
        return volumes

    def _load(self, rows: _Rows) -> _Names:
        self.root.mkdir(mode=0o701, parents=True, exist_ok=True)
        for leftover in self.root.glob(".removing-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        lost = []
        for name, driver, created, labels, options in rows:
            data = self.root / name / "_data"
            for leftover in data.parent.glob(".init-*"):
                shutil.rmtree(leftover, ignore_errors=True)
            if not data.parent.is_dir():
                # Removal renames the directory first: without it the volume is gone.
                lost.append(name)
                continue
            self._volumes[name] = _Volume(name, driver, created, json.loads(labels), json.loads(options), data)
        return lost

    # --- the API ---

    async def create(self, body: Mapping[str, Any]) -> Volume:
        """`body` is that of `POST /volumes/create`: Name, Driver, DriverOpts, Labels. Returns the volume.

        Without a name the volume is anonymous. An existing name is returned as it is. Raises InvalidParameter for a
        bad name or option, NotFound for a driver other than `local`.
        """
        name = body.get("Name") or ""
        labels = body.get("Labels")
        if not name:
            name = secrets.token_hex(32)
            labels = {**(labels or {}), ANONYMOUS_LABEL: ""}
        volume = await self._ensure(name, body.get("Driver") or "local", body.get("DriverOpts"), labels)
        return volume.to_api()

    def inspect(self, name: str) -> Volume:
        """The volume as `GET /volumes/{name}` shows it. Raises NotFound."""
        return self._get(name).to_api()

    def list(self, filters: Filters | None = None) -> dict[str, Any]:
        """`{"Volumes": [...], "Warnings": None}`; filters: name, label, driver, dangling."""
        wanted = filters or Filters()
        wanted.validate(_LIST_FILTERS)
        dangling = wanted.boolean("dangling") if "dangling" in wanted else None
        shown = [
            volume.to_api()
            for volume in self._volumes.values()
            if wanted.exact("driver", volume.driver)
            and wanted.match("name", volume.name)
            and wanted.labels(volume.labels)
            and (dangling is None or dangling is not bool(volume.owners))
        ]
        return {"Volumes": shown, "Warnings": None}

    async def remove(self, name: str, force: bool = False) -> None:
        """Raises NotFound (not with `force`), Conflict while a container uses it."""
        volume = self._volumes.get(name)
        if volume is None:
            if force:
                return
            raise _no_such_volume(name)
        async with volume.lock:
            await self._remove(volume)

    async def prune(self, filters: Filters | None = None) -> dict[str, Any]:
        """Removes unused anonymous volumes (all unused ones with the filter `all`); filters: label, label!, all.

        Volumes with mount options stay: removing them gives no space back.
        """
        wanted = filters or Filters()
        wanted.validate(_PRUNE_FILTERS)
        everything = wanted.boolean("all") if "all" in wanted else False
        if self._pruning:
            raise Conflict("a prune operation is already running")
        self._pruning = True
        deleted: list[str] = []
        reclaimed = 0
        try:
            for volume in tuple(self._volumes.values()):
                if volume.owners or volume.options or not wanted.prune_labels(volume.labels):
                    continue
                if not everything and ANONYMOUS_LABEL not in (volume.labels or {}):
                    continue
                size = await asyncio.to_thread(_size, volume.data)
                async with volume.lock:
                    if volume.owners or self._volumes.get(volume.name) is not volume:
                        continue
                    await self._remove(volume)
                deleted.append(volume.name)
                reclaimed += size
        finally:
            self._pruning = False
        self._events.emit("volume", "prune", "", {"reclaimed": str(reclaimed)})
        return {"VolumesDeleted": deleted, "SpaceReclaimed": reclaimed}

    async def usage(self) -> _Usage:
        """All local volumes with `UsageData: {"Size" (bytes), "RefCount"}`, for `GET /system/df`."""
        volumes = [volume for volume in self._volumes.values() if not volume.options]
        sizes = await asyncio.to_thread(lambda: [_size(volume.data) for volume in volumes])
        return [
            volume.to_api() | {"UsageData": {"Size": size, "RefCount": len(volume.owners)}}
            for volume, size in zip(volumes, sizes, strict=True)
        ]

    # --- what containers use ---

    async def acquire(
        self,
        name: str | None,
        owner: str,
        *,
        driver: str = "",
        options: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Create the volume if it is missing (anonymous with no `name`) and note that container `owner` uses it.

        Returns the volume as the API shows it. Called when a container is created; undone by `release`.
        """
        if not name:
            name = secrets.token_hex(32)
            labels = {**(labels or {}), ANONYMOUS_LABEL: ""}
        volume = await self._ensure(name, driver or "local", options, labels, owner)
        return volume.to_api()

    def reference(self, name: str, owner: str) -> bool:
        """Note again, after a restart, that container `owner` uses the volume. False if the volume is gone."""
        volume = self._volumes.get(name)
        if volume is None:
            return False
        volume.owners.add(owner)
        return True

    def adopt(self, name: str, owner: str) -> bool:
        """As `reference`, for a container that runs: the volume is mounted already."""
        if not self.reference(name, owner):
            return False
        self._volumes[name].active.add(owner)
        return True

    def release(self, name: str, owner: str) -> None:
        """Container `owner` is removed and no longer uses the volume. Idempotent."""
        volume = self._volumes.get(name)
        if volume is not None:
            volume.owners.discard(owner)

    async def mount(
        self, name: str, owner: str, *, destination: str = "", read_only: bool = False, propagation: str = ""
    ) -> Path:
        """Make the volume ready for container `owner`, which starts; returns the directory to bind.

        Raises NotFound, or EngineError ("failed to mount local volume: …") when its options cannot be mounted.
        """
        volume = self._get(name)
        async with volume.lock:
            if volume.is_mount and not volume.active:
                await asyncio.to_thread(_mount, volume)
            volume.owners.add(owner)
            volume.active.add(owner)
        attributes = {
            "container": owner,
            "destination": destination,
            "driver": volume.driver,
            "propagation": propagation,
            "read/write": "false" if read_only else "true",
        }
        self._events.emit("volume", "mount", name, attributes)
        return volume.data

    async def unmount(self, name: str, owner: str) -> None:
        """Container `owner` has stopped; the last one unmounts. Idempotent."""
        volume = self._volumes.get(name)
        if volume is None or owner not in volume.active:
            return
        async with volume.lock:
            volume.active.discard(owner)
            if volume.is_mount and not volume.active:
                await asyncio.to_thread(_unmount, volume.data)
        self._events.emit("volume", "unmount", name, {"container": owner, "driver": volume.driver})

    async def initialise(self, name: str, source: Path) -> bool:
        """Fill a volume that is still empty with what the image has at its mount point.

        `source` is a directory in the container's mounted root file system, already resolved so that no link
        leads out of it. Owner and mode of `source` become the volume's. Returns whether anything was copied.
        """
        volume = self._get(name)
        async with volume.lock:
            alone = len(volume.active) <= 1 and not volume.is_mount
            return await asyncio.to_thread(_initialise, volume, source, alone)

    # --- inside ---

    def _get(self, name: str) -> _Volume:
        volume = self._volumes.get(name)
        if volume is None:
            raise _no_such_volume(name)
        return volume

    async def _ensure(
        self,
        name: str,
        driver: str,
        options: Mapping[str, str] | None,
        labels: Mapping[str, str] | None,
        owner: str | None = None,
    ) -> _Volume:
        volume = self._volumes.get(name)
        if volume is not None:
            if driver != volume.driver:
                raise Conflict(
                    f"create {name}: driver '{volume.driver}' already has volume '{name}': volume name must be unique"
                )
            async with volume.lock:
                # It may have been removed while we waited for the lock.
                if self._volumes.get(name) is volume:
                    if owner:
                        volume.owners.add(owner)
                    return volume
            return await self._ensure(name, driver, options, labels, owner)
        _check(name, driver, options or {})
        volume = _Volume(
            name=name,
            driver=driver,
            created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            labels=dict(labels) if labels is not None else None,
            options=dict(options) if options else None,
            data=self.root / name / "_data",
            owners={owner} if owner else set(),
        )
        self._volumes[name] = volume
        async with volume.lock:
            row = (name, driver, volume.created, json.dumps(volume.labels), json.dumps(volume.options))
            try:
                await asyncio.to_thread(_make, volume.data)
                await self._db.run(lambda conn: conn.execute("INSERT INTO volumes VALUES (?, ?, ?, ?, ?)", row))
            except BaseException:
                self._volumes.pop(name, None)
                raise
        self._events.emit("volume", "create", name, {"driver": driver})
        return volume

    async def _remove(self, volume: _Volume) -> None:
        name = volume.name
        if volume.owners:
            raise Conflict(f"remove {name}: volume is in use - [{', '.join(sorted(volume.owners))}]")
        if self._volumes.get(name) is not volume:
            raise _no_such_volume(name)
        grave = self.root / f".removing-{secrets.token_hex(8)}"

        def bury() -> None:
            if volume.is_mount:
                _unmount(volume.data)
            os.rename(volume.data.parent, grave)

        await asyncio.to_thread(bury)
        self._volumes.pop(name, None)
        await self._db.run(lambda conn: conn.execute("DELETE FROM volumes WHERE name = ?", (name,)))
        await asyncio.to_thread(shutil.rmtree, grave)
        self._events.emit("volume", "destroy", name, {"driver": volume.driver})


def _no_such_volume(name: str) -> NotFound:
    return NotFound(f"get {name}: no such volume")


def _check(name: str, driver: str, options: Mapping[str, str]) -> None:
    if driver != "local":
        raise NotFound(f'create {name}: error looking up volume plugin {driver}: plugin "{driver}" not found')
    if len(name) == 1:
        raise InvalidParameter(
            f"create {name}: volume name is too short, names should be at least two alphanumeric characters"
        )
    if not _NAME.fullmatch(name) or len(name) > 255:
        raise InvalidParameter(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path'
        )
    for option in options:
        if option not in _OPTIONS:
            raise InvalidParameter(f'create {name}: invalid option: "{option}"')
    if "size" in options:
        raise InvalidParameter(f"create {name}: quota size requested but no quota support")
    for option, needed in _NEEDS.items():
        for other in needed if option in options else ():
            if other not in options:
                raise InvalidParameter(f'create {name}: missing required option: "{other}"')


def _make(data: Path) -> None:
    data.parent.mkdir(mode=0o701, exist_ok=True)
    data.mkdir(mode=0o755, exist_ok=True)


def _mount(volume: _Volume) -> None:
    """Mount the file system that the volume's options describe on its data directory."""
    if mounts.is_mounted(volume.data):
        return
    given = volume.options or {}
    kind, device, data = given.get("type", ""), given.get("device", ""), given.get("o", "")
    if kind in ("nfs", "nfs4", "cifs"):
        data = _resolve_address(data)
    flags, rest, propagation = _split_options(data)
    try:
        mounts.mount(device, volume.data, kind, flags, rest)
        if flags & mounts.MS_BIND and flags & mounts.MS_RDONLY:
            # The kernel takes a bind mount's other flags only when it is mounted again.
            mounts.mount("", volume.data, "", flags | mounts.MS_REMOUNT & ~mounts.MS_REC)
        if propagation:
            mounts.set_propagation(volume.data, propagation)
    except OSError as error:
        raise EngineError(
            f"failed to mount local volume: mount {device}:{volume.data}, data: {_hide_password(data)}: "
            f"{os.strerror(error.errno or 0).lower()}"
        ) from error


_FLAGS = {
    "ro": mounts.MS_RDONLY,
    "nosuid": mounts.MS_NOSUID,
    "nodev": mounts.MS_NODEV,
    "noexec": mounts.MS_NOEXEC,
    "sync": 0x10,
    "dirsync": 0x80,
    "noatime": 0x400,
    "nodiratime": 0x800,
    "bind": mounts.MS_BIND,
    "rbind": mounts.MS_BIND | mounts.MS_REC,
    "relatime": 1 << 21,
    "strictatime": 1 << 24,
}
_CLEARED = {
    "rw": mounts.MS_RDONLY,
    "suid": mounts.MS_NOSUID,
    "dev": mounts.MS_NODEV,
    "exec": mounts.MS_NOEXEC,
    "async": 0x10,
    "atime": 0x400,
    "diratime": 0x800,
    "norelatime": 1 << 21,
    "nostrictatime": 1 << 24,
    "defaults": 0,
}


def _split_options(options: str) -> tuple[int, str, mounts.Propagation | None]:
    """mount(8)'s option string as mount(2) wants it: flags, what is left for the file system, propagation."""
    flags, rest = 0, []
    propagation: mounts.Propagation | None = None
    for option in filter(None, options.split(",")):
        if option in _FLAGS:
            flags |= _FLAGS[option]
        elif option in _CLEARED:
            flags &= ~_CLEARED[option]
        elif option in get_args(mounts.Propagation):
            propagation = cast(mounts.Propagation, option)
        else:
            rest.append(option)
    return flags, ",".join(rest), propagation


def _resolve_address(options: str) -> str:
    """The kernel wants `addr=` as an address: look a host name up."""
    shown = []
    for option in options.split(","):
        key, _, value = option.partition("=")
        if key == "addr":
            try:
                value = str(socket.getaddrinfo(value, None)[0][4][0])
            except OSError as error:
                raise EngineError(f"error resolving passed in network volume address: {value}: {error}") from error
            option = f"addr={value}"
        shown.append(option)
    return ",".join(shown)


def _hide_password(options: str) -> str:
    return re.sub(r"(^|,)password=[^,]*", r"\1password=********", options)


def _unmount(data: Path) -> None:
    mounts.unmount(data)


def _initialise(volume: _Volume, source: Path, alone: bool) -> bool:
    with os.scandir(volume.data) as entries:
        if next(entries, None) is not None:
            return False
    if not source.is_dir():
        return False
    if not alone:
        # Others see this very directory: fill it in place.
        _copy(source, volume.data)
        return True
    # Complete or not at all: build beside it, then put it in place of the empty directory.
    fresh = volume.data.parent / f".init-{secrets.token_hex(8)}"
    fresh.mkdir(mode=0o755)
    try:
        _copy(source, fresh)
        os.rename(fresh, volume.data)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    return True


def _copy(source: Path, target: Path) -> None:
    """Copy a directory's content and its own owner, mode and times, with links, attributes and special files."""
    with os.scandir(source) as entries:
        empty = next(entries, None) is None
    if empty:
        about = os.stat(source)
        os.chown(target, about.st_uid, about.st_gid)
        os.chmod(target, about.st_mode & 0o7777)
        return
    # `source` may go through a descriptor of this process, which the child does not have.
    shown = re.sub(r"^/proc/self/", f"/proc/{os.getpid()}/", str(source))
    done = subprocess.run(
        ["cp", "-a", "--reflink=auto", "--", f"{shown}/.", str(target)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise EngineError(f"failed to copy the image's content to the volume: {done.stderr.strip()}")


def _size(path: Path) -> int:
    """Bytes of all regular files below `path`, a file with several links once."""
    total = 0
    seen: set[tuple[int, int]] = set()
    for directory, _, files in os.walk(path):
        for name in files:
            try:
                about = os.lstat(os.path.join(directory, name))
            except FileNotFoundError:
                continue
            if about.st_nlink > 1:
                if (about.st_dev, about.st_ino) in seen:
                    continue
                seen.add((about.st_dev, about.st_ino))
            total += about.st_size
    return total

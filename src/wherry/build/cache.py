"""The build cache: what each step of earlier builds came to.

A step's key is a digest of everything that could change its result: the key of the step before it, the
instruction, the variables it sees, the contents it copies. The value is the whole image configuration after the
step, so that a fully cached build gives the very same image. The layers are the store's; the cache keeps them
alive until it is pruned, least recently used first, down to a budget.
"""

import asyncio
import json
import logging
import os
import re
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..host.database import Database
from ..images.blobs import canonical_json, digest_of
from ..images.catalog import Image
from ..images.layers import chain_ids
from ..images.store import ImageStore
from .cache_mounts import CacheMounts

_log = logging.getLogger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS build_steps (
    key TEXT PRIMARY KEY, config TEXT NOT NULL, chain_id TEXT, description TEXT NOT NULL,
    created REAL NOT NULL, used REAL NOT NULL, uses INTEGER NOT NULL)
"""

DEFAULT_BUDGET = 20 << 30


@dataclass
class _Row:
    config: str
    chain_id: str | None
    description: str
    created: float
    used: float
    uses: int
    image_id: str = ""
    """Of the configuration; worked out when it is first asked for."""


@dataclass
class Record:
    """What `/system/df` and prune know as one thing: a layer with the steps that came to it (`keys`), or a cache
    mount. `shared`: an image holds it too."""

    id: str
    type: str
    description: str
    size: int
    created: float
    used: float
    uses: int = 0
    shared: bool = False
    in_use: bool = False
    keys: list[str] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        return {
            "ID": self.id,
            "Type": self.type,
            "Description": self.description,
            "InUse": self.in_use,
            "Shared": self.shared,
            "Size": self.size,
            "CreatedAt": _rfc3339(self.created),
            "LastUsedAt": _rfc3339(self.used),
            "UsageCount": self.uses,
        }


class BuildCache:
    """One per engine."""

    def __init__(self, database: Database, images: ImageStore, mounts: CacheMounts) -> None:
        self.mounts = mounts
        self._database = database
        self._images = images
        self._rows: dict[str, _Row] = {}
        self._touched: set[str] = set()
        self._noted = float("-inf")
        self._grown = True
        """Whether steps have come since the budget was last looked at."""

    @classmethod
    async def open(cls, database: Database, images: ImageStore, mounts: CacheMounts) -> "BuildCache":
        cache = cls(database, images, mounts)
        await asyncio.to_thread(mounts.sweep)
        await database.ensure(_SCHEMA)
        rows = await database.run(
            lambda connection: connection.execute(
                "SELECT key, config, chain_id, description, created, used, uses FROM build_steps"
            ).fetchall()
        )
        cache._rows = {row[0]: _Row(*row[1:]) for row in rows}
        images.extra_roots.append(cache.chains)
        return cache

    def chains(self) -> list[str]:
        return [row.chain_id for row in self._rows.values() if row.chain_id is not None]

    def get(self, key: str) -> tuple[dict[str, Any], str] | None:
        """The image configuration after the step and the image's id, if its layers are still there."""
        row = self._rows.get(key)
        if row is None:
            return None
        if row.chain_id is not None and not self._images.layers.has(row.chain_id):
            return None
        row.used, row.uses = time.time(), row.uses + 1
        found: dict[str, Any] = json.loads(row.config)
        row.image_id = row.image_id or digest_of(canonical_json(found))
        return found, row.image_id

    async def put(self, steps: list[tuple[str, dict[str, Any], str]]) -> None:
        """Remember (key, image configuration, description) of steps that were executed."""
        now = time.time()
        rows = {}
        for key, config, description in steps:
            chains = chain_ids((config.get("rootfs") or {}).get("diff_ids") or [])
            rows[key] = _Row(json.dumps(config), chains[-1] if chains else None, description, now, now, 0)
        self._rows.update(rows)

        def insert(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "INSERT OR REPLACE INTO build_steps VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(key, r.config, r.chain_id, r.description, r.created, r.used, r.uses) for key, r in rows.items()],
            )

        if rows:
            self._grown = True
            await self._database.run(insert)

    async def touch(self, keys: list[str]) -> None:
        """Note that these steps were used just now. What a crash takes of this is at most a minute's."""
        self._touched.update(keys)
        if time.monotonic() - self._noted > 60:
            self._noted = time.monotonic()
            touched, self._touched = self._touched, set()
            rows = [(self._rows[key].used, self._rows[key].uses, key) for key in touched if key in self._rows]
            await self._database.run(
                lambda connection: (
                    connection.executemany("UPDATE build_steps SET used = ?, uses = ? WHERE key = ?", rows).rowcount
                )
            )

    async def usage(self) -> list[dict[str, Any]]:
        """`BuildCache` of `/system/df`: a record for each layer that steps came to, and for each cache mount."""
        return [record.document() for record in await self.records()]

    async def records(self) -> list[Record]:
        """The same, least recently used first."""
        layers = self._images.layers
        held = self._held()
        found: dict[str, Record] = {}
        for key, row in self._rows.items():
            if row.chain_id is None or not layers.has(row.chain_id):
                continue
            record = found.get(row.chain_id)
            if record is None:
                size = layers.chain(row.chain_id).layer.size
                record = found[row.chain_id] = Record(
                    row.chain_id.removeprefix("sha256:")[:25], "regular", row.description, size,
                    row.created, row.used, shared=row.chain_id in held,
                )  # fmt: skip
            record.keys.append(key)
            record.created, record.used = min(record.created, row.created), max(record.used, row.used)
            record.uses += row.uses
        kept = await asyncio.to_thread(self.mounts.all)
        records = [*found.values(), *(
            Record(one.name, "exec.cachemount", one.description, one.size, one.created, one.used, in_use=one.in_use)
            for one in kept
        )]  # fmt: skip
        return sorted(records, key=lambda record: record.used)

    async def prune(
        self,
        *,
        everything: bool = True,
        wanted: Callable[[Record], bool] = lambda record: True,
        older_than: float | None = None,
        reserved: int = 0,
        most: int = 0,
        least_free: int = 0,
    ) -> dict[str, Any]:
        """Forget steps and cache mounts that are `wanted`, least recently used first. The answer is that of
        `POST /build/prune`.

        Without `everything`, what images hold too stays. `older_than` (Unix time) spares what was used since. With one
        of `reserved`, `most` and `least_free` (bytes: what to keep in any case, what may stay, what shall be free on
        the disk) no more goes than is needed.
        """
        before = self._images.disk_usage()
        freed = 0
        removed: list[Record] = []
        records = await self.records()
        limited = bool(reserved or most or least_free)
        keep = self._keep_bytes(records, reserved, most, least_free) if limited else 0
        for record in records:
            if limited and self._own_size() + sum(one.size for one in records if not one.keys) - freed <= keep:
                break
            if record.in_use or (record.shared and not everything) or not wanted(record):
                continue
            if older_than is not None and record.used >= older_than:
                continue
            removed.append(record)
            for key in record.keys:
                self._rows.pop(key, None)
            if not record.keys:
                await asyncio.to_thread(self.mounts.remove, record.id)
                freed += record.size
        gone = [(key,) for record in removed for key in record.keys]
        if everything and not limited and older_than is None and len(removed) == len(records):
            # Steps on nothing (FROM scratch) have no layer to be listed by.
            gone += [(key,) for key in self._rows]
            self._rows.clear()
        await self._database.run(
            lambda connection: connection.executemany("DELETE FROM build_steps WHERE key = ?", gone).rowcount
        )
        await self._images.collect()
        return {
            "CachesDeleted": [record.id for record in removed],
            "SpaceReclaimed": max(0, before - self._images.disk_usage()) + freed,
        }

    def _keep_bytes(self, records: list[Record], reserved: int, most: int, least_free: int) -> int:
        """What may stay, as BuildKit works it out."""
        total = self._own_size() + sum(record.size for record in records if not record.keys)
        keep = most
        disk = os.statvfs(self._images.layers.directory)
        if (excess := least_free - disk.f_bavail * disk.f_frsize) > 0:
            keep = min(keep, total - excess) if keep else total - excess
        elif least_free and not keep:
            keep = total
        return max(keep, reserved)

    def _held(self) -> set[str]:
        """The chains of all images."""
        layers = self._images.layers
        return {chain.chain_id for image in self._images.catalog.all() for chain in layers.stack(image.chain_id)}

    def _own_size(self) -> int:
        """Bytes of layers that no image needs."""
        layers = self._images.layers
        held = self._held()
        own: dict[str, int] = {}
        for row in self._rows.values():
            if row.chain_id is not None and layers.has(row.chain_id):
                for chain in layers.stack(row.chain_id):
                    if chain.chain_id not in held:
                        own[chain.layer.name] = chain.layer.size
        return sum(own.values())

    async def keep_to_budget(self) -> None:
        """Forget what is too much for the budget: of daemon.json, else DEFAULT_BUDGET."""
        if not self._grown:
            return
        self._grown = False
        budget = await asyncio.to_thread(budget_of, self._images.root / "daemon.json")
        if budget is not None and self._own_size() > budget:
            # Cache mounts are no part of the budget: what fills them is the user's.
            beside = sum(one.size for one in await asyncio.to_thread(self.mounts.all))
            await self.prune(everything=False, wanted=lambda record: bool(record.keys), reserved=budget + beside)


def budget_of(path: Path) -> int | None:
    """Bytes of the cache by `builder.gc` of daemon.json, in Docker's form: `{"enabled": true, "defaultReservedSpace":
    "20GB"}` (or the older `defaultKeepStorage`). None is no limit. What cannot be read is told of and left out."""
    try:
        found = json.loads(path.read_text())["builder"]["gc"]
        if found.get("enabled") is False:
            return None
        text = found.get("defaultReservedSpace") or found["defaultKeepStorage"]
    except (FileNotFoundError, KeyError):
        return DEFAULT_BUDGET
    except (ValueError, TypeError, AttributeError) as error:
        _log.warning("builder.gc of %s cannot be read (%s): the build cache may take %s", path, error, DEFAULT_BUDGET)
        return DEFAULT_BUDGET
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kmgtp]?)(?:i?b)?", str(text).strip().lower())
    if match is None:
        _log.warning("builder.gc of %s: %r is no size: the build cache may take %s", path, text, DEFAULT_BUDGET)
        return DEFAULT_BUDGET
    return int(float(match[1]) * 1024 ** " kmgtp".index(match[2] or " "))


def _rfc3339(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


def base_key(image: Image | None) -> str:
    """The key that a stage on `image` (None: scratch) begins with."""
    return image.id if image else "scratch"

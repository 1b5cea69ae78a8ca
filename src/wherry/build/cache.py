"""The build cache: what each step of earlier builds came to.

A step's key is a digest of everything that could change its result: the key of the step before it, the
instruction, the variables it sees, the contents it copies. The value is the whole image configuration after the
step, so that a fully cached build gives the very same image. The layers are the store's; the cache keeps them
alive until it is pruned, least recently used first, down to a budget.
"""

import json
import sqlite3
import time
from dataclasses import dataclass
from typing import Any

from ..host.database import Database
from ..images.catalog import Image
from ..images.layers import chain_ids
from ..images.store import ImageStore

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


class BuildCache:
    """One per engine."""

    def __init__(self, database: Database, images: ImageStore) -> None:
        self._database = database
        self._images = images
        self._rows: dict[str, _Row] = {}

    @classmethod
    async def open(cls, database: Database, images: ImageStore) -> "BuildCache":
        cache = cls(database, images)
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

    def get(self, key: str) -> dict[str, Any] | None:
        """The image configuration after the step, if its layers are still there."""
        row = self._rows.get(key)
        if row is None:
            return None
        if row.chain_id is not None and not self._images.layers.has(row.chain_id):
            return None
        row.used, row.uses = time.time(), row.uses + 1
        found: dict[str, Any] = json.loads(row.config)
        return found

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
            await self._database.run(insert)

    async def touch(self, keys: list[str]) -> None:
        """Note that these steps were used just now."""
        rows = [(self._rows[key].used, self._rows[key].uses, key) for key in keys if key in self._rows]
        if rows:
            await self._database.run(
                lambda connection: (
                    connection.executemany("UPDATE build_steps SET used = ?, uses = ? WHERE key = ?", rows).rowcount
                )
            )

    def usage(self) -> list[dict[str, Any]]:
        """`BuildCache` of `/system/df`: one record a layer that only the cache or an image holds."""
        layers = self._images.layers
        held = {chain.chain_id for image in self._images.catalog.all() for chain in layers.stack(image.chain_id)}
        seen: dict[str, dict[str, Any]] = {}
        for row in self._rows.values():
            if row.chain_id is None or row.chain_id in seen or not layers.has(row.chain_id):
                continue
            chain = layers.chain(row.chain_id)
            seen[row.chain_id] = {
                "ID": row.chain_id.removeprefix("sha256:")[:25],
                "Type": "regular",
                "Description": row.description,
                "InUse": False,
                "Shared": row.chain_id in held,
                "Size": chain.layer.size,
                "CreatedAt": _rfc3339(row.created),
                "LastUsedAt": _rfc3339(row.used),
                "UsageCount": row.uses,
            }
        return list(seen.values())

    async def prune(self, *, keep: int = 0, older_than: float | None = None) -> dict[str, Any]:
        """Forget steps, least recently used first, until what only the cache holds is at most `keep` bytes.

        `older_than` (Unix time) spares what was used since. The answer is that of `POST /build/prune`.
        """
        before = self._images.disk_usage()
        removed: list[str] = []
        order = sorted(self._rows.items(), key=lambda item: item[1].used)
        for key, row in order:
            if keep and self._own_size() <= keep:
                break
            if older_than is not None and row.used >= older_than:
                continue
            removed.append(key)
            del self._rows[key]
        await self._database.run(
            lambda connection: (
                connection.executemany("DELETE FROM build_steps WHERE key = ?", [(key,) for key in removed]).rowcount
            )
        )
        await self._images.collect()
        return {
            "CachesDeleted": [key[:25] for key in removed],
            "SpaceReclaimed": max(0, before - self._images.disk_usage()),
        }

    def _own_size(self) -> int:
        """Bytes of layers that no image needs."""
        layers = self._images.layers
        held = {chain.chain_id for image in self._images.catalog.all() for chain in layers.stack(image.chain_id)}
        own: dict[str, int] = {}
        for row in self._rows.values():
            if row.chain_id is not None and layers.has(row.chain_id):
                for chain in layers.stack(row.chain_id):
                    if chain.chain_id not in held:
                        own[chain.layer.name] = chain.layer.size
        return sum(own.values())

    async def keep_to_budget(self, budget: int = DEFAULT_BUDGET) -> None:
        if self._own_size() > budget:
            await self.prune(keep=budget)


def _rfc3339(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


def base_key(image: Image | None) -> str:
    """The key that a stage on `image` (None: scratch) begins with."""
    return image.id if image else "scratch"

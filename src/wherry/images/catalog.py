"""Which images there are and what they are called.

Vocabulary: an *image id* is the digest of its configuration; a *tag* (`docker.io/library/nginx:1.21`) and a
*repo digest* (`docker.io/library/nginx@sha256:…`) are names of an image. Kept in memory, every change one
transaction.
"""

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from ..host.database import Database
from .blobs import BlobStore
from .errors import InvalidParameter, NotFound, no_such_image
from .layers import chain_ids
from .references import is_identifier, parse_reference

_SCHEMA = """
CREATE TABLE IF NOT EXISTS images (id TEXT PRIMARY KEY, parent TEXT, tagged TEXT);
CREATE TABLE IF NOT EXISTS image_names (name TEXT PRIMARY KEY, image TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS image_blobs (
    digest TEXT PRIMARY KEY, diff_id TEXT NOT NULL, media_type TEXT NOT NULL, size INTEGER NOT NULL, source TEXT)
"""


@dataclass
class Image:
    """One image. `config` is the OCI image configuration (`architecture`, `os`, `config`, `rootfs`, `history`)."""

    id: str
    config: dict[str, Any]
    parent: str | None = None
    names: set[str] = field(default_factory=set)
    tagged: str | None = None
    """When a name was last given to it (RFC 3339), None for never."""

    @property
    def diff_ids(self) -> list[str]:
        found: list[str] = (self.config.get("rootfs") or {}).get("diff_ids") or []
        return found

    @cached_property
    def chain_id(self) -> str | None:
        """The chain to prepare a container's snapshot over; None for an image without layers."""
        chains = chain_ids(self.diff_ids)
        return chains[-1] if chains else None

    @property
    def container_config(self) -> dict[str, Any]:
        """What containers of it start with (`Env`, `Cmd`, `Entrypoint`, `User`, …), as Docker's API names it."""
        return self.config.get("config") or {}

    @property
    def tags(self) -> list[str]:
        """Familiar, sorted: `nginx:1.21`."""
        return sorted(parse_reference(name).familiar for name in self.names if "@" not in name)

    @property
    def repo_digests(self) -> list[str]:
        return sorted(parse_reference(name).familiar for name in self.names if "@" in name)

    @property
    def created(self) -> str:
        return self.config.get("created") or "0001-01-01T00:00:00Z"


@dataclass(frozen=True)
class RemoteLayer:
    """A layer as a registry has it: compressed, by its own digest."""

    digest: str
    diff_id: str
    media_type: str
    size: int
    source: str | None
    """The normalised repository it was seen in; a push to the same registry can mount it from there."""


class Catalog:
    """All images and names of one store."""

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._blobs = blobs
        self._images: dict[str, Image] = {}
        self._names: dict[str, str] = {}
        self._remote: dict[str, RemoteLayer] = {}

    @classmethod
    async def open(cls, database: Database, blobs: BlobStore) -> "Catalog":
        catalog = cls(database, blobs)
        await database.ensure(_SCHEMA)

        def load(connection: sqlite3.Connection) -> tuple[list[Any], list[Any], list[Any]]:
            return (
                connection.execute("SELECT id, parent, tagged FROM images").fetchall(),
                connection.execute("SELECT name, image FROM image_names").fetchall(),
                connection.execute("SELECT digest, diff_id, media_type, size, source FROM image_blobs").fetchall(),
            )

        images, names, remote = await database.run(load)
        for image_id, parent, tagged in images:
            try:
                config = blobs.get_json(image_id)
            except NotFound:
                continue
            catalog._images[image_id] = Image(image_id, config, parent, tagged=tagged)
        for name, image_id in names:
            if image_id in catalog._images:
                catalog._names[name] = image_id
                catalog._images[image_id].names.add(name)
        catalog._remote = {row[0]: RemoteLayer(*row) for row in remote}
        return catalog

    def all(self) -> list[Image]:
        return list(self._images.values())

    def get(self, image_id: str) -> Image | None:
        return self._images.get(image_id)

    def named(self, name: str) -> Image | None:
        """By a normalised name, `docker.io/library/nginx:latest`."""
        image_id = self._names.get(name)
        return self._images.get(image_id) if image_id else None

    def named_anyhow(self, text: str) -> bool:
        """Whether `text` is a name of an image (and not only the beginning of an id)."""
        try:
            return self.named(parse_reference(text).key) is not None
        except InvalidParameter:
            return False

    def resolve(self, text: str) -> Image:
        """By whatever a user gives: a name, a digest, an id or the beginning of one, in Docker's order.

        Raises NotFound ("No such image: nosuch:latest"), InvalidParameter for what cannot be a reference.
        """
        image_id = f"sha256:{text}" if is_identifier(text) else text
        if image_id.startswith("sha256:") and len(image_id) == 71:
            found = self._images.get(image_id)
            if found is None:
                raise no_such_image(text)
            return found
        prefix = text.removeprefix("sha256:")
        looks_like_id = bool(prefix) and not prefix.strip("0123456789abcdef")
        if text.startswith("sha256:") and looks_like_id:
            return self._by_prefix(prefix, text)
        reference = parse_reference(text)
        found = self.named(reference.key)
        if found is None and reference.digest and reference.tag is None:
            found = self.named(f"{reference.name}@{reference.digest}")
        if found is not None:
            return found
        if looks_like_id:
            return self._by_prefix(prefix, reference.with_default_tag().familiar)
        raise no_such_image(reference.with_default_tag().familiar)

    def _by_prefix(self, prefix: str, shown: str) -> Image:
        matches = [image for image_id, image in self._images.items() if image_id.startswith(prefix, 7)]
        if len(matches) != 1:
            raise no_such_image(shown)
        return matches[0]

    def children(self, image_id: str) -> list[Image]:
        return [image for image in self._images.values() if image.parent == image_id]

    def remote(self, digest: str) -> RemoteLayer | None:
        return self._remote.get(digest)

    def remotes_of(self, diff_id: str) -> list[RemoteLayer]:
        return [remote for remote in self._remote.values() if remote.diff_id == diff_id]

    # Changes

    async def add(self, config: bytes, *, parent: str | None = None, names: Iterable[str] = ()) -> Image:
        """Make an image visible, under `names` (normalised), which leave the images they named before."""
        image_id = self._blobs.put(config)
        names = list(names)
        now = _now() if names else None

        def insert(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR IGNORE INTO images VALUES (?, ?, ?)", (image_id, parent, now))
            if names:
                connection.execute("UPDATE images SET tagged = ? WHERE id = ?", (now, image_id))
            connection.executemany(
                "INSERT INTO image_names VALUES (?, ?) ON CONFLICT(name) DO UPDATE SET image = excluded.image",
                [(name, image_id) for name in names],
            )

        await self._database.run(insert)
        image = self._images.get(image_id)
        if image is None:
            image = self._images[image_id] = Image(image_id, json.loads(config), parent)
        self._point(image, names, now)
        return image

    async def name(self, image: Image, name: str) -> None:
        """Give `image` the normalised `name`; whoever had it loses it."""
        now = _now()

        def insert(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO image_names VALUES (?, ?) ON CONFLICT(name) DO UPDATE SET image = excluded.image",
                (name, image.id),
            )
            connection.execute("UPDATE images SET tagged = ? WHERE id = ?", (now, image.id))

        await self._database.run(insert)
        self._point(image, [name], now)

    def _point(self, image: Image, names: Iterable[str], now: str | None) -> None:
        for name in names:
            before = self._images.get(self._names.get(name, ""))
            if before is not None:
                before.names.discard(name)
            self._names[name] = image.id
            image.names.add(name)
            image.tagged = now

    async def unname(self, name: str) -> None:
        await self._database.run(
            lambda connection: connection.execute("DELETE FROM image_names WHERE name = ?", (name,)).rowcount
        )
        image = self._images.get(self._names.pop(name, ""))
        if image is not None:
            image.names.discard(name)

    async def remove(self, image_id: str) -> None:
        """Forget an image and its names; its configuration blob goes too."""

        def delete(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM image_names WHERE image = ?", (image_id,))
            connection.execute("DELETE FROM images WHERE id = ?", (image_id,))

        await self._database.run(delete)
        image = self._images.pop(image_id, None)
        for name in image.names if image else ():
            self._names.pop(name, None)
        self._blobs.delete(image_id)

    async def remember_remote(self, layers: Iterable[RemoteLayer]) -> None:
        """Note under which compressed digests registries have a layer, so that it is not sent or fetched again."""
        rows = [(r.digest, r.diff_id, r.media_type, r.size, r.source) for r in layers]

        def insert(connection: sqlite3.Connection) -> None:
            connection.executemany("INSERT OR REPLACE INTO image_blobs VALUES (?, ?, ?, ?, ?)", rows)

        await self._database.run(insert)
        for row in rows:
            self._remote[row[0]] = RemoteLayer(*row)


def _now() -> str:
    return timestamp(datetime.now(UTC))


def timestamp(moment: datetime) -> str:
    """RFC 3339 with nine digits, as Go prints it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond:06d}000Z"

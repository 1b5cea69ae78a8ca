"""Pulling an image: manifest, configuration, and the layers side by side, each verified before it is visible.

A layer streams through: received, hashed, kept in a file of its own until it is complete, decompressed, unpacked.
A connection that breaks is taken up again where it broke, also by a later process.
"""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import archives
from ..blobs import BlobStore
from ..catalog import Catalog, Image, RemoteLayer
from ..compression import decompress
from ..errors import DigestMismatch, Forbidden, ImageError, InvalidParameter, NotFound, Unauthorized, Unavailable
from ..layers import Layer, LayerStore, Staged
from ..manifests import ACCEPT, Descriptor, Index, Manifest, read, read_config
from ..references import Reference
from ..threads import feed
from .client import RegistryClient, check_digest

_PARALLEL = 3
_ATTEMPTS = 5
MAX_CONFIG = 8 << 20
_MAX_DEPTH = 4


@dataclass
class Pulled:
    """What was pulled: the configuration's bytes, the digest of what the reference names."""

    config: bytes
    digest: str
    new: bool


class Puller:
    """Pulls one image through one client."""

    def __init__(
        self, client: RegistryClient, reference: Reference, *, layers: LayerStore, catalog: Catalog, blobs: BlobStore,
        downloads: Path, progress: archives.Progress, platform: tuple[str, str, str],
    ) -> None:  # fmt: skip
        self._client = client
        self._reference = reference
        self._layers = layers
        self._catalog = catalog
        self._blobs = blobs
        self._downloads = downloads
        self._progress = progress
        self._platform = platform
        self._room = asyncio.Semaphore(_PARALLEL)

    async def run(self) -> Pulled:
        shown = self._reference.digest or self._reference.tag or "latest"
        body, media_type, digest = await self._fetch_manifest(shown)
        self._progress({"status": f"Pulling from {self._reference.path}", "id": shown})
        manifest = read(body, media_type)
        for _ in range(_MAX_DEPTH):
            if isinstance(manifest, Manifest):
                break
            self._blobs.put(body, durable=False)
            body, media_type, _ = await self._fetch_manifest(self._choose(manifest).digest)
            manifest = read(body, media_type)
        if isinstance(manifest, Index):
            raise InvalidParameter(f"invalid manifest: {self._reference.familiar} is an index of indexes")
        self._blobs.put(body, durable=False)
        known = self._catalog.get(manifest.config.digest)
        if known is not None and (known.chain_id is None or self._layers.has(known.chain_id)):
            for layer in manifest.layers:
                self._tell(layer.digest, "Already exists")
            return Pulled(self._blobs.get(known.id), digest, False)
        config = await self._config(manifest.config)
        await self._all_layers(manifest.layers, config)
        return Pulled(config, digest, True)

    async def _fetch_manifest(self, reference: str) -> tuple[bytes, str, str]:
        name = self._reference
        try:
            body, media_type = await self._client.manifest(reference, ACCEPT)
        except NotFound as error:
            raise NotFound(f"manifest for {name.with_default_tag().familiar} not found: {error.message}") from None
        except (Unauthorized, Forbidden) as error:
            if "no basic auth" in error.message:
                raise
            raise NotFound(
                f"pull access denied for {name.familiar_name}, repository does not exist or may require "
                f"'docker login': {error.message}"
            ) from None
        digest = "sha256:" + hashlib.sha256(body).hexdigest()
        if reference.startswith("sha256:"):
            check_digest(body, reference)
        return body, media_type, digest

    def _choose(self, index: Index) -> Descriptor:
        chosen = index.choose(*self._platform)
        if chosen is None:
            wanted = "/".join(part for part in self._platform if part)
            raise NotFound(f"no matching manifest for {wanted} in the manifest list entries")
        return chosen

    async def _config(self, descriptor: Descriptor) -> bytes:
        data = await self._client.small_blob(descriptor.digest, MAX_CONFIG)
        if "sha256:" + hashlib.sha256(data).hexdigest() != descriptor.digest:
            raise DigestMismatch(f"image config verification failed for digest {descriptor.digest}")
        return data

    async def _all_layers(self, descriptors: list[Descriptor], config: bytes) -> None:
        document = read_config(config)
        diff_ids = document["rootfs"].get("diff_ids") or []
        if len(diff_ids) != len(descriptors):
            raise InvalidParameter(
                "invalid image configuration: its rootfs does not have the layers that the manifest has"
            )
        if document.get("os") not in (None, "", "linux"):
            raise InvalidParameter(f'image operating system "{document["os"]}" cannot be used on this platform')
        wanted = dict(zip((item.digest for item in descriptors), diff_ids, strict=True))
        sizes = {item.digest: (item.size, item.media_type) for item in descriptors}
        for digest in wanted:
            self._tell(digest, "Pulling fs layer")
        tasks = {
            digest: asyncio.create_task(self._layer(digest, diff_id, *sizes[digest]))
            for digest, diff_id in wanted.items()
        }
        parent: str | None = None
        try:
            for item, diff_id in zip(descriptors, diff_ids, strict=True):
                found = await tasks[item.digest]
                if isinstance(found, Staged):
                    chain = await self._layers.register(parent, found)
                    tasks[item.digest] = asyncio.create_task(_value(chain.layer))
                    await self._remember(item.digest, diff_id, *sizes[item.digest])
                else:
                    chain = await self._layers.register_known(parent, found)
                parent = chain.chain_id
        except BaseException:
            for task in tasks.values():
                task.cancel()
            results = await asyncio.gather(*tasks.values(), return_exceptions=True)
            for result in results:
                if isinstance(result, Staged) and result.path.exists():
                    await asyncio.to_thread(self._layers.discard, result)
            raise

    async def _remember(self, digest: str, diff_id: str, size: int, media_type: str) -> None:
        await self._catalog.remember_remote([RemoteLayer(digest, diff_id, media_type, size, self._reference.name)])

    async def _layer(self, digest: str, diff_id: str, size: int, media_type: str) -> Layer | Staged:
        known = self._layers.by_diff_id(diff_id)
        if known is not None:
            self._tell(digest, "Already exists")
            await self._remember(digest, diff_id, size, media_type)
            return known
        if "foreign" in media_type or "nondistributable" in media_type:
            raise InvalidParameter(f"layer {digest} is not distributable: {media_type} is not supported")
        if not digest.startswith("sha256:"):
            raise InvalidParameter(f"unsupported digest algorithm: {digest.partition(':')[0]}")
        async with self._room:
            spool = self._downloads / digest.removeprefix("sha256:")
            try:
                staged = await feed(
                    self._received(digest, size, spool), lambda c: self._unpack(c, digest, diff_id, size, spool)
                )
            except DigestMismatch:
                spool.unlink(missing_ok=True)  # what is there is wrong: the next attempt begins anew
                raise
            self._tell(digest, "Download complete")
            self._tell(digest, "Pull complete")
        # Complete layers that lean on nothing are kept even if the rest of the pull fails.
        if not staged.unpacked.implied and not staged.unpacked.outer_links:
            layer = await self._layers.adopt(staged)
            await self._remember(digest, diff_id, size, media_type)
            return layer
        return staged

    async def _received(self, digest: str, size: int, spool: Path) -> AsyncIterator[bytes]:
        """The blob from what an earlier attempt has kept, then from the registry, taking broken ones up again."""
        offset = 0
        if spool.exists():
            async for chunk in _file(spool):
                offset += len(chunk)
                yield chunk
        reported = offset
        failures = 0
        while size == 0 or offset < size:
            before = offset
            try:
                async for chunk in self._client.blob(digest, offset):
                    offset += len(chunk)
                    if size and offset > size:
                        raise DigestMismatch(f"filesystem layer verification failed for digest {digest}")
                    if offset - reported > 1 << 19 or offset == size:
                        reported = offset
                        self._tell(digest, "Downloading", offset, size)
                    yield chunk
            except Unavailable:
                failures = failures + 1 if offset == before else 0
                if failures >= _ATTEMPTS:
                    raise
                self._tell(digest, f"Retrying in {failures + 1} seconds")
                await asyncio.sleep(failures + 1)
                continue
            if size == 0 or offset == before:
                break
        if size and offset != size:
            raise DigestMismatch(f"filesystem layer verification failed for digest {digest}")

    def _unpack(self, chunks: Iterator[bytes], digest: str, diff_id: str, size: int, spool: Path) -> Staged:
        """In a thread: keep the compressed bytes, verify them, unpack them."""
        have = spool.stat().st_size if spool.exists() else 0
        seen = _Seen(spool, have)
        try:
            staged = self._layers.stage(decompress(seen.tee(chunks)), diff_id)
            for _ in seen.rest():
                pass
        except DigestMismatch:
            raise
        except ImageError:
            if seen.complete(size):
                spool.unlink(missing_ok=True)  # all there, and bad: do not start from it again
            raise
        finally:
            seen.close()
        if seen.digest() != digest:
            self._layers.discard(staged)
            raise DigestMismatch(f"filesystem layer verification failed for digest {digest}")
        spool.unlink(missing_ok=True)
        return staged

    def _tell(self, digest: str, status: str, current: int = 0, total: int = 0) -> None:
        message: dict[str, Any] = {"status": status, "id": digest.removeprefix("sha256:")[:12]}
        if status in ("Downloading", "Pulling fs layer", "Download complete", "Pull complete"):
            message["progressDetail"] = {"current": current, "total": total} if current else {}
        if current:
            message["progress"] = archives.progress_bar(current, total)
        self._progress(message)


class _Seen:
    """Bytes on their way: hashed, and written to the spool beyond what is in it already."""

    def __init__(self, spool: Path, have: int) -> None:
        self._hash = hashlib.sha256()
        self._file = os.open(spool, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._have = have
        self._total = 0
        self._source: Iterator[bytes] = iter(())

    def tee(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        self._source = iter(chunks)
        return self.rest()

    def rest(self) -> Iterator[bytes]:
        for chunk in self._source:
            if self._total >= self._have:
                os.write(self._file, chunk)
            self._total += len(chunk)
            self._hash.update(chunk)
            yield chunk

    def complete(self, size: int) -> bool:
        return size > 0 and self._total >= size

    def digest(self) -> str:
        return "sha256:" + self._hash.hexdigest()

    def close(self) -> None:
        os.close(self._file)


async def _file(path: Path) -> AsyncIterator[bytes]:
    size = path.stat().st_size
    with open(path, "rb") as file:  # noqa: ASYNC230 - read in pieces by a thread below
        left = size
        while left:
            data = await asyncio.to_thread(file.read, min(left, 1 << 20))
            if not data:
                return
            left -= len(data)
            yield data


async def _value(layer: Layer) -> Layer | Staged:
    return layer


def up_to_date(image: Image | None, pulled: Pulled) -> bool:
    return image is not None and not pulled.new

"""Pushing an image: the blobs that the registry lacks, then the manifest.

Layers are compressed on the way out (gzip). What a registry is known to have under some compressed digest is not
sent again: it is found by digest, or mounted from another repository of the same registry.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

from .. import archives
from ..blobs import canonical_json
from ..catalog import Catalog, Image, RemoteLayer
from ..errors import ImageError, Unauthorized, Unavailable
from ..gzipping import compress
from ..layers import Layer, LayerStore
from ..manifests import CONFIG_DOCKER, LAYER_DOCKER, MANIFEST_DOCKER
from ..references import Reference, parse_reference
from ..threads import drain
from .client import RegistryClient

_PARALLEL = 5
_CHUNK = 1 << 20
_ATTEMPTS = 5


@dataclass
class Pushed:
    digest: str
    size: int
    manifest: bytes


class Pusher:
    """Pushes one image under one tag through one client."""

    def __init__(
        self, client: RegistryClient, reference: Reference, image: Image, config: bytes, *, layers: LayerStore,
        catalog: Catalog, progress: archives.Progress,
    ) -> None:  # fmt: skip
        self._client = client
        self._reference = reference
        self._image = image
        self._config = config
        self._layers = layers
        self._catalog = catalog
        self._progress = progress
        self._room = asyncio.Semaphore(_PARALLEL)

    async def run(self) -> Pushed:
        stack = [chain.layer for chain in reversed(self._layers.stack(self._image.chain_id))]
        unique = {layer.diff_id: layer for layer in stack}
        for layer in reversed(unique.values()):
            self._tell(layer, "Preparing")
        async with asyncio.TaskGroup() as group:
            tasks = {diff_id: group.create_task(self._layer(layer)) for diff_id, layer in unique.items()}
        sent = {diff_id: task.result() for diff_id, task in tasks.items()}
        config_digest = "sha256:" + hashlib.sha256(self._config).hexdigest()
        if await self._client.has_blob(config_digest) is None:
            location = await self._client.begin_upload()
            assert location is not None
            await self._client.finish_upload(location, config_digest, self._config)
        manifest = canonical_json(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST_DOCKER,
                "config": {"mediaType": CONFIG_DOCKER, "size": len(self._config), "digest": config_digest},
                "layers": [
                    {"mediaType": LAYER_DOCKER, "size": remote.size, "digest": remote.digest}
                    for remote in (sent[layer.diff_id] for layer in stack)
                ],
            }
        )
        tag = self._reference.tag or "latest"
        await self._client.put_manifest(tag, manifest, MANIFEST_DOCKER)
        await self._catalog.remember_remote(sent.values())
        digest = "sha256:" + hashlib.sha256(manifest).hexdigest()
        self._progress({"status": f"{tag}: digest: {digest} size: {len(manifest)}"})
        self._progress({"progressDetail": {}, "aux": {"Tag": tag, "Digest": digest, "Size": len(manifest)}})
        return Pushed(digest, len(manifest), manifest)

    async def _layer(self, layer: Layer) -> RemoteLayer:
        async with self._room:
            known = [remote for remote in self._catalog.remotes_of(layer.diff_id) if _is_gzip(remote)]
            here = [remote for remote in known if remote.source == self._reference.name]
            for remote in [*here, *(r for r in known if r not in here)][:3]:
                size = await self._client.has_blob(remote.digest)
                if size is not None:
                    self._tell(layer, "Layer already exists")
                    return self._as_here(remote, size)
            mounted = await self._mount(layer, known)
            return mounted or await self._upload(layer)

    def _as_here(self, remote: RemoteLayer, size: int) -> RemoteLayer:
        return RemoteLayer(remote.digest, remote.diff_id, LAYER_DOCKER, size, self._reference.name)

    async def _mount(self, layer: Layer, known: list[RemoteLayer]) -> RemoteLayer | None:
        for remote in known:
            if remote.source is None or remote.source == self._reference.name:
                continue
            source = parse_reference(remote.source)
            if source.domain != self._reference.domain:
                continue
            self._client.may_mount_from([source.path])
            try:
                location = await self._client.begin_upload((remote.digest, source.path))
            except Unauthorized:
                continue
            if location is None:
                self._tell(layer, f"Mounted from {source.path}")
                return self._as_here(remote, remote.size)
        return None

    async def _upload(self, layer: Layer) -> RemoteLayer:
        """Send the layer; when the connection breaks, begin it anew, as Docker does."""
        failures = 0
        while True:
            location = await self._client.begin_upload()
            assert location is not None
            try:
                return await self._send(layer, location)
            except Unavailable:
                failures += 1
                if failures >= _ATTEMPTS:
                    raise
            self._tell(layer, f"Retrying in {failures} second{'s' if failures > 1 else ''}")
            await asyncio.sleep(failures)

    async def _send(self, layer: Layer, location: str) -> RemoteLayer:
        counted = _Compressed(self._layers.tar_stream(layer))

        async def body() -> AsyncIterator[bytes]:
            reported = 0
            async for chunk in drain(lambda: counted):
                yield chunk
                if counted.read - reported > 1 << 19:
                    reported = counted.read
                    self._tell(layer, "Pushing", min(reported, layer.tar_size), layer.tar_size)

        location = await self._client.upload_stream(location, body())
        digest = counted.digest()
        await self._client.finish_upload(location, digest)
        self._tell(layer, "Pushed")
        return RemoteLayer(digest, layer.diff_id, LAYER_DOCKER, counted.written, self._reference.name)

    def _tell(self, layer: Layer, status: str, current: int = 0, total: int = 0) -> None:
        message: dict[str, Any] = {
            "status": status,
            "progressDetail": {"current": current, "total": total} if current else {},
            "id": layer.diff_id.removeprefix("sha256:")[:12],
        }
        if current:
            message["progress"] = archives.progress_bar(current, total)
        self._progress(message)


class _Compressed:
    """An archive on its way out: gzipped, counted, hashed. No time and no name in the header."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._hash = hashlib.sha256()
        self.read = 0
        self.written = 0

    def __iter__(self) -> Iterator[bytes]:
        pending: list[bytes] = []
        size = 0
        for data in compress(self._counted()):
            pending.append(data)
            size += len(data)
            if size >= _CHUNK:
                yield self._out(b"".join(pending))
                pending.clear()
                size = 0
        yield self._out(b"".join(pending))

    def _counted(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self.read += len(chunk)
            yield chunk

    def _out(self, data: bytes) -> bytes:
        self._hash.update(data)
        self.written += len(data)
        return data

    def digest(self) -> str:
        return "sha256:" + self._hash.hexdigest()


def _is_gzip(remote: RemoteLayer) -> bool:
    return remote.media_type.endswith("gzip")


def unwrap(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first real error of a group of tasks."""
    for error in group.exceptions:
        if isinstance(error, ImageError):
            return error
    return group.exceptions[0]

"""The image store: everything about images that the engine, the builder and the kubelet ask for.

`ImageStore.open` gives one per instance. Methods are coroutines where they touch the disk; `resolve`, `list`
and `inspect` answer from memory. Progress is told to a callback in the shape of Docker's JSON stream
(`{"status": …, "id": …, "progressDetail": …}`), the last message of an operation included.
"""

import asyncio
import json
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..host.database import Database
from ..host.instance import Instance
from . import archives, removal, views
from .blobs import BlobStore, canonical_json
from .catalog import Catalog, Image, timestamp
from .compression import decompress
from .errors import InvalidParameter, NotFound
from .layers import Chain, LayerStore, Staged, chain_ids
from .manifests import read_config
from .references import Reference, key_of, parse_reference
from .removal import User
from .snapshots import Snapshotter
from .threads import drain, feed, in_thread

if TYPE_CHECKING:
    from .registry.transfer import Transfers

Progress = Callable[[dict[str, Any]], None]

# Names for list types: inside the class, `list` is Docker's verb.
Rows = list[dict[str, Any]]
Records = list[dict[str, str]]
Images = list[Image]
Names = list[str]
Registered = list[tuple[archives.Found, list[Reference]]]
Roots = list[Callable[[], Iterable[str]]]


def _silent(_: dict[str, Any]) -> None:
    return None


class ImageStore:
    """All images of one instance. Attributes: `catalog`, `layers`, `snapshots`, `blobs`.

    The engine sets `users` (which containers stand on which images) and `on_event` (called with the action of
    Docker's image events, the image id and the attributes).
    """

    def __init__(self, catalog: Catalog, layers: LayerStore, snapshots: Snapshotter, blobs: BlobStore) -> None:
        self.catalog = catalog
        self.layers = layers
        self.snapshots = snapshots
        self.blobs = blobs
        self.root: Path
        self.users: Callable[[], Iterable[User]] = lambda: ()
        self.on_event: Callable[[str, str, dict[str, str]], None] = lambda action, image_id, attributes: None
        self.extra_roots: Roots = []
        """Chains that others keep alive, the build cache for one."""
        self.companions: dict[str, Any] = {}
        """What higher houses keep one of per store (the builder), by their name."""
        self._changing = asyncio.Lock()
        self._leases: dict[str, int] = {}
        self._arriving = 0
        self._deferred: set[str] = set()

    @classmethod
    async def open(cls, instance: Instance, database: Database) -> "ImageStore":
        """Open the store below `instance.root`/images, sweeping what a crash left half-made."""
        root = instance.root / "images"
        root.mkdir(parents=True, exist_ok=True, mode=0o711)
        blobs = await asyncio.to_thread(BlobStore, root / "blobs")
        layers = await LayerStore.open(root / "layers", database)
        snapshots = await asyncio.to_thread(Snapshotter, instance.root / "snapshots", layers)
        catalog = await Catalog.open(database, blobs)
        store = cls(catalog, layers, snapshots, blobs)
        store.root = instance.root
        for image in catalog.all():
            if image.chain_id is not None and not layers.has(image.chain_id):
                await catalog.remove(image.id)
        return store

    # Reading

    def resolve(self, text: str) -> Image:
        """The image that a name, a digest, an id or the beginning of an id means. Raises NotFound."""
        return self.catalog.resolve(text)

    def find(self, text: str) -> Image | None:
        """`resolve`, with None for what is not here."""
        try:
            return self.catalog.resolve(text)
        except NotFound:
            return None

    def list(
        self,
        filters: Mapping[str, Iterable[str]] | None = None,
        *,
        all_images: bool = False,
        shared_size: bool = False,
        count_containers: bool = False,
    ) -> Rows:
        """`GET /images/json` (API v1.50). Filters as lists: `{"reference": ["nginx*"]}`."""
        counts: dict[str, int] | None = None
        if count_containers:
            counts = {}
            for user in self.users():
                counts[user.image_id] = counts.get(user.image_id, 0) + 1
        return views.summaries(
            self.catalog, self.layers, filters or {}, all_images=all_images, shared_size=shared_size, containers=counts
        )

    def inspect(self, text: str) -> dict[str, Any]:
        """`GET /images/{name}/json` (API v1.50)."""
        return views.inspect(self.resolve(text), self.layers)

    def history(self, text: str) -> Rows:
        """`GET /images/{name}/history`."""
        return views.history(self.resolve(text), self.layers, self.catalog)

    def disk_usage(self) -> int:
        """Bytes of all layers, each counted once (`LayersSize` of `/system/df`)."""
        return self.layers.total_size()

    # Making

    async def create(
        self, config: dict[str, Any] | bytes, *, names: Iterable[str] = (), parent: str | None = None
    ) -> Image:
        """Make an image of a complete OCI configuration whose layers are all registered."""
        data = config if isinstance(config, bytes) else canonical_json(config)
        diff_ids = (json.loads(data).get("rootfs") or {}).get("diff_ids") or []
        chains = chain_ids(diff_ids)
        if chains and not self.layers.has(chains[-1]):
            raise NotFound(f"layer {chains[-1]} does not exist")
        image = await self.catalog.add(data, parent=parent, names=names)
        for name in names:
            self.on_event("tag", image.id, {"name": parse_reference(name).familiar})
        return image

    async def tag(self, text: str, repo: str, tag: str | None = None) -> None:
        """`docker tag`. Raises NotFound for the image, InvalidParameter for the name."""
        image = self.resolve(text)
        reference = key_of(repo, tag)
        await self.catalog.name(image, reference.key)
        self.on_event("tag", image.id, {"name": reference.familiar})

    async def commit(
        self,
        key: str,
        image: Image | None,
        *,
        config: dict[str, Any],
        repo: str | None = None,
        tag: str | None = None,
        comment: str = "",
        author: str = "",
        created_by: str = "",
    ) -> Image:
        """An image of snapshot `key`, whose parent image is `image`; `config` is its new container config."""
        reference = key_of(repo, tag) if repo else None
        parent_chain = self.snapshots.chain(key)
        async with self.holding(parent_chain):
            staged = await in_thread(lambda: self.snapshots.commit(key))
            chain = await self.layers.register(parent_chain, staged)
            await self.layers.flush()
            base: dict[str, Any] = image.config if image else {}
            now = timestamp(datetime.now(UTC))
            step = {"created": now, "created_by": created_by}
            if author:
                step["author"] = author
            if comment:
                step["comment"] = comment
            document: dict[str, Any] = {
                **{k: base[k] for k in ("architecture", "os", "variant", "os.version") if k in base},
                "created": now,
                "author": author,
                "config": config,
                "rootfs": {"type": "layers", "diff_ids": [*(image.diff_ids if image else []), chain.layer.diff_id]},
                "history": [*(base.get("history") or []), step],
            }
            document.setdefault("architecture", architecture())
            document.setdefault("os", "linux")
            names = [reference.key] if reference else []
            return await self.create(document, names=names, parent=image.id if image else None)

    # Archives

    async def load(
        self,
        source: AsyncIterable[bytes] | Path,
        progress: Progress = _silent,
        *,
        quiet: bool = False,
        chosen: Callable[[dict[str, Any]], bool] = lambda config: True,
    ) -> Images:
        """`docker load`: every image of a Docker archive or an OCI layout, plain or compressed.

        `chosen` tells by its configuration whether an image is wanted. Nothing of a broken archive stays. Raises
        InvalidParameter, BadArchive, DigestMismatch, NotFound when none of the images is wanted.
        """
        tell = _on_loop(progress)
        work_progress = _silent if quiet else tell

        def read(chunks: Iterable[bytes]) -> archives.Contents:
            return archives.read(chunks, self.layers, self._known_blob, work_progress)

        async with self.arriving():
            if isinstance(source, Path):
                path = source
                contents = await in_thread(lambda: read(_file_chunks(path)))
            else:
                contents = await feed(source, read)
            try:
                found = [item for item in archives.images(contents) if chosen(read_config(item.config))]
                if not found:
                    raise NotFound("no image of the requested platform is in the archive")
                registered: Registered = []
                for item in found:
                    references = [parse_reference(name).with_default_tag() for name in item.names]
                    await self._register_layers(item, contents)
                    registered.append((item, references))
            finally:
                await in_thread(lambda: archives.discard(contents, self.layers))
            await self.layers.flush()
            images = []
            for item, references in registered:
                image = await self.create(item.config, names=[reference.key for reference in references])
                images.append(image)
                self.on_event("load", image.id, {"name": image.id})
                for reference in references:
                    progress({"stream": f"Loaded image: {reference.familiar}\n"})
                if not references:
                    progress({"stream": f"Loaded image ID: {image.id}\n"})
        return images

    def _known_blob(self, digest: str) -> Any:
        layer = self.layers.by_diff_id(digest)
        if layer is None and (remote := self.catalog.remote(digest)) is not None:
            layer = self.layers.by_diff_id(remote.diff_id)
        return layer

    async def _register_layers(self, item: archives.Found, contents: archives.Contents) -> None:
        config = read_config(item.config)
        diff_ids = config["rootfs"].get("diff_ids") or []
        if len(diff_ids) != len(item.layers):
            raise InvalidParameter(
                f"invalid manifest, layers length mismatch: expected {len(item.layers)}, got {len(diff_ids)}"
            )
        parent: str | None = None
        for name, diff_id in zip(item.layers, diff_ids, strict=True):
            chain = await self._register_layer(parent, contents, name, diff_id)
            parent = chain.chain_id

    async def _register_layer(self, parent: str | None, contents: archives.Contents, name: str, diff_id: str) -> Chain:
        layer = contents.layer(name)
        if isinstance(layer, Staged):
            actual = layer.digested.diff_id
            if actual != diff_id:
                raise InvalidParameter(f"invalid diffID for layer {name}: expected {diff_id!r}, got {actual!r}")
            known = self.layers.by_diff_id(diff_id)
            if known is not None:
                return await self.layers.register_known(parent, known)
            for key in [key for key, value in contents.staged.items() if value is layer]:
                del contents.staged[key]
            chain = await self.layers.register(parent, layer)
            contents.known[name] = chain.layer
            return chain
        if layer.diff_id != diff_id:
            raise InvalidParameter(f"invalid diffID for layer {name}: expected {diff_id!r}, got {layer.diff_id!r}")
        return await self.layers.register_known(parent, layer)

    def save(self, names: Iterable[str]) -> AsyncIterator[bytes]:
        """`docker save`: the archive of the images, each under the names it was asked for by."""
        wanted: dict[str, archives.Saved] = {}
        for text in names:
            image = self.resolve(text)
            stack = [chain.layer for chain in reversed(self.layers.stack(image.chain_id))]
            saved = wanted.setdefault(image.id, archives.Saved(self.blobs.get(image.id), stack, [], 0))
            for reference in self._saved_references(image, text):
                if reference not in saved.references:
                    saved.references.append(reference)
            self.on_event("save", image.id, {"name": image.id})
        return drain(lambda: archives.write(list(wanted.values()), self.layers))

    def _saved_references(self, image: Image, text: str) -> Iterable[Reference]:
        """By id: no name; by a repository without a tag: all its tags; by a tag: that one."""
        if text.removeprefix("sha256:") in image.id and not self.catalog.named_anyhow(text):
            return []
        reference = parse_reference(text)
        if reference.tag or reference.digest:
            return [reference] if reference.tag else []
        mine = [parse_reference(name) for name in sorted(image.names)]
        return [each for each in mine if each.tag and each.name == reference.name]

    async def import_(
        self,
        source: AsyncIterable[bytes],
        *,
        repo: str | None = None,
        tag: str | None = None,
        message: str = "",
        config: dict[str, Any] | None = None,
        platform: str | None = None,
    ) -> str:
        """`docker import`: one layer from a tar stream of a root file system; the image's id."""
        reference = key_of(repo, tag) if repo else None
        system, machine, variant = parse_platform(platform)
        async with self.arriving():
            staged = await feed(source, lambda chunks: self.layers.stage(decompress(chunks)))
            chain = await self.layers.register(None, staged)
            now = timestamp(datetime.now(UTC))
            document: dict[str, Any] = {
                "architecture": machine,
                "os": system,
                "created": now,
                "config": config or {},
                "rootfs": {"type": "layers", "diff_ids": [chain.layer.diff_id]},
                "history": [{"created": now, "comment": message}],
            }
            if variant:
                document["variant"] = variant
            image = await self.create(document, names=[reference.key] if reference else [])
            self.layers.flush_soon()
        self.on_event("import", image.id, {"name": image.id})
        return image.id

    # Registries

    async def pull(
        self,
        text: str,
        progress: Progress = _silent,
        *,
        auth: dict[str, Any] | None = None,
        platform: str | None = None,
    ) -> Image:
        """`docker pull` of one tag or digest. `platform` is `os/arch[/variant]`, this machine's by default."""
        reference = parse_reference(text).with_default_tag()
        async with self.arriving():
            before = self.catalog.named(reference.key)
            pulled = await self._transfers().pull(reference, progress, auth or {}, parse_platform(platform))
            names = [] if reference.digest else [reference.key]
            names.append(f"{reference.name}@{pulled.digest}")
            image = await self.catalog.add(pulled.config, names=names)
            self.layers.flush_soon()
        progress({"status": f"Digest: {pulled.digest}"})
        same = before is not None and before.id == image.id
        said = "Image is up to date for" if same else "Downloaded newer image for"
        progress({"status": f"Status: {said} {reference.familiar}"})
        self.on_event("pull", reference.familiar, {"name": reference.familiar_name})
        return image

    async def push(
        self, text: str, tag: str | None = None, progress: Progress = _silent, *, auth: dict[str, Any] | None = None
    ) -> None:
        """`docker push` of one tag, or without a tag of all tags of the repository."""
        reference = parse_reference(text)
        if tag:
            reference = key_of(text, tag)
        mine = [
            parsed
            for image in self.catalog.all()
            for name in image.names
            if "@" not in name and (parsed := parse_reference(name)).name == reference.name
        ]
        chosen = [each for each in mine if not reference.tag or each.tag == reference.tag]
        progress({"status": f"The push refers to repository [{reference.name}]"})
        if not chosen:
            if reference.tag:
                raise NotFound(f"tag does not exist: {reference.familiar}")
            raise NotFound(f"An image does not exist locally with the tag: {reference.familiar_name}")
        for each in sorted(chosen, key=str):
            image = self.catalog.named(each.key)
            assert image is not None
            async with self.holding(image.chain_id):
                pushed = await self._transfers().push(each, image, progress, auth or {})
            self.blobs.put(pushed.manifest, durable=False)
            await self.catalog.name(image, f"{each.name}@{pushed.digest}")
            self.on_event("push", each.familiar, {"name": each.familiar_name})

    async def distribution(self, text: str, *, auth: dict[str, Any] | None = None) -> dict[str, Any]:
        """`GET /distribution/{name}/json`."""
        return await self._transfers().distribution(parse_reference(text).with_default_tag(), auth or {})

    async def authenticate(self, credentials: dict[str, Any]) -> str:
        """`POST /auth`: an identity token, or empty. Raises Unauthorized."""
        return await self._transfers().authenticate(credentials)

    def _transfers(self) -> "Transfers":
        # An HTTP client is heavy and seldom needed.
        from .registry.transfer import Transfers

        return Transfers(self.layers, self.catalog, self.blobs, self.root)

    # Removing

    async def remove(self, text: str, *, force: bool = False, prune: bool = True) -> Records:
        """`docker rmi`: `[{"Untagged": …}, {"Deleted": …}]`. Raises NotFound, or Conflict in Docker's words."""
        async with self._changing:
            planned = removal.plan(self.catalog, text, self.users(), force=force, prune=prune)
            return await self._carry_out(planned)

    async def _carry_out(self, planned: removal.Removal) -> Records:
        records = planned.records()
        chains = [image.chain_id for image_id in planned.delete if (image := self.catalog.get(image_id)) is not None]
        for name, image_id in planned.unname:
            await self.catalog.unname(name)
            self.on_event("untag", image_id, {"name": image_id})
        for image_id in planned.delete:
            await self.catalog.remove(image_id)
            self.on_event("delete", image_id, {"name": image_id})
        unused = [chain for chain in chains if chain is not None]
        if self._arriving:
            self._deferred.update(unused)
            return records
        gone = await self.layers.collect(self._roots(), unused)
        return records + [{"Deleted": chain_id} for chain_id in gone]

    async def prune(self, filters: Mapping[str, Iterable[str]] | None = None) -> dict[str, Any]:
        """`POST /images/prune`: unused dangling images, or with `dangling=false` all unused ones."""
        filters = filters or {}
        chosen = views.select(self.catalog, filters, prune=True)
        dangling_only = all(views.boolean("dangling", value) for value in filters.get("dangling", ()))
        async with self._changing:
            before = self.disk_usage()
            used = {user.image_id for user in self.users()}
            records: Records = []
            for image in sorted(chosen, key=lambda image: image.created, reverse=True):
                if image.id in used or self.catalog.get(image.id) is None or self.catalog.children(image.id):
                    continue
                if image.tags and dangling_only:
                    continue
                planned = removal.Removal([(name, image.id) for name in sorted(image.names)], [image.id])
                records += await self._carry_out(planned)
            if not self._arriving:
                await self.layers.collect(self._roots())
                await asyncio.to_thread(
                    self.snapshots.forget_unused_inits, set(self._roots()) | self.snapshots.chains_in_use()
                )
        return {"ImagesDeleted": records or None, "SpaceReclaimed": max(0, before - self.disk_usage())}

    async def collect(self) -> None:
        """Remove all layers that no image, snapshot or other root needs."""
        if not self._arriving:
            await self.layers.collect(self._roots())

    def _roots(self) -> Names:
        roots = [image.chain_id for image in self.catalog.all() if image.chain_id is not None]
        roots += self.snapshots.chains_in_use()
        roots += self._leases
        for extra in self.extra_roots:
            roots += extra()
        return roots

    @asynccontextmanager
    async def holding(self, chain_id: str | None) -> AsyncIterator[None]:
        """Keep a chain's layers while something is being made on top of them."""
        if chain_id is None:
            yield
            return
        self._leases[chain_id] = self._leases.get(chain_id, 0) + 1
        try:
            yield
        finally:
            self._leases[chain_id] -= 1
            if not self._leases[chain_id]:
                del self._leases[chain_id]

    @asynccontextmanager
    async def arriving(self) -> AsyncIterator[None]:
        """Nothing is collected while a pull or a load registers layers that no image has yet."""
        self._arriving += 1
        try:
            yield
        finally:
            self._arriving -= 1
            if not self._arriving and self._deferred:
                candidates, self._deferred = self._deferred, set()
                await self.layers.collect(self._roots(), candidates)


def _on_loop(progress: Progress) -> Progress:
    """Call `progress` on the event loop, from whatever thread."""
    loop = asyncio.get_running_loop()

    def tell(message: dict[str, Any]) -> None:
        loop.call_soon_threadsafe(progress, message)

    return tell


def _file_chunks(path: Path) -> Iterable[bytes]:
    with open(path, "rb") as file:
        while data := file.read(1 << 20):
            yield data


def parse_platform(text: str | None) -> tuple[str, str, str]:
    """`os/arch[/variant]`, or one of the first two; (os, architecture, variant)."""
    parts = (text or "").lower().split("/")
    if not parts[0]:
        return "linux", architecture(), ""
    if len(parts) == 1:
        return (parts[0], architecture(), "") if parts[0] in ("linux", "windows") else ("linux", parts[0], "")
    if len(parts) > 3 or not all(parts):
        raise InvalidParameter(f'"{text}": unknown operating system or architecture: invalid argument')
    names = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64"}
    return parts[0], names.get(parts[1], parts[1]), parts[2] if len(parts) == 3 else ""


def architecture() -> str:
    """This machine's, in Go's words."""
    import platform

    machine = platform.machine()
    return {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}.get(machine, machine)

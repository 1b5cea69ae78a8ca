"""Image archives: what `docker save` writes and `docker load` reads.

Two layouts in one tar: Docker's (`manifest.json`, Docker image specification v1.2) and OCI's (`oci-layout`,
`index.json`, `blobs/sha256/…`; OCI image layout specification). Both are read; what is written is both at
once, as Docker does since version 25. Reading takes one pass, whatever the order of the members: layers unpack
as they stream by, and small files are kept until the manifest says what they are.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from wherry.host.units import human_size

from .blobs import canonical_json
from .compression import decompress
from .compression import kind as compression_kind
from .errors import BadArchive, InvalidParameter
from .layers import Layer, LayerStore, Staged
from .manifests import CONFIG_OCI, INDEX_OCI, LAYER_OCI, MANIFEST_OCI, Descriptor, Index, Manifest, parse
from .manifests import read as read_manifest
from .references import Reference
from .rootdir import clean
from .tarstream import CHUNK, DIRECTORY, END, HARDLINK, REGULAR, SYMLINK, Entry, TarReader, encode_header, padding

Progress = Callable[[dict[str, Any]], None]

_SMALL = 8 << 20  # a manifest or a configuration larger than this is not one
_SMALL_TOTAL = 256 << 20
_MAX_DEPTH = 4  # of indexes in indexes


@dataclass
class Found:
    """One image in an archive: its configuration's bytes, its names as written, its layers' member names."""

    config: bytes
    names: list[str]
    layers: list[str]


@dataclass
class Contents:
    """What an archive held: staged layers by member name, and the small files."""

    staged: dict[str, Staged] = field(default_factory=dict)
    known: dict[str, Layer] = field(default_factory=dict)
    """Layers that were in the store already and not unpacked again."""
    files: dict[str, bytes] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    def layer(self, name: str) -> Staged | Layer:
        """Follow the links of old archives, where a layer that occurs twice is stored once."""
        for _ in range(len(self.links) + 1):
            if name in self.staged:
                return self.staged[name]
            if name in self.known:
                return self.known[name]
            if name not in self.links:
                break
            name = self.links[name]
        raise BadArchive(f"open {name}: no such file or directory")


def read(
    chunks: Iterable[bytes], store: LayerStore, known: Callable[[str], Layer | None], progress: Progress
) -> Contents:
    """Read an archive (plain or compressed), staging its layers. Blocks; on an error nothing stays staged.

    `known` gives the layer that is already in the store for a blob digest.
    """
    contents = Contents()
    try:
        reader = TarReader(decompress(chunks))
        kept = 0
        for entry in reader:
            name = os.fsdecode(clean(entry.name))
            if entry.type in (SYMLINK, HARDLINK):
                base = os.path.dirname(name) if entry.type == SYMLINK else ""
                contents.links[name] = os.path.normpath(os.path.join(base, os.fsdecode(entry.linkname)))
            elif entry.type == REGULAR:
                kept += _member(name, entry, reader, contents, store, known, progress)
                if kept > _SMALL_TOTAL:
                    raise BadArchive("archive holds too much that is no layer")
            elif entry.type != DIRECTORY:
                raise BadArchive(f"unexpected tar entry type {entry.type!r} for {name}")
        return contents
    except BaseException:
        discard(contents, store)
        raise


def discard(contents: Contents, store: LayerStore) -> None:
    for staged in contents.staged.values():
        store.discard(staged)


def _member(
    name: str,
    entry: Entry,
    reader: TarReader,
    contents: Contents,
    store: LayerStore,
    known: Callable[[str], Layer | None],
    progress: Progress,
) -> int:
    """Take one member in: a layer is staged, a small file kept. Gives the bytes kept in memory."""
    digest = name.removeprefix("blobs/sha256/") if name.startswith("blobs/sha256/") else None
    if digest is not None:
        layer = known(f"sha256:{digest}")
        if layer is not None:
            contents.known[name] = layer
            return 0
    hasher = hashlib.sha256() if digest is not None else None
    pieces = (_hashed(bytes(piece), hasher) for piece in reader.content())
    head = b""
    for piece in pieces:
        head += piece
        if len(head) >= 512:
            break
    if _is_layer(head):
        stream = _counted(chain([head], pieces), entry.size, name, progress)
        staged = store.stage(decompress(stream))
        contents.staged[name] = staged
        for _ in pieces:
            pass
    elif entry.size > _SMALL:
        raise BadArchive(f"{name} is neither a layer nor a manifest")
    else:
        contents.files[name] = head + b"".join(pieces)
    if hasher is not None and hasher.hexdigest() != digest:
        raise BadArchive(f"{name} does not have the digest that its name says")
    return len(contents.files.get(name, b""))


def _hashed(piece: bytes, hasher: Any) -> bytes:
    if hasher is not None:
        hasher.update(piece)
    return piece


def _is_layer(head: bytes) -> bool:
    if compression_kind(head[:6]) != "none":
        return True
    if len(head) < 512:
        return False
    block = head[:512]
    return block[257:262] == b"ustar" or not block.strip(b"\0")


def _counted(chunks: Iterable[bytes], total: int, name: str, progress: Progress) -> Iterator[bytes]:
    """Docker's progress messages of a layer that is being loaded, at most one per MiB."""
    shown = name.removeprefix("blobs/sha256/").split("/")[0][:12]
    done = reported = 0
    for chunk in chunks:
        done += len(chunk)
        if done - reported >= 1 << 20 or done == total:
            reported = done
            progress(
                {
                    "status": "Loading layer",
                    "progressDetail": {"current": done, "total": total},
                    "progress": progress_bar(done, total),
                    "id": shown,
                }
            )
        yield chunk


def progress_bar(current: int, total: int) -> str:
    """Docker's `[=====>    ]  1.2MB/3.4MB`."""
    if total <= 0:
        return human_size(current).rjust(8)
    percent = min(100, current * 100 // total)
    filled = percent // 2
    bar = "=" * filled + (">" if filled < 50 else "") + " " * (49 - filled)
    return f"[{bar}] {human_size(current).rjust(8)}/{human_size(total)}"


def images(contents: Contents, platform: tuple[str, str] | None = None) -> list[Found]:
    """The images that the archive's manifests name. Raises InvalidParameter for an archive that has none."""
    if "manifest.json" in contents.files:
        return _docker_images(contents)
    if "index.json" in contents.files:
        return _oci_images(contents, platform)
    raise InvalidParameter("open manifest.json: no such file or directory")


def _docker_images(contents: Contents) -> list[Found]:
    manifest = parse(contents.files["manifest.json"], "manifest.json")
    if not isinstance(manifest, list):
        raise InvalidParameter("invalid manifest: manifest.json is not a list")
    found = []
    for item in manifest:
        if not isinstance(item, dict):
            raise InvalidParameter("invalid manifest: manifest.json is not a list of objects")
        config_name = _normal(_strings([item.get("Config") or ""], "Config")[0])
        config = contents.files.get(config_name)
        if config is None:
            raise InvalidParameter(f"open {config_name}: no such file or directory")
        layers = [_normal(name) for name in _strings(item.get("Layers") or [], "Layers")]
        found.append(Found(config, _strings(item.get("RepoTags") or [], "RepoTags"), layers))
    return found


def _strings(value: Any, key: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InvalidParameter(f"invalid manifest: {key} is not what it must be")
    return list(value)


def _normal(name: str) -> str:
    return os.fsdecode(clean(name.encode("utf-8", "surrogateescape")))


def _oci_images(contents: Contents, platform: tuple[str, str] | None) -> list[Found]:
    found = []
    index = read_manifest(contents.files["index.json"], INDEX_OCI, "index.json")
    if not isinstance(index, Index):
        raise InvalidParameter("invalid index.json: it is no index")
    for descriptor in index.manifests:
        annotations = descriptor.annotations
        name = annotations.get("io.containerd.image.name") or annotations.get("org.opencontainers.image.ref.name")
        manifest = _manifest(contents, descriptor, platform)
        if manifest is None:
            continue
        config = _blob(contents, manifest.config.digest)
        layers = [_blob_name(layer.digest) for layer in manifest.layers]
        # A bare tag ("latest") is what tools write who have no repository; it names nothing here.
        names = [name] if isinstance(name, str) and (":" in name or "/" in name) else []
        found.append(Found(config, names, layers))
    return found


def _manifest(
    contents: Contents, descriptor: Descriptor, platform: tuple[str, str] | None, depth: int = 0
) -> Manifest | None:
    document = read_manifest(_blob(contents, descriptor.digest), descriptor.media_type, descriptor.digest)
    if isinstance(document, Manifest):
        return document
    if depth > _MAX_DEPTH:
        raise InvalidParameter(f"index {descriptor.digest} is nested too deeply")
    for inner in document.manifests:
        its = inner.platform
        wanted = platform is None or (its.get("os"), its.get("architecture")) == platform
        # Archives may hold one platform of several: the others are listed and absent.
        if wanted and _blob_name(inner.digest) in contents.files:
            return _manifest(contents, inner, platform, depth + 1)
    return None


def _blob_name(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/", 1)


def _blob(contents: Contents, digest: str) -> bytes:
    data = contents.files.get(_blob_name(digest))
    if data is None:
        raise InvalidParameter(f"open {_blob_name(digest)}: no such file or directory")
    return data


@dataclass
class Saved:
    """One image to write: its configuration's bytes, its layers bottom first, the references that name it."""

    config: bytes
    layers: list[Layer]
    references: list[Reference]
    created: int


def write(saved: list[Saved], store: LayerStore) -> Iterator[bytes]:
    """The archive of `docker save`, as a stream. Blocks."""
    written: set[str] = set()
    yield _directory("blobs/") + _directory("blobs/sha256/")
    descriptors: list[dict[str, Any]] = []
    items: list[dict[str, Any]] = []
    repositories: dict[str, dict[str, str]] = {}
    for image in saved:
        for layer in image.layers:
            yield from _layer_member(layer, store, written)
        config_digest = _sha256(image.config)
        yield from _blob_member(image.config, written)
        layers = [{"mediaType": LAYER_OCI, "digest": layer.diff_id, "size": layer.tar_size} for layer in image.layers]
        manifest = canonical_json(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST_OCI,
                "config": {"mediaType": CONFIG_OCI, "digest": config_digest, "size": len(image.config)},
                "layers": layers,
            }
        )
        yield from _blob_member(manifest, written)
        descriptor = {"mediaType": MANIFEST_OCI, "digest": _sha256(manifest), "size": len(manifest)}
        tags = [reference for reference in image.references if reference.tag]
        descriptors += [
            descriptor
            | {
                "annotations": {
                    "io.containerd.image.name": str(reference),
                    "org.opencontainers.image.ref.name": str(reference.tag),
                }
            }
            for reference in tags
        ] or [descriptor]
        items.append(
            {
                "Config": _blob_name(config_digest),
                "RepoTags": [reference.familiar for reference in tags] or None,
                "Layers": [_blob_name(layer.diff_id) for layer in image.layers],
            }
        )
        for reference in tags:
            top = image.layers[-1].diff_id if image.layers else config_digest
            repositories.setdefault(reference.familiar_name, {})[reference.tag or ""] = top.removeprefix("sha256:")
    index = {"schemaVersion": 2, "mediaType": INDEX_OCI, "manifests": descriptors}
    yield _file("index.json", canonical_json(index))
    yield _file("manifest.json", canonical_json(items))
    yield _file("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
    if repositories:
        yield _file("repositories", canonical_json(repositories))
    yield END


def _layer_member(layer: Layer, store: LayerStore, written: set[str]) -> Iterator[bytes]:
    if layer.diff_id in written:
        return
    written.add(layer.diff_id)
    yield encode_header(Entry(_blob_name(layer.diff_id).encode(), size=layer.tar_size))
    pending: list[bytes] = []
    size = 0
    for piece in store.tar_stream(layer):
        pending.append(piece)
        size += len(piece)
        if size >= CHUNK:
            yield b"".join(pending)
            pending.clear()
            size = 0
    yield b"".join(pending) + padding(layer.tar_size)


def _blob_member(data: bytes, written: set[str]) -> Iterator[bytes]:
    digest = _sha256(data)
    if digest not in written:
        written.add(digest)
        yield _file(_blob_name(digest), data)


def _file(name: str, data: bytes) -> bytes:
    return encode_header(Entry(name.encode(), size=len(data))) + data + padding(len(data))


def _directory(name: str) -> bytes:
    return encode_header(Entry(name.encode(), DIRECTORY, 0o755))


def _sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()

"""Manifests, indexes and image configurations, checked before anything believes them.

They come from strangers: every field that is used has the type it must have here, every digest is one, every size
is a size. Specified in the OCI image specification (manifest, index, config) and Docker's "Image Manifest Version
2, Schema 2". Errors are InvalidParameter and name what is wrong.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any

from .errors import InvalidParameter

MANIFEST_OCI = "application/vnd.oci.image.manifest.v1+json"
INDEX_OCI = "application/vnd.oci.image.index.v1+json"
CONFIG_OCI = "application/vnd.oci.image.config.v1+json"
LAYER_OCI = "application/vnd.oci.image.layer.v1.tar"
MANIFEST_DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
INDEX_DOCKER = "application/vnd.docker.distribution.manifest.list.v2+json"
CONFIG_DOCKER = "application/vnd.docker.container.image.v1+json"
LAYER_DOCKER = "application/vnd.docker.image.rootfs.diff.tar.gzip"

ACCEPT = [MANIFEST_DOCKER, MANIFEST_OCI, INDEX_DOCKER, INDEX_OCI]
"""What a registry is asked for."""

MAX_LAYERS = 1000
"""More would not fit the mount options, and no builder makes them."""

_INDEXES = (INDEX_OCI, INDEX_DOCKER)
_DIGEST = re.compile(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[0-9a-fA-F]{32,}")
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Descriptor:
    """A pointer to a blob: its digest and its size in bytes. `platform` is empty when it says none."""

    digest: str
    size: int
    media_type: str = ""
    platform: dict[str, Any] = field(default_factory=dict)
    annotations: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """One image: its configuration and its layers, bottom first."""

    media_type: str
    config: Descriptor
    layers: list[Descriptor]


@dataclass(frozen=True)
class Index:
    """Several images: one a platform, or one a name."""

    media_type: str
    manifests: list[Descriptor]

    def choose(self, system: str, architecture: str, variant: str = "") -> Descriptor | None:
        """The first manifest for a platform; a variant that nobody asked for does not matter."""
        for item in self.manifests:
            its = item.platform
            if its.get("os") != system or its.get("architecture") != architecture:
                continue
            if not variant or (its.get("variant") or "") == variant:
                return item
        return None


def read(data: bytes, media_type: str = "", name: str = "manifest") -> Manifest | Index:
    """Of the bytes of a manifest; `media_type` is what the registry called it, `name` what errors call it."""
    document = _object(parse(data, name), name)
    if document.get("schemaVersion") == 1:
        raise InvalidParameter(
            "Docker Image Format v1 and Docker Image manifest version 2, schema 1 support has been removed: "
            "suggest the author of the image to upgrade it to the OCI Format"
        )
    kind = document.get("mediaType") or media_type
    if not isinstance(kind, str):
        raise InvalidParameter(f"invalid {name}: mediaType is not a string")
    if "manifests" in document and "config" in document:
        raise InvalidParameter(f"invalid {name}: it is an index and a manifest at once")
    if kind in _INDEXES or "manifests" in document:
        return Index(kind, [_descriptor(item, name) for item in _list(document, "manifests", name)])
    if "config" not in document or "layers" not in document:
        raise InvalidParameter(
            f"invalid {name}: it has no {'layers' if 'config' in document else 'config'} "
            f"(unsupported manifest media type {media_type or 'none'})"
        )
    layers = [_descriptor(item, name) for item in _list(document, "layers", name)]
    if len(layers) > MAX_LAYERS:
        raise InvalidParameter(f"invalid {name}: more than {MAX_LAYERS} layers")
    return Manifest(kind, _descriptor(document["config"], name), layers)


def read_config(data: bytes, name: str = "image configuration") -> dict[str, Any]:
    """An image's configuration as a dict in which every field that the store, the engine and the builder read has
    its type. Raises InvalidParameter."""
    document = _object(parse(data, name), name)
    rootfs = document.get("rootfs")
    if not isinstance(rootfs, dict):
        raise InvalidParameter(f"invalid {name}: it has no rootfs")
    for diff_id in _list(rootfs, "diff_ids", name):
        if not isinstance(diff_id, str) or not _SHA256.fullmatch(diff_id):
            raise InvalidParameter(f"invalid {name}: {diff_id!r} is no diff id")
    for key in ("architecture", "os", "variant", "created", "author"):
        if document.get(key) is not None and not isinstance(document[key], str):
            raise InvalidParameter(f"invalid {name}: {key} is not a string")
    for step in _list(document, "history", name):
        _object(step, f"{name}: history")
    config = document.get("config")
    if config is not None:
        _container(_object(config, f"{name}: config"), name)
    return document


_STRINGS = ("User", "WorkingDir", "StopSignal", "Hostname", "Domainname", "Image")
_STRING_LISTS = ("Env", "Cmd", "Entrypoint", "OnBuild", "Shell")
_OBJECTS = ("Volumes", "ExposedPorts", "Labels", "Healthcheck")


def _container(config: dict[str, Any], name: str) -> None:
    for key in _STRINGS:
        if config.get(key) is not None and not isinstance(config[key], str):
            raise InvalidParameter(f"invalid {name}: config.{key} is not a string")
    for key in _STRING_LISTS:
        if not all(isinstance(item, str) for item in _list(config, key, name)):
            raise InvalidParameter(f"invalid {name}: config.{key} is not a list of strings")
    for key in _OBJECTS:
        if config.get(key) is not None:
            _object(config[key], f"{name}: config.{key}")
    for key, value in (config.get("Labels") or {}).items():
        if not isinstance(value, str):
            raise InvalidParameter(f"invalid {name}: label {key} is not a string")


def parse(data: bytes, name: str) -> Any:
    """JSON, whatever it holds."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidParameter(f"invalid {name}: {error}") from None


def check_digest_form(digest: object, name: str = "digest") -> str:
    """`digest` if it has the form of one: it names files and paths of URLs."""
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise InvalidParameter(f"invalid {name}: {digest!r} is no digest")
    if digest.startswith("sha256:") and not _SHA256.fullmatch(digest):
        raise InvalidParameter(f"invalid {name}: {digest!r} is no digest (invalid checksum digest length)")
    return digest


def _descriptor(value: Any, name: str) -> Descriptor:
    value = _object(value, f"{name}: descriptor")
    digest = check_digest_form(value.get("digest"), name)
    size = value.get("size", 0)
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise InvalidParameter(f"invalid {name}: size {size!r} of {digest}")
    media_type = value.get("mediaType") or ""
    if not isinstance(media_type, str):
        raise InvalidParameter(f"invalid {name}: mediaType of {digest} is not a string")
    platform = _object(value.get("platform") or {}, f"{name}: platform of {digest}")
    annotations = _object(value.get("annotations") or {}, f"{name}: annotations of {digest}")
    return Descriptor(digest, size, media_type, platform, annotations)


def _object(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidParameter(f"invalid {name}: it is not an object")
    return value


def _list(document: dict[str, Any], key: str, name: str) -> list[Any]:
    value = document.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidParameter(f"invalid {name}: {key} is not a list")
    return value

"""Images in the shapes of Docker's API (v1.50): list, inspect, history."""

import fnmatch
import re
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from wherry.host.units import moment

from .catalog import Catalog, Image
from .errors import InvalidParameter
from .layers import LayerStore
from .references import parse_reference

_KNOWN_FILTERS = ("dangling", "label", "label!", "before", "since", "reference", "until")


def seconds(created: str) -> int:
    """Unix time of an RFC 3339 time with any number of digits; 0 for what is not one, as Go's zero time."""
    match = re.fullmatch(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d)", created)
    if not match:
        return 0
    parsed = datetime(*(int(part) for part in match.groups()[:6]), tzinfo=UTC)  # type: ignore[misc,arg-type]
    offset = 0
    if match[7] != "Z":
        offset = (int(match[7][1:3]) * 60 + int(match[7][4:6])) * 60 * (-1 if match[7][0] == "-" else 1)
    return int(parsed.timestamp()) - offset


def inspect(image: Image, layers: LayerStore) -> dict[str, Any]:
    """`GET /images/{name}/json`."""
    config = image.config
    stack = layers.stack(image.chain_id)
    directories = [str(layers.fs(chain.layer)) for chain in stack]
    data: dict[str, Any] = {}
    if directories:
        data["UpperDir"] = directories[0]
        if directories[1:]:
            data["LowerDir"] = ":".join(directories[1:])
    found: dict[str, Any] = {
        "Id": image.id,
        "RepoTags": image.tags,
        "RepoDigests": image.repo_digests,
        "Parent": image.parent or "",
        "Comment": (config.get("history") or [{}])[-1].get("comment", "") or config.get("comment", ""),
        "Created": image.created,
        "DockerVersion": config.get("docker_version", ""),
        "Author": config.get("author", ""),
        "Config": image.container_config,
        "Architecture": config.get("architecture", ""),
        "Os": config.get("os", ""),
        "Size": sum(chain.layer.size for chain in stack),
        "GraphDriver": {"Data": data, "Name": "overlay2"},
        "RootFS": {"Type": "layers", "Layers": image.diff_ids} if image.diff_ids else {"Type": "layers"},
        "Metadata": {"LastTagTime": image.tagged or "0001-01-01T00:00:00Z"},
    }
    for key, name in (("variant", "Variant"), ("os.version", "OsVersion")):
        if config.get(key):
            found[name] = config[key]
    return found


def history(image: Image, layers: LayerStore, catalog: Catalog) -> list[dict[str, Any]]:
    """`GET /images/{name}/history`, newest first."""
    sizes = [chain.layer.size for chain in reversed(layers.stack(image.chain_id))]
    rows: list[dict[str, Any]] = []
    at = 0
    for step in image.config.get("history") or []:
        size = 0
        if not step.get("empty_layer") and at < len(sizes):
            size = sizes[at]
            at += 1
        rows.append(
            {
                "Comment": step.get("comment", ""),
                "Created": seconds(step.get("created") or ""),
                "CreatedBy": step.get("created_by", ""),
                "Id": "<missing>",
                "Size": size,
                "Tags": None,
            }
        )
    rows.reverse()
    current: Image | None = image
    for row in rows:
        if current is None:
            break
        row["Id"] = current.id
        row["Tags"] = current.tags or None
        current = catalog.get(current.parent) if current.parent else None
    return rows


def summaries(
    catalog: Catalog,
    layers: LayerStore,
    filters: Mapping[str, Iterable[str]],
    *,
    all_images: bool = False,
    shared_size: bool = False,
    containers: Mapping[str, int] | None = None,
) -> list[dict[str, Any]]:
    """`GET /images/json`. `containers` counts the containers of each image id; without it the field is -1.

    Raises InvalidParameter for an unknown filter or a value that is none.
    """
    chosen = select(catalog, filters)
    references = list(filters.get("reference", ()))
    parents = {image.parent for image in catalog.all() if image.parent}
    found: list[dict[str, Any]] = []
    for image in chosen:
        tags, digests = image.tags, image.repo_digests
        if references:
            tags = [tag for tag in tags if any(_matches(pattern, tag) for pattern in references)]
            digests = [name for name in digests if any(_matches(pattern, name) for pattern in references)]
            if not tags and not digests:
                continue
        if not tags and not digests and not all_images and image.id in parents:
            continue
        found.append(
            {
                "Containers": containers.get(image.id, 0) if containers is not None else -1,
                "Created": seconds(image.created),
                "Id": image.id,
                "Labels": image.container_config.get("Labels"),
                "ParentId": image.parent or "",
                "RepoDigests": digests,
                "RepoTags": tags,
                "SharedSize": -1,
                "Size": layers.size(image.chain_id),
            }
        )
    if shared_size:
        _shared_sizes(found, catalog, layers)
    found.sort(key=lambda row: row["Created"], reverse=True)
    return found


def _shared_sizes(rows: list[dict[str, Any]], catalog: Catalog, layers: LayerStore) -> None:
    users: dict[str, int] = {}
    for image in catalog.all():
        for chain in layers.stack(image.chain_id):
            users[chain.chain_id] = users.get(chain.chain_id, 0) + 1
    for row in rows:
        image_found = catalog.get(row["Id"])
        stack = layers.stack(image_found.chain_id) if image_found else []
        row["SharedSize"] = sum(chain.layer.size for chain in stack if users[chain.chain_id] > 1)


def select(catalog: Catalog, filters: Mapping[str, Iterable[str]], *, prune: bool = False) -> list[Image]:
    """The images that pass `dangling`, `label`, `before`, `since` and `until`."""
    known = ("dangling", "label", "label!", "until") if prune else _KNOWN_FILTERS
    for name in filters:
        if name not in known:
            raise InvalidParameter(f"invalid filter '{name}'")
    images = catalog.all()
    for value in filters.get("before", ()):
        limit = seconds(catalog.resolve(value).created)
        images = [image for image in images if seconds(image.created) < limit]
    for value in filters.get("since", ()):
        limit = seconds(catalog.resolve(value).created)
        images = [image for image in images if seconds(image.created) > limit]
    for value in filters.get("until", ()):
        try:
            newest = moment(value, time.time())
        except ValueError:
            raise InvalidParameter(f"invalid filter 'until=[{value}]'") from None
        images = [image for image in images if seconds(image.created) < newest]
    for value in filters.get("label", ()):
        images = [image for image in images if _labelled(image, value)]
    for value in filters.get("label!", ()):
        images = [image for image in images if not _labelled(image, value)]
    if not prune:
        for value in filters.get("dangling", ()):
            wanted = boolean("dangling", value)
            parents = {image.parent for image in images if image.parent}
            images = [image for image in images if (not image.names and image.id not in parents) == wanted]
    return images


def boolean(name: str, value: str) -> bool:
    if value in ("1", "true"):
        return True
    if value in ("0", "false"):
        return False
    raise InvalidParameter(f"invalid filter '{name}=[{value}]'")


def _labelled(image: Image, wanted: str) -> bool:
    labels = image.container_config.get("Labels") or {}
    key, separator, value = wanted.partition("=")
    return key in labels and (not separator or labels[key] == value)


def _matches(pattern: str, name: str) -> bool:
    """Go's path.Match on the whole familiar reference, or on its name without the tag."""
    reference = parse_reference(name)
    return any(
        fnmatch.fnmatchcase(candidate.replace("/", "\0"), pattern.replace("/", "\0"))
        and candidate.count("/") == pattern.count("/")
        for candidate in (name, reference.familiar_name)
    )

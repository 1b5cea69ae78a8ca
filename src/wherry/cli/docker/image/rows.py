"""An image of the API's list as rows of `docker images`."""

from __future__ import annotations

from wherry.cli.docker.listing import Struct
from wherry.cli.format.units import ago, go_time, human_size

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from typing import Any

COLUMNS = ["Repository", "Tag", "ID", "CreatedSince", "Size"]
HEADERS = {
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "Digest": "DIGEST",
    "ID": "IMAGE ID",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "Size": "SIZE",
    "Containers": "CONTAINERS",
    "VirtualSize": "SIZE",
    "SharedSize": "SHARED SIZE",
    "UniqueSize": "UNIQUE SIZE",
}
JSON_NAMES = list(HEADERS)


class Row(Struct):
    type_name = "*formatter.imageContext"


def image_rows(item: dict[str, Any], whole: bool, digests: bool) -> list[Row]:
    """One row per tag; with `digests` per tag and digest; one of `<none>` for an image without names."""
    tags: dict[str, list[str]] = {}
    for reference in item.get("RepoTags") or []:
        repository, _, tag = reference.rpartition(":")
        if reference != "<none>:<none>":
            tags.setdefault(repository, []).append(tag)
    known: dict[str, list[str]] = {}
    for reference in item.get("RepoDigests") or []:
        repository, _, digest = reference.partition("@")
        if repository != "<none>":
            known.setdefault(repository, []).append(digest)
    rows: list[Row] = []
    for repository, names in tags.items():
        found = known.pop(repository, [])
        if not digests or not found:
            rows += [_row(item, whole, repository, tag, "<none>") for tag in names]
        else:
            rows += [_row(item, whole, repository, tag, digest) for digest in found for tag in names]
    for repository, found in known.items():
        if digests:
            rows += [_row(item, whole, repository, "<none>", digest) for digest in found]
        else:
            rows.append(_row(item, whole, repository, "<none>", "<none>"))
    return rows or [_row(item, whole, "<none>", "<none>", "<none>")]


def _row(item: dict[str, Any], whole: bool, repository: str, tag: str, digest: str) -> Row:
    def size(name: str) -> str:
        value = item.get(name, -1)
        return "N/A" if value is None or value < 0 else human_size(value)

    containers = item.get("Containers", -1)
    return Row(
        Repository=repository,
        Tag=tag,
        Digest=digest,
        ID=item["Id"] if whole else item["Id"].removeprefix("sha256:")[:12],
        CreatedSince=lambda: ago(item["Created"]) or "N/A",
        CreatedAt=lambda: go_time(item["Created"]),
        Size=lambda: human_size(item["Size"], 3),
        Containers="N/A" if containers < 0 else str(containers),
        VirtualSize=lambda: human_size(item["Size"]),
        SharedSize=lambda: size("SharedSize"),
        UniqueSize=lambda: "N/A" if item.get("SharedSize", -1) < 0 else human_size(item["Size"] - item["SharedSize"]),
    )

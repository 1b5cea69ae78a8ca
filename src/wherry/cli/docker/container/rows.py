"""A container of the API's list as a row of `docker ps`."""

from __future__ import annotations

from wherry.cli.docker.listing import Struct
from wherry.cli.format.units import ago, ellipsis, go_time, human_size

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from typing import Any

COLUMNS = ["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"]
HEADERS = {
    "ID": "CONTAINER ID",
    "Names": "NAMES",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "CreatedAt": "CREATED AT",
    "RunningFor": "CREATED",
    "Ports": "PORTS",
    "State": "STATE",
    "Status": "STATUS",
    "Size": "SIZE",
    "Labels": "LABELS",
    "Mounts": "MOUNTS",
    "LocalVolumes": "LOCAL VOLUMES",
    "Networks": "NETWORKS",
    "Platform": "PLATFORM",
}
JSON_NAMES = list(HEADERS)


class Row(Struct):
    type_name = "*formatter.ContainerContext"


def container_row(item: dict[str, Any], whole: bool) -> Row:
    """`item` as `--format` sees it; `whole` shows ids and commands uncut."""
    labels = item.get("Labels") or {}
    mounts = item.get("Mounts") or []
    names = [name.removeprefix("/") for name in item.get("Names") or [] if whole or name.count("/") == 1]
    return Row(
        ID=item["Id"] if whole else item["Id"][:12],
        Names=",".join(names),
        Image=lambda: _image(item, whole),
        Command=lambda: _command(item["Command"], whole),
        CreatedAt=lambda: go_time(item["Created"]),
        RunningFor=lambda: ago(item["Created"]),
        Ports=lambda: ports_text(item.get("Ports") or []),
        State=item["State"],
        Status=item["Status"],
        Size=lambda: _size(item),
        Labels=lambda: ",".join(f"{key}={labels[key]}" for key in sorted(labels)),
        Label=lambda name: labels.get(name, ""),
        Mounts=lambda: ",".join(_mount(mount, whole) for mount in mounts),
        LocalVolumes=lambda: str(sum(1 for mount in mounts if mount.get("Driver") == "local")),
        Networks=lambda: ",".join(sorted((item.get("NetworkSettings") or {}).get("Networks") or {})),
        Platform=None,
    )


def _image(item: dict[str, Any], whole: bool) -> str:
    image: str = item.get("Image") or "<no image>"
    if whole:
        return image
    if image == item.get("ImageID"):
        return image.removeprefix("sha256:")[:12]
    return image.partition("@")[0] if "@" in image else image


def _command(command: str, whole: bool) -> str:
    from wherry.cli.format.gojson import quote

    return quote(command if whole else ellipsis(command, 20), escape_html=False)


def _size(item: dict[str, Any]) -> str:
    written = human_size(item.get("SizeRw") or 0, 3)
    root = item.get("SizeRootFs") or 0
    return f"{written} (virtual {human_size(root, 3)})" if root else written


def _mount(mount: dict[str, Any], whole: bool) -> str:
    name: str = mount.get("Name") or mount.get("Source") or ""
    return name if whole else ellipsis(name, 15)


def ports_text(ports: list[dict[str, Any]]) -> str:
    """`0.0.0.0:80-81->8080-8081/tcp, 443/tcp`: neighbours are joined into ranges."""
    groups: dict[str, list[int]] = {}
    published: list[str] = []
    lines: list[str] = []
    ordered = sorted(
        ports, key=lambda port: (port["PrivatePort"], port.get("IP", ""), port.get("PublicPort", 0), port["Type"])
    )
    for port in ordered:
        private, kind = port["PrivatePort"], port["Type"]
        key = kind
        if port.get("IP"):
            public = port["PublicPort"]
            if public != private:
                published.append(f"{_host(port['IP'])}:{public}->{private}/{kind}")
                continue
            key = f"{port['IP']}/{kind}"
        span = groups.get(key)
        if span and private == span[1] + 1:
            span[1] = private
        elif span is None:
            groups[key] = [private, private]
        elif private != span[1]:
            lines.append(_span(key, *span))
            groups[key] = [private, private]
    lines += [_span(key, *span) for key, span in groups.items()]
    lines.sort(key=lambda text: (_first_port(text), text))
    return ", ".join(lines + published)


def _first_port(text: str) -> int:
    tail = text.rpartition("->")[2].partition("/")[0].partition("-")[0]
    return int(tail)


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _span(key: str, start: int, end: int) -> str:
    address, slash, kind = key.rpartition("/")
    ports = str(start) if start == end else f"{start}-{end}"
    return f"{_host(address)}:{ports}->{ports}/{kind}" if slash else f"{ports}/{kind}"

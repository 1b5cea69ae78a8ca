"""Containers as `GET /containers/json` lists them: filters, order, and the words of the STATUS column."""

import asyncio
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from wherry.engine import inspect, mountpoints
from wherry.engine.errors import InvalidParameter, NotFound
from wherry.engine.filters import Filters
from wherry.engine.model import Container, parse_timestamp
from wherry.host.units import human_duration, moment

if TYPE_CHECKING:
    from wherry.engine.containers import Containers

ACCEPTED = frozenset(
    [
        "ancestor",
        "before",
        "exited",
        "expose",
        "health",
        "id",
        "isolation",
        "is-task",
        "label",
        "name",
        "network",
        "publish",
        "since",
        "status",
        "volume",
    ]
)
_STATUSES = frozenset({"created", "restarting", "running", "removing", "paused", "exited", "dead"})
_HEALTHS = frozenset({"starting", "healthy", "unhealthy", "none"})


async def listing(
    containers: "Containers", filters: Filters, *, all_containers: bool, limit: int, size: bool
) -> list[dict[str, Any]]:
    """Newest first. Raises InvalidParameter for a filter that is not known or has an impossible value."""
    filters.validate(ACCEPTED)
    _check(filters)
    found = sorted(containers.all(), key=lambda item: item.record.created, reverse=True)
    found = _between(containers, filters, found)
    if not all_containers and limit <= 0 and "status" not in filters and "exited" not in filters:
        found = [item for item in found if item.state.running]
    ancestors = _ancestors(containers, filters)
    chosen = []
    for item in found:
        if _matches(containers, filters, item, ancestors):
            chosen.append(item)
            if 0 < limit == len(chosen):
                break
    now = time.time()
    names = _image_names(containers, chosen)
    result = [summary(containers, item, now, names) for item in chosen]
    if size:
        sizes = await asyncio.to_thread(lambda: [containers.sizes(item) for item in chosen])
        for shown, (written, total) in zip(result, sizes, strict=True):
            shown["SizeRw"], shown["SizeRootFs"] = written, total
    return result


def summary(containers: "Containers", container: Container, now: float, names: dict[str, str]) -> dict[str, Any]:
    """One row, as the API shows it. `names` gives what to call an image id whose name has moved on."""
    record = container.record
    settings = inspect.network_settings(containers, container)
    host: dict[str, Any] = {"NetworkMode": record.host_config["NetworkMode"]}
    if record.host_config.get("Annotations"):
        host["Annotations"] = record.host_config["Annotations"]
    return {
        "Id": record.id,
        "Names": [f"/{record.name}"],
        "Image": names.get(record.id, record.config["Image"]),
        "ImageID": record.image_id,
        "Command": _command(record.path, record.args),
        "Created": int(parse_timestamp(record.created)),
        "Ports": _ports(container, settings),
        "Labels": record.config["Labels"],
        "State": container.state.status,
        "Status": status_text(container, now),
        "HostConfig": host,
        "NetworkSettings": {"Networks": settings.get("Networks") or {}},
        "Mounts": [shown for point in record.mounts if (shown := mountpoints.shown(point)) is not None],
    }


def status_text(container: Container, now: float) -> str:
    """`Up 5 minutes (healthy)`, `Exited (0) 2 hours ago`, `Created`…"""
    state = container.state
    if state.status in ("running", "paused"):
        text = f"Up {human_duration(now - parse_timestamp(state.started_at))}"
        if state.status == "paused":
            return f"{text} (Paused)"
        health = (state.health or {}).get("Status", "none")
        if health == "starting":
            return f"{text} (health: starting)"
        return text if health == "none" else f"{text} ({health})"
    ago = human_duration(now - parse_timestamp(state.finished_at))
    if state.status == "restarting":
        return f"Restarting ({state.exit_code}) {ago} ago"
    if state.status == "removing":
        return "Removal In Progress"
    if state.status == "dead":
        return "Dead"
    if not container.record.started_before:
        return "Created"
    return f"Exited ({state.exit_code}) {ago} ago"


def created(container: Container) -> float:
    """Seconds since 1970."""
    return parse_timestamp(container.record.created)


def until(filters: Filters) -> float | None:
    """The `until` filter of a prune: seconds since 1970. Takes a time stamp, RFC 3339, or a Go duration (`10m`)."""
    text = filters.one("until")
    if text is None:
        return None
    try:
        return moment(text, time.time())
    except ValueError:
        raise InvalidParameter(f"invalid filter 'until={text}'") from None


def _check(filters: Filters) -> None:
    for value in filters.get("status", ()):
        if value not in _STATUSES:
            raise InvalidParameter(
                f"invalid filter 'status={value}': invalid value for state ({value}): must be one of created, running, "
                "paused, restarting, removing, exited, dead"
            )
    for value in filters.get("health", ()):
        if value not in _HEALTHS:
            raise InvalidParameter(
                f"invalid filter 'health={value}': invalid value for health ({value}): must be one of none, starting, "
                "healthy, unhealthy"
            )
    for value in filters.get("exited", ()):
        if not value.lstrip("-").isdigit():
            raise InvalidParameter(f"invalid filter 'exited={value}'")


def _between(containers: "Containers", filters: Filters, found: list[Container]) -> list[Container]:
    for key, later in (("before", False), ("since", True)):
        reference = filters.one(key)
        if reference is not None:
            mark = containers.get(reference).record.created
            found = [item for item in found if (item.record.created > mark if later else item.record.created < mark)]
    return found


def _ancestors(containers: "Containers", filters: Filters) -> set[str] | None:
    if "ancestor" not in filters:
        return None
    wanted = set()
    images = containers.engine.images
    for reference in filters["ancestor"]:
        image = images.find(reference)
        if image is not None:
            wanted.add(image.id)
    return wanted


def _matches(containers: "Containers", filters: Filters, container: Container, ancestors: set[str] | None) -> bool:
    record, state = container.record, container.state
    health = (state.health or {}).get("Status", "none")
    if not (
        filters.fuzzy("id", record.id)
        and (filters.match("name", record.name) or filters.match("name", f"/{record.name}"))
        and filters.labels(record.config["Labels"])
        and filters.exact("status", state.status)
        and filters.exact("health", health)
    ):
        return False
    if filters.get("exited") and (
        state.running or not record.started_before or str(state.exit_code) not in filters["exited"]
    ):
        return False
    if ancestors is not None and record.image_id not in ancestors:
        return False
    if filters.get("is-task") and filters.boolean("is-task"):
        return False
    if filters.get("volume"):
        places = {str(point.get("Name") or "") for point in record.mounts}
        places |= {str(point["Destination"]) for point in record.mounts}
        places |= {str(point["Source"]) for point in record.mounts}
        if not places & set(filters["volume"]):
            return False
    if filters.get("network") and not _on_network(containers, filters, container):
        return False
    if not (filters.get("expose") or filters.get("publish")):
        return True
    # As Docker: either is enough, and only what runs has ports.
    published, exposed = (_wanted_ports(filters.get(key) or ()) for key in ("publish", "expose"))
    return any(
        (port.get("PublicPort"), port["Type"]) in published or (port["PrivatePort"], port["Type"]) in exposed
        for port in _ports(container, inspect.network_settings(containers, container))
    )


def _on_network(containers: "Containers", filters: Filters, container: Container) -> bool:
    mine = inspect.network_settings(containers, container).get("Networks") or {}
    ids = {str(endpoint.get("NetworkID") or "") for endpoint in mine.values()}
    for name in mine:
        try:
            ids.add(containers.engine.networks.resolve(name).id)
        except NotFound:
            continue
    return any(
        wanted in mine or any(identity and identity.startswith(wanted) for identity in ids)
        for wanted in filters["network"]
    )


def _wanted_ports(wanted: Iterable[str]) -> set[tuple[int | None, str]]:
    """`80`, `80/udp`, `8000-8010` as (number, protocol). Raises InvalidParameter."""
    found: set[tuple[int | None, str]] = set()
    for text in wanted:
        numbers, _, protocol = text.partition("/")
        low, _, high = numbers.partition("-")
        if not (low.isdecimal() and (high or low).isdecimal() and int(low) <= int(high or low) < 65536):
            raise InvalidParameter(f"invalid filter: port {text} is not a number or a range")
        found |= {(number, protocol or "tcp") for number in range(int(low), int(high or low) + 1)}
    return found


def _image_names(containers: "Containers", chosen: list[Container]) -> dict[str, str]:
    """Container id → image id, for those whose image's name now means another image."""
    images = containers.engine.images
    current: dict[str, str | None] = {}
    result = {}
    for item in chosen:
        name = item.record.config["Image"]
        if name not in current:
            image = images.find(name)
            current[name] = image.id if image is not None else None
        if current[name] != item.record.image_id:
            result[item.id] = item.record.image_id
    return result


def _command(path: str, args: list[str]) -> str:
    quoted = [f"'{argument}'" if " " in argument else argument for argument in args]
    return " ".join([path, *quoted])


def _ports(container: Container, settings: dict[str, Any]) -> list[dict[str, Any]]:
    if not container.state.alive:
        return []
    result = []
    for port, bindings in (settings.get("Ports") or {}).items():
        number, _, protocol = port.partition("/")
        if not bindings:
            result.append({"PrivatePort": int(number), "Type": protocol or "tcp"})
            continue
        for binding in bindings:
            result.append(
                {
                    "IP": binding.get("HostIp", ""),
                    "PrivatePort": int(number),
                    "PublicPort": int(binding.get("HostPort") or 0),
                    "Type": protocol or "tcp",
                }
            )
    return result

"""What a restarted kubelet takes from a pod's status in the API. Pure.

The engine knows the containers; only the API knows whether they were ready, and of containers that are gone from the
engine altogether.
"""

from collections.abc import Iterable, Iterator, Sequence

from wherry.node import pods
from wherry.node.state import ContainerView
from wherry.schema.resource import Object


def still_true(pod: Object, views: Iterable[ContainerView]) -> tuple[set[str], set[str]]:
    """(started, ready): ids of running containers of which the status says so."""
    known = {_id(entry): entry for entry in _statuses(pod)}
    started: set[str] = set()
    ready: set[str] = set()
    for view in views:
        entry = known.get(view.id)
        if not view.running or entry is None:
            continue
        if entry.get("started"):
            started.add(view.id)
        if entry.get("ready"):
            ready.add(view.id)
    return started, ready


def lost(pod: Object, views: Sequence[ContainerView], sandbox: str, now: float) -> list[ContainerView]:
    """Containers that the API saw running and that the engine has no more: how they ended nobody knows."""
    found = []
    for entry in (pod.get("status") or {}).get("containerStatuses") or []:
        running = (entry.get("state") or {}).get("running")
        id, attempt = _id(entry), int(entry.get("restartCount") or 0)
        newer = any(view.name == entry["name"] and (view.attempt >= attempt or view.id == id) for view in views)
        if not id or not running or newer:
            continue
        started = pods.parse_time(running.get("startedAt")) or 0.0
        found.append(
            ContainerView(
                id=id,
                name=entry["name"],
                attempt=attempt,
                state="exited",
                sandbox=sandbox,
                created_at=started,
                started_at=started,
                finished_at=now,
                exit_code=137,
                image=entry.get("image", ""),
                image_id=entry.get("imageID", ""),
                lost=True,
            )
        )
    return found


def _statuses(pod: Object) -> Iterator[Object]:
    for group in ("initContainerStatuses", "containerStatuses"):
        yield from (pod.get("status") or {}).get(group) or []


def _id(entry: Object) -> str:
    return str(entry.get("containerID", "")).partition("://")[2]

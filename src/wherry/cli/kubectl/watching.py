"""Following one object until a condition holds."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

from wherry.cli.kubectl.discovery import Resource
from wherry.cli.kubectl.errors import KubectlError, ServerError
from wherry.cli.kubectl.session import Object, Session


def events(
    session: Session,
    path: str,
    query: dict[str, Any],
    deadline: float | None = None,
    *,
    accept: str = "application/json",
) -> Iterator[tuple[str, Object]]:
    """Events of one watch, until the server or the deadline (monotonic) ends it."""
    query = {**query, "watch": "true"}
    left = None if deadline is None else deadline - time.monotonic()
    if left is not None:
        if left <= 0:
            return
        query["timeoutSeconds"] = max(1, int(left) + 1)
    response = session.http.stream(path, query, accept=accept)
    if left is not None:
        response.wire.socket.settimeout(max(left, 0.01))
    try:
        for line in response.lines():
            event = json.loads(line)
            if event["type"] == "ERROR":
                raise ServerError(int(event["object"].get("code") or 500), event["object"])
            yield event["type"], event["object"]
            if deadline is not None:
                response.wire.socket.settimeout(max(deadline - time.monotonic(), 0.01))
    except TimeoutError:
        return
    finally:
        response.wire.socket.close()


def until(
    session: Session,
    resource: Resource,
    namespace: str,
    name: str,
    condition: Callable[[Object], bool],
    deadline: float | None,
    *,
    seen: Callable[[Object], None] | None = None,
) -> Object | None:
    """The object once `condition` holds; None when the deadline passes first. Raises ServerError when it is deleted."""
    while True:
        obj = session.http.get(resource.path(namespace, name))
        if seen is not None:
            seen(obj)
        if condition(obj):
            return dict(obj)
        query = {"fieldSelector": f"metadata.name={name}", "resourceVersion": obj["metadata"]["resourceVersion"]}
        try:
            for kind, changed in events(session, resource.path(namespace), query, deadline):
                if kind == "DELETED":
                    raise KubectlError("object has been deleted")
                if kind == "BOOKMARK":
                    continue
                if seen is not None:
                    seen(changed)
                if condition(changed):
                    return changed
        except ServerError as error:
            if error.status != 410:
                raise
        if deadline is not None and time.monotonic() >= deadline:
            return None

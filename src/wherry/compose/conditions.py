"""Waiting until a container is what `depends_on` (or `up --wait`) wants: running, healthy, or finished with 0.

Told by the daemon's events, not by asking again and again.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

from wherry.compose.errors import ComposeError
from wherry.docker_api.client import DockerClient


class ConditionFailed(ComposeError):
    """A container will not become what was waited for."""


def states(client: DockerClient, container: str, deadline: float | None = None) -> Iterator[dict[str, Any]]:
    """The container's inspection now, and again whenever something happens to it. Ends at `deadline` (monotonic)."""
    filters = {"container": [container], "event": ["health_status", "die", "start", "restart", "destroy", "oom"]}
    while deadline is None or time.monotonic() < deadline:
        # An event stream that stays silent is opened anew now and then, so that nothing is missed for ever.
        patience = 5.0 if deadline is None else min(5.0, max(0.05, deadline - time.monotonic()))
        events = client.call("GET", "/events", {"filters": filters})
        events.reader.connection.settimeout(patience)
        try:
            yield client.get(f"/containers/{container}/json")
            for _ in events.json_lines():
                yield client.get(f"/containers/{container}/json")
        except TimeoutError:
            continue
        finally:
            events.close()


def wait_for(
    client: DockerClient,
    container: str,
    satisfied: Callable[[dict[str, Any]], bool],
    timeout: float | None = None,
) -> bool:
    """Waits until `satisfied(inspection)`, which may raise ConditionFailed. False when `timeout` seconds are over."""
    deadline = None if timeout is None else time.monotonic() + timeout
    return any(satisfied(inspection) for inspection in states(client, container, deadline))


def is_healthy(inspection: dict[str, Any]) -> bool:
    """Raises ConditionFailed when it never will be."""
    name, state = inspection["Name"].removeprefix("/"), inspection["State"]
    if state["Status"] == "exited":
        raise ConditionFailed(f"container {name} exited ({state['ExitCode']})")
    health = state.get("Health")
    if not health or health["Status"] == "none":
        raise ConditionFailed(f"container {name} has no healthcheck configured")
    if health["Status"] == "unhealthy":
        raise ConditionFailed(f"container {name} is unhealthy")
    return bool(health["Status"] == "healthy")


def is_healthy_or_running(inspection: dict[str, Any]) -> bool:
    """What `up --wait` waits for. Raises ConditionFailed when it never will be."""
    state = inspection["State"]
    health = state.get("Health")
    if health and health["Status"] != "none":
        return is_healthy(inspection)
    if state["Status"] == "exited" and state["ExitCode"] != 0:
        raise ConditionFailed(f"container {inspection['Name'].removeprefix('/')} exited ({state['ExitCode']})")
    return state["Status"] in ("running", "exited")


def wait_completed(client: DockerClient, container: str) -> int:
    """Waits until a container that was started has stopped for good; its exit code."""
    ended: dict[str, Any] = client.post(f"/containers/{container}/wait")
    return int(ended["StatusCode"])

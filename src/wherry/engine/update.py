"""`docker update`: new limits and a new restart policy for a container, running or not."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wherry.engine import create, resources
from wherry.engine.errors import Conflict
from wherry.engine.model import Container

if TYPE_CHECKING:
    from wherry.engine.containers import Containers


async def update(containers: "Containers", container: Container, body: Mapping[str, Any]) -> dict[str, Any]:
    """Merge `body` (HostConfig's fields of `POST /containers/{id}/update`) in, at once. Returns `{"Warnings"}`."""
    async with container.lock:
        if container.state.status in ("removing", "dead"):
            raise Conflict(f"Cannot update container {container.id}: Container is marked for removal and cannot be "
                           '"update".')  # fmt: skip
        changed = {**container.host_config}
        for key, value in body.items():
            if key == "RestartPolicy":
                if value and value.get("Name"):
                    changed[key] = {"Name": value["Name"], "MaximumRetryCount": value.get("MaximumRetryCount") or 0}
            elif value not in (None, 0, "", [], False):
                changed[key] = value
            elif key == "PidsLimit" and value == 0:
                changed[key] = -1
        create.check_restart_policy(changed)
        _check_memory(container, changed, body)
        warnings = resources.check(changed, containers.engine.layout, update=True)
        if container.state.alive:
            limits = resources.oci_resources(changed)
            if limits.get("pids") == {"limit": -1}:
                # crun takes no limit for a number when it updates.
                del limits["pids"]
                await asyncio.to_thread(containers.lifecycle.cgroup(container).unlimit_pids)
            await containers.lifecycle.runtime(container).update(container.id, limits)
        container.record.host_config = changed
        await containers.save(container)
    containers.emit(container, "update")
    return {"Warnings": warnings}


def _check_memory(container: Container, changed: Mapping[str, Any], body: Mapping[str, Any]) -> None:
    memory, swap = changed.get("Memory") or 0, changed.get("MemorySwap") or 0
    if body.get("Memory") and not body.get("MemorySwap") and 0 < swap < memory:
        raise Conflict(
            f"Cannot update container {container.id}: Memory limit should be smaller than already set memoryswap "
            "limit, update the memoryswap at the same time"
        )

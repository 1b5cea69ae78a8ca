"""Events do not live for ever: each is deleted when it has not changed for the time to live (one hour)."""

import asyncio
from datetime import datetime

from wherry.kube_api.api import Api
from wherry.kube_api.objects import Entry
from wherry.schema import builtin
from wherry.schema.errors import ApiError

SWEEP_SECONDS = 60.0


async def expire_events(api: Api, ttl_seconds: float) -> None:
    """Run for ever."""
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        limit = api.now() - ttl_seconds
        for entry in list(api.cache_of(builtin.EVENTS).entries()):
            if _last_change(entry) < limit:
                try:
                    await api.remove(builtin.EVENTS, entry.namespace, entry.name)
                except ApiError:
                    continue


def _last_change(entry: Entry) -> float:
    obj = entry.peek()
    text = obj.get("lastTimestamp") or obj.get("eventTime") or obj["metadata"].get("creationTimestamp")
    series = obj.get("series") or {}
    text = series.get("lastObservedTime") or text
    return datetime.fromisoformat(str(text).replace("Z", "+00:00")).timestamp()

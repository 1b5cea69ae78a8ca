"""Events: shapes, history, filters, live subscriptions."""

import asyncio
import time

import pytest

from wherry.engine.errors import InvalidParameter
from wherry.engine.events import HISTORY, Event, Events
from wherry.engine.filters import Filters


def test_the_shape_is_dockers() -> None:
    config = {"Image": "busybox", "Labels": {"a": "b"}}
    event = Events().container_event("die", "c1", "/web", config, {"exitCode": "3"})
    assert event["Actor"] == {"ID": "c1", "Attributes": {"a": "b", "exitCode": "3", "image": "busybox", "name": "web"}}
    assert (event["status"], event["id"], event["from"]) == ("die", "c1", "busybox")
    assert (event["Type"], event["Action"], event["scope"]) == ("container", "die", "local")
    assert event["timeNano"] // 10**9 == event["time"]
    assert "status" not in Events().emit("network", "create", "n1")


def test_history_is_bounded_and_ordered() -> None:
    events = Events()
    for number in range(HISTORY + 10):
        events.emit("volume", "create", str(number))
    kept = events.history()
    assert [kept[0]["Actor"]["ID"], kept[-1]["Actor"]["ID"]] == ["10", str(HISTORY + 9)]
    times = [event["timeNano"] for event in kept]
    assert times == sorted(set(times))


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"type": ["network"]}, ["n1"]),
        ({"container": ["web"]}, ["c1", "c1"]),
        ({"container": ["c1"], "event": ["start"]}, ["c1"]),
        ({"event": ["exec_start"]}, ["c1"]),
        ({"image": ["busybox"]}, ["c1", "c1"]),
        ({"label": ["a=b"]}, ["c1", "c1"]),
        ({"scope": ["swarm"]}, []),
    ],
)
def test_filters(filters: dict[str, list[str]], expected: list[str]) -> None:
    events = Events()
    config = {"Image": "busybox:1", "Labels": {"a": "b"}}
    events.container_event("start", "c1", "web", config)
    events.container_event("exec_start: ls", "c1", "web", config)
    events.emit("network", "connect", "n1", {"name": "blue"})
    assert [event["Actor"]["ID"] for event in events.history(0, filters=Filters(filters))] == expected


async def test_a_stream_tells_the_past_when_asked_and_then_the_present() -> None:
    events = Events()
    events.emit("volume", "create", "old")
    seen: list[str] = []

    async def listen() -> None:
        async for event in events.stream(since=0):
            seen.append(event["Actor"]["ID"])
            if len(seen) == 2:
                return

    listener = asyncio.create_task(listen())
    await asyncio.sleep(0)
    events.emit("volume", "create", "new")
    await asyncio.wait_for(listener, 5)
    assert seen == ["old", "new"]


async def test_until_in_the_past_ends_at_once() -> None:
    events = Events()
    events.emit("volume", "create", "old")
    seen: list[Event] = [event async for event in events.stream(until=time.time() + 0.001)]
    assert [event["Actor"]["ID"] for event in seen] == ["old"]
    assert not events._listeners


async def test_a_filter_that_events_do_not_know() -> None:
    with pytest.raises(InvalidParameter):
        async for _ in Events().stream(filters=Filters(colour=["red"])):
            pass

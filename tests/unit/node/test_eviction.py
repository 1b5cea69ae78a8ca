"""Who goes first under pressure, and what is said of it."""

from pathlib import Path
from typing import Any

from node_samples import make_pod

from wherry.node import eviction
from wherry.node.eviction import Candidate, choose, outgrown, tree_size
from wherry.node.node_status import Machine
from wherry.testing.clock import MockClock

MIB = 1024 * 1024


def candidate(name: str, used: int, request: str = "", **spec: Any) -> Candidate:
    pod = make_pod(**spec)
    pod["metadata"]["name"] = name
    if request:
        pod["spec"]["containers"][0]["resources"] = {"requests": {"memory": request}}
    return Candidate(pod, {"web": used * MIB})


def chosen(*candidates: Candidate) -> str:
    found = choose(candidates, "memory")
    return found.pod["metadata"]["name"] if found is not None else ""


def test_those_above_their_request_go_before_larger_ones_within_it() -> None:
    assert chosen(candidate("large", 500, "1Gi"), candidate("above", 20, "10Mi")) == "above"


def test_among_them_the_lower_priority_goes_then_the_larger_excess() -> None:
    assert chosen(candidate("high", 500, priority=10), candidate("low", 100)) == "low"
    assert chosen(candidate("some", 100), candidate("more", 200)) == "more"


def test_critical_and_static_pods_stay() -> None:
    static = candidate("static", 900)
    static.pod["metadata"]["annotations"] = {"kubernetes.io/config.source": "file"}
    assert chosen(static, candidate("critical", 900, priority=2_000_001_000)) == ""


def test_the_message_names_what_was_short_and_who_used_it() -> None:
    text = eviction.message(candidate("p", 20, "10Mi"), "memory", 100 * MIB, 50 * MIB)
    assert text == (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 51200Ki. "
        "Container web was using 20480Ki, request is 10Mi, has larger consumption of memory. "
    )


def test_an_empty_dir_may_not_outgrow_its_limit() -> None:
    pod = make_pod(volumes=[{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}, {"name": "w", "emptyDir": {}}])
    assert outgrown(pod, {"v": MIB, "w": 50 * MIB}) == ""
    assert outgrown(pod, {"v": MIB + 1}) == 'Usage of EmptyDir volume "v" exceeds the limit "1Mi". '


def test_the_size_of_a_folder_is_that_of_its_blocks(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(b"x" * 10_000)
    assert tree_size(tmp_path) >= 10_000


class Worker:
    """As much of a pod's worker as the manager sees."""

    stopping = False

    def __init__(self, name: str) -> None:
        self.pod = make_pod()
        self.pod["metadata"] |= {"name": name, "uid": name}
        self.uid = name
        self.ended: tuple[str, str] | None = None

    def stop(self, reason: str, message: str, *, grace: float | None = None) -> None:
        assert grace == 0.0
        self.stopping = True
        self.ended = (reason, message)


class Pressed:
    """A node with so much memory and disk left, and two pods: `large` uses more memory, `full` more disk."""

    def __init__(self, root: Path, *, memory: int, disk: int, freed: int = 0) -> None:
        self.workers = [Worker("large"), Worker("full")]
        self.asked: list[int] = []
        self.events: list[tuple[str, str]] = []
        for name, size in (("large", 10_000), ("full", 100_000)):
            folder = root / name / "volumes" / "kubernetes.io~empty-dir" / "scratch"
            folder.mkdir(parents=True)
            (folder / "file").write_bytes(b"x" * size)

        async def memory_of(worker: Any) -> dict[str, int]:
            return {"web": (50 if worker.uid == "large" else 5) * MIB}

        async def free(wanted: int) -> int:
            self.asked.append(wanted)
            return freed

        workers: Any = self.workers
        self.manager = eviction.EvictionManager(
            root,
            MockClock(),
            workers=lambda: workers,
            memory_of=memory_of,
            pod_dir=lambda uid: root / uid,
            free_disk=free,
            event=lambda pod, _type, reason, _text: self.events.append((pod["metadata"]["name"], reason)),
            measure=lambda _: Machine(2, 1000 * MIB, memory, 10_000 * MIB, disk, 100, 1),
        )

    async def ended(self) -> list[str]:
        await self.manager.check()
        return [worker.uid for worker in self.workers if worker.ended]


async def test_with_room_nobody_is_ended(tmp_path: Path) -> None:
    node = Pressed(tmp_path, memory=500 * MIB, disk=5_000 * MIB)
    assert await node.ended() == []
    assert node.asked == []


async def test_short_of_memory_one_pod_at_a_time_is_ended(tmp_path: Path) -> None:
    node = Pressed(tmp_path, memory=50 * MIB, disk=5_000 * MIB)
    assert await node.ended() == ["large"]
    assert node.events == [("large", "Evicted")]
    reason, text = node.workers[0].ended or ("", "")
    assert reason == "Evicted"
    assert text.startswith("The node was low on resource: memory. Threshold quantity: 100Mi, available: 51200Ki. ")
    assert await node.ended() == ["large", "full"]


async def test_short_of_disk_images_go_before_pods(tmp_path: Path) -> None:
    enough = Pressed(tmp_path / "a", memory=500 * MIB, disk=900 * MIB, freed=100 * MIB)
    assert await enough.ended() == []
    assert enough.asked == [100 * MIB]
    short = Pressed(tmp_path / "b", memory=500 * MIB, disk=900 * MIB, freed=MIB)
    assert await short.ended() == ["full"]
    assert (short.workers[1].ended or ("", ""))[1].startswith("The node was low on resource: ephemeral-storage. ")

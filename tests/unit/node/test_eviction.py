"""Who goes first under pressure, and what is said of it."""

from pathlib import Path
from typing import Any

from node_samples import make_pod

from wherry.node import eviction
from wherry.node.eviction import Candidate, choose, outgrown, tree_size

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

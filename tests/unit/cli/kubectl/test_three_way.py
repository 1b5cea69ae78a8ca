"""The patch of apply: what the file changed, what it dropped, and nothing of what others set."""

from typing import Any

from wherry.cli.kubectl.three_way import three_way, two_way
from wherry.schema.definitions import by_kind
from wherry.schema.merge import strategic_merge

DEPLOYMENT = by_kind("apps/v1", "Deployment")


def deployment(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"spec": {**spec, "template": {"spec": {"containers": list(containers)}}}}


def applied(original: Any, modified: Any, current: Any) -> Any:
    assert DEPLOYMENT is not None
    return strategic_merge(DEPLOYMENT, current, three_way(original, modified, current, DEPLOYMENT))


def test_nothing_to_do_is_an_empty_patch() -> None:
    file = deployment({"name": "a", "image": "x"})
    live = deployment({"name": "a", "image": "x", "imagePullPolicy": "Always"}, replicas=3)
    assert three_way(file, file, live, DEPLOYMENT) == {}


def test_a_changed_image_keeps_what_the_server_added() -> None:
    live = deployment({"name": "a", "image": "x", "imagePullPolicy": "Always"}, replicas=3)
    after = applied(deployment({"name": "a", "image": "x"}), deployment({"name": "a", "image": "y"}), live)
    assert after == deployment({"name": "a", "image": "y", "imagePullPolicy": "Always"}, replicas=3)


def test_what_the_file_dropped_is_deleted_and_what_it_never_had_stays() -> None:
    before = deployment({"name": "a", "image": "x"}, replicas=2, paused=True)
    live = deployment({"name": "a", "image": "x"}, replicas=2, paused=True, minReadySeconds=5)
    after = applied(before, deployment({"name": "a", "image": "x"}), live)
    assert after == deployment({"name": "a", "image": "x"}, minReadySeconds=5)


def test_a_dropped_container_goes_and_a_foreign_one_stays() -> None:
    a, b, c = ({"name": name, "image": name} for name in "abc")
    after = applied(deployment(a, b), deployment(a), deployment(a, b, c))
    assert [one["name"] for one in after["spec"]["template"]["spec"]["containers"]] == ["a", "c"]


def test_custom_resources_are_merged_without_a_definition() -> None:
    before, now = {"spec": {"a": 1, "b": 2, "list": [1]}}, {"spec": {"a": 1, "list": [1, 2]}}
    live = {"spec": {"a": 1, "b": 2, "list": [1], "x": 9}}
    assert three_way(before, now, live) == {"spec": {"b": None, "list": [1, 2]}}


def test_an_edit_sends_only_what_was_edited() -> None:
    live = deployment({"name": "a", "image": "x"}, replicas=2)
    assert two_way(live, deployment({"name": "a", "image": "x"}, replicas=4), DEPLOYMENT) == {"spec": {"replicas": 4}}

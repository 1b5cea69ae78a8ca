from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.schema import merge
from wherry.schema.builtin import DEPLOYMENTS, PODS, SERVICES
from wherry.schema.errors import BadRequest, Invalid
from wherry.schema.objects import deep_copy

_KEYS = st.sampled_from(["a", "b", "c"])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("xy", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
    max_leaves=8,
)
_OBJECTS = st.dictionaries(_KEYS, _JSON, max_size=3)


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(child) for key, child in value.items() if child is not None}
    return value


@given(_OBJECTS, _OBJECTS)
def test_merge_patch_is_idempotent_and_pure(obj: dict[str, Any], patch: dict[str, Any]) -> None:
    before, patch_before = deep_copy(obj), deep_copy(patch)
    once = merge.merge_patch(obj, patch)
    assert merge.merge_patch(once, patch) == once
    assert (obj, patch) == (before, patch_before)
    assert merge.merge_patch({}, patch) == without_nulls(patch)


@given(_OBJECTS, _OBJECTS)
def test_json_patch_can_replace_everything_by_anything(obj: dict[str, Any], other: dict[str, Any]) -> None:
    operations = [{"op": "remove", "path": f"/{key}"} for key in obj]
    operations += [{"op": "add", "path": f"/{key}", "value": value} for key, value in other.items()]
    assert merge.json_patch(obj, operations) == other


@given(_OBJECTS, _OBJECTS)
def test_strategic_merge_without_a_schema_is_a_merge_patch(obj: dict[str, Any], patch: dict[str, Any]) -> None:
    from wherry.schema.definitions import ANY

    obj, patch = without_nulls(obj), without_nulls(patch)
    merged = merge.strategic_merge(ANY, obj, patch)
    assert merged == merge.strategic_merge(ANY, merged, patch)


def test_json_patch_operations() -> None:
    obj = {"a": [1, 2], "b": {"c/d": 1}}
    operations = [
        {"op": "add", "path": "/a/-", "value": 3},
        {"op": "add", "path": "/a/0", "value": 0},
        {"op": "test", "path": "/b/c~1d", "value": 1},
        {"op": "move", "from": "/b/c~1d", "path": "/e"},
        {"op": "copy", "from": "/a", "path": "/f"},
        {"op": "replace", "path": "/a/1", "value": 9},
    ]
    assert merge.json_patch(obj, operations) == {"a": [0, 9, 2, 3], "b": {}, "e": 1, "f": [0, 1, 2, 3]}


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/x"},
        {"op": "replace", "path": "/x/y", "value": 1},
        {"op": "test", "path": "/a", "value": 2},
        {"op": "add", "path": "/l/7", "value": 2},
        {"op": "remove", "path": "/l/-1"},
    ],
)
def test_json_patches_that_do_not_fit_are_unprocessable(operation: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match="the server rejected our request due to an error in our request"):
        merge.json_patch({"a": 1, "l": [1]}, [operation])


def test_malformed_json_patches_are_bad_requests() -> None:
    for patch in ({}, [1], [{"op": "add"}], [{"op": "frob", "path": "/a"}], [{"op": "add", "path": "/a"}]):
        with pytest.raises(BadRequest):
            merge.json_patch({"a": 1}, patch)


def containers(*found: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"containers": list(found), **more}}}}


def test_strategic_merge_merges_lists_by_key() -> None:
    obj = containers({"name": "a", "image": "1"}, {"name": "b", "image": "2", "env": [{"name": "X", "value": "1"}]})
    patch = containers({"name": "b", "env": [{"name": "Y", "value": "2"}]}, {"name": "c", "image": "3"})
    found = merge.strategic_merge(DEPLOYMENTS, obj, patch)["spec"]["template"]["spec"]["containers"]
    assert {one["name"]: one for one in found} == {
        "a": {"name": "a", "image": "1"},
        "b": {"name": "b", "image": "2", "env": [{"name": "Y", "value": "2"}, {"name": "X", "value": "1"}]},
        "c": {"name": "c", "image": "3"},
    }


def test_strategic_merge_deletes_replaces_and_orders() -> None:
    obj = containers({"name": "a"}, {"name": "b"}, {"name": "c"})
    deleted = merge.strategic_merge(DEPLOYMENTS, obj, containers({"$patch": "delete", "name": "b"}))
    assert deleted == containers({"name": "a"}, {"name": "c"})
    replaced = merge.strategic_merge(DEPLOYMENTS, obj, containers({"$patch": "replace"}, {"name": "z"}))
    assert replaced == containers({"name": "z"})
    order = {"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}]}
    patch = {"spec": {"template": {"spec": {**order, "containers": [{"name": "a", "image": "9"}]}}}}
    ordered = merge.strategic_merge(DEPLOYMENTS, obj, patch)["spec"]["template"]["spec"]["containers"]
    assert [one["name"] for one in ordered] == ["b", "c", "a"]


def test_strategic_merge_directives_on_maps_and_primitives() -> None:
    obj = {"metadata": {"finalizers": ["a", "b"], "labels": {"x": "1"}}, "spec": {"strategy": {"type": "A", "q": 1}}}
    patch = {
        "metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"], "labels": {"x": None}},
        "spec": {"strategy": {"$retainKeys": ["type"], "type": "B"}},
    }
    merged = merge.strategic_merge(DEPLOYMENTS, obj, patch)
    assert sorted(merged["metadata"]["finalizers"]) == ["b", "c"]
    assert merged["metadata"]["labels"] == {}
    assert merged["spec"]["strategy"] == {"type": "B"}
    whole = merge.strategic_merge(DEPLOYMENTS, obj, {"spec": {"$patch": "replace", "paused": True}})
    assert whole["spec"] == {"paused": True}


def test_strategic_merge_replaces_atomic_lists_and_volume_sources() -> None:
    obj = {"spec": {"containers": [{"name": "a", "command": ["x"]}], "volumes": [{"name": "v", "emptyDir": {}}]}}
    patch = {
        "spec": {
            "containers": [{"name": "a", "command": ["y"]}],
            "volumes": [{"$retainKeys": ["name", "hostPath"], "name": "v", "hostPath": {"path": "/x"}}],
        }
    }
    merged = merge.strategic_merge(PODS, obj, patch)
    assert merged["spec"]["containers"] == [{"name": "a", "command": ["y"]}]
    assert merged["spec"]["volumes"] == [{"name": "v", "hostPath": {"path": "/x"}}]


def test_strategic_merge_needs_the_merge_key() -> None:
    obj = {"spec": {"ports": [{"port": 80}]}}
    with pytest.raises(BadRequest, match="does not contain declared merge key: port"):
        merge.strategic_merge(SERVICES, obj, {"spec": {"ports": [{"name": "x"}]}})

"""Garbage collection by owner references: what becomes of one object, and whole trees of them."""

from typing import Any

import pytest

from wherry.controllers.garbage_collector import GONE, SOLID, UNKNOWN, WAITING, Dependent, reconcile
from wherry.controllers.plan import to_data
from wherry.schema import builtin as b


def owned(name: str, *owners: str, **metadata: Any) -> dict[str, Any]:
    references = [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": one, "uid": f"uid-{one}", "blockOwnerDeletion": True}
        for one in owners
    ]
    shown = {"ownerReferences": references} if references else {}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}", "resourceVersion": "1"}
        | shown
        | metadata,
    }


@pytest.mark.parametrize(
    ("owners", "finalizers", "propagation"),
    [
        ((GONE,), [], "Background"),
        ((GONE, GONE), ["foregroundDeletion"], "Foreground"),
        ((GONE,), ["orphan"], "Orphan"),
        ((WAITING,), [], "Background"),
        ((SOLID,), [], None),
        ((UNKNOWN,), [], None),
        ((GONE, UNKNOWN), [], None),
        ((), [], None),
    ],
)
def test_an_object_goes_when_no_owner_is_left(owners: Any, finalizers: list[str], propagation: str | None) -> None:
    obj = owned("x", *(f"o{number}" for number in range(len(owners))), finalizers=finalizers)
    steps = to_data(reconcile(b.CONFIG_MAPS, obj, owners, ())).get("steps", [])
    assert [step["propagation"] for step in steps] == ([propagation] if propagation else [])


def test_one_that_keeps_an_owner_only_forgets_those_that_are_gone() -> None:
    obj = owned("x", "gone", "here", "going")
    (step,) = to_data(reconcile(b.CONFIG_MAPS, obj, (GONE, SOLID, WAITING), ()))["steps"]
    assert [one["name"] for one in step["patch"]["metadata"]["ownerReferences"]] == ["here"]


def test_one_whose_owner_waits_for_it_waits_for_its_own_in_turn() -> None:
    below = Dependent(b.CONFIG_MAPS, owned("below", "x"))
    (step,) = to_data(reconcile(b.CONFIG_MAPS, owned("x", "top"), (WAITING,), [below]))["steps"]
    assert step["propagation"] == "Foreground"


def test_foreground_waits_for_those_that_block_and_for_no_others() -> None:
    top = owned("top", deletionTimestamp="2026-01-01T00:00:00Z", finalizers=["foregroundDeletion", "example.com/x"])
    blocking = Dependent(b.CONFIG_MAPS, owned("below", "top"))
    assert not reconcile(b.CONFIG_MAPS, top, (), [blocking]).steps
    del blocking.object["metadata"]["ownerReferences"][0]["blockOwnerDeletion"]
    (step,) = to_data(reconcile(b.CONFIG_MAPS, top, (), [blocking]))["steps"]
    assert step["patch"] == {"metadata": {"finalizers": ["example.com/x"]}}


def test_orphans_forget_their_owner_before_it_goes() -> None:
    top = owned("top", deletionTimestamp="2026-01-01T00:00:00Z", finalizers=["orphan"])
    steps = to_data(reconcile(b.CONFIG_MAPS, top, (), [Dependent(b.CONFIG_MAPS, owned("below", "top", "other"))]))
    first, last = steps["steps"]
    assert [one["name"] for one in first["patch"]["metadata"]["ownerReferences"]] == ["other"]
    assert last["do"] == "patch configmaps default/top" and last["patch"] == {"metadata": {"finalizers": None}}


async def chain(world: Any) -> None:
    """top <- middle <- bottom, and beside, which top and other own."""
    for name, owners in (
        ("other", ()),
        ("top", ()),
        ("middle", ("top",)),
        ("bottom", ("middle",)),
        ("beside", ("top", "other")),
    ):
        await world.client.create(b.CONFIG_MAPS, owned(name, *owners))
    await world.settle()


def names(world: Any) -> set[str]:
    return {one["metadata"]["name"] for one in world.client.all(b.CONFIG_MAPS)} - {"kube-root-ca.crt"}


@pytest.mark.parametrize("policy", ["Background", "Foreground"])
async def test_a_tree_goes_with_its_root_and_what_another_owns_stays(world: Any, policy: str) -> None:
    await chain(world)
    assert names(world) == {"top", "middle", "bottom", "beside", "other"}
    await world.client.delete(b.CONFIG_MAPS, "top", "default", propagation_policy=policy)
    await world.settle()
    assert names(world) == {"beside", "other"}
    beside = await world.client.get(b.CONFIG_MAPS, "beside", "default")
    assert [one["name"] for one in beside["metadata"]["ownerReferences"]] == ["other"]
    gone = [name for verb, kind, _, name in world.client.actions if (verb, kind) == ("delete", "configmaps")]
    # A delete that has to wait for others is written as a delete twice: when it is asked for, and when it is done.
    assert gone[-1] == ("top" if policy == "Foreground" else "bottom")


async def test_orphaned_dependents_stay(world: Any) -> None:
    await chain(world)
    await world.client.delete(b.CONFIG_MAPS, "top", "default", propagation_policy="Orphan")
    await world.settle()
    assert names(world) == {"middle", "bottom", "beside", "other"}
    assert "ownerReferences" not in (await world.client.get(b.CONFIG_MAPS, "middle", "default"))["metadata"]


async def test_one_that_is_made_for_an_owner_that_never_was_goes(world: Any) -> None:
    await world.client.create(b.CONFIG_MAPS, owned("lost", "never"))
    await world.settle()
    assert names(world) == set()

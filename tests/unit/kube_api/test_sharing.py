"""What writes and watches share, and that nobody who asks for an object notices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wherry.client.api import PatchType
from wherry.client.informer import Informer
from wherry.kube_api.cache import DECODED
from wherry.schema import builtin

if TYPE_CHECKING:
    from conftest import World

Object = dict[str, Any]


def pod(name: str) -> Object:
    container = {"name": "c", "image": "i"}
    return {"metadata": {"name": name, "labels": {"app": "x"}}, "spec": {"containers": [container]}}


def owned(found: Object) -> dict[tuple[str, str], Object]:
    return {
        (entry["manager"], entry.get("subresource", "")): entry["fieldsV1"]
        for entry in found["metadata"]["managedFields"]
    }


async def test_what_admission_and_the_server_add_is_nobodys_field(world: World) -> None:
    made = await world.client.create(builtin.PODS, pod("a"), "default")
    assert made["spec"]["volumes"] and made["status"]["phase"] == "Pending"
    [fields] = owned(made).values()
    assert sorted(fields) == ["f:metadata", "f:spec"]
    assert "f:volumes" not in fields["f:spec"] and "f:restartPolicy" in fields["f:spec"]


async def test_managers_that_a_write_does_not_touch_stay_as_they_were(world: World) -> None:
    made = await world.client.create(builtin.PODS, pod("a"), "default")
    ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}], "phase": "Running"}}
    world.now += 60
    first = await world.client.patch(builtin.PODS, "a", ready, "default", subresource="status")
    assert first["metadata"]["managedFields"][0] == made["metadata"]["managedFields"][0]
    again = await world.client.patch(
        builtin.PODS, "a", {"status": {"phase": "Failed"}}, "default", subresource="status", field_manager="other"
    )
    fields = owned(again)
    assert "f:phase" in fields["other", "status"]["f:status"]
    assert "f:phase" not in fields["wherry", "status"]["f:status"] and fields["wherry", ""] == owned(made)["wherry", ""]


async def test_a_patch_leaves_neither_the_stored_object_nor_the_callers_patch_changed(world: World) -> None:
    await world.client.create(builtin.PODS, pod("a"), "default")
    patches: list[tuple[PatchType, Any]] = [
        (PatchType.MERGE, {"metadata": {"annotations": {"k": "v"}}}),
        (PatchType.STRATEGIC, {"metadata": {"labels": {"k": "v"}}}),
        (PatchType.JSON, [{"op": "add", "path": "/metadata/labels/more", "value": "v"}]),
    ]
    for type_, patch in patches:
        before = repr(patch)
        await world.client.patch(builtin.PODS, "a", patch, "default", type=type_)
        assert repr(patch) == before
    found = await world.client.get(builtin.PODS, "a", "default")
    assert found["metadata"]["labels"] == {"app": "x", "k": "v", "more": "v"}
    assert found["metadata"]["annotations"] == {"k": "v"}


async def test_old_events_keep_no_decoded_objects(world: World) -> None:
    await world.client.create(builtin.CONFIG_MAPS, {"metadata": {"name": "a"}, "data": {"k": "v"}}, "default")
    cache = world.api.cache_of(builtin.CONFIG_MAPS)
    for number in range(DECODED + 5):
        entry = cache.get("default", "a")
        assert entry is not None and "managedFields" not in entry.shared()["metadata"]
        assert "managedFields" in entry.decode()["metadata"]
        await world.client.patch(builtin.CONFIG_MAPS, "a", {"data": {"k": str(number)}}, "default")
    kept = [event for event in cache.events if event.previous is not None and event.previous._shared is not None]
    assert len(kept) <= DECODED


async def test_an_informer_keeps_one_spec_through_updates_of_the_status(world: World) -> None:
    informer = Informer(world.client, builtin.PODS)
    told: list[tuple[bool, bool]] = []

    def changed(old: Object | None, new: Object | None) -> None:
        if old is not None and new is not None:
            told.append((old["spec"] is new["spec"], informer.only_status))

    made = await world.client.create(builtin.PODS, pod("a"), "default")
    informer.add_handler(changed)
    informer._on_changed(made)
    running = {"status": {"phase": "Running"}}
    informer._on_changed(await world.client.patch(builtin.PODS, "a", running, "default", subresource="status"))
    informer._on_changed(await world.client.patch(builtin.PODS, "a", {"metadata": {"labels": {"k": "v"}}}, "default"))
    patch = {"spec": {"activeDeadlineSeconds": 5}}
    informer._on_changed(await world.client.patch(builtin.PODS, "a", patch, "default"))
    assert told == [(True, True), (True, False), (False, False)]
    stored = informer.get("default", "a")
    assert stored is not None and stored["spec"]["activeDeadlineSeconds"] == 5

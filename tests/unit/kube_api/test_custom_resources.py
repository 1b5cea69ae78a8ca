"""CustomResourceDefinitions and the resources that they bring into being."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest

from wherry.client.api import PatchType
from wherry.kube_api.custom_resources import CustomResources
from wherry.schema import builtin, errors

if TYPE_CHECKING:
    from conftest import World
    from wherry.schema.resource import Resource

Object = dict[str, Any]


def definition(**version: Any) -> Object:
    schema = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "properties": {
                    "size": {"type": "integer", "default": 1, "maximum": 9},
                    "colour": {"type": "string"},
                },
                "x-kubernetes-validations": [{"rule": "!has(self.colour) || self.colour != 'grey'"}],
            },
            "status": {"type": "object", "properties": {"ready": {"type": "boolean"}}},
        },
    }
    v1 = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}, **version}
    v2 = {"name": "v2", "served": True, "storage": False, "schema": {"openAPIV3Schema": schema}}
    return {
        "metadata": {"name": "shirts.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "shirts", "kind": "Shirt"},
            "versions": [v1, v2],
        },
    }


@pytest.fixture
async def custom(world: World) -> AsyncIterator[CustomResources]:
    made = CustomResources(world.api)
    task = asyncio.create_task(made.finish_deletions())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def row(world: World, version: str = "v1") -> Resource:
    found = world.api.table.lookup("example.com", version, "shirts")
    assert found is not None
    return found


def shirt(name: str, **spec: Any) -> Object:
    return {"apiVersion": "example.com/v1", "kind": "Shirt", "metadata": {"name": name}, "spec": spec}


async def test_a_definition_is_served_as_soon_as_it_is_created(world: World, custom: CustomResources) -> None:
    made = await world.client.create(builtin.CUSTOM_RESOURCE_DEFINITIONS, definition())
    assert {one["type"]: one["status"] for one in made["status"]["conditions"]} == {
        "NamesAccepted": "True",
        "Established": "True",
    }
    assert made["status"]["storedVersions"] == ["v1"]
    assert made["status"]["acceptedNames"]["listKind"] == "ShirtList"
    stored = await world.client.create(row(world), shirt("a", colour="red", unknown=1), "default")
    assert stored["spec"] == {"colour": "red", "size": 1}
    with pytest.raises(errors.Invalid, match=r"spec.size in body should be less than or equal to 9"):
        await world.client.create(row(world), shirt("b", size=10), "default")
    with pytest.raises(errors.Invalid, match="failed rule: !has"):
        await world.client.create(row(world), shirt("b", colour="grey"), "default")


async def test_versions_show_the_same_objects(world: World, custom: CustomResources) -> None:
    await world.client.create(builtin.CUSTOM_RESOURCE_DEFINITIONS, definition())
    await world.client.create(row(world), shirt("a"), "default")
    newer = row(world, "v2")
    assert (await world.client.get(newer, "a", "default"))["apiVersion"] == "example.com/v2"
    listed = await world.client.list(newer, "default")
    assert [one["apiVersion"] for one in listed.items] == ["example.com/v2"]
    changed = await world.client.patch(newer, "a", {"spec": {"colour": "blue"}}, "default")
    assert changed["apiVersion"] == "example.com/v2"
    old = await world.client.get(row(world), "a", "default")
    assert (old["apiVersion"], old["spec"]["colour"], old["metadata"]["generation"]) == ("example.com/v1", "blue", 2)


async def test_a_new_default_shows_in_objects_that_are_there_already(world: World, custom: CustomResources) -> None:
    one_version = definition()
    del one_version["spec"]["versions"][1]
    made = await world.client.create(builtin.CUSTOM_RESOURCE_DEFINITIONS, one_version)
    await world.client.create(row(world), shirt("a"), "default")
    properties = made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    properties["colour"]["default"] = "white"
    await world.client.update(builtin.CUSTOM_RESOURCE_DEFINITIONS, made)
    assert (await world.client.get(row(world), "a", "default"))["spec"]["colour"] == "white"
    assert [one["spec"]["colour"] for one in (await world.client.list(row(world))).items] == ["white"]


async def test_status_is_a_subresource_when_the_version_says_so(world: World, custom: CustomResources) -> None:
    await world.client.create(builtin.CUSTOM_RESOURCE_DEFINITIONS, definition(subresources={"status": {}}))
    made = await world.client.create(row(world), {**shirt("a"), "status": {"ready": True}}, "default")
    assert "status" not in made
    made = await world.client.patch(row(world), "a", {"status": {"ready": True}}, "default", subresource="status")
    assert (made["status"], made["metadata"]["generation"]) == ({"ready": True}, 1)
    made = await world.client.patch(row(world), "a", {"spec": {"size": 2}, "status": None}, "default")
    assert (made["status"], made["metadata"]["generation"]) == ({"ready": True}, 2)


async def test_strategic_merge_is_not_for_custom_resources(world: World, custom: CustomResources) -> None:
    await world.client.create(builtin.CUSTOM_RESOURCE_DEFINITIONS, definition())
    await world.client.create(row(world), shirt("a"), "default")
    with pytest.raises(errors.UnsupportedMediaType):
        await world.client.patch(row(world), "a", {}, "default", type=PatchType.STRATEGIC)


async def test_a_schema_that_became_stricter_does_not_lock_objects(world: World, custom: CustomResources) -> None:
    made = await world.client.create(builtin.CUSTOM_RESOURCE_DEFINITIONS, definition())
    await world.client.create(row(world), shirt("a", size=9), "default")
    for version in made["spec"]["versions"]:
        version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["size"]["maximum"] = 5
    await world.client.update(builtin.CUSTOM_RESOURCE_DEFINITIONS, made)
    await world.client.patch(row(world), "a", {"metadata": {"labels": {"x": "y"}}}, "default")
    with pytest.raises(errors.Invalid):
        await world.client.patch(row(world), "a", {"spec": {"size": 8}}, "default")


async def test_fields_can_be_made_selectable(world: World, custom: CustomResources) -> None:
    selectable = [{"jsonPath": ".spec.colour"}]
    await world.client.create(builtin.CUSTOM_RESOURCE_DEFINITIONS, definition(selectableFields=selectable))
    for name, colour in (("a", "red"), ("b", "blue")):
        await world.client.create(row(world), shirt(name, colour=colour), "default")
    found = await world.client.list(row(world), "default", field_selector="spec.colour=blue")
    assert [one["metadata"]["name"] for one in found.items] == ["b"]
    with pytest.raises(errors.BadRequest):
        await world.client.list(row(world), "default", field_selector="spec.size=1")


async def test_deleting_a_definition_deletes_its_objects_first(world: World, custom: CustomResources) -> None:
    await world.client.create(builtin.CUSTOM_RESOURCE_DEFINITIONS, definition())
    shirts = row(world)
    await world.client.create(shirts, shirt("a"), "default")
    held = shirt("held")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    await world.client.create(shirts, held, "default")
    await world.client.delete(builtin.CUSTOM_RESOURCE_DEFINITIONS, "shirts.example.com")
    async with world.client.watch(shirts, resource_version="0") as events, asyncio.timeout(5):
        async for event in events:
            if event.type == "DELETED" and event.object["metadata"]["name"] == "a":
                break
    with pytest.raises(errors.MethodNotAllowed, match="terminating"):
        await world.client.create(shirts, shirt("late"), "default")
    await world.client.patch(shirts, "held", {"metadata": {"finalizers": None}}, "default")
    async with world.client.watch(builtin.CUSTOM_RESOURCE_DEFINITIONS, resource_version="0") as events:
        async with asyncio.timeout(5):
            async for event in events:
                if event.type == "DELETED":
                    break
    assert world.api.table.lookup("example.com", "v1", "shirts") is None


async def test_names_that_are_taken_are_not_accepted(world: World, custom: CustomResources) -> None:
    await world.client.create(builtin.CUSTOM_RESOURCE_DEFINITIONS, definition())
    other = definition()
    other["metadata"]["name"] = "chemises.example.com"
    other["spec"]["names"]["plural"] = "chemises"
    made = await world.client.create(builtin.CUSTOM_RESOURCE_DEFINITIONS, other)
    conditions = {one["type"]: (one["status"], one["reason"]) for one in made["status"]["conditions"]}
    assert conditions == {"NamesAccepted": ("False", "KindConflict"), "Established": ("False", "NotAccepted")}
    assert world.api.table.lookup("example.com", "v1", "chemises") is None

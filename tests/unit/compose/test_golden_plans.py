"""Compose files of the kinds that people use, each with the plan of its first `up` (WHERRY_UPDATE_GOLDEN=1 rewrites).

What a first `up` has made must be what the second one keeps: that is checked of every file too.
"""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from wherry.compose import names
from wherry.compose.images import ImageWishes, plan_images
from wherry.compose.load import find_files, load, read_environment
from wherry.compose.plan import plan_up, wanted_services
from wherry.compose.project import Project
from wherry.compose.render import model, to_yaml
from wherry.compose.steps import Observed, Step, Wishes

GOLDEN = Path(__file__).parents[2] / "golden" / "compose"
NAMES = sorted(folder.name for folder in GOLDEN.iterdir() if folder.is_dir())
EXTERNAL = Observed(networks={"outside": {"Id": "n-outside"}}, volumes={"shared-data": {}})


def project_of(folder: Path) -> Project:
    environment = read_environment(folder, None, {})
    return load(find_files(folder), directory=folder, environment=environment)


def text_of(steps: list[Step], folder: Path) -> str:
    parts = []
    for step in steps:
        found: dict[str, Any] = {"do": step.line()}
        if step.made_after:
            found["made after"] = list(step.made_after)
        if step.after:
            found["after"] = list(step.after)
        if step.body:
            body = {**step.body}
            labels = body.pop("Labels", {})
            shown = {key: value for key, value in labels.items() if key not in (names.CONFIG_HASH, names.CONFIG_FILES)}
            found["body"] = {**body, "Labels": shown}
        parts.append(found)
    return to_yaml(parts).replace(str(folder), "<dir>")


def carried_out(steps: list[Step]) -> Observed:
    """What the engine has when these steps have been done."""
    networks = {
        s.name: {"Id": f"n-{s.name}", "Labels": s.body["Labels"]} for s in steps if s.action == "create network"
    }
    volumes = {s.name: {"Labels": s.body["Labels"]} for s in steps if s.action == "create volume"}
    networks |= EXTERNAL.networks
    containers = []
    for step in steps:
        if step.action != "create":
            continue
        host = step.body["HostConfig"]
        mounts = [{"Type": "volume", "Name": bind.split(":")[0]} for bind in host["Binds"]]
        mounts += [{"Type": one["Type"], "Name": one.get("Source")} for one in host["Mounts"]]
        connected = step.body.get("NetworkingConfig", {}).get("EndpointsConfig", {})
        containers.append(
            {
                "Id": f"c-{step.name}",
                "Names": [f"/{step.name}"],
                "Labels": step.body["Labels"],
                "State": "running",
                "ImageID": "",
                "Mounts": mounts,
                "NetworkSettings": {"Networks": {one: {"NetworkID": networks[one]["Id"]} for one in connected}},
            }
        )
    return Observed(tuple(containers), networks, {**volumes, **EXTERNAL.volumes})


@pytest.mark.parametrize("name", NAMES)
def test_first_up(name: str) -> None:
    folder = GOLDEN / name
    project = project_of(folder)
    services = wanted_services(project, ())
    images = plan_images(project, services, Observed(), ImageWishes(), {})
    found = text_of([*images, *plan_up(project, EXTERNAL, Wishes())], folder)
    expected = folder / "plan.yaml"
    if os.environ.get("WHERRY_UPDATE_GOLDEN"):
        expected.write_text(found)
    assert found == expected.read_text()


@pytest.mark.parametrize("name", NAMES)
def test_a_second_up_keeps_everything(name: str) -> None:
    project = project_of(GOLDEN / name)
    first = plan_up(project, EXTERNAL, Wishes())
    second = plan_up(project, carried_out(first), Wishes())
    assert {step.action for step in second} <= {"keep"}
    assert len(second) == sum(step.action == "create" for step in first)


@pytest.mark.parametrize("name", NAMES)
def test_the_canonical_form_is_a_compose_file_of_the_same_project(name: str, tmp_path: Path) -> None:
    folder = GOLDEN / name
    project = project_of(folder)
    shown = to_yaml(model(project, list(project.services), everything=True))
    file = tmp_path / "compose.yaml"
    file.write_text(shown)
    again = load([file], directory=folder, environment={"TOKEN": "abc"}, profiles=project.profiles)
    assert again.services == {
        key: {k: v for k, v in value.items() if v not in ({}, [])} for key, value in project.services.items()
    }
    assert again.networks == project.networks
    assert again.volumes == project.volumes
    assert yaml.safe_load(shown)["name"] == project.name

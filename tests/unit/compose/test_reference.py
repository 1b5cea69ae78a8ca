"""Every documented attribute of a Compose file, in every form: loaded, planned, and spoiled.

The cases are in `reference/*.yaml`: a file for each attribute of the Compose specification in each of its forms.

A case says what it is `about` (several attributes with commas), in which `form`, and `how` it is taken: honoured (where
nothing is said), carried (without effect outside of a cluster or this command), warned, or refused. The file is the
service `app` (`service`), a whole file (`file`), or text (`text`), with `more` merged onto it, beside `files`, with the
variables of `environment`. What is expected: parts of the service's canonical form (`gives`), of its container's create
request (`body`), of the requests for `networks` and `volumes`, the files copied into it (`contents`), the services in
the order of their containers (`order`), the steps for `images`, what it `warns` of or `refuses`.
"""

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from wherry.compose import build_fields, file_fields, service_fields
from wherry.compose.content import grants
from wherry.compose.errors import ComposeError
from wherry.compose.images import ImageWishes, plan_images
from wherry.compose.load import load, read_environment
from wherry.compose.plan import plan_up, wanted_services
from wherry.compose.project import Project
from wherry.compose.render import model, to_yaml
from wherry.compose.steps import Observed, Step, Wishes


def read(text: str) -> Any:
    return yaml.load(text, Loader=yaml.CSafeLoader)


def written(value: Any) -> str:
    return yaml.dump(value, Dumper=yaml.CSafeDumper, sort_keys=False)


FOLDER = Path(__file__).parent / "reference"
SECTIONS = ("services", "build-and-deploy", "top-level")


@dataclass(frozen=True)
class Case:
    section: str
    said: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.section}: {self.said['about']}, {self.said['form']}"

    @property
    def how(self) -> str:
        return str(self.said.get("how", "honoured"))

    def write(self, folder: Path) -> list[Path]:
        """The case's Compose files in `folder`, and what lies beside them."""
        folder.mkdir()
        for name, text in self.said.get("files", {}).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        if "service" in self.said:
            service = self.said["service"]
            stands = {"image", "build", "extends"} & service.keys()
            whole: Any = {"services": {"app": service if stands else {"image": "x", **service}}}
        else:
            whole = self.said.get("file")
        texts = [self.said["text"] if whole is None else written(whole)]
        if "more" in self.said:
            texts.append(written(self.said["more"]))
        if "more_text" in self.said:
            texts.append(self.said["more_text"])
        paths = [folder / f"compose{number or ''}.yaml" for number in range(len(texts))]
        for path, text in zip(paths, texts, strict=True):
            path.write_text(text)
        return paths

    def load(self, paths: list[Path]) -> Project:
        environment = read_environment(paths[0].parent, None, self.said.get("environment", {}))
        return load(paths, environment=environment, profiles=self.said.get("profiles", ()))

    def plan(self, project: Project) -> tuple[list[Step], list[Step]]:
        """The steps of a first `up`: for images, and for all else."""
        known = self.said.get("known", {})
        observed = Observed(
            networks={name: {"Id": name} for name in known.get("networks", ())},
            volumes={name: {} for name in known.get("volumes", ())},
        )
        services = wanted_services(project, ())
        steps = plan_up(project, observed, Wishes())
        for service in services:
            grants(project, service)
        return plan_images(project, services, observed, ImageWishes(), {}), steps


def cases() -> list[Case]:
    return [Case(section, said) for section in SECTIONS for said in read((FOLDER / f"{section}.yaml").read_text())]


def attributes(case: Case) -> list[str]:
    """What a case is about, one by one, with whole paths: `ports.name, target` is `ports.name` and `ports.target`."""
    first, *others = str(case.said["about"]).split(", ")
    parent = first.rpartition(".")[0]
    found = [first]
    for other in others:
        found.append(f"{parent}.{other}" if parent and not other.startswith(parent) else other)
    return found


def table(section: str) -> str:
    """The attributes of a section with their forms, as Markdown."""
    forms: dict[tuple[str, str], list[str]] = {}
    for case in cases():
        if case.section == section:
            why = str(case.said.get("warns") or case.said.get("refuses") or "")
            for attribute in attributes(case):
                row = forms.setdefault((attribute, case.how + (f": {why}" if why else "")), [])
                row.append(str(case.said["form"]))
    lines = ["| attribute | in the form | how |", "|---|---|---|"]
    for (attribute, how), said in forms.items():
        lines.append(f"| `{attribute}` | {'; '.join(said)} | {how} |".replace("$", "\\$"))
    return "\n".join(lines)


DOCUMENT = Path(__file__).parents[3] / "docs" / "compose-attributes.md"
CASES = cases()


def differences(found: Any, expected: Any, place: str = "") -> Iterator[str]:
    """Where `found` lacks what `expected` says; of mappings only the keys that are named."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key, value in expected.items():
            if key not in found:
                yield f"{place}.{key} is not there"
            else:
                yield from differences(found[key], value, f"{place}.{key}")
    elif isinstance(expected, list) and isinstance(found, list) and len(found) == len(expected):
        for index, value in enumerate(expected):
            yield from differences(found[index], value, f"{place}[{index}]")
    elif found != expected:
        yield f"{place} is {found!r}, not {expected!r}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_attribute(case: Case, tmp_path: Path) -> None:
    folder, said = tmp_path / "ref", case.said
    paths = case.write(folder)

    def here(value: Any) -> Any:
        return read(written(value).replace("<dir>", str(folder)))

    if "refuses" in said:
        with pytest.raises(ComposeError) as caught:
            case.plan(case.load(paths))
        assert said["refuses"] in caught.value.message
        assert caught.value.file in paths
        assert caught.value.line
        assert caught.value.key
        return
    project = case.load(paths)
    images, steps = case.plan(project)
    if "warns" in said:
        assert any(said["warns"] in message for message in project.warnings), project.warnings
    else:
        assert project.warnings == []
    made = [step for step in steps if step.action == "create"]
    app = next(step for step in made if step.service == "app")
    found = {
        "gives": project.services["app"],
        "body": app.body,
        "name": app.name,
        "project": project.name,
        "order": [step.service for step in made],
        "images": [step.id for step in images],
        "networks": {step.name: step.body for step in steps if step.action == "create network"},
        "volumes": {step.name: step.body for step in steps if step.action == "create volume"},
        "contents": {path: text for path, _, text in grants(project, "app")},
        "service_gives": project.services,
    }
    wrong = [line for key in found if key in said for line in differences(found[key], here(said[key]), key)]
    assert wrong == []
    for key in ("networks", "volumes"):
        if key in said:
            assert set(found[key]) == set(said[key])
    assert not set(said.get("lacks", ())) & project.services["app"].keys()

    shown = to_yaml(model(project, list(project.services), everything=True))
    again = folder / "again.yaml"
    again.write_text(shown)
    assert case.load([again]).services == {
        name: {key: value for key, value in one.items() if value not in ({}, [])}
        for name, one in project.services.items()
    }


KNOWN = {
    "services": service_fields.SERVICE_FIELDS,
    "services.healthcheck": service_fields.HEALTHCHECK.fields,
    "services.pre_start": service_fields.PRE_START.fields,
    "services.post_start": service_fields.HOOK.fields,
    "build-and-deploy.build": build_fields.BUILD.fields,
    "build-and-deploy.deploy": service_fields.DEPLOY.fields,
    "top-level": file_fields.file.fields,
    "top-level.networks": file_fields.NETWORK.fields,
    "top-level.volumes": file_fields.VOLUME.fields,
    "top-level.configs": {key: None for key in file_fields.CONTENT if key not in ("driver", "driver_opts")},
    "top-level.secrets": dict.fromkeys(("file", "environment", "external", "driver", "template_driver")),
}


@pytest.mark.parametrize("place", KNOWN)
def test_every_key_that_is_read_has_a_case(place: str) -> None:
    section, _, parent = place.partition(".")
    about = {attribute for case in CASES if case.section == section for attribute in attributes(case)}
    about |= {part for attribute in about for part in (attribute.partition(".")[0], ".".join(attribute.split(".")[:2]))}
    if section == "services":
        about |= {"build", "deploy", "develop"}
    if section == "top-level":
        about |= {"services"}
    expected = {f"{parent}.{key}" if parent else key for key in KNOWN[place]}
    assert expected - about == set()


def test_the_document_says_what_the_cases_say() -> None:
    text = DOCUMENT.read_text()
    for section in SECTIONS:
        begin, end = f"<!-- {section} -->\n", f"\n<!-- end of {section} -->"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = f"{before}{begin}{table(section)}{end}{after}"
    if os.environ.get("WHERRY_UPDATE_GOLDEN"):
        DOCUMENT.write_text(text)
    assert DOCUMENT.read_text() == text


JUNK: list[Any] = [
    None, True, 7, -1, 1.5, "", "junk", "${", "$$", ":::", "a:b:c:d:e", [], ["x"], [None], [[]], [{}], [7], {},
    {"junk": 1}, {"x": {"y": []}}, {"source": 5}, {"target": None}, "99999999999999999999", "1" * 400, "\x00", "é:/ü",
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value below `services`, `networks` and the others."""
    if path:
        yield path
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(item, (*path, key))


@pytest.mark.parametrize("case", [case for case in CASES if "text" not in case.said], ids=lambda case: case.name)
def test_what_is_wrong_is_named_with_its_place(case: Case, tmp_path: Path) -> None:
    """Any value of any case, replaced by something else: it is taken, or refused with file, line and key."""
    folder = tmp_path / "ref"
    paths = case.write(folder)
    whole = read(paths[0].read_text())
    chosen = random.Random(case.name)
    for _ in range(int(os.environ.get("WHERRY_ROUNDS", "3"))):
        spoiled = read(written(whole))
        path = chosen.choice(list(places(spoiled)))
        parent = spoiled
        for part in path[:-1]:
            parent = parent[part]
        parent[path[-1]] = chosen.choice(JUNK)
        paths[0].write_text(written(spoiled))
        try:
            case.plan(case.load(paths))
        except ComposeError as error:
            at = f"{path} = {parent[path[-1]]!r}: {error}"
            assert error.file is not None, at
            assert error.line, at
            assert error.key, at


def test_the_cases_are_where_they_are_said_to_be() -> None:
    assert sorted(path.stem for path in FOLDER.iterdir()) == sorted(SECTIONS)

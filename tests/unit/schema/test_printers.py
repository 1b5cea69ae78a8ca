from datetime import UTC, datetime
from pathlib import Path

import golden_files
import pytest

from wherry.schema import printers
from wherry.schema.builtin import BUILTIN, PODS
from wherry.schema.table import ResourceTable

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
TABLE = ResourceTable()


@pytest.mark.parametrize("path", golden_files.inputs("printers"), ids=lambda path: path.name.split(".")[0])
def test_golden(path: Path) -> None:
    found = []
    for obj in golden_files.load(path):
        resource = TABLE.for_kind(obj["apiVersion"], obj["kind"])
        assert resource is not None
        obj["metadata"].setdefault("creationTimestamp", "2026-01-01T11:00:00Z")
        made = printers.table(resource, [obj], NOW, "None")
        names = [column["name"] for column in made["columnDefinitions"]]
        assert len(names) == len(made["rows"][0]["cells"])
        found.append(dict(zip(names, made["rows"][0]["cells"], strict=True)))
    golden_files.check(path, found)


@pytest.mark.parametrize("resource", BUILTIN, ids=lambda one: f"{one.qualified}-{one.version}")
def test_bare_objects_can_be_shown(resource: object) -> None:
    made = printers.table(resource, [{"metadata": {"name": "x"}}], NOW)  # type: ignore[arg-type]
    row = made["rows"][0]
    assert len(row["cells"]) == len(made["columnDefinitions"])
    assert row["object"] == {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"name": "x"},
    }


def test_ended_pods_are_marked() -> None:
    made = printers.table(PODS, [{"metadata": {"name": "x"}, "status": {"phase": "Failed"}}], NOW, "Object")
    assert made["rows"][0]["conditions"][0]["reason"] == "Failed"
    assert made["rows"][0]["object"]["status"] == {"phase": "Failed"}

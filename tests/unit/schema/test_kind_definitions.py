import orjson

from wherry.schema import definitions, openapi
from wherry.schema.builtin import BUILTIN, DEPLOYMENTS, PODS
from wherry.schema.compile_types import compile_types
from wherry.schema.resource import Resource
from wherry.schema.table import ResourceTable


def test_the_compact_table_matches_the_published_definitions() -> None:
    assert orjson.loads(definitions.TYPES_PATH.read_bytes()) == compile_types()


def test_every_builtin_kind_has_a_type() -> None:
    untyped = {one.kind for one in BUILTIN if definitions.type_of(one) is None}
    assert untyped == {"NodeMetrics", "PodMetrics"}


def test_types_know_their_lists() -> None:
    kind = definitions.type_of(PODS)
    assert kind is not None
    ports = kind.fields["spec"].fields["containers"].items.fields["ports"]  # type: ignore[union-attr]
    assert (ports.keys, ports.merge_key, ports.go_name) == (
        ("containerPort", "protocol"),
        "containerPort",
        "[]v1.ContainerPort",
    )


def test_the_table_finds_adds_and_removes() -> None:
    table = ResourceTable()
    assert table.lookup("apps", "v1", "deployments") == DEPLOYMENTS
    assert table.for_kind("apps/v1", "Deployment") == DEPLOYMENTS
    assert table.versions("autoscaling") == ["v2", "v1"]
    widget = Resource("example.com", "v1", "Widget", "widgets")
    table.add(widget, extra="schema")
    assert (table.extra(widget), widget in table) == ("schema", True)
    table.remove(widget)
    assert table.lookup("example.com", "v1", "widgets") is None


def test_openapi_v3_documents_are_closed_and_name_the_kinds() -> None:
    table = ResourceTable()
    index = orjson.loads(openapi.v3_index(table))["paths"]
    assert index["apis/apps/v1"]["serverRelativeURL"].startswith("/openapi/v3/apis/apps/v1?hash=")
    for path in ("api/v1", "apis/apps/v1", "apis/policy/v1"):
        document = openapi.v3(table, path)
        assert document is not None
        decoded = orjson.loads(document)
        for part in document.split(b'"#/components/schemas/')[1:]:
            assert part.split(b'"')[0].decode() in decoded["components"]["schemas"]
    assert openapi.v3(table, "apis/nope/v1") is None
    patch = orjson.loads(openapi.v3(table, "apis/apps/v1") or b"")["paths"][
        "/apis/apps/v1/namespaces/{namespace}/deployments/{name}"
    ]["patch"]
    assert "application/strategic-merge-patch+json" in patch["requestBody"]["content"]
    assert {"dryRun", "fieldValidation"} <= {one["name"] for one in patch["parameters"]}

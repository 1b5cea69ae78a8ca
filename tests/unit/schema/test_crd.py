# ruff: noqa: E501 (tables of messages that must stay verbatim)
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from wherry.schema import crd, decode, defaults, printers, validation
from wherry.schema.builtin import CUSTOM_RESOURCE_DEFINITIONS
from wherry.schema.objects import deep_copy

WIDGETS = yaml.safe_load("""
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, kind: Widget, shortNames: [wg]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}, scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}}
    additionalPrinterColumns:
    - {name: Size, type: string, jsonPath: .spec.size}
    - {name: Replicas, type: integer, jsonPath: .spec.replicas}
    - {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
    schema:
      openAPIV3Schema:
        type: object
        required: [spec]
        properties:
          spec:
            type: object
            required: [size]
            properties:
              size: {type: string, enum: [small, large]}
              replicas: {type: integer, minimum: 1, maximum: 9, default: 2}
              name: {type: string, pattern: "^[a-z]+$", maxLength: 5}
              port: {x-kubernetes-int-or-string: true}
              free: {type: object, x-kubernetes-preserve-unknown-fields: true}
              labels: {type: object, additionalProperties: {type: string}}
              parts:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [id]
                items: {type: object, required: [id], properties: {id: {type: integer}, used: {type: boolean, default: true}}}
          status: {type: object, properties: {replicas: {type: integer}}}
""")


def kind() -> crd.CustomKind:
    obj = deep_copy(WIDGETS)
    assert decode.check_fields(CUSTOM_RESOURCE_DEFINITIONS, obj) == []
    defaults.apply_defaults(CUSTOM_RESOURCE_DEFINITIONS, obj)
    assert validation.validate_create(CUSTOM_RESOURCE_DEFINITIONS, obj) == []
    (found,) = crd.kinds(obj)
    return found


def widget(**spec: Any) -> dict[str, Any]:
    metadata = {"name": "w", "namespace": "default", "creationTimestamp": "2026-01-01T11:59:00Z"}
    return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": metadata, "spec": {"size": "small", **spec}}


def test_a_definition_brings_a_resource() -> None:
    resource = kind().resource
    assert (resource.qualified, resource.singular, resource.short_names) == ("widgets.example.com", "widget", ("wg",))
    assert resource.subresources == ("scale", "status")


def test_objects_are_pruned_and_defaulted() -> None:
    found = kind()
    obj = widget(extra=1, free={"x": {"y": 1}}, parts=[{"id": 1, "zzz": 2}], labels={"a": "b"})
    assert found.check_fields(obj) == ['unknown field "spec.extra"', 'unknown field "spec.parts[0].zzz"']
    found.apply_defaults(obj)
    assert obj["spec"] == {
        "size": "small",
        "free": {"x": {"y": 1}},
        "parts": [{"id": 1, "used": True}],
        "labels": {"a": "b"},
        "replicas": 2,
    }
    assert found.validate_create(obj) == []


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"size": "huge"}, 'spec.size: Unsupported value: "huge": supported values: "small", "large"'),
        ({"size": None}, 'spec.size: Invalid value: "null": spec.size in body must be of type string: "null"'),
        ({"replicas": 10}, "spec.replicas: Invalid value: 10: spec.replicas in body should be less than or equal to 9"),
        ({"replicas": "x"}, 'spec.replicas: Invalid value: "string": spec.replicas in body must be of type integer: "string"'),
        ({"name": "A"}, "spec.name: Invalid value: \"A\": spec.name in body should match '^[a-z]+$'"),
        ({"name": "abcdef"}, "spec.name: Too long: may not be more than 5 bytes"),
        ({"parts": [{"id": 1}, {"id": 1}]}, 'spec.parts[1]: Duplicate value: {"id":1}'),
        ({"parts": [{}]}, "spec.parts[0].id: Required value"),
        ({"labels": {"a": 1}}, 'spec.labels.a: Invalid value: "integer": spec.labels.a in body must be of type string: "integer"'),
    ],
)  # fmt: skip
def test_objects_are_validated(spec: dict[str, Any], expected: str) -> None:
    assert [f"{field}: {message}" for _, message, field in kind().validate_create(widget(**spec))] == [expected]


def test_columns() -> None:
    found = kind()
    made = printers.table(found.resource, [widget(replicas=3)], datetime(2026, 1, 1, 12, tzinfo=UTC), "None", found)
    assert [one["name"] for one in made["columnDefinitions"]] == ["Name", "Size", "Replicas", "Age"]
    assert made["rows"][0]["cells"] == ["w", "small", 3, "60s"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda obj: obj["metadata"].update(name="x"), 'metadata.name: Invalid value: "x": must be spec.names.plural+"."+spec.group'),
        (lambda obj: obj["spec"]["versions"][0].pop("schema"), "spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required"),
        (lambda obj: obj["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"].pop("type"),
         "spec.validation.openAPIV3Schema.properties[spec].type: Required value: must not be empty for specified object fields"),
        (lambda obj: obj["spec"]["versions"][0]["schema"]["openAPIV3Schema"].update({"x-kubernetes-validations": [{"rule": " "}]}),
         "spec.validation.openAPIV3Schema.x-kubernetes-validations[0].rule: Required value: "
         "rule is not specified"),
    ],
)  # fmt: skip
def test_definitions_are_validated(change: Any, expected: str) -> None:
    obj = deep_copy(WIDGETS)
    change(obj)
    defaults.apply_defaults(CUSTOM_RESOURCE_DEFINITIONS, obj)
    found = validation.validate_create(CUSTOM_RESOURCE_DEFINITIONS, obj)
    assert expected in [f"{field}: {message}" for _, message, field in found]


def test_versions_are_ordered_as_kubernetes_orders_them() -> None:
    names = ["v1beta1", "foo", "v2", "v1", "v1alpha1", "v10", "v1beta2"]
    assert sorted(names, key=crd.version_order) == ["v10", "v2", "v1", "v1beta2", "v1beta1", "v1alpha1", "foo"]

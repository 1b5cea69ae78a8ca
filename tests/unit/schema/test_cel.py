from typing import Any

import pytest

from wherry.schema.cel import rules
from wherry.schema.cel.cost import Scope
from wherry.schema.validation.field import Causes


def run(schema: dict[str, Any], new: Any, old: Any = None) -> list[str]:
    causes = Causes()
    rules.validate(schema, new, old, causes)
    return [f"{field}: {message}" for _, message, field in causes]


def spec(rule: str, properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    inner = {"type": "object", "x-kubernetes-validations": [{"rule": rule, **more}], "properties": properties}
    return {"type": "object", "properties": {"spec": inner}}


INTEGER = {"type": "integer"}
STRING = {"type": "string"}


@pytest.mark.parametrize(
    ("rule", "value", "good"),
    [
        ("self.minReplicas <= self.replicas", {"minReplicas": 1, "replicas": 2}, True),
        ("self.minReplicas <= self.replicas", {"minReplicas": 3, "replicas": 2}, False),
        ("self.items.all(i, i.startsWith('a'))", {"items": ["ab", "ac"]}, True),
        ("self.items.isSorted() && self.items.indexOf('b') == 1", {"items": ["a", "b"]}, True),
        ("self.numbers.sum() == 6.5", {"numbers": [1, 2, 3.5]}, True),
        ("self.ratio < 1.0", {"ratio": 0}, True),
        ("!has(self.name) || self.name.find('[0-9]+') == '12'", {"name": "a12b"}, True),
        ("quantity(self.name).isGreaterThan(quantity('1Mi'))", {"name": "1Gi"}, True),
        ("quantity('1024Mi') == quantity('1Gi')", {}, True),
        ("isURL(self.name) && url(self.name).getHostname() == 'a.example'", {"name": "https://a.example:8/x"}, True),
        ("cidr('10.0.0.0/8').containsIP(ip(self.name))", {"name": "10.1.2.3"}, True),
        ("self.?missing.orValue(5) == 5", {}, True),
        ("self.x__dash__y == 'a' && self.__namespace__ == 'b'", {"x-y": "a", "namespace": "b"}, True),
        ("timestamp(self.at) < timestamp('2030-01-01T00:00:00Z')", {"at": "2026-01-01T00:00:00Z"}, True),
        ("self.name.split(',').size() == 2 && self.name.lowerAscii() == 'a,b'", {"name": "A,B"}, True),
    ],
)
def test_a_rule_holds_or_not(rule: str, value: dict[str, Any], good: bool) -> None:
    properties = {
        "minReplicas": INTEGER,
        "replicas": INTEGER,
        "items": {"type": "array", "items": STRING},
        "numbers": {"type": "array", "items": {"type": "number"}},
        "ratio": {"type": "number"},
        "name": STRING,
        "x-y": STRING,
        "namespace": STRING,
        "at": {"type": "string", "format": "date-time"},
    }
    found = run(spec(rule, properties), {"spec": value})
    assert found == ([] if good else [f'spec: Invalid value: "object": failed rule: {rule}'])


def test_messages_reasons_and_paths() -> None:
    properties = {"a": INTEGER}
    said = spec("self.a > 5", properties, message="a must be large", reason="FieldValueForbidden", fieldPath=".a")
    assert run(said, {"spec": {"a": 1}}) == ["spec.a: Forbidden: a must be large"]
    made = spec("self.a > 5", properties, messageExpression="'a is ' + string(self.a)")
    assert run(made, {"spec": {"a": 1}}) == ['spec: Invalid value: "object": a is 1']
    failing = spec("self.b > 5", properties, message="never")
    assert run(failing, {"spec": {"a": 1}}) == ['spec: Invalid value: "object": no such key: b evaluating rule: never']


def test_transition_rules_run_on_updates_only() -> None:
    immutable = spec("self.a == oldSelf.a", {"a": INTEGER})
    assert run(immutable, {"spec": {"a": 1}}) == []
    assert run(immutable, {"spec": {"a": 1}}, {"spec": {"a": 1}}) == []
    assert run(immutable, {"spec": {"a": 2}}, {"spec": {"a": 1}}) != []
    optional = spec("oldSelf.hasValue() || self.a == 1", {"a": INTEGER}, optionalOldSelf=True)
    assert run(optional, {"spec": {"a": 2}}) != []
    assert run(optional, {"spec": {"a": 2}}, {"spec": {"a": 3}}) == []


def test_items_of_list_maps_are_found_again_by_their_keys() -> None:
    item = {
        "type": "object",
        "x-kubernetes-validations": [{"rule": "self.value >= oldSelf.value"}],
        "properties": {"name": STRING, "value": INTEGER},
    }
    listed = {"type": "array", "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
    schema = {"type": "object", "properties": {"list": listed}}
    old = {"list": [{"name": "a", "value": 1}, {"name": "b", "value": 5}]}
    assert run(schema, {"list": [{"name": "b", "value": 6}, {"name": "a", "value": 1}]}, old) == []
    found = run(schema, {"list": [{"name": "b", "value": 4}]}, old)
    assert found == ['list[0]: Invalid value: "object": failed rule: self.value >= oldSelf.value']


def test_a_definition_with_broken_rules_is_refused() -> None:
    causes = Causes()
    schema = {
        "type": "object",
        "x-kubernetes-validations": [{"rule": "self.a ="}, {"rule": ""}, {"rule": "foo == 1"}, {"rule": "1 + 1"}],
    }
    rules.check(schema, "s", causes, Scope())
    fields = [field for _, _, field in causes]
    assert fields == [f"s.x-kubernetes-validations[{index}].rule" for index in range(4)]
    assert "undeclared reference to 'foo'" in causes[2][1]


def test_rules_on_a_timestamp_see_a_timestamp() -> None:
    at = {"type": "string", "format": "date-time", "x-kubernetes-validations": [{"rule": "self.getFullYear() > 2000"}]}
    schema = {"type": "object", "properties": {"at": at}}
    assert run(schema, {"at": "2026-01-01T00:00:00Z"}) == []
    assert run(schema, {"at": "1999-01-01T00:00:00Z"}) != []

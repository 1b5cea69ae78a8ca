"""What rules may cost: the bounds at which the real API server begins to refuse a definition are known."""

from typing import Any

import pytest

from wherry.schema import crd
from wherry.schema.cel import rules
from wherry.schema.cel.cost import Scope, estimate
from wherry.schema.cel.programs import Program
from wherry.schema.errors import Cause
from wherry.schema.validation.field import Causes

HINT = "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"  # noqa: E501


def definition(spec: dict[str, Any]) -> dict[str, Any]:
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}},
    }
    return {
        "metadata": {"name": "things.example.org"},
        "spec": {
            "group": "example.org",
            "scope": "Namespaced",
            "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
            "versions": [version],
        },
    }


def refusals(spec: dict[str, Any]) -> list[Cause]:
    causes = Causes()
    crd.create(definition(spec), causes)
    return causes


def texts(rule: str, most: int | None, length: int | None) -> dict[str, Any]:
    """A list of texts with one rule."""
    item: dict[str, Any] = {"type": "string"} | ({"maxLength": length} if length is not None else {})
    found: dict[str, Any] = {"type": "array", "items": item, "x-kubernetes-validations": [{"rule": rule}]}
    return found | ({"maxItems": most} if most is not None else {})


@pytest.mark.parametrize(("length", "most"), [(16, 909_090), (63, 333_333), (253, 94_339), (1024, 24_154)])
def test_a_loop_over_texts_is_refused_where_the_real_server_refuses_it(length: int, most: int) -> None:
    rule = "self.all(x, x.contains('gpu'))"
    assert refusals(texts(rule, most, length)) == []
    (refused,) = refusals(texts(rule, most + 1, length))
    assert refused[1].startswith("Forbidden: estimated rule cost exceeds budget by factor of 1.0")


def test_a_rule_without_bounds_is_refused_thrice() -> None:
    found = refusals(texts("self.all(x, x.contains('gpu'))", None, None))
    where = "spec.validation.openAPIV3Schema"
    rule = f"{where}.properties[spec].x-kubernetes-validations[0].rule"
    assert [(field, message) for _, message, field in found] == [
        (rule, f"Forbidden: estimated rule cost exceeds budget by factor of more than 100x {HINT}"),
        (rule, "Forbidden: contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"),
        (
            where,
            "Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget "
            f"by factor of more than 100x {HINT}",
        ),
    ]


@pytest.mark.parametrize(
    "rule",
    [
        "self.all(a, self.all(b, self.all(c, a != b || b != c)))",
        "self.exists_one(a, a.matches('^(a+)+$'))",
        "self.map(a, a + a).all(b, b.size() > 1)",
        "cel.bind(all, self.filter(a, a != ''), all.all(a, all.all(b, a == b)))",
    ],
)
def test_loops_in_loops_need_bounds(rule: str) -> None:
    assert any("estimated rule cost" in cause[1] for cause in refusals(texts(rule, None, None)))
    assert refusals(texts(rule, 10, 10)) == []


def test_a_rule_counts_in_every_place_where_it_applies() -> None:
    inner = {"type": "string", "maxLength": 1000, "x-kubernetes-validations": [{"rule": "self.matches('^[a-z]+$')"}]}
    assert refusals({"type": "array", "maxItems": 1000, "items": inner}) == []
    assert refusals({"type": "array", "items": inner}) != []
    nested = {"type": "array", "maxItems": 1000, "items": inner}
    assert refusals({"type": "object", "additionalProperties": nested, "maxProperties": 1000}) != []


def test_ordinary_rules_are_cheap() -> None:
    schema = {
        "type": "object",
        "properties": {
            "min": {"type": "integer"},
            "max": {"type": "integer"},
            "x-name": {"type": "string"},
            "at": {"type": "string", "format": "date-time"},
        },
    }
    for rule, cost in (
        ("self.min <= self.max", 5),
        ("has(self.min) && self.min > 0", 5),
        ("!has(oldSelf.at) || self.at == oldSelf.at", 7),
        ("self.x__dash__name.startsWith('a')", 3),
    ):
        assert estimate(Program(rule).serialized(), schema) <= cost
        assert refusals(schema | {"x-kubernetes-validations": [{"rule": rule}]}) == []


def test_a_dear_message_is_refused_too() -> None:
    validation = {"rule": "self.a.size() > 1", "messageExpression": "'is ' + self.a + self.a + self.a"}
    long = {"type": "string"}
    schema: dict[str, Any] = {"type": "object", "properties": {"a": long}, "x-kubernetes-validations": [validation]}
    assert refusals(schema) == []
    many = {"type": "array", "maxItems": 100, "items": schema}
    assert any("estimated messageExpression cost" in cause[1] for cause in refusals(many))


def test_rules_that_run_too_long_end_the_validation() -> None:
    causes = Causes()
    schema = texts("self.all(a, self.all(b, a != '' || b != ''))", None, None)
    rules.check(schema, "s", Causes(), Scope())
    rules.validate({"type": "object", "properties": {"names": schema}}, {"names": ["a"] * 200}, None, causes)
    assert [cause[1:] for cause in causes] == [
        (
            'Invalid value: "array": validation failed due to running out of cost budget, no further validation rules '
            "will be run",
            "names",
        )
    ]

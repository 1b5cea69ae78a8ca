import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.schema import selectors
from wherry.schema.selectors import parse_fields, parse_labels


@pytest.mark.parametrize(
    ("text", "labels", "expected"),
    [
        ("", {}, True), ("a=b", {"a": "b"}, True), ("a==b", {"a": "c"}, False), ("a!=b", {}, True),
        ("a in (b,c)", {"a": "c"}, True), ("a notin (b)", {"a": "b"}, False), ("a", {"a": ""}, True),
        ("!a", {"a": ""}, False), ("a=", {"a": ""}, True), ("a>5", {"a": "6"}, True), ("a<5", {"a": "x"}, False),
        (" a = b , c ", {"a": "b", "c": "1"}, True), ("a in ()", {"a": ""}, True), ("in=in", {"in": "in"}, True),
        ("example.com/a=b,c=d", {"example.com/a": "b"}, False),
    ],
)  # fmt: skip
def test_label_selectors_match(text: str, labels: dict[str, str], expected: bool) -> None:
    assert parse_labels(text).matches(labels) is expected


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("=x", "found '=', expected: !, identifier, or 'end of string'"),
        ("a=b,", "found '', expected: identifier after ','"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
    ],
)
def test_malformed_label_selectors_are_refused(text: str, error: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_labels(text)
    assert str(caught.value) == error


@given(st.text(max_size=40))
def test_any_text_parses_or_is_refused(text: str) -> None:
    for parse in (parse_labels, parse_fields):
        with contextlib.suppress(ValueError):
            parse(text)


_WORD = st.from_regex(r"[a-z][a-z0-9]{0,5}", fullmatch=True)


@given(st.dictionaries(_WORD, _WORD, max_size=4), st.dictionaries(_WORD, _WORD, max_size=4))
def test_a_selector_from_a_set_matches_its_supersets(wanted: dict[str, str], labels: dict[str, str]) -> None:
    selector = selectors.from_set(wanted)
    assert selector.matches({**labels, **wanted})
    assert selector.matches(labels) == (wanted.items() <= labels.items())
    assert parse_labels(str(selector)) == selector


def test_label_selector_structs() -> None:
    struct = {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "t", "operator": "In", "values": ["y", "x"]}]}
    selector = selectors.from_label_selector(struct)
    assert selector.matches({"a": "b", "t": "x"})
    assert not selector.matches({"a": "b"})
    assert selectors.format_label_selector(struct) == "a=b,t in (x,y)"
    assert selectors.from_label_selector(None).matches({"a": "b"}) is False
    assert selectors.from_label_selector({}).matches({}) is True


def test_node_selectors() -> None:
    node = {"metadata": {"name": "n1", "labels": {"cores": "8"}}}
    term = {"matchExpressions": [{"key": "cores", "operator": "Gt", "values": ["4"]}]}
    assert selectors.node_selector_term_matches(term, node)
    assert not selectors.node_selector_term_matches({}, node)
    by_name = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n2"]}]}
    assert selectors.node_selector_matches({"nodeSelectorTerms": [by_name, term]}, node)
    assert not selectors.node_selector_matches({"nodeSelectorTerms": [by_name]}, node)


def test_field_selectors() -> None:
    pod = {"metadata": {"name": "x"}, "spec": {"nodeName": "n1"}, "status": {"phase": "Running"}}
    assert parse_fields("status.phase=Running,spec.nodeName!=n2").matches(pod)
    assert not parse_fields("metadata.name==y").matches(pod)
    assert parse_fields(r"metadata.name=a\,b").requirements[0].value == "a,b"
    assert selectors.field_value({"spec": {}}, "spec.unschedulable") == "false"
    with pytest.raises(ValueError, match=r"field label not supported: spec\.image"):
        selectors.check_fields(parse_fields("spec.image=x"), "", "Pod")

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.compose.merge import merge, strip
from wherry.compose.source import Override, Reset

few = settings(max_examples=30)


def merged(base: dict[str, Any], later: dict[str, Any]) -> Any:
    return merge({"services": {"web": base}}, {"services": {"web": later}})["services"]["web"]


KEYS = st.sampled_from(["image", "environment", "labels", "dns", "command", "deploy", "logging", "x-own"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.text("ab", max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3, unique_by=repr) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=4)


@few
@given(DOCUMENTS)
def test_nothing_more_changes_nothing(document: dict[str, Any]) -> None:
    assert merge(document, {}) == document
    assert merge({}, document) == document


@few
@given(DOCUMENTS, DOCUMENTS)
def test_neither_side_is_changed(base: dict[str, Any], later: dict[str, Any]) -> None:
    import copy

    before = copy.deepcopy((base, later))
    merge(base, later)
    assert (base, later) == before


@few
@given(DOCUMENTS, DOCUMENTS)
def test_every_key_of_both_is_there_and_single_values_of_the_later_count(
    base: dict[str, Any], later: dict[str, Any]
) -> None:
    found = merge(base, later)
    assert set(found) == set(base) | set(later)
    for key, value in later.items():
        if not isinstance(value, dict | list) and value is not None:
            assert found[key] == value


@few
@given(DOCUMENTS, DOCUMENTS)
def test_saying_it_twice_is_saying_it_once(base: dict[str, Any], later: dict[str, Any]) -> None:
    once = merge(base, later)
    assert merge(once, later) == once


@few
@given(DOCUMENTS, KEYS, VALUES)
def test_override_replaces_and_reset_removes(base: dict[str, Any], key: str, value: Any) -> None:
    assert merge(base, {key: Override(value)})[key] == value
    assert key not in merge(base, {key: Reset(None)})


@few
@given(DOCUMENTS)
def test_strip_leaves_no_tag(document: dict[str, Any]) -> None:
    tagged = {"a": Override(document), "b": Reset(None), "c": [Override(1)]}
    assert strip(tagged) == {"a": document, "c": [1]}


@pytest.mark.parametrize(
    ("base", "later", "expected"),
    [
        pytest.param({"command": ["a", "b"]}, {"command": ["c"]}, {"command": ["c"]}, id="a command is replaced"),
        pytest.param(
            {"healthcheck": {"test": ["CMD", "a"], "retries": 1}},
            {"healthcheck": {"test": ["CMD", "b"]}},
            {"healthcheck": {"test": ["CMD", "b"], "retries": 1}},
            id="so is a test",
        ),
        pytest.param({"dns": ["1", "2"]}, {"dns": ["2", "3"]}, {"dns": ["1", "2", "3"]}, id="lists are joined"),
        pytest.param(
            {"environment": {"A": "1", "B": "1"}},
            {"environment": {"B": "2"}},
            {"environment": {"A": "1", "B": "2"}},
            id="mappings merge",
        ),
        pytest.param(
            {"volumes": [{"type": "volume", "source": "v", "target": "/d"}]},
            {"volumes": [{"type": "bind", "source": "/x", "target": "/d"}]},
            {"volumes": [{"type": "bind", "source": "/x", "target": "/d"}]},
            id="one volume per place",
        ),
        pytest.param(
            {"ports": [{"target": 80, "published": "1", "protocol": "tcp"}]},
            {"ports": [{"target": 80, "published": "2", "protocol": "tcp"}]},
            {
                "ports": [
                    {"target": 80, "published": "1", "protocol": "tcp"},
                    {"target": 80, "published": "2", "protocol": "tcp"},
                ]
            },
            id="ports of different places add up",
        ),
        pytest.param(
            {"logging": {"driver": "syslog", "options": {"a": "1"}}},
            {"logging": {"driver": "json-file", "options": {"b": "2"}}},
            {"logging": {"driver": "json-file", "options": {"b": "2"}}},
            id="options of another log driver go",
        ),
        pytest.param({"networks": {"a": None}}, {"networks": {"a": {"priority": 1}}},
                     {"networks": {"a": {"priority": 1}}}, id="null becomes something"),
    ],
)  # fmt: skip
def test_rules(base: dict[str, Any], later: dict[str, Any], expected: dict[str, Any]) -> None:
    assert merged(base, later) == expected

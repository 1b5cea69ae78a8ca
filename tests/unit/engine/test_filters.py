"""Docker's filter syntax."""

import pytest

from wherry.engine.errors import InvalidParameter
from wherry.engine.filters import Filters, parse_filters


def test_both_forms_and_none_are_read() -> None:
    assert parse_filters('{"a":["x","x","y"]}') == {"a": ["x", "y"]}
    assert parse_filters('{"a":{"x":true,"y":false}}') == {"a": ["x"]}
    assert parse_filters("") == parse_filters(None) == parse_filters("null") == {}


@pytest.mark.parametrize("raw", ["[", "[]", "1", '{"a":1}', '{"a":[1]}', '{"a":{"x":1}}'])
def test_anything_else_is_an_invalid_filter(raw: str) -> None:
    with pytest.raises(InvalidParameter, match=r"^invalid filter$"):
        parse_filters(raw)


def test_unknown_keys_are_named() -> None:
    with pytest.raises(InvalidParameter, match=r"^invalid filter 'colour'$"):
        Filters(colour=["red"]).validate({"label"})


def test_matching() -> None:
    filters = Filters(name=["^web", "["], id=["ab"], driver=["local"], label=["a", "b=2"])
    assert filters.match("name", "web-1")
    assert not filters.match("name", "my-web")
    assert filters.match("other", "anything")
    assert filters.fuzzy("id", "abc")
    assert not filters.fuzzy("id", "xab")
    assert not filters.exact("driver", "nfs")
    assert filters.labels({"a": "", "b": "2"})
    assert not filters.labels({"a": "", "b": "3"})
    assert not filters.labels(None)


def test_prune_labels() -> None:
    assert not Filters({"label!": ["keep"]}).prune_labels({"keep": "1"})
    assert Filters({"label!": ["keep"]}).prune_labels({})
    assert not Filters({"label": ["x"]}).prune_labels({})


def test_booleans() -> None:
    assert Filters(dangling=["1"]).boolean("dangling")
    assert not Filters(dangling=["false"]).boolean("dangling")
    assert Filters().boolean("dangling", True)
    with pytest.raises(InvalidParameter, match=r"^invalid filter 'dangling=\[true false\]'$"):
        Filters(dangling=["true", "false"]).boolean("dangling")
    with pytest.raises(InvalidParameter):
        Filters(dangling=["maybe"]).boolean("dangling")

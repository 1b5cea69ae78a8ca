"""YAML is written to the letter as kubectl writes it, and read as Go's package reads it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.cli.kubectl.yamlio import YamlError, dump, load, load_all

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=30)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(TEXT.filter(lambda key: "\n" not in key), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": "x"}, "a: x\nb: 1\n"),
        ({"a": [{"b": 1, "c": [1, 2]}, "x"]}, "a:\n- b: 1\n  c:\n  - 1\n  - 2\n- x\n"),
        ({"a": {}, "b": [], "c": None}, "a: {}\nb: []\nc: null\n"),
        ({"a": "true", "b": "1", "c": "", "d": "null", "e": "y"}, 'a: "true"\nb: "1"\nc: ""\nd: "null"\ne: "y"\n'),
        ({"a": "2026-01-02T03:04:05Z"}, 'a: "2026-01-02T03:04:05Z"\n'),
        ({"a": "one\ntwo\n"}, "a: |\n  one\n  two\n"),
        ({"a": "one\ntwo"}, "a: |-\n  one\n  two\n"),
        ({"a": "k: v", "b": "- x", "c": "#no", "d": "it's"}, "a: 'k: v'\nb: '- x'\nc: '#no'\nd: it's\n"),
        ({"a": "tab\there"}, 'a: "tab\\there"\n'),
    ],
)
def test_written_form(value: Any, text: str) -> None:
    assert dump(value) == text


def test_long_text_is_folded_behind_column_eighty() -> None:
    words = " ".join(["word"] * 30)
    lines = dump({"key": words}).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("key: word") and 80 < len(lines[0]) < 88
    assert lines[1].startswith("  word")
    assert load(dump({"key": words})) == {"key": words}


@given(JSON)
def test_what_is_written_is_read_again(value: Any) -> None:
    assert load(dump({"value": value})) == {"value": value}


def test_go_reads_times_and_sixties_as_text() -> None:
    assert load("a: 2026-01-02\nb: 12:30\nc: 0644\nd: yes\ne: 1e3") == {
        "a": "2026-01-02",
        "b": "12:30",
        "c": 0o644,
        "d": True,
        "e": 1000,
    }


def test_errors_name_the_line() -> None:
    with pytest.raises(YamlError, match="yaml: line 2: "):
        list(load_all("a: b\n  c: d\n"))

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.compose.interpolate import InterpolationError, expand

VARIABLES = {"SET": "value", "EMPTY": "", "OTHER": "word"}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("plain", "plain"),
        ("$SET", "value"),
        ("${SET}", "value"),
        ("a$SET-b", "avalue-b"),
        ("$UNSET", ""),
        ("$$SET", "$SET"),
        ("$${SET}", "${SET}"),
        ("${SET:-x}", "value"),
        ("${EMPTY:-x}", "x"),
        ("${EMPTY-x}", ""),
        ("${UNSET-x}", "x"),
        ("${UNSET:-}", ""),
        ("${UNSET:-${OTHER}}", "word"),
        ("${UNSET:-${UNSET2:-deep}}", "deep"),
        ("${SET:+x}", "x"),
        ("${EMPTY:+x}", ""),
        ("${EMPTY+x}", "x"),
        ("${UNSET+x}", ""),
        ("${SET:?needed}", "value"),
        ("${EMPTY?needed}", ""),
        ('${UNSET:-{"a":{"b":1}}}', '{"a":{"b":1}}'),
    ],
)
def test_forms(template: str, expected: str) -> None:
    assert expand(template, VARIABLES) == expected


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("${UNSET:?say why}", "required variable UNSET is missing a value: say why"),
        ("${EMPTY:?}", "required variable EMPTY is missing a value"),
        ("${UNSET?because $OTHER}", "required variable UNSET is missing a value: because word"),
        ("$", "Invalid template"),
        ("$1", "Invalid template"),
        ("${", "Invalid template"),
        ("${SET", "Invalid template"),
        ("${SET:x}", "Invalid template"),
        ("${UNSET:-${SET}", "is not closed"),
    ],
)
def test_errors(template: str, message: str) -> None:
    with pytest.raises(InterpolationError) as error:
        expand(template, VARIABLES)
    assert message in str(error.value)


def test_unset_variables_are_reported_only_where_used() -> None:
    heard: list[str] = []
    expand("$A ${B} ${C:-$D} ${SET:-$E}", VARIABLES, heard.append)
    assert heard == ["A", "B", "D"]


@given(st.text())
def test_escaping_every_dollar_gives_the_text_back(text: str) -> None:
    assert expand(text.replace("$", "$$"), {}) == text


@given(st.text(alphabet="${}:-?+AB \n", max_size=30))
def test_any_text_expands_or_is_refused(text: str) -> None:
    with contextlib.suppress(InterpolationError):
        expand(text, {"A": "1"})

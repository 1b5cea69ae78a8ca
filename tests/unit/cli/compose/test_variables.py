"""What `config --variables` finds in a line."""

import pytest

from wherry.cli.compose.variables import named


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", []),
        ("$A and ${B}", [["A", "false", "", ""], ["B", "false", "", ""]]),
        ("$$A $${B} $$$C", [["C", "false", "", ""]]),
        ("${A:-d}${B-e f}", [["A", "false", "d", ""], ["B", "false", "e f", ""]]),
        ("${A:?said} ${B?}", [["A", "true", "", ""], ["B", "true", "", ""]]),
        ("${A:+x}", [["A", "false", "", "x"]]),
        ("${A:-${B:-{}}}/$C", [["A", "false", "${B:-{}}", ""], ["B", "false", "{}", ""], ["C", "false", "", ""]]),
        ("${A:-open", [["A", "false", "open", ""]]),
    ],
)
def test_variables_of_a_line(text: str, expected: list[list[str]]) -> None:
    assert list(named(text)) == expected

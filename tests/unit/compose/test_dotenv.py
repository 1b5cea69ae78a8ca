import pytest

from wherry.compose import dotenv
from wherry.compose.errors import ComposeError


def parse(text: str, **environment: str) -> dict[str, str | None]:
    return dotenv.parse(text, ".env", environment)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("A=b", "b"),
        ("export A=b", "b"),
        ("A = b", "b"),
        ("A: b", "b"),
        ("A=", ""),
        ("A=b # comment", "b"),
        ("A=b#no-comment", "b#no-comment"),
        ("A='single $X \\n'", "single $X \\n"),
        ("A='it\\'s'", "it's"),
        ('A="line\\nnext"', "line\nnext"),
        ('A="a\nb"', "a\nb"),
        ('A="b" # comment', "b"),
        ("A=${X:-d}", "d"),
        ("X=1\nA=$X", "1"),
        ('A="\\$X"', "$X"),
        ("A=spaces inside", "spaces inside"),
        ("A", None),
    ],
)
def test_values(text: str, value: str | None) -> None:
    assert parse(text)["A"] == value


def test_the_caller_s_environment_is_seen_first() -> None:
    assert parse("X=file\nA=$X", X="shell")["A"] == "shell"


@pytest.mark.parametrize(("text", "line"), [("\n=b", 2), ('A=1\nB="open', 2), ("A b", 1), ('A="b" c', 1)])
def test_errors_name_the_line(text: str, line: int) -> None:
    with pytest.raises(ComposeError) as error:
        parse(text)
    assert error.value.line == line

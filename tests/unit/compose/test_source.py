from pathlib import Path

import pytest

from wherry.compose.errors import ComposeError
from wherry.compose.source import Override, Reset, Source, parse, show

FILE = Path("compose.yaml")


def one(text: str) -> Source:
    (source,) = parse(text, FILE)
    return source


def test_scalars_are_those_of_yaml_1_2() -> None:
    data = one("a: yes\nb: 22:22\nc: 0o17\nd: true\ne: 1.5\nf: null\ng: 2020-01-01\nh: '5'\ni: 017").data
    assert data == {
        "a": "yes", "b": "22:22", "c": 15, "d": True, "e": 1.5, "f": None, "g": "2020-01-01", "h": "5", "i": 15,
    }  # fmt: skip


def test_merge_keys_and_anchors() -> None:
    data = one("x-base: &base {a: 1, b: 2}\nservice:\n  <<: *base\n  b: 3\n").data
    assert data["service"] == {"a": 1, "b": 3}


def test_lines_of_keys() -> None:
    source = one("services:\n  web:\n    image: a\n    ports:\n      - '80'\n")
    assert source.lines[("services", "web", "image")] == (FILE, 3)
    assert source.lines[("services", "web", "ports", 0)] == (FILE, 5)
    assert str(source.error("wrong", ("services", "web", "ports", 0, "target"))).startswith("compose.yaml:5: ")


def test_tags() -> None:
    data = one("a: !reset null\nb: !override [1]\n").data
    assert isinstance(data["a"], Reset)
    assert isinstance(data["b"], Override)
    assert data["b"].value == [1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "compose.yaml:2: yaml: did not find expected node content"),
        ("a: 1\na: 2\n", 'mapping key "a" already defined at line 1'),
        ("- a\n", "top-level object must be a mapping"),
        ("a: !secret b", "unknown tag !secret"),
        ("a: &a [b]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n" + "".join(
            f"{new}: &{new} [{','.join(['*' + old] * 9)}]\n" for old, new in zip("bcdefgh", "cdefghi", strict=True)
        ), "too many values"),
    ],
)  # fmt: skip
def test_errors(text: str, message: str) -> None:
    with pytest.raises(ComposeError) as error:
        list(parse(text, FILE))
    assert message in str(error.value)


def test_paths_are_shown_as_people_write_them() -> None:
    assert show(("services", "web", "ports", 0)) == "services.web.ports[0]"

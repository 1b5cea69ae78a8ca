"""Nesting in YAML that would take the process with it."""

import pytest
import yaml

from wherry.host import yaml_bounds


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a":' * 50_000 + "1" + "}" * 50_000, "- " * 30_000, "? " * 20_000,
     "\n".join(" " * depth + "a:" for depth in range(1500))],
)  # fmt: skip
def test_what_is_too_deep_is_refused_whatever_its_form(text: str) -> None:
    for form in (text, text.encode()):
        with pytest.raises(yaml_bounds.TooDeep, match="exceeded max depth of 1000"):
            yaml_bounds.check(form)


@pytest.mark.parametrize(
    "text", ["", "a: b", "[1, 2]\n" * 2000, "a: " + "x" * 5000, "[" * 900 + "]" * 900, "a: [", "\x00"]
)
def test_everything_else_passes(text: str) -> None:
    yaml_bounds.check(text)
    yaml_bounds.check(text.encode())


def test_what_passes_can_be_loaded() -> None:
    depth = yaml_bounds.MAX_DEPTH - 1
    text = "[" * depth + "]" * depth
    yaml_bounds.check(text)
    assert yaml.load(text, yaml.CSafeLoader) is not None

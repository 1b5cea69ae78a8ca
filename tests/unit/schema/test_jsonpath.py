import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.schema import jsonpath

OBJ = {
    "kind": "List",
    "items": [
        {
            "metadata": {"name": "a", "labels": {"app.kubernetes.io/name": "x"}},
            "n": 1,
            "ready": True,
            "tags": ["p", "q"],
        },
        {"metadata": {"name": "b"}, "n": 22, "ready": False, "tags": []},
    ],
}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{.kind}", "List"), ("{.items[*].metadata.name}", "a b"), ("{.items[0].n}", "1"), ("{.items[-1].n}", "22"),
        ("{.items[0:1].metadata.name}", "a"), ("{.items[0,1].n}", "1 22"), ("{$.kind}", "List"), ("{@.kind}", "List"),
        ('{.items[?(@.metadata.name=="b")].n}', "22"), ("{.items[?(@.n>1)].metadata.name}", "b"),
        ("{.items[?(@.ready==true)].metadata.name}", "a"), ("{.items[?(@.tags[0])].metadata.name}", "a"),
        ("{range .items[*]}{.metadata.name}={.n}{'\\n'}{end}", "a=1\nb=22\n"), ("{..name}", "a b"),
        (r"{.items[0].metadata.labels.app\.kubernetes\.io/name}", "x"), ("n: {.items[0].n}!", "n: 1!"),
        ("{.items[0].metadata.labels['app.kubernetes.io/name']}", "x"), ("{.items[0].tags}", '["p","q"]'),
        ("{.nothing}", ""), ("{.items[0]['n','ready']}", "1 true"), ("{'text'}", "text"),
        ("{range .items[*]}{range .tags[*]}{@};{end}{end}", "p;q;"),
    ],
)  # fmt: skip
def test_templates(template: str, expected: str) -> None:
    assert jsonpath.parse(template).render(OBJ) == expected


@pytest.mark.parametrize("template", ["{.a", "{range .a}", "{end}", "{.a[}", "{.a[x]}", "{#}", "{'x}"])
def test_malformed_templates_are_refused(template: str) -> None:
    with pytest.raises(ValueError):
        jsonpath.parse(template)


def test_missing_fields_can_be_errors() -> None:
    with pytest.raises(ValueError, match="nope is not found"):
        jsonpath.parse("{.nope}", allow_missing=False).render(OBJ)


@given(st.text(alphabet="{}.[]*?@()'\"=ab0:,$ ", max_size=20))
def test_any_text_is_a_template_or_refused(text: str) -> None:
    try:
        jsonpath.parse(text).render({"a": [{"b": 0}]})
    except ValueError:
        return

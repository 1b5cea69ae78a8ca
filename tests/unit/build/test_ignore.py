import pytest

from wherry.build.ignore import Patterns, read_ignore_file


@pytest.mark.parametrize(
    ("lines", "path", "hidden"),
    [
        (["a"], "a", True),
        (["a"], "a/b", True),
        (["a"], "b/a", False),
        (["*/a"], "b/a", True),
        (["*/a"], "b/c/a", False),
        (["**/a"], "a", True),
        (["**/a"], "b/c/a", True),
        (["**"], "anything/at/all", True),
        (["*.go"], "x.go", True),
        (["*.go"], "d/x.go", False),
        (["**/*.go"], "d/e/x.go", True),
        (["a?"], "ab", True),
        (["a?"], "abc", False),
        (["[a-c]"], "b", True),
        (["[^a-c]"], "b", False),
        (["a\\*"], "a*", True),
        (["a\\*"], "ab", False),
        (["*", "!keep"], "keep", False),
        (["*", "!keep"], "drop", True),
        (["*", "!keep/x"], "keep/x", False),
        (["*", "!keep/x"], "keep/y", True),
        (["*.md", "!README.md"], "README.md", False),
        (["*.md", "!README*.md", "README-secret.md"], "README-secret.md", True),
        (["*.md", "README-secret.md", "!README*.md"], "README-secret.md", False),
        (["/a"], "a", True),
        (["./a/"], "a", True),
        (["a/../b"], "b", True),
        (["#a"], "#a", False),
        (["dir/**"], "dir/x", True),
        (["dir/**"], "dir", False),
        (["a/**/z"], "a/z", True),
        (["a/**/z"], "a/b/c/z", True),
    ],
)
def test_ignore_rules(lines: list[str], path: str, hidden: bool) -> None:
    assert Patterns(read_ignore_file("\n".join(lines))).matches(path) is hidden


def test_a_lone_exclamation_mark_is_an_error() -> None:
    with pytest.raises(ValueError, match='illegal exclusion pattern: "!"'):
        Patterns(["!"])


def test_comments_blank_lines_and_byte_order_marks_are_skipped() -> None:
    assert read_ignore_file("\ufeff# c\n\n  a \r\n!b\n") == ["a", "!b"]

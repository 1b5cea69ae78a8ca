import pytest

from wherry.build.shellwords import SubstitutionError, expand, expand_words, process

ENV = {"A": "one", "EMPTY": "", "P": "/usr/local/lib/libfoo.so.1", "S": "a b", "X": "a.b.c"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("$A", "one"),
        ("${A}x", "onex"),
        ("$Ax", ""),
        ("$NOPE", ""),
        ("a$", "a$"),
        (r"\$A", "$A"),
        (r"\\$A", r"\one"),
        ("'$A'", "$A"),
        ('"$A"', "one"),
        (r'"\$A"', "$A"),
        (r'"\a"', r"\a"),
        (r"'\a'", r"\a"),
        (r"\a", "a"),
        ("he'll'o", "hello"),
        ("${A:-two}", "one"),
        ("${NOPE:-two}", "two"),
        ("${EMPTY:-two}", "two"),
        ("${EMPTY-two}", ""),
        ("${NOPE-two}", "two"),
        ("${A:+two}", "two"),
        ("${EMPTY:+two}", ""),
        ("${EMPTY+two}", "two"),
        ("${NOPE+two}", ""),
        ("${NOPE:-$A}", "one"),
        ("${NOPE:-${A}x}", "onex"),
        ("${NOPE:-'q'}", "q"),
        ("${A:?bad}", "one"),
        ("${P##*/}", "libfoo.so.1"),
        ("${P#*/}", "usr/local/lib/libfoo.so.1"),
        ("${P%.*}", "/usr/local/lib/libfoo.so"),
        ("${P%%.*}", "/usr/local/lib/libfoo"),
        ("${X%.?}", "a.b"),
        ("${X/./-}", "a-b.c"),
        ("${X//./-}", "a-b-c"),
        ("${X/z/-}", "a.b.c"),
        ("${A/?/$S}", "a bne"),
        ("${P//\\//_}", "_usr_local_lib_libfoo.so.1"),
        ("$1", ""),
        ("${A}${A}", "oneone"),
        ("<<EOF", "<<EOF"),
        ("a<b", "a<b"),
    ],
)
def test_expansion(text: str, expected: str) -> None:
    assert expand(text, ENV) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${A", "syntax error: missing '}'"),
        ("${", "syntax error: missing '}'"),
        ("${}", "syntax error: bad substitution"),
        ("${A!}", "unsupported modifier (!) in substitution"),
        ("${A:x}", "unsupported modifier (:x) in substitution"),
        ("${NOPE?}", "NOPE: is not allowed to be unset"),
        ("${NOPE:?gone}", "NOPE: gone"),
        ("${EMPTY:?}", "EMPTY: is not allowed to be empty"),
        ("'a", "unexpected end of statement while looking for matching single-quote"),
        ('"a', "unexpected end of statement while looking for matching double-quote"),
        ("${A/x}", "syntax error: missing '/' in ${}"),
    ],
)
def test_bad_substitutions_say_why(text: str, message: str) -> None:
    with pytest.raises(SubstitutionError) as caught:
        expand(text, ENV)
    assert str(caught.value) == f'failed to process "{text}": {message}'


def test_words_split_after_expansion_unless_quoted() -> None:
    assert expand_words("$S c", ENV) == ["a", "b", "c"]
    assert expand_words('"$S" c', ENV) == ["a b", "c"]


def test_another_escape_token() -> None:
    assert expand("`$A\\b", ENV, "`") == "$A\\b"


def test_variables_that_were_used_and_missed_are_told() -> None:
    words = process("$A ${NOPE:-x}", ENV)
    assert words.matched == {"A"}
    assert words.unmatched == {"NOPE"}

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.schema import quantity
from wherry.schema.quantity import Format, Quantity

SUFFIXES = {
    "": Fraction(1), "m": Fraction(1, 1000), "k": Fraction(1000), "M": Fraction(10**6), "G": Fraction(10**9),
    "Ki": Fraction(1024), "Mi": Fraction(1024**2), "Gi": Fraction(1024**3), "u": Fraction(1, 10**6),
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1024Mi", "1Gi"), ("0.5", "500m"), ("1.5Gi", "1536Mi"), ("100m", "100m"), ("1e3", "1e3"), ("2000", "2k"),
        ("1000m", "1"), ("0", "0"), ("0Mi", "0"), ("1023Ki", "1023Ki"), ("512", "512"), ("-5", "-5"), (".5", "500m"),
        ("0.1Gi", "107374182400m"), ("1n", "1n"), ("0.1n", "1n"),
        ("12345678", "12345678"), ("1E", "1E"), ("1E3", "1e3"),
        ("+1", "1"), ("1Ki", "1Ki"), ("1023", "1023"), ("1024", "1024"), ("12000e-3", "12"),
    ],
)  # fmt: skip
def test_canonical_spelling(text: str, expected: str) -> None:
    assert quantity.canonical(text) == expected


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("abc", quantity.FORMAT_ERROR), ("", quantity.FORMAT_ERROR), ("5x", quantity.FORMAT_ERROR),
        ("1 Gi", quantity.FORMAT_ERROR), ("1.2.3", quantity.NUMBER_ERROR), ("1ee", quantity.SUFFIX_ERROR),
        ("10Mi5", quantity.SUFFIX_ERROR), ("5mm", quantity.SUFFIX_ERROR),
    ],
)  # fmt: skip
def test_malformed_text_is_refused_in_kubernetes_words(text: str, error: str) -> None:
    with pytest.raises(ValueError) as caught:
        quantity.parse(text)
    assert str(caught.value) == error


@given(st.integers(0, 10**6), st.integers(0, 999), st.sampled_from(sorted(SUFFIXES)))
def test_parsing_is_exact(whole: int, thousandths: int, suffix: str) -> None:
    exact = (whole + Fraction(thousandths, 1000)) * SUFFIXES[suffix] * 10**9
    assert quantity.parse(f"{whole}.{thousandths:03}{suffix}").nano == min(-(-exact // 1), (2**63 - 1) * 10**9)


@given(st.integers(-(10**24), 10**24), st.sampled_from(list(Format)))
def test_formatting_round_trips(nano: int, form: Format) -> None:
    text = str(Quantity(nano, form))
    again = quantity.parse(text)
    assert again.nano == nano
    if again.format is form:  # a binary quantity that needs no suffix reads back as a decimal one
        assert quantity.canonical(text) == text


@given(st.integers(-(10**15), 10**15), st.integers(-(10**15), 10**15))
def test_arithmetic_and_order_follow_the_amounts(left: int, right: int) -> None:
    one, other = Quantity(left), Quantity(right, Format.BINARY)
    assert (one + other - other) == one
    assert (one < other) == (left < right)
    assert (-one).nano == -left
    assert one.milli == -(-left // 10**6)


def test_equal_amounts_in_different_spellings_are_equal() -> None:
    assert quantity.parse("1Gi") == quantity.parse("1073741824")
    assert len({quantity.parse("1"), quantity.parse("1000m")}) == 1
    assert quantity.parse(2) == quantity.of(2)
    assert quantity.parse(0.25) == quantity.of_milli(250)
    assert Decimal(quantity.parse("1.1").nano) == Decimal("1.1") * 10**9

"""Resource quantities: `100m`, `1.5`, `2Gi`, `1e3`. Exact, in whole nano-units.

Specified in https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/. What is finer than a
nano-unit is rounded up (away from zero), as the real API server does. The written form is canonical: no
fraction, the largest suffix that needs none, and the family of suffixes (decimal, binary, exponent) of the input.
"""

import re
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache, total_ordering
from typing import Final

_SYNTAX: Final = re.compile(r"([+-]?)([0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)\Z")
_NUMBER: Final = re.compile(r"([0-9]*)(?:\.([0-9]*))?\Z")
_EXPONENT: Final = re.compile(r"[eE]([+-]?[0-9]+)\Z")

_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY: Final = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL_SUFFIX: Final = {power: suffix for suffix, power in _DECIMAL.items()}
_BINARY_SUFFIX: Final = {power: suffix for suffix, power in _BINARY.items()} | {0: ""}

_NANO: Final = 10**9
_LARGEST: Final = (2**63 - 1) * _NANO
_MAX_EXPONENT: Final = 400

FORMAT_ERROR: Final = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
NUMBER_ERROR: Final = "unable to parse numeric part of quantity"
SUFFIX_ERROR: Final = "unable to parse quantity's suffix"


class Format(Enum):
    """The family of suffixes that a quantity is written with."""

    DECIMAL = "DecimalSI"
    BINARY = "BinarySI"
    EXPONENT = "DecimalExponent"


@total_ordering
@dataclass(frozen=True, eq=False)
class Quantity:
    """An exact amount. `nano` counts billionths; `format` only matters for how it is written.

    Quantities compare and hash by amount. Sums keep the left side's format, unless it is zero.
    """

    nano: int
    format: Format = Format.DECIMAL

    def __str__(self) -> str:
        return _format(self.nano, self.format)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quantity) and self.nano == other.nano

    def __lt__(self, other: "Quantity") -> bool:
        return self.nano < other.nano

    def __hash__(self) -> int:
        return hash(self.nano)

    def __bool__(self) -> bool:
        return self.nano != 0

    def __add__(self, other: "Quantity") -> "Quantity":
        return Quantity(self.nano + other.nano, self.format if self.nano else other.format)

    def __sub__(self, other: "Quantity") -> "Quantity":
        return Quantity(self.nano - other.nano, self.format if self.nano else other.format)

    def __neg__(self) -> "Quantity":
        return Quantity(-self.nano, self.format)

    def __mul__(self, factor: int) -> "Quantity":
        return Quantity(self.nano * factor, self.format)

    @property
    def value(self) -> int:
        """Whole units, rounded up: bytes of memory, number of pods."""
        return -(-self.nano // _NANO)

    @property
    def milli(self) -> int:
        """Thousandths, rounded up: millicores."""
        return -(-self.nano // 10**6)

    @property
    def is_integer(self) -> bool:
        return self.nano % _NANO == 0


ZERO: Final = Quantity(0)


def parse(text: str | int | float) -> Quantity:
    """The quantity that `text` (or a JSON number) stands for. Raises ValueError in Kubernetes' words."""
    if isinstance(text, bool):
        raise ValueError(FORMAT_ERROR)
    return _parse(text if isinstance(text, str) else repr(text))


@lru_cache(maxsize=2048)
def _parse(text: str) -> Quantity:
    match = _SYNTAX.match(text)
    if match is None:
        raise ValueError(FORMAT_ERROR)
    sign, number, suffix = match.groups()
    base, power, family = _interpret(suffix)
    digits = _NUMBER.match(number)
    if digits is None or not (digits[1] or digits[2]):
        raise ValueError(NUMBER_ERROR)
    whole, fraction = digits[1], digits[2] or ""
    amount = int((whole + fraction) or "0")
    if base == 2:
        numerator, denominator = amount * 1024**power * _NANO, 10 ** len(fraction)
    else:
        shift = power + 9 - len(fraction)
        numerator, denominator = (amount * 10**shift, 1) if shift >= 0 else (amount, 10**-shift)
    nano = min(-(-numerator // denominator), _LARGEST)
    return Quantity(-nano if sign == "-" else nano, family)


def _interpret(suffix: str) -> tuple[int, int, Format]:
    if suffix in _DECIMAL:
        return 10, _DECIMAL[suffix], Format.DECIMAL
    if suffix in _BINARY:
        return 2, _BINARY[suffix], Format.BINARY
    if exponent := _EXPONENT.match(suffix):
        power = int(exponent[1])
        if abs(power) <= _MAX_EXPONENT:
            return 10, power, Format.EXPONENT
    raise ValueError(SUFFIX_ERROR)


def of(value: int, format: Format = Format.DECIMAL) -> Quantity:
    """So many whole units."""
    return Quantity(value * _NANO, format)


def of_milli(value: int, format: Format = Format.DECIMAL) -> Quantity:
    """So many thousandths: `of_milli(250)` is `250m`."""
    return Quantity(value * 10**6, format)


def canonical(text: str | int | float) -> str:
    """The canonical spelling: `1024Mi` -> `1Gi`, `0.5` -> `500m`, 2 -> `2`. Raises ValueError like `parse`."""
    return _canonical(text) if isinstance(text, str) else str(parse(text))


@lru_cache(maxsize=2048)
def _canonical(text: str) -> str:
    return str(_parse(text))


def _format(nano: int, family: Format) -> str:
    if nano == 0:
        return "0"
    if family is Format.BINARY and (abs(nano) < 1024 * _NANO or nano % _NANO):
        family = Format.DECIMAL
    if family is Format.BINARY:
        amount, power = nano // _NANO, 0
        while amount % 1024 == 0 and power < 6:
            amount //= 1024
            power += 1
        return f"{amount}{_BINARY_SUFFIX[power]}"
    amount, power = nano, -9
    while amount % 1000 == 0 and (power < 18 or family is Format.EXPONENT):
        amount //= 1000
        power += 3
    if family is Format.DECIMAL:
        return f"{amount}{_DECIMAL_SUFFIX[power]}"
    return f"{amount}e{power}" if power else str(amount)

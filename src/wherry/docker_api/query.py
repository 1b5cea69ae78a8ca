"""Query parameters, read as Docker's daemon reads them."""

import re
from collections.abc import Iterator
from urllib.parse import parse_qsl

from wherry.engine.errors import InvalidParameter
from wherry.engine.filters import Filters, parse_filters

_FALSE = frozenset({"", "0", "no", "false", "none"})
_TIMESTAMP = re.compile(r"(-?\d+)(?:\.(\d+))?")


class Query:
    """The parameters of one request; a parameter may stand several times."""

    __slots__ = ("_values",)

    def __init__(self, raw: str = "") -> None:
        self._values: dict[str, list[str]] = {}
        if raw:
            for key, value in parse_qsl(raw, keep_blank_values=True):
                self._values.setdefault(key, []).append(value)

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def text(self, key: str, default: str = "") -> str:
        values = self._values.get(key)
        return values[0] if values else default

    def texts(self, key: str) -> list[str]:
        return self._values.get(key, [])

    def boolean(self, key: str, default: bool = False) -> bool:
        """Anything but "", 0, no, false and none is true."""
        if key not in self._values:
            return default
        return self.text(key).strip().lower() not in _FALSE

    def integer(self, key: str, default: int | None = None) -> int | None:
        """Raises InvalidParameter, naming the parameter, when it is no integer."""
        raw = self.text(key)
        if not raw:
            return default
        try:
            return _decimal(raw)
        except ValueError:
            raise InvalidParameter(
                f'invalid value for "{key}": strconv.Atoi: parsing "{raw}": invalid syntax'
            ) from None

    def size(self, key: str, what: str) -> int:
        """A terminal's height or width: 0 to 2^32 - 1."""
        raw = self.text(key)
        try:
            value = _decimal(raw)
        except ValueError:
            raise InvalidParameter(f'invalid resize {what} "{raw}": invalid syntax') from None
        if not 0 <= value < 2**32:
            raise InvalidParameter(f'invalid resize {what} "{raw}": value out of range')
        return value

    def timestamp(self, key: str) -> float | None:
        """Seconds since 1970 with up to nine decimals; None when absent or 0."""
        raw = self.text(key)
        if not raw or raw == "0":
            return None
        match = _TIMESTAMP.fullmatch(raw)
        if match is None or len(match[1]) > 18:
            raise InvalidParameter(f'invalid value for "{key}": failed to parse value "{raw}" as a time or duration')
        return float(raw)

    def filters(self) -> Filters:
        return parse_filters(self.text("filters"))


def _decimal(raw: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", raw):
        raise ValueError(raw)
    return int(raw)

"""JSON as Go's encoding/json writes it, and a reader that needs no import of `json`.

The standard `json` module costs a command 6 ms (it imports `re`), and a short command takes 20 ms in all. Both
directions here use the C functions below it (`_json`), which CPython has had unchanged since 3.1; where they
are missing, `json` itself is used.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from typing import Any

try:
    from _json import encode_basestring as _quote
    from _json import make_scanner as _make_scanner
except ImportError:  # another Python than CPython
    _make_scanner = None  # type: ignore[assignment,misc]
    from json.encoder import encode_basestring as _quote

_CONSTANTS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
_SPACE = " \t\r\n"


class _Context:
    """What the C scanner asks its decoder for."""

    strict = False
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = _CONSTANTS.__getitem__
    memo: dict[str, str] = {}  # noqa: RUF012 - the scanner's own cache of keys; it empties it itself


def scan(text: str, start: int = 0) -> tuple[Any, int]:
    """The JSON value at `start` (white space skipped) and where it ends. ValueError when there is no whole one."""
    while start < len(text) and text[start] in _SPACE:
        start += 1
    if _make_scanner is None:
        import json

        return json.JSONDecoder(strict=False).raw_decode(text, start)
    try:
        value, end = _make_scanner(_Context)(text, start)  # type: ignore[arg-type]
    except StopIteration as error:
        raise ValueError(f"not JSON at character {error.value}") from None
    return value, end


def loads(text: str | bytes) -> Any:
    """The value of a JSON text. ValueError when it is not JSON."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    value, end = scan(text)
    if text[end:].strip(_SPACE):
        raise ValueError(f"more than one JSON value: {text[end : end + 20]!r}")
    return value


def quote(text: str, *, escape_html: bool = True) -> str:
    """`text` as a JSON string; `<`, `>` and `&` as Go escapes them."""
    quoted: str = _quote(text)
    if escape_html:
        quoted = quoted.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    return quoted.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def dumps(value: Any, *, indent: str = "", escape_html: bool = True, sort: bool = False) -> str:
    """`value` as Go writes it: compact, or with `indent` per level (json.MarshalIndent). `sort` sorts the keys."""
    parts: list[str] = []
    _write(parts.append, value, indent, "\n" if indent else "", escape_html, sort)
    return "".join(parts)


def _write(put: Any, value: Any, indent: str, newline: str, html: bool, sort: bool) -> None:
    if value is None:
        put("null")
    elif value is True:
        put("true")
    elif value is False:
        put("false")
    elif isinstance(value, str):
        put(quote(value, escape_html=html))
    elif isinstance(value, int):
        put(str(int(value)))
    elif isinstance(value, float):
        put(go_float(value))
    elif isinstance(value, dict):
        if not value:
            put("{}")
            return
        inner = newline + indent
        lead = "{" + inner
        colon = ": " if indent else ":"
        for key in sorted(value) if sort else value:
            put(lead)
            put(quote(str(key), escape_html=html))
            put(colon)
            _write(put, value[key], indent, inner, html, sort)
            lead = "," + inner
        put(newline + "}")
    elif isinstance(value, list | tuple):
        if not value:
            put("[]")
            return
        inner = newline + indent
        lead = "[" + inner
        for item in value:
            put(lead)
            _write(put, item, indent, inner, html, sort)
            lead = "," + inner
        put(newline + "]")
    else:
        raise TypeError(f"cannot be written as JSON: {type(value).__name__}")


def go_float(value: float) -> str:
    """A float as encoding/json writes it: shortest form, exponents only below 1e-6 and from 1e21 on."""
    if value == int(value) and abs(value) < 1e21:
        return str(int(value))
    text = repr(value)
    if "e" not in text:
        return text
    mantissa, _, exponent = text.partition("e")
    number = int(exponent)
    if -6 <= number < 21:
        return f"{value:.{max(0, len(mantissa.replace('-', '').replace('.', '')) - 1 - number)}f}"
    return f"{mantissa}e{'+' if number > 0 else '-'}{abs(number):02d}" if number > 0 else f"{mantissa}e{number}"

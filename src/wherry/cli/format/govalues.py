"""The values of templates: how Go prints, compares and tests them, and the functions that templates may call."""

from __future__ import annotations

from wherry.cli.format.gojson import dumps, go_float

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    _Dict = dict[str, Any]
else:
    _Dict = dict


class TemplateError(Exception):
    """What is wrong with a template, worded as Go words it (`template: :1:2: …`)."""


class ParseError(TemplateError):
    """The text is not a template."""


class ExecError(TemplateError):
    """The template does not fit the value."""


class Struct(_Dict):
    """A Go struct or a pointer to one: its fields by name. `type_name` is what errors call it."""

    type_name = "struct"


class NoValue:
    """The value of a missing key: prints as `<no value>`, is false, and its fields are missing too."""

    def __bool__(self) -> bool:
        return False


NO_VALUE = NoValue()


class FunctionError(Exception):
    """A function could not do its work; the node that called it adds the place."""


# How Go prints, compares and tests values.


def truth(value: Any) -> bool:
    """Go's idea of a value that is not empty: structs always are."""
    return True if isinstance(value, Struct) else bool(value)


def print_value(value: Any) -> str:
    """What an action prints: as fmt.Print, but `<no value>` for nothing."""
    if value is None or value is NO_VALUE:
        return "<no value>"
    return sprint(value)


def sprint(value: Any) -> str:
    """fmt's %v."""
    if isinstance(value, str):
        return value
    if value is None or value is NO_VALUE:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, Struct):
        return "{" + " ".join(sprint(item) for item in value.values()) + "}"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{sprint(key)}:{sprint(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list | tuple):
        return "[" + " ".join(sprint(item) for item in value) + "]"
    return str(value)


def _float(value: float) -> str:
    if value != value or value in (float("inf"), float("-inf")):
        return {"nan": "NaN", "inf": "+Inf", "-inf": "-Inf"}[str(value)]
    if value == 0 or 1e-4 <= abs(value) < 1e21:
        return go_float(value)
    mantissa, _, exponent = f"{value!r}".partition("e")
    if exponent:
        return f"{mantissa.removesuffix('.0')}e{exponent[0] if exponent[0] in '+-' else '+'}{exponent.lstrip('+-'):0>2}"
    return f"{value:e}"


def go_type(value: Any) -> str:
    """A value's type as Go names what JSON decodes to."""
    if isinstance(value, Struct):
        return value.type_name
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int"
    if isinstance(value, float):
        return "float64"
    if isinstance(value, str):
        return "string"
    if isinstance(value, dict):
        return "map[string]interface {}"
    if isinstance(value, list | tuple):
        return "[]interface {}"
    return "nil"


def go_quote(text: str) -> str:
    return dumps(text, escape_html=False)


def sprintf(pattern: str, *arguments: Any) -> str:
    """fmt.Sprintf for the values that templates have. Raises nothing: mistakes show as `%!d(string=x)`."""
    out: list[str] = []
    used, position = 0, 0
    while position < len(pattern):
        percent = pattern.find("%", position)
        if percent < 0:
            out.append(pattern[position:])
            break
        out.append(pattern[position:percent])
        position = percent + 1
        flags = ""
        while position < len(pattern) and pattern[position] in "+-# 0":
            flags += pattern[position]
            position += 1
        sizes: list[int | None] = [None, None]
        for which in (0, 1):
            if which and pattern[position : position + 1] != ".":
                break
            position += which
            begin = position
            if pattern[position : position + 1] == "*":
                position += 1
                sizes[which] = int(arguments[used]) if used < len(arguments) else 0
                used += 1
                continue
            while position < len(pattern) and pattern[position].isdigit():
                position += 1
            sizes[which] = int(pattern[begin:position] or 0) if which or position > begin else None
        if position >= len(pattern):
            out.append("%!(NOVERB)")
            break
        verb = pattern[position]
        position += 1
        if verb == "%":
            out.append("%")
            continue
        if used >= len(arguments):
            out.append(f"%!{verb}(MISSING)")
            continue
        out.append(_verb(verb, flags, sizes[0], sizes[1], arguments[used]))
        used += 1
    if used < len(arguments):
        extra = ", ".join(f"{go_type(value)}={sprint(value)}" for value in arguments[used:])
        out.append(f"%!(EXTRA {extra})")
    return "".join(out)


def _verb(verb: str, flags: str, width: int | None, precision: int | None, value: Any) -> str:
    number = isinstance(value, int) and not isinstance(value, bool)
    text: str | None = None
    if verb == "v":
        text = sprint(value)
    elif verb == "s":
        text = sprint(value) if not number and not isinstance(value, float | bool) else None
        text = text[:precision] if text is not None and precision is not None else text
    elif verb == "q" and isinstance(value, str):
        text = go_quote(value)
    elif verb == "t" and isinstance(value, bool):
        text = sprint(value)
    elif verb == "T":
        text = go_type(value)
    elif verb in "dboxXcU" and number:
        text = {
            "d": lambda: f"{value:+d}" if "+" in flags else str(value),
            "b": lambda: f"{value:b}",
            "o": lambda: f"{value:o}",
            "x": lambda: f"{value:#x}" if "#" in flags else f"{value:x}",
            "X": lambda: f"{value:X}",
            "c": lambda: chr(value),
            "U": lambda: f"U+{value:04X}",
        }[verb]()
    elif verb in "xX" and isinstance(value, str):
        text = value.encode().hex() if verb == "x" else value.encode().hex().upper()
    elif verb in "eEfFgG" and isinstance(value, float):
        default = None if verb in "gG" else 6
        chosen = precision if precision is not None else default
        text = _float(value) if chosen is None else f"{value:{'+' if '+' in flags else ''}.{chosen}{verb}}"
    if text is None:
        text = f"%!{verb}({go_type(value)}={sprint(value)})" if value is not None else f"%!{verb}(<nil>)"
    if width is not None and len(text) < width:
        if "-" in flags:
            return text.ljust(width)
        if "0" in flags and verb in "dxXobfFeEgG":
            sign = text[:1] if text[:1] in "+-" else ""
            return sign + text[len(sign) :].rjust(width - len(sign), "0")
        return text.rjust(width)
    return text


def _print(*values: Any) -> str:
    out = ""
    for number, value in enumerate(values):
        if number and not isinstance(value, str) and not isinstance(values[number - 1], str):
            out += " "
        out += sprint(value)
    return out


def _println(*values: Any) -> str:
    return " ".join(sprint(value) for value in values) + "\n"


def _len(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, dict | list | tuple):
        return len(value)
    if value is None or value is NO_VALUE:
        raise FunctionError("len of nil pointer")
    raise FunctionError(f"len of type {go_type(value)}")


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(value, dict):
            if not isinstance(key, str):
                raise FunctionError(f"value has type {go_type(key)}; should be string")
            value = value.get(key, NO_VALUE if not isinstance(next(iter(value.values()), None), str) else "")
        elif isinstance(value, list | tuple | str):
            if not isinstance(key, int) or isinstance(key, bool):
                raise FunctionError(f"cannot index slice/array with type {go_type(key)}")
            size = len(value)
            if not 0 <= key < size:
                raise FunctionError(
                    f"reflect: slice index out of range: {key}" if key < 0 else f"index out of range: {key}"
                )
            value = ord(value[key]) if isinstance(value, str) else value[key]
        elif value is None or value is NO_VALUE:
            raise FunctionError("index of untyped nil")
        else:
            raise FunctionError(f"can't index item of type {go_type(value)}")
    return value


def _slice(value: Any, *bounds: int) -> Any:
    if not isinstance(value, list | tuple | str):
        raise FunctionError(f"can't slice item of type {go_type(value)}")
    low = bounds[0] if bounds else 0
    high = bounds[1] if len(bounds) > 1 else len(value)
    if not 0 <= low <= len(value) or not 0 <= high <= len(value):
        raise FunctionError(f"index out of range: {low if not 0 <= low <= len(value) else high}")
    if low > high:
        raise FunctionError(f"invalid slice index: {low} > {high}")
    return value[low:high]


def _comparable(one: Any, other: Any) -> None:
    for value in (one, other):
        if isinstance(value, dict | list | tuple):
            raise FunctionError(f"non-comparable type {sprint(value)}: {go_type(value)}")


def _equal(one: Any, *others: Any) -> bool:
    if not others:
        raise FunctionError("missing argument for comparison")
    for other in others:
        _comparable(one, other)
        if one is None or other is None or one is NO_VALUE or other is NO_VALUE:
            if (one is None or one is NO_VALUE) and (other is None or other is NO_VALUE):
                return True
            continue
        if _kind(one) != _kind(other):
            raise FunctionError("incompatible types for comparison")
        if one == other:
            return True
    return False


def _kind(value: Any) -> str:
    return "bool" if isinstance(value, bool) else "string" if isinstance(value, str) else go_type(value)


def _order(one: Any, other: Any) -> int:
    _comparable(one, other)
    kind, against = _kind(one), _kind(other)
    if kind != against and {kind, against} != {"int", "float64"}:
        raise FunctionError("incompatible types for comparison")
    if kind in ("bool", "nil"):
        raise FunctionError("invalid type for comparison")
    return -1 if one < other else int(one > other)


def _html(*values: Any) -> str:
    text = _print(*values)
    for char, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&#34;"), ("'", "&#39;")):
        text = text.replace(char, entity)
    return text


def _js(*values: Any) -> str:
    text = _print(*values)
    for char, escape in (("\\", "\\\\"), ("'", "\\'"), ('"', '\\"'), ("\n", "\\u000A"), ("\t", "\\u0009")):
        text = text.replace(char, escape)
    for char in "<>&=":
        text = text.replace(char, f"\\u{ord(char):04X}")
    return text


def _urlquery(*values: Any) -> str:
    from urllib.parse import quote_plus

    return quote_plus(_print(*values))


def _call(function: Any, *arguments: Any) -> Any:
    if not callable(function):
        raise FunctionError(f"non-function of type {go_type(function)}")
    return function(*arguments)


BUILTINS: dict[str, Callable[..., Any]] = {
    "not": lambda value: not truth(value),
    "len": _len,
    "index": _index,
    "slice": _slice,
    "print": _print,
    "println": _println,
    "printf": sprintf,
    "html": _html,
    "js": _js,
    "urlquery": _urlquery,
    "call": _call,
    "eq": _equal,
    "ne": lambda one, other: not _equal(one, other),
    "lt": lambda one, other: _order(one, other) < 0,
    "le": lambda one, other: _order(one, other) <= 0,
    "gt": lambda one, other: _order(one, other) > 0,
    "ge": lambda one, other: _order(one, other) >= 0,
}


def _strings(value: Any, separator: str) -> str:
    if value is None or value is NO_VALUE:
        return ""
    if isinstance(value, str):
        raise TypeError("expected []string; got string")
    return separator.join(sprint(item) for item in value)


def _pad(text: str, before: int, after: int) -> str:
    return " " * before + text + " " * after if text else text


def _truncate(text: str, width: int) -> str:
    return text[:width]


DOCKER_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "json": lambda value: dumps(None if value is NO_VALUE else value, escape_html=False),
    "split": lambda text, separator: text.split(separator) if separator else list(text),
    "join": _strings,
    "title": lambda text: "".join(
        char.upper() if not number or text[number - 1].isspace() else char for number, char in enumerate(text)
    ),
    "lower": lambda text: text.lower(),
    "upper": lambda text: text.upper(),
    "pad": _pad,
    "truncate": _truncate,
    "println": _println,
}
"""What Docker adds to the language: https://docs.docker.com/engine/cli/formatting/."""

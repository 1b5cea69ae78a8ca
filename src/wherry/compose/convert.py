"""Converters: each checks one value of a Compose file and gives its canonical form.

A converter is called with `(value, at)`; `at` knows where the value stands, so that a refusal names file, line and
key. The canonical form is the long form that `docker compose config --format json` prints: no later step needs to
know that there ever was a short one. `mapping` refuses keys that are not in its table; `x-…` keys are let through.
"""

import math
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from wherry.compose.errors import ComposeError
from wherry.compose.source import KeyPath, Override, Reset, error_at

Converter: TypeAlias = "Callable[[Any, At], Any]"


@dataclass(frozen=True)
class At:
    """Where a value stands: its path, the lines of the file, and the folder that relative paths start from.

    Without a folder, paths stay as they are written. `lenient` lets values through that hold a variable and cannot be
    converted before it is known.
    """

    path: KeyPath
    lines: dict[KeyPath, tuple[Path, int]]
    folder: Path | None
    lenient: bool = False

    def __truediv__(self, part: str | int) -> "At":
        return At((*self.path, part), self.lines, self.folder, self.lenient)

    def fail(self, message: str) -> NoReturn:
        raise error_at(self.lines, message, self.path)


def kind(value: Any) -> str:
    """How the Compose specification names a value's type."""
    names = {dict: "mapping", list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}
    return names.get(type(value), "null")


def string(value: Any, at: At) -> str:
    if not isinstance(value, str):
        at.fail(f"must be a string, not {kind(value)}")
    return value


def scalar(value: Any, at: At) -> str:
    """A string, or a number or boolean taken as its text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    return string(value, at)


def boolean(value: Any, at: At) -> bool:
    """true or false, also as a string, which is what interpolation leaves."""
    if isinstance(value, str) and value.lower() in ("true", "false", "yes", "no", "on", "off", "y", "n", "1", "0"):
        return value.lower() in ("true", "yes", "on", "y", "1")
    if not isinstance(value, bool):
        at.fail(f"must be a boolean, not {kind(value)}")
    return value


def integer(value: Any, at: At) -> int:
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d+", value):
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        at.fail(f"must be an integer, not {kind(value)}")
    return value


def number(value: Any, at: At) -> float:
    try:
        found = float(value) if not isinstance(value, bool) else None
    except (TypeError, ValueError):
        found = None
    if found is None or not math.isfinite(found):
        at.fail(f"must be a number, not {kind(value)}")
    return found


def one_of(*choices: str) -> Converter:
    def check(value: Any, at: At) -> str:
        text = scalar(value, at)
        if text not in choices:
            at.fail(f"must be one of {', '.join(choices)}, not {text!r}")
        return text

    return check


def optional(convert: Converter) -> Converter:
    """null stays null."""
    return lambda value, at: None if value is None else tagged(convert, value, at)


def tagged(convert: Converter, value: Any, at: At) -> Any:
    """Converts what stands behind `!reset` and `!override`, and keeps the tag for the merge."""
    if isinstance(value, Override):
        return Override(convert(value.value, at))
    if isinstance(value, Reset):
        return Reset(None)
    if at.lenient and isinstance(value, str) and "$" in value:
        try:
            return convert(value, at)
        except ComposeError:
            return value
    return convert(value, at)


def list_of(convert: Converter) -> Converter:
    def check(value: Any, at: At) -> list[Any]:
        if not isinstance(value, list):
            at.fail(f"must be an array, not {kind(value)}")
        found: list[Any] = [tagged(convert, item, at / index) for index, item in enumerate(value)]
        return found

    return check


def one_or_list(convert: Converter) -> Converter:
    """A single value stands for a list of one."""

    def check(value: Any, at: At) -> list[Any]:
        found: list[Any] = list_of(convert)(value if isinstance(value, list) else [value], at)
        return found

    return check


def map_of(convert: Converter, null: Any = None) -> Converter:
    """A mapping with free keys; a null value becomes what `null()` gives, where given."""

    def check(value: Any, at: At) -> dict[str, Any]:
        if not isinstance(value, dict):
            at.fail(f"must be a mapping, not {kind(value)}")
        return {
            str(key): (null() if null is not None and item is None else tagged(convert, item, at / key))
            for key, item in value.items()
        }

    return check


@dataclass(frozen=True)
class mapping:
    """A mapping with the keys of `fields` only; null values of known keys are dropped."""

    fields: Mapping[str, Converter]
    required: tuple[str, ...] = ()

    def __call__(self, value: Any, at: At) -> dict[str, Any]:
        if not isinstance(value, dict):
            at.fail(f"must be a mapping, not {kind(value)}")
        found: dict[str, Any] = {}
        for key, item in value.items():
            if key in self.fields:
                if item is not None:
                    found[key] = tagged(self.fields[key], item, at / key)
            elif key.startswith("x-"):
                found[key] = item
            else:
                (at / key).fail(f"additional properties '{key}' not allowed{suggestion(key, self.fields)}")
        for key in self.required:
            if key not in found:
                at.fail(f"missing property '{key}'")
        return found


def suggestion(key: str, known: Mapping[str, Any]) -> str:
    """` (did you mean 'ports'?)` for a slip of the pen."""
    import difflib

    close = difflib.get_close_matches(key, known, 1, 0.75)
    return f" (did you mean '{close[0]}'?)" if close else ""


def key_values(value: Any, at: At) -> dict[str, str | None]:
    """`[NAME=value, NAME]` or `{NAME: value, NAME: null}`; None stands for "no value given"."""
    if isinstance(value, list):
        found: dict[str, str | None] = {}
        for index, item in enumerate(value):
            name, equals, rest = scalar(item, at / index).partition("=")
            found[name] = rest if equals else None
        return found
    if not isinstance(value, dict):
        at.fail(f"must be a mapping or an array, not {kind(value)}")
    return {str(name): None if item is None else tagged(scalar, item, at / name) for name, item in value.items()}


def labels(value: Any, at: At) -> dict[str, str]:
    """As `key_values`, where no value is an empty one."""
    return {name: item or "" for name, item in key_values(value, at).items()}


def command(value: Any, at: At) -> list[str]:
    """A list, or a string that is split as a shell would; `command: true` is the program of that name."""
    if isinstance(value, bool | int | float):
        return [scalar(value, at)]
    if isinstance(value, str):
        try:
            return shlex.split(value)
        except ValueError as error:
            at.fail(f"cannot be split into words: {error}")
    return [str(item) for item in list_of(scalar)(value, at)]


_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h|d|w))")
_DURATION_UNITS = {
    "ns": 1,
    "us": 1e3,
    "µs": 1e3,
    "ms": 1e6,
    "s": 1e9,
    "m": 60e9,
    "h": 3600e9,
    "d": 86400e9,
    "w": 604800e9,
}


def nanoseconds(text: str) -> int:
    """`1m30s` in nanoseconds; `0` needs no unit. Raises ValueError."""
    if text == "0":
        return 0
    found, end = 0.0, 0
    for match in _DURATION.finditer(text):
        if match.start() != end:
            break
        found += float(match[1]) * _DURATION_UNITS[match[2]]
        end = match.end()
    if not text or end != len(text):
        raise ValueError(f'invalid duration "{text}"')
    return round(found)


def duration(value: Any, at: At) -> str:
    """A duration such as `1m30s`, kept as it is written; a bare number is refused as Docker Compose does."""
    text = scalar(value, at)
    try:
        nanoseconds(text)
    except ValueError as error:
        at.fail(f'time: {error}: a number and a unit such as "30s" is needed')
    return text


def microseconds(value: Any, at: At) -> str:
    """A number of microseconds, also as a duration such as `50ms`; as a string of digits."""
    text = scalar(value, at)
    if re.fullmatch(r"-?\d+", text):
        return text
    try:
        return str(nanoseconds(text) // 1000)
    except ValueError as error:
        at.fail(f"time: {error}: a number of microseconds or a duration is needed")


_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgtp]?)(i?b)?", re.IGNORECASE)


def size_bytes(text: str) -> int:
    """`512m`, `1.5GB`, `100` (bytes) with units of 1024. Raises ValueError."""
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise ValueError(f"invalid size: '{text}'")
    if len(match[1]) > 20:
        raise ValueError(f"invalid size: '{text}'")
    return int(float(match[1]) * 1024 ** (" kmgtp".index(match[2].lower() or " ")))


def size(value: Any, at: At) -> str:
    """A size in bytes, as a string of digits."""
    text = scalar(value, at)
    if text in ("-1", "0"):
        return text
    try:
        return str(size_bytes(text))
    except ValueError as error:
        at.fail(str(error))


def path(value: Any, at: At) -> str:
    """A path made absolute: relative to the file's folder, `~` to the home directory."""
    text = string(value, at)
    if "\0" in text:
        at.fail("must be a path: it holds a null byte")
    return absolute(text, at.folder)


def absolute(text: str, folder: Path | None) -> str:
    import os

    if folder is None:
        return text
    return os.path.normpath(folder / os.path.expanduser(text))

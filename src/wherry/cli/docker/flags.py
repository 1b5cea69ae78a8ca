"""Flags of a command: a table in a string, parsed by the rules of pflag (what Docker's client uses).

A command declares its flags as lines `x,name type=default  What it does`:

    a,all              Also those that have ended
    f,filter filter    Only those that match
    n,last int=-1      The newest n
      sig-proxy=true   Pass signals on

No type means a boolean. Types: bool, string, int, uint, uint16, decimal (billionths, as NanoCpus), bytes, duration
(nanoseconds), list (each as given), strings (split at commas), filter and map (`key=value`), and any type that the
command's own `TYPES` maps to a parser.
"""

from __future__ import annotations

from wherry.cli.format.units import parse_bytes, parse_duration

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

LISTS = ("list", "strings", "filter", "map")
_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")


class FlagError(Exception):
    """A flag that the command does not have, or a value that does not fit."""


class HelpWanted(Exception):
    """--help was given."""


class Flag:
    """One line of the table."""

    __slots__ = ("default", "name", "repeats", "short", "text", "type")

    def __init__(self, line: str, types: Mapping[str, Any]) -> None:
        spec, _, self.text = line.strip().partition("  ")
        self.text = self.text.strip()
        head, _, default = spec.partition("=")
        names, _, self.type = head.partition(" ")
        self.type = self.type or "bool"
        short, _, name = names.rpartition(",")
        self.short, self.name = short, name
        self.default = default
        self.repeats = self.type in LISTS or self.type in types

    @property
    def shown(self) -> str:
        return f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"

    def initial(self) -> Any:
        if self.type == "bool":
            return self.default == "true"
        if self.type in ("filter", "map"):
            return {}
        if self.repeats:
            return []
        if self.type in ("string",):
            return self.default
        if self.type == "bytes":
            return parse_bytes(self.default) if self.default else 0
        if self.type == "duration":
            return parse_duration(self.default) if self.default else 0
        return int(self.default) if self.default else 0


class Flags:
    """Values by name, and which were given."""

    def __init__(self, table: dict[str, Flag], types: Mapping[str, Any]) -> None:
        self._types = types
        self._table = table
        self._values = {name: flag.initial() for name, flag in table.items()}
        self._given: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def given(self, name: str) -> bool:
        """Whether the flag was on the command line."""
        return name in self._given

    def any_given(self) -> bool:
        return bool(self._given)

    def set(self, flag: Flag, text: str) -> None:
        try:
            self._set(flag, text)
        except ValueError as error:
            raise FlagError(f'invalid argument "{text}" for "{flag.shown}" flag: {error}') from None
        self._given.add(flag.name)

    def _set(self, flag: Flag, text: str) -> None:
        kind, name = flag.type, flag.name
        values = self._values
        if kind == "bool":
            if text not in _TRUE and text not in _FALSE:
                raise ValueError(f'strconv.ParseBool: parsing "{text}": invalid syntax')
            values[name] = text in _TRUE
        elif kind == "string":
            values[name] = text
        elif kind == "list":
            values[name].append(text)
        elif kind == "strings":
            values[name].extend(text.split(",") if text else [])
        elif kind == "filter":
            key, equals, value = text.partition("=")
            if text and not equals:
                raise ValueError("bad format of filter (expected name=value)")
            if text:
                values[name].setdefault(key.strip().lower(), []).append(value.strip())
        elif kind == "map":
            key, equals, value = text.partition("=")
            if not equals:
                raise ValueError(f"{text} must be formatted as key=value")
            values[name][key] = value
        elif kind in ("int", "uint", "uint16"):
            values[name] = parse_integer(text, kind)
        elif kind == "decimal":
            values[name] = parse_decimal(text)
        elif kind == "bytes":
            values[name] = -1 if text == "-1" and "swap" in name else parse_bytes(text)
        elif kind == "duration":
            values[name] = parse_duration(text)
        else:
            values[name].append(self._types[kind](text))


def parse_integer(text: str, kind: str = "int") -> int:
    """Go's strconv.ParseInt / ParseUint. ValueError worded as theirs."""
    function = "ParseInt" if kind == "int" else "ParseUint"
    try:
        if text != text.strip() or "_" in text:
            raise ValueError
        value = (
            int(text, 0) if not text.lstrip("+-").startswith("0") or not text.lstrip("+-").isdigit() else int(text, 8)
        )
    except ValueError:
        raise ValueError(f'strconv.{function}: parsing "{text}": invalid syntax') from None
    low, high = {"int": (-(1 << 63), (1 << 63) - 1), "uint": (0, (1 << 64) - 1), "uint16": (0, 65535)}[kind]
    if kind != "int" and value < 0:
        raise ValueError(f'strconv.{function}: parsing "{text}": invalid syntax')
    if not low <= value <= high:
        raise ValueError(f'strconv.{function}: parsing "{text}": value out of range')
    return value


def parse_decimal(text: str) -> int:
    """`1.5` as billionths. ValueError with Docker's wording."""
    whole, _, part = text.partition(".")
    if not (whole + part).isdigit() or len(part) > 9:
        if (whole + part).isdigit():
            raise ValueError("value is too precise")
        raise ValueError(f"failed to parse {text} as a rational number")
    return int(whole or 0) * 10**9 + int(part.ljust(9, "0") or 0)


def read_table(text: str, types: Mapping[str, Any]) -> dict[str, Flag]:
    """The flags of a table by name, in its order."""
    table: dict[str, Flag] = {}
    for line in text.splitlines():
        if line.strip():
            flag = Flag(line, types)
            table[flag.name] = flag
    return table


def parse(
    table: dict[str, Flag],
    arguments: list[str],
    *,
    types: Mapping[str, Callable[[str], Any]],
    interspersed: bool = True,
) -> tuple[Flags, list[str]]:
    """Values and what is left over. With `interspersed` off, the first word that is no flag ends the flags.

    Raises FlagError and HelpWanted.
    """
    flags = Flags(table, types)
    shorts = {flag.short: flag for flag in table.values() if flag.short}
    rest: list[str] = []
    at = 0
    while at < len(arguments):
        word = arguments[at]
        at += 1
        if len(word) < 2 or word[0] != "-":
            if not interspersed:
                return flags, [*rest, word, *arguments[at:]]
            rest.append(word)
        elif word == "--":
            return flags, rest + arguments[at:]
        elif word[1] == "-":
            at += _long(flags, table, word, arguments, at)
        else:
            at += _shorts(flags, shorts, word, arguments, at)
    return flags, rest


def _long(flags: Flags, table: dict[str, Flag], word: str, arguments: list[str], at: int) -> int:
    name, equals, value = word[2:].partition("=")
    if not name or name[0] in "-=":
        raise FlagError(f"bad flag syntax: {word}")
    flag = table.get(name)
    if flag is None:
        if name == "help":
            raise HelpWanted
        raise FlagError(f"unknown flag: --{name}")
    if equals:
        flags.set(flag, value)
        return 0
    if flag.type == "bool":
        flags.set(flag, "true")
        return 0
    if at >= len(arguments):
        raise FlagError(f"flag needs an argument: --{name}")
    flags.set(flag, arguments[at])
    return 1


def _shorts(flags: Flags, shorts: dict[str, Flag], word: str, arguments: list[str], at: int) -> int:
    cluster = word[1:]
    while cluster:
        char, cluster = cluster[0], cluster[1:]
        flag = shorts.get(char)
        if flag is None:
            if char == "h":
                raise HelpWanted
            raise FlagError(f"unknown shorthand flag: '{char}' in {word}")
        if cluster.startswith("="):
            flags.set(flag, cluster[1:])
            return 0
        if flag.type == "bool":
            flags.set(flag, "true")
            continue
        if cluster:
            flags.set(flag, cluster)
            return 0
        if at >= len(arguments):
            raise FlagError(f"flag needs an argument: '{char}' in {word}")
        flags.set(flag, arguments[at])
        return 1
    return 0

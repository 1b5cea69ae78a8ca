"""YAML as kubectl reads and writes it: YAML 1.1 as Go's yaml package understands it, and its output to the letter.

Imported only where YAML is read or written; reading uses libyaml, writing our own small emitter, because PyYAML
quotes, folds and indents otherwise than kubectl does.
"""

import re
from collections.abc import Iterator
from typing import Any

import yaml

from wherry.host import yaml_bounds

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]
    """No timestamps, no base-60 numbers: they stay strings, as in Go."""


_Loader.yaml_implicit_resolvers = {}
_BOOL = re.compile(r"(?:y|Y|yes|Yes|YES|n|N|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)\Z")
_READ_BOOL = re.compile(r"(?:yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)\Z")
_NULL = re.compile(r"(?:~|null|Null|NULL|)\Z")
_INT = re.compile(r"[-+]?(?:0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|(?:0|[1-9][0-9_]*))\Z")
_FLOAT = re.compile(
    r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
)
_BASE60 = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?\Z")
_TIME = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:(?:[Tt]|[ \t]+)[0-9].*)?\Z")
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", _READ_BOOL, list("yYnNtTfFoO"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", _NULL, ["~", "n", "N", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", _INT, list("-+0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))
_Loader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile(r"<<\Z"), ["<"])


def _int(loader: Any, node: Any) -> int:
    text = loader.construct_scalar(node).replace("_", "")
    sign = -1 if text.startswith("-") else 1
    digits = text.lstrip("+-")
    if len(digits) > 1 and digits[0] == "0" and digits[1].isdigit():
        return sign * int(digits, 8)
    return sign * int(digits, 0)


def _float(loader: Any, node: Any) -> Any:
    value = float(loader.construct_scalar(node).replace("_", "").replace(".inf", "inf").replace(".nan", "nan"))
    return int(value) if value.is_integer() and abs(value) < 1e15 else value


_Loader.add_constructor("tag:yaml.org,2002:int", _int)
_Loader.add_constructor("tag:yaml.org,2002:float", _float)


class YamlError(ValueError):
    """`str()` is as Go's package words it."""


def load_all(text: bytes | str) -> Iterator[Any]:
    """Every document of a stream. Raises YamlError."""
    try:
        yaml_bounds.check(text)
        yield from yaml.load_all(text, _Loader)
    except yaml.YAMLError as error:
        raise YamlError(_go_words(error)) from error


def load(text: bytes | str) -> Any:
    """The first document; None when there is none."""
    return next(load_all(text), None)


def _go_words(error: Any) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    return f"yaml: line {mark.line + 1}: {problem}" if mark is not None else f"yaml: {problem}"


def dump(value: Any) -> str:
    """A document with its line end, keys sorted as Go's package sorts them."""
    out: list[str] = []
    _node(value, 0, out, "")
    return "".join(out)


def _node(value: Any, indent: int, out: list[str], lead: str) -> None:
    """Write a value. `lead` is what stands before it on its line (`key:` or `-`); empty for the document."""
    if isinstance(value, dict) and value:
        in_list = lead.endswith("-")
        if lead and not in_list:
            out.append(lead + "\n")
        first = True
        for key in sorted(value, key=_natural):
            prefix = (lead + " ") if in_list and first else " " * indent
            first = False
            _entry(prefix + _scalar(str(key), 0, True) + ":", value[key], indent, out)
    elif isinstance(value, (list, tuple)) and value:
        in_list = lead.endswith("-")
        if lead and not in_list:
            out.append(lead + "\n")
        first = True
        for item in value:
            prefix = (lead + " -") if in_list and first else " " * indent + "-"
            first = False
            _node(item, indent + 2, out, prefix)
    else:
        space = " " if lead else ""
        start = lead + space
        out.append(f"{start}{_scalar(value, indent, column=len(start))}\n")


def _entry(lead: str, value: Any, indent: int, out: list[str]) -> None:
    if isinstance(value, dict) and value:
        _node(value, indent + 2, out, lead)
    elif isinstance(value, (list, tuple)) and value:
        # Lists stand at their key's own column.
        out.append(lead + "\n")
        for item in value:
            _node(item, indent + 2, out, " " * indent + "-")
    else:
        out.append(f"{lead} {_scalar(value, indent + 2, column=len(lead) + 1)}\n")


_DIGITS = re.compile(r"([0-9]+)")


def _natural(key: Any) -> Any:
    """Go's yaml package sorts keys by words, with numbers as numbers and letters after everything else."""
    return [_sort_key(part) for part in _DIGITS.split(str(key)) if part]


def _sort_key(part: str) -> tuple[int, int, str]:
    if part[0] in "0123456789":
        return (1, int(part), part)
    return (2, 0, "".join(("\1" if character.isalpha() else "\0") + character for character in part))


_PLAIN_BAD_FIRST = frozenset("#,[]{}&*!|>'\"%@`")


WIDTH = 80


def _scalar(value: Any, indent: int, is_key: bool = False, column: int = 0) -> str:
    text = _unfolded(value, indent, is_key)
    if is_key or column + len(text) <= WIDTH or " " not in text or "\n" in text or not isinstance(value, str):
        return text
    return _fold(text, indent, column)


def _fold(text: str, indent: int, column: int) -> str:
    """A long scalar on several lines: broken at the first single space beyond the width."""
    quote = text[0] if text[0] in "'\"" and text[-1] == text[0] and len(text) > 1 else ""
    out: list[str] = []
    last = len(text) - (2 if quote else 1)
    for index, char in enumerate(text):
        inside = index > (1 if quote else 0) and index < last
        alone = text[index - 1 : index] != " " and (quote == '"' or text[index + 1 : index + 2] != " ")
        if char == " " and column > WIDTH and inside and alone:
            out.append("\n" + " " * indent)
            column = indent
            if quote == '"' and text[index + 1] == " ":
                out.append("\\")
                column += 1
            continue
        out.append(char)
        column += 1
    return "".join(out)


def _unfolded(value: Any, indent: int, is_key: bool = False) -> str:
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return go_float(value)
    if isinstance(value, (dict, list, tuple)):
        return "{}" if isinstance(value, dict) else "[]"
    text = str(value)
    special = any((c < " " and c != "\n") or c == "\x7f" or c == "\ufeff" or "\x80" <= c < "\xa0" for c in text)
    if "\n" in text and not is_key:
        if not special and not _no_block(text):
            return _literal(text, indent)
        return _double(text)
    if special or "\n" in text:
        return _double(text)
    if _resolves(text):
        return _double(text)
    if _plain_ok(text):
        return text
    if text != text.strip(" "):
        return _single(text)
    return _single(text)


def _no_block(text: str) -> bool:
    """A literal block cannot hold spaces before a line's end, nor begin or end with a space."""
    return " \n" in text or text.endswith(" ")


def _resolves(text: str) -> bool:
    """Whether the plain text would be read as something else than a string."""
    return bool(
        _NULL.match(text)
        or _BOOL.match(text)
        or _INT.match(text)
        or _FLOAT.match(text)
        or _BASE60.match(text)
        or _TIME.match(text)
        or (text in ("<<", "=") and text == "<<")
    )


def _plain_ok(text: str) -> bool:
    first = text[0]
    if first in _PLAIN_BAD_FIRST or first == " " or text[-1] == " " or text.startswith(("---", "...")):
        return False
    if first in "-?" and (len(text) == 1 or text[1] == " "):
        return False
    if first == ":" and (len(text) == 1 or text[1] == " "):
        return False
    return not (": " in text or " #" in text or text.endswith(":") or "\t" in text)


def _single(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


_ESCAPES = {
    "\0": "\\0",
    "\a": "\\a",
    "\b": "\\b",
    "\t": "\\t",
    "\n": "\\n",
    "\v": "\\v",
    "\f": "\\f",
    "\r": "\\r",
    "\x1b": "\\e",
    '"': '\\"',
    "\\": "\\\\",
    "\x85": "\\N",
    "\xa0": "\\_",
    "\ufeff": "\\uFEFF",
}


def _double(text: str) -> str:
    out = []
    for char in text:
        if char in _ESCAPES:
            out.append(_ESCAPES[char])
        elif char < " " or "\x7f" <= char < "\xa0":
            out.append(f"\\x{ord(char):02X}")
        else:
            out.append(char)
    return '"' + "".join(out) + '"'


def _literal(text: str, indent: int) -> str:
    indent = max(indent, 2)
    body = text.rstrip("\n")
    ends = len(text) - len(body)
    head = "|-" if ends == 0 else "|" if ends == 1 else "|+"
    if text[:1] in (" ", "\n"):
        head = head[0] + "2" + head[1:]
    lines = (text if ends > 1 else body).split("\n")
    if ends > 1:
        lines.pop()
    pad = " " * indent
    return head + "\n" + "\n".join(pad + line if line else "" for line in lines)


def go_float(value: float) -> str:
    """A number as Go's encoding/json prints a float64."""
    if value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    text = repr(value)
    return re.sub(r"e([-+])0?(\d)", r"e\1\2", text)

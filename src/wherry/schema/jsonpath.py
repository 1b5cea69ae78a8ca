"""JSONPath as kubectl and printer columns use it: `{.metadata.name}`, `{range .items[*]}…{end}`, filters, slices.

Specified in https://kubernetes.io/docs/reference/kubectl/jsonpath/. `parse` compiles a template once; `render` fills
it for an object; `find` gives the values of a template that is a single expression. Errors are ValueErrors.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

_NUMBER: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?\Z")
_FIELD_END: Final = frozenset(".[] (){}|=<>!,\t\n'\"")
_COMPARISONS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "==": lambda left, right: bool(left == right),
    "!=": lambda left, right: bool(left != right),
    "<": lambda left, right: bool(left < right),
    "<=": lambda left, right: bool(left <= right),
    ">": lambda left, right: bool(left > right),
    ">=": lambda left, right: bool(left >= right),
}

Step = Callable[[list[Any]], list[Any]]


@dataclass(frozen=True)
class _Text:
    text: str


@dataclass(frozen=True)
class _Path:
    steps: tuple[Step, ...]
    source: str

    def values(self, root: Any, current: Any) -> list[Any]:
        found = [root if self.source.startswith("$") else current]
        for step in self.steps:
            found = step(found)
        return found


@dataclass
class _Range:
    path: _Path
    body: list[Any] = field(default_factory=list)


Node = _Text | _Path | _Range


class _Missing(ValueError):
    """A field that is not there, for callers that want to know."""


@dataclass(frozen=True)
class Template:
    """A compiled template."""

    nodes: tuple[Node, ...]
    allow_missing: bool = True

    def find(self, obj: Any) -> list[list[Any]]:
        """The values of each expression, in order; text is left out."""
        return [node.values(obj, obj) for node in self.nodes if isinstance(node, _Path)]

    def render(self, obj: Any) -> str:
        """The template filled in; several values of one expression are joined by spaces."""
        out: list[str] = []
        _render(self.nodes, obj, obj, out)
        return "".join(out)


def _render(nodes: Any, root: Any, current: Any, out: list[str]) -> None:
    for node in nodes:
        if isinstance(node, _Text):
            out.append(node.text)
        elif isinstance(node, _Path):
            out.append(" ".join(show(value) for value in node.values(root, current)))
        else:
            for value in node.path.values(root, current):
                _render(node.body, root, value, out)


def show(value: Any) -> str:
    """A value as kubectl prints it: strings bare, maps and lists as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return ""
    if isinstance(value, (dict, list)):
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    return str(value)


def column(path: str) -> Callable[[Any], list[Any]]:
    """A printer column's or a selectable field's simple path (`.spec.replicas`), without braces."""
    compiled = parse("{" + path + "}")

    def values(obj: Any) -> list[Any]:
        return compiled.find(obj)[0]

    return values


def parse(text: str, *, allow_missing: bool = True) -> Template:
    """Compile a template. With `allow_missing` False a missing field raises ValueError when it is filled in."""
    nodes: list[Node] = []
    stack: list[_Range] = []
    position = 0
    while position < len(text):
        start = text.find("{", position)
        target = stack[-1].body if stack else nodes
        if start < 0:
            target.append(_Text(text[position:]))
            break
        if start > position:
            target.append(_Text(text[position:start]))
        end = _closing(text, start)
        _action(text[start + 1 : end].strip(), nodes, stack, allow_missing)
        position = end + 1
    if stack:
        raise ValueError("unclosed range: missing {end}")
    return Template(tuple(nodes), allow_missing)


def _closing(text: str, start: int) -> int:
    """Where the action that opens at `start` closes; braces in quotes do not count."""
    quote = ""
    position = start + 1
    while position < len(text):
        char = text[position]
        if quote:
            if char == "\\":
                position += 1
            elif char == quote:
                quote = ""
        elif char in "'\"":
            quote = char
        elif char == "}":
            return position
        position += 1
    raise ValueError("unclosed action")


def _action(text: str, nodes: list[Node], stack: list[_Range], allow_missing: bool) -> None:
    target = stack[-1].body if stack else nodes
    if text == "end":
        if not stack:
            raise ValueError("not in range, nothing to end")
        done = stack.pop()
        (stack[-1].body if stack else nodes).append(done)
        return
    if text == "range" or text.startswith(("range ", "range.", "range[")):
        stack.append(_Range(_compile(text[5:].strip(), allow_missing)))
        return
    if text[:1] in ("'", '"'):
        target.append(_Text(_unquote(text)))
        return
    target.append(_compile(text, allow_missing))


def _unquote(text: str) -> str:
    if len(text) < 2 or text[-1] != text[0]:
        raise ValueError(f"unterminated quoted string {text}")
    escapes = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'", '"': '"'}
    return re.sub(r"\\(.)", lambda match: escapes.get(match[1], match[0]), text[1:-1])


class _Compiler:
    def __init__(self, text: str, allow_missing: bool) -> None:
        self.text = text
        self.at = 0
        self.allow_missing = allow_missing

    @property
    def ahead(self) -> str:
        return self.text[self.at : self.at + 1]

    def steps(self) -> tuple[Step, ...]:
        found: list[Step] = []
        if self.ahead in ("@", "$"):
            self.at += 1
        while self.at < len(self.text):
            if self.text.startswith("..", self.at):
                self.at += 2
                found.append(_descend)
                if self.ahead and self.ahead not in "[.":
                    found.append(self.name(missing_ok=True))
            elif self.ahead == ".":
                self.at += 1
                if self.ahead and self.ahead not in "[.":
                    found.append(self.name(missing_ok=self.allow_missing))
            elif self.ahead == "[":
                found.append(self.bracket())
            elif not found and (self.ahead.isalnum() or self.ahead in "_*"):
                found.append(self.name(missing_ok=self.allow_missing))
            else:
                raise ValueError(f"unrecognized character in action: U+{ord(self.ahead):04X} '{self.ahead}'")
        return tuple(found)

    def name(self, *, missing_ok: bool) -> Step:
        word = ""
        while self.ahead and self.ahead not in _FIELD_END:
            if self.ahead == "\\":
                self.at += 1
            word += self.ahead
            self.at += 1
        if not word:
            raise ValueError("a field name is missing")
        return _wildcard if word == "*" else _field(word, missing_ok)

    def bracket(self) -> Step:
        end, depth, quote = self.at + 1, 1, ""
        while end < len(self.text):
            char = self.text[end]
            if quote:
                if char == "\\":
                    end += 1
                elif char == quote:
                    quote = ""
            elif char in "'\"":
                quote = char
            elif char == "[":
                depth += 1
            elif char == "]":
                depth -= 1
                if not depth:
                    break
            end += 1
        if depth:
            raise ValueError("unterminated array")
        inner = self.text[self.at + 1 : end].strip()
        self.at = end + 1
        if inner == "*":
            return _wildcard
        if inner.startswith("?(") and inner.endswith(")"):
            return _filter(inner[2:-1], self.allow_missing)
        if inner[:1] in ("'", '"'):
            names = [_unquote(part.strip()) for part in _split(inner)]
            if len(names) == 1:
                return _field(names[0], self.allow_missing)
            return _union([_field(name, True) for name in names])
        parts = [part.strip() for part in inner.split(",")]
        steps = [_subscript(part, self.allow_missing) for part in parts]
        return steps[0] if len(steps) == 1 else _union(steps)


def _compile(text: str, allow_missing: bool) -> _Path:
    return _Path(_Compiler(text, allow_missing).steps(), text)


def _split(text: str) -> list[str]:
    return re.findall(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", text)


def _field(name: str, missing_ok: bool) -> Step:
    def step(values: list[Any]) -> list[Any]:
        found = []
        for value in values:
            if isinstance(value, dict) and name in value:
                found.append(value[name])
            elif not missing_ok:
                raise _Missing(f"{name} is not found")
        return found

    return step


def _wildcard(values: list[Any]) -> list[Any]:
    found: list[Any] = []
    for value in values:
        found += value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return found


def _descend(values: list[Any]) -> list[Any]:
    return [one for value in values for one in _all_below(value)]


def _all_below(value: Any) -> Iterator[Any]:
    yield value
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _all_below(child)


def _union(steps: list[Step]) -> Step:
    return lambda values: [one for step in steps for one in step(values)]


def _subscript(text: str, missing_ok: bool) -> Step:
    if not re.match(r"-?[0-9]*(:-?[0-9]*){0,2}\Z", text) or not text:
        raise ValueError(f"invalid array index {text}")
    numbers = [int(part) if part else None for part in text.split(":")]
    if len(numbers) == 1:
        index = numbers[0]
        assert index is not None

        def one(values: list[Any]) -> list[Any]:
            found = []
            for value in values:
                if isinstance(value, list):
                    if -len(value) <= index < len(value):
                        found.append(value[index])
                    elif not missing_ok:
                        raise _Missing(f"array index out of bounds: index {index}, length {len(value)}")
            return found

        return one
    if len(numbers) == 3 and (numbers[2] or 1) <= 0:
        raise ValueError("step must be > 0")
    cut = slice(*numbers)
    return lambda values: [item for value in values if isinstance(value, list) for item in value[cut]]


def _filter(text: str, missing_ok: bool) -> Step:
    match = re.match(r"((?:[^'\"=!<>]|'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")+?)\s*(==|!=|<=|>=|<|>)\s*(.+)\Z", text)
    if match is None:
        path = _compile(text.strip(), True)
        return lambda values: [
            item for value in values if isinstance(value, list) for item in value if path.values(item, item)
        ]
    left, operator, right = _operand(match[1].strip()), match[2], _operand(match[3].strip())
    compare = _COMPARISONS[operator]

    def keep(item: Any) -> bool:
        first, second = left(item), right(item)
        if not first or not second:
            return False
        if len(first) > 1 or len(second) > 1:
            raise ValueError("can only compare one element at a time")
        try:
            return compare(first[0], second[0])
        except TypeError:
            return operator == "!="

    return lambda values: [item for value in values if isinstance(value, list) for item in value if keep(item)]


def _operand(text: str) -> Callable[[Any], list[Any]]:
    constant: Any
    if text[:1] in ("'", '"'):
        constant = _unquote(text)
    elif _NUMBER.match(text):
        constant = float(text) if "." in text else int(text)
    elif text in ("true", "false"):
        constant = text == "true"
    else:
        path = _compile(text, True)
        return lambda item: path.values(item, item)
    return lambda item: [constant]

"""A Compose file as data, with the line of every key.

YAML as Docker Compose reads it: the core schema of YAML 1.2 (`yes` and `22:22` are strings, not a boolean and a
number in base 60), merge keys, anchors, and the tags `!reset` and `!override`. Duplicate keys are errors.

A *path* is the tuple of keys and indexes that leads to a value: `("services", "web", "ports", 0)`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from wherry.compose.errors import ComposeError
from wherry.host import yaml_bounds

KeyPath: TypeAlias = tuple[str | int, ...]

MAX_VALUES = 200_000
"""A file that expands to more values than this (an alias bomb) is refused."""


class Reset:
    """`!reset`: take the key out of what earlier files said; `value` is what stands there instead, if anything."""

    def __init__(self, value: Any) -> None:
        self.value = value


class Override:
    """`!override`: replace what earlier files said, do not merge."""

    def __init__(self, value: Any) -> None:
        self.value = value


@dataclass
class Source:
    """One parsed file: its data, and `(file, line)` of each path."""

    file: Path
    data: dict[str, Any]
    lines: dict[KeyPath, tuple[Path, int]] = field(default_factory=dict)

    def error(self, message: str, path: KeyPath) -> ComposeError:
        """A ComposeError that names the place of `path`, or of the nearest parent that has one."""
        return error_at(self.lines, message, path, self.file)


def error_at(
    lines: dict[KeyPath, tuple[Path, int]], message: str, path: KeyPath, file: Path | None = None
) -> ComposeError:
    """A ComposeError for `path`, placed by `lines`."""
    for length in range(len(path), -1, -1):
        if path[:length] in lines:
            found, line = lines[path[:length]]
            return ComposeError(message, file=found, line=line, key=show(path))
    return ComposeError(message, file=file, key=show(path))


def show(path: KeyPath) -> str:
    """`services.web.ports[0]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def untagged(value: Any) -> Any:
    """`value` without tags: what is to be reset is left out, what overrides stands for itself."""
    if isinstance(value, Override):
        return untagged(value.value)
    if isinstance(value, dict):
        return {key: untagged(item) for key, item in value.items() if not isinstance(item, Reset)}
    if isinstance(value, list):
        return [untagged(item) for item in value if not isinstance(item, Reset)]
    return value


class _Loader(yaml.CSafeLoader):
    """CSafeLoader with the scalars of YAML 1.2's core schema."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own protocol


for _tag, _pattern, _first in (
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$", list("-+0123456789")),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", list("-+0123456789.")),
    ("float", r"^(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$", list("-+.")),
    ("merge", r"^(?:<<)$", ["<"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)


def parse(text: str, file: Path) -> Iterator[Source]:
    """Every document of a file, each as a Source. Raises ComposeError with the line of a syntax error."""
    loader = _Loader(text)
    try:
        yaml_bounds.check(text)
        while loader.check_node():
            node = loader.get_node()
            yield _Builder(file).source(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = error.problem or error.context or "invalid YAML"
        raise ComposeError(f"yaml: {what}", file=file, line=mark.line + 1 if mark else None) from None
    except yaml.YAMLError as error:
        raise ComposeError(f"yaml: {error}", file=file) from None
    finally:
        loader.dispose()


class _Builder:
    def __init__(self, file: Path) -> None:
        self.file = file
        self.lines: dict[KeyPath, tuple[Path, int]] = {}
        self.values = 0

    def source(self, node: yaml.Node | None) -> Source:
        data = self.build(node, ()) if node is not None else None
        if data is None:
            data = {}
        if not isinstance(data, dict):
            raise ComposeError("top-level object must be a mapping", file=self.file, line=1)
        return Source(self.file, data, self.lines)

    def fail(self, message: str, node: yaml.Node, path: KeyPath) -> ComposeError:
        return ComposeError(message, file=self.file, line=node.start_mark.line + 1, key=show(path))

    def build(self, node: yaml.Node, path: KeyPath) -> Any:
        self.values += 1
        if self.values > MAX_VALUES or len(path) > 200:
            raise ComposeError("the document expands to too many values", file=self.file)
        self.lines.setdefault(path, (self.file, node.start_mark.line + 1))
        if node.tag == "!reset":
            return Reset(self.untagged(node, path))
        if node.tag == "!override":
            return Override(self.untagged(node, path))
        if node.tag.startswith("!") or not node.tag.startswith("tag:yaml.org,2002:"):
            raise self.fail(f"unknown tag {node.tag}", node, path)
        return self.untagged(node, path)

    def untagged(self, node: yaml.Node, path: KeyPath) -> Any:
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node, path)
        if isinstance(node, yaml.SequenceNode):
            # A sequence merges as a whole, so that tags on what is in it say no more than what they stand for.
            return untagged([self.build(child, (*path, index)) for index, child in enumerate(node.value)])
        return self.mapping(node, path)

    def scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        kind = node.tag.rpartition(":")[2]
        text = node.value
        if node.tag.startswith("!"):  # tagged !reset or !override: a plain word
            return None if text in ("", "null", "~") else text
        try:
            if kind == "null":
                return None
            if kind == "bool":
                return text.lower() == "true"
            if kind == "int":
                if text.startswith(("0o", "0x")):
                    return int(text, 0)
                # As the YAML library of Docker Compose does: `mode: 0440` is octal.
                return int(text, 8 if re.fullmatch(r"[-+]?0[0-7]+", text) else 10)
            if kind == "float":
                return float(text.replace(".inf", "inf").replace(".nan", "nan").lower())
        except ValueError as error:
            raise self.fail(str(error), node, path) from None
        return text

    def mapping(self, node: yaml.Node, path: KeyPath) -> dict[str, Any]:
        found: dict[str, Any] = {}
        own: dict[str, int] = {}
        merged: list[yaml.Node] = []
        for key_node, value_node in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                merged += value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                raise self.fail("a key must be a plain word", key_node, path)
            key = key_node.value
            line = key_node.start_mark.line + 1
            if key in own:
                raise self.fail(f'mapping key "{key}" already defined at line {own[key]}', key_node, (*path, key))
            own[key] = line
            self.lines[(*path, key)] = (self.file, line)
            found[key] = self.build(value_node, (*path, key))
        for other in merged:
            if not isinstance(other, yaml.MappingNode):
                raise self.fail("map merge requires map or sequence of maps as the value", other, path)
            for key, value in self.mapping(other, path).items():
                found.setdefault(key, value)
        return found

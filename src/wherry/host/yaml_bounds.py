"""YAML that is nested so deeply that libyaml's binding would exhaust the stack, and with it the process: refused first.

The binding builds documents by recursion in C without a limit; its events come one by one, so nesting can be counted.
"""

import yaml

MAX_DEPTH = 1000
"""Far above what people write, far below what the stack holds."""

_BEGIN = (yaml.MappingStartEvent, yaml.SequenceStartEvent)
_END = (yaml.MappingEndEvent, yaml.SequenceEndEvent)


class TooDeep(yaml.YAMLError):
    """The text is nested more deeply than `MAX_DEPTH`."""


def check(text: str | bytes) -> None:
    """Raises TooDeep; what else is wrong with the text is for whoever loads it to say."""
    if not _may_be_deep(text):
        return
    depth = 0
    try:
        for event in yaml.parse(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if isinstance(event, _BEGIN):
                depth += 1
                if depth > MAX_DEPTH:
                    raise TooDeep(f"exceeded max depth of {MAX_DEPTH}")
            elif isinstance(event, _END):
                depth -= 1
    except TooDeep:
        raise
    except (yaml.YAMLError, UnicodeDecodeError):
        return


def _may_be_deep(text: str | bytes) -> bool:
    """Whether it is worth counting: each level takes a bracket, or a column of the line that it begins on."""
    if isinstance(text, str):
        brackets, lines = text.count("[") + text.count("{"), text.splitlines()
        return brackets >= MAX_DEPTH or max(map(len, lines), default=0) >= MAX_DEPTH
    brackets, rows = text.count(b"[") + text.count(b"{"), text.splitlines()
    return brackets >= MAX_DEPTH or max(map(len, rows), default=0) >= MAX_DEPTH

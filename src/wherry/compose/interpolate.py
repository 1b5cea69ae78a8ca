"""Variables in values: every form of the Compose specification's interpolation.

| form | gives |
|---|---|
| `$NAME`, `${NAME}` | the value; empty, with a warning, when it is not set |
| `${NAME:-word}`, `${NAME-word}` | `word` when NAME is unset or empty; when it is unset |
| `${NAME:?text}`, `${NAME?text}` | an error with `text` when NAME is unset or empty; when it is unset |
| `${NAME:+word}`, `${NAME+word}` | `word` when NAME is set and not empty; when it is set |
| `$$` | a dollar sign |

`word` may hold further variables. Specified in https://docs.docker.com/reference/compose-file/interpolation/.
"""

import re
from collections.abc import Callable, Mapping

_NAME = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")


class InterpolationError(Exception):
    """A template that cannot be read, or a required variable that is missing; `str()` says which."""


def expand(template: str, variables: Mapping[str, str], unset: Callable[[str], None] | None = None) -> str:
    """`template` with its variables replaced; `unset(name)` hears of each that has no value and no default."""
    if "$" not in template:
        return template
    text, end = _expand(template, 0, variables, unset, until="")
    assert end == len(template)
    return text


def _expand(
    template: str, position: int, variables: Mapping[str, str], unset: Callable[[str], None] | None, until: str
) -> tuple[str, int]:
    """Expands up to the closing brace (`until="}"`) or the end; returns the text and where it stopped."""
    parts: list[str] = []
    depth = 0
    while position < len(template):
        character = template[position]
        if until and character == until and depth == 0:
            return "".join(parts), position
        if character != "$":
            if until and character in "{}":
                depth += 1 if character == "{" else -1
            parts.append(character)
            position += 1
            continue
        following = template[position + 1 : position + 2]
        if following == "$":
            parts.append("$")
            position += 2
        elif following == "{":
            value, position = _braced(template, position + 2, variables, unset)
            parts.append(value)
        else:
            match = _NAME.match(template, position + 1)
            if not match:
                raise InterpolationError(
                    f'Invalid template: "{template}". You may need to escape any $ with another $.'
                )
            parts.append(_plain(match[0], variables, unset))
            position = match.end()
    if until:
        raise InterpolationError(f'Invalid template: "{template}". A "${{" is not closed.')
    return "".join(parts), position


def _plain(name: str, variables: Mapping[str, str], unset: Callable[[str], None] | None) -> str:
    if name not in variables and unset is not None:
        unset(name)
    return variables.get(name, "")


def _braced(
    template: str, position: int, variables: Mapping[str, str], unset: Callable[[str], None] | None
) -> tuple[str, int]:
    match = _NAME.match(template, position)
    if not match:
        raise InterpolationError(f'Invalid template: "{template}". You may need to escape any $ with another $.')
    name, position = match[0], match.end()
    if template[position : position + 1] == "}":
        return _plain(name, variables, unset), position + 1
    operator = template[position : position + 2]
    if operator not in (":-", ":?", ":+"):
        operator = template[position : position + 1]
    if operator not in (":-", ":?", ":+", "-", "?", "+"):
        raise InterpolationError(f'Invalid template: "{template}". "{operator}" is no operator.')
    value = variables.get(name)
    present = bool(value) if operator[0] == ":" else value is not None
    # Only the word that is used may complain of missing variables.
    used = present if operator[-1] == "+" else not present
    word, end = _expand(template, position + len(operator), variables, unset if used else None, until="}")
    if operator[-1] == "?" and not present:
        why = f": {word}" if word else ""
        raise InterpolationError(f"required variable {name} is missing a value{why}")
    if operator[-1] == "+":
        return (word if present else ""), end + 1
    return (value or "" if present else word), end + 1

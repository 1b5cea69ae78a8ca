"""Property names as rules write them: those that CEL cannot say are escaped.

Specified in
https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules.
"""

import re
from typing import Final

_RESERVED: Final = frozenset(
    {
        "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import",
        "let", "loop", "package", "namespace", "return", "var", "void", "while",
    }
)  # fmt: skip
_ESCAPES: Final = {"__underscores__": "__", "__dot__": ".", "__dash__": "-", "__slash__": "/"}


def escape(name: str) -> str:
    """A property name as rules write it: `x-prop` is `x__dash__prop`, `namespace` is `__namespace__`."""
    if name in _RESERVED:
        return f"__{name}__"
    if not re.search(r"__|[.\-/]", name):
        return name
    escaped = name.replace("__", "__underscores__").replace(".", "__dot__")
    return escaped.replace("-", "__dash__").replace("/", "__slash__")


def unescape(name: str) -> str:
    """The property that an escaped name stands for."""
    if name.startswith("__") and name.endswith("__") and name[2:-2] in _RESERVED:
        return name[2:-2]
    return re.sub("__(?:underscores|dot|dash|slash)__", lambda found: _ESCAPES[found[0]], name)

"""One expression: compiled once, run against `self` and `oldSelf`."""

import re
from functools import lru_cache
from typing import Any

from cel_expr_python import cel
from cel_expr_python.ext import ext_bindings, ext_math, ext_optional, ext_strings

from wherry.schema.cel.functions import declarations

_VARIABLES = {"self": "DYN", "oldSelf": "DYN", "had__": "BOOL"}


class BadExpression(ValueError):
    """The expression cannot be compiled; the message is the compiler's."""


class Failed(Exception):
    """The expression ended in an error; the message says which."""


@lru_cache(maxsize=4)
def _environment(kind: str, variables: tuple[str, ...] = ()) -> Any:
    types = {name: getattr(cel.Type, word) for name, word in _VARIABLES.items()}
    types["self"] = types["oldSelf"] = getattr(cel.Type, kind)
    types |= dict.fromkeys(variables, cel.Type.DYN)
    extensions = [
        ext_strings.ExtStrings(),
        ext_optional.ExtOptional(),
        ext_math.ExtMath(),
        ext_bindings.ExtBindings(),
        cel.CelExtension("kubernetes", declarations()),
    ]
    return cel.NewEnv(variables=types, extensions=extensions)


class Program:
    """Compile with the constructor (raises BadExpression), then `run` as often as needed."""

    def __init__(self, text: str, *, kind: str = "DYN", optional_old: bool = False, result: str = "") -> None:
        self.uses_old = uses_old_self(text)
        self._optional_old = optional_old and self.uses_old
        source = text
        if self._optional_old:
            source = f"cel.bind(oldSelf, had__ ? optional.of(oldSelf) : optional.none(), ({text}))"
        try:
            self._expression = _environment(kind).compile(source)
        except RuntimeError as error:
            raise BadExpression(clean(str(error))) from None
        if result and self._expression.return_type().name() not in (result, "DYN", "dyn"):
            raise BadExpression(f"must evaluate to a {result.lower()}")

    def run(self, value: Any, old: Any = None, *, had_old: bool = False) -> Any:
        """The result as plain Python. Raises Failed."""
        data = {"self": value, "oldSelf": old, "had__": had_old}
        try:
            found = self._expression.eval(data=data)
            if found.type() == cel.Type.ERROR:
                raise Failed(_short(str(found.value())))
            return found.plain_value()
        except RuntimeError as error:
            raise Failed(_short(str(error))) from None


def uses_old_self(text: str) -> bool:
    """Whether an expression speaks of the old value, which makes it a transition rule."""
    without_texts = re.sub(r"\"(\\.|[^\"\\])*\"|'(\\.|[^'\\])*'", "''", text)
    return re.search(r"(?<![\w.])oldSelf\b", without_texts) is not None


def clean(text: str) -> str:
    return re.sub(r"^[A-Z_]+: ", "", text).replace(" [INVALID_ARGUMENT]", "").strip()


def _short(text: str) -> str:
    """The runtime's message in the words of the Go implementation, which users know."""
    text = clean(text)
    if found := re.match(r'Key not found in map : "?(.*?)"?$', text):
        return f"no such key: {found[1]}"
    return text.replace("No matching overloads found", "no such overload")

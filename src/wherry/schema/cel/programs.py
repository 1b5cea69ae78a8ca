"""One expression: compiled once, run against `self` and `oldSelf`."""

import re
from functools import lru_cache
from typing import Any

from cel_expr_python import cel  # type: ignore[import-untyped]
from cel_expr_python.ext import ext_bindings, ext_math, ext_optional, ext_strings  # type: ignore[import-untyped]

from wherry.schema.cel.functions import declarations

_VARIABLES = {"self": cel.Type.DYN, "oldSelf": cel.Type.DYN, "had__": cel.Type.BOOL}


class BadExpression(ValueError):
    """The expression cannot be compiled; the message is the compiler's."""


class Failed(Exception):
    """The expression ended in an error; the message says which."""


@lru_cache(maxsize=4)
def _environment(further: tuple[str, ...] = ()) -> Any:
    extensions = [
        ext_strings.ExtStrings(),
        ext_optional.ExtOptional(),
        ext_math.ExtMath(),
        ext_bindings.ExtBindings(),
        cel.CelExtension("kubernetes", declarations()),
    ]
    variables = _VARIABLES if not further else dict.fromkeys(further, cel.Type.DYN)
    return cel.NewEnv(variables=variables, extensions=extensions)


class OverBudget(Exception):
    """The expression takes more steps than one may."""


_OVER = "Iteration budget exceeded"
"""What the library says of an expression whose loops have gone round more than 10,000 times in all."""


class Program:
    """Compile with the constructor (raises BadExpression), then `run` as often as needed.

    `convert` is `timestamp` or `duration` when `self` is a text that stands for one; with `optional_old`, `oldSelf` is
    an optional value; `result` is the type that must come out (BOOL, STRING).
    """

    def __init__(self, text: str, *, convert: str = "", optional_old: bool = False, result: str = "") -> None:
        self.uses_old = uses_old_self(text)
        source = f"({text}\n)"
        if optional_old and self.uses_old:
            source = f"cel.bind(oldSelf, had__ ? optional.of(oldSelf) : optional.none(), {source})"
        elif convert and self.uses_old:
            source = f"cel.bind(oldSelf, {convert}(oldSelf), {source})"
        if convert:
            source = f"cel.bind(self, {convert}(self), {source})"
        environment = _environment()
        try:
            # Alone first: so that the places in the compiler's messages are those of the text.
            self._plain = environment.compile(text)
            self._expression = self._plain if source == f"({text}\n)" else environment.compile(source)
        except RuntimeError as error:
            raise BadExpression(clean(str(error))) from None
        if result and self._expression.return_type().name().upper() not in (result, "DYN"):
            raise BadExpression(f"must evaluate to a {result.lower()}")

    def serialized(self) -> bytes:
        """The expression as it was written, for `cost.estimate`."""
        found: bytes = self._plain.serialize()
        return found

    def run(self, value: Any, old: Any = None, *, had_old: bool = False) -> Any:
        """The result as plain Python. Raises Failed, OverBudget."""
        data = {"self": value, "oldSelf": old, "had__": had_old}
        try:
            found = self._expression.eval(data=data)
            if found.type() == cel.Type.ERROR:
                raise Failed(_short(str(found.value())))
            return found.plain_value()
        except RuntimeError as error:
            if _OVER in str(error):
                raise OverBudget from None
            raise Failed(_short(str(error))) from None


class Condition:
    """A yes-or-no question about a request, as webhooks' `matchConditions` ask it. Raises BadExpression."""

    VARIABLES = ("object", "oldObject", "request", "namespaceObject")

    def __init__(self, text: str) -> None:
        try:
            self._expression = _environment(self.VARIABLES).compile(text)
        except RuntimeError as error:
            raise BadExpression(clean(str(error))) from None

    def holds(self, data: dict[str, Any]) -> bool:
        """`data` has all of VARIABLES. Raises Failed."""
        try:
            found = self._expression.eval(data=data)
            if found.type() == cel.Type.ERROR:
                raise Failed(_short(str(found.value())))
            return found.plain_value() is True
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

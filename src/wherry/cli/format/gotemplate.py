"""Go's text/template over JSON-like values: what `--format` of docker and `-o go-template` of kubectl speak.

Values are what JSON gives (dict, list, str, int, float, bool, None), plus two kinds of dict with a meaning here:
a `Struct` is a Go struct (an unknown field is an error naming its type), and a callable member of it is a
method. Language: https://pkg.go.dev/text/template. Supported: text, comments, trim markers, pipelines,
variables, if / else if / with / range (with else, break, continue), define / template / block, parentheses, all
predeclared functions (comparison, logic, print, index, slice, len, html, js, urlquery, call) and the literals.

    template = Template("{{range .Names}}{{. | upper}} {{end}}", functions=DOCKER_FUNCTIONS)
    template.execute({"Names": ["a", "b"]})      # "A B "

No module is imported for it: a command's cost is its imports.
"""

from __future__ import annotations

from wherry.cli.format.gosyntax import (
    Branch,
    Call,
    Command,
    Fields,
    Identifier,
    Jump,
    Lexer,
    Literal,
    Node,
    Parser,
    Pipe,
    Text,
)
from wherry.cli.format.govalues import (
    BUILTINS,
    DOCKER_FUNCTIONS,
    NO_VALUE,
    ExecError,
    FunctionError,
    NoValue,
    ParseError,
    Struct,
    TemplateError,
    go_quote,
    go_type,
    print_value,
    sprint,
    sprintf,
    truth,
)

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

__all__ = [
    "DOCKER_FUNCTIONS",
    "NO_VALUE",
    "ExecError",
    "NoValue",
    "ParseError",
    "Struct",
    "Template",
    "TemplateError",
    "go_type",
    "print_value",
    "sprint",
    "sprintf",
    "truth",
]


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


class Template:
    """A parsed template. `missing`: what a missing map key is, "error" or "default" (prints `<no value>`)."""

    def __init__(
        self,
        text: str,
        *,
        name: str = "",
        functions: Mapping[str, Callable[..., Any]] | None = None,
        missing: str = "default",
    ) -> None:
        """Raises ParseError."""
        self.name = name
        self.text = text
        self.functions = dict(functions or {})
        self.missing = missing
        parser = Parser(name, text, self.functions)
        self._root = parser.parse()
        self._definitions = parser.definitions

    def execute(self, value: Any) -> str:
        """The text for `value`. Raises ExecError; `partial` then holds what was written before it."""
        self.partial: list[str] = []
        run = _Run(self, self.partial)
        run.nodes(self._root, value, {"$": value})
        return "".join(self.partial)

    @property
    def fields(self) -> set[str]:
        """First names of all fields that the template asks for: callers skip work that nobody will see."""
        return {word for kind, text, _ in Lexer(self.name, self.text).run() if kind == "field" for word in (text[1:],)}


class _Run:
    """One execution. Variables live in dicts; a block that declares some works on a copy of its parent's names."""

    def __init__(self, template: Template, out: list[str]) -> None:
        self.template = template
        self.out = out
        self.depth = 0

    def fail(self, node: Node, message: str) -> ExecError:
        before = self.template.text[: node.position]
        line = before.count("\n") + 1
        column = len(before.rpartition("\n")[2].encode())
        name = self.template.name
        return ExecError(f'template: {name}:{line}:{column}: executing "{name}" at <{node.source}>: {message}')

    def nodes(self, nodes: list[Node], dot: Any, scope: _Scope | dict[str, Any]) -> None:
        for node in nodes:
            if isinstance(node, Text):
                self.out.append(node.text)
            elif isinstance(node, Pipe):
                value = self.pipe(node, dot, scope)
                if not node.variables:
                    self.out.append(print_value(value))
            elif isinstance(node, Branch):
                self.branch(node, dot, scope)
            elif isinstance(node, Call):
                self.call_template(node, dot, scope)
            elif isinstance(node, Jump):
                raise _Break if node.source == "break" else _Continue

    def call_template(self, node: Call, dot: Any, scope: Any) -> None:
        body = self.template._definitions.get(node.name)
        if body is None:
            raise self.fail(node, f"template {go_quote(node.name)} not defined")
        if self.depth > 1000:
            raise self.fail(node, "exceeded maximum template depth (1000)")
        value = self.pipe(node.pipe, dot, scope) if node.pipe is not None else NO_VALUE
        self.depth += 1
        self.nodes(body, value, {"$": value})
        self.depth -= 1

    def branch(self, node: Branch, dot: Any, outer: Any) -> None:
        scope = _Scope(outer)
        if node.kind == "range":
            self.range(node, dot, scope)
            return
        value = self.pipe(node.pipe, dot, scope)
        if truth(value):
            self.nodes(node.body, value if node.kind == "with" else dot, _Scope(scope))
        else:
            self.nodes(node.otherwise, dot, _Scope(scope))

    def range(self, node: Branch, dot: Any, scope: _Scope) -> None:
        names, assigns = node.pipe.variables, node.pipe.assigns
        value = self.pipe(node.pipe, dot, scope, bind=False)
        pairs: list[tuple[Any, Any]]
        if isinstance(value, dict):
            pairs = [(key, value[key]) for key in sorted(value)]
        elif isinstance(value, list | tuple):
            pairs = list(enumerate(value))
        elif isinstance(value, int) and not isinstance(value, bool):
            pairs = [(number, number) for number in range(value)]
        elif value is None or value is NO_VALUE:
            pairs = []
        else:
            raise self.fail(node.pipe, f"range can't iterate over {print_value(value)}")
        if not pairs:
            self.nodes(node.otherwise, dot, _Scope(scope))
            return
        for key, item in pairs:
            inner = scope if assigns else _Scope(scope)
            for name, bound in zip(names, (item,) if len(names) == 1 else (key, item), strict=False):
                inner.assign(name, bound) if assigns else inner.declare(name, bound)
            try:
                self.nodes(node.body, item, _Scope(inner))
            except _Continue:
                continue
            except _Break:
                break

    def pipe(self, pipe: Pipe, dot: Any, scope: Any, *, bind: bool = True) -> Any:
        value: Any = None
        for number, command in enumerate(pipe.commands):
            value = self.command(command, dot, scope, [value] if number else [])
        if bind:
            for name in pipe.variables:
                if pipe.assigns and isinstance(scope, _Scope):
                    scope.assign(name, value)
                elif isinstance(scope, _Scope):
                    scope.declare(name, value)
                else:
                    scope[name] = value
        return value

    def command(self, command: Command, dot: Any, scope: Any, final: list[Any]) -> Any:
        first, rest = command.operands[0], command.operands[1:]
        if isinstance(first, Identifier):
            return self.function(command, first, rest, dot, scope, final)
        if isinstance(first, Fields):
            if rest or final:
                arguments = [self.operand(node, dot, scope) for node in rest] + final
                return self.fields(first, dot, scope, arguments)
            return self.operand(first, dot, scope)
        if rest or final:
            raise self.fail(first, f"can't give argument to non-function {first.source}")
        if isinstance(first, Literal) and first.value is None:
            raise self.fail(first, "nil is not a command")
        return self.operand(first, dot, scope)

    def operand(self, node: Node, dot: Any, scope: Any) -> Any:
        if isinstance(node, Literal):
            return node.value
        if isinstance(node, Fields):
            return self.fields(node, dot, scope, [])
        if isinstance(node, Identifier):
            return self.function(node, node, [], dot, scope, [])
        raise self.fail(node, "can't evaluate")

    def fields(self, node: Fields, dot: Any, scope: Any, arguments: list[Any]) -> Any:
        if node.base is None:
            value = dot
        elif isinstance(node.base, str):
            value = scope[node.base]
        else:
            value = self.pipe(node.base, dot, scope)  # type: ignore[arg-type]
        last = len(node.names) - 1
        for number, name in enumerate(node.names):
            value = self.member(node, value, name, arguments if number == last else [])
        if arguments and not node.names:
            raise self.fail(node, f"can't give argument to non-function {node.source}")
        return value

    def member(self, node: Fields, value: Any, name: str, arguments: list[Any]) -> Any:
        if isinstance(value, Struct):
            found = value.get(name, NO_VALUE)
            if found is NO_VALUE:
                raise self.fail(node, f"can't evaluate field {name} in type {value.type_name}")
            if callable(found):
                return found(*arguments)
        elif isinstance(value, dict):
            if name not in value:
                if self.template.missing == "error":
                    raise self.fail(node, f'map has no entry for key "{name}"')
                return NO_VALUE
            found = value[name]
        elif value is NO_VALUE:
            return NO_VALUE
        elif value is None:
            raise self.fail(node, f"nil pointer evaluating interface {{}}.{name}")
        else:
            raise self.fail(node, f"can't evaluate field {name} in type {go_type(value)}")
        if arguments:
            raise self.fail(node, f"{name} has arguments but cannot be invoked as function")
        return found

    def function(self, place: Node, node: Identifier, rest: list[Node], dot: Any, scope: Any, final: list[Any]) -> Any:
        name = node.source
        if name in ("and", "or") and name not in self.template.functions:
            value: Any = None
            if not rest and not final:
                raise self.fail(node, f"wrong number of args for {name}: want at least 1 got 0")
            for one in rest:
                value = self.operand(one, dot, scope)
                if truth(value) is (name == "or"):
                    return value
            return final[0] if final else value
        arguments = [self.operand(one, dot, scope) for one in rest] + final
        function = self.template.functions.get(name) or BUILTINS[name]
        try:
            return function(*arguments)
        except FunctionError as error:
            raise self.fail(_shown(place, node), f"error calling {name}: {error}") from None
        except TypeError as error:
            text = str(error)
            if "positional argument" in text or "takes" in text:
                raise self.fail(node, f"wrong number of args for {name}: got {len(arguments)}") from None
            raise self.fail(_shown(place, node), f"wrong type for value in {name}: {text}") from None
        except (ValueError, AttributeError) as error:
            raise self.fail(_shown(place, node), f"error calling {name}: {error}") from None


def _shown(place: Node, node: Node) -> Node:
    return Identifier(node.position, place.source or node.source)


class _Scope:
    """Variables of a block, over those of the block around it."""

    __slots__ = ("names", "outer")

    def __init__(self, outer: _Scope | dict[str, Any]) -> None:
        self.outer = outer
        self.names: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        return self.names[name] if name in self.names else self.outer[name]

    def declare(self, name: str, value: Any) -> None:
        self.names[name] = value

    def assign(self, name: str, value: Any) -> None:
        if name in self.names:
            self.names[name] = value
        elif isinstance(self.outer, _Scope):
            self.outer.assign(name, value)
        else:
            self.outer[name] = value

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

from wherry.cli.format.gojson import dumps, go_float

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    _Dict = dict[str, Any]
else:
    _Dict = dict


class TemplateError(Exception):
    """What is wrong with a template, worded as Go words it (`template: :1:2: …`)."""


class ParseError(TemplateError):
    """The text is not a template."""


class ExecError(TemplateError):
    """The template does not fit the value."""


class Struct(_Dict):
    """A Go struct or a pointer to one: its fields by name. `type_name` is what errors call it."""

    type_name = "struct"


class NoValue:
    """The value of a missing key: prints as `<no value>`, is false, and its fields are missing too."""

    def __bool__(self) -> bool:
        return False


NO_VALUE = NoValue()


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


class _FunctionError(Exception):
    """A function could not do its work; the node that called it adds the place."""


# Lexing. A token is (kind, text, position); kinds: text, open, close, field, variable, identifier, number,
# string, char, pipe, comma, paren, declare, assign, dot, space, bool, nil.

_Token = tuple[str, str, int]
_ALNUM_EXTRA = "_"
_SPACES = " \t\r\n"
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


def _is_word(char: str) -> bool:
    return char == "_" or char.isalnum()


class _Lexer:
    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self.tokens: list[_Token] = []

    def fail(self, position: int, message: str) -> ParseError:
        line = self.text.count("\n", 0, position) + 1
        return ParseError(f"template: {self.name}:{line}: {message}")

    def run(self) -> list[_Token]:
        text, position, trim = self.text, 0, False
        while True:
            start = text.find("{{", position)
            piece = text[position:] if start < 0 else text[position:start]
            trimmed_start = position
            if trim:
                trimmed_start += len(piece) - len(piece.lstrip(_SPACES))
                piece = piece.lstrip(_SPACES)
            trim_left = (
                start >= 0 and text[start + 2 : start + 3] == "-" and text[start + 3 : start + 4] in tuple(_SPACES)
            )
            if trim_left:
                piece = piece.rstrip(_SPACES)
            if piece:
                self.tokens.append(("text", piece, trimmed_start))
            if start < 0:
                return self.tokens
            inside = start + (3 if trim_left else 2)
            position, trim = self._action(start, inside)

    def _action(self, start: int, position: int) -> tuple[int, bool]:
        text = self.text
        body = position
        while body < len(text) and text[body] in _SPACES:
            body += 1
        if text.startswith("/*", body):
            end = text.find("*/", body)
            if end < 0:
                raise self.fail(start, "unclosed comment")
            end += 2
            if text.startswith("}}", end):
                return end + 2, False
            if text.startswith(" -}}", end):
                return end + 4, True
            raise self.fail(start, "comment ends before closing delimiter")
        self.tokens.append(("open", "{{", start))
        depth = 0
        while True:
            if position >= len(text):
                raise self.fail(start, "unclosed action")
            if text.startswith("}}", position):
                if depth:
                    raise self.fail(position, "unclosed left paren")
                self.tokens.append(("close", "}}", position))
                return position + 2, False
            char = text[position]
            if char in _SPACES:
                begin = position
                while position < len(text) and text[position] in _SPACES:
                    position += 1
                if text.startswith("-}}", position):
                    if depth:
                        raise self.fail(position, "unclosed left paren")
                    self.tokens.append(("close", "-}}", position))
                    return position + 3, True
                self.tokens.append(("space", " ", begin))
                continue
            begin = position
            if char in "\"`'":
                position = self._quoted(position)
                kind = "char" if char == "'" else "string"
                self.tokens.append((kind, text[begin:position], begin))
            elif char == "(":
                depth += 1
                position += 1
                self.tokens.append(("(", "(", begin))
            elif char == ")":
                depth -= 1
                if depth < 0:
                    raise self.fail(position, "unexpected right paren")
                position += 1
                self.tokens.append((")", ")", begin))
            elif char == "|":
                position += 1
                self.tokens.append(("|", "|", begin))
            elif char == ",":
                position += 1
                self.tokens.append((",", ",", begin))
            elif text.startswith(":=", position):
                position += 2
                self.tokens.append((":=", ":=", begin))
            elif char == "=":
                position += 1
                self.tokens.append(("=", "=", begin))
            elif char == ".":
                following = text[position + 1 : position + 2]
                if following.isdigit():
                    position = self._number(position)
                    self.tokens.append(("number", text[begin:position], begin))
                    continue
                position += 1
                while position < len(text) and _is_word(text[position]):
                    position += 1
                self.tokens.append(("field" if position > begin + 1 else "dot", text[begin:position], begin))
            elif char == "$":
                position += 1
                while position < len(text) and _is_word(text[position]):
                    position += 1
                self.tokens.append(("variable", text[begin:position], begin))
            elif char.isdigit() or (char in "+-" and text[position + 1 : position + 2].isdigit()):
                position = self._number(position)
                self.tokens.append(("number", text[begin:position], begin))
            elif _is_word(char):
                while position < len(text) and _is_word(text[position]):
                    position += 1
                word = text[begin:position]
                kind = "bool" if word in ("true", "false") else "nil" if word == "nil" else "identifier"
                self.tokens.append((kind, word, begin))
            else:
                raise self.fail(
                    position,
                    f"unexpected {_go_quote(char)} in command"
                    if char.isprintable() and self.tokens[-1][0] != "open"
                    else f"unrecognized character in action: U+{ord(char):04X} '{char}'",
                )

    def _quoted(self, position: int) -> int:
        quote, text = self.text[position], self.text
        end = position + 1
        while end < len(text) and text[end] != quote:
            if quote != "`" and text[end] == "\n":
                break
            end += 2 if text[end] == "\\" and quote != "`" else 1
        if end >= len(text) or text[end] != quote:
            kind = {"`": "raw quoted string", "'": "character constant"}.get(quote, "quoted string")
            raise self.fail(position, f"unterminated {kind}")
        return end + 1

    def _number(self, position: int) -> int:
        text, begin = self.text, position
        if text[position] in "+-":
            position += 1
        while position < len(text) and (
            _is_word(text[position])
            or text[position] == "."
            or (text[position] in "+-" and text[position - 1] in "eE" and not text.startswith("0x", begin))
        ):
            position += 1
        return position


def _unquote(token: str) -> str:
    body = token[1:-1]
    if token[0] == "`" or "\\" not in body:
        return body
    result: list[str] = []
    position = 0
    while position < len(body):
        char = body[position]
        position += 1
        if char != "\\":
            result.append(char)
            continue
        kind = body[position]
        position += 1
        if kind in _ESCAPES:
            result.append(_ESCAPES[kind])
        elif kind in "xuU":
            width = {"x": 2, "u": 4, "U": 8}[kind]
            result.append(chr(int(body[position : position + width], 16)))
            position += width
        elif kind in "01234567":
            result.append(chr(int(body[position - 1 : position + 2], 8)))
            position += 2
        else:
            raise ValueError("invalid syntax")
    return "".join(result)


# The tree. Every node can say where it stands and how it was written, for errors.


class _Node:
    __slots__ = ("position", "source")

    def __init__(self, position: int, source: str = "") -> None:
        self.position = position
        self.source = source


class _Text(_Node):
    __slots__ = ("text",)

    def __init__(self, position: int, text: str) -> None:
        super().__init__(position)
        self.text = text


class _Literal(_Node):
    __slots__ = ("value",)

    def __init__(self, position: int, source: str, value: Any) -> None:
        super().__init__(position, source)
        self.value = value


class _Fields(_Node):
    """`.A.B`, `$x.A`, `(…).A`: `base` is None for dot, a variable's name, or a node."""

    __slots__ = ("base", "names")

    def __init__(self, position: int, source: str, base: str | _Node | None, names: list[str]) -> None:
        super().__init__(position, source)
        self.base = base
        self.names = names


class _Identifier(_Node):
    __slots__ = ()


class _Command(_Node):
    __slots__ = ("operands",)

    def __init__(self, position: int, source: str, operands: list[_Node]) -> None:
        super().__init__(position, source)
        self.operands = operands


class _Pipe(_Node):
    __slots__ = ("assigns", "commands", "variables")

    def __init__(
        self, position: int, source: str, variables: list[str], assigns: bool, commands: list[_Command]
    ) -> None:
        super().__init__(position, source)
        self.variables = variables
        self.assigns = assigns
        self.commands = commands


class _Branch(_Node):
    """if, with and range."""

    __slots__ = ("body", "kind", "otherwise", "pipe")

    def __init__(self, position: int, kind: str, pipe: _Pipe, body: list[_Node], otherwise: list[_Node]) -> None:
        super().__init__(position)
        self.kind = kind
        self.pipe = pipe
        self.body = body
        self.otherwise = otherwise


class _Call(_Node):
    """{{template "name" pipe}}."""

    __slots__ = ("name", "pipe")

    def __init__(self, position: int, name: str, pipe: _Pipe | None) -> None:
        super().__init__(position)
        self.name = name
        self.pipe = pipe


class _Jump(_Node):
    __slots__ = ()


class _Parser:
    def __init__(self, name: str, text: str, functions: Mapping[str, Any]) -> None:
        self.lexer = _Lexer(name, text)
        self.name = name
        self.text = text
        self.functions = functions
        self.tokens = self.lexer.run()
        self.at = 0
        self.variables = ["$"]
        self.definitions: dict[str, list[_Node]] = {}
        self.loops = 0

    def fail(self, message: str, position: int | None = None) -> ParseError:
        if position is None:
            position = self.tokens[min(self.at, len(self.tokens) - 1)][2] if self.tokens else 0
        return self.lexer.fail(position, message)

    def peek(self, *, skip_space: bool = True) -> _Token:
        at = self.at
        while skip_space and at < len(self.tokens) and self.tokens[at][0] == "space":
            at += 1
        return self.tokens[at] if at < len(self.tokens) else ("eof", "", len(self.text))

    def next(self, *, skip_space: bool = True) -> _Token:
        while skip_space and self.at < len(self.tokens) and self.tokens[self.at][0] == "space":
            self.at += 1
        token = self.tokens[self.at] if self.at < len(self.tokens) else ("eof", "", len(self.text))
        self.at += 1
        return token

    def expect(self, kind: str, context: str) -> _Token:
        token = self.next()
        if token[0] != kind:
            raise self.unexpected(token, context)
        return token

    def unexpected(self, token: _Token, context: str) -> ParseError:
        kind, text, position = token
        if kind == "eof":
            return self.fail("unexpected EOF", position)
        if kind == "identifier" and text in _KEYWORDS:
            return self.fail(f"unexpected <{text}> in {context}", position)
        return self.fail(f"unexpected {_go_quote(text)} in {context}", position)

    def parse(self) -> list[_Node]:
        nodes, end = self.nodes(top=True)
        if end:
            raise self.fail(f"unexpected {{{{{end}}}}}")
        return nodes

    def nodes(self, *, top: bool = False) -> tuple[list[_Node], str]:
        """Nodes up to {{end}} or {{else}}, and which of them it was ("" at the end of the text)."""
        found: list[_Node] = []
        while True:
            kind, text, position = self.next(skip_space=False)
            if kind == "eof":
                if top:
                    return found, ""
                raise self.fail("unexpected EOF", position)
            if kind == "text":
                found.append(_Text(position, text))
                continue
            word_kind, word, at = self.peek()
            if word_kind == "identifier" and word in ("end", "else"):
                self.next()
                if word == "end":
                    self.expect("close", "end")
                if top:
                    raise self.fail(f"unexpected {{{{{word}}}}}", at)
                return found, word
            node = self.action(position)
            if node is not None:
                found.append(node)

    def action(self, position: int) -> _Node | None:
        kind, word, at = self.peek()
        if kind == "identifier" and word in _KEYWORDS:
            self.next()
            if word in ("if", "with", "range"):
                return self.branch(word, at)
            if word == "template":
                name = _unquote(self.expect("string", "template clause")[1])
                pipe = None if self.peek()[0] == "close" else self.pipeline("template clause", "close")
                if pipe is None:
                    self.next()
                return _Call(at, name, pipe)
            if word in ("define", "block"):
                return self.define(word, at)
            self.expect("close", f"{{{{{word}}}}}")
            if not self.loops:
                raise self.fail(f"{{{{{word}}}}} outside {{{{range}}}}", at)
            return _Jump(at, word)
        return self.pipeline("command", "close")

    def define(self, word: str, at: int) -> _Node | None:
        name = _unquote(self.expect("string", f"{word} clause")[1])
        pipe = self.pipeline("block clause", "close") if word == "block" else None
        if pipe is None:
            self.expect("close", "define clause")
        outer, self.variables = self.variables, ["$"]
        body, end = self.nodes()
        self.variables = outer
        if end != "end":
            raise self.fail(f"unexpected {{{{else}}}} in {word} clause")
        self.definitions[name] = body
        return _Call(at, name, pipe) if word == "block" else None

    def branch(self, word: str, at: int) -> _Branch:
        known = len(self.variables)
        pipe = self.pipeline(word, "close")
        self.loops += word == "range"
        body, end = self.nodes()
        self.loops -= word == "range"
        otherwise: list[_Node] = []
        if end == "else":
            kind, text, position = self.peek()
            if kind == "identifier" and text == word and word in ("if", "with"):
                self.next()
                otherwise = [self.branch(word, position)]
            else:
                self.expect("close", "else")
                otherwise, end = self.nodes()
                if end != "end":
                    raise self.fail("expected end; found {{else}}")
        del self.variables[known:]
        return _Branch(at, word, pipe, body, otherwise)

    def pipeline(self, context: str, end: str) -> _Pipe:
        start = self.peek()[2]
        names, assigns = self.declarations(context)
        commands: list[_Command] = []
        while True:
            kind, text, position = self.peek()
            if kind == end:
                self.next()
                break
            if kind in ("|", "eof", ")", "close", ",", ":=", "="):
                raise self.unexpected((kind, text, position), context if kind != "|" else "operand")
            commands.append(self.command(context))
            if self.peek()[0] == "|":
                self.next()
                if self.peek()[0] == end:
                    raise self.fail(f"missing value for {context}")
        if not commands:
            raise self.fail(f"missing value for {context}", start)
        for later in commands[1:]:
            first = later.operands[0]
            if isinstance(first, _Literal):
                raise self.fail(f"non executable command in pipeline stage {commands.index(later) + 1}", first.position)
        return _Pipe(start, self.text[start : self.tokens[self.at - 1][2]].strip(_SPACES), names, assigns, commands)

    def declarations(self, context: str) -> tuple[list[str], bool]:
        """`$x :=`, `$x =`, `$i, $x :=` at the start of a pipeline."""
        saved = self.at
        names: list[str] = []
        while self.peek()[0] == "variable":
            names.append(self.next()[1])
            kind = self.peek()[0]
            if kind in (":=", "="):
                self.next()
                if kind == ":=":
                    self.variables.extend(names)
                elif names[0] not in self.variables:
                    raise self.fail(f"undefined variable {_go_quote(names[0])}")
                return names, kind == "="
            if kind == "," and context == "range" and len(names) == 1:
                self.next()
                continue
            break
        self.at = saved
        return [], False

    def command(self, context: str) -> _Command:
        start = self.peek()[2]
        operands: list[_Node] = []
        while True:
            operands.append(self.operand(context))
            kind, text, position = self.peek(skip_space=False)
            if kind == "space":
                kind = self.peek()[0]
                if kind in ("|", "close", ")", "eof"):
                    break
                if kind in (",", ":=", "="):
                    raise self.unexpected(self.peek(), context)
                continue
            if kind in ("|", "close", ")", "eof"):
                break
            raise self.unexpected((kind, text, position), "operand")
        end = self.tokens[self.at - 1]
        return _Command(start, self.text[start : end[2] + len(end[1])], operands)

    def operand(self, context: str) -> _Node:
        kind, text, position = self.next()
        base: str | _Node | None
        where = position
        if kind == "identifier":
            if text not in self.functions and text not in _BUILTINS and text not in ("and", "or"):
                raise self.fail(f"function {_go_quote(text)} not defined", position)
            return _Identifier(position, text)
        if kind in ("string", "char", "number", "bool", "nil"):
            return self.literal(kind, text, position)
        if kind == "dot":
            return _Fields(position, ".", None, [])
        if kind == "field":
            base, names = None, [text[1:]]
        elif kind == "variable":
            if text not in self.variables:
                raise self.fail(f"undefined variable {_go_quote(text)}", position)
            base, names = text, []
        elif kind == "(":
            base, names = self.pipeline("parenthesized pipeline", ")"), []
        else:
            raise self.unexpected((kind, text, position), context)
        chained = False
        while self.peek(skip_space=False)[0] == "field":
            _, word, at = self.next()
            names.append(word[1:])
            if not chained:
                where, chained = at, True
        end = self.tokens[self.at - 1]
        source = self.text[position : end[2] + len(end[1])]
        # Go names the place of the second link of a chain.
        return _Fields(where if chained else position, source, base, names)

    def literal(self, kind: str, text: str, position: int) -> _Literal:
        if kind == "bool":
            return _Literal(position, text, text == "true")
        if kind == "nil":
            return _Literal(position, text, None)
        try:
            if kind == "number":
                return _Literal(position, text, _number(text))
            value = _unquote(text)
            return _Literal(position, text, ord(value) if kind == "char" else value)
        except (ValueError, TypeError):
            wrong = "bad number syntax: " + _go_quote(text) if kind == "number" else "malformed constant: " + text
            raise self.fail(wrong, position) from None


_KEYWORDS = ("if", "with", "range", "template", "define", "block", "break", "continue", "end", "else")


def _number(text: str) -> int | float:
    try:
        return int(text, 0)
    except ValueError:
        pass
    if text.lstrip("+-").isdigit():
        return int(text, 8) if text.lstrip("+-").startswith("0") else int(text)
    return float(text.replace("_", ""))


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
        parser = _Parser(name, text, self.functions)
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
        return {word for kind, text, _ in _Lexer(self.name, self.text).run() if kind == "field" for word in (text[1:],)}


class _Run:
    """One execution. Variables live in dicts; a block that declares some works on a copy of its parent's names."""

    def __init__(self, template: Template, out: list[str]) -> None:
        self.template = template
        self.out = out
        self.depth = 0

    def fail(self, node: _Node, message: str) -> ExecError:
        before = self.template.text[: node.position]
        line = before.count("\n") + 1
        column = len(before.rpartition("\n")[2].encode())
        name = self.template.name
        return ExecError(f'template: {name}:{line}:{column}: executing "{name}" at <{node.source}>: {message}')

    def nodes(self, nodes: list[_Node], dot: Any, scope: _Scope | dict[str, Any]) -> None:
        for node in nodes:
            if isinstance(node, _Text):
                self.out.append(node.text)
            elif isinstance(node, _Pipe):
                value = self.pipe(node, dot, scope)
                if not node.variables:
                    self.out.append(print_value(value))
            elif isinstance(node, _Branch):
                self.branch(node, dot, scope)
            elif isinstance(node, _Call):
                self.call_template(node, dot, scope)
            elif isinstance(node, _Jump):
                raise _Break if node.source == "break" else _Continue

    def call_template(self, node: _Call, dot: Any, scope: Any) -> None:
        body = self.template._definitions.get(node.name)
        if body is None:
            raise self.fail(node, f"template {_go_quote(node.name)} not defined")
        if self.depth > 1000:
            raise self.fail(node, "exceeded maximum template depth (1000)")
        value = self.pipe(node.pipe, dot, scope) if node.pipe is not None else NO_VALUE
        self.depth += 1
        self.nodes(body, value, {"$": value})
        self.depth -= 1

    def branch(self, node: _Branch, dot: Any, outer: Any) -> None:
        scope = _Scope(outer)
        if node.kind == "range":
            self.range(node, dot, scope)
            return
        value = self.pipe(node.pipe, dot, scope)
        if truth(value):
            self.nodes(node.body, value if node.kind == "with" else dot, _Scope(scope))
        else:
            self.nodes(node.otherwise, dot, _Scope(scope))

    def range(self, node: _Branch, dot: Any, scope: _Scope) -> None:
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

    def pipe(self, pipe: _Pipe, dot: Any, scope: Any, *, bind: bool = True) -> Any:
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

    def command(self, command: _Command, dot: Any, scope: Any, final: list[Any]) -> Any:
        first, rest = command.operands[0], command.operands[1:]
        if isinstance(first, _Identifier):
            return self.function(command, first, rest, dot, scope, final)
        if isinstance(first, _Fields):
            if rest or final:
                arguments = [self.operand(node, dot, scope) for node in rest] + final
                return self.fields(first, dot, scope, arguments)
            return self.operand(first, dot, scope)
        if rest or final:
            raise self.fail(first, f"can't give argument to non-function {first.source}")
        if isinstance(first, _Literal) and first.value is None:
            raise self.fail(first, "nil is not a command")
        return self.operand(first, dot, scope)

    def operand(self, node: _Node, dot: Any, scope: Any) -> Any:
        if isinstance(node, _Literal):
            return node.value
        if isinstance(node, _Fields):
            return self.fields(node, dot, scope, [])
        if isinstance(node, _Identifier):
            return self.function(node, node, [], dot, scope, [])
        raise self.fail(node, "can't evaluate")

    def fields(self, node: _Fields, dot: Any, scope: Any, arguments: list[Any]) -> Any:
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

    def member(self, node: _Fields, value: Any, name: str, arguments: list[Any]) -> Any:
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

    def function(
        self, place: _Node, node: _Identifier, rest: list[_Node], dot: Any, scope: Any, final: list[Any]
    ) -> Any:
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
        function = self.template.functions.get(name) or _BUILTINS[name]
        try:
            return function(*arguments)
        except _FunctionError as error:
            raise self.fail(_shown(place, node), f"error calling {name}: {error}") from None
        except TypeError as error:
            text = str(error)
            if "positional argument" in text or "takes" in text:
                raise self.fail(node, f"wrong number of args for {name}: got {len(arguments)}") from None
            raise self.fail(_shown(place, node), f"wrong type for value in {name}: {text}") from None
        except (ValueError, AttributeError) as error:
            raise self.fail(_shown(place, node), f"error calling {name}: {error}") from None


def _shown(place: _Node, node: _Node) -> _Node:
    return _Identifier(node.position, place.source or node.source)


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


# How Go prints, compares and tests values.


def truth(value: Any) -> bool:
    """Go's idea of a value that is not empty: structs always are."""
    return True if isinstance(value, Struct) else bool(value)


def print_value(value: Any) -> str:
    """What an action prints: as fmt.Print, but `<no value>` for nothing."""
    if value is None or value is NO_VALUE:
        return "<no value>"
    return sprint(value)


def sprint(value: Any) -> str:
    """fmt's %v."""
    if isinstance(value, str):
        return value
    if value is None or value is NO_VALUE:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, Struct):
        return "{" + " ".join(sprint(item) for item in value.values()) + "}"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{sprint(key)}:{sprint(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list | tuple):
        return "[" + " ".join(sprint(item) for item in value) + "]"
    return str(value)


def _float(value: float) -> str:
    if value != value or value in (float("inf"), float("-inf")):
        return {"nan": "NaN", "inf": "+Inf", "-inf": "-Inf"}[str(value)]
    if value == 0 or 1e-4 <= abs(value) < 1e21:
        return go_float(value)
    mantissa, _, exponent = f"{value!r}".partition("e")
    if exponent:
        return f"{mantissa.removesuffix('.0')}e{exponent[0] if exponent[0] in '+-' else '+'}{exponent.lstrip('+-'):0>2}"
    return f"{value:e}"


def go_type(value: Any) -> str:
    """A value's type as Go names what JSON decodes to."""
    if isinstance(value, Struct):
        return value.type_name
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int"
    if isinstance(value, float):
        return "float64"
    if isinstance(value, str):
        return "string"
    if isinstance(value, dict):
        return "map[string]interface {}"
    if isinstance(value, list | tuple):
        return "[]interface {}"
    return "nil"


def _go_quote(text: str) -> str:
    return dumps(text, escape_html=False)


def sprintf(pattern: str, *arguments: Any) -> str:
    """fmt.Sprintf for the values that templates have. Raises nothing: mistakes show as `%!d(string=x)`."""
    out: list[str] = []
    used, position = 0, 0
    while position < len(pattern):
        percent = pattern.find("%", position)
        if percent < 0:
            out.append(pattern[position:])
            break
        out.append(pattern[position:percent])
        position = percent + 1
        flags = ""
        while position < len(pattern) and pattern[position] in "+-# 0":
            flags += pattern[position]
            position += 1
        sizes: list[int | None] = [None, None]
        for which in (0, 1):
            if which and pattern[position : position + 1] != ".":
                break
            position += which
            begin = position
            if pattern[position : position + 1] == "*":
                position += 1
                sizes[which] = int(arguments[used]) if used < len(arguments) else 0
                used += 1
                continue
            while position < len(pattern) and pattern[position].isdigit():
                position += 1
            sizes[which] = int(pattern[begin:position] or 0) if which or position > begin else None
        if position >= len(pattern):
            out.append("%!(NOVERB)")
            break
        verb = pattern[position]
        position += 1
        if verb == "%":
            out.append("%")
            continue
        if used >= len(arguments):
            out.append(f"%!{verb}(MISSING)")
            continue
        out.append(_verb(verb, flags, sizes[0], sizes[1], arguments[used]))
        used += 1
    if used < len(arguments):
        extra = ", ".join(f"{go_type(value)}={sprint(value)}" for value in arguments[used:])
        out.append(f"%!(EXTRA {extra})")
    return "".join(out)


def _verb(verb: str, flags: str, width: int | None, precision: int | None, value: Any) -> str:
    number = isinstance(value, int) and not isinstance(value, bool)
    text: str | None = None
    if verb == "v":
        text = sprint(value)
    elif verb == "s":
        text = sprint(value) if not number and not isinstance(value, float | bool) else None
        text = text[:precision] if text is not None and precision is not None else text
    elif verb == "q" and isinstance(value, str):
        text = _go_quote(value)
    elif verb == "t" and isinstance(value, bool):
        text = sprint(value)
    elif verb == "T":
        text = go_type(value)
    elif verb in "dboxXcU" and number:
        text = {
            "d": lambda: f"{value:+d}" if "+" in flags else str(value),
            "b": lambda: f"{value:b}",
            "o": lambda: f"{value:o}",
            "x": lambda: f"{value:#x}" if "#" in flags else f"{value:x}",
            "X": lambda: f"{value:X}",
            "c": lambda: chr(value),
            "U": lambda: f"U+{value:04X}",
        }[verb]()
    elif verb in "xX" and isinstance(value, str):
        text = value.encode().hex() if verb == "x" else value.encode().hex().upper()
    elif verb in "eEfFgG" and isinstance(value, float):
        default = None if verb in "gG" else 6
        chosen = precision if precision is not None else default
        text = _float(value) if chosen is None else f"{value:{'+' if '+' in flags else ''}.{chosen}{verb}}"
    if text is None:
        text = f"%!{verb}({go_type(value)}={sprint(value)})" if value is not None else f"%!{verb}(<nil>)"
    if width is not None and len(text) < width:
        if "-" in flags:
            return text.ljust(width)
        if "0" in flags and verb in "dxXobfFeEgG":
            sign = text[:1] if text[:1] in "+-" else ""
            return sign + text[len(sign) :].rjust(width - len(sign), "0")
        return text.rjust(width)
    return text


def _print(*values: Any) -> str:
    out = ""
    for number, value in enumerate(values):
        if number and not isinstance(value, str) and not isinstance(values[number - 1], str):
            out += " "
        out += sprint(value)
    return out


def _println(*values: Any) -> str:
    return " ".join(sprint(value) for value in values) + "\n"


def _len(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, dict | list | tuple):
        return len(value)
    if value is None or value is NO_VALUE:
        raise _FunctionError("len of nil pointer")
    raise _FunctionError(f"len of type {go_type(value)}")


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(value, dict):
            if not isinstance(key, str):
                raise _FunctionError(f"value has type {go_type(key)}; should be string")
            value = value.get(key, NO_VALUE if not isinstance(next(iter(value.values()), None), str) else "")
        elif isinstance(value, list | tuple | str):
            if not isinstance(key, int) or isinstance(key, bool):
                raise _FunctionError(f"cannot index slice/array with type {go_type(key)}")
            size = len(value)
            if not 0 <= key < size:
                raise _FunctionError(
                    f"reflect: slice index out of range: {key}" if key < 0 else f"index out of range: {key}"
                )
            value = ord(value[key]) if isinstance(value, str) else value[key]
        elif value is None or value is NO_VALUE:
            raise _FunctionError("index of untyped nil")
        else:
            raise _FunctionError(f"can't index item of type {go_type(value)}")
    return value


def _slice(value: Any, *bounds: int) -> Any:
    if not isinstance(value, list | tuple | str):
        raise _FunctionError(f"can't slice item of type {go_type(value)}")
    low = bounds[0] if bounds else 0
    high = bounds[1] if len(bounds) > 1 else len(value)
    if not 0 <= low <= len(value) or not 0 <= high <= len(value):
        raise _FunctionError(f"index out of range: {low if not 0 <= low <= len(value) else high}")
    if low > high:
        raise _FunctionError(f"invalid slice index: {low} > {high}")
    return value[low:high]


def _comparable(one: Any, other: Any) -> None:
    for value in (one, other):
        if isinstance(value, dict | list | tuple):
            raise _FunctionError(f"non-comparable type {sprint(value)}: {go_type(value)}")


def _equal(one: Any, *others: Any) -> bool:
    if not others:
        raise _FunctionError("missing argument for comparison")
    for other in others:
        _comparable(one, other)
        if one is None or other is None or one is NO_VALUE or other is NO_VALUE:
            if (one is None or one is NO_VALUE) and (other is None or other is NO_VALUE):
                return True
            continue
        if _kind(one) != _kind(other):
            raise _FunctionError("incompatible types for comparison")
        if one == other:
            return True
    return False


def _kind(value: Any) -> str:
    return "bool" if isinstance(value, bool) else "string" if isinstance(value, str) else go_type(value)


def _order(one: Any, other: Any) -> int:
    _comparable(one, other)
    kind, against = _kind(one), _kind(other)
    if kind != against and {kind, against} != {"int", "float64"}:
        raise _FunctionError("incompatible types for comparison")
    if kind in ("bool", "nil"):
        raise _FunctionError("invalid type for comparison")
    return -1 if one < other else int(one > other)


def _html(*values: Any) -> str:
    text = _print(*values)
    for char, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&#34;"), ("'", "&#39;")):
        text = text.replace(char, entity)
    return text


def _js(*values: Any) -> str:
    text = _print(*values)
    for char, escape in (("\\", "\\\\"), ("'", "\\'"), ('"', '\\"'), ("\n", "\\u000A"), ("\t", "\\u0009")):
        text = text.replace(char, escape)
    for char in "<>&=":
        text = text.replace(char, f"\\u{ord(char):04X}")
    return text


def _urlquery(*values: Any) -> str:
    from urllib.parse import quote_plus

    return quote_plus(_print(*values))


def _call(function: Any, *arguments: Any) -> Any:
    if not callable(function):
        raise _FunctionError(f"non-function of type {go_type(function)}")
    return function(*arguments)


_BUILTINS: dict[str, Callable[..., Any]] = {
    "not": lambda value: not truth(value),
    "len": _len,
    "index": _index,
    "slice": _slice,
    "print": _print,
    "println": _println,
    "printf": sprintf,
    "html": _html,
    "js": _js,
    "urlquery": _urlquery,
    "call": _call,
    "eq": _equal,
    "ne": lambda one, other: not _equal(one, other),
    "lt": lambda one, other: _order(one, other) < 0,
    "le": lambda one, other: _order(one, other) <= 0,
    "gt": lambda one, other: _order(one, other) > 0,
    "ge": lambda one, other: _order(one, other) >= 0,
}


def _strings(value: Any, separator: str) -> str:
    if value is None or value is NO_VALUE:
        return ""
    if isinstance(value, str):
        raise TypeError("expected []string; got string")
    return separator.join(sprint(item) for item in value)


def _pad(text: str, before: int, after: int) -> str:
    return " " * before + text + " " * after if text else text


def _truncate(text: str, width: int) -> str:
    return text[:width]


DOCKER_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "json": lambda value: dumps(None if value is NO_VALUE else value),
    "split": lambda text, separator: text.split(separator) if separator else list(text),
    "join": _strings,
    "title": lambda text: "".join(
        char.upper() if not number or text[number - 1].isspace() else char for number, char in enumerate(text)
    ),
    "lower": lambda text: text.lower(),
    "upper": lambda text: text.upper(),
    "pad": _pad,
    "truncate": _truncate,
    "println": _println,
}
"""What Docker adds to the language: https://docs.docker.com/engine/cli/formatting/."""

"""The syntax of templates: text to tokens to a tree. Internal to gotemplate.py."""

from __future__ import annotations

from wherry.cli.format.govalues import BUILTINS, ParseError, go_quote

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

# Lexing. A token is (kind, text, position); kinds: text, open, close, field, variable, identifier, number,
# string, char, pipe, comma, paren, declare, assign, dot, space, bool, nil.

_Token = tuple[str, str, int]
_ALNUM_EXTRA = "_"
_SPACES = " \t\r\n"
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


def _is_word(char: str) -> bool:
    return char == "_" or char.isalnum()


class Lexer:
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
                    f"unexpected {go_quote(char)} in command"
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


class Node:
    __slots__ = ("position", "source")

    def __init__(self, position: int, source: str = "") -> None:
        self.position = position
        self.source = source


class Text(Node):
    __slots__ = ("text",)

    def __init__(self, position: int, text: str) -> None:
        super().__init__(position)
        self.text = text


class Literal(Node):
    __slots__ = ("value",)

    def __init__(self, position: int, source: str, value: Any) -> None:
        super().__init__(position, source)
        self.value = value


class Fields(Node):
    """`.A.B`, `$x.A`, `(…).A`: `base` is None for dot, a variable's name, or a node."""

    __slots__ = ("base", "names")

    def __init__(self, position: int, source: str, base: str | Node | None, names: list[str]) -> None:
        super().__init__(position, source)
        self.base = base
        self.names = names


class Identifier(Node):
    __slots__ = ()


class Command(Node):
    __slots__ = ("operands",)

    def __init__(self, position: int, source: str, operands: list[Node]) -> None:
        super().__init__(position, source)
        self.operands = operands


class Pipe(Node):
    __slots__ = ("assigns", "commands", "variables")

    def __init__(
        self, position: int, source: str, variables: list[str], assigns: bool, commands: list[Command]
    ) -> None:
        super().__init__(position, source)
        self.variables = variables
        self.assigns = assigns
        self.commands = commands


class Branch(Node):
    """if, with and range."""

    __slots__ = ("body", "kind", "otherwise", "pipe")

    def __init__(self, position: int, kind: str, pipe: Pipe, body: list[Node], otherwise: list[Node]) -> None:
        super().__init__(position)
        self.kind = kind
        self.pipe = pipe
        self.body = body
        self.otherwise = otherwise


class Call(Node):
    """{{template "name" pipe}}."""

    __slots__ = ("name", "pipe")

    def __init__(self, position: int, name: str, pipe: Pipe | None) -> None:
        super().__init__(position)
        self.name = name
        self.pipe = pipe


class Jump(Node):
    __slots__ = ()


class Parser:
    def __init__(self, name: str, text: str, functions: Mapping[str, Any]) -> None:
        self.lexer = Lexer(name, text)
        self.name = name
        self.text = text
        self.functions = functions
        self.tokens = self.lexer.run()
        self.at = 0
        self.variables = ["$"]
        self.definitions: dict[str, list[Node]] = {}
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
        return self.fail(f"unexpected {go_quote(text)} in {context}", position)

    def parse(self) -> list[Node]:
        nodes, end = self.nodes(top=True)
        if end:
            raise self.fail(f"unexpected {{{{{end}}}}}")
        return nodes

    def nodes(self, *, top: bool = False) -> tuple[list[Node], str]:
        """Nodes up to {{end}} or {{else}}, and which of them it was ("" at the end of the text)."""
        found: list[Node] = []
        while True:
            kind, text, position = self.next(skip_space=False)
            if kind == "eof":
                if top:
                    return found, ""
                raise self.fail("unexpected EOF", position)
            if kind == "text":
                found.append(Text(position, text))
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

    def action(self, position: int) -> Node | None:
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
                return Call(at, name, pipe)
            if word in ("define", "block"):
                return self.define(word, at)
            self.expect("close", f"{{{{{word}}}}}")
            if not self.loops:
                raise self.fail(f"{{{{{word}}}}} outside {{{{range}}}}", at)
            return Jump(at, word)
        return self.pipeline("command", "close")

    def define(self, word: str, at: int) -> Node | None:
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
        return Call(at, name, pipe) if word == "block" else None

    def branch(self, word: str, at: int) -> Branch:
        known = len(self.variables)
        pipe = self.pipeline(word, "close")
        self.loops += word == "range"
        body, end = self.nodes()
        self.loops -= word == "range"
        otherwise: list[Node] = []
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
        return Branch(at, word, pipe, body, otherwise)

    def pipeline(self, context: str, end: str) -> Pipe:
        start = self.peek()[2]
        names, assigns = self.declarations(context)
        commands: list[Command] = []
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
            if isinstance(first, Literal):
                raise self.fail(f"non executable command in pipeline stage {commands.index(later) + 1}", first.position)
        return Pipe(start, self.text[start : self.tokens[self.at - 1][2]].strip(_SPACES), names, assigns, commands)

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
                    raise self.fail(f"undefined variable {go_quote(names[0])}")
                return names, kind == "="
            if kind == "," and context == "range" and len(names) == 1:
                self.next()
                continue
            break
        self.at = saved
        return [], False

    def command(self, context: str) -> Command:
        start = self.peek()[2]
        operands: list[Node] = []
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
        return Command(start, self.text[start : end[2] + len(end[1])], operands)

    def operand(self, context: str) -> Node:
        kind, text, position = self.next()
        base: str | Node | None
        where = position
        if kind == "identifier":
            if text not in self.functions and text not in BUILTINS and text not in ("and", "or"):
                raise self.fail(f"function {go_quote(text)} not defined", position)
            return Identifier(position, text)
        if kind in ("string", "char", "number", "bool", "nil"):
            return self.literal(kind, text, position)
        if kind == "dot":
            return Fields(position, ".", None, [])
        if kind == "field":
            base, names = None, [text[1:]]
        elif kind == "variable":
            if text not in self.variables:
                raise self.fail(f"undefined variable {go_quote(text)}", position)
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
        return Fields(where if chained else position, source, base, names)

    def literal(self, kind: str, text: str, position: int) -> Literal:
        if kind == "bool":
            return Literal(position, text, text == "true")
        if kind == "nil":
            return Literal(position, text, None)
        try:
            if kind == "number":
                return Literal(position, text, _number(text))
            value = _unquote(text)
            return Literal(position, text, ord(value) if kind == "char" else value)
        except (ValueError, TypeError):
            wrong = "bad number syntax: " + go_quote(text) if kind == "number" else "malformed constant: " + text
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

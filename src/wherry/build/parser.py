"""A Dockerfile's text as a list of raw instructions.

Specified in the Dockerfile reference: parser directives (`syntax`, `escape`, `check`), comments, continuation
lines, heredocs, the shell and the JSON form. What an instruction means is `instructions`' concern; errors of
this level carry the line as Docker words them.
"""

import json
import re
from dataclasses import dataclass, field

from .errors import DockerfileError
from .shellwords import SubstitutionError, process

_SPACE = " \t\n\v\f\r"
_DIRECTIVE = re.compile(r"^#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*$")
_KNOWN_DIRECTIVES = ("escape", "syntax", "check")
_HEREDOC = re.compile(r"^(\d*)<<(-?)\s*([^<]*)$")
MAX_LINE = 65535


@dataclass
class Heredoc:
    """`<<NAME`: `expand` is False when the name was quoted, `chomp` is True for `<<-`."""

    name: str
    fd: int
    expand: bool
    chomp: bool
    content: str = ""

    @property
    def text(self) -> str:
        """The content as it is to be used: with `<<-`, without leading tabs."""
        return re.sub(r"(?m)^\t+", "", self.content) if self.chomp else self.content


@dataclass
class Node:
    """One instruction. `name` as written; `args` split as this instruction's arguments are."""

    name: str
    flags: list[str]
    args: list[str]
    original: str
    line: int
    end_line: int
    json_form: bool = False
    heredocs: list[Heredoc] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    child: "Node | None" = None
    """The instruction inside ONBUILD."""

    @property
    def keyword(self) -> str:
        return self.name.upper()


@dataclass
class Parsed:
    """A whole Dockerfile. `warnings` are (line, text)."""

    nodes: list[Node]
    escape: str
    directives: dict[str, str]
    warnings: list[tuple[int, str]]


def parse(text: str) -> Parsed:
    """Raises DockerfileError."""
    return _Parser(text).run()


class _Parser:
    def __init__(self, text: str) -> None:
        self._lines = text.removeprefix("\ufeff").splitlines(keepends=True) if "\r" not in text else _lines(text)
        self._at = 0
        self._directives: dict[str, str] = {}
        self._directives_done = False
        self._warnings: list[tuple[int, str]] = []
        self._set_escape("\\", 0)

    def _set_escape(self, token: str, line: int) -> None:
        if token not in ("\\", "`"):
            raise DockerfileError(
                f"dockerfile parse error on line {line}: invalid escape token '{token}' does not match ` or \\", line
            )
        self._escape = token
        quoted = re.escape(token)
        self._continuation = re.compile(rf"(?:(?<=[^{quoted}]){quoted}[ \t]*|^{quoted}[ \t]*)$")

    def run(self) -> Parsed:
        nodes: list[Node] = []
        comments: list[str] = []
        while self._at < len(self._lines):
            raw = self._lines[self._at]
            line_number = self._at + 1
            self._at += 1
            line = raw.rstrip("\r\n").lstrip(_SPACE)
            if line.startswith("#"):
                if not self._directive(line, line_number):
                    comment = line[1:].strip()
                    comments = [*comments, comment] if comment else []
                continue
            self._directives_done = self._directives_done or bool(line)
            line, complete = self._strip_continuation(line)
            if complete and not line:
                self._directives_done = True
                continue
            if not complete:
                line += self._continue(line)
            if len(line) > MAX_LINE:
                raise DockerfileError(f"dockerfile line greater than max allowed size of {MAX_LINE}", line_number)
            node = self._node(line, line_number, comments)
            self._take_heredocs(node, line)
            node.end_line = self._at
            nodes.append(node)
            comments = []
        if not nodes:
            raise DockerfileError("file with no instructions")
        return Parsed(nodes, self._escape, self._directives, self._warnings)

    def _directive(self, line: str, number: int) -> bool:
        """Directives stand at the top: the first line that is none ends them."""
        if self._directives_done:
            return False
        match = _DIRECTIVE.match(line)
        name = match[1].lower() if match else ""
        if match is None or name not in _KNOWN_DIRECTIVES:
            self._directives_done = True
            return False
        if name in self._directives:
            raise DockerfileError(f"only one {name} parser directive can be used", number)
        self._directives[name] = match[2]
        if name == "escape":
            self._set_escape(match[2], number)
        return True

    def _strip_continuation(self, line: str) -> tuple[str, bool]:
        match = self._continuation.search(line)
        return (line[: match.start()], False) if match else (line, True)

    def _continue(self, start: str) -> str:
        parts: list[str] = []
        empty = False
        complete = False
        while not complete and self._at < len(self._lines):
            line = self._lines[self._at].rstrip("\r\n")
            self._at += 1
            stripped = line.lstrip(_SPACE)
            if stripped.startswith("#"):
                continue
            if not stripped:
                empty = True
                continue
            line, complete = self._strip_continuation(line)
            parts.append(line)
        if empty:
            self._warnings.append((self._at, f"Empty continuation line found in: {start}{''.join(parts)}"))
        return "".join(parts)

    def _node(self, line: str, number: int, comments: list[str]) -> Node:
        try:
            return self._split(line, number, comments)
        except ValueError as error:
            raise DockerfileError(f"dockerfile parse error on line {number}: {error}", number) from None

    def _split(self, line: str, number: int, comments: list[str]) -> Node:
        name, _, rest = _partition_space(line.strip(_SPACE))
        flags, rest = _take_flags(rest.strip(_SPACE), self._escape)
        node = Node(name, flags, [], line, number, number, comments=comments)
        keyword = node.keyword
        if keyword in ("ENV", "LABEL"):
            node.args = _name_values(rest, keyword, self._escape)
        elif keyword == "ARG":
            node.args = _words(rest, self._escape)
        elif keyword in ("ADD", "COPY", "VOLUME"):
            found = _json_strings(rest)
            node.json_form = found is not None
            node.args = found if found is not None else re.split(r"[\t\v\f\r ]+", rest) if rest else []
        elif keyword in ("RUN", "CMD", "ENTRYPOINT", "SHELL"):
            found = _json_strings(rest) if rest else None
            node.json_form = found is not None
            node.args = found if found is not None else [rest] if rest else []
        elif keyword in ("EXPOSE", "FROM"):
            node.args = re.split(r"[\t\v\f\r ]+", rest) if rest else []
        elif keyword == "HEALTHCHECK":
            kind, _, command = _partition_space(rest)
            if kind:
                found = _json_strings(command) if command else None
                node.json_form = found is not None
                node.args = [kind, *(found if found is not None else [command] if command else [])]
        elif keyword == "ONBUILD":
            if rest:
                node.child = self._split(rest, number, [])
                node.args = [node.child.name, *node.child.args]
        elif keyword in ("MAINTAINER", "STOPSIGNAL", "USER", "WORKDIR"):
            node.args = [rest] if rest else []
        return node

    def _take_heredocs(self, node: Node, line: str) -> None:
        inner = node.child if node.child is not None else node
        if inner.keyword not in ("ADD", "COPY", "RUN") or inner.json_form or "<<" not in line:
            return
        for heredoc in _heredocs_of(line):
            parts: list[str] = []
            while True:
                if self._at >= len(self._lines):
                    raise DockerfileError("unterminated heredoc", node.line)
                raw = self._lines[self._at]
                self._at += 1
                candidate = raw.rstrip("\r\n")
                if (candidate.lstrip("\t") if heredoc.chomp else candidate) == heredoc.name:
                    break
                parts.append(raw)
            heredoc.content = "".join(parts)
            node.heredocs.append(heredoc)
            if inner is not node:
                inner.heredocs.append(heredoc)


def _lines(text: str) -> list[str]:
    """Lines end at a newline only: a carriage return inside one is content."""
    return re.findall(r"[^\n]*\n|[^\n]+", text.removeprefix("\ufeff"))


def parse_heredoc(word: str) -> Heredoc | None:
    """The heredoc that `word` announces, or None."""
    match = _HEREDOC.match(word)
    if not match or not match[3]:
        return None
    words = process(match[3], {}, keep_unset=True).words
    raw = process(match[3], {}, raw_quotes=True, keep_unset=True).words
    if len(words) != 1 or len(raw) != 1:
        return None
    expand = sum(words[0].count(quote) for quote in "'\"") == sum(raw[0].count(quote) for quote in "'\"")
    return Heredoc(words[0], int(match[1] or 0), expand, match[2] == "-")


def _heredocs_of(line: str) -> list[Heredoc]:
    try:
        words = process(line, {}, raw_quotes=True, raw_escapes=True, keep_unset=True).words
    except SubstitutionError:
        return []
    return [found for word in words if (found := parse_heredoc(word)) is not None]


def _partition_space(text: str) -> tuple[str, str, str]:
    match = re.search(r"[\t\v\f\r ]+", text)
    return (text[: match.start()], match[0], text[match.end() :]) if match else (text, "", "")


def _take_flags(rest: str, escape: str) -> tuple[list[str], str]:
    """The leading `--name=value` words, quotes and escapes removed, and what follows them."""
    flags: list[str] = []
    at = 0
    while True:
        while at < len(rest) and rest[at] in _SPACE:
            at += 1
        if not rest.startswith("--", at):
            return flags, rest[at:]
        word, at = _flag_word(rest, at, escape)
        if word == "--":
            return flags, rest[at:].lstrip(_SPACE)
        flags.append(word)


def _flag_word(rest: str, at: int, escape: str) -> tuple[str, int]:
    result = []
    quote = ""
    while at < len(rest):
        ch = rest[at]
        at += 1
        if quote:
            if ch == quote:
                quote = ""
                continue
            if ch == escape and at < len(rest):
                ch = rest[at]
                at += 1
        elif ch in _SPACE:
            break
        elif ch in "'\"":
            quote = ch
            continue
        elif ch == escape and at < len(rest):
            ch = rest[at]
            at += 1
        result.append(ch)
    return "".join(result), at


def _words(rest: str, escape: str) -> list[str]:
    """Words separated by unquoted white space; quotes and escapes stay in them."""
    words: list[str] = []
    current: list[str] = []
    quote = ""
    keep_empty = False
    at = 0
    while at < len(rest):
        ch = rest[at]
        at += 1
        if quote:
            if ch == escape and quote != "'" and at < len(rest):
                current.append(ch)
                ch = rest[at]
                at += 1
            elif ch == quote:
                quote = ""
            current.append(ch)
        elif ch in _SPACE:
            if current or keep_empty:
                words.append("".join(current))
            current, keep_empty = [], False
        else:
            if ch in "'\"":
                quote, keep_empty = ch, True
            elif ch == escape:
                if at >= len(rest):
                    break
                current.append(ch)
                ch = rest[at]
                at += 1
            current.append(ch)
    if current or keep_empty:
        words.append("".join(current))
    return words


def _name_values(rest: str, keyword: str, escape: str) -> list[str]:
    """Flat triples name, value, separator; the separator is empty for the old form `KEY value`."""
    words = _words(rest, escape)
    if not words:
        return []
    if "=" not in words[0]:
        name, space, value = _partition_space(rest)
        if not space:
            raise ValueError(f"{keyword} must have two arguments")
        return [name, value, ""]
    triples: list[str] = []
    for word in words:
        name, separator, value = word.partition("=")
        if not separator:
            raise ValueError(f"Syntax error - can't find = in {json.dumps(word)}. Must be of the form: name=value")
        triples += [name, value, "="]
    return triples


def _json_strings(rest: str) -> list[str] | None:
    """The strings of a JSON array; None for what is not JSON, an error for an array of something else."""
    if not rest.lstrip(_SPACE).startswith("["):
        return None
    try:
        value = json.loads(rest)
    except ValueError:
        return None
    if not isinstance(value, list):
        return None
    if any(not isinstance(item, str) for item in value):
        raise ValueError("when using JSON array syntax, arrays must be comprised of strings only")
    return value

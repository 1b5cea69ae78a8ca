"""Quotes and variables in the arguments of instructions.

Specified in the Dockerfile reference, "Environment replacement": `$name`, `${name}`, `${name:-word}`,
`${name-word}`, `:+`, `+`, `:?`, `?`, `#`, `##`, `%`, `%%`, `/pattern/replacement`, `//pattern/replacement`.
Quotes are removed, the escape token takes the meaning of the character after it away.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

_SPACE = " \t\n\v\f\r\x85\xa0"
_SPECIAL = "@*#?-$!0"


class SubstitutionError(ValueError):
    """A substitution that is malformed, or that demands a variable that is not set."""


@dataclass
class Words:
    """What processing gave: the whole as one string, and split at unquoted white space."""

    text: str
    words: list[str]
    unmatched: set[str] = field(default_factory=set)
    matched: set[str] = field(default_factory=set)


def expand(text: str, env: Mapping[str, str], escape: str = "\\") -> str:
    """`text` with its quotes removed and its variables replaced. Raises SubstitutionError."""
    return process(text, env, escape).text


def expand_words(text: str, env: Mapping[str, str], escape: str = "\\") -> list[str]:
    """As `expand`, split at white space that is not quoted."""
    return process(text, env, escape).words


def process(
    text: str,
    env: Mapping[str, str],
    escape: str = "\\",
    *,
    raw_quotes: bool = False,
    raw_escapes: bool = False,
    keep_unset: bool = False,
    ignore_quotes: bool = False,
) -> Words:
    """The whole result. `raw_quotes` and `raw_escapes` keep those characters, `keep_unset` leaves references to
    variables that are not set as they are, `ignore_quotes` gives quotes no meaning (heredocs)."""
    machine = _Machine(text, env, escape, raw_quotes, keep_unset, ignore_quotes)
    try:
        result, words = machine.run(None, raw_escapes)
    except SubstitutionError as error:
        raise SubstitutionError(f'failed to process "{text}": {error}') from None
    return Words(result, words, machine.unmatched, machine.matched)


class _Split:
    """Collects words: white space that comes from unquoted text ends one."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self._current = ""
        self._inside = False

    def char(self, ch: str) -> None:
        if ch in _SPACE and self._inside:
            if self._current:
                self.words.append(self._current)
                self._current = ""
                self._inside = False
        elif ch not in _SPACE:
            self.raw(ch)

    def raw(self, text: str) -> None:
        self._current += text
        self._inside = True

    def text(self, text: str) -> None:
        for ch in text:
            self.char(ch)

    def finish(self) -> list[str]:
        if self._current:
            self.words.append(self._current)
            self._current = ""
        return self.words


class _Machine:
    def __init__(
        self, text: str, env: Mapping[str, str], escape: str, raw_quotes: bool, keep_unset: bool, ignore_quotes: bool
    ) -> None:
        self._text = text
        self._at = 0
        self._env = env
        self._escape = escape
        self._raw_quotes = raw_quotes
        self._raw_escapes = False
        self._keep_unset = keep_unset
        self._ignore_quotes = ignore_quotes
        self.matched: set[str] = set()
        self.unmatched: set[str] = set()

    def _peek(self) -> str:
        return self._text[self._at] if self._at < len(self._text) else ""

    def _next(self) -> str:
        ch = self._peek()
        self._at += 1
        return ch

    def run(self, stop: str | None, raw_escapes: bool) -> tuple[str, list[str]]:
        """Up to `stop`, which is consumed, or to the end."""
        saved, self._raw_escapes = self._raw_escapes, raw_escapes
        try:
            result: list[str] = []
            split = _Split()
            while ch := self._peek():
                if ch == stop:
                    self._next()
                    return "".join(result), split.finish()
                if ch == "'" and not self._ignore_quotes:
                    piece = self._single()
                    split.raw(piece)
                elif ch == '"' and not self._ignore_quotes:
                    piece = self._double()
                    split.raw(piece)
                elif ch == "$":
                    piece = self._dollar()
                    split.text(piece)
                elif ch == "<" and self._text.startswith("<<", self._at):
                    match = re.compile(r"<<[ \t\r]*").match(self._text, self._at)
                    piece = match[0] if match else "<<"
                    self._at += len(piece)
                    split.raw(piece)
                else:
                    piece = self._next()
                    if piece == self._escape:
                        kept = piece if self._raw_escapes else ""
                        following = self._next()
                        if not following:
                            if kept:
                                result.append(kept)
                                split.raw(kept)
                            break
                        piece = kept + following
                        split.raw(piece)
                    else:
                        split.char(piece)
                result.append(piece)
            if stop is not None:
                raise SubstitutionError(f"unexpected end of statement while looking for matching {stop}")
            return "".join(result), split.finish()
        finally:
            self._raw_escapes = saved

    def _single(self) -> str:
        quote = self._next()
        end = self._text.find("'", self._at)
        if end < 0:
            raise SubstitutionError("unexpected end of statement while looking for matching single-quote")
        inner, self._at = self._text[self._at : end], end + 1
        return quote + inner + quote if self._raw_quotes else inner

    def _double(self) -> str:
        quote = self._next()
        result = [quote] if self._raw_quotes else []
        while True:
            ch = self._peek()
            if not ch:
                raise SubstitutionError("unexpected end of statement while looking for matching double-quote")
            if ch == '"':
                self._next()
                if self._raw_quotes:
                    result.append(ch)
                return "".join(result)
            if ch == "$":
                result.append(self._dollar())
                continue
            self._next()
            if ch == self._escape:
                if self._raw_escapes:
                    result.append(ch)
                following = self._peek()
                if not following:
                    continue
                # Inside double quotes only these three lose their meaning.
                if following in ('"', "$", self._escape):
                    ch = self._next()
                elif self._raw_escapes:
                    continue
            result.append(ch)

    def _dollar(self) -> str:
        self._next()
        if self._peek() != "{":
            name = self._name()
            if not name:
                return "$"
            value = self._lookup(name)
            return f"${name}" if value is None and self._keep_unset else value or ""
        self._next()
        if not self._peek():
            raise SubstitutionError("syntax error: missing '}'")
        if self._peek() == "}":
            raise SubstitutionError("syntax error: bad substitution")
        name = self._name()
        if not name:
            raise SubstitutionError("syntax error: bad substitution")
        ch = self._next()
        if not ch:
            raise SubstitutionError("syntax error: missing '}'")
        if ch == "}":
            value = self._lookup(name)
            return f"${{{name}}}" if value is None and self._keep_unset else value or ""
        if ch in "+-?:":
            return self._conditional(name, ch)
        if ch in "#%":
            return self._trim(name, ch)
        if ch == "/":
            return self._replace(name)
        raise SubstitutionError(f"unsupported modifier ({ch}) in substitution")

    def _conditional(self, name: str, ch: str) -> str:
        empty_counts = ch == ":"
        modifier = ch
        if empty_counts:
            ch = self._next()
            modifier += ch
            if not ch:
                raise SubstitutionError("syntax error: missing '}'")
            if ch not in "+-?":
                raise SubstitutionError(f"unsupported modifier ({modifier}) in substitution")
        word = self._word()
        value = self._lookup(name)
        there = value is not None and (value != "" or not empty_counts)
        if value is None and self._keep_unset:
            return f"${{{name}{modifier}{word}}}"
        if ch == "-":
            return value or "" if there else word
        if ch == "+":
            return word if there else ""
        if not there:
            why = word or ("is not allowed to be empty" if value is not None else "is not allowed to be unset")
            raise SubstitutionError(f"{name}: {why}")
        return value or ""

    def _word(self) -> str:
        try:
            return self.run("}", self._raw_escapes)[0]
        except SubstitutionError:
            if not self._peek():
                raise SubstitutionError("syntax error: missing '}'") from None
            raise

    def _trim(self, name: str, ch: str) -> str:
        greedy = self._peek() == ch
        if greedy:
            self._next()
        # Escapes belong to the pattern here.
        try:
            pattern = self.run("}", True)[0]
        except SubstitutionError:
            raise SubstitutionError("syntax error: missing '}'") from None
        value = self._lookup(name)
        if value is None:
            return f"${{{name}{ch * (1 + greedy)}{pattern}}}" if self._keep_unset else ""
        if ch == "#":
            match = re.match(_pattern(pattern, greedy), value, re.DOTALL)
            return value[match.end() :] if match else value
        # The shortest suffix is the match that begins last, the longest the one that begins first.
        regex = re.compile(_pattern(pattern, True) + r"\Z", re.DOTALL)
        starts = range(len(value) + 1) if greedy else range(len(value), -1, -1)
        return next((value[:at] for at in starts if regex.match(value, at)), value)

    def _replace(self, name: str) -> str:
        everywhere = self._peek() == "/"
        if everywhere:
            self._next()
        try:
            pattern = self.run("/", True)[0]
        except SubstitutionError:
            raise SubstitutionError("syntax error: missing '/' in ${}") from None
        try:
            replacement = self.run("}", True)[0]
        except SubstitutionError:
            raise SubstitutionError("syntax error: missing '}'") from None
        value = self._lookup(name)
        if value is None:
            return f"${{{name}/{pattern}/{replacement}}}" if self._keep_unset else ""
        return re.sub(
            _pattern(pattern, True), lambda _: replacement, value, count=0 if everywhere else 1, flags=re.DOTALL
        )

    def _name(self) -> str:
        ch = self._peek()
        if ch.isdigit():
            return self._while(str.isdigit)
        if ch and ch in _SPECIAL:
            return self._next()
        return self._while(lambda c: c.isalnum() or c == "_")

    def _while(self, wanted: Callable[[str], bool]) -> str:
        start = self._at
        while (ch := self._peek()) and wanted(ch):
            self._at += 1
        return self._text[start : self._at]

    def _lookup(self, name: str) -> str | None:
        value = self._env.get(name)
        (self.unmatched if value is None else self.matched).add(name)
        return value


def _pattern(pattern: str, greedy: bool) -> str:
    """A shell pattern (`*`, `?`, backslash; no brackets) as a regular expression."""
    result = []
    at = 0
    while at < len(pattern):
        ch = pattern[at]
        at += 1
        if ch == "*":
            result.append(".*" if greedy else ".*?")
        elif ch == "?":
            result.append(".")
        elif ch == "\\":
            following = pattern[at : at + 1]
            if following in ("}", "/"):
                continue
            if following not in ("*", "?", "\\") or not following:
                raise SubstitutionError(f"invalid pattern ({pattern}) in substitution: invalid escape '\\{following}'")
            result.append(re.escape(following))
            at += 1
        else:
            result.append(re.escape(ch))
    return "".join(result)

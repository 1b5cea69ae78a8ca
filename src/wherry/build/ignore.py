"""Patterns of `.dockerignore` and of `--exclude`, with their exact rules.

Specified in the Dockerfile reference, ".dockerignore file": Go's path.Match with `**`, the last matching line
decides, `!` brings back, and a match of a parent directory is a match.
"""

import re
from dataclasses import dataclass


@dataclass
class _Pattern:
    regex: re.Pattern[str]
    text: str
    negated: bool


class Patterns:
    """A list of patterns, in order. Empty matches nothing."""

    def __init__(self, lines: list[str]) -> None:
        """Raises ValueError for a pattern that is not one (`illegal exclusion pattern: "!"`)."""
        self._patterns: list[_Pattern] = []
        for line in lines:
            text = line.strip()
            negated = text.startswith("!")
            if negated:
                text = text[1:].strip()
                if not text:
                    raise ValueError('illegal exclusion pattern: "!"')
            text = _clean(text)
            if text:
                self._patterns.append(_Pattern(_compile(text), text, negated))
        self.has_exceptions = any(pattern.negated for pattern in self._patterns)

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def matches(self, path: str) -> bool:
        """Whether `path` (relative, slashes) or a directory above it is excluded."""
        matched = False
        parents = _parents(path)
        for pattern in self._patterns:
            if pattern.negated != matched:
                continue  # it could not change the verdict
            if any(pattern.regex.fullmatch(candidate) for candidate in parents):
                matched = not pattern.negated
        return matched

    def may_bring_back(self, directory: str) -> bool:
        """Whether something below an excluded directory may be brought back by a `!` line."""
        if not self.has_exceptions:
            return False
        prefix = directory + "/"
        for pattern in self._patterns:
            if pattern.negated and (
                pattern.text.startswith(prefix)
                or any(c in pattern.text for c in "*?[")
                or prefix.startswith(pattern.text)
            ):
                return True
        return False


def read_ignore_file(text: str) -> list[str]:
    """The patterns of a `.dockerignore`: comments, blank lines and leading slashes gone."""
    patterns: list[str] = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n")):
        line = line.rstrip("\r")
        if line.startswith("#") or (number == 0 and line.startswith("\ufeff#")):
            continue
        line = line.strip()
        if not line:
            continue
        negated = line.startswith("!")
        body = line[1:].strip() if negated else line
        if body:
            body = _clean(body)
            body = body[1:] if len(body) > 1 and body.startswith("/") else body
        patterns.append(("!" if negated else "") + body)
    return patterns


def _clean(path: str) -> str:
    """Go's filepath.Clean; `.` and `/` become what they are relative to, nothing."""
    absolute = path.startswith("/")
    parts: list[str] = []
    for part in path.split("/"):
        if part in ("", "."):
            continue
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif part != ".." or not absolute:
            parts.append(part)
    return ("/" if absolute else "") + "/".join(parts)


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]


def _compile(pattern: str) -> re.Pattern[str]:
    result: list[str] = []
    at = 0
    while at < len(pattern):
        ch = pattern[at]
        at += 1
        if ch == "*":
            if pattern.startswith("*", at):
                at += 1
                if pattern.startswith("/", at):
                    at += 1
                if at >= len(pattern):
                    result.append(".*")
                else:
                    result.append("(?:.*/)?")
            else:
                result.append("[^/]*")
        elif ch == "?":
            result.append("[^/]")
        elif ch == "[":
            end = pattern.find("]", at + 1)
            if end < 0:
                raise ValueError(f'error parsing pattern "{pattern}": syntax error in pattern')
            body = pattern[at:end]
            negate = body.startswith("^")
            body = body[1:] if negate else body
            result.append("[" + ("^" if negate else "") + body.replace("\\", "\\\\").replace("[", "\\[") + "]")
            at = end + 1
        elif ch == "\\":
            if at < len(pattern):
                result.append(re.escape(pattern[at]))
                at += 1
            else:
                result.append(re.escape(ch))
        else:
            result.append(re.escape(ch))
    return re.compile("".join(result), re.DOTALL)


def path_match(pattern: str) -> re.Pattern[str]:
    """Go's path.Match of one pattern, as COPY's sources use it (with `**` as BuildKit has it)."""
    return _compile(pattern)

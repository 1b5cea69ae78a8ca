"""Selectors: label selector strings, LabelSelector structs, node selector terms, field selectors.

`parse_labels("app=web,tier in (a,b),!canary")` and `from_label_selector(spec["selector"])` both give a `Selector`,
whose `matches(labels)` is what everything asks. Specified in
https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors; the messages of the
ValueErrors are the real API server's.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from wherry.schema import names

Labels = Mapping[str, str]

IN: Final = "in"
NOT_IN: Final = "notin"
EXISTS: Final = "exists"
ABSENT: Final = "!"
GREATER: Final = "gt"
LESS: Final = "lt"
EQUALS: Final = "="
NOT_EQUALS: Final = "!="


@dataclass(frozen=True)
class Requirement:
    """One condition on one label. `values` are sorted; they are integers in decimal for `gt` and `lt`."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Labels) -> bool:
        value = labels.get(self.key)
        operator = self.operator
        if operator in (IN, EQUALS):
            return value is not None and value in self.values
        if operator in (NOT_IN, NOT_EQUALS):
            return value is None or value not in self.values
        if operator == EXISTS:
            return value is not None
        if operator == ABSENT:
            return value is None
        if value is None or (number := _integer(value)) is None or (limit := _integer(self.values[0])) is None:
            return False
        return number > limit if operator == GREATER else number < limit

    def __str__(self) -> str:
        if self.operator == EXISTS:
            return self.key
        if self.operator == ABSENT:
            return f"!{self.key}"
        if self.operator in (IN, NOT_IN):
            return f"{self.key} {self.operator} ({','.join(self.values)})"
        sign = {GREATER: ">", LESS: "<"}.get(self.operator, self.operator)
        return f"{self.key}{sign}{self.values[0]}"


@dataclass(frozen=True)
class Selector:
    """All requirements must hold. The empty selector matches everything, `NOTHING` nothing."""

    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False

    def matches(self, labels: Labels | None) -> bool:
        if self.nothing:
            return False
        found: Labels = labels if labels is not None else {}
        return all(requirement.matches(found) for requirement in self.requirements)

    @property
    def empty(self) -> bool:
        """Whether it selects everything."""
        return not self.requirements and not self.nothing

    def exact(self, key: str) -> str | None:
        """The one value that `key` must have, if the selector says so: for looking up in an index."""
        for requirement in self.requirements:
            if requirement.key == key and requirement.operator in (IN, EQUALS) and len(requirement.values) == 1:
                return requirement.values[0]
        return None

    def __str__(self) -> str:
        return ",".join(str(requirement) for requirement in self.requirements)


EVERYTHING: Final = Selector()
NOTHING: Final = Selector(nothing=True)


def _integer(text: str) -> int | None:
    if not re.match(r"[+-]?[0-9]+\Z", text):
        return None
    number = int(text)
    return number if -(2**63) <= number < 2**63 else None


_TOKEN: Final = re.compile(r"[ \t\r\n]*(?:(==|!=|[=!(),<>])|([^=!(),<> \t\r\n]+)|\Z)")
_OPERATORS: Final = {"in": IN, "notin": NOT_IN, "=": EQUALS, "==": EQUALS, "!=": NOT_EQUALS, ">": GREATER, "<": LESS}
_SYMBOLS: Final = frozenset({"==", "!=", "=", "!", "(", ")", ",", "<", ">"})
_MAX_LENGTH: Final = 256 * 1024


def _tokens(text: str) -> list[str]:
    """Tokens of a selector; the end is the empty string."""
    tokens, position = [], 0
    while True:
        match = _TOKEN.match(text, position)
        if match is None:
            raise ValueError(f"unable to parse selector {text!r}")
        token = match[1] or match[2] or ""
        tokens.append(token)
        if not token:
            return tokens
        position = match.end()


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens = _tokens(text)
        self.position = 0

    @property
    def ahead(self) -> str:
        return self.tokens[self.position]

    def take(self) -> str:
        token = self.tokens[self.position]
        if token:
            self.position += 1
        return token

    def parse(self) -> list[Requirement]:
        found: list[Requirement] = []
        while True:
            token = self.ahead
            if not token:
                return found
            if token in _SYMBOLS and token != "!":
                raise ValueError(f"found '{token}', expected: !, identifier, or 'end of string'")
            try:
                found.append(self.requirement())
            except ValueError as error:
                raise ValueError(f"unable to parse requirement: {error}") from None
            token = self.take()
            if not token:
                return found
            if token != ",":
                raise ValueError(f"found '{token}', expected: ',' or 'end of string'")
            if not self.ahead or (self.ahead in _SYMBOLS and self.ahead != "!"):
                raise ValueError(f"found '{self.ahead}', expected: identifier after ','")

    def requirement(self) -> Requirement:
        absent = self.ahead == "!"
        if absent:
            self.take()
        key = self.take()
        if not key or key in _SYMBOLS:
            raise ValueError(f"found '{key}', expected: identifier")
        if errors := names.qualified_name(key):
            raise ValueError(f'<nil>: Invalid value: "{key}": {"; ".join(errors)}')
        if absent:
            return Requirement(key, ABSENT)
        if self.ahead in ("", ","):
            return Requirement(key, EXISTS)
        token = self.take()
        operator = _OPERATORS.get(token)
        if operator is None:
            raise ValueError(f"found '{token}', expected: in, notin, =, ==, !=, gt, lt")
        values = self.values() if operator in (IN, NOT_IN) else [self.exact_value()]
        return checked(key, operator, values)

    def exact_value(self) -> str:
        if self.ahead in ("", ","):
            return ""
        token = self.take()
        if token in _SYMBOLS:
            raise ValueError(f"found '{token}', expected: identifier")
        return token

    def values(self) -> list[str]:
        token = self.take()
        if token != "(":
            raise ValueError(f"found '{token}' expected: '('")
        if self.ahead == ")":
            self.take()
            return [""]
        if not self.ahead or (self.ahead in _SYMBOLS and self.ahead != ","):
            raise ValueError(f"found '{self.ahead}', expected: ',', ')' or identifier")
        found: list[str] = []
        expect_value = True
        while True:
            token = self.take()
            if token == ",":
                if expect_value:
                    found.append("")
                expect_value = True
            elif token == ")":
                if expect_value:
                    found.append("")
                return found
            elif not token or token in _SYMBOLS:
                wanted = "',', or identifier" if expect_value else "',' or ')'"
                raise ValueError(f"found '{token}', expected: {wanted}")
            elif not expect_value:
                raise ValueError(f"found '{token}', expected: ',' or ')'")
            else:
                found.append(token)
                expect_value = False


def checked(key: str, operator: str, values: Iterable[str]) -> Requirement:
    """A requirement whose values have been checked. Raises ValueError."""
    listed = tuple(sorted(set(values)))
    errors: list[str] = []
    if operator in (GREATER, LESS):
        errors += [
            f"values[{index}]: Invalid value: \"{value}\": for 'Gt', 'Lt' operators, the value must be an integer"
            for index, value in enumerate(listed)
            if _integer(value) is None
        ]
    for index, value in enumerate(listed):
        if found := names.label_value(value):
            errors.append(f'values[{index}][{key}]: Invalid value: "{value}": {"; ".join(found)}')
    if errors:
        raise ValueError(errors[0] if len(errors) == 1 else f"[{', '.join(errors)}]")
    return Requirement(key, operator, listed)


@lru_cache(maxsize=1024)
def parse_labels(text: str) -> Selector:
    """The selector that a string such as `app=web,tier in (front,back),!canary` stands for. Raises ValueError."""
    if len(text) > _MAX_LENGTH:
        raise ValueError(f"label selector is longer than {_MAX_LENGTH} bytes")
    return Selector(tuple(sorted(_Parser(text).parse(), key=lambda requirement: requirement.key)))


_STRUCT_OPERATORS: Final = {"In": IN, "NotIn": NOT_IN, "Exists": EXISTS, "DoesNotExist": ABSENT}
_NODE_OPERATORS: Final = _STRUCT_OPERATORS | {"Gt": GREATER, "Lt": LESS}


def from_set(labels: Labels | None) -> Selector:
    """Exact matches, as services and replication controllers select. Empty selects everything."""
    return Selector(tuple(Requirement(key, EQUALS, (value,)) for key, value in sorted((labels or {}).items())))


def from_label_selector(selector: Mapping[str, Any] | None) -> Selector:
    """A LabelSelector struct (matchLabels, matchExpressions). None selects nothing, `{}` everything.

    Raises ValueError for an unknown operator.
    """
    if selector is None:
        return NOTHING
    found = [Requirement(key, IN, (value,)) for key, value in (selector.get("matchLabels") or {}).items()]
    found += _expressions(selector.get("matchExpressions"), _STRUCT_OPERATORS)
    return Selector(tuple(sorted(found, key=lambda requirement: requirement.key)))


def format_label_selector(selector: Mapping[str, Any] | None) -> str:
    """How tables and `kubectl describe` show it: `app=web,tier in (a,b)`, `<none>`, `<error>`."""
    if selector is None:
        return "<none>"
    try:
        found = from_label_selector(selector)
    except ValueError:
        return "<error>"
    shown = [
        f"{one.key}={one.values[0]}"
        if one.operator == IN and one.key in (selector.get("matchLabels") or {})
        else str(one)
        for one in found.requirements
    ]
    return ",".join(shown) or "<none>"


def _expressions(expressions: Iterable[Mapping[str, Any]] | None, operators: Mapping[str, str]) -> list[Requirement]:
    found = []
    for expression in expressions or ():
        operator = operators.get(expression.get("operator", ""))
        if operator is None:
            raise ValueError(f'"{expression.get("operator", "")}" is not a valid label selector operator')
        values = tuple(sorted(set(expression.get("values") or ())))
        found.append(Requirement(expression.get("key", ""), operator, values))
    return found


def node_selector_term_matches(term: Mapping[str, Any], node: Mapping[str, Any]) -> bool:
    """Whether one NodeSelectorTerm (matchExpressions on labels, matchFields on metadata.name) selects the node.

    An empty term selects nothing, and neither does one with an unknown operator.
    """
    expressions, fields = term.get("matchExpressions"), term.get("matchFields")
    if not expressions and not fields:
        return False
    metadata = node.get("metadata") or {}
    try:
        on_labels = _expressions(expressions, _NODE_OPERATORS)
        on_fields = _expressions(fields, _NODE_OPERATORS)
    except ValueError:
        return False
    labels = metadata.get("labels") or {}
    values = {"metadata.name": metadata.get("name", "")}
    return all(one.matches(labels) for one in on_labels) and all(one.matches(values) for one in on_fields)


def node_selector_matches(selector: Mapping[str, Any] | None, node: Mapping[str, Any]) -> bool:
    """A NodeSelector: any of its terms. None selects every node."""
    if selector is None:
        return True
    return any(node_selector_term_matches(term, node) for term in selector.get("nodeSelectorTerms") or ())


@dataclass(frozen=True)
class FieldRequirement:
    """`path=value`, or `path!=value` when `negated`."""

    path: str
    value: str
    negated: bool = False


@dataclass(frozen=True)
class FieldSelector:
    """All requirements must hold. Whether a resource supports a path is for `supported_fields` to say."""

    requirements: tuple[FieldRequirement, ...] = ()

    def matches(self, obj: Mapping[str, Any]) -> bool:
        return all((field_value(obj, one.path) == one.value) != one.negated for one in self.requirements)

    def matches_with(self, value_of: Callable[[str], str]) -> bool:
        """Like `matches`, with the field's value looked up by `value_of(path)`."""
        return all((value_of(one.path) == one.value) != one.negated for one in self.requirements)

    def exact(self, path: str) -> str | None:
        """The one value that `path` must have, if the selector says so."""
        for one in self.requirements:
            if one.path == path and not one.negated:
                return one.value
        return None

    @property
    def empty(self) -> bool:
        return not self.requirements

    def __str__(self) -> str:
        return ",".join(
            one.path + ("!=" if one.negated else "=") + re.sub(r"([,=\\])", r"\\\1", one.value)
            for one in self.requirements
        )


@lru_cache(maxsize=1024)
def parse_fields(text: str) -> FieldSelector:
    r"""`status.phase!=Running,spec.nodeName=n1`; `\,` `\=` `\\` are escapes in values. Raises ValueError."""
    found = []
    for term in _split_terms(text):
        if not term:
            continue
        match = re.match(r"((?:[^\\=!]|\\.|!(?!=))*)(==|!=|=)(.*)\Z", term, re.DOTALL)
        if match is None:
            raise ValueError(f"invalid selector: '{text}'; can't understand '{term}'")
        path, operator, value = match.groups()
        found.append(FieldRequirement(path.strip(), _unescape(value), operator == "!="))
    return FieldSelector(tuple(found))


def _split_terms(text: str) -> list[str]:
    return re.findall(r"(?:[^\\,]|\\.?)+", text, re.DOTALL)


def _unescape(value: str) -> str:
    out, escaped = [], False
    for char in value:
        if escaped:
            if char not in ",=\\":
                raise ValueError(f"invalid field selector: invalid escape sequence: \\{char}")
            out.append(char)
            escaped = False
        elif char == "\\":
            escaped = True
        elif char in ",=":
            raise ValueError(f"invalid field selector: unescaped character in value: {char}")
        else:
            out.append(char)
    if escaped:
        raise ValueError("invalid field selector: invalid escape sequence: \\")
    return "".join(out)


_COMMON_FIELDS: Final = ("metadata.name", "metadata.namespace")
_FIELDS: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    ("", "Pod"): (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.podIPs",
        "status.nominatedNodeName",
    ),
    ("", "Node"): ("spec.unschedulable",),
    ("", "Namespace"): ("status.phase",),
    ("", "Secret"): ("type",),
    ("", "Service"): ("spec.clusterIP", "spec.type"),
    ("", "ReplicationController"): ("status.replicas",),
    ("", "Event"): (
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
    ("apps", "ReplicaSet"): ("status.replicas",),
    ("batch", "Job"): ("status.successful",),
    ("certificates.k8s.io", "CertificateSigningRequest"): ("spec.signerName",),
    ("events.k8s.io", "Event"): (
        "regarding.kind",
        "regarding.namespace",
        "regarding.name",
        "regarding.uid",
        "regarding.apiVersion",
        "regarding.resourceVersion",
        "regarding.fieldPath",
        "reason",
        "reportingController",
        "type",
    ),
    ("networking.k8s.io", "IPAddress"): ("spec.parentRef.name",),
}


def supported_fields(group: str, kind: str) -> tuple[str, ...]:
    """Paths that a field selector may use on this kind."""
    return _COMMON_FIELDS + _FIELDS.get((group, kind), ())


def check_fields(selector: FieldSelector, group: str, kind: str, further: Iterable[str] = ()) -> None:
    """Raises ValueError, in the API server's words, for a path that the kind does not support.

    `further` are the paths that a custom resource's definition allows."""
    supported = (*supported_fields(group, kind), *further)
    for one in selector.requirements:
        if one.path not in supported:
            raise ValueError(
                f'"{one.path}" is not a known field selector: only "metadata.name", "metadata.namespace"'
                if (group, kind) not in _FIELDS
                else f"field label not supported: {one.path}"
            )


def field_value(obj: Mapping[str, Any], path: str) -> str:
    """What a field selector compares: the value at `path` as a string, empty where it is absent.

    Booleans that are absent read `false`, numbers `0`, as a real API server's objects have them.
    """
    if path == "status.podIPs":
        return ",".join(entry.get("ip", "") for entry in (obj.get("status") or {}).get("podIPs") or ())
    if path == "status.successful":
        path = "status.succeeded"
    if path == "source":
        found = (obj.get("source") or {}).get("component") or obj.get("reportingComponent") or ""
        return str(found)
    value: Any = obj
    for step in path.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    if value is None:
        return _ZERO_VALUES.get(path, "")
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)


_ZERO_VALUES: Final = {
    "spec.unschedulable": "false",
    "spec.hostNetwork": "false",
    "status.replicas": "0",
    "status.succeeded": "0",
}

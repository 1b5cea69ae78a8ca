"""What a rule may cost at worst, estimated from its text and the bounds in the schema, before it is ever run.

The units and weights are those of the real API server, so that it refuses the same definitions: one unit is one simple
step (about 50 ns there), a text costs a tenth of a unit per byte, and a loop costs its body times the largest number of
items that the schema, or the largest request, lets in. Specified in
https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#resource-use-by-validation-functions.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Any, Final

from wherry.schema.cel import tree
from wherry.schema.cel.names import unescape

Schema = dict[str, Any]

RULE_LIMIT: Final = 10_000_000
"""What one rule may cost over all the places of an object where it applies."""
TOTAL_LIMIT: Final = 100_000_000
"""What all rules of one version's schema may cost together."""

_MAX_REQUEST: Final = 3 << 20
_TEXT_FACTOR: Final = 0.1
_REGEX_FACTOR: Final = 0.25
_UNBOUNDED: Final = (1 << 64) - 1
_LIST_BASE: Final = 10
_MAP_BASE: Final = 30
_MESSAGE_BASE: Final = 40

Size = tuple[int, int]
"""Fewest and most characters, bytes or items."""
_UNKNOWN: Final[Size] = (0, _UNBOUNDED)
_SCALARS: Final = frozenset({"int", "double", "bool", "null", "timestamp", "duration"})


@dataclass(frozen=True, slots=True)
class Info:
    """What is known of a value: its kind, its size, its part of the schema, and what its items are."""

    kind: str = "dyn"
    size: Size = _UNKNOWN
    schema: Schema | None = None
    item: "Info | None" = None


_BOOL: Final = Info("bool", (1, 1))
_INT: Final = Info("int", (1, 1))


@dataclass
class Total:
    """The costs of all rules of one version's schema, with the dearest of them."""

    sum: int = 0
    dearest: list[tuple[int, str]] = field(default_factory=list)
    """(cost, path): at most four."""

    def add(self, cost: int, path: str) -> None:
        self.sum = _capped(self.sum + cost)
        if cost >= TOTAL_LIMIT // 100:
            self.dearest = sorted([*self.dearest, (cost, path)], key=lambda one: -one[0])[:4]


@dataclass(frozen=True)
class Scope:
    """Where in a schema a rule stands: in how many places of an object at most (None: unbounded)."""

    total: Total = field(default_factory=Total)
    places: int | None = 1
    root: bool = True

    def property(self) -> "Scope":
        return Scope(self.total, self.places, root=False)

    def repeated(self, most: int | None) -> "Scope":
        """Below a list or map of at most so many items."""
        known = self.places is not None and most is not None
        return Scope(self.total, (self.places or 0) * max(most or 0, 0) if known else None, root=False)


def estimate(expression: bytes, schema: Schema, *, root: bool = False) -> int:
    """The cost of one run of a compiled expression whose `self` is a value of `schema`. Raises ValueError."""
    value = of_schema(schema)
    if root and value.schema is not None:
        value = replace(value, schema=_with_metadata(value.schema))
    return _Estimator({"self": value, "oldSelf": value}).cost(tree.parse(expression))[0]


def exceeded(what: str, cost: int, limit: int) -> str:
    """The message for a cost above a limit, with the hint that the API server gives."""
    factor = cost / limit
    shown = "more than 100x" if factor > 100 else f"{factor:f}x" if factor < 1.5 else f"{factor:.1f}x"
    return (
        f"{what} exceeds budget by factor of {shown} (try simplifying the rule, or adding maxItems, maxProperties, and "
        "maxLength where arrays, maps, and strings are declared)"
    )


def everywhere(cost: int, schema: Schema, scope: Scope) -> int:
    """The cost of a rule in all places where it applies; as many as fit into one request when nothing bounds them."""
    places = scope.places if scope.places is not None else _MAX_REQUEST // (_least(schema) + 1)
    return _capped(cost * places)


def _with_metadata(schema: Schema) -> Schema:
    text = {"type": "string"}
    own = {"kind": text, "apiVersion": text,
           "metadata": {"type": "object", "properties": {"name": text, "generateName": text}}}  # fmt: skip
    return {**schema, "properties": {**(schema.get("properties") or {}), **own}}


def of_schema(schema: Schema) -> Info:
    """What the schema says of a value."""
    if schema.get("x-kubernetes-int-or-string"):
        limit = schema.get("maxLength")
        return Info("dyn", (0, max(limit, 0) * 4 if limit is not None else _MAX_REQUEST - 2), schema)
    kind = schema.get("type")
    if kind == "array":
        items = schema.get("items") or {}
        most = schema.get("maxItems")
        if most is None:
            most = (_MAX_REQUEST - 2) // (_least(items) + 1)
        return Info("list", (0, max(most, 0)), schema)
    if kind == "object":
        values = schema.get("additionalProperties")
        if not isinstance(values, dict):
            return Info("object", (0, 0), schema)
        most = schema.get("maxProperties")
        if most is None:
            most = (_MAX_REQUEST - 2) // (_least(values) + 6)
        return Info("map", (0, max(most, 0)), schema)
    if kind == "string":
        return _text_of(schema)
    word = {"integer": "int", "number": "double", "boolean": "bool"}.get(kind or "", "dyn")
    return Info(word, (1, 1) if word in _SCALARS else _UNKNOWN, schema)


def _text_of(schema: Schema) -> Info:
    most = schema.get("maxLength")
    form = schema.get("format")
    if form == "duration":
        return Info("duration", (0, 32), schema)
    if form in ("date", "date-time"):
        return Info("timestamp", (0, 12 if form == "date" else 37), schema)
    if form == "byte":
        return Info("bytes", (0, max(most, 0) if most is not None else _MAX_REQUEST - 2), schema)
    if most is not None:
        return Info("string", (0, max(most, 0) * 4), schema)
    if choices := schema.get("enum"):
        return Info("string", (0, max(len(str(one).encode()) for one in choices)), schema)
    return Info("string", (0, _MAX_REQUEST - 2), schema)


def _least(schema: Schema) -> int:
    """Bytes of the shortest JSON that fits a schema."""
    if schema.get("x-kubernetes-int-or-string"):
        return 1
    kind, form = schema.get("type"), schema.get("format")
    if kind == "string":
        return {"duration": 4, "date": 12, "date-time": 21}.get(form or "", 2)
    if kind == "object":
        required = set(schema.get("required") or ())
        return 2 + sum(
            len(name) + _least(child) + 4
            for name, child in (schema.get("properties") or {}).items()
            if name in required and child.get("default") is None
        )
    return {"array": 2, "boolean": 4}.get(kind or "", 1)


def _capped(number: float) -> int:
    return _UNBOUNDED if number >= _UNBOUNDED else math.ceil(number)


def _scaled(number: int, factor: float) -> int:
    return _capped(number * factor)


def _together(one: Size, other: Size) -> Size:
    return _capped(one[0] + other[0]), _capped(one[1] + other[1])


def _either(one: Size, other: Size) -> Size:
    return min(one[0], other[0]), max(one[1], other[1])


_CHEAP: Final = frozenset(
    {
        "masked", "prefixLength", "family", "isUnspecified", "isLoopback", "isLinkLocalMulticast", "isLinkLocalUnicast",
        "isGlobalUnicast", "sign", "asInteger", "isInteger", "asApproximateFloat", "isGreaterThan", "isLessThan",
        "compareTo", "add", "sub", "hasValue",
    }
)  # fmt: skip
_SCANS_LIST: Final = frozenset({"isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"})
_SCANS_TEXT: Final = frozenset({"lowerAscii", "upperAscii", "substring", "trim"})
_PARSES: Final = frozenset({"url", "isURL", "ip", "isIP", "cidr", "isCIDR", "quantity", "isQuantity", "format.named"})
_COMPARES: Final = frozenset({"_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_"})


class _Estimator:
    """Walks a tree; `cost` gives the most that a part may cost, and what is known of its value."""

    def __init__(self, variables: dict[str, Info]) -> None:
        self._variables = variables

    def cost(self, node: tree.Node) -> tuple[int, Info]:
        match node:
            case tree.Constant(value):
                return 0, _constant(value)
            case tree.Ident(name):
                return 1, self._variables.get(name, Info())
            case tree.Select():
                return self._select(node)
            case tree.Call():
                return self._call(node)
            case tree.ListOf(items):
                parts = [self.cost(item) for item in items]
                inner = [info for _, info in parts]
                return _capped(sum(cost for cost, _ in parts) + _LIST_BASE), Info(
                    "list", (len(items), len(items)), item=_union(inner)
                )
            case tree.MapOf(entries, message):
                spent = sum(self.cost(part)[0] for pair in entries for part in pair if part is not None)
                base = _MESSAGE_BASE if message else _MAP_BASE
                return _capped(spent + base), Info("map", (len(entries), len(entries)))
            case tree.Loop():
                return self._loop(node)

    def _select(self, node: tree.Select) -> tuple[int, Info]:
        cost, operand = self.cost(node.operand)
        if node.test:
            return cost, _BOOL
        return _capped(cost + 1), _member(operand, node.field)

    def _loop(self, node: tree.Loop) -> tuple[int, Info]:
        if isinstance(node.range, tree.ListOf) and not node.range.items and node.condition == tree.Constant(False):
            return self._bind(node)
        cost, over = self.cost(node.range)
        first, start = self.cost(node.start)
        saved = dict(self._variables)
        self._variables[node.result_variable] = replace(start, size=_UNKNOWN) if start.kind == "list" else start
        self._variables[node.variable] = _item(over, keys=True)
        condition, _ = self.cost(node.condition)
        step, made = self.cost(node.step)
        last, result = self.cost(node.result)
        self._variables = saved
        if start.kind == "list":
            result = Info("list", over.size, item=made.item)
        times = over.size[1]
        return _capped(cost + first + last + times * (condition + step)), result

    def _bind(self, node: tree.Loop) -> tuple[int, Info]:
        cost, value = self.cost(node.start)
        saved = dict(self._variables)
        self._variables[node.result_variable] = value
        rest, result = self.cost(node.result)
        self._variables = saved
        return _capped(cost + _LIST_BASE + rest), result

    def _call(self, node: tree.Call) -> tuple[int, Info]:
        name = node.function
        parts = [self.cost(argument) for argument in node.args]
        spent = sum(cost for cost, _ in parts)
        infos = [info for _, info in parts]
        if node.target is not None:
            more, target = self.cost(node.target)
            spent += more
        else:
            target = Info()
        own, result = self._own(name, node, target, infos)
        return _capped(spent + own), result

    def _own(self, name: str, node: tree.Call, target: Info, args: list[Info]) -> tuple[int, Info]:
        """What a function costs beside its arguments, and what it gives."""
        if name in ("_&&_", "_||_"):
            return 0, _BOOL
        if name == "_?_:_":
            return 0, _union(args[1:]) or Info()
        if name == "dyn":
            return 1, args[0]
        if name in ("_[_]", "_[?_]"):
            return 1, _indexed(args[0], node.args[1])
        if name == "_?._":
            return 1, _indexed(args[0], node.args[1])
        if name in ("orValue", "or", "value", "optMap", "optFlatMap"):
            return 1, _union([target, *args]) or target
        if name in _COMPARES:
            return self._compare(args), _BOOL
        if name == "_+_":
            return _addition(args)
        if name == "@in":
            return (args[1].size[1] if args[1].kind != "map" else 1), _BOOL
        return self._library(name, target, args, member=node.target is not None)

    def _compare(self, args: list[Info]) -> int:
        kinds = {one.kind for one in args}
        if kinds & _SCALARS:
            return 1
        return max(1, _scaled(min(one.size[1] for one in args), _TEXT_FACTOR))

    def _library(self, name: str, target: Info, args: list[Info], *, member: bool) -> tuple[int, Info]:
        subject = target if member or not args else args[0]
        size = subject.size
        if name == "matches":
            pattern = args[-1].size[1]
            text = _scaled(size[1] + 1, _TEXT_FACTOR)
            return _capped(text * _scaled(pattern, _REGEX_FACTOR)), _BOOL
        if name in ("find", "findAll"):
            text = _scaled(size[1] + 1, _TEXT_FACTOR)
            own = _capped(text * _scaled(args[0].size[1], _REGEX_FACTOR))
            found = Info("string", (0, size[1]))
            return own, found if name == "find" else Info("list", (0, size[1]), item=found)
        if name == "contains" and member:
            return _capped(_scaled(size[1], _TEXT_FACTOR) * _scaled(args[0].size[1], _TEXT_FACTOR)), _BOOL
        if name in ("startsWith", "endsWith"):
            return _scaled(args[0].size[1], _TEXT_FACTOR), _BOOL
        if name in _SCANS_LIST and member:
            return self._scan(target), _item(target) if name in ("max", "min", "sum") else _INT
        if name in _SCANS_TEXT:
            return _scaled(size[1], _TEXT_FACTOR), Info("string", size)
        if name == "replace" and len(args) >= 2:
            return _scaled(size[1], 2 * _TEXT_FACTOR), Info("string", _replaced(size, args[0].size, args[1].size))
        if name == "split":
            return _scaled(size[1], 2 * _TEXT_FACTOR), Info("list", (0, size[1]), item=Info("string", size))
        if name == "join":
            joined = self._joined(target, args)
            return _scaled(joined[1], _TEXT_FACTOR), Info("string", joined)
        if name == "format" and member:
            return _scaled(size[1], _TEXT_FACTOR), Info("string", _UNKNOWN)
        if name in ("string", "bytes"):
            return self._converted(name, subject)
        if name in _PARSES:
            return _scaled(size[1], _TEXT_FACTOR), _BOOL if name.startswith("is") else Info("object", (0, 0))
        if name in ("containsIP", "containsCIDR"):
            parsed = args[0].size[1] if args[0].kind == "string" else 0
            return 4 + (3 if name == "containsCIDR" else 0) + _scaled(parsed, _TEXT_FACTOR), _BOOL
        if name in ("sets.contains", "sets.intersects", "sets.equivalent"):
            times = 2 if name == "sets.equivalent" else 1
            return _capped(times * args[0].size[1] * args[1].size[1] + 1), _BOOL
        if name in ("int", "uint", "double", "size"):
            return 1, _INT if name != "double" else Info("double", (1, 1))
        if name in ("timestamp", "duration"):
            return 1, Info(name, (1, 1))
        if name in _CHEAP or name.startswith(("@", "!", "-")):
            return 1, _BOOL
        # Parts of times, addresses and the like: small, whatever they are.
        return 1, Info("dyn", (0, 1))

    def _scan(self, target: Info) -> int:
        item = _item(target)
        if target.kind == "string":
            return _scaled(target.size[1], _TEXT_FACTOR)
        each = 1 + (_scaled(item.size[1], _TEXT_FACTOR) if item.kind in ("string", "bytes") else 0)
        return _capped(target.size[1] * each)

    def _joined(self, target: Info, args: list[Info]) -> Size:
        most = target.size[1]
        length = _capped(most * _item(target).size[1])
        if args:
            length = _capped(length + args[0].size[1] * max(most - 1, 0))
        return 0, length

    def _converted(self, name: str, subject: Info) -> tuple[int, Info]:
        if subject.kind in ("string", "bytes"):
            size = (subject.size[0], _capped(subject.size[1] * (4 if name == "bytes" else 1)))
            return _scaled(subject.size[1], _TEXT_FACTOR) if subject.kind != name else 1, Info(name, size)
        # The length of a number's text is not known to the real server's estimate either.
        return 1, Info(name, _UNKNOWN)


def _constant(value: Any) -> Info:
    if isinstance(value, bool):
        return _BOOL
    if isinstance(value, (str, bytes)):
        return Info("string" if isinstance(value, str) else "bytes", (len(value), len(value)))
    return _INT if isinstance(value, int) else Info("double" if value is not None else "null", (1, 1))


def _member(operand: Info, name: str) -> Info:
    schema = operand.schema
    if schema is None:
        return Info()
    child = (schema.get("properties") or {}).get(unescape(name))
    if isinstance(child, dict):
        return of_schema(child)
    values = schema.get("additionalProperties")
    return of_schema(values) if isinstance(values, dict) else Info()


def _indexed(container: Info, key: tree.Node) -> Info:
    if container.kind == "object" and isinstance(key, tree.Constant):
        return _member(container, str(key.value))
    return _item(container)


def _item(container: Info, *, keys: bool = False) -> Info:
    """An item of a list; a key or a value of a map."""
    schema = container.schema
    if container.kind == "map" and keys:
        # A schema cannot bound keys; the real server's estimate leaves their length out.
        return Info("string", (0, 0))
    if container.item is not None:
        return container.item
    if schema is None:
        return Info()
    child = schema.get("items") if container.kind == "list" else schema.get("additionalProperties")
    return of_schema(child) if isinstance(child, dict) else Info()


def _union(infos: list[Info]) -> Info | None:
    """What is true of any of them."""
    if not infos:
        return None
    first = infos[0]
    size = first.size
    for other in infos[1:]:
        size = _either(size, other.size)
    kinds = {one.kind for one in infos}
    schemas = [one.schema for one in infos if one.schema is not None]
    item = _union([one.item for one in infos if one.item is not None])
    return Info(kinds.pop() if len(kinds) == 1 else "dyn", size, schemas[0] if schemas else None, item)


def _addition(args: list[Info]) -> tuple[int, Info]:
    one, other = args
    size = _together(one.size, other.size)
    kinds = {one.kind, other.kind}
    if "list" in kinds:
        known = [_item(info) for info in args if info.item is not None or info.schema is not None]
        return 1, Info("list", size, item=_union(known))
    if kinds & _SCALARS:
        return 1, Info(one.kind, (1, 1))
    return _scaled(size[1], _TEXT_FACTOR), Info("string" if "string" in kinds else "dyn", size)


def _replaced(text: Size, old: Size, new: Size) -> Size:
    """The length of a text after a replacement: at worst the shortest piece becomes the longest, everywhere."""
    if old[0] == 0:
        return 0, _capped((text[1] + 1) * new[1] + text[1])
    if new[1] <= old[0]:
        return 0, text[1]
    return 0, _capped(math.ceil(text[1] / old[0]) * new[1])

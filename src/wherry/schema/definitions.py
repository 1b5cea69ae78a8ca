"""The official Kubernetes definitions: which fields each kind has, of which type, and how lists of them merge.

`type_of(resource)` is a tree of `Type`, built on first use from a compact table beside this module (see
`compile_types`). `raw()` reads the full definitions with their prose, for OpenAPI documents only.
"""

from functools import cache
from pathlib import Path
from typing import Any, Final

import orjson

from wherry.schema.resource import Resource

VERSION: Final = "v1.37.0"
"""The Kubernetes release that is served; the newest that the package `kubernetes-validate` carries."""

TYPES_PATH: Final = Path(__file__).parent / "data" / "types.json"

SCALARS: Final = frozenset(
    {
        "string",
        "boolean",
        "int32",
        "int64",
        "integer",
        "number",
        "float",
        "bytes",
        "quantity",
        "intstr",
        "time",
        "microtime",
    }
)


class Type:
    """The type of a value.

    `kind` is `object` (a struct with `fields`), `map` (`items` is its values' type), `list` (`items`), `any`, or a
    scalar: string, boolean, int32, int64, integer, number, float, bytes, quantity, intstr, time, microtime.
    `list_type` is atomic, set or map (with `keys`); `map_type` granular or atomic; `merge_key` and `strategies`
    belong to strategic merge patches. `name` is the definition's name for objects.
    """

    __slots__ = ("_fields", "items", "keys", "kind", "list_type", "map_type", "merge_key", "name", "strategies")

    def __init__(
        self,
        kind: str,
        *,
        items: "Type | None" = None,
        name: str = "",
        list_type: str = "",
        keys: tuple[str, ...] = (),
        map_type: str = "",
        merge_key: str = "",
        strategies: tuple[str, ...] = (),
        fields: "dict[str, Type] | None" = None,
    ) -> None:
        self.kind = kind
        self.items = items
        self.name = name
        self.list_type = list_type
        self.keys = keys
        self.map_type = map_type
        self.merge_key = merge_key
        self.strategies = strategies
        self._fields = fields

    @property
    def fields(self) -> "dict[str, Type]":
        """Fields of an object, by name; empty for other kinds."""
        if self._fields is None:
            self._fields = struct(self.name)[0] if self.kind == "object" else {}
        return self._fields

    @property
    def required(self) -> tuple[str, ...]:
        """Names of the fields that an object's definition requires."""
        return struct(self.name)[1] if self.kind == "object" and self.name else ()

    @property
    def short_name(self) -> str:
        """`PodSpec` of `io.k8s.api.core.v1.PodSpec`."""
        return self.name.rpartition(".")[2]

    @property
    def go_name(self) -> str:
        """How Go prints the type in messages: `v1.PodSpec`, `[]v1.Container`, `map[string]string`, `int32`."""
        if self.kind == "object":
            return ".".join(self.name.split(".")[-2:])
        if self.kind == "list":
            return f"[]{self.items.go_name}" if self.items else "[]interface {}"
        if self.kind == "map":
            return f"map[string]{self.items.go_name}" if self.items else "map[string]interface {}"
        return _GO_NAMES.get(self.kind, self.kind)

    def __repr__(self) -> str:
        return f"Type({self.go_name})"


_GO_NAMES: Final = {
    "boolean": "bool",
    "integer": "int64",
    "number": "float64",
    "float": "float64",
    "bytes": "[]uint8",
    "quantity": "resource.Quantity",
    "intstr": "intstr.IntOrString",
    "time": "v1.Time",
    "microtime": "v1.MicroTime",
    "any": "interface {}",
}

ANY: Final = Type("any")


@cache
def _table() -> tuple[dict[str, bytes], dict[str, str]]:
    """Each struct's compact form, still as bytes (decoded one by one when first asked for), and kinds to structs."""
    data = orjson.loads(TYPES_PATH.read_bytes())
    return {name: orjson.dumps(value) for name, value in data["structs"].items()}, data["kinds"]


@cache
def struct(name: str) -> tuple[dict[str, Type], tuple[str, ...], str]:
    """Fields, required names and map type of a definition. Raises KeyError when there is no such definition."""
    compact = orjson.loads(_table()[0][name])
    fields = {field: _build(form) for field, form in compact["f"].items()}
    return fields, tuple(compact.get("r", ())), compact.get("mt", "")


@cache
def _scalar(kind: str) -> Type:
    return Type(kind)


def _build(form: Any) -> Type:
    if isinstance(form, str):
        return _scalar(form)
    strategies = tuple(form.get("ps", "").split(",")) if form.get("ps") else ()
    if name := form.get("ref"):
        map_type = form.get("mt") or orjson.loads(_table()[0][name]).get("mt", "")
        return Type("object", name=name, map_type=map_type, strategies=strategies)
    if "list" in form:
        return Type(
            "list",
            items=_build(form["list"]),
            list_type=form.get("lt", ""),
            keys=tuple(form.get("lk", ())),
            merge_key=form.get("mk", ""),
            strategies=strategies,
        )
    return Type("map", items=_build(form["map"]), map_type=form.get("mt", ""), strategies=strategies)


@cache
def by_name(name: str) -> Type:
    """The type of a definition by its full name, `io.k8s.api.core.v1.PodSpec`."""
    return Type("object", name=name, map_type=struct(name)[2])


@cache
def by_kind(api_version: str, kind: str) -> Type | None:
    """The type of a kind (`apps/v1`, `Deployment`), or None for kinds that Kubernetes itself does not define."""
    name = _table()[1].get(f"{api_version}/{kind}")
    return by_name(name) if name else None


def type_of(resource: Resource) -> Type | None:
    """The type of a built-in resource's objects; None for custom resources."""
    return by_kind(resource.api_version, resource.kind)


def raw() -> dict[str, Any]:
    """The full definitions by name (JSON Schema with `x-kubernetes-*`), about 15 MB decoded: do not keep them."""
    from importlib import resources  # 10 ms; needed for OpenAPI documents only

    path = resources.files("kubernetes_validate") / "kubernetes-json-schema" / f"{VERSION}-local" / "_definitions.json"
    return dict(orjson.loads(path.read_bytes())["$defs"])

"""Makes `data/types.json` from the published Kubernetes definitions: run `python -m wherry.schema.compile_types`.

The definitions are megabytes of mostly prose. What every request needs of them (field types, list keys, patch
strategies) is a tenth of that, so it is made once, kept beside the code, and a test holds it to its source.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from wherry.schema.definitions import TYPES_PATH, VERSION, raw

_REF = "#/$defs/"
_SPECIAL = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "quantity",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "intstr",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time": "time",
    "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime": "microtime",
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1": "any",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Patch": "any",
    "io.k8s.apimachinery.pkg.runtime.RawExtension": "any",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON": "any",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray": "any",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool": "any",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray": "any",
}


def _type(schema: dict[str, Any]) -> Any:
    """A type's compact form: a word, `{"ref": n}`, `{"list": t, …}` or `{"map": t}`."""
    attributes = {
        short: schema[key]
        for short, key in (
            ("lt", "x-kubernetes-list-type"),
            ("lk", "x-kubernetes-list-map-keys"),
            ("mt", "x-kubernetes-map-type"),
            ("mk", "x-kubernetes-patch-merge-key"),
            ("ps", "x-kubernetes-patch-strategy"),
        )
        if key in schema
    }
    if reference := schema.get("$ref"):
        name = reference.removeprefix(_REF)
        if name in _SPECIAL:
            return _SPECIAL[name]
        return {"ref": name} | attributes
    kind = schema.get("type", "any")
    if isinstance(kind, list):
        kind = next(word for word in kind if word != "null")
    if kind == "array":
        return {"list": _type(schema["items"])} | attributes
    if kind == "object":
        values = schema.get("additionalProperties")
        return ({"map": _type(values)} | attributes) if isinstance(values, dict) else "any"
    return {"int32": "int32", "int64": "int64", "byte": "bytes", "double": "float"}.get(schema.get("format", ""), kind)


def _is_early(name: str) -> bool:
    version = name.split(".")[-2]
    return "alpha" in version or "beta" in version


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"].removeprefix(_REF)
        for child in schema.values():
            yield from _references(child)
    elif isinstance(schema, list):
        for child in schema:
            yield from _references(child)


def compile_types() -> dict[str, Any]:
    """`{"version", "structs": {definition: {"f": {field: type}, "r": [required], "mt"?}}, "kinds": {…}}`."""
    structs: dict[str, Any] = {}
    kinds: dict[str, str] = {}
    definitions = raw()
    wanted = {name for name in definitions if not _is_early(name)}
    pending = list(wanted)
    while pending:
        # Stable kinds may have fields whose types are still alpha.
        found = set(_references(definitions[pending.pop()])) - wanted
        wanted |= found
        pending += found
    for name, schema in sorted(definitions.items()):
        if name in _SPECIAL or name not in wanted:
            continue
        struct: dict[str, Any] = {"f": {key: _type(value) for key, value in schema.get("properties", {}).items()}}
        if schema.get("required"):
            struct["r"] = schema["required"]
        if "x-kubernetes-map-type" in schema:
            struct["mt"] = schema["x-kubernetes-map-type"]
        structs[name] = struct
        identities = schema.get("x-kubernetes-group-version-kind") or []
        if len(identities) == 1:
            one = identities[0]
            api_version = f"{one['group']}/{one['version']}" if one["group"] else one["version"]
            kinds[f"{api_version}/{one['kind']}"] = name
        elif identities and name.startswith("io.k8s.apimachinery.pkg.apis.meta.v1."):
            kinds[f"v1/{identities[0]['kind']}"] = name
    return {"version": VERSION, "structs": structs, "kinds": kinds}


def main(path: Path = TYPES_PATH) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(orjson.dumps(compile_types()) + b"\n")


if __name__ == "__main__":
    main()

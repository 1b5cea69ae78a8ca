"""Structural schemas of custom resources: validation, pruning and defaulting of objects.

Specified in https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/. A
schema is OpenAPI v3 as it stands in a CustomResourceDefinition (`openAPIV3Schema`).
"""

import base64
import binascii
import ipaddress
import re
from datetime import date, datetime
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from wherry.schema.definitions import ANY, Type, by_name
from wherry.schema.objects import deep_copy
from wherry.schema.validation.field import Causes, quoted

Schema = dict[str, Any]

_IDENTITY: Final = ("apiVersion", "kind", "metadata")
_OBJECT_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_GO_TYPES: Final = {bool: "boolean", str: "string", int: "integer", float: "number", dict: "object", list: "array"}


def to_type(schema: Schema | None, *, root: bool = True) -> Type:
    """The schema as a `Type`, for server-side apply and managedFields."""
    if not schema:
        return ANY
    kind = schema.get("type")
    if schema.get("x-kubernetes-int-or-string"):
        return Type("intstr")
    if kind == "array":
        return Type(
            "list",
            items=to_type(schema.get("items"), root=False),
            list_type=schema.get("x-kubernetes-list-type", ""),
            keys=tuple(schema.get("x-kubernetes-list-map-keys") or ()),
        )
    if kind == "object" or "properties" in schema or root:
        map_type = schema.get("x-kubernetes-map-type", "")
        values = schema.get("additionalProperties")
        if "properties" not in schema and not root:
            return (
                Type("map", items=to_type(values, root=False), map_type=map_type) if isinstance(values, dict) else ANY
            )
        fields = {name: to_type(child, root=False) for name, child in (schema.get("properties") or {}).items()}
        if root:
            fields["metadata"] = by_name(_OBJECT_META)
        return Type("object", fields=fields, map_type=map_type)
    return Type(kind) if kind in ("string", "boolean", "integer", "number") else ANY


def prune(schema: Schema | None, obj: Any) -> list[str]:
    """Drop unspecified fields in place; returns their paths (`spec.foo`), for strict field validation."""
    dropped: list[str] = []
    if schema is not None and not schema.get("x-kubernetes-preserve-unknown-fields"):
        _prune(schema, obj, "", dropped, root=True)
    elif schema is not None:
        _prune(schema, obj, "", dropped, root=True, keep=True)
    return dropped


def _prune(
    schema: Schema, value: Any, path: str, dropped: list[str], *, root: bool = False, keep: bool = False
) -> None:
    keep = keep or bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    if isinstance(value, list):
        items = schema.get("items")
        if isinstance(items, dict):
            for index, item in enumerate(value):
                _prune(items, item, f"{path}[{index}]", dropped, keep=False)
        return
    if not isinstance(value, dict):
        return
    embedded = bool(schema.get("x-kubernetes-embedded-resource"))
    properties, values = schema.get("properties") or {}, schema.get("additionalProperties")
    for name in list(value):
        where = f"{path}.{name}" if path else name
        if (root or embedded) and name in _IDENTITY:
            continue
        child = properties.get(name)
        if child is None and isinstance(values, dict):
            child = values
        if child is not None:
            _prune(child, value[name], where, dropped)
        elif values is not True and not keep:
            dropped.append(where)
            del value[name]


def has_defaults(schema: Schema | None) -> bool:
    """Whether there is a default anywhere in a schema."""
    if not isinstance(schema, dict):
        return False
    children = [*(schema.get("properties") or {}).values(), schema.get("items"), schema.get("additionalProperties")]
    return "default" in schema or any(has_defaults(child) for child in children if isinstance(child, dict))


def apply_defaults(schema: Schema | None, value: Any) -> None:
    """Fill in the schema's defaults, in place. Nulls of fields that have a default and are not nullable go first."""
    if schema is None:
        return
    if isinstance(value, dict):
        properties, values = schema.get("properties") or {}, schema.get("additionalProperties")
        for name, child in properties.items():
            if "default" in child and (name not in value or (value[name] is None and not child.get("nullable"))):
                value[name] = deep_copy(child["default"])
            if name in value:
                if value[name] is None and not child.get("nullable"):
                    del value[name]
                    continue
                apply_defaults(child, value[name])
        if isinstance(values, dict):
            for name, one in value.items():
                if name not in properties:
                    apply_defaults(values, one)
    elif isinstance(value, list):
        for item in value:
            apply_defaults(schema.get("items"), item)


def validate(schema: Schema | None, obj: Any, causes: Causes, path: str = "") -> None:
    """Check an object (already pruned and defaulted) against its schema; causes as the API server words them."""
    if schema is not None:
        _validate(schema, obj, path, causes, root=True)


def _type_matches(kind: str, value: Any) -> bool:
    if kind == "integer":
        return (isinstance(value, int) and not isinstance(value, bool)) or (
            isinstance(value, float) and value.is_integer()
        )
    if kind == "number":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return {
        "string": isinstance(value, str),
        "boolean": isinstance(value, bool),
        "object": isinstance(value, dict),
        "array": isinstance(value, list),
    }.get(kind, True)


def _name_of_type(value: Any) -> str:
    return "null" if value is None else _GO_TYPES.get(type(value), "unknown")


def _validate(schema: Schema, value: Any, path: str, causes: Causes, *, root: bool = False) -> None:
    if value is None and schema.get("nullable"):
        return
    where = path or "<nil>"
    if schema.get("x-kubernetes-int-or-string"):
        if not isinstance(value, (str, int)) or isinstance(value, bool):
            causes.invalid(
                where,
                _name_of_type(value),
                f"{where} in body must be of type integer,string: {quoted(_name_of_type(value))}",
            )
            return
    elif (kind := schema.get("type")) and not _type_matches(kind, value):
        word = _name_of_type(value)
        causes.invalid(where, word, f"{where} in body must be of type {kind}: {quoted(word)}")
        return
    if "enum" in schema and value not in schema["enum"]:
        causes.unsupported(
            where, value, [one if isinstance(one, str) else orjson.dumps(one).decode() for one in schema["enum"]]
        )
    if isinstance(value, str):
        _string(schema, value, where, causes)
    elif isinstance(value, dict):
        _object(schema, value, path, causes, root=root)
    elif isinstance(value, list):
        _list(schema, value, path, causes)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        _number(schema, value, where, causes)
    _combined(schema, value, path, causes)


def _combined(schema: Schema, value: Any, path: str, causes: Causes) -> None:
    where = path or "<nil>"
    for child in schema.get("allOf") or ():
        _validate(child, value, path, causes)
    if (several := schema.get("anyOf")) and all(_problems(child, value) for child in several):
        causes.invalid(where, "", f"{quoted(where)} must validate at least one schema (anyOf)")
    if several := schema.get("oneOf"):
        valid = sum(not _problems(child, value) for child in several)
        if valid != 1:
            found = "Found none valid" if not valid else f"Found {valid} valid alternatives"
            causes.invalid(where, "", f"{quoted(where)} must validate one and only one schema (oneOf). {found}")
    if "not" in schema and not _problems(schema["not"], value):
        causes.invalid(where, "", f"{quoted(where)} must not validate the schema (not)")


def _problems(schema: Schema, value: Any) -> bool:
    causes = Causes()
    _validate(schema, value, "", causes)
    return bool(causes)


def _object(schema: Schema, value: dict[str, Any], path: str, causes: Causes, *, root: bool) -> None:
    prefix = f"{path}." if path else ""
    for name in schema.get("required") or ():
        if name not in value:
            causes.required(f"{prefix}{name}")
    count = len(value)
    if (least := schema.get("minProperties")) is not None and count < least:
        causes.invalid(path, value, f"{path} in body should have at least {least} properties")
    if (most := schema.get("maxProperties")) is not None and count > most:
        causes.too_many(path, count, most)
    properties, values = schema.get("properties") or {}, schema.get("additionalProperties")
    for name, one in value.items():
        if name in properties:
            if not (root and name in _IDENTITY):
                _validate(properties[name], one, f"{prefix}{name}", causes)
        elif isinstance(values, dict):
            _validate(values, one, f"{prefix}{name}", causes)


def _list(schema: Schema, value: list[Any], path: str, causes: Causes) -> None:
    if (least := schema.get("minItems")) is not None and len(value) < least:
        causes.invalid(path, len(value), f"{path} in body should have at least {least} items")
    if (most := schema.get("maxItems")) is not None and len(value) > most:
        causes.too_many(path, len(value), most)
    items = schema.get("items")
    seen: set[bytes] = set()
    keys = schema.get("x-kubernetes-list-map-keys") or ()
    kind = schema.get("x-kubernetes-list-type")
    for index, item in enumerate(value):
        where = f"{path}[{index}]"
        if isinstance(items, dict):
            _validate(items, item, where, causes)
        if kind == "set" or (kind == "map" and isinstance(item, dict)):
            shown = {key: item.get(key) for key in keys} if kind == "map" else item
            token = orjson.dumps(shown, option=orjson.OPT_SORT_KEYS)
            if token in seen:
                causes.duplicate(where, shown)
            seen.add(token)


def _number(schema: Schema, value: float, where: str, causes: Causes) -> None:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and (value < low or (schema.get("exclusiveMinimum") and value == low)):
        than = "greater than" if schema.get("exclusiveMinimum") else "greater than or equal to"
        causes.invalid(where, value, f"{where} in body should be {than} {low}")
    if high is not None and (value > high or (schema.get("exclusiveMaximum") and value == high)):
        than = "less than" if schema.get("exclusiveMaximum") else "less than or equal to"
        causes.invalid(where, value, f"{where} in body should be {than} {high}")
    multiple = schema.get("multipleOf")
    if multiple and abs(value / multiple - round(value / multiple)) > 1e-9:
        causes.invalid(where, value, f"{where} in body should be a multiple of {multiple}")
    limits = {"int32": 2**31, "int64": 2**63}
    limit = limits.get(schema.get("format", ""))
    if limit and not -limit <= value < limit:
        causes.invalid(where, value, f"{where} in body must be of type {schema['format']}: {quoted(str(value))}")


def _string(schema: Schema, value: str, where: str, causes: Causes) -> None:
    if (most := schema.get("maxLength")) is not None and len(value) > most:
        causes.too_long(where, most)
    if (least := schema.get("minLength")) is not None and len(value) < least:
        causes.invalid(where, value, f"{where} in body should be at least {least} chars long")
    if (pattern := schema.get("pattern")) is not None and not _matches(pattern, value):
        causes.invalid(where, value, f"{where} in body should match '{pattern}'")
    if (name := schema.get("format")) and (check := _FORMATS.get(name)) is not None and not check(value):
        causes.invalid(where, value, f"{where} in body must be of type {name}: {quoted(value)}")


def _matches(pattern: str, value: str) -> bool:
    # RE2's $ is the very end; Python's also stands before a last newline.
    python = re.sub(r"(?<!\\)\$$", r"\\Z", pattern).replace(r"\z", r"\Z")
    return re.search(python, value) is not None


def check_pattern(pattern: str) -> str | None:
    """What is wrong with a pattern, if anything."""
    try:
        re.compile(re.sub(r"(?<!\\)\$$", r"\\Z", pattern).replace(r"\z", r"\Z"))
    except re.error as error:
        return str(error)
    return None


def _parses(parse: Any) -> Any:
    def check(value: str) -> bool:
        try:
            parse(value)
        except (ValueError, binascii.Error):
            return False
        return True

    return check


def _date_time(value: str) -> None:
    if "T" not in value or datetime.fromisoformat(value).tzinfo is None:
        raise ValueError(value)


_FORMATS: Final = {
    "date-time": _parses(_date_time),
    "date": _parses(date.fromisoformat),
    "ipv4": _parses(ipaddress.IPv4Address),
    "ipv6": _parses(ipaddress.IPv6Address),
    "cidr": _parses(lambda value: ipaddress.ip_network(value, strict=False)),
    "byte": _parses(lambda value: base64.b64decode(value, validate=True)),
    "uuid": lambda value: re.match(r"(?i)[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}\Z", value) is not None,
    "uri": lambda value: bool(urlsplit(value).scheme),
    "email": lambda value: re.match(r"[^@\s]+@[^@\s]+\Z", value) is not None,
    "hostname": lambda value: (
        re.match(r"(?i)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z", value) is not None
    ),
    "duration": lambda value: re.match(r"-?([0-9]*\.?[0-9]+(h|ms|us|µs|ns|m|s))+\Z", value) is not None,
}

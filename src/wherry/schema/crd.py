"""CustomResourceDefinitions: their own validation, and the resources that they bring into being.

`kinds(crd)` gives one `CustomKind` per served version, to be added to the ResourceTable as
`table.add(kind.resource, extra=kind)`. A CustomKind knows how to decode, default, validate and print its objects.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from wherry.schema import jsonpath, names, structural
from wherry.schema.cel import rules
from wherry.schema.definitions import Type
from wherry.schema.duration import age
from wherry.schema.errors import Cause
from wherry.schema.printers.columns import AGE, NAME, Column, Printer, age_of, name_of
from wherry.schema.resource import Object, Resource
from wherry.schema.validation import metadata
from wherry.schema.validation.field import Causes

if TYPE_CHECKING:
    from wherry.schema.cel.cost import Scope

JsonDict = dict[str, Any]


@dataclass(frozen=True)
class CustomKind:
    """One version of a custom resource."""

    resource: Resource
    version: JsonDict
    """The entry of `spec.versions`."""

    @property
    def schema(self) -> JsonDict | None:
        found: JsonDict | None = (self.version.get("schema") or {}).get("openAPIV3Schema")
        return found

    @property
    def openapi(self) -> JsonDict:
        """The schema as OpenAPI documents show it."""
        return self.schema or {"type": "object", "x-kubernetes-preserve-unknown-fields": True}

    @property
    def has_status(self) -> bool:
        return (self.version.get("subresources") or {}).get("status") is not None

    @property
    def scale(self) -> JsonDict | None:
        """`specReplicasPath`, `statusReplicasPath`, `labelSelectorPath`, if the scale subresource is on."""
        found: JsonDict | None = (self.version.get("subresources") or {}).get("scale")
        return found

    @property
    def selectable(self) -> tuple[str, ...]:
        """Paths, such as `spec.color`, that field selectors may use beside name and namespace."""
        return tuple(one["jsonPath"].removeprefix(".") for one in self.version.get("selectableFields") or ())

    @cached_property
    def type(self) -> Type:
        """For `schema.apply`."""
        return structural.to_type(self.schema)

    @cached_property
    def printer(self) -> Printer:
        return _printer(self.version.get("additionalPrinterColumns") or [])

    @cached_property
    def has_defaults(self) -> bool:
        return structural.has_defaults(self.schema)

    @cached_property
    def has_rules(self) -> bool:
        return rules.has_rules(self.schema)

    def check_fields(self, obj: Object) -> list[str]:
        """Prune in place; `unknown field "spec.foo"` for each field that was dropped."""
        return [f'unknown field "{path}"' for path in structural.prune(self.schema, obj)]

    def apply_defaults(self, obj: Object) -> None:
        structural.apply_defaults(self.schema, obj)

    def validate_create(self, obj: Object) -> list[Cause]:
        causes = Causes()
        metadata.validate_create(self.resource, obj, causes)
        structural.validate(self.schema, obj, causes)
        self._run_rules(obj, None, causes)
        return causes

    def validate_update(self, new: Object, old: Object) -> list[Cause]:
        causes = Causes()
        metadata.validate_update(new, old, causes)
        found = Causes()
        structural.validate(self.schema, new, found)
        causes.extend(self._ratcheted(found, new, old))
        self._run_rules(new, old, causes)
        return causes

    def _run_rules(self, new: Object, old: Object | None, causes: Causes) -> None:
        if not self.has_rules or self.schema is None:
            return
        if causes:
            causes.append(
                Cause(
                    "FieldValueInvalid",
                    'Invalid value: "null": some validation rules were not checked because the object was invalid; '
                    "correct the existing errors to complete validation",
                    "<nil>",
                )
            )
            return
        found = Causes()
        rules.validate(self.schema, new, old, found)
        causes.extend(found)

    def _ratcheted(self, found: Causes, new: Object, old: Object) -> list[Cause]:
        """Without what was wrong before and is untouched: a schema that has become stricter does not lock objects."""
        if not found:
            return found
        before = Causes()
        structural.validate(self.schema, old, before)
        known = set(before)
        return [one for one in found if one not in known or _at(new, one[2]) != _at(old, one[2])]


def _at(obj: Object, path: str) -> Any:
    """The value at a path as causes name it (`spec.items[0].name`); the object itself when there is none."""
    value: Any = obj
    for name, index in re.findall(r"([^.\[\]]+)|\[([^\]]*)\]", path):
        if name and isinstance(value, dict):
            value = value.get(name)
        elif index.isdecimal() and isinstance(value, list):
            value = value[int(index)] if int(index) < len(value) else None
        else:
            return obj
    return value


def kinds(crd: Object) -> list[CustomKind]:
    """The served versions of a CustomResourceDefinition that has been defaulted; the preferred one first."""
    spec = crd.get("spec") or {}
    named = spec.get("names") or {}
    found = []
    for version in sorted(spec.get("versions") or (), key=lambda one: version_order(one.get("name", ""))):
        if not version.get("served"):
            continue
        subresources = tuple(sorted(version.get("subresources") or ()))
        resource = Resource(
            group=spec.get("group", ""),
            version=version["name"],
            kind=named.get("kind", ""),
            plural=named.get("plural", ""),
            namespaced=spec.get("scope") == "Namespaced",
            singular=named.get("singular", ""),
            short_names=tuple(named.get("shortNames") or ()),
            categories=tuple(named.get("categories") or ()),
            subresources=subresources,
        )
        found.append(CustomKind(resource, version))
    return found


def version_order(version: str) -> tuple[int, int, int, int, str]:
    """Sort key that puts v2 before v1 before v1beta2 before v1alpha1 before anything else."""
    match = re.match(r"v([1-9][0-9]*)(?:(alpha|beta)([1-9][0-9]*))?\Z", version)
    if match is None:
        return 1, 0, 0, 0, version
    stage = {None: 0, "beta": 1, "alpha": 2}[match[2]]
    return 0, stage, -int(match[1]), -int(match[3] or 0), version


def _printer(columns: list[JsonDict]) -> Printer:
    if not columns:
        return Printer((NAME, AGE), lambda obj, now: [name_of(obj), age_of(obj, now)])
    paths = [(jsonpath.column(one.get("jsonPath", "")), one.get("type", "string")) for one in columns]

    def row(obj: JsonDict, now: datetime) -> list[Any]:
        return [name_of(obj), *(_cell(find(obj), kind, now) for find, kind in paths)]

    made = tuple(
        Column(
            one.get("name", ""),
            one.get("type", "string"),
            one.get("format", ""),
            one.get("priority", 0),
            one.get("description", ""),
        )
        for one in columns
    )
    return Printer((NAME, *made), row)


def _cell(values: list[Any], kind: str, now: datetime) -> Any:
    if not values or values[0] is None:
        return "<unknown>" if kind == "date" and values else None
    value = values[0]
    if kind == "integer":
        return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    if kind == "number":
        return value if isinstance(value, (int, float)) else None
    if kind == "boolean":
        return value if isinstance(value, bool) else None
    if kind == "date":
        return age(value, now) if isinstance(value, str) else "<invalid>"
    return jsonpath.show(value)


def create(obj: Object, causes: Causes) -> None:
    spec = obj.get("spec") or {}
    name, group = (obj.get("metadata") or {}).get("name") or "", spec.get("group") or ""
    named = spec.get("names") or {}
    plural = named.get("plural") or ""
    wanted = f"{plural}.{group}"
    if name != wanted:
        causes.invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group')
    if not group:
        causes.required("spec.group")
    elif problems := names.dns_subdomain(group):
        causes.invalid("spec.group", group, ",".join(problems))
    elif "." not in group:
        causes.invalid("spec.group", group, "should be a domain with at least one dot")
    causes.one_of("spec.scope", spec.get("scope"), ("Cluster", "Namespaced"))
    _names(named, causes)
    versions = spec.get("versions") or []
    stored = [one for one in versions if one.get("storage")]
    if len(stored) != 1:
        causes.invalid("spec.versions", versions, "must have exactly one version marked as storage version")
    seen: set[str] = set()
    for index, version in enumerate(versions):
        _version_name(version, f"spec.versions[{index}]", seen, causes)
    for part, check in (("schema", _schema), ("additionalPrinterColumns", _columns), ("selectableFields", _fields)):
        if versions and all(version.get(part) == versions[0].get(part) for version in versions):
            # What all versions share, the API server keeps once, and tells of it under another path.
            check(versions[0], "spec.validation" if part == "schema" else f"spec.{part}", causes)
            continue
        for index, version in enumerate(versions):
            check(version, f"spec.versions[{index}].{part}", causes)
    conversion = spec.get("conversion") or {}
    if conversion.get("strategy") not in (None, "None"):
        causes.unsupported("spec.conversion.strategy", conversion["strategy"], ("None",))


def _names(named: JsonDict, causes: Causes) -> None:
    for field in ("plural", "singular", "kind", "listKind"):
        value = named.get(field) or ""
        path = f"spec.names.{field}"
        if not value:
            causes.required(path)
        elif problems := names.dns1035_label(value.lower() if field in ("kind", "listKind") else value):
            causes.invalid(path, value, ",".join(problems))
    for field in ("shortNames", "categories"):
        for index, value in enumerate(named.get(field) or ()):
            if problems := names.dns1035_label(value):
                causes.invalid(f"spec.names.{field}[{index}]", value, ",".join(problems))
    if named.get("kind") and named.get("kind") == named.get("listKind"):
        causes.invalid("spec.names.listKind", named["listKind"], "kind and listKind may not be the same")


def _version_name(version: JsonDict, path: str, seen: set[str], causes: Causes) -> None:
    name = version.get("name") or ""
    if problems := names.dns1035_label(name):
        causes.invalid(f"{path}.name", name, ",".join(problems))
    if name in seen:
        causes.duplicate(f"{path}.name", name)
    seen.add(name)
    if (version.get("schema") or {}).get("openAPIV3Schema") is None:
        causes.required(f"{path}.schema.openAPIV3Schema", "schemas are required")


def _schema(version: JsonDict, path: str, causes: Causes) -> None:
    schema = (version.get("schema") or {}).get("openAPIV3Schema")
    if schema is None:
        return
    from wherry.schema.cel.cost import Scope

    where = f"{path}.openAPIV3Schema"
    if schema.get("type") != "object":
        causes.invalid(f"{where}.type", schema.get("type") or "", "must be object at the root")
    scope = Scope()
    check_schema(schema, where, causes, scope)
    rules.check_total(scope.total, where, causes)


def _columns(version: JsonDict, path: str, causes: Causes) -> None:
    for index, column in enumerate(version.get("additionalPrinterColumns") or ()):
        _column(column, f"{path}[{index}]", causes)


def _fields(version: JsonDict, path: str, causes: Causes) -> None:
    schema = (version.get("schema") or {}).get("openAPIV3Schema")
    if isinstance(schema, dict):
        _selectable(version.get("selectableFields") or [], schema, path, causes)


_MAX_SELECTABLE: Final = 8


def _selectable(fields: list[JsonDict], schema: JsonDict, path: str, causes: Causes) -> None:
    """Paths that field selectors may use: plain fields of the schema that are strings, integers or booleans."""
    if len(fields) > _MAX_SELECTABLE:
        causes.too_many(path, len(fields), _MAX_SELECTABLE)
    seen: set[str] = set()
    for index, field in enumerate(fields):
        where, text = f"{path}[{index}].jsonPath", field.get("jsonPath") or ""
        if not text:
            causes.required(where)
            continue
        if not re.match(r"(\.[A-Za-z_][\w-]*)+\Z", text):
            causes.invalid(where, text, "is an invalid path: must be a simple path of field names")
            continue
        if text.startswith(".metadata"):
            causes.invalid(where, text, "must not point to fields in metadata")
            continue
        found: Any = schema
        for name in text[1:].split("."):
            found = (found.get("properties") or {}).get(name) if isinstance(found, dict) else None
        if not isinstance(found, dict):
            causes.invalid(where, text, "is an invalid path: does not refer to a valid field")
        elif found.get("type") not in ("string", "integer", "boolean"):
            causes.invalid(where, text, "must point to a field of type string, boolean or integer. Enum string fields "
                           "and strings with formats are allowed.")  # fmt: skip
        if text in seen:
            causes.duplicate(where, text)
        seen.add(text)


def _column(column: JsonDict, path: str, causes: Causes) -> None:
    if not column.get("name"):
        causes.required(f"{path}.name")
    kinds = ("integer", "number", "string", "boolean", "date")
    if not column.get("type"):
        causes.required(f"{path}.type", f"must be one of {','.join(sorted(kinds))}")
    elif column["type"] not in kinds:
        causes.invalid(f"{path}.type", column["type"], f"must be one of {','.join(sorted(kinds))}")
    if not column.get("jsonPath"):
        causes.required(f"{path}.jsonPath")
        return
    try:
        jsonpath.column(column["jsonPath"])
    except ValueError as error:
        causes.invalid(f"{path}.jsonPath", column["jsonPath"], str(error))


_FORBIDDEN_KEYWORDS: Final = ("$ref", "definitions", "dependencies", "id", "patternProperties", "additionalItems")


def check_schema(schema: JsonDict, path: str, causes: Causes, scope: "Scope") -> None:
    """Whether a schema is structural: each field has a type, nothing outside the supported keywords, and rules that
    may be afforded; their costs are added up in `scope`."""
    for keyword in _FORBIDDEN_KEYWORDS:
        if schema.get(keyword) is not None:
            causes.forbidden(f"{path}.{keyword}", f"{keyword} is not supported")
    if schema.get("uniqueItems"):
        causes.forbidden(
            f"{path}.uniqueItems", "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        )
    if schema.get("x-kubernetes-validations"):
        rules.check(schema, path, causes, scope)
    free = schema.get("x-kubernetes-int-or-string") or schema.get("x-kubernetes-preserve-unknown-fields")
    kind = schema.get("type")
    if not kind and not free:
        causes.required(f"{path}.type", "must not be empty for specified object fields")
    elif kind and kind not in ("array", "boolean", "integer", "number", "object", "string"):
        causes.unsupported(f"{path}.type", kind, ("array", "boolean", "integer", "number", "object", "string"))
    if kind == "array" and not isinstance(schema.get("items"), dict):
        causes.required(f"{path}.items", "must be specified")
    if (pattern := schema.get("pattern")) and (problem := structural.check_pattern(pattern)):
        causes.invalid(f"{path}.pattern", pattern, f"must be a valid regular expression, but isn't: {problem}")
    if schema.get("properties") and schema.get("additionalProperties") is not None:
        causes.forbidden(f"{path}.additionalProperties", "additionalProperties and properties are mutual exclusive")
    for name, child in (schema.get("properties") or {}).items():
        if scope.root and name == "metadata":
            continue
        check_schema(child, f"{path}.properties[{name}]", causes, scope.property())
    if isinstance(schema.get("items"), dict):
        check_schema(schema["items"], f"{path}.items", causes, scope.repeated(schema.get("maxItems")))
    values = schema.get("additionalProperties")
    if isinstance(values, dict):
        below = scope.repeated(schema.get("maxProperties"))
        check_schema(values, f"{path}.additionalProperties", causes, below)


def update(new: Object, old: Object, causes: Causes, subresource: str) -> None:
    if subresource == "status":
        return
    create(new, causes)
    after, before = new.get("spec") or {}, old.get("spec") or {}
    for field in ("group", "scope"):
        causes.immutable(f"spec.{field}", after.get(field), before.get(field))
    for field in ("plural", "kind"):
        causes.immutable(
            f"spec.names.{field}", (after.get("names") or {}).get(field), (before.get("names") or {}).get(field)
        )
    present = {one.get("name") for one in after.get("versions") or ()}
    for index, stored in enumerate((new.get("status") or {}).get("storedVersions") or ()):
        if stored not in present:
            causes.invalid(
                f"status.storedVersions[{index}]",
                stored,
                "missing from spec.versions; "
                f"{stored} was previously a storage version, and must remain in spec.versions until a storage "
                "migration ensures no data remains persisted in this version and removes it from status.storedVersions",
            )

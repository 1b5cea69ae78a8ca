"""OpenAPI documents: v3 per group and version (`kubectl explain`, `apply`, `--validate`), and v2 for all at once.

Built when asked for, from the official definitions and the resource table; nothing is kept, since the definitions
are large and clients keep the documents by their hash. Specified in
https://kubernetes.io/docs/concepts/overview/kubernetes-api/#api-specification.
"""

import hashlib
from collections.abc import Iterable
from typing import Any, Final, Protocol

import orjson

from wherry.schema.builtin import NOT_STORED
from wherry.schema.definitions import VERSION, raw
from wherry.schema.resource import Resource
from wherry.schema.table import ResourceTable

JsonDict = dict[str, Any]

_V2: Final = "#/definitions/"
_V3: Final = "#/components/schemas/"
_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1."
_PATCH_TYPES: Final = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)
_REQUESTS: Final = {
    "binding": ("io.k8s.api.core.v1.Binding", "", "v1", "Binding"),
    "eviction": ("io.k8s.api.policy.v1.Eviction", "policy", "v1", "Eviction"),
    "token": ("io.k8s.api.authentication.v1.TokenRequest", "authentication.k8s.io", "v1", "TokenRequest"),
}
_SCALE: Final = "io.k8s.api.autoscaling.v1.Scale"


class HasSchema(Protocol):
    """What a ResourceTable keeps about a custom resource: the OpenAPI v3 schema of its objects."""

    @property
    def openapi(self) -> JsonDict: ...


def v3_index(table: ResourceTable) -> bytes:
    """`/openapi/v3`: where each group and version's document is, with a hash that changes when it does."""
    paths = {}
    for group in table.groups():
        for version in table.versions(group):
            path = _document_path(group, version)
            token = hashlib.sha256(repr((VERSION, path, _fingerprint(table, group, version))).encode()).hexdigest()
            paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={token[:32].upper()}"}
    return orjson.dumps({"paths": paths})


def _document_path(group: str, version: str) -> str:
    return f"apis/{group}/{version}" if group else f"api/{version}"


def _fingerprint(table: ResourceTable, group: str, version: str) -> list[Any]:
    found: list[Any] = []
    for resource in table.in_version(group, version):
        custom = table.extra(resource)
        schema = orjson.dumps(custom.openapi) if custom is not None else b""
        found.append((resource.plural, resource.kind, resource.subresources, schema))
    return found


def v3(table: ResourceTable, path: str) -> bytes | None:
    """`/openapi/v3/apis/apps/v1` and the like; None for a group and version that is not served."""
    parts = path.strip("/").split("/")
    if len(parts) == 2 and parts[0] == "api":
        group, version = "", parts[1]
    elif len(parts) == 3 and parts[0] == "apis":
        group, version = parts[1], parts[2]
    else:
        return None
    rows = table.in_version(group, version)
    if not rows:
        return None
    builder = _Builder(table, 3)
    return orjson.dumps(
        {
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": VERSION},
            "paths": builder.paths(rows),
            "components": {"schemas": builder.schemas()},
        }
    )


def v2(table: ResourceTable) -> bytes:
    """`/openapi/v2`: one Swagger document of everything."""
    builder = _Builder(table, 2)
    return orjson.dumps(
        {
            "swagger": "2.0",
            "info": {"title": "Kubernetes", "version": VERSION},
            "paths": builder.paths(table),
            "definitions": builder.schemas(),
        }
    )


class _Builder:
    """Collects the schemas that the paths mention, and what those mention in turn."""

    def __init__(self, table: ResourceTable, version: int) -> None:
        self.table = table
        self.version = version
        self.prefix = _V3 if version == 3 else _V2
        self.raw = raw()
        self.wanted: dict[str, JsonDict | None] = {}
        self.by_kind = {
            (one["group"], one["version"], one["kind"]): name
            for name, schema in self.raw.items()
            for one in schema.get("x-kubernetes-group-version-kind") or ()
            if len(schema["x-kubernetes-group-version-kind"]) == 1
        }

    def schemas(self) -> JsonDict:
        made: JsonDict = {}
        pending = list(self.wanted)
        while pending:
            name = pending.pop()
            if name in made:
                continue
            own = self.wanted.get(name)
            before = set(self.wanted)
            made[name] = own if own is not None else self.convert(self.raw[name], name)
            pending += [one for one in self.wanted if one not in before]
        return dict(sorted(made.items()))

    def reference(self, name: str) -> JsonDict:
        self.wanted.setdefault(name, None)
        return {"$ref": f"{self.prefix}{name}"}

    def convert(self, schema: JsonDict, name: str = "") -> JsonDict:
        """One schema from JSON Schema with nullable types to the OpenAPI dialect."""
        special = _special(name, self.version)
        if special is not None:
            return special | ({"description": schema["description"]} if "description" in schema else {})
        made: JsonDict = {}
        for key, value in schema.items():
            if key == "$ref":
                target = self.reference(value.removeprefix("#/$defs/"))
                if self.version == 3 and len(schema) > 1:
                    made["allOf"] = [target]
                else:
                    made.update(target)
            elif key == "properties":
                made[key] = {field: self.convert(child) for field, child in value.items()}
            elif key in ("items", "additionalProperties") and isinstance(value, dict):
                made[key] = self.convert(value)
            elif key == "type":
                made[key] = next(word for word in value if word != "null") if isinstance(value, list) else value
            elif key in ("enum", "oneOf"):
                # The enums only pin apiVersion and kind, which the paths already say.
                continue
            else:
                made[key] = value
        return made

    def schema_of(self, resource: Resource) -> JsonDict:
        custom: HasSchema | None = self.table.extra(resource)
        if custom is not None:
            name = f"{'.'.join(reversed(resource.group.split('.')))}.{resource.version}.{resource.kind}"
            identity = {"group": resource.group, "version": resource.version, "kind": resource.kind}
            schema = {"x-kubernetes-group-version-kind": [identity], **custom.openapi}
            properties = dict(schema.get("properties") or {})
            metadata = self.reference(f"{_META}ObjectMeta")
            properties.setdefault("apiVersion", {"type": "string"})
            properties.setdefault("kind", {"type": "string"})
            properties["metadata"] = {"allOf": [metadata]} if self.version == 3 else metadata
            self.wanted[name] = {**schema, "properties": properties}
            return {"$ref": f"{self.prefix}{name}"}
        found = self.by_kind.get((resource.group, resource.version, resource.kind))
        return self.reference(found) if found else {"type": "object"}

    def list_schema_of(self, resource: Resource) -> JsonDict:
        found = self.by_kind.get((resource.group, resource.version, f"{resource.kind}List"))
        return self.reference(found) if found else {"type": "object"}

    def paths(self, rows: Iterable[Resource]) -> JsonDict:
        made: JsonDict = {}
        for resource in rows:
            collection = resource.path("{namespace}" if resource.namespaced else None)
            stored = resource not in NOT_STORED
            made[collection] = self.collection(resource, stored)
            if not stored and resource.group != "metrics.k8s.io":
                continue
            if resource.namespaced:
                made[resource.path()] = {"get": self.operation(resource, "list", self.list_schema_of(resource))}
            item = f"{collection}/{{name}}"
            made[item] = self.item(resource, self.schema_of(resource), _identity(resource), stored)
            for subresource in resource.subresources:
                made[f"{item}/{subresource}"] = self.subresource(resource, subresource)
        return dict(sorted(made.items()))

    def collection(self, resource: Resource, stored: bool) -> JsonDict:
        schema = self.schema_of(resource)
        made = self.parameters(resource, named=False)
        if stored or resource.group == "metrics.k8s.io":
            made["get"] = self.operation(resource, "list", self.list_schema_of(resource))
        if resource.group != "metrics.k8s.io":
            made["post"] = self.operation(resource, "post", schema, body=schema)
        if stored:
            made["delete"] = self.operation(resource, "deletecollection", self.reference(f"{_META}Status"))
        return made

    def item(self, resource: Resource, schema: JsonDict, identity: JsonDict, stored: bool) -> JsonDict:
        made = self.parameters(resource, named=True)
        made["get"] = self.operation(resource, "get", schema, identity=identity)
        if stored:
            patch = self.reference(f"{_META}Patch")
            made["put"] = self.operation(resource, "put", schema, body=schema, identity=identity)
            made["patch"] = self.operation(resource, "patch", schema, body=patch, identity=identity)
            made["delete"] = self.operation(resource, "delete", self.reference(f"{_META}Status"), identity=identity)
        return made

    def subresource(self, resource: Resource, name: str) -> JsonDict:
        if name in _REQUESTS:
            definition, group, version, kind = _REQUESTS[name]
            schema = self.reference(definition)
            identity = {"group": group, "version": version, "kind": kind}
            operation = self.operation(resource, "post", schema, body=schema, identity=identity)
            return {**self.parameters(resource, named=True), "post": operation}
        if name == "scale":
            schema = self.reference(_SCALE)
            identity = {"group": "autoscaling", "version": "v1", "kind": "Scale"}
        elif name in ("log", "exec", "attach", "portforward", "proxy"):
            schema, identity = {"type": "string"}, _identity(resource)
            made = self.parameters(resource, named=True)
            for method in ("get",) if name == "log" else ("get", "post"):
                made[method] = self.operation(resource, "connect", schema, identity=identity)
            return made
        else:
            schema, identity = self.schema_of(resource), _identity(resource)
        made = self.item(resource, schema, identity, stored=True)
        del made["delete"]
        return made

    def parameters(self, resource: Resource, *, named: bool) -> JsonDict:
        names = (["name"] if named else []) + (["namespace"] if resource.namespaced else [])
        return {"parameters": [self.parameter(one, "path", required=True) for one in names]} if names else {}

    def parameter(self, name: str, place: str, kind: str = "string", *, required: bool = False) -> JsonDict:
        made: JsonDict = {"name": name, "in": place}
        if required:
            made["required"] = True
        if self.version == 3:
            made["schema"] = {"type": kind, "uniqueItems": True}
        else:
            made |= {"type": kind, "uniqueItems": True}
        return made

    def operation(
        self,
        resource: Resource,
        action: str,
        answer: JsonDict,
        *,
        body: JsonDict | None = None,
        identity: JsonDict | None = None,
    ) -> JsonDict:
        query = [self.parameter(name, "query", kind) for name, kind in _QUERY.get(action, ())]
        consumes = ["application/json"]
        if action == "patch":
            # Clients choose how to patch by what is listed here; custom resources know no strategic merge.
            custom = self.table.extra(resource) is not None
            consumes = [one for one in _PATCH_TYPES if not (custom and "strategic" in one)]
        made: JsonDict = {
            "tags": [f"{(resource.group.split('.')[0] or 'core')}_{resource.version}"],
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": identity or _identity(resource),
        }
        if self.version == 3:
            made["responses"] = {"200": {"description": "OK", "content": {"application/json": {"schema": answer}}}}
            if body is not None:
                made["requestBody"] = {"required": True, "content": {one: {"schema": body} for one in consumes}}
        else:
            made["consumes"] = consumes
            made["produces"] = ["application/json"]
            made["responses"] = {"200": {"description": "OK", "schema": answer}}
            if body is not None:
                query = [{"name": "body", "in": "body", "required": True, "schema": body}, *query]
        if query:
            made["parameters"] = query
        return made


_WRITE: Final = (("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string"))
_QUERY: Final = {
    "post": _WRITE,
    "put": _WRITE,
    "patch": (*_WRITE, ("force", "boolean")),
    "delete": (("dryRun", "string"), ("gracePeriodSeconds", "integer"), ("propagationPolicy", "string")),
    "list": (
        ("allowWatchBookmarks", "boolean"),
        ("continue", "string"),
        ("fieldSelector", "string"),
        ("labelSelector", "string"),
        ("limit", "integer"),
        ("resourceVersion", "string"),
        ("resourceVersionMatch", "string"),
        ("sendInitialEvents", "boolean"),
        ("timeoutSeconds", "integer"),
        ("watch", "boolean"),
    ),
    "deletecollection": (
        ("dryRun", "string"),
        ("fieldSelector", "string"),
        ("labelSelector", "string"),
        ("limit", "integer"),
        ("propagationPolicy", "string"),
    ),
}


def _identity(resource: Resource) -> JsonDict:
    return {"group": resource.group, "version": resource.version, "kind": resource.kind}


def _special(name: str, version: int) -> JsonDict | None:
    if name.endswith(".IntOrString"):
        if version == 2:
            return {"type": "string", "format": "int-or-string"}
        return {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}
    if name.endswith(".Quantity"):
        return {"type": "string"} if version == 2 else {"oneOf": [{"type": "string"}, {"type": "number"}]}
    return None

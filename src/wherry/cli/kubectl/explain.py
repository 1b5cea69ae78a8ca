"""`kubectl explain`: fields and their documentation, from the server's OpenAPI v3 documents."""

import textwrap
from typing import Any

from wherry.cli.kubectl.discovery import Resource
from wherry.cli.kubectl.errors import KubectlError, UsageError
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.session import Session

HELP = "Describe fields and structure of various resources."
EXAMPLES = """
kubectl explain pods
kubectl explain pods.spec.containers
kubectl explain deployment --recursive
"""
USAGE = "TYPE [--recursive=FALSE|TRUE] [--api-version=api-version-group]"
FLAGS = (
    Flag("api-version", "", "str", "", "The API version (group/version)."),
    Flag("output", "o", "str", "plaintext", "Only plaintext is supported."),
    Flag("recursive", "", "bool", False, "Print the names of all fields below."),
)
Schema = dict[str, Any]


def run(session: Session) -> int:
    options = session.options
    if not options.arguments:
        raise KubectlError(
            'You must specify the type of resource to explain. Use "kubectl api-resources" for a '
            "complete list of supported resources."
        )
    if len(options.arguments) > 1:
        raise UsageError("We accept only this format: explain RESOURCE")
    if options["output"] != "plaintext":
        raise KubectlError(f"-o {options['output']} is not supported: only plaintext is")
    resource, path = _resource(session, options.arguments[0])
    if options["api-version"]:
        group, slash, version = options["api-version"].rpartition("/")
        wanted = group if slash else ""
        resource = next(
            (
                r
                for r in session.discovery.rows()
                if r.kind == resource.kind and r.group == wanted and r.version == version
            ),
            resource,
        )
        if resource.api_version != options["api-version"]:
            raise KubectlError(f'couldn\'t find resource for "{options["api-version"]}, Resource={resource.name}"')
    document = _document(session, resource)
    schemas = (document.get("components") or {}).get("schemas") or {}
    root = _of_kind(schemas, resource)
    if root is None:
        raise KubectlError(f'couldn\'t find resource for "{resource.api_version}, Kind={resource.kind}"')
    Page(schemas, resource, bool(options["recursive"])).write(root, path)
    return 0


def _resource(session: Session, text: str) -> tuple[Resource, list[str]]:
    words = text.split(".")
    # `deployments.apps.spec`: the longest beginning that names a resource, but not one that is a field.
    for count in range(len(words), 1, -1):
        candidate = ".".join(words[:count])
        for row in session.discovery.rows():
            if candidate in (row.qualified, f"{row.name}.{row.version}.{row.group}", f"{row.singular}.{row.group}"):
                return row, words[count:]
    return session.find(words[0]), words[1:]


def _document(session: Session, resource: Resource) -> Any:
    paths = session.http.get("/openapi/v3").get("paths") or {}
    key = f"apis/{resource.group}/{resource.version}" if resource.group else f"api/{resource.version}"
    if key not in paths:
        raise KubectlError(f'couldn\'t find resource for "{resource.api_version}, Resource={resource.name}"')
    return session.http.get(paths[key]["serverRelativeURL"])


def _of_kind(schemas: dict[str, Schema], resource: Resource) -> Schema | None:
    for schema in schemas.values():
        for kind in schema.get("x-kubernetes-group-version-kind") or ():
            wanted = {"group": resource.group, "version": resource.version, "kind": resource.kind}
            if kind == wanted and "properties" in schema:
                return schema
    return None


class Page:
    """What explain writes about one field or kind."""

    def __init__(self, schemas: dict[str, Schema], resource: Resource, recursive: bool) -> None:
        self.schemas = schemas
        self.resource = resource
        self.recursive = recursive

    def resolve(self, schema: Schema, *, own: bool = False) -> Schema:
        """The schema behind references; a description beside one wins, unless the `own` one is asked for."""
        told = None if own else schema.get("description")
        seen = schema
        for _ in range(20):
            if "$ref" in seen:
                seen = self.schemas.get(seen["$ref"].rpartition("/")[2], {})
            elif len(seen.get("allOf") or ()) == 1:
                seen = {**seen["allOf"][0]}
            else:
                break
        return {**seen, "description": told} if told else seen

    def type_of(self, schema: Schema) -> str:
        """`string`, `[]Container`, `map[string]string`, `ObjectMeta`."""
        for _ in range(20):
            if "$ref" in schema:
                name = str(schema["$ref"].rpartition("/")[2])
                target = self.schemas.get(name, {})
                if "properties" in target or target.get("type") == "object":
                    return name.rpartition(".")[2]
                if not target.get("type"):
                    return name.rpartition(".")[2]
                schema = target
            elif len(schema.get("allOf") or ()) == 1:
                schema = schema["allOf"][0]
            else:
                break
        if schema.get("type") == "array":
            return "[]" + self.type_of(schema.get("items") or {})
        if isinstance(schema.get("additionalProperties"), dict):
            return "map[string]" + self.type_of(schema["additionalProperties"])
        if schema.get("oneOf") and not schema.get("type"):
            return "Object" if not schema.get("x-kubernetes-int-or-string") else "IntOrString"
        word = str(schema.get("type") or "Object")
        return "Object" if word == "object" else word

    def fields_of(self, schema: Schema) -> Schema:
        """The struct behind lists and maps."""
        schema = self.resolve(schema, own=True)
        for _ in range(20):
            if schema.get("type") == "array":
                schema = self.resolve(schema.get("items") or {}, own=True)
            elif isinstance(schema.get("additionalProperties"), dict):
                schema = self.resolve(schema["additionalProperties"], own=True)
            else:
                break
        return schema

    def write(self, root: Schema, path: list[str]) -> None:
        if self.resource.group:
            print(f"GROUP:      {self.resource.group}")
        print(f"KIND:       {self.resource.kind}")
        print(f"VERSION:    {self.resource.version}\n")
        field, holder = root, root
        for index, word in enumerate(path):
            holder = self.fields_of(field)
            properties = holder.get("properties") or {}
            if word not in properties:
                raise KubectlError(f'field "{word}" does not exist')
            field = properties[word]
            del index
        if path:
            shown = self.type_of(field)
            required = " -required-" if path[-1] in (holder.get("required") or ()) else ""
            print(f"FIELD: {path[-1]} <{shown}>{required}\n")
            self._enum(field)
            print()
        self._description(field)
        target = self.fields_of(field)
        if target.get("properties"):
            print("FIELDS:")
            self._fields(target, 1, [])
        print()

    def _enum(self, field: Schema, indent: str = "") -> None:
        values = self.resolve(field).get("enum")
        if values:
            print(f"{indent}ENUM:")
            for value in values:
                print(f"{indent}    {value}" if value != "" else f'{indent}    ""')

    def _description(self, field: Schema) -> None:
        print("DESCRIPTION:")
        told = [str(self.resolve(field).get("description") or field.get("description") or "<empty>")]
        target = self.fields_of(field)
        own = target.get("description")
        if own and own not in told:
            told.append(str(own))
        for text in told:
            for line in wrap(text, 4):
                print(line)
        print("    ")

    def _fields(self, schema: Schema, level: int, above: list[int]) -> None:
        required = schema.get("required") or ()
        indent = "  " * level
        for name in sorted(schema.get("properties") or {}):
            field = schema["properties"][name]
            word = " -required-" if name in required else ""
            print(f"{indent}{name}\t<{self.type_of(field)}>{word}")
            if self.recursive:
                values = self.resolve(field).get("enum")
                if values:
                    print(
                        f"{indent}enum: "
                        f"{', '.join(str(value) for value in values[:4])}{', ....' if len(values) > 4 else ''}"
                    )
                target = self.fields_of(field)
                if target.get("properties") and id(target.get("properties")) not in above:
                    self._fields(target, level + 1, [*above, id(target["properties"])])
                continue
            self._enum(field, indent)
            for line in wrap(
                str(self.resolve(field).get("description") or field.get("description") or "<no description>"), 4
            ):
                print(line)
            print()


def wrap(text: str, indent: int) -> list[str]:
    """Paragraphs of at most 80 columns; lines that begin with a space or a dash stay as they are."""
    pad = " " * indent
    lines: list[str] = []
    for paragraph in text.split("\n"):
        if not paragraph.strip():
            lines.append("")
            continue
        lines += textwrap.wrap(
            paragraph.strip(),
            80,
            initial_indent=pad,
            subsequent_indent=pad,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return lines

"""`-o`: json, yaml, name, jsonpath, go-template, custom-columns and their -file forms."""

import json
import re
from typing import Any

from wherry.cli.kubectl.discovery import Resource
from wherry.cli.kubectl.errors import KubectlError
from wherry.cli.kubectl.flags import Options

Object = dict[str, Any]
FORMATS = (
    "json",
    "yaml",
    "kyaml",
    "name",
    "go-template",
    "go-template-file",
    "template",
    "templatefile",
    "jsonpath",
    "jsonpath-as-json",
    "jsonpath-file",
)
GET_FORMATS = (*FORMATS, "custom-columns", "custom-columns-file", "wide")
_ALLOWED = "go-template,go-template-file,json,jsonpath,jsonpath-as-json,jsonpath-file,name,template,templatefile,yaml"
_GET_ALLOWED = (
    "custom-columns,custom-columns-file,go-template,go-template-file,json,jsonpath,jsonpath-as-json,jsonpath-file,"
    "name,template,templatefile,wide,yaml"
)


def split_format(options: Options, *, get: bool = False) -> tuple[str, str]:
    """The format and what follows its `=`. Raises KubectlError for one that does not exist."""
    text = options.get("output") or ""
    if not text and options.get("template"):
        text = "go-template"
    name, _, argument = text.partition("=")
    known = GET_FORMATS if get else FORMATS
    if name and name not in known:
        allowed = _GET_ALLOWED if get else _ALLOWED
        raise KubectlError(
            f'unable to match a printer suitable for the output format "{text}", allowed formats are: {allowed}'
        )
    if (
        options.get("template")
        and not argument
        and name
        in (
            "go-template",
            "template",
            "go-template-file",
            "templatefile",
            "jsonpath",
            "jsonpath-file",
            "jsonpath-as-json",
        )
    ):
        argument = options["template"]
    return name, argument


def without_managed_fields(obj: Any, options: Options) -> Any:
    """The object, and the items of a list, without managedFields unless they were asked for."""
    if options.get("show-managed-fields"):
        return obj
    if isinstance(obj.get("items"), list):
        return {**obj, "items": [without_managed_fields(item, options) for item in obj["items"]]}
    meta = obj.get("metadata")
    if isinstance(meta, dict) and "managedFields" in meta:
        return {**obj, "metadata": {key: value for key, value in meta.items() if key != "managedFields"}}
    return obj


def to_json(value: Any) -> str:
    """JSON as Go's encoder indents and escapes it, keys sorted."""
    text = json.dumps(value, indent=4, sort_keys=True, ensure_ascii=False, default=str)
    text = text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


_PRINTED = [0]


def print_object(options: Options, obj: Object, resource: Resource | None = None, *, done: str = "") -> None:
    """Print one object in the format of -o. `done` is what `-o name` leaves out and no -o shows."""
    name, argument = split_format(options, get="label-columns" in options.flags)
    if name == "name":
        label = resource.label if resource else _label(obj)
        print(f"{label}/{(obj.get('metadata') or {}).get('name', '')}")
        return
    shown = without_managed_fields(obj, options)
    if name == "json":
        print(to_json(shown))
    elif name in ("yaml", "kyaml"):
        from wherry.cli.kubectl.yamlio import dump

        if options.values.get("__printed"):
            print("---")
        options.values["__printed"] = True
        print(dump(shown), end="")
    elif name.startswith("jsonpath"):
        print(_jsonpath(name, argument, options)(shown), end="")
    elif name in ("go-template", "template", "go-template-file", "templatefile"):
        print(_go_template(name, argument, options)(shown), end="")
    else:
        raise KubectlError(f'unable to match a printer suitable for the output format "{name}"')


def _label(obj: Object) -> str:
    group, slash, _ = str(obj.get("apiVersion", "")).partition("/")
    kind = str(obj.get("kind", "")).lower()
    return f"{kind}.{group}" if slash else kind


def _text_of(path: str, noun: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError as error:
        raise KubectlError(
            f"error reading --template {path}, open {path}: {(error.strerror or '').lower()}\n"
        ) from error


def relaxed(expression: str) -> str:
    """A JSONPath in full form: `x.y`, `.x.y` and `{.x.y}` all become `{.x.y}`."""
    if not expression:
        return expression
    match = re.fullmatch(r"\{\.?([^{}]+)\}|\.?([^{}]+)", expression)
    if match is None:
        raise KubectlError(
            "unexpected path string, expected a 'name1.name2' or '.name1.name2' or '{name1.name2}' or '{.name1.name2}'"
        )
    return "{." + (match[1] or match[2]) + "}"


def _jsonpath(name: str, argument: str, options: Options) -> Any:
    from wherry.schema.jsonpath import parse

    if not argument:
        raise KubectlError("template format specified but no template given")
    text = _text_of(argument, name).rstrip("\n") if name == "jsonpath-file" else argument
    if name == "jsonpath-as-json" and not text.startswith("{"):
        text = "{" + text + "}"
    try:
        template = parse(text, allow_missing=bool(options["allow-missing-template-keys"]))
    except ValueError as error:
        raise KubectlError(f"error parsing jsonpath {text}, {error}") from error

    def render(obj: Any) -> str:
        try:
            if name == "jsonpath-as-json":
                values = [value for group in template.find(obj) for value in group]
                return to_json(values) + "\n"
            return template.render(obj)
        except ValueError as error:
            raise KubectlError(
                f'error executing jsonpath "{text}": Error executing template: {error}. Printing more information for '
                f"debugging the template:\n\ttemplate was:\n\t\t{text}\n\tobject given to jsonpath engine was:\n\t\t"
                f"{_go_map(obj)}\n\n"
            ) from error

    return render


def _go_map(value: Any) -> str:
    if isinstance(value, dict):
        inner = ", ".join(f'"{key}":{_go_map(item)}' for key, item in sorted(value.items()))
        return "map[string]interface {}{" + inner + "}"
    if isinstance(value, list):
        return "[]interface {}{" + ", ".join(_go_map(item) for item in value) + "}"
    return json.dumps(value)


def _go_template(name: str, argument: str, options: Options) -> Any:
    from wherry.cli.format import gotemplate

    if not argument:
        raise KubectlError("template format specified but no template given")
    text = _text_of(argument, name) if name.endswith("file") else argument
    missing = "default" if options["allow-missing-template-keys"] else "error"
    try:
        template = gotemplate.Template(text, name="output", functions=_functions(), missing=missing)
    except gotemplate.TemplateError as error:
        raise KubectlError(f"error parsing template {text}, {error}") from error

    def render(obj: Any) -> str:
        try:
            return template.execute(obj)
        except gotemplate.TemplateError as error:
            raise KubectlError(f"error executing template {json.dumps(text)}: {error}") from error

    return render


def _functions() -> dict[str, Any]:
    """What kubectl adds to Go's templates."""

    def base64decode(text: str) -> str:
        import base64

        return base64.b64decode(text).decode(errors="replace")

    return {"base64decode": base64decode}


def custom_columns(name: str, argument: str) -> list[tuple[str, str]]:
    """Headers and JSONPaths of `HEADER:.path,…` or of a file with a line of each."""
    if name == "custom-columns-file":
        if not argument:
            raise KubectlError("custom-columns format specified but no custom columns given")
        headers, paths = [*_text_of(argument, name).split("\n"), ""][:2]
        if len(headers.split()) != len(paths.split()):
            raise KubectlError(
                f"number of columns ({len(headers.split())}) and spec ({len(paths.split())}) do not match"
            )
        return [(h, relaxed(p)) for h, p in zip(headers.split(), paths.split(), strict=True)]
    if not argument:
        raise KubectlError("custom-columns format specified but no custom columns given")
    columns: list[tuple[str, str]] = []
    for part in argument.split(","):
        header, colon, path = part.partition(":")
        if not colon or not path:
            raise KubectlError(f"unexpected custom-columns spec: {part}, expected <header>:<json-path-expr>")
        columns.append((header, relaxed(path)))
    return columns


def custom_rows(columns: list[tuple[str, str]], objects: list[Object]) -> list[list[str]]:
    """The cells of custom columns, without the headers."""
    from wherry.schema.jsonpath import parse

    compiled = []
    for _, path in columns:
        try:
            compiled.append(parse(path))
        except ValueError as error:
            raise KubectlError(str(error)) from error
    rows = []
    for obj in objects:
        row = []
        for template in compiled:
            values = [value for group in template.find(obj) for value in group]
            row.append(",".join(_cell(value) for value in values) if values else "<none>")
        rows.append(row)
    return rows


def _cell(value: Any) -> str:
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{_cell(item)}" for key, item in sorted(value.items())) + "]"
    if isinstance(value, list):
        return "[" + " ".join(_cell(item) for item in value) + "]"
    return str(value)

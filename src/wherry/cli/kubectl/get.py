"""`kubectl get`: tables as the server prints them, or objects in the format of -o."""

import json
import sys
from typing import Any

from wherry.cli.kubectl import table
from wherry.cli.kubectl.discovery import Resource
from wherry.cli.kubectl.errors import KubectlError, ServerError, UsageError, raise_all
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.http import TABLE
from wherry.cli.kubectl.selection import Target, list_query, pages, select
from wherry.cli.kubectl.session import (
    ALL_NAMESPACES,
    FIELD_SELECTOR,
    FILES,
    PRINTING,
    SELECTOR,
    Object,
    Session,
)

HELP = "Display one or many resources."
EXAMPLES = """
# List all pods
kubectl get pods

# List one deployment as YAML
kubectl get deployment web -o yaml

# The phase of a pod
kubectl get pod web-0 -o jsonpath='{.status.phase}'
"""
USAGE = "(TYPE[.VERSION][.GROUP] [NAME | -l label] | TYPE[.VERSION][.GROUP]/NAME ...)"
FLAGS = (
    *PRINTING,
    *FILES,
    SELECTOR,
    FIELD_SELECTOR,
    ALL_NAMESPACES,
    Flag("watch", "w", "bool", False, "After listing the objects, watch for changes."),
    Flag("watch-only", "", "bool", False, "Watch for changes without listing first."),
    Flag("output-watch-events", "", "bool", False, "Print the kind of each watch event, and the object."),
    Flag("chunk-size", "", "int", 500, "Fetch lists in chunks of this many objects; 0 fetches all at once."),
    Flag("ignore-not-found", "", "bool", False, "An object that does not exist is no error."),
    Flag("label-columns", "L", "list", (), "Labels to show as columns."),
    Flag("no-headers", "", "bool", False, "Do not print headers."),
    Flag("raw", "", "str", "", "A path to request from the server."),
    Flag("server-print", "", "bool", True, "Have the server make the table."),
    Flag("show-kind", "", "bool", False, "Show the kind of each object with its name."),
    Flag("show-labels", "", "bool", False, "Show all labels in the last column."),
    Flag("sort-by", "", "str", "", "Sort by this JSONPath expression."),
    Flag("subresource", "", "str", "", "The subresource to get: status, scale."),
)


def run(session: Session) -> int:
    options = session.options
    if options["raw"]:
        return _raw(session)
    from wherry.cli.kubectl.output import split_format

    name, argument = split_format(options, get=True)
    files = options["filename"] or options["kustomize"]
    if not options.arguments and not files:
        session.say(
            'You must specify the type of resource to get. Use "kubectl api-resources" for a complete list of '
            "supported resources.\n"
        )
        raise UsageError(
            'Required resource not specified.\nUse "kubectl explain <resource>" for a detailed description of that '
            "resource (e.g. kubectl explain pods)."
        )
    if options["output-watch-events"] and not (options["watch"] or options["watch-only"]):
        raise UsageError("--output-watch-events option can only be used with --watch or --watch-only")
    if options["show-labels"] and name not in ("", "wide"):
        raise KubectlError(
            f"--show-labels option cannot be used with {name} printer"
            if name in ("custom-columns", "custom-columns-file")
            else "--show-labels option cannot be used with " + name + " printer"
        )
    documents = None
    if files:
        from wherry.cli.kubectl.manifests import read

        documents = read(options)
    targets = select(
        session,
        options.arguments,
        documents=documents,
        all_of_type=True,
        all_namespaces=options["all-namespaces"],
        need_name=False,
    )
    if options["watch"] or options["watch-only"]:
        from wherry.cli.kubectl.watch import watch

        return watch(session, targets, name, argument)
    if name in ("", "wide"):
        return _tables(session, targets, wide=name == "wide")
    return _objects(session, targets, name, argument)


def _raw(session: Session) -> int:
    options = session.options
    if options.arguments:
        raise UsageError("arguments may not be passed when --raw is specified")
    if not options["raw"].startswith("/"):
        raise KubectlError("--raw must be a path starting with /")
    sys.stdout.buffer.write(session.http.text(options["raw"]))
    sys.stdout.buffer.flush()
    return 0


class Printed:
    """One table of the server with what is needed to print it."""

    def __init__(self, resource: Resource, body: Any, target: Target) -> None:
        self.resource = resource
        self.columns: list[dict[str, Any]] = body.get("columnDefinitions") or []
        self.rows: list[dict[str, Any]] = body.get("rows") or []
        self.target = target


def _tables(session: Session, targets: list[Target], *, wide: bool) -> int:
    options = session.options
    errors: list[KubectlError] = []
    found: list[Printed] = []
    # A table's rows carry only their metadata; sorting by another field needs the whole objects.
    include = {"includeObject": "Object"} if options["sort-by"] else {}
    for target in targets:
        try:
            printed = _fetch_table(session, target, include)
        except ServerError as error:
            if not (options["ignore-not-found"] and error.status == 404):
                errors.append(error)
            continue
        found.append(printed)
    multiple = len({target.resource.qualified for target in targets}) > 1
    with_kind = options["show-kind"] or multiple
    groups: list[list[Printed]] = []
    for printed in found:
        if groups and groups[-1][0].resource == printed.resource:
            groups[-1].append(printed)
        else:
            groups.append([printed])
    if options["sort-by"]:
        from wherry.cli.kubectl.sorting import sort_rows

        for group in groups:
            group[0].rows = sort_rows([row for one in group for row in one.rows], options["sort-by"])
            del group[1:]
    blank = False
    for group in groups:
        rows = [row for printed in group for row in printed.rows]
        if not rows:
            continue
        if blank:
            print()
        blank = True
        with_namespace = options["all-namespaces"] and group[0].resource.namespaced
        table.write(
            cells(
                session,
                group[0].columns,
                rows,
                kind=group[0].resource.label if with_kind else "",
                namespace=with_namespace,
                wide=wide,
                headers=not options["no-headers"],
            )
        )
    if not blank and not errors and not options["ignore-not-found"]:
        sys.stdout.flush()
        if options["all-namespaces"] or not any(target.resource.namespaced for target in targets):
            session.say("No resources found")
        else:
            session.say(f"No resources found in {session.namespace} namespace.")
    raise_all(errors)
    return 0


def _fetch_table(session: Session, target: Target, include: dict[str, str]) -> Printed:
    http, options = session.http, session.options
    if target.name:
        path = target.resource.path(target.namespace, target.name, options["subresource"])
        body = http.get(path, include, accept=TABLE)
        return Printed(target.resource, as_table(body), target)
    query = {**list_query(session, limit=options["chunk-size"]), **include}
    path = target.resource.path(target.namespace)
    body = as_table(http.get(path, query, accept=TABLE))
    rows = body["rows"] = list(body.get("rows") or [])
    page = body
    while token := (page.get("metadata") or {}).get("continue"):
        page = as_table(http.get(path, {**query, "continue": token}, accept=TABLE))
        rows += page.get("rows") or []
    return Printed(target.resource, body, target)


def as_table(body: Any) -> Any:
    """A table; made of the objects when the server sent those instead."""
    if body.get("kind") == "Table":
        return body
    items = body["items"] if isinstance(body.get("items"), list) else [body]
    columns = [{"name": "Name", "type": "string", "priority": 0}, {"name": "Age", "type": "string", "priority": 0}]
    from wherry.cli.kubectl.times import age

    rows = [
        {"cells": [i["metadata"].get("name", ""), age(i["metadata"].get("creationTimestamp"))], "object": i}
        for i in items
    ]
    return {"columnDefinitions": columns, "rows": rows, "metadata": body.get("metadata")}


def cells(
    session: Session,
    columns: list[dict[str, Any]],
    rows: list[dict[str, Any]],
    *,
    kind: str,
    namespace: bool,
    wide: bool,
    headers: bool,
) -> list[list[str]]:
    """The table's text: headers, namespace, kind before the name, label columns."""
    options = session.options
    shown = [index for index, column in enumerate(columns) if wide or not column.get("priority")]
    labels = [label.rpartition("/")[2] for label in options["label-columns"]]
    out: list[list[str]] = []
    if headers:
        head = ["NAMESPACE"] if namespace else []
        head += [str(columns[index]["name"]).upper() for index in shown]
        head += [label.upper() for label in labels]
        out.append([*head, "LABELS"] if options["show-labels"] else head)
    for row in rows:
        meta = (row.get("object") or {}).get("metadata") or {}
        line = [meta.get("namespace") or ""] if namespace else []
        for index in shown:
            value = row["cells"][index] if index < len(row["cells"]) else ""
            text = cell_text(value)
            if kind and index == 0:
                text = f"{kind}/{text}"
            line.append(text)
        own = meta.get("labels") or {}
        line += [own.get(label, "") for label in options["label-columns"]]
        if options["show-labels"]:
            line.append(",".join(f"{key}={value}" for key, value in sorted(own.items())) or "<none>")
        out.append(line)
    return out


def cell_text(value: Any) -> str:
    if value is None:
        return "<none>"
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        return json.dumps(value, separators=(",", ":"))
    text = str(value)
    if "\n" in text:
        text = text.split("\n", 1)[0] + "..."
    return text


def _objects(session: Session, targets: list[Target], name: str, argument: str) -> int:
    options = session.options
    errors: list[KubectlError] = []
    objects: list[tuple[Resource, Object]] = []
    single = len(targets) == 1 and bool(targets[0].name)
    for target in targets:
        try:
            if target.name:
                path = target.resource.path(target.namespace, target.name, options["subresource"])
                objects.append((target.resource, session.http.get(path)))
                continue
            for page in pages(session, target, limit=options["chunk-size"]):
                for item in page.get("items") or ():
                    whole = {"apiVersion": page.get("apiVersion"), "kind": target.resource.kind, **item}
                    objects.append((target.resource, whole))
        except ServerError as error:
            if not (options["ignore-not-found"] and error.status == 404):
                errors.append(error)
    if options["sort-by"] and not single:
        from wherry.cli.kubectl.sorting import sort_objects

        objects = sort_objects(objects, options["sort-by"])
    _print_objects(session, objects, name, argument, single)
    raise_all(errors)
    return 0


def _print_objects(
    session: Session, objects: list[tuple[Resource, Object]], name: str, argument: str, single: bool
) -> None:
    from wherry.cli.kubectl import output

    options = session.options
    if name == "name":
        for resource, obj in objects:
            print(f"{resource.label}/{obj['metadata']['name']}")
        return
    if name.startswith("custom-columns"):
        columns = output.custom_columns(name, argument)
        rows = output.custom_rows(columns, [obj for _, obj in objects])
        table.write(rows if options["no-headers"] else [[header for header, _ in columns], *rows])
        return
    if single:
        if objects:
            output.print_object(options, objects[0][1], objects[0][0])
        return
    whole = {"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": [o for _, o in objects]}
    if options["ignore-not-found"] and not objects:
        return
    output.print_object(options, whole)

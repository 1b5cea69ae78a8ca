"""`kubectl get -w`: the list, then a line or an object for each change."""

import json
import sys
from typing import Any

from wherry.cli.kubectl import output
from wherry.cli.kubectl.errors import KubectlError
from wherry.cli.kubectl.get import as_table, cells
from wherry.cli.kubectl.http import TABLE
from wherry.cli.kubectl.selection import Target, list_query
from wherry.cli.kubectl.session import Session
from wherry.cli.kubectl.watching import events


class _Lines:
    """Rows printed as they come. Columns keep the widest width that they have had, as the real one's do."""

    def __init__(self) -> None:
        self.widths: list[int] = []

    def write(self, rows: list[list[str]]) -> None:
        for row in rows:
            for index, cell in enumerate(row):
                width = max(6, len(cell) + 3)
                if index < len(self.widths):
                    self.widths[index] = max(self.widths[index], width)
                else:
                    self.widths.append(width)
        for row in rows:
            line = "".join(cell.ljust(self.widths[index]) for index, cell in enumerate(row[:-1]))
            print(line + (row[-1] if row else ""))
        sys.stdout.flush()


def watch(session: Session, targets: list[Target], name: str, argument: str) -> int:
    if len(targets) != 1:
        if len({t.resource for t in targets}) == 1:
            raise KubectlError(
                "watch is only supported on individual resources and resource collections - more than "
                "1 resource was found"
            )
        raise KubectlError("watch is only supported on individual resources and resource collections")
    target = targets[0]
    options = session.options
    as_lines = name in ("", "wide")
    accept = TABLE if as_lines else "application/json"
    query: dict[str, Any] = list_query(session)
    if target.name:
        query["fieldSelector"] = f"metadata.name={target.name}"
        session.http.get(target.resource.path(target.namespace, target.name))
    path = target.resource.path(target.namespace)
    listed = session.http.get(path, query, accept=accept)
    version = (listed.get("metadata") or {}).get("resourceVersion")
    lines = _Lines()
    state: dict[str, Any] = {"headers": not options["no-headers"], "columns": []}
    if not options["watch-only"]:
        _show(session, target, listed, name, argument, lines, state, "ADDED")
    else:
        state["columns"] = (as_table(listed).get("columnDefinitions") or []) if as_lines else []
    query["resourceVersion"] = version
    try:
        for kind, obj in events(session, path, query, accept=accept):
            if kind != "BOOKMARK":
                _show(session, target, obj, name, argument, lines, state, kind)
    except KeyboardInterrupt:
        return 130
    return 0


def _show(
    session: Session,
    target: Target,
    body: Any,
    name: str,
    argument: str,
    lines: _Lines,
    state: dict[str, Any],
    event: str,
) -> None:
    options = session.options
    with_events = options["output-watch-events"]
    if name in ("", "wide"):
        table = as_table(body)
        state["columns"] = table.get("columnDefinitions") or state["columns"]
        rows = table.get("rows") or []
        if not rows:
            return
        text = cells(
            session,
            state["columns"],
            rows,
            kind=target.resource.label if options["show-kind"] else "",
            namespace=options["all-namespaces"] and target.resource.namespaced,
            wide=name == "wide",
            headers=state["headers"],
        )
        if with_events:
            first = ["EVENT"] if state["headers"] else []
            text = [[word, *row] for word, row in zip([*first, *[event] * len(rows)], text, strict=True)]
        state["headers"] = False
        lines.write(text)
        return
    items = body["items"] if isinstance(body.get("items"), list) else [body]
    for item in items:
        whole = {"apiVersion": target.resource.api_version, "kind": target.resource.kind, **item}
        if with_events:
            shown = output.without_managed_fields(whole, options)
            wrapped = {"type": event, "object": shown}
            if name == "json":
                print(output.to_json(wrapped))
            else:
                output.print_object(options, wrapped)
        elif name.startswith("custom-columns"):
            columns = output.custom_columns(name, argument)
            rows = output.custom_rows(columns, [whole])
            head = [[header for header, _ in columns]] if state["headers"] else []
            state["headers"] = False
            lines.write([*head, *rows])
        elif name == "json":
            print(json.dumps(output.without_managed_fields(whole, options), indent=4, sort_keys=True))
        else:
            output.print_object(options, whole, target.resource)
        sys.stdout.flush()

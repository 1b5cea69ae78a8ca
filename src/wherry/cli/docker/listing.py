"""`--format` of the commands that list things: the table of columns, `json`, `table TEMPLATE` and any template.

A listing is a list of rows; a row is a `Struct` whose members are what `--format` can name. A member may be a
function of no arguments (computed only when asked for) or of some (`.Label "key"`).
"""

from __future__ import annotations

from wherry.cli.format.gojson import dumps
from wherry.cli.format.gotemplate import DOCKER_FUNCTIONS, ExecError, ParseError, Struct, Template, TemplateError
from wherry.cli.format.table import render

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Protocol

    class Output(Protocol):
        """Where lines go: a Cli."""

        def out(self, text: str) -> None: ...


__all__ = ["Struct", "compile_template", "row_json", "show", "value_of"]


def compile_template(text: str, *, missing: str = "default") -> Template:
    """A template with Docker's functions. Raises TemplateError worded as the client does for listings."""
    text = text.replace("\\t", "\t").replace("\\n", "\n")
    try:
        return Template(text, functions=DOCKER_FUNCTIONS, missing=missing)
    except ParseError as error:
        raise TemplateError(f"failed to parse template: {error}") from None


def value_of(row: Struct, name: str) -> Any:
    """A member's value, called when it is a function."""
    value = row[name]
    return value() if callable(value) else value


def show(
    cli: Output,
    rows: Sequence[Struct],
    columns: list[str],
    headers: dict[str, str],
    format_text: str,
    *,
    json_names: list[str] | None = None,
) -> None:
    """Prints rows. `columns` are shown without `--format`, `headers` name every member in table templates.

    `format_text`: nothing or `table` for the columns, `json`, `table TEMPLATE`, or a template.
    """
    if format_text in ("", "table"):
        lines = [[headers.get(name, name) for name in columns]]
        lines.extend([str(value_of(row, name)) for name in columns] for row in rows)
        cli.out(render(lines)[:-1])
    elif format_text in ("json", "{{json .}}"):
        names = sorted(json_names or list(headers))
        for row in rows:
            cli.out(row_json(row, names))
    elif format_text.startswith("table "):
        template = compile_template(format_text.removeprefix("table ").strip())
        heading = Struct(headers)
        heading.type_name = "formatter.SubHeaderContext"
        heading.setdefault("Label", lambda key: _label_header(key))
        lines = [line.split("\t") for line in [template.execute(heading)]]
        lines += [line.split("\t") for row in rows for line in _run(template, row).split("\n")]
        cli.out(render(lines)[:-1])
    else:
        template = compile_template(format_text)
        for row in rows:
            cli.out(_run(template, row, json_names or list(headers)))


def _label_header(key: str) -> str:
    """`com.docker.swarm_node` -> `SWARM NODE`: the last part of a label's name as a column's header."""
    last = key.rpartition(".")[2]
    return last.replace("-", " ").replace("_", " ")


def _run(template: Template, row: Struct, json_names: list[str] | None = None) -> str:
    try:
        if "json ." in template.text and json_names:
            whole = row_json(row, sorted(json_names))
            template.functions["json"] = lambda value: whole if value is row else DOCKER_FUNCTIONS["json"](value)
        return template.execute(row)
    except ExecError as error:
        raise TemplateError(f"failed to execute template: {error}") from None


def row_json(row: Struct, names: list[str]) -> str:
    """A row as a JSON object of the named members."""
    return dumps({name: value_of(row, name) for name in names})

"""Rows as `--format` wants them: a table, JSON lines, or a Go template."""

import json
from typing import Any

from wherry.compose.errors import ComposeError


def formatted(rows: list[dict[str, Any]], columns: dict[str, str], form: str) -> str:
    """`columns` gives the key of each heading. `form` is table, json, `table TEMPLATE` or TEMPLATE."""
    if form in ("", "table", "pretty"):
        return table([list(columns), *([str(row[key]) for key in columns.values()] for row in rows)])
    if form == "json":
        return "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows)
    from wherry.cli.format.gotemplate import DOCKER_FUNCTIONS, Template, TemplateError

    text = form.removeprefix("table ").replace("\\t", "\t").replace("\\n", "\n")
    try:
        template = Template(text, functions=DOCKER_FUNCTIONS)
        lines = [template.execute(row) for row in rows]
        if not form.startswith("table "):
            return "".join(f"{line}\n" for line in lines)
        headings = {key: heading for heading, key in columns.items()}
        known = {key for row in rows for key in row} | set(headings)
        head = template.execute({key: headings.get(key, key.upper()) for key in known})
    except TemplateError as error:
        raise ComposeError(f"template parsing error: {error}") from None
    return table([line.split("\t") for line in (head, *lines)])


def table(rows: list[list[str]]) -> str:
    """Aligned columns, without spaces at the ends of lines."""
    from wherry.cli.format.table import render

    return "".join(f"{line.rstrip()}\n" for line in render(rows).splitlines())

"""`docker network ls`."""

from __future__ import annotations

from wherry.cli.docker.listing import show
from wherry.cli.docker.network.rows import COLUMNS, HEADERS, network_row

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "[OPTIONS]"
ARGUMENTS = (0, 0)
FLAGS = """
f,filter filter    Only those that match
  format string    Print by this: table, json, table TEMPLATE, or a Go template
  no-trunc         Whole ids
q,quiet            Only ids
"""


def run(cli: Cli, flags: Flags, arguments: list[str]) -> None:
    form = flags["format"]
    if not form and not flags["quiet"]:
        form = str(cli.config.values.get("networksFormat") or "")
    items = cli.client.get("/networks", {"filters": flags["filter"] or None}) or []
    items.sort(key=lambda item: natural(item["Name"]))
    rows = [network_row(item, flags["no-trunc"]) for item in items]
    if flags["quiet"] and form in ("", "table"):
        for row in rows:
            cli.out(row["ID"])
        return
    show(cli, rows, COLUMNS, HEADERS, form)


def natural(name: str) -> list[tuple[bool, int, str]]:
    """A key that sorts `a2` before `a10`."""
    parts: list[tuple[bool, int, str]] = []
    digits = text = ""
    for char in name + "\0":
        if char.isdigit():
            if text:
                parts.append((True, 0, text))
                text = ""
            digits += char
        else:
            if digits:
                parts.append((False, int(digits), digits))
                digits = ""
            text += char
    return [*parts, (True, 0, text)]

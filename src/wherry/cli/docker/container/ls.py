"""`docker ps`."""

from __future__ import annotations

from wherry.cli.docker.container.rows import COLUMNS, HEADERS, JSON_NAMES, container_row
from wherry.cli.docker.listing import show

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "[OPTIONS]"
ARGUMENTS = (0, 0)
FLAGS = """
a,all              Also those that have ended or never ran
f,filter filter    Only those that match
  format string    Print by this: table, json, table TEMPLATE, or a Go template
n,last int=-1      The newest n, in any state
l,latest           The newest one, in any state
  no-trunc         Whole ids and commands
q,quiet            Only ids
s,size             Add the sizes of files
"""

_NOBODY = {"Id": "", "Command": "", "Created": 0, "State": "", "Status": ""}


class _Nowhere:
    """A Cli that prints nothing."""

    def out(self, text: str) -> None:
        return


def run(cli: Cli, flags: Flags, arguments: list[str]) -> None:
    form = flags["format"]
    last = flags["last"]
    if flags["latest"] and last == -1:
        last = 1
    if not form and not flags["quiet"]:
        form = str(cli.config.values.get("psFormat") or "")
    size = flags["size"] or ".Size" in form or "json ." in form
    if "{{" in form and not form.startswith("table "):
        # Tried on a container of no account, so that a wrong template is an error although there is none to list.
        show(_Nowhere(), [container_row(_NOBODY, True)], COLUMNS, HEADERS, form, json_names=JSON_NAMES)
    query: dict[str, Any] = {
        "all": flags["all"] or None,
        "limit": last if last > 0 else None,
        "size": size or None,
        "filters": flags["filter"] or None,
    }
    whole = flags["no-trunc"]
    rows = [container_row(item, whole) for item in cli.client.get("/containers/json", query) or []]
    if flags["quiet"] and form in ("", "table"):
        for row in rows:
            cli.out(row["ID"])
        return
    columns = [*COLUMNS, "Size"] if flags["size"] else COLUMNS
    show(cli, rows, columns, HEADERS, form, json_names=JSON_NAMES)

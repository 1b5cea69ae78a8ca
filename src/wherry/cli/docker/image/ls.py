"""`docker images`."""

from __future__ import annotations

from wherry.cli.docker.errors import CliError
from wherry.cli.docker.image.rows import COLUMNS, HEADERS, JSON_NAMES, image_rows
from wherry.cli.docker.listing import show

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "[OPTIONS] [REPOSITORY[:TAG]]"
ARGUMENTS = (0, 1)
FLAGS = """
a,all              Also images that are only parts of others
  digests          Show digests
f,filter filter    Only those that match
  format string    Print by this: table, json, table TEMPLATE, or a Go template
  no-trunc         Whole ids
q,quiet            Only ids
  tree             Show platforms as a tree; not supported
"""


def run(cli: Cli, flags: Flags, arguments: list[str]) -> None:
    if flags["tree"]:
        raise CliError("--tree is not supported: images of this engine have one platform each")
    form = flags["format"]
    if not form and not flags["quiet"]:
        form = str(cli.config.values.get("imagesFormat") or "")
    filters = dict(flags["filter"])
    if arguments:
        filters["reference"] = [*filters.get("reference", []), arguments[0]]
    query = {"all": flags["all"] or None, "filters": filters or None}
    items = cli.client.get("/images/json", query) or []
    items.sort(key=lambda item: -item["Created"])
    whole, digests = flags["no-trunc"], flags["digests"]
    rows = [row for item in items for row in image_rows(item, whole, digests or ".Digest" in form)]
    if flags["quiet"] and form in ("", "table"):
        for row in rows:
            cli.out(row["ID"])
        return
    columns = ["Repository", "Tag", "Digest", "ID", "CreatedSince", "Size"] if digests else COLUMNS
    show(cli, rows, columns, HEADERS, form, json_names=JSON_NAMES)

"""`docker search`."""

from __future__ import annotations

from wherry.cli.docker.listing import Struct, show
from wherry.cli.format.units import ellipsis
from wherry.docker_api.credentials import auth_header

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "[OPTIONS] TERM"
ARGUMENTS = (1, 1)
FLAGS = """
f,filter filter    Only those that match
  format string    Print by this: table, json, table TEMPLATE, or a Go template
  limit int        At most this many
  no-trunc         Whole descriptions
"""
HEADERS = {"Name": "NAME", "Description": "DESCRIPTION", "StarCount": "STARS", "IsOfficial": "OFFICIAL"}


class Row(Struct):
    type_name = "*registry.searchContext"


def run(cli: Cli, flags: Flags, arguments: list[str]) -> None:
    query = {"term": arguments[0], "limit": flags["limit"] or None, "filters": flags["filter"] or None}
    answer = cli.client.call(
        "GET", "/images/search", query, headers=auth_header(cli.config.credentials("docker.io"))
    ).json()
    form, whole = flags["format"], flags["no-trunc"]
    rows = []
    for item in sorted(answer or [], key=lambda item: -item["star_count"]):
        text = item["description"].replace("\n", " ").replace("\r", " ")
        rows.append(
            Row(
                Name=item["name"],
                Description=text if whole else ellipsis(text, 45),
                StarCount=str(item["star_count"]),
                IsOfficial="[OK]" if item["is_official"] else "",
            )
        )
    show(cli, rows, list(HEADERS), HEADERS, form)

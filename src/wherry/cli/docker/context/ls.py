"""`docker context ls`."""

from __future__ import annotations

import os

from wherry.cli.docker.listing import Struct, show

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "[OPTIONS]"
ARGUMENTS = (0, 0)
FLAGS = """
  format string    Print by this: table, json, table TEMPLATE, or a Go template
q,quiet            Only names
"""
COLUMNS = ["Shown", "Description", "DockerEndpoint", "Error"]
HEADERS = {
    "Shown": "NAME",
    "Name": "NAME",
    "Current": "CURRENT",
    "Description": "DESCRIPTION",
    "DockerEndpoint": "DOCKER ENDPOINT",
    "Error": "ERROR",
}
OVERRIDES = (
    "Warning: DOCKER_HOST environment variable overrides the active context. To use a context, either set the global "
    "--context flag, or unset DOCKER_HOST environment variable."
)


class Row(Struct):
    type_name = "*formatter.clientContextContext"


def run(cli: Cli, flags: Flags, arguments: list[str]) -> None:
    from wherry.cli.docker.program import default_host

    current = cli.context
    host = os.environ.get("DOCKER_HOST") or default_host()
    rows = [_row("default", current, "Current DOCKER_HOST based configuration", host)]
    for name, meta in cli.config.contexts().items():
        description = (meta.get("Metadata") or {}).get("Description", "")
        rows.append(_row(name, current, description, meta["Endpoints"]["docker"]["Host"]))
    if flags["quiet"]:
        for row in rows:
            cli.out(row["Name"])
    else:
        names = ["Current", "Description", "DockerEndpoint", "Error", "Name"]
        show(cli, rows, COLUMNS, HEADERS, flags["format"], json_names=names)
    if os.environ.get("DOCKER_HOST"):
        cli.error(OVERRIDES)


def _row(name: str, current: str, description: str, host: str) -> Row:
    return Row(
        Name=name,
        Shown=f"{name} *" if name == current else name,
        Current=name == current,
        Description=description,
        DockerEndpoint=host,
        Error="",
    )

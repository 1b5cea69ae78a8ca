"""`docker events`."""

from __future__ import annotations

import sys
import time

from wherry.cli.docker.errors import CliError
from wherry.cli.docker.listing import Struct, compile_template
from wherry.cli.format.gojson import dumps
from wherry.cli.format.units import parse_moment

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "[OPTIONS]"
ARGUMENTS = (0, 0)
FLAGS = """
f,filter filter    Only those that match
  format string    Print by this: json, or a Go template
  since string     Begin at this time in the past
  until string     End at this time
"""


class Row(Struct):
    type_name = "*events.Message"


def run(cli: Cli, flags: Flags, arguments: list[str]) -> int:
    form = flags["format"]
    now = time.time()
    try:
        since = parse_moment(flags["since"], now) if flags["since"] else None
        until = parse_moment(flags["until"], now) if flags["until"] else None
    except ValueError as error:
        raise CliError(str(error)) from None
    template = compile_template(form) if form and form != "json" else None
    query = {"since": since, "until": until, "filters": flags["filter"] or None}
    try:
        for event in cli.client.call("GET", "/events", query).json_lines():
            if template is not None:
                actor = Struct(event.get("Actor") or {})
                cli.out(template.execute(Row({**event, "ID": event.get("id", ""), "Actor": actor})))
            else:
                cli.out(dumps(event) if form == "json" else line(event))
            sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    return 0


def line(event: dict[str, Any]) -> str:
    """`2026-01-02T15:04:05.123456789Z container start ID (image=…, name=…)`."""
    nanos = event.get("timeNano") or event.get("time", 0) * 10**9
    local = time.localtime(nanos // 10**9)
    zone = time.strftime("%z", local)
    zone = "Z" if zone == "+0000" else f"{zone[:3]}:{zone[3:]}"
    actor = event.get("Actor") or {}
    attributes = actor.get("Attributes") or {}
    words = [f"{time.strftime('%Y-%m-%dT%H:%M:%S', local)}.{nanos % 10**9:09d}{zone}"]
    words += [str(event.get("Type", "")), str(event.get("Action", "")), str(actor.get("ID", ""))]
    text = " ".join(words)
    if attributes:
        text += " (" + ", ".join(f"{key}={attributes[key]}" for key in sorted(attributes)) + ")"
    return text

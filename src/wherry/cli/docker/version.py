"""`docker version`."""

from __future__ import annotations

import os
import sys

from wherry.cli.docker.errors import CliError
from wherry.cli.docker.inspection import evaluate
from wherry.cli.format.gojson import dumps
from wherry.cli.format.gotemplate import DOCKER_FUNCTIONS, ParseError, Template, TemplateError

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "[OPTIONS]"
ARGUMENTS = (0, 0)
FLAGS = """
f,format string    Print by this: json, or a Go template
"""


def client_version(cli: Cli) -> dict[str, Any]:
    """This client, as the API speaks of one."""
    from wherry import __version__
    from wherry.cli.docker.program import VERSION
    from wherry.docker_api.client import API_VERSION

    return {
        "Version": VERSION,
        "ApiVersion": cli.client.api_version,
        "DefaultAPIVersion": API_VERSION,
        "GitCommit": f"wherry-{__version__}",
        "GoVersion": "none",
        "Os": sys.platform,
        "Arch": {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine),
        "BuildTime": "",
        "Context": cli.context,
    }


def run(cli: Cli, flags: Flags, arguments: list[str]) -> int:
    from wherry.docker_api.client import CannotConnect, DockerError

    form = flags["format"]
    template = None
    if form and form != "json":
        try:
            template = Template(form, functions=DOCKER_FUNCTIONS, missing="error")
        except ParseError as error:
            raise CliError(f"template parsing error: {error}", 64) from None
    server, wrong = None, ""
    try:
        server = cli.client.get("/version")
    except (DockerError, CannotConnect) as error:
        from wherry.cli.docker.program import explain

        wrong = explain(cli, error) or ""
    client = client_version(cli)
    if form == "json":
        cli.out(dumps({"Client": client, "Server": server}))
    elif template is not None:
        try:
            sides: dict[str, Any] = {"Client": client, "Server": server}
            if "APIVersion" in form:
                # Templates name Go's field, which JSON spells otherwise.
                sides = {name: side and {**side, "APIVersion": side["ApiVersion"]} for name, side in sides.items()}
            cli.out(evaluate(template, sides))
        except TemplateError as error:
            wrong = wrong or str(error)
    else:
        cli.out(_text(client, server))
    if wrong:
        raise CliError(wrong)
    return 0


def _text(client: dict[str, Any], server: dict[str, Any] | None) -> str:
    lines = ["Client:"]
    lines += _pairs(
        1,
        [
            ("Version", client["Version"]),
            ("API version", _spoken(client)),
            ("Git commit", client["GitCommit"]),
            ("OS/Arch", f"{client['Os']}/{client['Arch']}"),
            ("Context", client["Context"]),
        ],
    )
    if server is None:
        return "\n".join(lines)
    lines += ["", f"Server: {server.get('Platform', {}).get('Name', '')}".rstrip()]
    for component in server.get("Components") or []:
        details = component.get("Details") or {}
        lines.append(f" {component['Name']}:")
        rows = [("Version", component["Version"])]
        if component["Name"] == "Engine":
            rows += [
                ("API version", f"{details.get('ApiVersion')} (minimum version {details.get('MinAPIVersion')})"),
                ("Go version", details.get("GoVersion", "")),
                ("Git commit", details.get("GitCommit", "")),
                ("Built", details.get("BuildTime", "")),
                ("OS/Arch", f"{details.get('Os')}/{details.get('Arch')}"),
                ("Experimental", details.get("Experimental", "false")),
            ]
        elif details.get("GitCommit"):
            rows.append(("GitCommit", details["GitCommit"]))
        lines += _pairs(2, rows)
    return "\n".join(lines)


def _spoken(client: dict[str, Any]) -> str:
    """The API's version in use, and ours where the daemon's is older."""
    version, own = client["ApiVersion"], client["DefaultAPIVersion"]
    return str(version) if version == own else f"{version} (downgraded from {own})"


def _pairs(indent: int, rows: list[tuple[str, str]]) -> list[str]:
    return [f"{' ' * indent}{name + ':':<{19 - indent}}{value}".rstrip() for name, value in rows]

"""`docker context inspect`."""

from __future__ import annotations

import os

from wherry.cli.docker.inspection import inspect

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "[OPTIONS] [CONTEXT] [CONTEXT...]"
ARGUMENTS = (0, None)
FLAGS = """
f,format string    Print by this: json, or a Go template
"""


def run(cli: Cli, flags: Flags, arguments: list[str]) -> int:
    from wherry.cli.docker.program import default_host
    from wherry.docker_api.client import DockerError

    contexts = cli.config.contexts()

    def fetch(name: str) -> dict[str, Any]:
        if name == "default":
            host = os.environ.get("DOCKER_HOST") or default_host()
            endpoints = {"docker": {"Host": host, "SkipTLSVerify": False}}
            return {"Name": name, "Metadata": {}, "Endpoints": endpoints, "TLSMaterial": {}, "Storage": _IN_MEMORY}
        if name not in contexts:
            raise DockerError(404, cli.config.no_context(name))
        folder = os.path.join(cli.config.folder, "contexts")
        storage = {"MetadataPath": os.path.join(folder, "meta"), "TLSPath": os.path.join(folder, "tls")}
        return {**contexts[name], "TLSMaterial": {}, "Storage": storage}

    return inspect(cli, arguments or [cli.context], fetch, flags["format"], missing=cli.config.no_context)


_IN_MEMORY = {"MetadataPath": "<IN MEMORY>", "TLSPath": "<IN MEMORY>"}

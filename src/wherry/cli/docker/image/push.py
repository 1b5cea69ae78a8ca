"""`docker push`."""

from __future__ import annotations

import sys

from wherry.cli.docker.errors import CliError
from wherry.cli.docker.progress import show
from wherry.cli.docker.references import split_tag, with_tag
from wherry.docker_api.credentials import auth_header, registry_of

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "[OPTIONS] NAME[:TAG]"
ARGUMENTS = (1, 1)
FLAGS = """
a,all-tags                      All tags of the repository
  disable-content-trust=true    Accepted; there is no content trust
  platform string               Only this platform
q,quiet                         Print only the name at the end
"""


def run(cli: Cli, flags: Flags, arguments: list[str]) -> None:
    name, tag = split_tag(arguments[0])
    if flags["all-tags"] and tag:
        raise CliError("tag can't be used with --all-tags/-a")
    reference = with_tag(arguments[0])
    if not tag and not flags["all-tags"] and not flags["quiet"]:
        cli.out("Using default tag: latest")
    answer = cli.client.call(
        "POST",
        f"/images/{name}/push",
        {"tag": None if flags["all-tags"] else split_tag(reference)[1], "platform": flags["platform"] or None},
        headers=auth_header(cli.config.credentials(registry_of(name))),
    )
    if flags["quiet"]:
        from io import StringIO

        show(answer.json_lines(), StringIO())
        from wherry.cli.docker.image.pull import canonical

        cli.out(canonical(reference))
        return
    show(answer.json_lines(), sys.stdout)

"""`docker pull`."""

from __future__ import annotations

import sys

from wherry.cli.docker.errors import CliError
from wherry.cli.docker.pulling import pull
from wherry.cli.docker.references import registry_part, split_tag, with_tag

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "[OPTIONS] NAME[:TAG|@DIGEST]"
ARGUMENTS = (1, 1)
FLAGS = """
a,all-tags                      All images of the repository
  disable-content-trust=true    Accepted; there is no content trust
  platform string               Platform of the image
q,quiet                         Print only the name at the end
"""


def run(cli: Cli, flags: Flags, arguments: list[str]) -> None:
    name, tag = split_tag(arguments[0])
    if flags["all-tags"] and tag:
        raise CliError("tag can't be used with --all-tags/-a")
    reference = with_tag(arguments[0])
    if not tag and not flags["all-tags"] and not flags["quiet"]:
        cli.out("Using default tag: latest")
    out = None if flags["quiet"] else sys.stdout
    pull(cli, reference, out, platform=flags["platform"], all_tags=flags["all-tags"])
    cli.out(canonical(name) if flags["all-tags"] else canonical(reference))


def canonical(reference: str) -> str:
    """The reference with the registry and, on Docker Hub, `library/` written out."""
    if registry_part(reference):
        return reference
    return f"docker.io/{reference}" if "/" in reference else f"docker.io/library/{reference}"

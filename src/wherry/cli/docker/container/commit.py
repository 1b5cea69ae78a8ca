"""`docker commit`."""

from __future__ import annotations

from wherry.cli.docker.references import split_tag

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli

USAGE = "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]"
ARGUMENTS = (1, 2)
FLAGS = """
a,author string    Author
c,change list      Dockerfile instruction to apply to the image
m,message string   Comment of the image
p,pause=true       Pause the container meanwhile
"""


def run(cli: Cli, flags: Flags, arguments: list[str]) -> None:
    repository, tag = split_tag(arguments[1]) if len(arguments) == 2 else ("", "")
    query = {
        "container": arguments[0],
        "repo": repository or None,
        "tag": tag or None,
        "author": flags["author"] or None,
        "comment": flags["message"] or None,
        "changes": flags["change"] or None,
        "pause": None if flags["pause"] else False,
    }
    cli.out(cli.client.post("/commit", query, body={})["Id"])

"""Making a container: what `docker create` and `docker run` share."""

from __future__ import annotations

import os
import sys

from wherry.cli.docker.container.create_body import create_body
from wherry.cli.docker.errors import CliError
from wherry.cli.docker.references import with_tag

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from typing import Any

    from wherry.cli.docker.flags import Flags
    from wherry.cli.docker.program import Cli


class Explained(CliError):
    """An error of `docker run` and `docker create`: named after the program, with the way to the help."""

    def __init__(self, cli: Cli, message: str, code: int = 125) -> None:
        super().__init__(f"docker: {message}\n\nRun '{cli.path} --help' for more information", code)


def make(
    cli: Cli, flags: Flags, image: str, command: list[str], *, detached: bool = False
) -> tuple[str, dict[str, Any]]:
    """Creates the container, pulling its image when that is wanted; its id and the body it was made of.

    `detached` leaves all its streams unconnected.
    """
    from wherry.cli.docker.pulling import pull
    from wherry.docker_api.client import DockerError

    when = flags["pull"]
    if when not in ("always", "missing", "never", ""):
        raise CliError(f'invalid pull option: \'{when}\': must be one of "always", "missing" or "never"')
    body = create_body(flags, image, command)
    if flags["mac-address"] and not cli.client.at_least("1.44"):
        body["MacAddress"] = flags["mac-address"].strip()  # where such a daemon looks for it
    if detached:
        body |= dict.fromkeys(("AttachStdin", "AttachStdout", "AttachStderr", "StdinOnce"), False)
    cidfile = flags["cidfile"]
    if cidfile and os.path.exists(cidfile):
        raise CliError(f"container ID file found, make sure the other container isn't running or delete {cidfile}")
    platform = flags["platform"]
    query = {"name": flags["name"] or None, "platform": platform or None}
    out = None if flags["quiet"] else sys.stderr
    if when == "always":
        pull(cli, with_tag(image), out, platform=platform)
    try:
        answer = cli.client.post("/containers/create", query, body)
    except DockerError as error:
        if error.status != 404 or "image" not in error.message or when == "never":
            raise
        reference = with_tag(image)
        if not flags["quiet"]:
            cli.error(f"Unable to find image '{reference}' locally")
        pull(cli, reference, out, platform=platform)
        answer = cli.client.post("/containers/create", query, body)
    for warning in answer.get("Warnings") or []:
        cli.error(f"WARNING: {warning}")
    if cidfile:
        with open(cidfile, "w", encoding="utf-8") as file:
            file.write(answer["Id"])
    return answer["Id"], body


def failed(cli: Cli, error: Exception) -> Explained:
    """What went wrong before the container ran, with the exit code that tells it from the container's own."""
    from wherry.cli.docker.program import cannot_connect
    from wherry.docker_api.client import CannotConnect, DockerError

    if isinstance(error, CannotConnect):
        return Explained(cli, cannot_connect(cli, error))
    if isinstance(error, DockerError):
        message = f"Error response from daemon: {error.message}"
        return Explained(cli, message, start_code(error.message))
    if isinstance(error, CliError):
        return Explained(cli, error.message)
    return Explained(cli, str(error))


def start_code(message: str) -> int:
    """127: the command was not found; 126: it cannot be run; 125: anything else."""
    lowered = message.lower()
    if (
        "executable file not found" in lowered
        or "no such file or directory" in lowered
        or "system cannot find" in lowered
    ):
        return 127
    if any(part in lowered for part in ("permission denied", "not a directory", "is a directory")):
        return 126
    return 125

"""Fetching an image: what `docker pull`, `docker run` and `docker create` share."""

from __future__ import annotations

from wherry.cli.docker.progress import show
from wherry.cli.docker.references import split_tag
from wherry.docker_api.credentials import auth_header, registry_of

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from typing import TextIO

    from wherry.cli.docker.program import Cli


def pull(cli: Cli, reference: str, out: TextIO | None, *, platform: str = "", all_tags: bool = False) -> None:
    """Pulls `reference` (with tag or digest), its progress on `out`; silent without. DockerError, CliError."""
    name, tag = split_tag(reference)
    auth = cli.config.credentials(registry_of(name))
    answer = cli.client.call(
        "POST",
        "/images/create",
        {"fromImage": name, "tag": None if all_tags else tag, "platform": platform or None},
        headers=auth_header(auth) if auth else {},
    )
    if out is None:
        from io import StringIO

        out = StringIO()
    show(answer.json_lines(), out)

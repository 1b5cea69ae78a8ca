"""The headers with registry credentials that a project's pulls, pushes and builds send."""

from collections.abc import Callable
from typing import Any

from wherry.compose.errors import ComposeError
from wherry.docker_api import credentials


def _headers(make: Callable[[dict[str, Any]], dict[str, str]]) -> dict[str, str]:
    try:
        return make(credentials.read(credentials.folder_of()))
    except credentials.CredentialsError as error:
        raise ComposeError(str(error)) from None


def auth_header(image: str) -> dict[str, str]:
    """`X-Registry-Auth` for the registry of `image`. Raises ComposeError."""
    server = credentials.registry_of(image)
    return _headers(lambda config: credentials.auth_header(credentials.credentials(config, server)))


def build_header() -> dict[str, str]:
    """`X-Registry-Config`: what a build may need to pull its bases. Raises ComposeError."""
    return _headers(credentials.build_header)

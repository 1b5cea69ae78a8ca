"""Registry credentials as `docker login` keeps them: config.json below DOCKER_CONFIG or ~/.docker, and its helpers."""

import base64
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from wherry.compose.errors import ComposeError

DOCKER_HUB = "https://index.docker.io/v1/"


def server_of(image: str) -> str:
    """The registry of an image's name, as config.json has it."""
    first, slash, _ = image.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return first
    return DOCKER_HUB


def configuration() -> dict[str, Any]:
    folder = os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
    try:
        found = json.loads((Path(folder) / "config.json").read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ComposeError(f"error reading {folder}/config.json: {error}") from None
    return found if isinstance(found, dict) else {}


def credentials(server: str) -> dict[str, str]:
    """`username`, `password` (or `identitytoken`) and `serveraddress`; empty when there are none."""
    config = configuration()
    helper = (config.get("credHelpers") or {}).get(server) or config.get("credsStore")
    if helper:
        return _from_helper(str(helper), server)
    entry = (config.get("auths") or {}).get(server) or {}
    if entry.get("identitytoken"):
        return {"identitytoken": entry["identitytoken"], "serveraddress": server}
    if not entry.get("auth"):
        return {}
    user, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
    return {"username": user, "password": password.rstrip("\0"), "serveraddress": server}


def _from_helper(helper: str, server: str) -> dict[str, str]:
    try:
        asked = subprocess.run(
            [f"docker-credential-{helper}", "get"], input=server, capture_output=True, text=True, check=False
        )
        found = json.loads(asked.stdout) if asked.returncode == 0 else {}
    except (OSError, ValueError) as error:
        raise ComposeError(f"error getting credentials of {server}: docker-credential-{helper}: {error}") from None
    if not found:
        return {}
    if found.get("Username") == "<token>":
        return {"identitytoken": found["Secret"], "serveraddress": server}
    return {"username": found["Username"], "password": found["Secret"], "serveraddress": server}


def auth_header(image: str) -> dict[str, str]:
    """`X-Registry-Auth` for the registry of `image`."""
    return {"X-Registry-Auth": _encoded(credentials(server_of(image)))}


def build_header() -> dict[str, str]:
    """`X-Registry-Config`: what a build may need to pull its bases."""
    servers = [*(configuration().get("auths") or {}), *(configuration().get("credHelpers") or {})]
    found = {server: credentials(server) for server in servers}
    return {"X-Registry-Config": _encoded({server: one for server, one in found.items() if one})}


def _encoded(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()

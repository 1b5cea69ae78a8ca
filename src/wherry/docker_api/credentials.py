"""Registry credentials on the client's side: what `docker login` keeps in config.json, its helpers, the API's headers.

`config.json` lies in DOCKER_CONFIG or ~/.docker. A credential helper is a program `docker-credential-NAME`; see
"Credential stores" in Docker's documentation of `docker login`.
"""

from __future__ import annotations

import os

from wherry.docker_api.lean_json import dumps, loads

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from typing import Any

INDEX = "https://index.docker.io/v1/"
"""What Docker Hub is called in config.json."""
_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")


class CredentialsError(Exception):
    """config.json or a helper cannot be used; `str()` says why in Docker's words."""


def folder_of(folder: str | None = None) -> str:
    """Where config.json lies, unless `folder` says so."""
    return folder or os.environ.get("DOCKER_CONFIG") or os.path.join(os.path.expanduser("~"), ".docker")


def read(folder: str) -> dict[str, Any]:
    """The content of config.json; empty when there is none. Raises CredentialsError when it is broken."""
    path = os.path.join(folder, "config.json")
    try:
        with open(path, encoding="utf-8") as file:
            found = loads(file.read() or "{}")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CredentialsError(f"Error loading config file: {path}: {error}") from None
    if not isinstance(found, dict):
        raise CredentialsError(f"Error loading config file: {path}: it is no JSON object")
    return found


def registry_of(reference: str) -> str:
    """The registry in an image's name; `docker.io` when it has none."""
    first, slash, _ = reference.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else "docker.io"


def helper_of(config: dict[str, Any], key: str) -> str:
    """The helper that keeps the credentials of a registry; empty when the file does."""
    return str((config.get("credHelpers") or {}).get(key) or config.get("credsStore") or "")


def credentials(config: dict[str, Any], server: str) -> dict[str, str]:
    """User name and password (or `identitytoken`) for a registry (`localhost:5000`, `docker.io`), as the API's
    AuthConfig; or empty. Raises CredentialsError when its helper cannot be run."""
    key = INDEX if server in _HUB else server
    if (helper := helper_of(config, key)) and (found := _ask(helper, key)):
        return found
    for name, entry in (config.get("auths") or {}).items():
        if name == key or _host(name) == _host(key):
            found = {"serveraddress": key}
            if entry.get("auth"):
                import base64

                user, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
                found |= {"username": user, "password": password.rstrip("\0")}
            if entry.get("identitytoken"):
                found["identitytoken"] = entry["identitytoken"]
            return found if len(found) > 1 else {}
    return {}


def all_credentials(config: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Everything known, by registry: what a build may need to pull its bases."""
    names = [*(config.get("auths") or {}), *(config.get("credHelpers") or {})]
    found = {name: credentials(config, name) for name in dict.fromkeys(names)}
    return {name: one for name, one in found.items() if one}


def run_helper(helper: str, verb: str, text: str) -> str:
    """What a helper prints. Raises LookupError when it fails, CredentialsError when there is no such program."""
    import subprocess

    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run([program, verb], input=text, capture_output=True, text=True, check=False)
    except OSError as error:
        raise CredentialsError(f'error getting credentials - err: exec: "{program}": {error.strerror}') from None
    if done.returncode:
        raise LookupError(done.stdout.strip() or done.stderr.strip())
    return done.stdout


def _ask(helper: str, server: str) -> dict[str, str]:
    try:
        answer = loads(run_helper(helper, "get", server))
    except LookupError:
        return {}
    except ValueError as error:
        raise CredentialsError(f"error getting credentials of {server}: docker-credential-{helper}: {error}") from None
    if answer.get("Username") == "<token>":
        return {"serveraddress": server, "identitytoken": answer["Secret"]}
    return {"serveraddress": server, "username": answer.get("Username", ""), "password": answer.get("Secret", "")}


def _host(server: str) -> str:
    return server.removeprefix("https://").removeprefix("http://").partition("/")[0]


def auth_header(auth: dict[str, Any]) -> dict[str, str]:
    """`X-Registry-Auth`: URL-safe base64 of the JSON."""
    return {"X-Registry-Auth": _encoded(auth)}


def build_header(config: dict[str, Any]) -> dict[str, str]:
    """`X-Registry-Config`: all credentials."""
    return {"X-Registry-Config": _encoded(all_credentials(config))}


def _encoded(value: dict[str, Any]) -> str:
    import base64

    return base64.urlsafe_b64encode(dumps(value).encode()).decode()

"""The client's settings: `config.json` in ~/.docker or DOCKER_CONFIG. Credentials, contexts, detach keys, formats."""

from __future__ import annotations

import os

from wherry.cli.docker.errors import CliError
from wherry.cli.format.gojson import dumps, loads

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from typing import Any

INDEX = "https://index.docker.io/v1/"
"""What Docker Hub is called in config.json."""


class Config:
    """A settings file. `values` is its JSON; unknown keys are kept when it is written."""

    def __init__(self, folder: str, values: dict[str, Any]) -> None:
        self.folder = folder
        self.values = values

    @classmethod
    def load(cls, folder: str | None = None) -> Config:
        """The settings in `folder`, DOCKER_CONFIG or ~/.docker; empty when there are none. CliError when broken."""
        folder = folder or os.environ.get("DOCKER_CONFIG") or os.path.join(os.path.expanduser("~"), ".docker")
        path = os.path.join(folder, "config.json")
        try:
            with open(path, encoding="utf-8") as file:
                values = loads(file.read() or "{}")
        except FileNotFoundError:
            values = {}
        except (OSError, ValueError) as error:
            raise CliError(f"WARNING: Error loading config file: {path}: {error}") from None
        return cls(folder, values)

    def save(self) -> None:
        """Writes the file, whole or not at all; only its owner may read it."""
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        path = os.path.join(self.folder, "config.json")
        fresh = f"{path}.{os.getpid()}"
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(dumps(self.values, indent="\t", escape_html=False))
        os.replace(fresh, path)

    @property
    def detach_keys(self) -> str:
        return str(self.values.get("detachKeys") or "")

    @property
    def current_context(self) -> str:
        return str(self.values.get("currentContext") or "default")

    def contexts(self) -> dict[str, dict[str, Any]]:
        """The contexts that exist as files, by name."""
        found = {}
        folder = os.path.join(self.folder, "contexts", "meta")
        for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
            try:
                with open(os.path.join(folder, name, "meta.json"), encoding="utf-8") as file:
                    meta = loads(file.read())
            except OSError:
                continue
            found[meta["Name"]] = meta
        return found

    def context_host(self, name: str) -> str:
        """The engine's address of a context. CliError when there is no such context."""
        meta = self.contexts().get(name)
        if meta is None:
            raise CliError(f"Failed to initialize: unable to resolve docker endpoint: {self.no_context(name)}")
        return str(meta["Endpoints"]["docker"]["Host"])

    def no_context(self, name: str) -> str:
        """What to say of a context that does not exist."""
        import hashlib

        folder = f"{self.folder}/contexts/meta/{hashlib.sha256(name.encode()).hexdigest()}"
        return f'context "{name}": context not found: open {folder}/meta.json: no such file or directory'

    def credentials(self, server: str) -> dict[str, str]:
        """User name and password for a registry (`localhost:5000`, `docker.io`), as the API's AuthConfig; or empty."""
        key = INDEX if server in ("docker.io", "index.docker.io", "registry-1.docker.io") else server
        helper = (self.values.get("credHelpers") or {}).get(key) or self.values.get("credsStore")
        if helper:
            found = _ask_helper(helper, key)
            if found:
                return found
        for name, entry in (self.values.get("auths") or {}).items():
            if name == key or _host(name) == _host(key):
                found = {"serveraddress": key}
                if entry.get("auth"):
                    import base64

                    user, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
                    found |= {"username": user, "password": password.rstrip("\0")}
                if entry.get("identitytoken"):
                    found["identitytoken"] = entry["identitytoken"]
                return found
        return {}

    def all_credentials(self) -> dict[str, dict[str, str]]:
        """Everything known, by registry: what a build sends as X-Registry-Config."""
        return {name: self.credentials(name) for name in self.values.get("auths") or {}}

    def remember(self, server: str, username: str, password: str, token: str = "") -> str:
        """Keeps credentials; returns the helper that keeps them, or nothing when they are in the file."""
        import base64

        helper = (self.values.get("credHelpers") or {}).get(server) or self.values.get("credsStore")
        entry: dict[str, str] = {}
        if helper:
            _run_helper(
                helper,
                "store",
                dumps({"ServerURL": server, "Username": "<token>" if token else username, "Secret": token or password}),
            )
        elif token:
            entry = {"auth": base64.b64encode(f"{username}:".encode()).decode(), "identitytoken": token}
        else:
            entry = {"auth": base64.b64encode(f"{username}:{password}".encode()).decode()}
        self.values.setdefault("auths", {})[server] = entry
        self.save()
        return str(helper or "")

    def forget(self, server: str) -> bool:
        """Drops credentials; whether there were any."""
        auths = self.values.get("auths") or {}
        if server not in auths:
            return False
        helper = (self.values.get("credHelpers") or {}).get(server) or self.values.get("credsStore")
        if helper:
            _run_helper(helper, "erase", server)
        del auths[server]
        self.save()
        return True


def _host(server: str) -> str:
    return server.removeprefix("https://").removeprefix("http://").partition("/")[0]


def _run_helper(helper: str, verb: str, text: str) -> str:
    import subprocess

    try:
        done = subprocess.run(
            [f"docker-credential-{helper}", verb], input=text, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise CliError(
            f'error getting credentials - err: exec: "docker-credential-{helper}": {error.strerror}'
        ) from None
    if done.returncode:
        raise LookupError(done.stdout.strip() or done.stderr.strip())
    return done.stdout


def _ask_helper(helper: str, server: str) -> dict[str, str]:
    try:
        answer = loads(_run_helper(helper, "get", server))
    except LookupError:
        return {}
    if answer.get("Username") == "<token>":
        return {"serveraddress": server, "identitytoken": answer["Secret"]}
    return {"serveraddress": server, "username": answer.get("Username", ""), "password": answer.get("Secret", "")}


def registry_of(reference: str) -> str:
    """The registry in an image's name; `docker.io` when it has none."""
    first, slash, _ = reference.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else "docker.io"


def auth_header(auth: dict[str, Any]) -> dict[str, str]:
    """The X-Registry-Auth header: URL-safe base64 of the JSON."""
    import base64

    return {"X-Registry-Auth": base64.urlsafe_b64encode(dumps(auth).encode()).decode()}

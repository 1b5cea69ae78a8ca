"""The client's settings: `config.json` in ~/.docker or DOCKER_CONFIG. Credentials, contexts, detach keys, formats."""

from __future__ import annotations

import os

from wherry.cli.docker.errors import CliError
from wherry.cli.format.gojson import dumps, loads
from wherry.docker_api import credentials as stored

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from typing import Any


class Config:
    """A settings file. `values` is its JSON; unknown keys are kept when it is written."""

    def __init__(self, folder: str, values: dict[str, Any]) -> None:
        self.folder = folder
        self.values = values

    @classmethod
    def load(cls, folder: str | None = None) -> Config:
        """The settings in `folder`, DOCKER_CONFIG or ~/.docker; empty when there are none. CliError when broken."""
        folder = stored.folder_of(folder)
        try:
            return cls(folder, stored.read(folder))
        except stored.CredentialsError as error:
            raise CliError(f"WARNING: {error}") from None

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
        try:
            return stored.credentials(self.values, server)
        except stored.CredentialsError as error:
            raise CliError(str(error)) from None

    def build_header(self) -> dict[str, str]:
        """X-Registry-Config: everything known, for a build."""
        try:
            return stored.build_header(self.values)
        except stored.CredentialsError as error:
            raise CliError(str(error)) from None

    def remember(self, server: str, username: str, password: str, token: str = "") -> str:
        """Keeps credentials; returns the helper that keeps them, or nothing when they are in the file."""
        import base64

        helper = stored.helper_of(self.values, server)
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
        return helper

    def forget(self, server: str) -> bool:
        """Drops credentials; whether there were any."""
        auths = self.values.get("auths") or {}
        if server not in auths:
            return False
        helper = stored.helper_of(self.values, server)
        if helper:
            _run_helper(helper, "erase", server)
        del auths[server]
        self.save()
        return True


def _run_helper(helper: str, verb: str, text: str) -> None:
    try:
        stored.run_helper(helper, verb, text)
    except stored.CredentialsError as error:
        raise CliError(str(error)) from None

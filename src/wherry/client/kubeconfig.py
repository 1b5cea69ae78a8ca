"""Reading a kubeconfig: where the API server is, whom to trust, and who we are.

https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/. Authentication by client certificate, token or token
file; exec plugins and auth providers are refused by name.
"""

import base64
import os
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


class KubeconfigError(Exception):
    """The kubeconfig cannot be used; the message names the file and what is wrong."""


@dataclass(frozen=True)
class Connection:
    """What a client needs: base URL, TLS (None for plain HTTP), namespace, and a bearer token or its file."""

    server: str
    tls: ssl.SSLContext | None
    namespace: str = "default"
    token: str = ""
    token_file: Path | None = None


def load(path: Path | str, context: str | None = None) -> Connection:
    """The connection of `context` (default: the current one). Raises KubeconfigError."""
    path = Path(path)
    try:
        config = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise KubeconfigError(f"{path}: {error}") from error
    if not isinstance(config, dict):
        raise KubeconfigError(f"{path}: not a kubeconfig")
    name = context or config.get("current-context")
    if not name:
        raise KubeconfigError(f"{path}: no current-context is set")
    chosen = _named(path, config, "contexts", name, "context")
    cluster = _named(path, config, "clusters", chosen.get("cluster", ""), "cluster")
    user = _named(path, config, "users", chosen.get("user", ""), "user") if chosen.get("user") else {}
    for unsupported in ("exec", "auth-provider", "username", "as"):
        if user.get(unsupported):
            raise KubeconfigError(f"{path}: authentication by {unsupported!r} is not supported")
    server = str(cluster.get("server", "")).rstrip("/")
    if not server:
        raise KubeconfigError(f"{path}: the cluster has no server")
    tls = _tls(path.parent, cluster, user) if server.startswith("https:") else None
    token_file = user.get("tokenFile")
    return Connection(
        server,
        tls,
        chosen.get("namespace") or "default",
        user.get("token") or "",
        path.parent / token_file if token_file else None,
    )


def _named(path: Path, config: dict[str, Any], section: str, name: str, field: str) -> dict[str, Any]:
    for entry in config.get(section) or ():
        if entry.get("name") == name:
            return entry.get(field) or {}
    raise KubeconfigError(f"{path}: {section} has no entry named {name!r}")


def _tls(base: Path, cluster: dict[str, Any], user: dict[str, Any]) -> ssl.SSLContext:
    authority = _content(base, cluster, "certificate-authority")
    context = ssl.create_default_context(cadata=authority.decode() if authority else None)
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    certificate, key = _content(base, user, "client-certificate"), _content(base, user, "client-key")
    if certificate and key:
        # OpenSSL's Python binding reads certificates from files only; these live in memory and are gone at once.
        with tempfile.NamedTemporaryFile(dir=_private_dir()) as file:
            file.write(certificate + b"\n" + key)
            file.flush()
            context.load_cert_chain(file.name)
    return context


def _private_dir() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _content(base: Path, section: dict[str, Any], name: str) -> bytes:
    data = section.get(f"{name}-data")
    if data:
        return base64.b64decode(str(data))
    file = section.get(name)
    if not file:
        return b""
    try:
        return (base / str(file)).read_bytes()
    except OSError as error:
        raise KubeconfigError(f"{name}: {error}") from error

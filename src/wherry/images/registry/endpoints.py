"""Which URLs a registry is tried at, and whose credentials go there.

Configured by `daemon.json` in the instance's directory, with Docker's own keys: `registry-mirrors` (for Docker
Hub) and `insecure-registries` (hosts or networks that may speak plain HTTP or have any certificate). Registries
on this machine (127.0.0.0/8, ::1, localhost) count as insecure, as with Docker.
"""

import ipaddress
import json
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..errors import InvalidParameter
from ..references import DEFAULT_DOMAIN

HUB = "https://registry-1.docker.io"
HUB_KEY = "https://index.docker.io/v1/"
CERTIFICATES = Path("/etc/docker/certs.d")


@dataclass(frozen=True)
class Endpoint:
    """A base URL without a trailing slash; `verify` False accepts any certificate."""

    url: str
    verify: bool = True
    mirror: bool = False

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc


@dataclass
class RegistryConfig:
    mirrors: list[str] = field(default_factory=list)
    insecure: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> "RegistryConfig":
        """Raises InvalidParameter when the file is there and is not what it should be."""
        try:
            data = json.loads(path.read_text())
        except FileNotFoundError:
            return cls()
        except ValueError as error:
            raise InvalidParameter(f"unable to configure the registries with file {path}: {error}") from None
        mirrors, insecure = data.get("registry-mirrors") or [], data.get("insecure-registries") or []
        for mirror in mirrors:
            if urlsplit(mirror).scheme not in ("http", "https"):
                raise InvalidParameter(f'invalid mirror: unsupported scheme "{urlsplit(mirror).scheme}" in "{mirror}"')
        return cls([mirror.rstrip("/") for mirror in mirrors], list(insecure))

    def endpoints(self, domain: str, *, push: bool = False) -> list[Endpoint]:
        """In the order to try them."""
        if domain == DEFAULT_DOMAIN:
            mirrors = (
                []
                if push
                else [Endpoint(url, not self._is_insecure(urlsplit(url).netloc), True) for url in self.mirrors]
            )
            return [*mirrors, Endpoint(HUB)]
        if self._is_insecure(domain):
            return [Endpoint(f"https://{domain}", verify=False), Endpoint(f"http://{domain}", verify=False)]
        return [Endpoint(f"https://{domain}")]

    def _is_insecure(self, domain: str) -> bool:
        host = urlsplit(f"//{domain}").hostname or domain
        if domain in self.insecure or host in self.insecure or host == "localhost":
            return True
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        if address.is_loopback:
            return True
        for item in self.insecure:
            try:
                if address in ipaddress.ip_network(item):
                    return True
            except ValueError:
                continue
        return False


def tls_context(endpoint: Endpoint) -> ssl.SSLContext:
    """With the system's authorities and those of `/etc/docker/certs.d/<host>`, as Docker reads them."""
    context = ssl.create_default_context()
    directory = CERTIFICATES / endpoint.host
    if directory.is_dir():
        for authority in sorted(directory.glob("*.crt")):
            context.load_verify_locations(cafile=authority)
        for certificate in sorted(directory.glob("*.cert")):
            context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    if not endpoint.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def credentials_for(auth: dict[str, Any], domain: str) -> dict[str, Any]:
    """The credentials for a registry: `auth` is one object, or objects by server as a build gets them."""
    if not auth or any(
        isinstance(auth.get(key), str) for key in ("username", "password", "auth", "identitytoken", "registrytoken")
    ):
        return auth
    wanted = ("docker.io", "index.docker.io", "registry-1.docker.io") if domain == DEFAULT_DOMAIN else (domain,)
    for server, credentials in auth.items():
        host = urlsplit(server if "//" in server else f"//{server}").netloc
        if host in wanted and isinstance(credentials, dict):
            return credentials
    return {}

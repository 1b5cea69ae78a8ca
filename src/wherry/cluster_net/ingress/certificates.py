"""The files that nginx reads besides its configuration: certificates with keys, and users for basic authentication.

A file's name is a digest of its content, so a changed Secret is a changed configuration. Only root reads them: nginx's
workers get what its master has read.
"""

import base64
import binascii
import hashlib
import os
import ssl
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path

from wherry.schema.resource import Object

DEFAULT_NAME = "Kubernetes Ingress Controller Fake Certificate"


class SecretFiles:
    """Files below one directory. Methods block shortly (they write small files)."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._good: dict[str, list[str]] = {}

    def certificate(self, secret: Object, host: str) -> Path:
        """The PEM file of a Secret of type kubernetes.io/tls. Raises LookupError when it is not good for `host`."""
        label = _label(secret)
        missing = [name for name in ("tls.crt", "tls.key") if not (secret.get("data") or {}).get(name)]
        if missing:
            raise LookupError(f"secret {label} contains no {' and no '.join(missing)}")
        text = _decoded(secret, "tls.crt").strip() + b"\n" + _decoded(secret, "tls.key").strip() + b"\n"
        digest = hashlib.sha256(text).hexdigest()[:32]
        path = self._directory / f"{digest}.pem"
        if digest not in self._good:
            _write(path, text)
            try:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(path)
                self._good[digest] = _names(_decoded(secret, "tls.crt"))
            except (OSError, ValueError) as error:
                path.unlink(missing_ok=True)
                raise LookupError(f"secret {label} holds no usable certificate and key: {error}") from error
        elif not path.exists():
            _write(path, text)
        names = self._good[digest]
        if host != "_" and not any(_matches(name, host) for name in names):
            raise LookupError(
                f"the certificate in secret {label} is valid for {', '.join(names) or 'no name'}, not {host}"
            )
        return path

    def users(self, secret: Object, kind: str) -> Path:
        """The users' file of an auth Secret: its key `auth` (`auth-file`), or each key a user (`auth-map`)."""
        label = _label(secret)
        if kind == "auth-file":
            if not (secret.get("data") or {}).get("auth"):
                raise LookupError(f"secret {label} does not contain a key with value auth")
            text = _decoded(secret, "auth")
        else:
            text = b"".join(
                user.encode() + b":" + _decoded(secret, user).strip() + b"\n"
                for user in sorted(secret.get("data") or {})
            )
        path = self._directory / f"{hashlib.sha256(text).hexdigest()[:32]}.htpasswd"
        if not path.exists():
            # Read by nginx's workers at each request, so they must be able to: the names are the secret's digest.
            _write(path, text, 0o644)
        return path

    def default(self) -> Path:
        """The certificate for hosts that have none: signed by itself, made when it is missing or about to end."""
        path = self._directory / "default.pem"
        if not path.exists() or _ends_before(path, datetime.now(UTC) + timedelta(days=30)):
            _write(path, _self_signed())
        return path

    def keep(self, wanted: Collection[str]) -> None:
        """Delete what no configuration names any more. `wanted` are file names."""
        for path in self._directory.iterdir():
            if path.name not in wanted and path.name != "default.pem":
                path.unlink(missing_ok=True)
                self._good.pop(path.stem, None)


def _label(secret: Object) -> str:
    return f"{secret['metadata']['namespace']}/{secret['metadata']['name']}"


def _decoded(secret: Object, key: str) -> bytes:
    try:
        return base64.b64decode(secret["data"][key])
    except binascii.Error as error:
        raise LookupError(f"secret {_label(secret)}: {key}: {error}") from error


def _write(path: Path, data: bytes, mode: int = 0o600) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with open(descriptor, "wb") as file:
        file.write(data)
    os.chmod(temporary, mode)
    os.replace(temporary, path)


def _names(chain: bytes) -> list[str]:
    """DNS names of the first certificate: its alternative names, or where it has none its common name."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    certificate = x509.load_pem_x509_certificate(chain)
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        return list(found.value.get_values_for_type(x509.DNSName))
    except x509.ExtensionNotFound:
        return [str(one.value) for one in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]


def _matches(name: str, host: str) -> bool:
    name, host = name.lower(), host.lower()
    if name == host:
        return True
    return name.startswith("*.") and not host.startswith("*.") and host.partition(".")[2] == name[2:]


def _ends_before(path: Path, moment: datetime) -> bool:
    from cryptography import x509

    return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc < moment


def _self_signed() -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Acme Co"),
            x509.NameAttribute(NameOID.COMMON_NAME, DEFAULT_NAME),
        ]
    )
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=365))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("ingress.local")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    return certificate.public_bytes(pem) + key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )

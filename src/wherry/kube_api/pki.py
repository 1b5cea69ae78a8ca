"""The cluster's own certificate authority, the certificates it gives, and kubeconfig files.

All keys are ECDSA P-256. Files in `<root>/pki` (mode 0600 for keys): `ca.crt`/`ca.key` signs everything,
`apiserver.*` serves the API, `apiserver-kubelet-client.*` is how the API server shows itself to nodes, `sa.key`
signs service account tokens, `encryption.key` encrypts secrets at rest, `node-NAME.*` is a node's client and
`node-NAME-serving.*` its server certificate. Certificates near their end are renewed at start.
"""

import base64
import datetime
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

CA_DAYS, LEAF_DAYS, RENEW_DAYS = 3650, 365, 60


@dataclass(frozen=True)
class KeyPair:
    """A certificate and its key, as PEM files."""

    cert: Path
    key: Path

    def load(self) -> tuple[bytes, bytes]:
        return self.cert.read_bytes(), self.key.read_bytes()


@dataclass(frozen=True)
class Pki:
    """Where the files are, and how to get more certificates."""

    directory: Path

    @property
    def ca(self) -> KeyPair:
        return KeyPair(self.directory / "ca.crt", self.directory / "ca.key")

    @property
    def serving(self) -> KeyPair:
        return self._pair("apiserver")

    @property
    def kubelet_client(self) -> KeyPair:
        return self._pair("apiserver-kubelet-client")

    @property
    def account_key(self) -> Path:
        return self.directory / "sa.key"

    @property
    def encryption_key(self) -> Path:
        return self.directory / "encryption.key"

    def _pair(self, name: str) -> KeyPair:
        return KeyPair(self.directory / f"{name}.crt", self.directory / f"{name}.key")

    def client(self, file: str, user: str, groups: Sequence[str] = ()) -> KeyPair:
        """A client certificate for `user` in `groups`, made or renewed when needed."""
        return self._ensure(file, user, groups, names=(), server=False)

    def node_client(self, node: str) -> KeyPair:
        """What a node shows to the API server: system:node:NAME in system:nodes."""
        return self.client(f"node-{node}", f"system:node:{node}", ("system:nodes",))

    def node_serving(self, node: str, names: Sequence[str]) -> KeyPair:
        """What a node's own HTTPS server shows; `names` are its host names and addresses."""
        return self._ensure(f"node-{node}-serving", f"system:node:{node}", ("system:nodes",), names=names, server=True)

    def server(self, file: str, name: str, names: Sequence[str]) -> KeyPair:
        """A server certificate for `names`, made anew when they change."""
        return self._ensure(file, name, (), names=names, server=True)

    def _ensure(self, file: str, name: str, groups: Sequence[str], *, names: Sequence[str], server: bool) -> KeyPair:
        pair = self._pair(file)
        if not _still_good(pair, self.ca, names):
            _issue(pair, self.ca, name, groups, names, server=server)
        return pair


def ensure_pki(directory: Path, names: Sequence[str]) -> Pki:
    """The PKI in `directory`, made where it is missing. `names` are the API server's host names and addresses."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    pki = Pki(directory)
    if not (pki.ca.cert.exists() and pki.ca.key.exists()):
        _make_ca(pki.ca)
    pki.server("apiserver", "kube-apiserver", names)
    pki.client("apiserver-kubelet-client", "kube-apiserver-kubelet-client", ("system:masters",))
    if not pki.account_key.exists():
        _write(pki.account_key, _pem(_new_key()), 0o600)
    if not pki.encryption_key.exists():
        _write(pki.encryption_key, base64.b64encode(os.urandom(32)) + b"\n", 0o600)
    return pki


def kubeconfig(server: str, ca: bytes, *, user: str, pair: KeyPair | None = None, token: str = "") -> str:
    """A kubeconfig file (YAML that is also JSON) with everything embedded."""
    import orjson

    credentials: dict[str, str] = {}
    if pair is not None:
        cert, key = pair.load()
        credentials["client-certificate-data"] = base64.b64encode(cert).decode()
        credentials["client-key-data"] = base64.b64encode(key).decode()
    if token:
        credentials["token"] = token
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "wherry",
        "clusters": [
            {
                "name": "wherry",
                "cluster": {"server": server, "certificate-authority-data": base64.b64encode(ca).decode()},
            }
        ],
        "users": [{"name": user, "user": credentials}],
        "contexts": [{"name": "wherry", "context": {"cluster": "wherry", "user": user}}],
        "preferences": {},
    }
    return orjson.dumps(config, option=orjson.OPT_INDENT_2).decode() + "\n"


def write_kubeconfig(path: Path, text: str) -> None:
    """Write it for its owner only, in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        _write(path, text.encode(), 0o600)


# The x509 parts of `cryptography` are imported where they are used: a start with all files in place needs only
# to look at the certificates' ends.


def _new_key() -> "ec.EllipticCurvePrivateKey":
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def _pem(key: "ec.EllipticCurvePrivateKey") -> bytes:
    from cryptography.hazmat.primitives import serialization

    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, data: bytes, mode: int) -> None:
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        os.fchmod(descriptor, mode)
        os.write(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.rename(temporary, path)


def _still_good(pair: KeyPair, ca: KeyPair, names: Sequence[str]) -> bool:
    if not (pair.cert.exists() and pair.key.exists()):
        return False
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    cert = x509.load_pem_x509_certificate(pair.cert.read_bytes())
    now = datetime.datetime.now(datetime.UTC)
    if cert.not_valid_after_utc - now < datetime.timedelta(days=RENEW_DAYS):
        return False
    issuer = x509.load_pem_x509_certificate(ca.cert.read_bytes())
    try:
        cert.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    if not names:
        return True
    try:
        found = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    present = {str(name.value) for name in found}
    return set(names) <= present


def _make_ca(pair: KeyPair) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import NameOID

    key = _new_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "wherry-ca")])
    now = datetime.datetime.now(datetime.UTC)
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_usage(ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write(pair.key, _pem(key), 0o600)
    _write(pair.cert, cert.public_bytes(_pem_encoding()), 0o644)


def _pem_encoding() -> "serialization.Encoding":
    from cryptography.hazmat.primitives import serialization

    return serialization.Encoding.PEM


def _usage(*, ca: bool) -> "x509.KeyUsage":
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not ca,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _issue(pair: KeyPair, ca: KeyPair, name: str, groups: Sequence[str], names: Sequence[str], *, server: bool) -> None:
    key = _new_key()
    cert = sign(ca, key.public_key(), name, groups, names, client=True, server=server, days=LEAF_DAYS)
    _write(pair.key, _pem(key), 0o600)
    _write(pair.cert, cert, 0o644)


def sign(
    ca: KeyPair,
    public_key: object,
    name: str,
    groups: Sequence[str],
    names: Sequence[str],
    *,
    client: bool,
    server: bool,
    days: float,
) -> bytes:
    """A certificate (PEM) for a public key, signed by `ca`: common name `name`, organisations `groups`."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    ca_cert = x509.load_pem_x509_certificate(ca.cert.read_bytes())
    ca_key = serialization.load_pem_private_key(ca.key.read_bytes(), password=None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    subject.append(x509.NameAttribute(NameOID.COMMON_NAME, name))
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH] if client else []
    if server:
        usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(subject))
        .issuer_name(ca_cert.subject)
        .public_key(public_key)  # type: ignore[arg-type]
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(min(now + datetime.timedelta(days=days), ca_cert.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()),
            critical=False,
        )
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(one) for one in names]), False)
    return builder.sign(ca_key, hashes.SHA256()).public_bytes(_pem_encoding())


def sign_request(
    ca: KeyPair,
    request: bytes,
    name: str,
    groups: Sequence[str],
    names: Sequence[str],
    *,
    client: bool,
    server: bool,
    days: float,
) -> bytes:
    """A certificate (PEM) for the key of a PKCS#10 request (PEM). Raises ValueError."""
    from cryptography import x509

    key = x509.load_pem_x509_csr(request).public_key()
    return sign(ca, key, name, groups, names, client=client, server=server, days=days)


def _general_name(name: str) -> "x509.GeneralName":
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)

"""Where the API listens: stale sockets, other daemons, modes, TCP."""

import asyncio
import contextlib
import socket
import ssl
import stat
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from wherry.docker_api import ApiServer, ServeError, TcpAddress, TlsFiles, serve

from .fake_engine import FakeEngine

if TYPE_CHECKING:
    from wherry.engine.engine import Engine


async def test_the_socket_is_closed_to_others_and_goes_away(engine: FakeEngine, tmp_path: Path) -> None:
    path = tmp_path / "run" / "d.sock"
    api = await serve(cast("Engine", engine), path)
    assert stat.S_IMODE(path.lstat().st_mode) == 0o660
    assert api.addresses == [f"unix://{path}"]
    await api.close()
    assert not path.exists()


async def test_a_stale_socket_is_replaced(engine: FakeEngine, tmp_path: Path) -> None:
    path = tmp_path / "d.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    api = await serve(cast("Engine", engine), path)
    await api.close()


async def test_a_living_daemon_is_left_alone(engine: FakeEngine, server: ApiServer, tmp_path: Path) -> None:
    with pytest.raises(ServeError, match="another daemon is already listening"):
        await serve(cast("Engine", engine), tmp_path / "d.sock")
    assert (tmp_path / "d.sock").exists()


async def test_what_is_no_socket_is_left_alone(engine: FakeEngine, tmp_path: Path) -> None:
    (tmp_path / "d.sock").write_text("precious")
    with pytest.raises(ServeError, match="is not a socket"):
        await serve(cast("Engine", engine), tmp_path / "d.sock")
    assert (tmp_path / "d.sock").read_text() == "precious"


async def test_a_path_that_no_socket_can_have(engine: FakeEngine, tmp_path: Path) -> None:
    with pytest.raises(ServeError, match="longer than 107 bytes"):
        await serve(cast("Engine", engine), tmp_path / ("x" * 120))


async def test_plain_tcp_is_for_loopback_only(engine: FakeEngine, tmp_path: Path) -> None:
    with pytest.raises(ServeError, match=r"without TLS on 0.0.0.0:2375"):
        await serve(cast("Engine", engine), tmp_path / "d.sock", tcp=[TcpAddress("0.0.0.0", 2375)])
    assert not (tmp_path / "d.sock").exists()


async def test_tcp_on_loopback(engine: FakeEngine, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    api = await serve(cast("Engine", engine), tmp_path / "d.sock", tcp=[TcpAddress("127.0.0.1", port)])
    assert api.addresses[1] == f"tcp://127.0.0.1:{port}"
    with socket.create_connection(("127.0.0.1", port)):
        pass
    await api.close()


def _certificate(
    name: str, signer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None, directory: Path
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """A certificate for 127.0.0.1 signed by `signer` (itself: a CA), written as NAME.pem and NAME.key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer[0].subject if signer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
    )
    certificate = builder.sign(signer[1] if signer else key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    (directory / f"{name}.pem").write_bytes(certificate.public_bytes(pem))
    (directory / f"{name}.key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate, key


async def test_tcp_with_tls_asks_for_a_certificate_of_the_ca(engine: FakeEngine, tmp_path: Path) -> None:
    ca = _certificate("ca", None, tmp_path)
    stranger = _certificate("other-ca", None, tmp_path)
    for name, signer in (("server", ca), ("client", ca), ("stranger", stranger)):
        _certificate(name, signer, tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    files = TlsFiles(tmp_path / "ca.pem", tmp_path / "server.pem", tmp_path / "server.key")
    api = await serve(cast("Engine", engine), tmp_path / "d.sock", tcp=[TcpAddress("127.0.0.1", port, tls=files)])

    async def ping(name: str | None) -> bytes:
        context = ssl.create_default_context(cafile=tmp_path / "ca.pem")
        if name:
            context.load_cert_chain(tmp_path / f"{name}.pem", tmp_path / f"{name}.key")
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        try:
            writer.write(b"GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n")
            return await reader.read()
        finally:
            writer.close()

    assert (await ping("client")).endswith(b"OK")
    for name in ("stranger", None):
        # With TLS 1.3 the refusal comes after the client's side of the handshake: as an error or as the end.
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            assert await ping(name) == b""
    await api.close()


async def test_tls_files_that_cannot_be_used(engine: FakeEngine, tmp_path: Path) -> None:
    files = TlsFiles(tmp_path / "ca.pem", tmp_path / "server.pem", tmp_path / "server.key")
    with pytest.raises(ServeError, match="cannot use the TLS files"):
        await serve(cast("Engine", engine), tmp_path / "d.sock", tcp=[TcpAddress("127.0.0.1", 1, tls=files)])
    assert not (tmp_path / "d.sock").exists()

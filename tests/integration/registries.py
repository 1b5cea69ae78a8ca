"""Real registries for tests (Debian's docker-registry), and a proxy in front of one that misbehaves on demand."""

import asyncio
import base64
import datetime
import ipaddress
import json
import shutil
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import jwt
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PROGRAM = shutil.which("docker-registry")
USER, PASSWORD = "alice", "wonder: land"
BCRYPT = "$2b$05$1kOapGy0Ru71kPFcJuLxx.Thxq75rQ.ASE7t24qq9QJo3kc/0s6ye"
"""Of PASSWORD, for htpasswd."""
CREDENTIALS = {"username": USER, "password": PASSWORD}


@dataclass
class Registry:
    """A running registry. `address` is host:port, `url` its base, `authority` the certificate that signs its own."""

    address: str
    url: str
    storage: Path
    authority: Path | None = None


@dataclass(frozen=True)
class Certificate:
    """PEM files of a self-signed certificate."""

    certificate: Path
    key: Path


def make_certificate(directory: Path, host: str) -> Certificate:
    """For `host` (a name or an address), signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"test {host}")])
    now = datetime.datetime.now(datetime.UTC)
    try:
        alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        alternative = x509.DNSName(host)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    directory.mkdir(parents=True, exist_ok=True)
    files = Certificate(directory / "cert.pem", directory / "key.pem")
    files.certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )
    return files


def free_port(host: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def registry(
    directory: Path, *, auth: str = "none", tls: bool = False, host: str = "127.0.0.1"
) -> AsyncIterator[Registry]:
    """Run docker-registry until the block ends. `auth` is `none`, `basic` (htpasswd) or `token`."""
    assert PROGRAM is not None
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port(host)
    scheme = "https" if tls else "http"
    result = Registry(f"{host}:{port}", f"{scheme}://{host}:{port}", directory / "storage")
    config: dict[str, Any] = {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(result.storage)}, "delete": {"enabled": True}},
        "http": {"addr": result.address, "secret": "test"},
    }
    if tls:
        files = make_certificate(directory / "tls", host)
        config["http"]["tls"] = {"certificate": str(files.certificate), "key": str(files.key)}
        result.authority = files.certificate
    tokens: web.AppRunner | None = None
    if auth == "basic":
        (directory / "htpasswd").write_text(f"{USER}:{BCRYPT}\n")
        config["auth"] = {"htpasswd": {"realm": "test", "path": str(directory / "htpasswd")}}
    elif auth == "token":
        signer = make_certificate(directory / "signer", "signer")
        token_port = free_port()
        tokens = await _token_server(signer, token_port)
        config["auth"] = {
            "token": {
                "realm": f"http://127.0.0.1:{token_port}/token", "service": "test registry", "issuer": "test issuer",
                "rootcertbundle": str(signer.certificate),
            }
        }  # fmt: skip
    path = directory / "config.json"  # JSON is YAML
    path.write_text(json.dumps(config))
    with open(directory / "log", "wb") as log:  # noqa: ASYNC230 - an empty file
        process = await asyncio.create_subprocess_exec(PROGRAM, "serve", str(path), stdout=log, stderr=log)
    try:
        await _answers(result, process, directory / "log")
        yield result
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        if tokens is not None:
            await tokens.cleanup()


async def _answers(running: Registry, process: asyncio.subprocess.Process, log: Path) -> None:
    host, _, port = running.address.rpartition(":")
    deadline = time.monotonic() + 20
    while True:
        try:
            _, writer = await asyncio.open_connection(host, int(port))
        except OSError:
            assert process.returncode is None and time.monotonic() < deadline, log.read_text()
            await asyncio.sleep(0.02)
            continue
        writer.close()
        return


async def _token_server(signer: Certificate, port: int) -> web.AppRunner:
    """Docker's token protocol: anybody may pull from `public/…`, USER may do everything."""
    chain = [base64.b64encode(ssl.PEM_cert_to_DER_cert(signer.certificate.read_text())).decode()]

    async def token(request: web.Request) -> web.Response:
        given = request.headers.get("Authorization")
        known = given == "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if given is not None and not known:
            return web.json_response({"details": "incorrect username or password"}, status=401)
        access = []
        for scope in request.query.getall("scope", []):
            kind, name, actions = scope.split(":")
            granted = (
                actions.split(",") if known else [a for a in actions.split(",") if a == "pull" and "public" in name]
            )
            access.append({"type": kind, "name": name, "actions": granted})
        now = int(time.time())
        claims = {
            "iss": "test issuer", "sub": USER if known else "", "aud": request.query.get("service"), "access": access,
            "iat": now, "nbf": now - 10, "exp": now + 300, "jti": "1",
        }  # fmt: skip
        signed = jwt.encode(claims, signer.key.read_text(), algorithm="ES256", headers={"x5c": chain})
        return web.json_response({"token": signed, "expires_in": 300})

    app = web.Application()
    app.router.add_get("/token", token)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    return runner


@dataclass
class Fault:
    """What to do with requests whose path contains `path`: answer `status` and `body`, or cut after `cut` bytes."""

    path: str
    status: int = 0
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int = -1
    times: int = 1_000_000
    change: Callable[[bytes], bytes] | None = None
    method: str = "GET"


@dataclass
class Proxy:
    """A registry behind a proxy that can fail. `requests` are (method, path, range header) as they came."""

    address: str
    faults: list[Fault] = field(default_factory=list)
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    """Notified at every request."""


@asynccontextmanager
async def proxy(behind: Registry) -> AsyncIterator[Proxy]:
    """In front of a plain registry."""
    port = free_port()
    result = Proxy(f"127.0.0.1:{port}")
    async with aiohttp.ClientSession(auto_decompress=False) as session:

        async def handle(request: web.Request) -> web.StreamResponse:
            async with result.changed:
                result.requests.append((request.method, request.path, request.headers.get("Range", "")))
                result.changed.notify_all()
            fault = next(
                (f for f in result.faults if f.path in request.path and f.times > 0 and f.method == request.method),
                None,
            )
            if fault is not None:
                fault.times -= 1
                if fault.status:
                    return web.Response(status=fault.status, body=fault.body, headers=fault.headers)
            headers = {k: v for k, v in request.headers.items() if k.lower() in ("accept", "range", "content-type")}
            body = await request.read()
            async with session.request(
                request.method, behind.url + request.path_qs, headers=headers, data=body, allow_redirects=False
            ) as answer:
                kept = {
                    k: v for k, v in answer.headers.items()
                    if k.lower() not in ("transfer-encoding", "connection", "content-encoding")
                }  # fmt: skip
                if "Location" in kept:
                    kept["Location"] = kept["Location"].replace(behind.address, result.address)
                if fault is not None and fault.change is not None:
                    data = fault.change(await answer.read())
                    kept.pop("Content-Length", None)
                    return web.Response(status=answer.status, body=data, headers=kept)
                response = web.StreamResponse(status=answer.status, headers=kept)
                await response.prepare(request)
                sent = 0
                async for chunk in answer.content.iter_chunked(1 << 14):
                    if fault is not None and 0 <= fault.cut < sent + len(chunk):
                        await response.write(chunk[: fault.cut - sent])
                        assert request.transport is not None
                        request.transport.close()
                        return response
                    await response.write(chunk)
                    sent += len(chunk)
                await response.write_eof()
                return response

        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        try:
            yield result
        finally:
            await runner.cleanup()

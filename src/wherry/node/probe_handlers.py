"""One probe of one container: HTTP, TCP, gRPC or exec, with the result words of a real kubelet.

Specified in https://kubernetes.io/docs/tasks/configure-pod-container/configure-liveness-readiness-startup-probes/.
HTTP and gRPC are spoken on plain streams here: a probe needs one request, and a node runs hundreds of them.
"""

import asyncio
import contextlib
import os
import ssl
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

from wherry.schema.resource import Object

USER_AGENT = "kube-probe/1.32"
MAX_BODY = 10 * 1024
MAX_REDIRECTS = 10

Exec = Callable[[list[str], float], Awaitable[tuple[int, bytes]]]
"""`exec(command, timeout)` in the container → (exit code, output). Raises TimeoutError."""


@dataclass(frozen=True)
class Result:
    """`ok` is None when the probe itself could not be made (it then counts as neither)."""

    ok: bool | None
    output: str = ""


async def probe(spec: Object, container: Object, host: str, run: Exec) -> Result:
    """Carry out `spec` (a Probe or a lifecycle handler) once, against `host` where it names none itself."""
    timeout = float(spec.get("timeoutSeconds") or 1)
    try:
        if "exec" in spec:
            return await _exec(spec["exec"].get("command") or [], timeout, run)
        if "httpGet" in spec:
            return await asyncio.wait_for(_http(spec["httpGet"], container, host), timeout)
        if "tcpSocket" in spec:
            return await _tcp(spec["tcpSocket"], container, host, timeout)
        if "grpc" in spec:
            return await _grpc(spec["grpc"], host, timeout)
    except TimeoutError:
        url = _url(spec["httpGet"], container, host)
        why = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        return Result(False, f'Get "{url}": {why}')
    except ValueError as error:
        return Result(None, str(error))
    return Result(None, "missing probe handler")


def port_number(port: Any, container: Object) -> int:
    """The port of a handler: a number or the name of one of the container's ports. Raises ValueError."""
    if isinstance(port, int):
        number = port
    elif str(port).isdigit():
        number = int(port)
    else:
        named = [entry for entry in container.get("ports") or [] if entry.get("name") == port]
        if not named:
            raise ValueError(f"couldn't find port: {port!s}")
        number = int(named[0]["containerPort"])
    if not 0 < number < 65536:
        raise ValueError(f"invalid port number: {number}")
    return number


async def _exec(command: list[str], timeout: float, run: Exec) -> Result:
    try:
        code, output = await run(command, timeout)
    except TimeoutError:
        return Result(False, f'command timed out: "{" ".join(command)}" timed out after {timeout:g}s')
    text = output[:MAX_BODY].decode("utf-8", "replace")
    return Result(code == 0, text)


def dial_error(error: OSError, host: str, port: int) -> str:
    """`dial tcp 10.0.0.1:80: connect: connection refused`."""
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    reason = (os.strerror(error.errno) if error.errno else str(error)).lower()
    return f"dial tcp {shown}: connect: {reason}"


async def _tcp(action: dict[str, Any], container: Object, host: str, timeout: float) -> Result:
    target = action.get("host") or host
    port = port_number(action.get("port"), container)
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(target, port), timeout)
    except TimeoutError:
        shown = f"[{target}]:{port}" if ":" in target else f"{target}:{port}"
        return Result(False, f"dial tcp {shown}: i/o timeout")
    except OSError as error:
        return Result(False, dial_error(error, target, port))
    writer.transport.abort()
    return Result(True)


def _url(action: dict[str, Any], container: Object, host: str) -> str:
    scheme = (action.get("scheme") or "HTTP").lower()
    target = action.get("host") or host
    shown = f"[{target}]" if ":" in target else target
    path = action.get("path") or "/"
    return (
        f"{scheme}://{shown}:{port_number(action.get('port'), container)}{path if path.startswith('/') else '/' + path}"
    )


async def _http(action: dict[str, Any], container: Object, host: str) -> Result:
    url = _url(action, container, host)
    given = {str(entry["name"]): str(entry.get("value", "")) for entry in action.get("httpHeaders") or []}
    first = urlsplit(url)
    for _ in range(MAX_REDIRECTS):
        try:
            code, headers, body = await _get(url, given)
        except ssl.SSLError as error:
            return Result(False, f'Get "{url}": {error.reason or error}')
        except OSError as error:
            at = urlsplit(url)
            return Result(False, f'Get "{url}": {dial_error(error, at.hostname or "", at.port or 0)}')
        except (asyncio.IncompleteReadError, ValueError):
            return Result(False, f'Get "{url}": EOF')
        if 300 <= code < 400 and headers.get("location"):
            url = urljoin(url, headers["location"])
            if urlsplit(url).hostname == first.hostname:
                continue
            # A redirect elsewhere counts as success, and is not followed.
            return Result(True, f"Probe terminated redirects, Response body: {body}")
        if 200 <= code < 400:
            return Result(True, body)
        return Result(False, f"HTTP probe failed with statuscode: {code}")
    return Result(False, f'Get "{url}": stopped after {MAX_REDIRECTS} redirects')


async def _get(url: str, headers: dict[str, str]) -> tuple[int, dict[str, str], str]:
    parts = urlsplit(url)
    context = None
    if parts.scheme == "https":
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    port = parts.port or (443 if context else 80)
    reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=context)
    try:
        sent = {"Host": parts.netloc, "User-Agent": USER_AGENT, "Accept": "*/*", "Connection": "close"}
        known = {name.lower() for name in headers}
        lines = [f"{name}: {value}" for name, value in sent.items() if name.lower() not in known]
        lines += [f"{name}: {value}" for name, value in headers.items() if value]
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        writer.write("\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode())
        status = (await reader.readline()).split(None, 2)
        if len(status) < 2 or not status[0].startswith(b"HTTP/"):
            raise ValueError("malformed HTTP response")
        received: dict[str, str] = {}
        while (line := (await reader.readline()).strip()) != b"":
            name, _, value = line.decode("latin-1").partition(":")
            received[name.strip().lower()] = value.strip()
        wanted = min(MAX_BODY, int(received.get("content-length") or MAX_BODY))
        body = await reader.read(wanted) if wanted else b""
        return int(status[1]), received, body.decode("utf-8", "replace")
    finally:
        writer.transport.abort()


_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_SERVING = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def _header(name: str, value: str) -> bytes:
    """One header as HPACK "literal without indexing, new name" (RFC 7541 §6.2.2), uncompressed."""

    def text(raw: bytes) -> bytes:
        if len(raw) < 127:
            return bytes((len(raw),)) + raw
        rest, prefix = len(raw) - 127, bytearray((127,))
        while rest >= 128:
            prefix.append(rest % 128 + 128)
            rest //= 128
        prefix.append(rest)
        return bytes(prefix) + raw

    return b"\x00" + text(name.encode()) + text(value.encode())


async def _grpc(action: dict[str, Any], host: str, timeout: float) -> Result:
    """The standard health check, grpc.health.v1.Health/Check, in cleartext."""
    port = port_number(action.get("port"), {})
    service = (action.get("service") or "").encode()
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        return await asyncio.wait_for(_grpc_check(host, port, authority, service), timeout)
    except TimeoutError:
        why = f'timeout: failed to connect service "{authority}" within {timeout:g}s: context deadline exceeded'
        return Result(False, why)
    except (OSError, asyncio.IncompleteReadError) as error:
        detail = dial_error(error, host, port) if isinstance(error, OSError) else "EOF"
        return Result(False, f'error: failed to connect service "{authority}": {detail}')


async def _grpc_check(host: str, port: int, authority: str, service: bytes) -> Result:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        message = b"\x0a" + bytes((len(service),)) + service if service else b""
        headers = b"".join(
            _header(name, value)
            for name, value in (
                (":method", "POST"), (":scheme", "http"), (":path", "/grpc.health.v1.Health/Check"),
                (":authority", authority), ("content-type", "application/grpc"), ("te", "trailers"),
                ("user-agent", USER_AGENT),
            )
        )  # fmt: skip
        writer.write(
            _PREFACE
            + _frame(_SETTINGS, 0, 0, b"")
            + _frame(_HEADERS, 0x4, 1, headers)
            + _frame(_DATA, 0x1, 1, b"\x00" + struct.pack(">I", len(message)) + message)
        )
        received = b""
        while True:
            head = await reader.readexactly(9)
            length = int.from_bytes(head[:3], "big")
            kind, flags = head[3], head[4]
            stream = int.from_bytes(head[5:9], "big") & 0x7FFFFFFF
            payload = await reader.readexactly(length)
            if kind == _SETTINGS and not flags & 1:
                writer.write(_frame(_SETTINGS, 1, 0, b""))
            elif kind == _PING and not flags & 1:
                writer.write(_frame(_PING, 1, 0, payload))
            elif kind == _GOAWAY:
                return Result(False, "error: health rpc failed: connection closed by the server")
            elif stream == 1 and kind == _DATA:
                received += payload
                if len(received) >= 5 and len(received) >= 5 + struct.unpack(">I", received[1:5])[0]:
                    return _grpc_verdict(received[5:])
            if stream == 1 and (kind == _RESET or (kind in (_DATA, _HEADERS) and flags & 0x1)):
                return Result(False, "error: this server does not implement the grpc health protocol "
                              "(grpc.health.v1.Health)")  # fmt: skip
    finally:
        with contextlib.suppress(RuntimeError):
            writer.transport.abort()


def _grpc_verdict(message: bytes) -> Result:
    status = message[1] if len(message) >= 2 and message[0] == 0x08 else 0
    if status == 1:
        return Result(True)
    return Result(False, f'service unhealthy (responded with "{_SERVING.get(status, status)}")')

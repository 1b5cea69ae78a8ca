"""A small synchronous HTTP/1.1 client of the API server: one connection, kept open between requests.

Sockets and `ssl` only: http.client, with the e-mail parser that it brings, costs as much as the rest of a command.
Errors are ServerError (an answer of 400 and above) and CannotConnect.
"""

import json
import os
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from typing import Any

from wherry.cli.kubectl.errors import CannotConnect, KubectlError, ServerError
from wherry.cli.kubectl.kubeconfig import Access, Config

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
TABLE = (
    "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"
)

_REASONS = {
    400: ("BadRequest", "the server rejected our request for an unknown reason"),
    401: ("Unauthorized", "the server has asked for the client to provide credentials"),
    403: ("Forbidden", "the server does not allow access to the requested resource"),
    404: ("NotFound", "the server could not find the requested resource"),
    405: ("MethodNotAllowed", "the server does not allow this method on the requested resource"),
    406: ("NotAcceptable", "the server was unable to respond with a content type that the client supports"),
    409: ("Conflict", "the server reported a conflict"),
    415: ("UnsupportedMediaType", "the body of the request was in an unknown format"),
    429: ("TooManyRequests", "the server has received too many requests and has asked us to try again later"),
    503: ("ServiceUnavailable", "the server is currently unable to handle the request"),
    504: ("Timeout", "the server was unable to return a response in the time allotted"),
}


_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def quote(text: str) -> str:
    """Percent-encoded, for a query or one part of a path. urllib.parse would cost two milliseconds of each start."""
    return "".join(c if c in _UNRESERVED else "".join(f"%{byte:02X}" for byte in c.encode()) for c in text)


def encode(query: dict[str, Any]) -> str:
    """A query string; a list gives its name several times."""
    pairs = [(key, value) for key, found in query.items() for value in (found if isinstance(found, list) else [found])]
    return "&".join(f"{quote(key)}={quote(str(value))}" for key, value in pairs)


def split_url(url: str) -> tuple[bool, str, int, str]:
    """Whether it is https, the host, the port and the path in front of the API's. Raises KubectlError."""
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    authority = authority.rpartition("@")[2]
    if authority.startswith("["):
        host, _, port = authority[1:].partition("]")
        port = port.lstrip(":")
    else:
        host, _, port = authority.partition(":")
    if port and not port.isdigit():
        raise KubectlError(f'parse "{url}": invalid port ":{port}" after host')
    secure = scheme == "https"
    return secure, host or "localhost", int(port) if port else 443 if secure else 80, slash + path


class Wire:
    """A connection with a read buffer."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.buffer = b""
        self.used = False

    def some(self) -> bytes:
        """What has arrived, at least a byte; empty at the end of the stream."""
        if self.buffer:
            data, self.buffer = self.buffer, b""
            return data
        try:
            return self.socket.recv(65536)
        except ssl.SSLEOFError:
            return b""

    def line(self) -> bytes:
        while b"\n" not in self.buffer:
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError("EOF")
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line.rstrip(b"\r")

    def exactly(self, count: int) -> bytes:
        parts: list[bytes] = []
        while count:
            data = self.some()
            if not data:
                raise ConnectionError("unexpected EOF")
            if len(data) > count:
                self.buffer = data[count:]
                data = data[:count]
            parts.append(data)
            count -= len(data)
        return b"".join(parts)


class Response:
    """An answer; its body is read as it is needed."""

    def __init__(self, wire: Wire, method: str) -> None:
        self.wire = wire
        status = wire.line().split(b" ", 2)
        self.status = int(status[1])
        self.headers: dict[str, str] = {}
        self.warnings: list[str] = []
        while header := wire.line():
            name, _, value = header.decode("latin-1").partition(":")
            name, value = name.strip().lower(), value.strip()
            self.headers[name] = value
            if name == "warning":
                self.warnings.append(_warning(value))
        self._bodiless = method == "HEAD" or self.status in (101, 204, 304)

    def chunks(self) -> Iterator[bytes]:
        """The body as it arrives."""
        if self._bodiless:
            return
        wire = self.wire
        if "chunked" in self.headers.get("transfer-encoding", ""):
            while size := int(wire.line().split(b";")[0], 16):
                yield wire.exactly(size)
                wire.line()
            while wire.line():
                pass
            return
        length = self.headers.get("content-length")
        if length is not None:
            rest = int(length)
            while rest:
                data = wire.some()
                if not data:
                    raise ConnectionError("unexpected EOF")
                if len(data) > rest:
                    wire.buffer = data[rest:]
                    data = data[:rest]
                rest -= len(data)
                yield data
            return
        while data := wire.some():
            yield data

    def read(self) -> bytes:
        return b"".join(self.chunks())

    def lines(self) -> Iterator[bytes]:
        """The body line by line, without line ends."""
        rest = b""
        for chunk in self.chunks():
            rest += chunk
            *whole, rest = rest.split(b"\n")
            yield from whole
        if rest:
            yield rest


def _warning(header: str) -> str:
    """The text of `299 - "text"`."""
    parts = header.split(" ", 2)
    text = parts[2] if len(parts) == 3 else header
    if text.startswith('"'):
        end = text.rfind('"')
        text = text[1:end].replace('\\"', '"').replace("\\\\", "\\")
    return text


class HTTP:
    """Requests to one API server."""

    def __init__(self, access: Access, *, timeout: float | None = None, verbosity: int = 0) -> None:
        self.access = access
        self.secure, self.host, self.port, self.prefix = split_url(access.server)
        self.timeout = timeout
        self.verbosity = verbosity
        self.warned: set[str] = set()
        self.headers = _identity(access)
        self._idle: Wire | None = None
        self._tls: ssl.SSLContext | None = None

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def connect(self) -> Wire:
        """A new connection. Raises CannotConnect with what kubectl says."""
        try:
            # As bytes: a host in text is put through IDNA, whose tables cost more than the connection.
            host: Any = self.host.encode() if self.host.isascii() else self.host
            connection = socket.create_connection((host, self.port), timeout=self.timeout or 30)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(self.timeout)
        except ConnectionRefusedError as error:
            raise CannotConnect(
                f"The connection to the server {self._named()} was refused - did you specify the right host or port?"
            ) from error
        except TimeoutError as error:
            raise CannotConnect(f"Unable to connect to the server: dial tcp {self.authority}: i/o timeout") from error
        except socket.gaierror as error:
            raise CannotConnect(
                f"Unable to connect to the server: dial tcp: lookup {self.host}: no such host"
            ) from error
        except OSError as error:
            raise CannotConnect(
                f"Unable to connect to the server: dial tcp {self.authority}: connect: "
                f"{(error.strerror or str(error)).lower()}"
            ) from error
        if not self.secure:
            return Wire(connection)
        if self._tls is None:
            self._tls = _tls(self.access.cluster, self.access.user)
        name = self.access.cluster.get("tls-server-name") or self.host
        try:
            return Wire(self._tls.wrap_socket(connection, server_hostname=name))
        except ssl.SSLCertVerificationError as error:
            connection.close()
            why = "x509: certificate signed by unknown authority"
            if error.verify_code == 62 or error.verify_code == 64:
                why = f"x509: certificate is not valid for {name}"
            elif error.verify_code == 10:
                why = "x509: certificate has expired or is not yet valid"
            raise CannotConnect(f"Unable to connect to the server: tls: failed to verify certificate: {why}") from error
        except (ssl.SSLError, ConnectionError) as error:
            connection.close()
            raise CannotConnect(f"Unable to connect to the server: {error}") from error

    def _named(self) -> str:
        default = 443 if self.secure else 80
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == default and f":{self.port}" not in self.access.server else f"{host}:{self.port}"

    def send(
        self,
        method: str,
        path: str,
        query: Any = None,
        body: bytes | None = None,
        *,
        accept: str = JSON,
        content_type: str = JSON,
        headers: dict[str, str] | None = None,
        fresh: bool = False,
    ) -> Response:
        """Send a request and read the answer's head. Read its body before the next request, or use `fresh`."""
        target = self.prefix + path
        if query:
            text = encode(query)
            if text:
                target += ("&" if "?" in target else "?") + text
        fields = {"Host": self._named(), "User-Agent": "kubectl/v1.32.0 (wherry)", "Accept": accept, **self.headers}
        if body is not None:
            fields["Content-Type"] = content_type
            fields["Content-Length"] = str(len(body))
        fields.update(headers or {})
        head = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        data = head.encode("latin-1", "replace") + b"\r\n" + (body or b"")
        started = time.monotonic()
        response = self._exchange(data, method, fresh)
        if self.verbosity >= 6:
            spent = int((time.monotonic() - started) * 1000)
            print(f"{method} {self.access.server}{target} {response.status} in {spent} milliseconds", file=sys.stderr)
        if self.verbosity >= 8 and body:
            print(f"Request Body: {body.decode(errors='replace')}", file=sys.stderr)
        for warning in response.warnings:
            self.warn(warning)
        return response

    def warn(self, text: str) -> None:
        """Show a warning of the server, each once."""
        if text not in self.warned:
            self.warned.add(text)
            print(f"Warning: {text}", file=sys.stderr)

    def _exchange(self, data: bytes, method: str, fresh: bool) -> Response:
        wire = None if fresh else self._idle
        self._idle = self._idle if fresh else None
        for attempt in range(2):
            if wire is None:
                wire = self.connect()
            try:
                wire.socket.sendall(data)
                response = Response(wire, method)
            except TimeoutError as error:
                raise CannotConnect(
                    "Unable to connect to the server: net/http: request canceled "
                    "(Client.Timeout exceeded while awaiting headers)"
                ) from error
            except (ConnectionError, ssl.SSLError) as error:
                reused, wire = wire.used, None
                if attempt or not reused:
                    raise CannotConnect(f"Unable to connect to the server: {error}") from error
                continue
            wire.used = True
            if not fresh and "close" not in response.headers.get("connection", "").lower():
                self._idle = wire
            return response
        raise AssertionError("unreachable")

    def request(self, method: str, path: str, query: Any = None, body: Any = None, **options: Any) -> Any:
        """Send JSON (or bytes), receive JSON. Raises ServerError."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body, sort_keys=True).encode()
        response = self.send(method, path, query, data, **options)
        text = response.read()
        if self.verbosity >= 8:
            print(f"Response Body: {text.decode(errors='replace')}", file=sys.stderr)
        check(response.status, text)
        return json.loads(text) if text else None

    def get(self, path: str, query: Any = None, **options: Any) -> Any:
        return self.request("GET", path, query, **options)

    def text(self, path: str, query: Any = None, **options: Any) -> bytes:
        """GET a body that is not JSON."""
        response = self.send("GET", path, query, accept="*/*", **options)
        data = response.read()
        check(response.status, data)
        return data

    def stream(self, path: str, query: Any = None, *, accept: str = JSON) -> Response:
        """GET a body that lasts: watches and followed logs, on a connection of its own."""
        response = self.send("GET", path, query, accept=accept, fresh=True)
        if response.status >= 400:
            check(response.status, response.read())
        return response


def check(status: int, text: bytes) -> None:
    """Raise ServerError for an answer of 400 and above."""
    if status < 400:
        return
    try:
        body = json.loads(text)
    except ValueError:
        body = None
    if not isinstance(body, dict) or body.get("kind") != "Status":
        reason, message = _REASONS.get(status, ("InternalError" if status == 500 else "", ""))
        said = text.decode(errors="replace").strip()
        if status == 500 and said:
            message = f"an error on the server ({json.dumps(said)}) has prevented the request from succeeding"
        body = {"reason": reason, "message": message or said, "code": status}
    raise ServerError(status, body)


def _identity(access: Access) -> dict[str, str]:
    user = access.user
    headers: dict[str, str] = {}
    for unsupported in ("exec", "auth-provider"):
        if user.get(unsupported):
            raise KubectlError(f"authentication by {unsupported} in the kubeconfig is not supported; use a token")
    token = user.get("token") or ""
    if user.get("tokenFile"):
        try:
            with open(user["tokenFile"]) as file:
                token = file.read().strip()
        except OSError as error:
            raise KubectlError(f"open {user['tokenFile']}: {(error.strerror or '').lower()}") from error
    if token:
        headers["Authorization"] = f"Bearer {token}"
    elif user.get("username"):
        import base64

        pair = f"{user['username']}:{user.get('password', '')}".encode()
        headers["Authorization"] = "Basic " + base64.b64encode(pair).decode()
    if user.get("as"):
        headers["Impersonate-User"] = str(user["as"])
    if user.get("as-uid"):
        headers["Impersonate-Uid"] = str(user["as-uid"])
    groups = user.get("as-groups") or []
    if groups:
        headers["Impersonate-Group"] = "\r\nImpersonate-Group: ".join(str(group) for group in groups)
    return headers


def _content(section: Config, name: str, noun: str) -> bytes:
    data = section.get(f"{name}-data")
    if data:
        import base64

        return base64.b64decode(str(data))
    path = section.get(name)
    if not path:
        return b""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise KubectlError(
            f"unable to read {noun} {path} due to open {path}: {(error.strerror or '').lower()}"
        ) from error


def _tls(cluster: Config, user: Config) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif authority := _content(cluster, "certificate-authority", "certificate-authority"):
        context.load_verify_locations(cadata=authority.decode())
    else:
        context.load_default_certs()
    certificate = _content(user, "client-certificate", "client-cert")
    key = _content(user, "client-key", "client-key")
    if certificate and key:
        # The ssl module reads certificates from files only: this one lives in memory.
        descriptor = os.memfd_create("kubectl")
        try:
            os.write(descriptor, certificate + b"\n" + key)
            context.load_cert_chain(f"/proc/self/fd/{descriptor}")
        except ssl.SSLError as error:
            raise KubectlError(f"tls: failed to find any PEM data in certificate input: {error}") from error
        finally:
            os.close(descriptor)
    return context

"""A small client of the Docker Engine API: for the `docker` and `docker-compose` commands, not for the daemon.

Synchronous, and with few imports (no http.client; ssl, socket, json and urllib only when asked for): a command's
cost is its imports, see docs/decisions/command-line-start.md. It speaks HTTP/1.1 as the daemon does: fixed and
chunked bodies, streams that end with the connection, and connections taken over (`hijack`) by attach and exec.
"""

from __future__ import annotations

# The C part of the socket module: its socket objects have all that is needed here.
import _socket
import os

from wherry.docker_api.lean_json import dumps, loads, scan

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from socket import socket as Socket
    from typing import Any

API_VERSION = "1.50"
"""The newest version of the API that is spoken; an older daemon is spoken to in its own."""

FRAMES_ARE_TOLD = (1, 42)
"""Since this version the content type of a stream says whether it is multiplexed."""

_TOO_NEW = "is too new. Maximum supported API version is "

DEFAULT_HOST = "unix:///var/run/docker.sock"


class DockerError(Exception):
    """An answer of 400 and above: `status` is HTTP's, `str()` the daemon's message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class CannotConnect(Exception):
    """Nobody answers at the daemon's address; `str()` is what Docker's own client says."""


class Reader:
    """Bytes of one connection, buffered."""

    def __init__(self, connection: Socket) -> None:
        self.connection = connection
        self.buffer = b""

    def some(self) -> bytes:
        """What has arrived, at least one byte; empty at the end."""
        if self.buffer:
            data, self.buffer = self.buffer, b""
            return data
        return self.connection.recv(65536)

    def line(self) -> bytes:
        while b"\n" not in self.buffer:
            data = self.connection.recv(65536)
            if not data:
                raise ConnectionError("the daemon closed the connection in the middle of an answer")
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line.rstrip(b"\r")

    def exactly(self, count: int) -> Iterator[bytes]:
        while count:
            data = self.some()
            if not data:
                raise ConnectionError("the daemon closed the connection in the middle of an answer")
            if len(data) > count:
                self.buffer = data[count:]
                data = data[:count]
            count -= len(data)
            yield data


class Response:
    """An answer whose body is read as it is needed. Close it, or read it to its end."""

    def __init__(self, reader: Reader, method: str) -> None:
        self.reader = reader
        words = reader.line().split(b" ", 2)
        self.status = int(words[1])
        self.headers: dict[str, str] = {}
        while header := reader.line():
            name, _, value = header.decode("latin-1").partition(":")
            self.headers[name.strip().lower()] = value.strip()
        self._has_body = method != "HEAD" and self.status not in (204, 304) and self.status >= 200
        self._kept: bytes | None = None

    def keep(self, body: bytes) -> None:
        """Gives back the body that was read, for whoever reads it next."""
        self._kept = body

    def chunks(self) -> Iterator[bytes]:
        """The body as it arrives."""
        if self._kept is not None:
            yield self._kept
            return
        try:
            if not self._has_body:
                return
            if self.headers.get("transfer-encoding", "").lower() == "chunked":
                while size := int(self.reader.line().partition(b";")[0] or b"0", 16):
                    yield from self.reader.exactly(size)
                    self.reader.line()
                while self.reader.line():
                    pass
            elif "content-length" in self.headers:
                yield from self.reader.exactly(int(self.headers["content-length"]))
            else:
                while data := self.reader.some():
                    yield data
        finally:
            self.close()

    def read(self) -> bytes:
        return b"".join(self.chunks())

    def json(self) -> Any:
        data = self.read()
        return loads(data) if data.strip() else None

    def json_lines(self) -> Iterator[dict[str, Any]]:
        """A stream of JSON objects (events, pull and build progress), each as soon as it is whole."""
        pending = ""
        for chunk in self.chunks():
            pending += chunk.decode("utf-8", "surrogateescape")
            while pending := pending.lstrip():
                try:
                    found, end = scan(pending)
                except ValueError:
                    break
                yield found
                pending = pending[end:]

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """A multiplexed stream as (1 stdout or 2 stderr, bytes); see the API's "Stream format"."""
        pending = b""
        for chunk in self.chunks():
            pending += chunk
            while len(pending) >= 8:
                size = int.from_bytes(pending[4:8], "big")
                if len(pending) < 8 + size:
                    break
                yield pending[0], pending[8 : 8 + size]
                pending = pending[8 + size :]

    def close(self) -> None:
        self.reader.connection.close()


class Hijacked:
    """A connection that has become a raw stream: what attach and exec speak."""

    def __init__(self, reader: Reader, multiplexed: bool) -> None:
        self._reader = reader
        self.connection = reader.connection
        self.multiplexed = multiplexed

    def read(self) -> bytes:
        """What has arrived; empty at the end."""
        return self._reader.some()

    def write(self, data: bytes) -> None:
        self.connection.sendall(data)

    def close_write(self) -> None:
        """End of standard input."""
        self.connection.shutdown(_socket.SHUT_WR)

    def close(self) -> None:
        self.connection.close()


class DockerClient:
    """The daemon at `host` (`unix://PATH`, `tcp://HOST:PORT`); by default DOCKER_HOST. One connection per call.

    The API's version is DOCKER_API_VERSION, or the newest that both sides know. It is asked for only when that is
    needed: a daemon that is too old says so in its first answer, and is asked again in its own version.
    """

    def __init__(self, host: str | None = None, *, timeout: float | None = None) -> None:
        self.host = host or os.environ.get("DOCKER_HOST") or DEFAULT_HOST
        self.timeout = timeout
        self.api_version = os.environ.get("DOCKER_API_VERSION") or API_VERSION
        self._agreed = bool(os.environ.get("DOCKER_API_VERSION"))

    def at_least(self, version: str) -> bool:
        """Whether the API spoken with this daemon is `version` or newer. Raises CannotConnect."""
        self.negotiate()
        return _numbers(self.api_version) >= _numbers(version)

    def negotiate(self) -> None:
        """Agrees on a version before anything is sent that could not be sent again. Raises CannotConnect."""
        if self._agreed:
            return
        self._agreed = True
        answer = self._send(self.connect(), "GET", "/_ping", None, body=None, data=None, headers=None)
        theirs = answer.headers.get("api-version", "")
        text = answer.read().decode("utf-8", "replace")
        if answer.status == 400 and _TOO_NEW in text:
            theirs = _maximum(text)
        if theirs and _numbers(theirs) < _numbers(self.api_version):
            self.api_version = theirs

    def connect(self) -> Socket:
        scheme, _, address = self.host.partition("://")
        try:
            if scheme == "unix":
                connection: Socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)  # type: ignore[assignment]
                connection.settimeout(self.timeout)
                connection.connect(address)
                return connection
            if scheme in ("tcp", "http", "https"):
                import socket

                name, _, port = address.rstrip("/").rpartition(":")
                connection = socket.create_connection((name.strip("[]"), int(port)), self.timeout)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return (
                    self._tls(connection, name)
                    if scheme == "https" or os.environ.get("DOCKER_TLS_VERIFY")
                    else connection
                )
        except (OSError, ValueError) as error:
            raise self._cannot_connect(error) from None
        raise CannotConnect(f"unable to resolve docker endpoint: {self.host}: unknown scheme")

    def _cannot_connect(self, error: Exception) -> CannotConnect:
        if isinstance(error, PermissionError):
            return CannotConnect(
                "permission denied while trying to connect to the Docker daemon socket at "
                f"{self.host}: {error.strerror}"
            )
        return CannotConnect(f"Cannot connect to the Docker daemon at {self.host}. Is the docker daemon running?")

    def _tls(self, connection: Socket, name: str) -> Socket:
        import ssl

        folder = os.environ.get("DOCKER_CERT_PATH") or os.path.expanduser("~/.docker")
        context = ssl.create_default_context(cafile=os.path.join(folder, "ca.pem"))
        context.load_cert_chain(os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem"))
        return context.wrap_socket(connection, server_hostname=name)

    def request(
        self,
        method: str,
        path: str,
        query: dict[str, Any] | None = None,
        *,
        body: Any = None,
        data: bytes | Iterable[bytes] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Response:
        """Sends a request: `body` as JSON, or `data` as it is (bytes, or pieces sent chunked). No status raises."""
        if data is not None and not isinstance(data, bytes):
            self.negotiate()  # pieces can be sent once only
        response = self._send(self.connect(), method, path, query, body=body, data=data, headers=headers)
        if self._agreed or response.status != 400:
            self._agreed = True
            return response
        text = response.read()
        if _TOO_NEW.encode() not in text:
            response.keep(text)
            return response
        self.api_version, self._agreed = _maximum(text.decode("utf-8", "replace")), True
        return self._send(self.connect(), method, path, query, body=body, data=data, headers=headers)

    def _send(
        self,
        connection: Socket,
        method: str,
        path: str,
        query: dict[str, Any] | None,
        *,
        body: Any,
        data: bytes | Iterable[bytes] | None,
        headers: dict[str, str] | None,
    ) -> Response:
        sent = {"Host": "docker", "User-Agent": "wherry", **(headers or {})}
        if body is not None:
            data = dumps(body).encode()
            sent["Content-Type"] = "application/json"
        if isinstance(data, bytes):
            sent["Content-Length"] = str(len(data))
        elif data is not None:
            sent["Transfer-Encoding"] = "chunked"
        elif method in ("POST", "PUT"):
            sent["Content-Length"] = "0"
        target = f"/v{self.api_version}{quote(path, safe='/:@%')}{query_string(query)}"
        head = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        try:
            connection.sendall(head.encode() + b"\r\n" + (data if isinstance(data, bytes) else b""))
            if data is not None and not isinstance(data, bytes):
                self._send_chunks(connection, data)
            return Response(Reader(connection), method)
        except (ConnectionError, TimeoutError) as error:
            connection.close()
            raise self._cannot_connect(error) from None

    def _send_chunks(self, connection: Socket, pieces: Iterable[bytes]) -> None:
        try:
            for piece in pieces:
                if piece:
                    connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
            connection.sendall(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            return  # the daemon has answered before it heard everything: its answer says why

    def call(self, method: str, path: str, query: dict[str, Any] | None = None, **options: Any) -> Response:
        """As `request`, but an answer of 400 and above raises DockerError."""
        response = self.request(method, path, query, **options)
        if response.status >= 400:
            raise error_of(response)
        return response

    def get(self, path: str, query: dict[str, Any] | None = None) -> Any:
        """The JSON answer of a GET."""
        return self.call("GET", path, query).json()

    def post(self, path: str, query: dict[str, Any] | None = None, body: Any = None) -> Any:
        """The JSON answer of a POST; None when there is none."""
        return self.call("POST", path, query, body=body).json()

    def delete(self, path: str, query: dict[str, Any] | None = None) -> Any:
        return self.call("DELETE", path, query).json()

    def hijack(self, path: str, query: dict[str, Any] | None = None, body: Any = None) -> Hijacked:
        """POST that turns the connection into a raw stream. Raises DockerError."""
        response = self.request("POST", path, query, body=body, headers={"Connection": "Upgrade", "Upgrade": "tcp"})
        if response.status >= 400:
            raise error_of(response)
        multiplexed = response.headers.get("content-type") == "application/vnd.docker.multiplexed-stream"
        if _numbers(self.api_version) < FRAMES_ARE_TOLD:
            multiplexed = not self._has_terminal(path, body)
        return Hijacked(response.reader, multiplexed)

    def _has_terminal(self, path: str, body: Any) -> bool:
        """Whether a stream is a terminal's, where its content type does not say so."""
        if path.startswith("/exec/"):
            return bool((body or {}).get("Tty"))
        return bool(self.get(f"{path.rpartition('/')[0]}/json")["Config"]["Tty"])


def _numbers(version: str) -> tuple[int, ...]:
    """`1.50` as (1, 50); what is no version is older than any."""
    parts = version.removeprefix("v").split(".")
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else (0,)


def _maximum(refusal: str) -> str:
    """The version in a daemon's words that ours is too new."""
    rest = refusal.partition(_TOO_NEW)[2]
    return rest[: next((at for at, char in enumerate(rest) if char not in "0123456789."), len(rest))].rstrip(".")


def error_of(response: Response) -> DockerError:
    """The DockerError in an answer's body."""
    text = response.read().decode("utf-8", "replace")
    try:
        message = str(loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        message = text.strip() or f"the daemon answered with status {response.status}"
    return DockerError(response.status, message)


def query_string(query: dict[str, Any] | None) -> str:
    """`?a=1&b=…`: booleans as 1 and 0, mappings as JSON, lists as repeated keys, None left out."""
    pairs: list[str] = []
    for name, value in (query or {}).items():
        for one in value if isinstance(value, list | tuple) else [value]:
            if one is None:
                continue
            text = str(int(one)) if isinstance(one, bool) else dumps(one) if isinstance(one, dict) else str(one)
            pairs.append(f"{name}={quote(text, safe='')}")
    return f"?{'&'.join(pairs)}" if pairs else ""


_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~")


def quote(text: str, safe: str = "/") -> str:
    """Percent-encoding as urllib's, without its imports."""
    if all(char in _PLAIN or char in safe for char in text):
        return text
    return "".join(
        chr(byte) if chr(byte) in _PLAIN or chr(byte) in safe else f"%{byte:02X}"
        for byte in text.encode("utf-8", "surrogateescape")
    )

"""Requests and responses as the API server sees them."""

from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote

import orjson

if TYPE_CHECKING:
    from wherry.kube_api.http.protocol import Connection

_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}

JSON_TYPE = "application/json"


class Request:
    """One request, complete with its body. Header names are lower case; repeated headers are joined by commas."""

    __slots__ = ("body", "connection", "headers", "method", "path", "query_string")

    def __init__(
        self, connection: "Connection", method: str, path: str, query_string: str, headers: dict[str, str]
    ) -> None:
        self.connection = connection
        self.method = method
        self.path = path
        """Still percent-encoded."""
        self.query_string = query_string
        self.headers = headers
        self.body = b""

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(self.query_string, keep_blank_values=True) if self.query_string else {}

    @property
    def target(self) -> str:
        return f"{self.path}?{self.query_string}" if self.query_string else self.path


class Response:
    """An answer whose body is known. `headers` are further ones beside Content-Type and Content-Length."""

    __slots__ = ("body", "content_type", "headers", "status")

    def __init__(
        self,
        body: bytes = b"",
        *,
        status: int = 200,
        content_type: str = JSON_TYPE,
        headers: list[tuple[str, str]] | None = None,
    ) -> None:
        self.status = status
        self.body = body
        self.content_type = content_type
        self.headers = headers

    def encode(self, *, head_only: bool = False, close: bool = False) -> list[bytes]:
        """What goes on the wire."""
        extra = b"Connection: close\r\n" if close else b""
        if self.headers:
            extra += "".join(f"{name}: {value}\r\n" for name, value in self.headers).encode("latin-1", "replace")
        if self.status == 304:
            return [b"%b%b\r\n" % (_LINES[304], extra)]
        head = b"%bContent-Type: %b\r\nCache-Control: no-cache, private\r\n%bContent-Length: %d\r\n\r\n" % (
            _LINES[self.status], self.content_type.encode(), extra, len(self.body),
        )  # fmt: skip
        if head_only or not self.body:
            return [head]
        return [head + self.body] if len(self.body) < 65536 else [head, self.body]


def json_response(value: Any, *, status: int = 200, headers: list[tuple[str, str]] | None = None) -> Response:
    return Response(orjson.dumps(value), status=status, headers=headers)


def text_response(text: str, *, status: int = 200) -> Response:
    return Response(text.encode(), status=status, content_type="text/plain; charset=utf-8")


def stream_head(status: int, headers: list[tuple[str, str]]) -> bytes:
    """The head of an answer in chunks."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return _LINES[status] + lines.encode("latin-1", "replace") + b"Transfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def decode_path(path: str) -> list[str]:
    """Segments of a path, each percent-decoded on its own."""
    return [unquote(segment) for segment in path.strip("/").split("/")] if "%" in path else path.strip("/").split("/")

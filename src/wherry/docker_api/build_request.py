"""A build with all that the builder can do: what Wherry's own clients send to `POST /build`.

Docker's API has no parameters for secrets, further contexts and outputs; they go over a BuildKit session, which this
daemon has not. Wherry's clients send `Content-Type: application/vnd.wherry.build` instead of a tar archive; the query
is Docker's. The body is frames as in the API's "Stream format": a byte that says which stream, three zeros, the length
of the payload (four bytes, big endian), the payload. A frame without a payload ends its stream. In this order:

- 0: a JSON object, `Wishes.head`. Secrets are here, and so never in an address, a header or a log.
- 1: the build context, a tar archive.
- 2, 3, …: the archives of the named contexts that the head gives as "", in its order.

The answer is frames too: stream 1 is Docker's messages, JSON objects, one per line; 2, 3, … are the archives of the
outputs, in the order of the head. What is written on the client's machine, the client writes.
"""

from __future__ import annotations

from wherry.docker_api.client import DockerError
from wherry.docker_api.lean_json import dumps, loads

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from wherry.docker_api.client import DockerClient, Response

CONTENT_TYPE = "application/vnd.wherry.build"
HEAD, CONTEXT, FURTHER = 0, 1, 2
"""Numbers of streams; `FURTHER` is the first of several."""
MESSAGES = 1
ARCHIVE_KINDS = ("tar", "oci", "docker")


class Wishes:
    """What a build is asked for besides the query's parameters.

    `secrets`: contents by id. `contexts`: `docker-image://NAME`, or the pieces of a tar archive, by name. `outputs`:
    kinds of archives (`tar`, `oci`, `docker`) to send back. `keep`: whether the store gets the image. `check`: only say
    what the build checks find.
    """

    def __init__(self) -> None:
        self.secrets: dict[str, bytes] = {}
        self.contexts: dict[str, str | Iterable[bytes]] = {}
        self.outputs: list[str] = []
        self.no_cache_filter: list[str] = []
        self.keep = True
        self.check = False

    def __bool__(self) -> bool:
        """Whether there is anything that Docker's own API cannot say."""
        wishes = (self.secrets, self.contexts, self.outputs, self.no_cache_filter, not self.keep, self.check)
        return any(map(bool, wishes))

    def head(self) -> dict[str, Any]:
        """Stream 0."""
        import base64

        return {
            "secrets": {name: base64.b64encode(content).decode() for name, content in self.secrets.items()},
            "contexts": {name: given if isinstance(given, str) else "" for name, given in self.contexts.items()},
            "outputs": self.outputs,
            "noCacheFilter": self.no_cache_filter,
            "keep": self.keep,
            "check": self.check,
        }

    def body(self, context: Iterable[bytes]) -> Iterator[bytes]:
        """The pieces of the request's body."""
        archives = [given for given in self.contexts.values() if not isinstance(given, str)]
        for number, pieces in enumerate([[dumps(self.head()).encode()], context, *archives]):
            for piece in pieces:
                if piece:
                    yield frame(number, piece)
            yield frame(number, b"")


def frame(number: int, payload: bytes) -> bytes:
    return bytes((number, 0, 0, 0)) + len(payload).to_bytes(4, "big") + payload


def send(
    client: DockerClient, query: dict[str, Any], context: Iterable[bytes], wishes: Wishes, headers: dict[str, str]
) -> Response:
    """Ask for a build. Raises DockerError when it is refused; read the answer with `messages`."""
    if wishes:
        _check(client)
    headers = {**headers, "Content-Type": CONTENT_TYPE if wishes else "application/x-tar"}
    data = wishes.body(context) if wishes else context
    return client.call("POST", "/build", query, data=data, headers=headers)


def _check(client: DockerClient) -> None:
    """Another engine would not understand, and a secret is none of its business."""
    answer = client.request("GET", "/_ping")
    answer.read()
    server = answer.headers.get("server", "")
    if not server.startswith("Wherry/"):
        raise DockerError(
            501,
            f"secrets, named contexts, outputs and checks need Wherry's engine, and this one is {server or 'another'}",
        )


def messages(response: Response, sink: Callable[[int, bytes], None] | None = None) -> Iterator[dict[str, Any]]:
    """Docker's messages of a build as they come. `sink(number, data)` gets the bytes of output `number` (from 0)."""
    if response.headers.get("content-type") != "application/vnd.docker.multiplexed-stream":
        yield from response.json_lines()
        return
    for stream, data in response.frames():
        if stream == MESSAGES:
            for line in data.splitlines():
                yield loads(line)
        elif sink is not None:
            sink(stream - FURTHER, data)

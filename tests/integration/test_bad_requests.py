"""Every endpoint, given what no client should send: no 500, no traceback, nothing left behind, no way out of a root.

Requests are drawn from the API's own description: the route table, the shapes of the bodies, the names of the query
parameters. Set WHERRY_BAD_REQUESTS to draw more of them. What could harm the machine (commands, sources of binds) is
drawn from harmless values; the rest is not.
"""

import asyncio
import contextlib
import http.client
import json
import logging
import os
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from docker_client import DockerCli
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from nothing_left import assert_nothing_left

from wherry.docker_api import body as bodies
from wherry.docker_api import routes, shapes
from wherry.engine.engine import Engine

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

EXAMPLES = int(os.environ.get("WHERRY_BAD_REQUESTS", "400"))

HOSTILE = (
    "", " ", "/", "..", "../..", "/../../etc/passwd", "a/../../b", "nope", "-", "--rm", "a b", "ä", "\u202e", "\n",
    "%00", "%2e%2e%2f", "{}", "[]", "null", "0", "-1", "1e9", "99999999999999999999", "x" * 300, "container:",
    "ns:/proc", "container:target", "host", "none", "bridge", "default", "sha256:" + "0" * 64, "busybox",
    "busybox:latest", "target", "10.0.0.0/8", "fe80::1", "0.0.0.0/0", "300.1.1.1", "1.2.3.4", "80", "80/tcp", "0/tcp",
    "1-70000/udp", "c 1:3 rwm", "SIGKILL", "tcp://x", "unconfined", "local", "json-file", "true", "no", "always",
    "ctrl-p", "$(id)", "`id`", ";", "\ud7ff", "http://[", "a=b", "=", ":", "::", "/:/", "until=1h", "private",
    "shareable", "rshared", "volume", "bind", "image", "tmpfs", "/nope", "/etc", "CAP_NET_RAW", "ALL", "seccomp={}",
    'seccomp={"syscalls":7}', "size=1m",
)  # fmt: skip
NAMES = (*HOSTILE, "target", "target", "idle", "idle", "busybox", "named", "blue")
NUMBERS = (0, 1, -1, 2, 9, 1000, 1 << 20, 1 << 31, 1 << 32, (1 << 63) - 1, -(1 << 63), 1 << 64)
HARMLESS = {
    "Cmd": [["true"], ["nope"], ["/etc"], [""], [], ["sh", "-c", "exit 3"], ["sleep", "60"], None, "true"],
    "Entrypoint": [None, [], [""], ["sh", "-c"], "nope"],
    "Binds": [["vol-a:/a"], ["vol-b:/a:ro,nocopy"], [":"], ["a:b:c:d"], ["/nonexistent\0:/x"], ["../x:/a"], [""]],
    "Source": ["", "vol-a", "..", "../../x", "busybox", "/proc/nope/x", "a/b"],
    "PathOnHost": ["/dev/null", "/dev/nope", "", "..", "/etc"],
    "NetworkMode": ["none", "bridge", "nope", "container:target", "container:nope", "container:", "", "ns:/x", "blue"],
    "PidMode": ["", "nope", "container:target", "ns:/x", "container:"],
    "IpcMode": ["", "nope", "none", "shareable", "container:target", "ns:/x"],
    "Privileged": [False],
    "Driver": ["", "nope", "bridge", "local", "macvlan", "host"],
    "Detach": [True],
    "HostPort": ["", "0", "nope", "70000", "0-1", "-1"],
    "HostIp": ["", "127.0.0.1", "nope", "::1", "1.2.3.4"],
    "Subnet": ["", "nope", "10.213.0.0/24", "10.213.0.0/33", "fd00:213::/64", "0.0.0.0/0", "10.213.0.7/24"],
    "Options": [{}, {"com.docker.network.bridge.name": "../x"}, {"com.docker.network.bridge.name": "x" * 40},
                {"com.docker.network.driver.mtu": "nope"}, {"type": "nope"}, [["size"]], [[]], None, {"o": "x"}],
    "DriverOpts": [{}, {"type": "tmpfs", "device": "tmpfs", "o": "nope"}, {"type": "nope", "device": "x"}, {"x": "y"}],
    "Image": ["busybox", "busybox", "busybox", "nope", "", "../x", "busybox@sha256:zz", "UPPER"],
    "OomKillDisable": [False],
    "serveraddress": ["", "127.0.0.1:1", "http://[", "../"],
}  # fmt: skip

text = st.sampled_from(HOSTILE) | st.text(max_size=8)
number = st.sampled_from(NUMBERS)
junk = st.one_of(
    text, number, st.none(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False),
    st.lists(text, max_size=2), st.dictionaries(text, text, max_size=2),
)  # fmt: skip


def of_shape(shape: Any) -> st.SearchStrategy[Any]:
    """Mostly values that fit `shape`, so that they get past its check."""
    if isinstance(shape, dict):
        # A few fields at a time: of many at least one is refused, and the others are never looked at.
        chosen = st.lists(st.sampled_from(sorted(shape)), max_size=3, unique=True)
        return chosen.flatmap(lambda keys: st.fixed_dictionaries({key: field(key, shape[key]) for key in keys}))
    if isinstance(shape, list):
        return st.lists(of_shape(shape[0]), max_size=2)
    if isinstance(shape, bodies.Map):
        return st.dictionaries(text, of_shape(shape.value), max_size=2)
    if shape is bodies.STRINGS:
        return text | st.lists(text, max_size=2)
    if shape is bodies.ANY:
        return junk
    kinds: dict[Any, st.SearchStrategy[Any]] = {
        str: text, int: number, float: number, bool: st.booleans()
    }  # fmt: skip
    return kinds[shape]


def field(key: str, shape: Any) -> st.SearchStrategy[Any]:
    if key in HARMLESS:
        return st.sampled_from(HARMLESS[key])
    # Now and then of another type than the field's.
    return st.integers(0, 19).flatmap(lambda odd: junk if odd == 0 else of_shape(shape))


BODIES = {
    "/containers/create": shapes.CREATE,
    "/containers/{name}/update": shapes.UPDATE,
    "/containers/{name}/exec": shapes.EXEC_CREATE,
    "/exec/{name}/start": shapes.EXEC_START,
    "/commit": shapes.CONFIG,
    "/networks/create": shapes.NETWORK_CREATE,
    "/networks/{name}/connect": shapes.NETWORK_CONNECT,
    "/networks/{name}/disconnect": shapes.NETWORK_DISCONNECT,
    "/volumes/create": shapes.VOLUME_CREATE,
    "/auth": shapes.AUTH,
}
PARAMETERS = (
    "all", "author", "buildargs", "cachefrom", "changes", "condition", "container", "copyUIDGID", "cpusetcpus",
    "details", "detachKeys", "digests", "dockerfile", "filters", "follow", "force", "fromImage", "fromSrc", "h",
    "labels", "limit", "link", "logs", "memory", "message", "name", "names", "networkmode", "noOverwriteDirNonDir",
    "noprune", "one-shot", "path", "pause", "platform", "ps_args", "q", "quiet", "remote", "repo", "scope", "shmsize",
    "signal", "since", "size", "stderr", "stdin", "stdout", "t", "tag", "tail", "target", "term", "timestamps", "type",
    "until", "v", "verbose", "w",
)  # fmt: skip
FILTERS = st.one_of(
    text,
    st.dictionaries(
        st.sampled_from(("status", "label", "until", "name", "id", "since", "before", "ancestor", "health", "exited",
                         "network", "volume", "publish", "dangling", "driver", "reference", "type", "event", "nope")),
        st.lists(text, max_size=2) | st.dictionaries(text, st.booleans(), max_size=2) | junk,
        max_size=2,
    ).map(json.dumps),
)  # fmt: skip


def operations() -> list[tuple[str, str]]:
    """(method, path with {name}) of every route that there is, those that say more several times."""
    table = routes.build()
    found = sorted(
        (method, route.pattern.pattern.replace("(?P<name>.+)", "{name}").replace("\\", ""))
        for (method, _), entries in table._table.items()
        for route in entries
    )
    swarm = ("/swarm", "/nodes", "/services", "/tasks", "/secrets", "/configs", "/plugins")
    several = [operation for operation in found if not operation[1].startswith(swarm)] * 3
    return found + several + [("POST", "/containers/create")] * 40


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, str, dict[str, str], bytes | None]:
    method, path = draw(st.sampled_from(operations()))
    shape = BODIES.get(path)
    target = path.replace("{name}", quote(draw(st.sampled_from(NAMES)), safe=draw(st.sampled_from(("", "/"))))) or "/"
    query = draw(st.dictionaries(st.sampled_from(PARAMETERS), text, max_size=4))
    if draw(st.booleans()):
        query["filters"] = draw(FILTERS)
    # Else these hold on for as long as a container does.
    query.update({"stream": "0", "follow": "0"})
    if path == "/events":
        query.setdefault("until", "1")
    headers: dict[str, str] = {}
    body = None
    if shape is not None or (method in ("POST", "PUT") and draw(st.integers(0, 3)) == 0):
        headers["Content-Type"] = draw(st.sampled_from(("application/json",) * 9 + ("text/plain", "", "x")))
        value = draw(of_shape(shape)) if shape is not None and draw(st.integers(0, 15)) else draw(junk)
        if path == "/containers/create" and isinstance(value, dict) and draw(st.integers(0, 4)):
            value = {"Image": "busybox", "Cmd": ["true"], **value}
        body = json.dumps(value).encode()
        if draw(st.integers(0, 19)) == 0:
            body = draw(st.binary(max_size=40))
    if draw(st.integers(0, 9)) == 0:
        headers["X-Registry-Auth"] = draw(st.sampled_from(("", "{", "e30=", "bm9wZQ==", "\xff")))
    version = draw(st.sampled_from(("", "/v1.24", "/v1.41", "/v1.43", "/v1.50", "/v1.50", "/v9.9", "/v1.2", "/vx")))
    return method, f"{version}{target}?{urlencode(query)}", headers, body


class UnixConnection(http.client.HTTPConnection):
    """To the engine's socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=20)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(20)
        self.sock.connect(self._path)


def ask(path: str, method: str, target: str, headers: dict[str, str], body: bytes | None) -> tuple[int, bytes]:
    connection = UnixConnection(path)
    try:
        # As real clients do: an answer may come before all was sent.
        with contextlib.suppress(BrokenPipeError):
            connection.request(method, target, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.fixture
def errors() -> Iterator[list[logging.LogRecord]]:
    """What Wherry logs as an error during the test."""
    found: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record)

    handler = Keep(logging.ERROR)
    logging.getLogger().addHandler(handler)
    yield found
    logging.getLogger().removeHandler(handler)


async def prepare(cli: DockerCli) -> None:
    await cli("network", "create", "blue")
    await cli("run", "-d", "--name", "target", "--ipc", "shareable", "-v", "named:/n", "busybox", "sleep", "100000")
    await cli("create", "--name", "idle", "busybox", "true")


async def clear(cli: DockerCli, engine: Engine) -> None:
    """Remove all, by way of the API, and see that nothing stays."""
    for container in await engine.containers.list(all=True):
        await engine.containers.remove(container["Id"], force=True, volumes=True)
    await cli("system", "prune", "-af", "--volumes")
    await cli("volume", "prune", "-af")
    await cli("network", "prune", "-f")
    assert_nothing_left(engine)


async def test_nothing_that_is_asked_breaks_it(
    docker_cli: DockerCli, wherry_engine: Engine, errors: list[logging.LogRecord]
) -> None:
    await prepare(docker_cli)
    path = docker_cli.host.removeprefix("unix://")
    outside = {place: sorted(os.listdir(place)) for place in ("/", "/etc", "/sys/fs/cgroup", "/dev")}
    statuses: dict[int, int] = {}

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize="WHERRY_BAD_REQUESTS" not in os.environ,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate,),
    )
    @given(requests())
    def probe(request: tuple[str, str, dict[str, str], bytes | None]) -> None:
        status, answer = check(*request)
        if status == 201 and "/containers/create" in request[1]:
            created = json.loads(answer)["Id"]
            check("POST", f"/containers/{created}/start", {}, None)
            check("DELETE", f"/containers/{created}?force=1&v=1", {}, None)

    def check(method: str, target: str, headers: dict[str, str], body: bytes | None) -> tuple[int, bytes]:
        request = (method, target, headers, body)
        status, answer = ask(path, method, target, headers, body)
        statuses[status] = statuses.get(status, 0) + 1
        assert not errors, (request, answer, [str(record.exc_info or record.getMessage()) for record in errors])
        if status >= 400 and method != "HEAD":
            # Clients older than any that is served get plain text, as from Docker.
            message = answer.decode() if target.startswith("/v1.2/") else json.loads(answer)["message"]
            assert isinstance(message, str)
            assert message
            assert "Traceback" not in message
            # Docker's own answer when the runtime could not start a container, or ps fails.
            allowed = "OCI runtime" in message or message.startswith(("ps: ", "Couldn't find PID"))
            assert status != 500 or allowed, (request, message)
        return status, answer

    await asyncio.to_thread(probe)
    assert sum(statuses.values()) >= EXAMPLES * 0.9
    assert {200, 400, 404} <= statuses.keys(), statuses
    assert outside == {place: sorted(os.listdir(place)) for place in outside}
    await clear(docker_cli, wherry_engine)


RAW = [
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"\x00\xff\xfe\r\n\r\n",
    b"GET /%zz/%00 HTTP/1.1\r\nHost: d\r\n\r\n",
    b"GET //../../etc/passwd HTTP/1.1\r\nHost: d\r\n\r\n",
    b"POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Length: -1\r\n\r\n",
    b"POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nx",
    b"POST /containers/create HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"PUT /containers/idle/archive?path=/ HTTP/1.1\r\nHost: d\r\nContent-Length: 4\r\n\r\nnope",
    b"GET /_ping HTTP/1.1\r\nHost: d\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: d\r\n\r\n",
    b"BREW /coffee HTTP/1.1\r\nHost: d\r\n\r\n",
]


@pytest.mark.parametrize("number", range(len(RAW)))
async def test_what_is_not_http_gets_an_answer_or_an_end(
    docker_cli: DockerCli, errors: list[logging.LogRecord], number: int
) -> None:
    await docker_cli("create", "--name", "idle", "busybox", "true")
    reader, writer = await asyncio.open_unix_connection(docker_cli.host.removeprefix("unix://"))
    writer.write(RAW[number])
    writer.write_eof()
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    assert not answer or answer.startswith(b"HTTP/1.")
    assert b" 500 " not in answer.partition(b"\r\n")[0]
    assert not [record for record in errors if record.name.startswith("wherry")]
    assert (await docker_cli("version", "-f", "{{.Server.Version}}")).out

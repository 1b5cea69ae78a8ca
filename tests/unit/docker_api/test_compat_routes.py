"""What each API version changes in parameters, headers and streams: a row for each, before it came and from it on.

`test_compat` has what is about bodies and answers.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest

from wherry.build.builder import Builder
from wherry.docker_api.routing import Version
from wherry.engine.filters import Filters

from .conftest import RawClient, until
from .fake_engine import FakeEngine

ARM = quote(json.dumps({"os": "linux", "architecture": "arm64"}))
OWN = quote(json.dumps({"os": "linux", "architecture": "amd64"}))


class Calls:
    """Stands for a part of the engine: each method notes what it is given, under its name, and gives what is set."""

    def __init__(self, **answers: Any) -> None:
        self.given: dict[str, Any] = {}
        self._answers = answers

    def __getattr__(self, name: str) -> Any:
        def method(*values: Any, **named: Any) -> Any:
            self.given[name] = (values, named)
            answer = self._answers[name]
            return answer(*values, **named) if callable(answer) else answer

        return method


async def later(value: Any = None) -> Any:
    return value


def around(since: Version, before: Any, after: Any) -> list[tuple[str, Any]]:
    """The same at 1.24, at the last version without a change, at the first with it, and at 1.50."""
    older, newer = f"v1.{since[1] - 1}", f"v1.{since[1]}"
    return [("v1.24", before), (older, before), (newer, after), ("v1.50", after), ("", after)]


def url(version: str, path: str) -> str:
    return f"/{version}{path}" if version else path


# --- versions in paths ---


@pytest.mark.parametrize(
    ("path", "shown"),
    [("/v1.20/version", "1.20"), ("/v1.23/info", "1.23"), ("/v1/version", "1"), ("/v0.99/nope", "0.99")],
)
async def test_versions_older_than_any_get_plain_text(client: RawClient, path: str, shown: str) -> None:
    status, headers, body = await client.send("GET", path)
    assert (status, headers["content-type"]) == (400, "text/plain; charset=utf-8")
    assert body.decode() == (
        f"client version {shown} is too old. Minimum supported API version is 1.24, please upgrade your client to a "
        "newer version\n"
    )
    assert headers["api-version"] == "1.50"


@pytest.mark.parametrize("shown", ["1.51", "1.99", "2.0", "1.50.1", "9"])
async def test_versions_newer_than_any_get_json(client: RawClient, shown: str) -> None:
    message = f"client version {shown} is too new. Maximum supported API version is 1.50"
    assert await client.json("GET", f"/v{shown}/version") == (400, {"message": message})


@pytest.mark.parametrize("shown", ["1.24.1", "1.50.0", "1.41."])
async def test_versions_may_have_more_parts(client: RawClient, shown: str) -> None:
    assert (await client.json("GET", f"/v{shown}/version"))[0] == 200


@pytest.mark.parametrize("path", ["/vx/version", "/v" + "9" * 6000 + "/version"])
async def test_what_is_no_version_is_no_page(client: RawClient, path: str) -> None:
    assert await client.json("GET", path) == (404, {"message": "page not found"})


# --- parameters that older versions do not have ---

IMAGE = {"Id": "x", "RepoTags": [], "RepoDigests": []}


def images() -> Calls:
    async def saved(names: list[str]) -> AsyncIterator[bytes]:
        yield b"tar"

    return Calls(
        save=saved,
        load=lambda *values, **named: later(),
        list=[IMAGE],
        inspect=IMAGE,
        history=[],
        resolve=SimpleNamespace(config={"os": "linux", "architecture": "amd64"}),
        disk_usage=0,
        remove=lambda *values, **named: later([]),
        import_=lambda *values, **named: later("sha256:1"),
        pull=lambda *values, **named: later(),
        push=lambda *values, **named: later(),
    )


@pytest.mark.parametrize(
    ("version", "status"),
    [(version, status) for version, status in around((1, 41), 201, 404)],
)
async def test_create_for_a_platform(client: RawClient, version: str, status: int) -> None:
    path = url(version, "/containers/create?platform=linux/s390x")
    assert (await client.json("POST", path, {"Image": "x"}))[0] == status


@pytest.mark.parametrize("verb", ["stop", "restart"])
@pytest.mark.parametrize(("version", "signal"), around((1, 42), None, "SIGINT"))
async def test_the_signal_of_a_stop(
    client: RawClient, engine: FakeEngine, verb: str, version: str, signal: str | None
) -> None:
    calls = Calls(stop=lambda *values, **named: later(), restart=lambda *values, **named: later())
    engine.containers = calls  # type: ignore[assignment]
    assert (await client.json("POST", url(version, f"/containers/web/{verb}?t=3&signal=SIGINT")))[0] == 204
    assert calls.given[verb] == (("web",), {"timeout": 3, "signal": signal})


@pytest.mark.parametrize(("version", "one_shot"), around((1, 41), False, True))
async def test_one_shot_stats(client: RawClient, engine: FakeEngine, version: str, one_shot: bool) -> None:
    calls = Calls(stats=lambda *values, **named: later({}))
    engine.containers = calls  # type: ignore[assignment]
    await client.json("GET", url(version, "/containers/web/stats?stream=0&one-shot=1"))
    assert calls.given["stats"] == (("web",), {"one_shot": one_shot})


@pytest.mark.parametrize(("version", "expected"), around((1, 41), ["busybox", "a*"], ["busybox"]))
async def test_the_single_filter_of_images(
    client: RawClient, engine: FakeEngine, version: str, expected: list[str]
) -> None:
    engine.images = images()  # type: ignore[assignment]
    filters = quote(json.dumps({"reference": ["busybox"]}))
    assert (await client.json("GET", url(version, f"/images/json?filter=a*&filters={filters}")))[0] == 200
    assert engine.images.given["list"][0][0] == {"reference": expected}  # type: ignore[attr-defined]


@pytest.mark.parametrize(("version", "shared"), around((1, 42), False, True))
async def test_shared_sizes(client: RawClient, engine: FakeEngine, version: str, shared: bool) -> None:
    engine.images = images()  # type: ignore[assignment]
    await client.json("GET", url(version, "/images/json?shared-size=1"))
    assert engine.images.given["list"][1]["shared_size"] is shared  # type: ignore[attr-defined]


@pytest.mark.parametrize("query", ["fromImage=busybox", "fromSrc=-"])
@pytest.mark.parametrize(("version", "platform"), around((1, 32), None, "linux/amd64"))
async def test_the_platform_of_a_pull_or_import(
    client: RawClient, engine: FakeEngine, query: str, version: str, platform: str | None
) -> None:
    engine.images = images()  # type: ignore[assignment]
    await client.send("POST", url(version, f"/images/create?{query}&platform=linux/amd64"))
    ((_, named),) = engine.images.given.values()  # type: ignore[attr-defined]
    assert named["platform"] == platform


@pytest.mark.parametrize(
    ("method", "path", "since"),
    [
        ("POST", "/images/x/push?tag=1&platform=", (1, 46)),
        ("GET", "/images/x/history?platform=", (1, 48)),
        ("GET", "/images/x/get?platform=", (1, 48)),
        ("GET", "/images/get?names=x&platform=", (1, 48)),
        ("GET", "/images/x/json?platform=", (1, 49)),
        ("DELETE", "/images/x?platforms=", (1, 50)),
    ],
)
async def test_the_platform_of_an_image(
    client: RawClient, engine: FakeEngine, method: str, path: str, since: Version
) -> None:
    engine.images = images()  # type: ignore[assignment]
    for version, status in around(since, 200, 404):
        assert (await client.send(method, url(version, path + ARM)))[0] == status, version
        assert (await client.send(method, url(version, path + OWN)))[0] == 200, version


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("platform={", "failed to parse platform: {"),
        ("platform=%7B%22os%22:%22linux%22%7D", "both OS and Architecture must be provided"),
        (
            "platform=%7B%22variant%22:%22v8%22%7D",
            "optional platform fields provided, but OS and Architecture are missing",
        ),
        (f"platform={OWN}&manifests=1", "conflicting options: manifests and platform options cannot both be set"),
    ],
)
async def test_platforms_that_are_none(client: RawClient, engine: FakeEngine, query: str, message: str) -> None:
    engine.images = images()  # type: ignore[assignment]
    assert await client.json("GET", f"/v1.49/images/x/json?{query}") == (400, {"message": message})
    assert (await client.json("GET", f"/v1.45/images/x/json?{query}"))[0] == 200


async def test_one_platform_is_saved_or_loaded_at_a_time(client: RawClient, engine: FakeEngine) -> None:
    engine.images = images()  # type: ignore[assignment]
    refused = (400, {"message": "multiple platform parameters not supported"})
    query = f"platform={OWN}&platform={ARM}"
    assert await client.json("GET", f"/v1.48/images/x/get?{query}") == refused
    assert await client.json("GET", f"/v1.48/images/get?names=x&{query}") == refused
    assert await client.json("POST", f"/v1.48/images/load?{query}") == refused
    for method, path in (("GET", "/images/x/get"), ("GET", "/images/get"), ("POST", "/images/load")):
        assert (await client.send(method, f"/v1.47{path}?names=x&{query}"))[0] == 200


@pytest.mark.parametrize(("version", "chosen"), around((1, 48), True, False))
async def test_the_platform_of_a_load(client: RawClient, engine: FakeEngine, version: str, chosen: bool) -> None:
    engine.images = images()  # type: ignore[assignment]
    assert (await client.send("POST", url(version, f"/images/load?platform={ARM}")))[0] == 200
    choose = engine.images.given["load"][1]["chosen"]  # type: ignore[attr-defined]
    assert choose({"os": "linux", "architecture": "amd64"}) is chosen


@pytest.mark.parametrize(("version", "enabled"), around((1, 48), None, False))
async def test_networks_without_ipv4(client: RawClient, engine: FakeEngine, version: str, enabled: bool | None) -> None:
    networks = Calls(create=lambda body: later({"Id": "n"}))
    engine.networks = networks  # type: ignore[attr-defined]
    assert (await client.json("POST", url(version, "/networks/create"), {"Name": "n", "EnableIPv4": False}))[0] == 201
    assert networks.given["create"][0][0].get("EnableIPv4") is enabled


@pytest.mark.parametrize(("version", "containers"), around((1, 28), {"c": {}}, {}))
async def test_the_containers_of_listed_networks(
    client: RawClient, engine: FakeEngine, version: str, containers: dict[str, Any]
) -> None:
    engine.networks = Calls(  # type: ignore[attr-defined]
        list=[{"Id": "n", "Containers": {}}], inspect={"Id": "n", "Containers": {"c": {}}}
    )
    assert await client.json("GET", url(version, "/networks")) == (200, [{"Id": "n", "Containers": containers}])


@pytest.mark.parametrize(("version", "expected"), around((1, 42), {"all": ["true"]}, {}))
async def test_pruning_named_volumes(
    client: RawClient, engine: FakeEngine, version: str, expected: dict[str, Any]
) -> None:
    volumes = Calls(prune=lambda filters: later({}))
    engine.volumes = volumes  # type: ignore[attr-defined]
    assert (await client.json("POST", url(version, "/volumes/prune")))[0] == 200
    assert volumes.given["prune"][0][0] == expected


@pytest.mark.parametrize(("version", "status"), around((1, 42), 201, 503))
async def test_cluster_volumes(client: RawClient, engine: FakeEngine, version: str, status: int) -> None:
    engine.volumes = Calls(create=lambda body: later({}))  # type: ignore[attr-defined]
    assert (await client.json("POST", url(version, "/volumes/create"), {"ClusterVolumeSpec": {}}))[0] == status


@pytest.mark.parametrize(
    ("version", "expected"),
    around((1, 42), {"LayersSize", "Images", "Containers", "Volumes", "BuildCache", "BuilderSize"}, {"Volumes"}),
)
async def test_disk_usage_by_type(
    client: RawClient, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, version: str, expected: set[str]
) -> None:
    engine.images = images()  # type: ignore[assignment]
    engine.volumes = Calls(usage=lambda: later([]))  # type: ignore[attr-defined]
    cache = SimpleNamespace(usage=lambda: later([]))
    monkeypatch.setattr(Builder, "of", lambda engine: later(SimpleNamespace(cache=cache)))
    status, usage = await client.json("GET", url(version, "/system/df?type=volume"))
    assert (status, set(usage)) == (200, expected)


# --- builds ---


@pytest.mark.parametrize(("version", "platform"), around((1, 32), "", "linux/amd64"))
async def test_the_platform_of_a_build(
    client: RawClient, monkeypatch: pytest.MonkeyPatch, version: str, platform: str
) -> None:
    seen = []

    async def build(engine: Any, options: Any, context: Any, tell: Any) -> None:
        seen.append(options.platform)

    monkeypatch.setattr("wherry.build.builder.build", build)
    assert (await client.send("POST", url(version, "/build?platform=linux/amd64")))[0] == 200
    assert seen == [platform]


@pytest.mark.parametrize(("version", "messages"), around((1, 30), 1, 2))
async def test_the_image_of_a_build(
    client: RawClient, monkeypatch: pytest.MonkeyPatch, version: str, messages: int
) -> None:
    async def build(engine: Any, options: Any, context: Any, tell: Any) -> None:
        tell({"stream": "Successfully built 1\n"})
        tell({"aux": {"ID": "sha256:1"}})

    monkeypatch.setattr("wherry.build.builder.build", build)
    _, _, content = await client.send("POST", url(version, "/build"))
    assert len(content.splitlines()) == messages


@pytest.mark.parametrize(("version", "status"), around((1, 40), 200, 400))
async def test_outputs_of_a_build(
    client: RawClient, monkeypatch: pytest.MonkeyPatch, version: str, status: int
) -> None:
    async def build(engine: Any, options: Any, context: Any, tell: Any) -> None:
        pass

    monkeypatch.setattr("wherry.build.builder.build", build)
    outputs = quote(json.dumps([{"Type": "local"}]))
    assert (await client.send("POST", url(version, f"/build?outputs={outputs}")))[0] == status


async def test_builders_that_are_none(client: RawClient) -> None:
    assert await client.json("POST", "/build?version=3") == (400, {"message": 'invalid version "3"'})


@pytest.mark.parametrize(("version", "expected"), around((1, 48), (5, 0, 0), (7, 8, 9)))
async def test_pruning_builds(
    client: RawClient,
    engine: FakeEngine,
    monkeypatch: pytest.MonkeyPatch,
    version: str,
    expected: tuple[int, int, int],
) -> None:
    cache = Calls(prune=lambda **named: later({"SpaceReclaimed": 0}))
    monkeypatch.setattr(Builder, "of", lambda engine: later(SimpleNamespace(cache=cache)))
    query = "keep-storage=5&reserved-space=7&max-used-space=8&min-free-space=9"
    assert (await client.json("POST", url(version, f"/build/prune?{query}")))[0] == 200
    given = cache.given["prune"][1]
    assert (given["reserved"], given["most"], given["least_free"]) == expected


# --- streams ---


async def waited(result: tuple[int, str]) -> Awaitable[tuple[int, str]]:
    async def result_of() -> tuple[int, str]:
        return result

    return result_of()


@pytest.mark.parametrize(
    ("version", "query", "error", "condition", "answer"),
    [
        ("v1.24", "removed", "", "not-running", {"StatusCode": 3}),
        ("v1.29", "nonsense", "", "not-running", {"StatusCode": 3}),
        ("v1.30", "", "", "not-running", {"StatusCode": 3}),
        ("v1.30", "next-exit", "", "next-exit", {"StatusCode": 3}),
        ("v1.30", "removed", "", "removed", {"StatusCode": 3}),
        # Nothing but the end of the answer tells of the error.
        ("v1.33", "removed", "busy", "removed", None),
        ("v1.33", "not-running", "busy", "not-running", {"StatusCode": 3, "Error": {"Message": "busy"}}),
        ("v1.34", "removed", "busy", "removed", {"StatusCode": 3, "Error": {"Message": "busy"}}),
        ("v1.50", "removed", "busy", "removed", {"StatusCode": 3, "Error": {"Message": "busy"}}),
    ],
)
async def test_waiting(
    client: RawClient,
    engine: FakeEngine,
    version: str,
    query: str,
    error: str,
    condition: str,
    answer: dict[str, Any] | None,
) -> None:
    calls = Calls(wait_started=lambda *values: waited((3, error)))
    engine.containers = calls  # type: ignore[assignment]
    assert await client.json("POST", f"/{version}/containers/web/wait?condition={query}") == (200, answer)
    assert calls.given["wait_started"] == (("web", condition), {})


async def test_conditions_that_are_none_are_refused_since_1_30(client: RawClient) -> None:
    refused = (400, {"message": 'invalid condition: "nonsense"'})
    assert await client.json("POST", "/v1.30/containers/web/wait?condition=nonsense") == refused


@pytest.mark.parametrize(("version", "early"), [("v1.29", False), ("v1.30", True)])
async def test_the_answer_to_a_wait_begins_at_once_since_1_30(
    client: RawClient, engine: FakeEngine, version: str, early: bool
) -> None:
    exit_: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
    engine.containers = Calls(wait_started=lambda *values: later(exit_))  # type: ignore[assignment]
    reader, writer = await client.open()
    writer.write(f"POST /{version}/containers/web/wait HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n".encode())
    await until(lambda: "wait_started" in engine.containers.given)  # type: ignore[attr-defined]
    if early:
        async with asyncio.timeout(30):
            assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
    else:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await reader.read(1)
    exit_.set_result((0, ""))
    async with asyncio.timeout(30):
        assert b'{"StatusCode":0}' in await reader.read()
    writer.close()


RAW, FRAMES = "application/vnd.docker.raw-stream", "application/vnd.docker.multiplexed-stream"


@pytest.mark.parametrize("tty", [False, True])
@pytest.mark.parametrize(("version", "kind"), around((1, 42), RAW, FRAMES))
async def test_the_type_of_streams(client: RawClient, engine: FakeEngine, version: str, kind: str, tty: bool) -> None:
    engine.containers.tty = tty
    expected = RAW if tty else kind
    _, headers, _ = await client.send("GET", url(version, "/containers/web/logs?stdout=1"))
    assert headers["content-type"] == expected
    for path, body in (("/containers/web/attach?stdout=1&stream=1", ""), ("/exec/exec1/start", {"Tty": tty})):
        raw = json.dumps(body) if body else ""
        reader, writer = await client.open()
        writer.write(
            f"POST {url(version, path)} HTTP/1.1\r\nHost: d\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(raw)}\r\n\r\n{raw}".encode()
        )
        async with asyncio.timeout(30):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
        assert head.startswith("HTTP/1.1 101 UPGRADED\r\n")
        assert f"Content-Type: {expected}\r\n" in head
        writer.close()


@pytest.mark.parametrize(("version", "size"), around((1, 42), None, [24, 80]))
async def test_the_size_of_an_execs_console(
    client: RawClient, engine: FakeEngine, version: str, size: list[int] | None
) -> None:
    calls = Calls(
        create=lambda *values: later("e"), start=lambda *values, **named: later(), inspect=lambda name: later({})
    )
    engine.execs = calls  # type: ignore[assignment]
    body = {"Cmd": ["sh"], "Tty": True, "ConsoleSize": [24, 80]}
    assert (await client.json("POST", url(version, "/containers/web/exec"), body))[0] == 201
    assert calls.given["create"][0][1].get("ConsoleSize") == size
    await client.json("POST", url(version, "/exec/e/start"), {"Tty": True, "ConsoleSize": [24, 80]})
    assert calls.given["start"][1]["console_size"] == size


HANDSHAKE = (
    "HTTP/1.1\r\nHost: d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@pytest.mark.parametrize(("version", "opcode"), around((1, 28), 0x81, 0x82))
async def test_frames_of_a_websocket(client: RawClient, engine: FakeEngine, version: str, opcode: int) -> None:
    reader, writer = await client.open()
    writer.write(f"GET {url(version, '/containers/web/attach/ws')} {HANDSHAKE}".encode())
    async with asyncio.timeout(30):
        await reader.readuntil(b"\r\n\r\n")
        engine.containers.attached[-1].feed(1, b"hi")
        assert await reader.readexactly(4) == bytes([opcode, 2]) + b"hi"
    writer.close()


@pytest.mark.parametrize(("version", "streams"), around((1, 42), (True, True, True), (False, True, False)))
async def test_streams_of_a_websocket(
    client: RawClient,
    engine: FakeEngine,
    monkeypatch: pytest.MonkeyPatch,
    version: str,
    streams: tuple[bool, bool, bool],
) -> None:
    seen: list[dict[str, bool]] = []
    attach = engine.containers.attach

    async def spy(ref: str, **options: bool) -> Any:
        seen.append(options)
        return await attach(ref, **options)

    monkeypatch.setattr(engine.containers, "attach", spy)
    reader, writer = await client.open()
    writer.write(f"GET {url(version, '/containers/web/attach/ws?stdout=1')} {HANDSHAKE}".encode())
    async with asyncio.timeout(30):
        await reader.readuntil(b"\r\n\r\n")
    assert tuple(seen[0][key] for key in ("stdin", "stdout", "stderr")) == streams
    writer.close()


@pytest.mark.parametrize(("version", "expected"), around((1, 46), ["tag"], ["create", "tag"]))
async def test_images_that_are_created(
    client: RawClient, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, version: str, expected: list[str]
) -> None:
    async def stream(since: float | None, until: float | None, filters: Filters) -> AsyncIterator[dict[str, Any]]:
        yield {"Type": "image", "Action": "create"}
        yield {"Type": "image", "Action": "tag"}

    monkeypatch.setattr(engine.events, "stream", stream)
    _, _, content = await client.send("GET", url(version, "/events"))
    assert [json.loads(line)["Action"] for line in content.splitlines()] == expected


# --- the same in all versions ---


@pytest.mark.parametrize(
    ("kind", "path"), [("image", "/v1.24/images/prune"), ("image", "/images/prune"), ("builder", "/build/prune")]
)
async def test_prunes_are_told(
    client: RawClient, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, kind: str, path: str
) -> None:
    pruned = Calls(prune=lambda *values, **named: later({"SpaceReclaimed": 7}))
    engine.images = pruned  # type: ignore[assignment]
    monkeypatch.setattr(Builder, "of", lambda engine: later(SimpleNamespace(cache=pruned)))
    told: list[tuple[Any, ...]] = []
    monkeypatch.setattr(engine.events, "emit", lambda *values: told.append(values))
    assert (await client.json("POST", path))[0] == 200
    assert told == [(kind, "prune", "", {"reclaimed": "7"})]


@pytest.mark.parametrize("version", ["v1.24", "v1.41", "v1.50", ""])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_every_version_is_told_the_same_at_first(client: RawClient, method: str, version: str) -> None:
    status, headers, body = await client.send(method, url(version, "/_ping"))
    assert (status, body) == (200, b"OK" if method == "GET" else b"")
    names = ("api-version", "builder-version", "swarm", "docker-experimental", "ostype", "cache-control", "pragma")
    assert [headers[name] for name in names] == [
        "1.50",
        "1",
        "inactive",
        "false",
        "linux",
        "no-cache, no-store, must-revalidate",
        "no-cache",
    ]


@pytest.mark.parametrize("path", ["/containers/web/copy", "/v1.24/containers/web/copy"])
async def test_copy_is_gone_since_1_24(client: RawClient, path: str) -> None:
    assert (await client.json("POST", path, {"Resource": "/"}))[0] == 404


async def test_a_start_has_no_body_since_1_24(client: RawClient) -> None:
    status, answer = await client.json("POST", "/v1.24/containers/web/start", {"Binds": ["/:/host"]})
    assert status == 400
    assert answer["message"].startswith("starting container with non-empty request body was deprecated")

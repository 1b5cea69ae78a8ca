"""The request path: versions, headers, routes, errors and bodies, over a real socket."""

import asyncio
import json
from typing import Any

import pytest

from .conftest import RawClient
from .fake_engine import FakeEngine


async def test_ping_tells_clients_the_version_and_that_buildkit_is_not_offered(client: RawClient) -> None:
    status, headers, body = await client.send("GET", "/_ping")
    assert (status, body) == (200, b"OK")
    assert headers["api-version"] == "1.50"
    assert headers["builder-version"] == "1"
    assert headers["ostype"] == "linux"
    assert headers["swarm"] == "inactive"
    assert headers["docker-experimental"] == "false"


async def test_ping_by_head_has_no_body(client: RawClient) -> None:
    status, headers, body = await client.send("HEAD", "/_ping")
    assert (status, body) == (200, b"")
    assert headers["api-version"] == "1.50"


@pytest.mark.parametrize("path", ["/version", "/v1.24/version", "/v1.50/version"])
async def test_every_version_in_the_range_is_served(client: RawClient, path: str) -> None:
    assert await client.json("GET", path) == (200, {"ApiVersion": "1.50"})


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/nope"), ("DELETE", "/version"), ("GET", "/v1.40/"), ("GET", "/")]
)
async def test_unknown_pages(client: RawClient, method: str, path: str) -> None:
    assert await client.json(method, path) == (404, {"message": "page not found"})


async def test_errors_of_the_engine_keep_status_and_message(client: RawClient) -> None:
    assert await client.json("GET", "/containers/nope/json") == (404, {"message": "No such container: nope"})
    assert (await client.json("POST", "/containers/create?name=taken", {"Image": "x"}))[0] == 409
    assert await client.json("POST", "/containers/web/kill?signal=SIGNOPE") == (
        400,
        {"message": "Invalid signal: SIGNOPE"},
    )


async def test_one_connection_serves_many_requests(client: RawClient) -> None:
    reader, writer = await client.open()
    for _ in range(3):
        writer.write(b"GET /containers/nope/json HTTP/1.1\r\nHost: d\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 404")
        length = next(int(line.split(b": ")[1]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length"))
        await reader.readexactly(length)
    writer.close()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "invalid JSON: got EOF while reading request body"),
        (b"{", "invalid JSON: "),
        (b"[]", "invalid JSON: json: cannot unmarshal array into Go value of type struct"),
        (
            {"HostConfig": {"Memory": "big"}},
            "invalid JSON: json: cannot unmarshal string into Go struct field HostConfig.Memory of type int64",
        ),
        ({"Env": "A=b"}, "invalid JSON: json: cannot unmarshal string into Go struct field Env of type []string"),
        (
            {"HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": 80}]}}},
            "invalid JSON: json: cannot unmarshal number into Go struct field HostConfig.PortBindings.HostPort of type "
            "string",
        ),
        (
            {"HostConfig": {"Memory": 2**63}},
            "invalid JSON: json: cannot unmarshal number 9223372036854775808 into Go struct field HostConfig.Memory of "
            "type int64",
        ),
    ],
)
async def test_bad_bodies_name_the_field(client: RawClient, body: Any, message: str) -> None:
    status, answer = await client.json("POST", "/containers/create", body)
    assert status == 400
    assert answer["message"].startswith(message)


async def test_a_body_that_is_not_json_is_refused(client: RawClient) -> None:
    status, answer = await client.json("POST", "/containers/create", b"x", headers={"Content-Type": "text/plain"})
    assert (status, answer["message"]) == (
        400,
        "unsupported Content-Type header (text/plain): must be 'application/json'",
    )


async def test_field_names_match_without_case_and_unknown_ones_are_left_out(
    client: RawClient, engine: FakeEngine
) -> None:
    body = {"image": "x", "hostconfig": {"memory": 5}, "Cmd": "ls", "WherryPod": {"Hosts": "/etc/shadow"}}
    assert (await client.json("POST", "/containers/create", body))[0] == 201
    _, created = engine.containers.created[0]
    assert created["Image"] == "x"
    assert created["Cmd"] == ["ls"]
    assert created["HostConfig"]["Memory"] == 5
    assert "WherryPod" not in created


@pytest.mark.parametrize("field", ["NetworkMode", "IpcMode", "PidMode", "UTSMode"])
async def test_namespace_paths_are_not_for_http(client: RawClient, field: str) -> None:
    body = {"Image": "x", "HostConfig": {field: "ns:/proc/1/ns/net"}}
    assert (await client.json("POST", "/containers/create", body))[0] == 400


async def test_list_parameters_reach_the_engine(client: RawClient, engine: FakeEngine) -> None:
    filters = json.dumps({"status": {"running": True}, "label": ["a=b"]}).replace(" ", "")
    status, _ = await client.json("GET", f"/v1.40/containers/json?all=1&limit=3&size=0&filters={filters}")
    assert status == 200
    assert engine.containers.calls == [("list", True, {"status": ["running"], "label": ["a=b"]}, 3, False)]


async def test_bad_filters_and_numbers(client: RawClient) -> None:
    assert await client.json("GET", "/containers/json?filters=[") == (400, {"message": "invalid filter"})
    assert (await client.json("GET", "/containers/json?limit=many"))[0] == 400
    status, answer = await client.json("POST", "/containers/web/resize?h=x&w=1")
    assert (status, answer["message"]) == (400, 'invalid resize height "x": invalid syntax')


async def test_swarm_and_plugins_answer_as_an_inactive_daemon(client: RawClient) -> None:
    status, answer = await client.json("GET", "/services")
    assert status == 503
    assert answer["message"].startswith("This node is not a swarm manager.")
    assert await client.json("GET", "/plugins") == (200, [])
    assert (await client.json("POST", "/session"))[0] == 501


async def test_older_versions_get_older_shapes(client: RawClient) -> None:
    _, new = await client.json("GET", "/v1.50/containers/web/json")
    _, old = await client.json("GET", "/v1.44/containers/web/json")
    assert new["NetworkSettings"]["Networks"]["blue"]["Aliases"] == ["db"]
    assert old["NetworkSettings"]["Networks"]["blue"]["Aliases"] == ["db", "f" * 12, "h"]
    _, listed = await client.json("GET", "/v1.45/containers/json")
    assert "Annotations" not in listed[0]["HostConfig"]
    _, info = await client.json("GET", "/v1.48/info")
    assert "FirewallBackend" not in info
    assert info["RuncCommit"] == {"ID": "abc", "Expected": "abc"}


async def test_a_change_goes_on_when_its_client_has_gone(client: RawClient, engine: FakeEngine) -> None:
    started, go_on, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def start(ref: str) -> None:
        started.set()
        await go_on.wait()
        done.set()

    engine.containers.start = start  # type: ignore[method-assign]
    _, writer = await client.open()
    writer.write(b"POST /containers/web/start HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n")
    async with asyncio.timeout(5):
        await started.wait()
        writer.close()
        await writer.wait_closed()
        # Answered after the server has noticed that the other connection is gone.
        await client.json("GET", "/version")
        go_on.set()
        await done.wait()

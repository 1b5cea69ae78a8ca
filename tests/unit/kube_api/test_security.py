"""Who asks, on whose behalf, how much at once, and what is noted of it: over HTTPS."""

import json
import ssl
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest

from wherry.host.instance import Instance
from wherry.kube_api.http.app import App
from wherry.kube_api.http.inflight import InFlight
from wherry.kube_api.options import ServerOptions
from wherry.kube_api.server import ApiServer
from wherry.schema.errors import TooManyRequests

PATH = "/api/v1/namespaces/default/configmaps"
TOKENS = {"t": ("root", ("system:masters",)), "o": ("other", ("system:masters",)), "u": ("alice", ())}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ApiServer]:
    instance = Instance("test", tmp_path / "root", tmp_path / "run")
    instance.root.mkdir()
    server = ApiServer(instance, ServerOptions(port=0, static_tokens=TOKENS, audit_log=True))
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def http(server: ApiServer) -> AsyncIterator[aiohttp.ClientSession]:
    context = ssl.create_default_context(cafile=str(server.pki.ca.cert))
    connector = aiohttp.TCPConnector(ssl=context, limit=0)
    async with aiohttp.ClientSession(server.url, connector=connector, headers=bearer("t")) as session:
        yield session


def bearer(token: str, **more: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", **{f"Impersonate-{name}": value for name, value in more.items()}}


def audited(server: ApiServer) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (server.instance.log_dir / "audit.log").read_text().splitlines()]


async def status(http: aiohttp.ClientSession, method: str, path: str, **options: Any) -> int:
    async with http.request(method, path, **options) as response:
        await response.read()
        return response.status


async def test_the_audit_log_tells_who_did_what(server: ApiServer, http: aiohttp.ClientSession) -> None:
    assert await status(http, "POST", PATH, json={"metadata": {"name": "a"}, "data": {"secret": "hidden"}}) == 201
    assert await status(http, "GET", f"{PATH}/a") == 200
    assert await status(http, "GET", PATH, headers=bearer("u")) == 403
    assert await status(http, "GET", f"{PATH}/a", headers=bearer("wrong")) == 401
    assert await status(http, "DELETE", f"{PATH}/a", headers=bearer("t", User="bob", Group="dev")) == 403
    assert await status(http, "DELETE", f"{PATH}/a") == 200
    found = [one for one in audited(server) if one["objectRef"]["resource"] == "configmaps"]
    seen = [
        (one["verb"], one["objectRef"].get("name"), one["user"]["username"], one["responseStatus"]["code"])
        for one in found
    ]
    assert seen == [
        ("create", None, "root", 201),
        ("get", "a", "root", 200),
        ("list", None, "alice", 403),
        ("get", "a", "system:anonymous", 401),
        ("delete", "a", "root", 403),
        ("delete", "a", "root", 200),
    ]
    assert found[4]["impersonatedUser"] == {"username": "bob", "groups": ["dev", "system:authenticated"]}
    assert all("impersonatedUser" not in one for one in found if one is not found[4])
    assert all(one["sourceIPs"] == ["127.0.0.1"] and one["level"] == "Metadata" for one in found)
    assert "hidden" not in json.dumps(found)


async def test_impersonation_needs_a_user_and_the_right_to_it(http: aiohttp.ClientSession) -> None:
    for wrong in ({"Group": "dev"}, {"Uid": "1"}):
        assert await status(http, "GET", PATH, headers=bearer("t", **wrong)) == 400
    assert await status(http, "GET", PATH, headers=bearer("u", User="root")) == 403
    async with http.get("/api/v1/nodes", headers=bearer("t", User="system:serviceaccount:a:b")) as response:
        assert 'User "system:serviceaccount:a:b" cannot list resource "nodes"' in (await response.json())["message"]


async def test_too_much_at_once_is_429_and_leaves_room_for_others(
    server: ApiServer, http: aiohttp.ClientSession
) -> None:
    assert server._http is not None
    app = cast(App, server._http.application)
    app._writes = InFlight(8)
    body = {"metadata": {"name": "c"}}
    with ExitStack() as busy:
        with pytest.raises(TooManyRequests):
            for _ in range(8):
                busy.enter_context(app._writes.one("root"))
        async with http.post(PATH, json=body) as response:
            refused = await response.json()
            assert (response.status, response.headers["Retry-After"]) == (429, "1")
        assert (refused["reason"], refused["details"]["retryAfterSeconds"]) == ("TooManyRequests", 1)
        assert await status(http, "POST", PATH, json=body, headers=bearer("o")) == 201, "another has room"
        assert await status(http, "GET", f"{PATH}/c") == 200, "reads have room of their own"
    assert await status(http, "DELETE", f"{PATH}/c") == 200

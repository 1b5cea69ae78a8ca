"""Who asks, on whose behalf, how much at once, and what is noted of it: over HTTPS."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from wherry.host.instance import Instance
from wherry.kube_api.http.inflight import InFlight
from wherry.kube_api.options import ServerOptions
from wherry.kube_api.server import ApiServer
from wherry.schema import builtin

PATH = "/api/v1/namespaces/default/configmaps"
TOKENS = {"t": ("root", ("system:masters",)), "u": ("alice", ())}


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
    app = server._http.application if server._http is not None else None
    app._writes = InFlight(4)  # type: ignore[union-attr]
    role = {"metadata": {"name": "all"}, "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]}]}
    binding = {
        "metadata": {"name": "all"},
        "subjects": [{"kind": "User", "name": "alice", "apiGroup": "rbac.authorization.k8s.io"}],
        "roleRef": {"kind": "ClusterRole", "name": "all", "apiGroup": "rbac.authorization.k8s.io"},
    }
    group = "/apis/rbac.authorization.k8s.io/v1"
    assert await status(http, "POST", f"{group}/clusterroles", json=role) == 201
    assert await status(http, "POST", f"{group}/clusterrolebindings", json=binding) == 201

    async def create(number: int) -> tuple[int, str | None]:
        body = {"metadata": {"name": f"c{number}"}}
        async with http.post(PATH, json=body, headers=bearer("u")) as response:
            await response.read()
            return response.status, response.headers.get("Retry-After")

    storm = [asyncio.create_task(create(number)) for number in range(60)]
    others = [await status(http, "POST", PATH, json={"metadata": {"name": f"mine{number}"}}) for number in range(5)]
    results = await asyncio.gather(*storm)
    assert others == [201] * 5, "the one who asks little is not refused"
    assert {code for code, _ in results} == {201, 429}
    assert all(after == "1" for code, after in results if code == 429)
    made = server.api.cache_of(builtin.CONFIG_MAPS).size("default")
    assert made == sum(code == 201 for code, _ in results) + len(others)

"""The whole server over HTTPS: authentication, authorisation, wire formats."""

import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from wherry.host.instance import Instance
from wherry.kube_api.server import ApiServer, ServerOptions

TOKENS = {"admin-token": ("root", ("system:masters",)), "user-token": ("alice", ("system:authenticated",))}
ADMIN = {"Authorization": "Bearer admin-token"}
USER = {"Authorization": "Bearer user-token"}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ApiServer]:
    instance = Instance("test", tmp_path / "root", tmp_path / "run")
    instance.root.mkdir()
    server = ApiServer(instance, ServerOptions(port=0, static_tokens=TOKENS))
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def http(server: ApiServer) -> AsyncIterator[aiohttp.ClientSession]:
    context = ssl.create_default_context(cafile=str(server.pki.ca.cert))
    async with aiohttp.ClientSession(server.url, connector=aiohttp.TCPConnector(ssl=context), headers=ADMIN) as session:
        yield session


CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


def config_map(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": "v"}}


async def test_objects_round_trip(http: aiohttp.ClientSession) -> None:
    async with http.post(CONFIG_MAPS, json=config_map("a")) as response:
        assert response.status == 201
        made = await response.json()
    async with http.get(f"{CONFIG_MAPS}/a") as response:
        assert await response.json() == made
    async with http.delete(f"{CONFIG_MAPS}/a") as response:
        status = await response.json()
        assert (response.status, status["status"], status["details"]["name"]) == (200, "Success", "a")
    async with http.get(f"{CONFIG_MAPS}/a") as response:
        assert response.status == 404
        assert (await response.json())["message"] == 'configmaps "a" not found'


async def test_anonymous_sees_health_and_version_only(server: ApiServer, http: aiohttp.ClientSession) -> None:
    context = ssl.create_default_context(cafile=str(server.pki.ca.cert))
    async with aiohttp.ClientSession(server.url, connector=aiohttp.TCPConnector(ssl=context)) as nobody:
        for path, expected in (("/healthz", 200), ("/version", 200), ("/api", 403), (CONFIG_MAPS, 403)):
            async with nobody.get(path) as response:
                assert response.status == expected, path
        async with nobody.get(CONFIG_MAPS, headers={"Authorization": "Bearer wrong"}) as response:
            assert response.status == 401


async def test_rbac_lets_users_do_what_they_are_bound_to(http: aiohttp.ClientSession) -> None:
    async with http.get(CONFIG_MAPS, headers=USER) as response:
        assert response.status == 403
        assert (await response.json())["message"] == (
            'configmaps is forbidden: User "alice" cannot list resource "configmaps" in API group "" '
            'in the namespace "default"'
        )
    binding = {
        "metadata": {"name": "b"},
        "subjects": [{"kind": "User", "name": "alice", "apiGroup": "rbac.authorization.k8s.io"}],
        "roleRef": {"kind": "ClusterRole", "name": "view", "apiGroup": "rbac.authorization.k8s.io"},
    }
    path = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings"
    async with http.post(path, json=binding) as response:
        assert response.status == 201, await response.text()
    async with http.get(CONFIG_MAPS, headers=USER) as response:
        assert response.status == 200
    async with http.post(CONFIG_MAPS, json=config_map("x"), headers=USER) as response:
        assert response.status == 403


async def test_nobody_grants_more_than_they_hold(http: aiohttp.ClientSession) -> None:
    rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default"
    role = {
        "metadata": {"name": "roles"},
        "rules": [
            {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"], "verbs": ["create"]},
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
        ],
    }
    binding = {
        "metadata": {"name": "b"},
        "subjects": [{"kind": "User", "name": "alice", "apiGroup": "rbac.authorization.k8s.io"}],
        "roleRef": {"kind": "Role", "name": "roles", "apiGroup": "rbac.authorization.k8s.io"},
    }
    for kind, body in (("roles", role), ("rolebindings", binding)):
        async with http.post(f"{rbac}/{kind}", json=body) as response:
            assert response.status == 201, await response.text()
    for verb, status in (("get", 201), ("delete", 403)):
        rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": [verb]}]
        async with http.post(
            f"{rbac}/roles", json={"metadata": {"name": verb}, "rules": rules}, headers=USER
        ) as response:
            assert response.status == status
    admin = {"kind": "ClusterRole", "name": "cluster-admin", "apiGroup": "rbac.authorization.k8s.io"}
    body = {**binding, "metadata": {"name": "c"}, "roleRef": admin}
    async with http.post(f"{rbac}/rolebindings", json=body, headers=USER) as response:
        assert response.status == 403
        assert "is attempting to grant RBAC permissions not currently held" in (await response.json())["message"]


async def test_service_account_tokens_authenticate(server: ApiServer, http: aiohttp.ClientSession) -> None:
    accounts = "/api/v1/namespaces/default/serviceaccounts"
    async with http.post(accounts, json={"metadata": {"name": "bob"}}) as response:
        assert response.status == 201
    async with http.post(f"{accounts}/bob/token", json={"spec": {"expirationSeconds": 600}}) as response:
        token = (await response.json())["status"]["token"]
    review = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    bearer = {"Authorization": f"Bearer {token}"}
    async with http.post(review, json={}, headers=bearer) as response:
        info = (await response.json())["status"]["userInfo"]
        assert info["username"] == "system:serviceaccount:default:bob"
        assert "system:serviceaccounts:default" in info["groups"]
    async with http.delete(f"{accounts}/bob"):
        pass
    async with http.post(review, json={}, headers=bearer) as response:
        assert response.status == 401


async def test_tables(http: aiohttp.ClientSession) -> None:
    accept = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}
    async with http.get("/api/v1/namespaces", headers=accept) as response:
        table = await response.json()
    assert table["kind"] == "Table"
    assert [column["name"] for column in table["columnDefinitions"]][:2] == ["Name", "Status"]
    assert sorted(row["cells"][0] for row in table["rows"]) == [
        "default",
        "kube-node-lease",
        "kube-public",
        "kube-system",
    ]


async def test_watch_streams_lines(http: aiohttp.ClientSession) -> None:
    async with http.get(CONFIG_MAPS) as response:
        version = (await response.json())["metadata"]["resourceVersion"]
    url = f"{CONFIG_MAPS}?watch=1&resourceVersion={version}&timeoutSeconds=1"
    async with http.get(url) as watch:
        async with http.post(CONFIG_MAPS, json=config_map("w")):
            pass
        event = json.loads(await watch.content.readline())
        assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "w")
        assert await watch.content.read() == b""


async def test_a_watch_from_too_old_a_version_is_told_in_the_stream(
    http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wherry.kube_api.cache.WINDOW", 4)
    async with http.get(CONFIG_MAPS) as response:
        version = (await response.json())["metadata"]["resourceVersion"]
    for number in range(20):
        async with http.post(CONFIG_MAPS, json=config_map(f"old-{number}")) as response:
            assert response.status == 201
    async with http.get(f"{CONFIG_MAPS}?watch=1&resourceVersion={version}") as watch:
        assert watch.status == 200
        event = json.loads(await watch.content.readline())
        assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")
        assert await watch.content.read() == b""


async def test_unknown_fields_warn_or_refuse(http: aiohttp.ClientSession) -> None:
    body = {**config_map("f"), "extra": 1}
    async with http.post(f"{CONFIG_MAPS}?fieldValidation=Strict", json=body) as response:
        assert response.status == 400
        assert 'strict decoding error: unknown field "extra"' in (await response.json())["message"]
    async with http.post(CONFIG_MAPS, json=body) as response:
        assert response.status == 201
        assert response.headers["Warning"] == '299 - "unknown field \\"extra\\""'
        assert "extra" not in await response.json()


async def test_dry_run_writes_nothing(http: aiohttp.ClientSession) -> None:
    async with http.post(f"{CONFIG_MAPS}?dryRun=All", json=config_map("d")) as response:
        assert response.status == 201
    async with http.get(f"{CONFIG_MAPS}/d") as response:
        assert response.status == 404


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", CONFIG_MAPS, b"{", 400),
        ("POST", CONFIG_MAPS, b"[]", 400),
        ("POST", CONFIG_MAPS, b'{"kind":"Pod","apiVersion":"v1"}', 400),
        ("POST", CONFIG_MAPS, b'"\xff"', 400),
        ("POST", CONFIG_MAPS, b"[" * 100000, 400),
        ("POST", CONFIG_MAPS, b'{"metadata":{"name":"x","namespace":"other"}}', 400),
        ("POST", CONFIG_MAPS, b'{"metadata":1}', 400),
        ("GET", CONFIG_MAPS + "?labelSelector=,,", None, 400),
        ("GET", CONFIG_MAPS + "?continue=x", None, 400),
        ("GET", CONFIG_MAPS + "?resourceVersion=x", None, 400),
        ("GET", CONFIG_MAPS + "?limit=x", None, 400),
        ("GET", "/api/v1/nothing", None, 404),
        ("GET", "/api/v1/namespaces/default/configmaps/a/b/c", None, 404),
        ("PUT", CONFIG_MAPS, b"{}", 405),
        ("PATCH", CONFIG_MAPS + "/x", b"{}", 415),
        ("BREW", CONFIG_MAPS, None, 405),
    ],
)
async def test_bad_requests(
    http: aiohttp.ClientSession, method: str, path: str, body: bytes | None, status: int
) -> None:
    async with http.request(method, path, data=body, headers={"Content-Type": "application/json"}) as response:
        answer = await response.json()
        assert (response.status, answer["kind"], answer["code"]) == (status, "Status", status), answer


async def test_too_large_bodies_are_refused(http: aiohttp.ClientSession) -> None:
    async with http.post(CONFIG_MAPS, data=b"x" * (4 << 20), headers={"Content-Type": "application/json"}) as response:
        assert response.status == 413


async def test_everything_is_there_after_a_restart(server: ApiServer, http: aiohttp.ClientSession) -> None:
    async with http.post(
        "/api/v1/namespaces/default/secrets", json={"metadata": {"name": "s"}, "data": {"k": "c2VjcmV0"}}
    ):
        pass
    port = server.port
    await server.stop()
    assert b"c2VjcmV0" not in server.store_path.read_bytes()
    again = ApiServer(server.instance, server.options)
    await again.start()
    try:
        assert again.port == port
        async with http.get("/api/v1/namespaces/default/secrets/s") as response:
            assert (await response.json())["data"] == {"k": "c2VjcmV0"}
    finally:
        await again.stop()


async def test_a_serving_certificate_near_its_end_is_renewed_while_serving(
    server: ApiServer, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wherry.kube_api import pki, rotation

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    before = server.pki.serving.cert.read_bytes()
    names = ["localhost", "127.0.0.1"]
    assert not await rotation.renew(server, context, names)
    monkeypatch.setattr(pki, "RENEW_DAYS", pki.LEAF_DAYS + 1)
    assert await rotation.renew(server, context, names)
    assert server.pki.serving.cert.read_bytes() != before
    async with http.get("/healthz") as response:
        assert response.status == 200

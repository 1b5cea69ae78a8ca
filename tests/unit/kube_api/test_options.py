"""Options of requests over HTTPS: which go together, and what is said of those that do not."""

import gzip
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from wherry.host.instance import Instance
from wherry.kube_api.options import ServerOptions
from wherry.kube_api.server import ApiServer

PATH = "/api/v1/namespaces/default/configmaps"


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[aiohttp.ClientSession]:
    instance = Instance("test", tmp_path / "root", tmp_path / "run")
    instance.root.mkdir()
    server = ApiServer(instance, ServerOptions(port=0, static_tokens={"t": ("root", ("system:masters",))}))
    await server.start()
    context = ssl.create_default_context(cafile=str(server.pki.ca.cert))
    headers = {"Authorization": "Bearer t"}
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(server.url, connector=connector, headers=headers) as session:
        for name in ("a", "b", "c"):
            await made(session, name)
        yield session
    await server.stop()


async def made(http: aiohttp.ClientSession, name: str, **data: str) -> dict[str, Any]:
    async with http.post(PATH, json={"metadata": {"name": name}, "data": data}) as response:
        assert response.status == 201
        found: dict[str, Any] = await response.json()
        return found


async def answer(http: aiohttp.ClientSession, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
    data = None if body is None else json.dumps(body)
    async with http.request(method, path, data=data, headers={"Content-Type": kind}) as response:
        return response.status, json.loads(await response.read())


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("resourceVersionMatch=Exact", "resourceVersionMatch is forbidden unless resourceVersion is provided"),
        (
            "resourceVersion=0&resourceVersionMatch=Exact",
            'resourceVersionMatch "exact" is forbidden for resourceVersion "0"',
        ),
        ("resourceVersion=1&resourceVersionMatch=Some", 'Unsupported value: "Some": supported values: "Exact", '),
        (
            "resourceVersion=1&resourceVersionMatch=Exact&continue=x",
            "resourceVersionMatch is forbidden when continue is provided",
        ),
        ("sendInitialEvents=true", "sendInitialEvents is forbidden for list"),
        (
            "watch=1&sendInitialEvents=true",
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ),
        (
            "watch=1&resourceVersion=0&resourceVersionMatch=NotOlderThan",
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        ),
        (
            "watch=1&sendInitialEvents=true&resourceVersion=1&resourceVersionMatch=Exact",
            'Unsupported value: "Exact": supported values: "NotOlderThan"',
        ),
    ],
)
async def test_options_that_do_not_go_together(http: aiohttp.ClientSession, query: str, problem: str) -> None:
    status, body = await answer(http, "GET", f"{PATH}?{query}")
    assert (status, body["reason"]) == (422, "Invalid")
    assert body["message"].startswith('ListOptions.meta.k8s.io "" is invalid: ')
    assert problem in body["message"]


async def test_lists_at_a_revision(http: aiohttp.ClientSession) -> None:
    _, before = await answer(http, "GET", PATH)
    revision = before["metadata"]["resourceVersion"]
    await made(http, "later")

    async def names(query: str) -> list[str]:
        status, body = await answer(http, "GET", f"{PATH}?{query}")
        assert status == 200, body
        return [one["metadata"]["name"] for one in body["items"]]

    assert await names(f"resourceVersion={revision}&resourceVersionMatch=Exact") == ["a", "b", "c"]
    assert await names(f"resourceVersion={revision}&resourceVersionMatch=NotOlderThan") == ["a", "b", "c", "later"]
    assert await names("resourceVersion=0") == ["a", "b", "c", "later"]
    assert await names("limit=-1") == ["a", "b", "c", "later"], "no limit"
    _, page = await answer(http, "GET", f"{PATH}?limit=2")
    token = page["metadata"]["continue"]
    assert await names(f"limit=5&continue={token}") == ["c", "later"]
    status, body = await answer(http, "GET", f"{PATH}?continue={token}&resourceVersion={revision}")
    assert (status, body["message"]) == (400, "specifying resource version is not allowed when using continue")


async def test_a_streamed_list_ends_with_a_bookmark(http: aiohttp.ClientSession) -> None:
    query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=1"
    async with http.get(f"{PATH}?{query}") as response:
        lines = [json.loads(line) for line in (await response.read()).splitlines()]
    assert [one["type"] for one in lines] == ["ADDED", "ADDED", "ADDED", "BOOKMARK"]
    assert lines[-1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


@pytest.mark.parametrize(
    ("method", "path", "body", "kind"),
    [
        ("POST", PATH, {"metadata": {"name": "x"}}, "CreateOptions"),
        ("PUT", f"{PATH}/a", {"metadata": {"name": "a"}}, "UpdateOptions"),
        ("PATCH", f"{PATH}/a", {"data": {"x": "y"}}, "PatchOptions"),
        ("DELETE", f"{PATH}/a", None, "DeleteOptions"),
        ("DELETE", PATH, None, "DeleteOptions"),
    ],
)
async def test_dry_runs_of_every_verb(
    http: aiohttp.ClientSession, method: str, path: str, body: Any, kind: str
) -> None:
    before = (await answer(http, "GET", PATH))[1]["items"]
    status, _ = await answer(http, method, f"{path}?dryRun=All", body)
    assert status in (200, 201)
    assert (await answer(http, "GET", PATH))[1]["items"] == before
    status, refused = await answer(http, method, f"{path}?dryRun=Some", body)
    assert (status, refused["message"]) == (
        422,
        f'{kind}.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["Some"]: supported values: "All"',
    )
    assert (await answer(http, "GET", PATH))[1]["items"] == before


async def test_long_answers_are_compressed_for_those_who_ask(http: aiohttp.ClientSession) -> None:
    await made(http, "long", text="x" * 200_000)
    headers = {"Accept-Encoding": "gzip"}
    for path, length in ((PATH, 200_000), ("/openapi/v2", 500_000)):
        async with http.get(path, headers=headers, auto_decompress=False) as response:
            assert response.headers["Content-Encoding"] == "gzip"
            assert len(gzip.decompress(await response.read())) > length
        async with http.get(path, headers={"Accept-Encoding": "identity"}, auto_decompress=False) as response:
            assert "Content-Encoding" not in response.headers
            json.loads(await response.read())
    async with http.get(f"{PATH}/a", headers=headers, auto_decompress=False) as response:
        assert "Content-Encoding" not in response.headers, "too short to be worth it"


async def test_health_is_told_by_part(http: aiohttp.ClientSession) -> None:
    async with http.get("/readyz?verbose") as response:
        text = await response.text()
    assert "[+]etcd ok\n" in text and text.endswith("readyz check passed\n")
    for path in ("/livez/etcd", "/readyz/ping", "/healthz"):
        async with http.get(path) as response:
            assert (response.status, await response.text()) == (200, "ok")


async def test_the_parts_of_the_control_plane(http: aiohttp.ClientSession) -> None:
    status, body = await answer(http, "GET", "/api/v1/componentstatuses")
    assert (status, body["kind"]) == (200, "ComponentStatusList")
    assert [one["metadata"]["name"] for one in body["items"]] == ["controller-manager", "etcd-0", "scheduler"]
    table = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    async with http.get("/api/v1/componentstatuses/etcd-0", headers=table) as response:
        assert response.headers["Warning"] == '299 - "v1 ComponentStatus is deprecated in v1.19+"'
        rows = (await response.json())["rows"]
    assert [row["cells"] for row in rows] == [["etcd-0", "Healthy", "ok", ""]]
    assert (await answer(http, "GET", "/api/v1/componentstatuses/x"))[0] == 404
    assert (await answer(http, "POST", "/api/v1/componentstatuses", {"metadata": {"name": "x"}}))[0] == 405

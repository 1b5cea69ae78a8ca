"""Whatever is sent to the API server: never a 500, never a hang, never a broken connection.

Objects are made from the OpenAPI documents that the server itself serves, and then spoiled: values of wrong types,
huge numbers, odd names, missing parts. Every verb is tried with them.
"""

import asyncio
import json
import random
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from wherry.client import kubeconfig
from wherry.host.instance import Instance
from wherry.kube_api.options import ServerOptions
from wherry.kube_api.server import ApiServer

pytestmark = pytest.mark.root

SEED = 20_260_101
PER_KIND = 12
SPOILERS: list[Any] = [
    None, True, 0, -1, 1 << 31, 1 << 62, -(1 << 63), 1.5, 1e308, "", "a", "-1", "10%", "1Gi", "NaN", "a" * 5000,
    "\u0000", "ä€😀", "../../etc", "*", [], [None], [[]], {}, {"": None}, {"a": {"b": {"c": []}}},
    "2026-01-01T00:00:00Z", "999999999999999999999999", "0x10", " ", "\n",
]  # fmt: skip


class Server:
    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.session = session
        self.statuses: dict[int, int] = {}

    async def call(
        self, method: str, path: str, body: Any = None, content: str = "application/json"
    ) -> tuple[int, str]:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode("utf-8", "surrogatepass")
        async with asyncio.timeout(20):
            async with self.session.request(
                method, self.url + path, data=data, headers={"Content-Type": content} if data is not None else {}
            ) as response:
                text = (await response.content.read(20_000)).decode(errors="replace")
                self.statuses[response.status] = self.statuses.get(response.status, 0) + 1
                return response.status, text


@pytest_asyncio.fixture
async def api(wherry_instance: Instance) -> AsyncIterator[Server]:
    server = ApiServer(wherry_instance, ServerOptions(port=0))
    await server.start()
    connection = kubeconfig.load(wherry_instance.kubeconfig)
    context = ssl.create_default_context(cafile=str(server.pki.ca.cert))
    pair = server.pki.client("admin", "kubernetes-admin", ("system:masters",))
    context.load_cert_chain(pair.cert, pair.key)
    connector = aiohttp.TCPConnector(ssl=context, limit=4)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield Server(connection.server, session)
    await server.stop()


def make(schema: dict[str, Any], schemas: dict[str, Any], rng: random.Random, depth: int = 0) -> Any:
    """A value that more or less fits a schema."""
    while "$ref" in schema or "allOf" in schema:
        reference = schema.get("$ref") or schema["allOf"][0].get("$ref")
        if reference is None:
            break
        schema = schemas[reference.rpartition("/")[2]]
    if "properties" in schema:
        required = set(schema.get("required") or ())
        made = {}
        for name, child in schema["properties"].items():
            wanted = name in required or name in ("spec", "metadata", "template") or rng.random() < 0.6 / (1 + depth)
            if name in ("apiVersion", "kind", "status", "managedFields") or depth > 7 or not wanted:
                continue
            made[name] = make(child, schemas, rng, depth + 1)
        return made
    kind = schema.get("type")
    if kind == "array":
        return [make(schema.get("items") or {}, schemas, rng, depth + 1) for _ in range(rng.choice((0, 1, 1, 2)))]
    if kind == "object" or "additionalProperties" in schema:
        inner = schema.get("additionalProperties")
        return {"a": make(inner, schemas, rng, depth + 1)} if isinstance(inner, dict) else {"a": "b"}
    if kind == "boolean":
        return rng.random() < 0.5
    if kind in ("integer", "number"):
        return rng.choice((0, 1, 80, 300))
    return rng.choice(("a", "b", "1", "10Mi", "Always", "TCP", "2026-01-01T00:00:00Z"))


def spoil(value: Any, rng: random.Random) -> Any:
    """One place in it becomes something else."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(list(value))
        if rng.random() < 0.1:
            return {other: item for other, item in value.items() if other != key}
        return {**value, key: spoil(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.85:
        index = rng.randrange(len(value))
        return [*value[:index], spoil(value[index], rng), *value[index + 1 :]]
    return rng.choice(SPOILERS)


async def kinds(api: Server) -> list[tuple[str, str, dict[str, Any], dict[str, Any], dict[str, str]]]:
    """(collection path, name of plural, schema, all schemas, group-version-kind) of everything that can be created."""
    found = []
    async with api.session.get(api.url + "/openapi/v3") as response:
        documents = (await response.json())["paths"]
    for path in documents:
        async with api.session.get(f"{api.url}/openapi/v3/{path}") as response:
            document = await response.json()
        schemas = document["components"]["schemas"]
        for where, item in document["paths"].items():
            if "post" not in item or "{name}" in where:
                continue
            post = item["post"]
            schema = next(iter(post["requestBody"]["content"].values()))["schema"]
            gvk = post["x-kubernetes-group-version-kind"]
            found.append((where.replace("{namespace}", "default"), where.rpartition("/")[2], schema, schemas, gvk))
    return found


async def test_spoiled_objects_of_every_kind(api: Server) -> None:
    rng = random.Random(SEED)
    bad = []
    for where, _, schema, schemas, gvk in await kinds(api):
        api_version = f"{gvk['group']}/{gvk['version']}" if gvk["group"] else gvk["version"]
        for number in range(PER_KIND):
            obj = make(schema, schemas, rng)
            if not isinstance(obj, dict):
                continue
            obj |= {"apiVersion": api_version, "kind": gvk["kind"]}
            metadata = obj.get("metadata") if isinstance(obj.get("metadata"), dict) else {}
            obj["metadata"] = {
                **metadata,
                "name": f"x{number}",
                "namespace": "default" if "namespaces/" in where else "",
            }
            for field in ("generateName", "resourceVersion", "uid", "finalizers", "deletionTimestamp"):
                obj["metadata"].pop(field, None)
            if not obj["metadata"]["namespace"]:
                del obj["metadata"]["namespace"]
            for _ in range(rng.choice((0, 1, 1, 3))):
                obj = spoil(obj, rng)
                if not isinstance(obj, dict):
                    obj = {}
            tried = [("POST", where, obj, "application/json"), ("POST", f"{where}?dryRun=All", obj, "application/yaml")]
            item = f"{where}/x{number}"
            patch = spoil(obj, rng)
            tried += [
                ("PUT", item, obj, "application/json"),
                ("PATCH", item, patch, "application/merge-patch+json"),
                ("PATCH", item, patch, "application/strategic-merge-patch+json"),
                ("PATCH", f"{item}?fieldManager=f&force=true", obj, "application/apply-patch+yaml"),
                ("PATCH", item, [{"op": "replace", "path": "/spec", "value": spoil(obj.get("spec"), rng)}],
                 "application/json-patch+json"),
                ("GET", item, None, ""),
            ]  # fmt: skip
            for method, path, body, content in tried:
                try:
                    status, text = await api.call(method, path, body, content)
                except (TimeoutError, aiohttp.ClientError) as error:
                    status, text = 0, repr(error)
                if status in (0, 500) or (status >= 400 and '"kind":"Status"' not in text):
                    bad.append((status, method, path, content, json.dumps(body)[:1500], text[:300]))
    assert not bad, f"{len(bad)} bad answers, the first ones:\n" + "\n".join(str(one) for one in bad[:5])
    assert api.statuses.get(201, 0) > 50
    status, _ = await api.call("GET", "/readyz")
    assert status == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "content", "expected"),
    [
        ("POST", "configmaps", b"{", "application/json", 400),
        ("POST", "configmaps", b"\xff\xfe{}", "application/json", 400),
        ("POST", "configmaps", b'{"metadata":{"name":"\xff"}}', "application/json", 400),
        ("POST", "configmaps", b"[" * 100_000, "application/json", 400),
        ("POST", "configmaps", b'{"data":' * 5000 + b"1" + b"}" * 5000, "application/json", 400),
        ("POST", "configmaps", b"x: &a [1]\ny: " + b"[" * 3000 + b"*a" + b"]" * 3000, "application/yaml", 400),
        ("POST", "configmaps", b"x" * (4 << 20), "application/json", 413),
        ("POST", "configmaps", b"{}", "text/html", 415),
        ("POST", "configmaps", b"k8s\0" + b"\xff" * 50, "application/vnd.kubernetes.protobuf", 400),
        ("POST", "configmaps", b"null", "application/json", 400),
        ("POST", "configmaps", b'"text"', "application/json", 400),
        ("POST", "configmaps", b"", "application/json", 400),
        ("PUT", "configmaps", b"{}", "application/json", 405),
        ("GET", "configmaps?labelSelector=a%20in", None, "", 400),
        ("GET", "configmaps?labelSelector=" + "a," * 30_000 + "b", None, "", None),
        ("GET", "configmaps?fieldSelector=spec.x=1", None, "", 400),
        ("GET", "configmaps?limit=x", None, "", 400),
        ("GET", "configmaps?limit=-5", None, "", None),
        ("GET", "configmaps?continue=%FF%FE", None, "", 400),
        ("GET", "configmaps?resourceVersion=abc", None, "", 400),
        ("GET", "configmaps?resourceVersion=99999999999&timeoutSeconds=1", None, "", 504),
        ("GET", "configmaps?watch=1&resourceVersion=-1", None, "", 400),
        ("GET", "configmaps/%2e%2e%2fsecrets", None, "", 404),
        ("GET", "configmaps/" + "a" * 5000, None, "", 404),
        ("DELETE", "configmaps/x?gracePeriodSeconds=abc", None, "", None),
        ("DELETE", "configmaps/x", b'{"propagationPolicy":"Sideways"}', "application/json", 422),
        ("DELETE", "configmaps/x", b'{"preconditions":7}', "application/json", None),
        ("PATCH", "configmaps/x", b'[{"op":"add"}]', "application/json-patch+json", None),
        ("PATCH", "configmaps/x?fieldManager=f", b"a: [", "application/apply-patch+yaml", 400),
        ("PATCH", "configmaps/x?fieldManager=f", b"[" * 100_000, "application/apply-patch+yaml", 400),
        ("POST", "configmaps", b"- " * 30_000, "application/yaml", 400),
        ("POST", "configmaps", b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "application/yaml", 400),
        ("BREW", "configmaps", None, "", 405),
    ],
)  # fmt: skip
async def test_single_bad_requests(
    api: Server, method: str, path: str, body: bytes | None, content: str, expected: int | None
) -> None:
    status, text = await api.call(method, f"/api/v1/namespaces/default/{path}", body, content)
    assert 400 <= status < 600 or expected is None, text[:300]
    assert status != 500, text[:300]
    if expected is not None:
        assert status == expected, text[:300]


async def test_a_yaml_bomb_is_refused(api: Server) -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    for before, after in zip("abcdefgh", "bcdefghi", strict=True):
        bomb += f"{after}: &{after} [" + ", ".join([f"*{before}"] * 9) + "]\n"
    status, text = await api.call("POST", "/api/v1/namespaces/default/configmaps", bomb.encode(), "application/yaml")
    assert status == 400
    assert "excessive aliasing" in text


async def test_broken_http(api: Server, wherry_instance: Instance) -> None:
    """Raw bytes: answered or cut off, and the server lives on."""
    host, _, port = api.url.removeprefix("https://").rpartition(":")
    context = ssl.create_default_context(cafile=str(Path(wherry_instance.pki_dir) / "ca.crt"))
    for data in (
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /api HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 20_000 + b"\r\n",
        b"POST /api/v1/namespaces HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /api/v1/namespaces HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"",
    ):
        reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
        writer.write(data)
        writer.write_eof() if writer.can_write_eof() else None
        try:
            async with asyncio.timeout(10):
                answer = await reader.read(200)
        except (ConnectionError, ssl.SSLError):
            answer = b""
        except TimeoutError:
            assert data == b"", f"no answer to {data[:40]!r}"
            answer = b""
        assert not answer.startswith(b"HTTP/1.1 500"), (data[:60], answer)
        writer.close()
    status, _ = await api.call("GET", "/readyz")
    assert status == 200

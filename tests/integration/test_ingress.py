"""Ingress with the real nginx, with a stand-in for the API server: every Service is a server on this machine."""

import asyncio
import base64
import contextlib
import json
import os
import shutil
import signal
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from network_peer import free_port

from wherry.cluster_net.ingress import IngressController
from wherry.cluster_net.settings import IngressSettings
from wherry.host import leftovers
from wherry.host.instance import Instance
from wherry.schema.builtin import ENDPOINT_SLICES, EVENTS, INGRESS_CLASSES, INGRESSES, SECRETS, SERVICES
from wherry.testing.fake_client import FakeClient

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not shutil.which("nginx"), reason="nginx is not installed"),
]

PREFIX = "nginx.ingress.kubernetes.io/"


class Backend:
    """A server that answers with its name and the request as it came: a JSON object."""

    def __init__(self, name: str, address: str) -> None:
        self.name, self.address = name, address
        self.delay = 0.0
        self._server: asyncio.Server | None = None

    async def start(self, port: int) -> None:
        self._server = await asyncio.start_server(self._serve, self.address, port)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                line, _, rest = head.partition("\r\n")
                method, path, _ = line.split()
                headers = dict(one.split(": ", 1) for one in rest.strip().split("\r\n") if ": " in one)
                headers = {name.lower(): value for name, value in headers.items()}
                if headers.get("upgrade") == "echo":
                    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n")
                    while data := await reader.read(100):
                        writer.write(data)
                    break
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                await asyncio.sleep(self.delay)
                seen = {"name": self.name, "method": method, "path": path, "headers": headers, "size": len(body)}
                code = b"401 Unauthorized" if path.startswith("/deny") else b"200 OK"
                text = json.dumps(seen).encode()
                writer.write(b"HTTP/1.1 %s\r\nX-User: alice\r\nContent-Length: %d\r\n\r\n%s" % (code, len(text), text))
                await writer.drain()
        writer.close()


class Answer:
    """`seen` is what the backend saw, when a backend answered."""

    def __init__(self, raw: str) -> None:
        head, _, self.body = raw.rpartition("\r\n\r\n") if "\r\n\r\n" in raw else ("", "", raw)
        # curl shows the heads of interim answers too: the last one counts.
        lines = head.split("\r\n\r\n")[-1].split("\r\n")
        self.status = int(lines[0].split()[1]) if lines[0] else 0
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:]) if name}
        self.cookies = [line.partition(": ")[2] for line in lines[1:] if line.lower().startswith("set-cookie: ")]
        try:
            self.seen: dict[str, Any] = json.loads(self.body)
        except ValueError:
            self.seen = {}

    @property
    def name(self) -> str:
        return str(self.seen.get("name", ""))


class Site:
    """The controller over a fake API, and backends on 127.0.0.0/8."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.client = FakeClient()
        self.settings = IngressSettings(http_port=free_port(), https_port=free_port(), workers=2)
        self.controller = self._controller()
        self.backends: dict[str, Backend] = {}
        self.port = free_port()
        self._task: asyncio.Task[None] | None = None
        self.client.seed(
            INGRESS_CLASSES,
            {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "IngressClass",
                "metadata": {"name": "nginx"},
                "spec": {"controller": "k8s.io/ingress-nginx"},
            },
        )

    def _controller(self) -> IngressController:
        return IngressController(
            self.client, self.instance, addresses=["127.0.0.1"], settings=self.settings, resolver="127.0.0.1"
        )

    def start(self) -> None:
        self._task = asyncio.create_task(self.controller.run())

    async def stop(self) -> None:
        """As when wherry-node is killed: nginx is left alone."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def restart(self) -> None:
        await self.stop()
        self.controller = self._controller()
        self.start()

    async def service(self, name: str, *endpoints: str, **spec: Any) -> None:
        """A Service whose address is a backend's; without `endpoints` it has one endpoint, the backend itself."""
        number = len(self.backends) + 2
        backend = Backend(name, f"127.0.7.{number}")
        await backend.start(self.port)
        self.backends[name] = backend
        await self.client.create(
            SERVICES,
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": name, "namespace": "default"},
                "spec": {
                    "type": "ClusterIP",
                    "clusterIP": backend.address,
                    "ports": [{"name": "http", "port": self.port, "protocol": "TCP"}],
                }
                | spec,
            },
            "default",
        )
        await self.endpoints(name, *(endpoints or (backend.address,)))

    async def endpoints(self, name: str, *addresses: str) -> None:
        item = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"{name}-1",
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": name},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
            "ports": [{"name": "http", "port": self.port, "protocol": "TCP"}],
        }
        known = any(one["metadata"]["name"] == f"{name}-1" for one in self.client.all(ENDPOINT_SLICES))
        await (self.client.update if known else self.client.create)(ENDPOINT_SLICES, item)  # type: ignore[operator]

    async def ingress(self, name: str, *rules: Any, annotations: dict[str, str] | None = None, **spec: Any) -> None:
        """`rules` are (host, {path or (path, type): service}); annotations without their prefix."""
        made = []
        for host, paths in rules:
            listed = []
            for key, service in paths.items():
                path, kind = key if isinstance(key, tuple) else (key, "Prefix")
                backend = {"service": {"name": service, "port": {"number": self.port}}}
                listed.append({"path": path, "pathType": kind, "backend": backend})
            made.append(({"host": host} if host else {}) | {"http": {"paths": listed}})
        metadata = {
            "name": name,
            "namespace": "default",
            "annotations": {PREFIX + key: value for key, value in (annotations or {}).items()},
        }
        item = {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": metadata,
            "spec": {"ingressClassName": "nginx", "rules": made} | spec,
        }
        known = any(one["metadata"]["name"] == name for one in self.client.all(INGRESSES))
        await (self.client.update if known else self.client.create)(INGRESSES, item)  # type: ignore[operator]
        await self.settled()

    async def secret(self, name: str, **data: bytes) -> None:
        item = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": "default"},
            "data": {key.replace("_", "."): base64.b64encode(value).decode() for key, value in data.items()},
        }
        known = any(one["metadata"]["name"] == name for one in self.client.all(SECRETS))
        await (self.client.update if known else self.client.create)(SECRETS, item)  # type: ignore[operator]

    async def settled(self) -> None:
        """Until nginx answers by what the API says now."""

        def known() -> bool:
            pairs = [
                (one, self.controller.ingresses.get("default", one["metadata"]["name"]))
                for one in self.client.all(INGRESSES)
            ]
            return all(
                own is not None
                and own["spec"] == one["spec"]
                and own["metadata"]["annotations"] == one["metadata"]["annotations"]
                for one, own in pairs
            )

        await self.until(known)
        for _ in range(2):  # the first may be of a look that began before
            self.controller.serving.clear()
            self.controller._wake.set()
            await self.controller.serving.wait()

    async def until(self, probe: Callable[[], Any]) -> Any:
        async with asyncio.timeout(15):
            while True:
                found = probe()
                if asyncio.iscoroutine(found):
                    found = await found
                if found:
                    return found
                await asyncio.sleep(0.02)

    async def get(self, host: str, path: str = "/", *arguments: str, tls: bool = False) -> Answer:
        port = self.settings.https_port if tls else self.settings.http_port
        scheme = "https" if tls else "http"
        command = [
            "curl", "-si", "-m", "5", "--path-as-is", "-k", "--http1.1", "--resolve", f"{host}:{port}:127.0.0.1",
            *arguments, f"{scheme}://{host}:{port}{path}",
        ]  # fmt: skip
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False)
        return Answer(done.stdout.decode())

    def events(self, name: str) -> dict[str, str]:
        """Reason -> message of the Warnings about an Ingress."""
        return {
            event["reason"]: event["message"]
            for event in self.client.all(EVENTS)
            if event["involvedObject"]["name"] == name and event["type"] == "Warning"
        }

    async def warned(self, name: str, reason: str) -> str:
        return str(await self.until(lambda: self.events(name).get(reason)))


@pytest_asyncio.fixture
async def site(wherry_instance: Instance) -> AsyncIterator[Site]:
    made = Site(wherry_instance)
    made.start()
    yield made
    await made.stop()
    await made.controller.nginx.stop()
    for backend in made.backends.values():
        await backend.stop()
    left = await asyncio.to_thread(leftovers.purge, wherry_instance)
    assert not left.processes, left.lines()


async def test_hosts_and_paths_lead_where_kubernetes_says(site: Site) -> None:
    for name in ("api", "web", "admin", "exact", "wild", "other"):
        await site.service(name)
    await site.ingress(
        "main",
        ("myapp.example.com", {"/api": "api", "/": "web", ("/api/exact", "Exact"): "exact"}),
        ("admin.example.com", {"/": "admin"}),
        ("*.example.org", {"/": "wild"}),
        ("loose.example.com", {("/pre", "ImplementationSpecific"): "api"}),
        defaultBackend={"service": {"name": "other", "port": {"name": "http"}}},
    )
    for host, path, name in (
        ("myapp.example.com", "/", "web"),
        ("myapp.example.com", "/api", "api"),
        ("myapp.example.com", "/api/", "api"),
        ("myapp.example.com", "/api/users?q=1", "api"),
        ("myapp.example.com", "/apis", "web"),
        ("myapp.example.com", "/api/exact", "exact"),
        ("myapp.example.com", "/api/exact/", "api"),
        ("admin.example.com", "/any/thing", "admin"),
        ("a.example.org", "/", "wild"),
        ("loose.example.com", "/prefix", "api"),
        ("loose.example.com", "/no", "other"),
    ):
        answer = await site.get(host, path)
        assert (answer.name, answer.seen.get("path")) == (name, path), f"{host}{path}: {answer.status} {answer.body}"
    for host in ("a.b.example.org", "example.org", "unknown.test"):
        assert (await site.get(host)).status == 404, host
    headers = (await site.get("admin.example.com", "/", "-H", "X-Forwarded-For: 6.6.6.6")).seen["headers"]
    assert headers["host"] == f"admin.example.com:{site.settings.http_port}"
    assert headers["x-forwarded-for"] == headers["x-real-ip"] == "127.0.0.1", "not the client's own claim"
    assert (headers["x-forwarded-proto"], headers["x-original-forwarded-for"]) == ("http", "6.6.6.6")
    (ingress,) = site.client.all(INGRESSES)
    assert ingress["status"]["loadBalancer"]["ingress"][0]["ip"] == "127.0.0.1"


async def test_rewrite_with_capture_groups_and_plain(site: Site) -> None:
    await site.service("api")
    await site.service("web")
    await site.ingress(
        "captures",
        ("a.test", {("/something(/|$)(.*)", "ImplementationSpecific"): "api"}),
        annotations={"rewrite-target": "/$2", "use-regex": "true"},
    )
    await site.ingress("plain", ("b.test", {"/api": "api", "/web": "web"}), annotations={"rewrite-target": "/"})
    for host, path, name, arrives in (
        ("a.test", "/something", "api", "/"),
        ("a.test", "/something/", "api", "/"),
        ("a.test", "/something/new?x=1", "api", "/new?x=1"),
        ("b.test", "/api", "api", "/"),
        ("b.test", "/api/users", "api", "/"),
        ("b.test", "/web/x", "web", "/"),
    ):
        answer = await site.get(host, path)
        assert (answer.name, answer.seen.get("path")) == (name, arrives), f"{host}{path}"
    assert (await site.get("a.test", "/somethingelse")).status == 404
    assert (await site.get("b.test", "/apis")).status == 404


def certificate(directory: Path, *names: str) -> tuple[bytes, bytes]:
    key, crt = directory / "key", directory / "crt"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "9",
         "-subj", f"/CN={names[0]}", "-addext", "subjectAltName=" + ",".join(f"DNS:{name}" for name in names),
         "-keyout", key, "-out", crt], check=True, capture_output=True,
    )  # fmt: skip
    return crt.read_bytes(), key.read_bytes()


async def shown(site: Site, host: str) -> str:
    """The subject of the certificate that is shown for a host."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", site.settings.https_port, ssl=context, server_hostname=host)
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    from cryptography import x509

    return x509.load_der_x509_certificate(der).subject.rfc4514_string()


async def test_tls_from_secrets_by_name_and_changed_in_place(site: Site, tmp_path: Path) -> None:
    await site.service("web")
    crt, key = certificate(tmp_path, "one.test")
    await site.secret("one", tls_crt=crt, tls_key=key)
    crt, key = certificate(tmp_path, "two.test", "*.two.test")
    await site.secret("two", tls_crt=crt, tls_key=key)
    tls = [{"hosts": ["one.test"], "secretName": "one"}, {"hosts": ["two.test", "*.two.test"], "secretName": "two"}]
    await site.ingress(
        "main", *((host, {"/": "web"}) for host in ("one.test", "two.test", "a.two.test", "bare.test")), tls=tls
    )
    assert await shown(site, "one.test") == "CN=one.test"
    assert await shown(site, "a.two.test") == "CN=two.test"
    assert "Fake Certificate" in await shown(site, "bare.test")
    redirect = await site.get("one.test", "/a?b=c")
    assert redirect.status == 308
    assert redirect.headers["location"] == f"https://one.test:{site.settings.https_port}/a?b=c"
    assert (await site.get("one.test", "/a", tls=True)).seen["headers"]["x-forwarded-proto"] == "https"
    assert (await site.get("bare.test")).name == "web", "no redirect without a certificate"
    crt, key = certificate(tmp_path, "new.test", "one.test")
    await site.secret("one", tls_crt=crt, tls_key=key)
    await site.until(lambda: _equals(shown(site, "one.test"), "CN=new.test"))


async def _equals(found: Any, wanted: str) -> bool:
    return bool(await found == wanted)


async def test_bad_certificates_are_said_and_the_default_is_shown(site: Site, tmp_path: Path) -> None:
    await site.service("web")
    crt, key = certificate(tmp_path, "else.test")
    await site.secret("wrong-name", tls_crt=crt, tls_key=key)
    _, other = certificate(tmp_path, "pair.test")
    await site.secret("no-pair", tls_crt=crt, tls_key=other)
    await site.secret("empty", other=b"x")
    for name, secret, words in (
        ("a", "missing", "secret default/missing does not exist"),
        ("b", "empty", "secret default/empty contains no tls.crt and no tls.key"),
        ("c", "no-pair", "holds no usable certificate and key"),
        ("d", "wrong-name", "is valid for else.test, not d.test"),
    ):
        await site.ingress(
            name, (f"{name}.test", {"/": "web"}), tls=[{"hosts": [f"{name}.test"], "secretName": secret}]
        )
        assert words in await site.warned(name, "BadTLS")
        assert "Fake Certificate" in await shown(site, f"{name}.test")
        assert (await site.get(f"{name}.test", tls=True)).name == "web"


async def test_redirects(site: Site) -> None:
    await site.service("web")
    for name, annotations, location, status in (
        ("root", {"app-root": "/app"}, "http://root.test:{http}/app", 302),
        ("moved", {"permanent-redirect": "https://new.test/x"}, "https://new.test/x", 301),
        (
            "coded",
            {"permanent-redirect": "https://new.test", "permanent-redirect-code": "308"},
            "https://new.test",
            308,
        ),
        ("temporal", {"temporal-redirect": "https://t.test"}, "https://t.test", 302),
        ("forced", {"force-ssl-redirect": "true"}, "https://forced.test:{https}/", 308),
    ):
        await site.ingress(name, (f"{name}.test", {"/": "web"}), annotations=annotations)
        answer = await site.get(f"{name}.test")
        wanted = location.format(http=site.settings.http_port, https=site.settings.https_port)
        assert (answer.status, answer.headers["location"]) == (status, wanted)
    assert (await site.get("root.test", "/other")).name == "web"
    await site.ingress("www", ("www.w.test", {"/": "web"}), annotations={"from-to-www-redirect": "true"})
    assert (await site.get("w.test", "/p")).headers["location"] == f"http://www.w.test:{site.settings.http_port}/p"


async def test_who_may(site: Site, tmp_path: Path) -> None:
    await site.service("web")
    await site.service("auth")
    hashed = b"$apr1$saltsalt$LrttParrLPdxvgutaSXWJ0"
    await site.secret("users", auth=b"alice:" + hashed + b"\n")
    await site.secret("map", bob=hashed)
    basic = {"auth-type": "basic", "auth-secret": "users", "auth-realm": "Members only"}
    await site.ingress("basic", ("basic.test", {"/": "web"}), annotations=basic)
    refused = await site.get("basic.test")
    assert (refused.status, refused.headers["www-authenticate"]) == (401, 'Basic realm="Members only"')
    assert (await site.get("basic.test", "/", "-u", "alice:secret")).name == "web"
    assert (await site.get("basic.test", "/", "-u", "alice:wrong")).status == 401
    mapped = {"auth-type": "basic", "auth-secret": "map", "auth-secret-type": "auth-map"}
    await site.ingress("mapped", ("mapped.test", {"/": "web"}), annotations=mapped)
    assert (await site.get("mapped.test", "/", "-u", "bob:secret")).name == "web"
    await site.ingress("lost", ("lost.test", {"/": "web"}), annotations=basic | {"auth-secret": "nowhere"})
    assert "secret default/nowhere does not exist" in await site.warned("lost", "Closed")
    assert (await site.get("lost.test", "/", "-u", "alice:secret")).status == 503
    await site.ingress("in", ("in.test", {"/": "web"}), annotations={"whitelist-source-range": "127.0.0.0/8"})
    await site.ingress("out", ("out.test", {"/": "web"}), annotations={"whitelist-source-range": "10.0.0.0/8,::1"})
    await site.ingress("deny", ("deny.test", {"/": "web"}), annotations={"denylist-source-range": "127.0.0.1"})
    await site.ingress("typo", ("typo.test", {"/": "web"}), annotations={"whitelist-source-range": "10.0.0.0/99"})
    statuses = [(await site.get(f"{name}.test")).status for name in ("in", "out", "deny", "typo")]
    assert statuses == [200, 403, 403, 503], "a rule that cannot be read closes"
    address = f"http://{site.backends['auth'].address}:{site.port}"
    for name, path, status in (("ask", "/allow", 200), ("asked", "/deny", 401)):
        annotations = {"auth-url": address + path, "auth-response-headers": "X-User"}
        await site.ingress(name, (f"{name}.test", {"/": "web"}), annotations=annotations)
        answer = await site.get(f"{name}.test")
        assert answer.status == status, answer.body
    assert (await site.get("ask.test")).seen["headers"]["x-user"] == "alice"
    signin = {"auth-url": address + "/deny", "auth-signin": "https://sso.test/login"}
    await site.ingress("sign", ("sign.test", {"/": "web"}), annotations=signin)
    assert (
        (await site.get("sign.test", "/p")).headers["location"].startswith("https://sso.test/login?rd=http://sign.test")
    )


async def test_sizes_times_and_limits(site: Site) -> None:
    await site.service("web")
    await site.ingress("small", ("small.test", {"/": "web"}), annotations={"proxy-body-size": "1k"})
    assert (await site.get("small.test", "/", "-d", "x" * 1000)).seen["size"] == 1000
    assert (await site.get("small.test", "/", "-d", "x" * 1100)).status == 413
    await site.ingress(
        "slow", ("slow.test", {"/": "web"}), annotations={"proxy-read-timeout": "1", "proxy-next-upstream": "off"}
    )
    site.backends["web"].delay = 3
    assert (await site.get("slow.test")).status == 504
    site.backends["web"].delay = 0
    await site.ingress(
        "rate", ("rate.test", {"/": "web"}), annotations={"limit-rps": "1", "limit-burst-multiplier": "1"}
    )
    assert {(await site.get("rate.test")).status for _ in range(6)} == {200, 503}


async def test_cors(site: Site) -> None:
    await site.service("web")
    await site.ingress("open", ("open.test", {"/": "web"}), annotations={"enable-cors": "true"})
    preflight = await site.get("open.test", "/", "-X", "OPTIONS", "-H", "Origin: https://x.test")
    assert preflight.status == 204
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert "PATCH" in preflight.headers["access-control-allow-methods"]
    assert preflight.headers["access-control-max-age"] == "1728000"
    some = {"enable-cors": "true", "cors-allow-origin": "https://a.test, https://*.b.test", "cors-allow-methods": "GET"}
    await site.ingress("some", ("some.test", {"/": "web"}), annotations=some)
    for origin, allowed in (("https://a.test", True), ("https://x.b.test", True), ("https://evil.test", False)):
        answer = await site.get("some.test", "/", "-H", f"Origin: {origin}")
        assert answer.name == "web"
        assert (answer.headers.get("access-control-allow-origin") == origin) is allowed
    assert answer.headers["access-control-allow-methods"] == "GET"


async def test_canaries(site: Site) -> None:
    for name in ("main", "canary"):
        await site.service(name)

    async def one(name: str, annotations: dict[str, str]) -> None:
        await site.ingress(f"{name}-main", (f"{name}.test", {"/": "main"}))
        await site.ingress(
            f"{name}-new", (f"{name}.test", {"/": "canary"}), annotations={"canary": "true"} | annotations
        )

    await one("header", {"canary-by-header": "X-Canary"})
    for value, name in (("always", "canary"), ("never", "main"), ("other", "main")):
        assert (await site.get("header.test", "/", "-H", f"X-Canary: {value}")).name == name
    await one("value", {"canary-by-header": "X-Who", "canary-by-header-value": "me"})
    assert (await site.get("value.test", "/", "-H", "X-Who: me")).name == "canary"
    assert (await site.get("value.test", "/", "-H", "X-Who: you")).name == "main"
    await one("cookie", {"canary-by-cookie": "beta"})
    assert (await site.get("cookie.test", "/", "-H", "Cookie: a=b; beta=always")).name == "canary"
    assert (await site.get("cookie.test")).name == "main"
    await one("all", {"canary-weight": "100"})
    assert (await site.get("all.test")).name == "canary"
    await one("none", {"canary-weight": "0"})
    assert (await site.get("none.test")).name == "main"
    await one("half", {"canary-weight": "50", "canary-by-header": "X-Canary"})
    assert {(await site.get("half.test")).name for _ in range(30)} == {"main", "canary"}
    assert {(await site.get("half.test", "/", "-H", "X-Canary: never")).name for _ in range(10)} == {"main"}
    await site.ingress("lonely", ("lonely.test", {"/": "canary"}), annotations={"canary": "true"})
    assert "canary without a main Ingress" in await site.warned("lonely", "CanaryWithoutMain")


async def test_sticky_sessions_and_hashing(site: Site) -> None:
    addresses = []
    for number in range(3):
        backend = Backend(f"pod-{number}", f"127.0.8.{number + 2}")
        await backend.start(site.port)
        site.backends[backend.name] = backend
        addresses.append(backend.address)
    await site.service("web", *addresses)
    sticky = {"affinity": "cookie", "session-cookie-name": "route", "session-cookie-max-age": "60"}
    await site.ingress("sticky", ("sticky.test", {"/": "web"}), annotations=sticky)
    first = await site.get("sticky.test")
    (cookie,) = first.cookies
    assert cookie.startswith("route=") and cookie.endswith("; Path=/; Max-Age=60; HttpOnly")
    value = cookie.partition(";")[0]
    again = [await site.get("sticky.test", "/", "-H", f"Cookie: {value}") for _ in range(8)]
    assert {answer.name for answer in again} == {first.name}
    assert not any(answer.cookies for answer in again)
    assert len({(await site.get("sticky.test")).name for _ in range(30)}) == 3
    await site.ingress("hash", ("hash.test", {"/": "web"}), annotations={"upstream-hash-by": "$request_uri"})
    assert len({(await site.get("hash.test", "/same")).name for _ in range(8)}) == 1
    assert len({(await site.get("hash.test", f"/{n}")).name for n in range(30)}) == 3
    left = [address for address in addresses if address != site.backends[first.name].address]
    await site.endpoints("web", *left)
    await site.until(lambda: _differs(site, value, first.name))


async def _differs(site: Site, cookie: str, name: str) -> bool:
    return (await site.get("sticky.test", "/", "-H", f"Cookie: {cookie}")).name not in ("", name)


async def test_upgraded_connections_pass(site: Site) -> None:
    await site.service("web")
    await site.ingress("ws", ("ws.test", {"/": "web"}))
    reader, writer = await asyncio.open_connection("127.0.0.1", site.settings.http_port)
    writer.write(b"GET / HTTP/1.1\r\nHost: ws.test\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"
    await site.ingress("ws2", ("ws2.test", {"/": "web"}))
    writer.write(b"still")
    assert await reader.readexactly(5) == b"still", "a reload leaves it alone"
    writer.close()


async def test_what_cannot_be_served_is_said(site: Site) -> None:
    await site.service("web")
    await site.service("empty")
    await site.endpoints("empty")
    await site.ingress("good", ("good.test", {"/": "web"}))
    await site.ingress("lost", ("lost.test", {"/": "nothing"}))
    assert 'service "default/nothing" not found' in await site.warned("lost", "ServiceNotFound")
    await site.ingress("none", ("none.test", {"/": "empty"}))
    statuses = [(await site.get(f"{name}.test")).status for name in ("good", "lost", "none")]
    assert statuses == [200, 503, 503]
    await site.endpoints("empty", site.backends["empty"].address)
    await site.until(lambda: _named(site, "none.test", "empty"))
    await site.ingress("later", ("good.test", {"/": "empty"}))
    assert 'host "good.test" and path "/" is already defined in ingress default/good' in await site.warned(
        "later", "Conflict"
    )
    assert (await site.get("good.test")).name == "web", "the older one has it"
    odd = {"configuration-snippet": "return 200;", "enable-opentracing": "true", "proxy-body-size": "1m; return 200"}
    await site.ingress("odd", ("odd.test", {"/": "web"}), annotations=odd)
    for words in (
        "configuration-snippet: snippets are not allowed",
        "enable-opentracing: this annotation is not supported",
        "proxy-body-size: must be a size such as 8m",
    ):
        await site.until(lambda words=words: any(words in event["message"] for event in site.client.all(EVENTS)))
    assert (await site.get("odd.test")).name == "web"
    await site.ingress(
        "broken", ("broken.test", {("/a(", "ImplementationSpecific"): "web"}), annotations={"use-regex": "true"}
    )
    assert "nginx refuses the configuration of this Ingress" in await site.warned("broken", "Rejected")
    assert (await site.get("good.test")).name == "web"
    assert (await site.get("broken.test")).status == 404
    await site.ingress(
        "broken", ("broken.test", {("/a(b)", "ImplementationSpecific"): "web"}), annotations={"use-regex": "true"}
    )
    assert (await site.get("broken.test", "/ab")).name == "web"


async def _named(site: Site, host: str, name: str) -> bool:
    return (await site.get(host)).name == name


async def test_changes_drop_no_request(site: Site) -> None:
    await site.service("web")
    await site.ingress("main", ("main.test", {"/": "web"}))
    site.backends["web"].delay = 0.01
    statuses: list[int] = []
    stop = asyncio.Event()

    async def ask() -> None:
        while not stop.is_set():
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", site.settings.http_port)
                writer.write(b"GET / HTTP/1.1\r\nHost: main.test\r\nConnection: close\r\n\r\n")
                answer = await reader.read()
                writer.close()
            except OSError:
                answer = b""
            statuses.append(int(answer.split()[1]) if answer else 0)

    asking = [asyncio.create_task(ask()) for _ in range(8)]
    for number in range(8):
        await site.ingress(f"more-{number}", (f"more-{number}.test", {"/": "web"}))
        assert (await site.get(f"more-{number}.test")).name == "web"
    stop.set()
    await asyncio.gather(*asking)
    assert len(statuses) > 100
    assert set(statuses) == {200}


async def test_nginx_outlives_its_keeper_and_comes_back_when_killed(site: Site) -> None:
    await site.service("web")
    await site.ingress("main", ("main.test", {"/": "web"}))
    pid = site.controller.nginx.pid()
    assert pid is not None
    await site.stop()
    assert (await site.get("main.test")).name == "web"
    await site.restart()
    await site.settled()
    assert site.controller.nginx.pid() == pid, "found again, and left alone"
    os.kill(pid, signal.SIGKILL)
    await site.until(lambda: site.controller.nginx.pid() not in (None, pid))
    await site.until(lambda: _named(site, "main.test", "web"))
    await site.client.delete(INGRESSES, "main", "default")
    await site.until(lambda: site.controller.nginx.pid() is None)
    assert (await site.get("main.test")).status == 0, "nothing is open without an Ingress"


async def test_a_taken_port_is_said_and_the_next_one_serves(site: Site) -> None:
    holder = await asyncio.start_server(lambda reader, writer: None, "0.0.0.0", site.settings.http_port)
    await site.service("web")
    await site.ingress("main", ("main.test", {"/": "web"}))
    assert f"port {site.settings.http_port} of this machine is taken" in await site.warned("main", "PortTaken")
    (ingress,) = site.client.all(INGRESSES)
    (entry,) = ingress["status"]["loadBalancer"]["ingress"]
    ports = [port["port"] for port in entry["ports"]]
    assert ports[0] != site.settings.http_port and ports[1] == site.settings.https_port
    done = await asyncio.to_thread(
        subprocess.run, ["curl", "-s", "-H", "Host: main.test", f"http://127.0.0.1:{ports[0]}/"], capture_output=True
    )
    assert json.loads(done.stdout)["name"] == "web"
    holder.close()

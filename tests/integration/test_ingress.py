"""Ingress with the real nginx, with a stand-in for the API server: every Service is a server on this machine."""

import asyncio
import json
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from ingress_site import Backend, Site, open_site

from wherry.host.instance import Instance
from wherry.schema.builtin import EVENTS, INGRESSES

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not shutil.which("nginx"), reason="nginx is not installed"),
]

PREFIX = "nginx.ingress.kubernetes.io/"


@pytest_asyncio.fixture
async def site(wherry_instance: Instance) -> AsyncIterator[Site]:
    async with open_site(wherry_instance) as made:
        yield made


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
        assert (await site.get(host)).name == "other", f"{host}: no rule of anybody is for it"
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

from pathlib import Path
from typing import Any

import pytest

from wherry.cluster_net.ingress.annotations import PREFIX
from wherry.cluster_net.ingress.model import CATCH_ALL, Model, Upstream, build, covers, secrets_of
from wherry.cluster_net.ingress.render import Place, quoted, render


class Cluster:
    """Services by name -> (type, endpoints)."""

    def __init__(self, **services: Any) -> None:
        self._services = services

    def service(self, namespace: str, name: str) -> Any:
        if name not in self._services:
            return None
        spec = {"clusterIP": "10.0.0.1", "ports": [{"name": "http", "port": 80}]} | self._services[name].get("spec", {})
        return {"metadata": {"namespace": namespace, "name": name}, "spec": spec}

    def slices(self, namespace: str, name: str) -> Any:
        endpoints = [{"addresses": [ip], "conditions": {}} for ip in self._services[name].get("ips", ["10.1.0.1"])]
        return [{"addressType": "IPv4", "ports": [{"name": "http", "port": 8080}], "endpoints": endpoints}]

    def certificate(self, namespace: str, secret: str, host: str) -> str:
        if secret == "bad":
            raise LookupError("secret default/bad does not exist")
        return f"/run/{secret}.pem"

    def users(self, namespace: str, secret: str, kind: str) -> str:
        return f"/run/{secret}.htpasswd"


def ingress(name: str, host: str, paths: dict[str, str], created: str = "2026-01-01T00:00:00Z", **more: Any) -> Any:
    annotations = {PREFIX + key: value for key, value in more.pop("annotations", {}).items()}
    listed = [
        {"path": path, "pathType": "Prefix", "backend": {"service": {"name": service, "port": {"number": 80}}}}
        for path, service in paths.items()
    ]
    rule = ({"host": host} if host else {}) | {"http": {"paths": listed}}
    metadata = {"namespace": "default", "name": name, "creationTimestamp": created, "annotations": annotations}
    return {"metadata": metadata, "spec": {"rules": [rule]} | more}


def served(model: Model) -> dict[tuple[str, str], Upstream | None]:
    return {
        (server.host, location.path): location.upstream for server in model.servers for location in server.locations
    }


def test_requests_go_to_the_services_address_which_spreads_them() -> None:
    model = build([ingress("a", "a.test", {"/": "web"})], Cluster(web={}))
    upstream = served(model)["a.test", "/"]
    assert upstream is not None
    assert set(upstream.servers) == {"10.0.0.1:80"}
    more = build([ingress("a", "a.test", {"/": "web"})], Cluster(web={"ips": ["10.1.0.1", "10.1.0.2"]}))
    assert served(more) == served(model), "endpoints come and go without a change"


@pytest.mark.parametrize(
    ("service", "annotations"),
    [
        ({"spec": {"clusterIP": "None"}}, {}),
        ({}, {"affinity": "cookie"}),
        ({}, {"upstream-hash-by": "$remote_addr"}),
        ({}, {"service-upstream": "false"}),
    ],
)
def test_what_must_know_endpoints_lists_them(service: Any, annotations: dict[str, str]) -> None:
    cluster = Cluster(web=service | {"ips": ["10.1.0.2", "10.1.0.1"]})
    model = build([ingress("a", "a.test", {"/": "web"}, annotations=annotations)], cluster)
    upstream = served(model)["a.test", "/"]
    assert upstream is not None
    assert upstream.servers == ("10.1.0.1:8080", "10.1.0.2:8080")


def test_without_endpoints_there_is_nobody() -> None:
    model = build([ingress("a", "a.test", {"/": "web"})], Cluster(web={"ips": []}))
    upstream = served(model)["a.test", "/"]
    assert upstream is not None
    assert not upstream.usable


def test_the_oldest_ingress_has_the_first_word() -> None:
    older = ingress("z", "a.test", {"/": "one"}, "2026-01-01T00:00:00Z")
    newer = ingress("a", "a.test", {"/": "two", "/more": "two"}, "2026-01-02T00:00:00Z")
    model = build([newer, older], Cluster(one={}, two={"spec": {"clusterIP": "10.0.0.2"}}))
    found = served(model)
    assert found["a.test", "/"] == build([older], Cluster(one={})).upstreams()[0]
    assert found["a.test", "/more"] is not None
    (problem,) = model.problems["default", "a"]
    assert problem == ("Conflict", 'host "a.test" and path "/" is already defined in ingress default/z')


def test_problems_are_told_and_the_rest_is_served() -> None:
    model = build(
        [
            ingress("a", "a.test", {"/": "nothing", "/ok": "web"}, tls=[{"hosts": ["a.test"], "secretName": "bad"}]),
            ingress("b", "", {"/": "web"}),
        ],
        Cluster(web={}),
    )
    assert model.problems["default", "a"] == [
        ("BadTLS", "secret default/bad does not exist; using the default certificate"),
        ("ServiceNotFound", 'service "default/nothing" not found'),
    ]
    assert served(model)["a.test", "/ok"] is not None
    assert served(model)[CATCH_ALL, "/"] is not None


def test_secrets_are_found_in_tls_and_annotations() -> None:
    item = ingress("a", "a.test", {}, annotations={"auth-secret": "users"}, tls=[{"secretName": "crt"}, {}])
    assert secrets_of(item) == {("default", "crt"), ("default", "users")}


def test_a_wildcard_stands_for_one_label() -> None:
    assert covers("*.a.test", "b.a.test") and covers("*.a.test", "*.a.test")
    assert not covers("*.a.test", "c.b.a.test") and not covers("*.a.test", "a.test")


PLACE = Place(Path("/run/i"), Path("/log"), 80, 443, Path("/run/i/default.pem"), 2, "www-data", "10.0.0.10")


def text_of(*items: Any, place: Place = PLACE, **services: Any) -> str:
    return render(build(items, Cluster(**(services or {"web": {}}))), place, "1")


def test_prefixes_end_at_a_slash() -> None:
    text = text_of(ingress("a", "a.test", {"/api": "web"}))
    assert 'location "/api/" {' in text
    assert 'location = "/api" {' in text
    assert "location / { return 404; }" in text


def test_the_guides_rewrite_makes_every_path_a_regular_expression() -> None:
    text = text_of(ingress("a", "a.test", {"/api": "web"}, annotations={"rewrite-target": "/"}))
    assert 'location ~* "^/api(?=/|$)" {' in text
    assert 'rewrite "(?i)/api" "/" break;' in text


def test_tls_redirects_only_with_a_certificate() -> None:
    tls = [{"hosts": ["a.test"], "secretName": "crt"}]
    with_it = text_of(ingress("a", "a.test", {"/": "web"}, tls=tls))
    assert "return 308 https://$host$request_uri;" in with_it
    assert 'ssl_certificate "/run/crt.pem";' in with_it
    assert "308" not in text_of(ingress("a", "a.test", {"/": "web"}))
    moved = Place(Path("/run/i"), Path("/log"), 8080, 8443, Path("/d"), 2, "www-data")
    assert "https://$host:8443$request_uri" in text_of(ingress("a", "a.test", {"/": "web"}, tls=tls), place=moved)


def test_quoting_survives_nginxs_reading() -> None:
    assert quoted(r'^/a(\.b)"\n') == r'"^/a(\\.b)\"\\n"'


def test_the_same_cluster_gives_the_same_text() -> None:
    items = [ingress("a", "a.test", {"/": "web"}), ingress("b", "b.test", {"/": "web"})]
    assert text_of(*items) == text_of(*reversed(items))


def test_a_default_backend_takes_what_matches_no_rule_of_anybody() -> None:
    backend = {"service": {"name": "rest", "port": {"number": 80}}}
    first = ingress("first", "a.test", {"/api": "web"}, defaultBackend=backend)
    second = ingress("second", "b.test", {"/": "web"}, created="2026-01-02T00:00:00Z", defaultBackend=backend)
    model = build([first, second], Cluster(web={}, rest={}))
    paths = served(model)
    for place in (("a.test", "/"), ("_", "/")):
        upstream = paths[place]
        assert upstream is not None and upstream.name.startswith("default_rest")
    assert not model.problems
    whole = {
        "metadata": {"namespace": "default", "name": "whole"},
        "spec": {"defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}},
    }
    upstream = served(build([first, whole], Cluster(web={}, rest={})))["_", "/"]
    assert upstream is not None and upstream.name.startswith("default_web"), "an Ingress without rules is for all hosts"


def test_a_service_without_endpoints_is_the_same_configuration_with_a_marker() -> None:
    item = ingress("a", "a.test", {"/": "web"})
    full, empty = build([item], Cluster(web={})), build([item], Cluster(web={"ips": []}))
    assert [one.name for one in empty.upstreams() if one.empty] == ["default_web_80"]
    assert render(full, PLACE, "1") == render(empty, PLACE, "1")
    assert 'if (-f "/run/i/empty/default_web_80") { return 503; }' in render(full, PLACE, "1")

import pytest

from wherry.cluster_net.ingress.annotations import PREFIX, parse


def options_of(**annotations: str):
    return parse({PREFIX + name.replace("_", "-"): value for name, value in annotations.items()})


def test_defaults_are_those_of_ingress_nginx() -> None:
    options, problems = parse({"unrelated": "x", "kubernetes.io/ingress.class": "nginx"})
    assert not problems
    assert (options.body_size, options.connect_timeout, options.read_timeout) == ("1m", 5, 60)
    assert (options.ssl_redirect, options.force_ssl_redirect, options.backend_protocol) == (True, False, "HTTP")


def test_values_are_read_into_their_types() -> None:
    options, problems = options_of(
        rewrite_target="/$2", proxy_read_timeout="3600", ssl_redirect="false", whitelist_source_range="10.0.0.1/8, ::1",
        backend_protocol="https", session_cookie_secure="true", session_cookie_samesite="Lax", affinity="cookie",
    )  # fmt: skip
    assert not problems
    assert (options.rewrite_target, options.read_timeout, options.ssl_redirect) == ("/$2", 3600, False)
    assert options.allow == ("10.0.0.0/8", "::1/128")
    assert options.backend_protocol == "HTTPS"
    assert options.cookie_attributes == "; Path=/; SameSite=Lax; Secure; HttpOnly"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rewrite-target", "/a; return 200"),
        ("rewrite-target", "/a\nb"),
        ("rewrite-target", '/"'),
        ("rewrite-target", "/{"),
        ("proxy-body-size", "8m;"),
        ("upstream-vhost", "a b"),
        ("permanent-redirect", "javascript:alert(1)"),
        ("permanent-redirect", "https://a.test/; deny all"),
        ("session-cookie-path", "/; Domain=evil"),
        ("cors-allow-headers", 'X"; return 200 "'),
        ("upstream-hash-by", "$request_uri; x"),
        ("proxy-cookie-path", "a b; return 200"),
        ("limit-rps", "-1"),
        ("ssl-redirect", "yes"),
    ],
)
def test_nothing_gets_out_of_its_argument(name: str, value: str) -> None:
    _, problems = parse({PREFIX + name: value})
    assert len(problems) == 1
    assert problems[0].startswith(f"annotation {PREFIX}{name}: ")


def test_what_is_not_supported_is_named_and_the_rest_is_served() -> None:
    options, problems = options_of(modsecurity_snippet="x", enable_opentracing="true", proxy_body_size="2m")
    assert problems == [
        f"annotation {PREFIX}enable-opentracing: this annotation is not supported",
        f"annotation {PREFIX}modsecurity-snippet: snippets are not allowed: "
        "they could read every Secret that nginx can",
    ]
    assert options.body_size == "2m"
    assert not options.closed


@pytest.mark.parametrize(
    "annotations",
    [
        {"whitelist_source_range": "10.0.0.0/99"},
        {"auth_type": "digest"},
        {"auth_type": "basic"},
        {"auth_tls_secret": "default/ca"},
        {"auth_url": "ftp://x"},
    ],
)
def test_a_rule_about_who_may_that_is_not_understood_closes(annotations: dict[str, str]) -> None:
    options, problems = options_of(**annotations)
    assert problems
    assert options.closed

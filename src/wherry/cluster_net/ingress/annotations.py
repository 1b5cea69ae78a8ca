"""The annotations `nginx.ingress.kubernetes.io/*`, read into one checked `Options`.

Every value ends up in nginx's configuration, so each has a parser that admits only what it may be. What is not known,
not supported or not valid is a problem that the controller makes an Event of; the Ingress is served without it,
except where that would open what the user wanted closed (`Options.closed`).

Names and meanings: https://kubernetes.github.io/ingress-nginx/user-guide/nginx-configuration/annotations/
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

PREFIX = "nginx.ingress.kubernetes.io/"

DEFAULT_CORS_METHODS = "GET, PUT, POST, DELETE, PATCH, OPTIONS"
DEFAULT_CORS_HEADERS = (
    "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,Content-Type,Range,Authorization"
)


@dataclass(frozen=True)
class Options:
    """One Ingress's annotations. Times are whole seconds, sizes are nginx's words (`8m`); 0 or "" means not given."""

    # Where a request goes and how its path changes.
    rewrite_target: str = ""
    use_regex: bool = False
    app_root: str = ""
    server_alias: tuple[str, ...] = ()
    from_to_www: bool = False
    permanent_redirect: str = ""
    permanent_redirect_code: int = 301
    temporal_redirect: str = ""
    temporal_redirect_code: int = 302
    ssl_redirect: bool = True
    force_ssl_redirect: bool = False
    # How the backend is spoken to.
    backend_protocol: str = "HTTP"
    upstream_vhost: str = ""
    x_forwarded_prefix: str = ""
    connection_header: str = ""
    http_version: str = "1.1"
    body_size: str = "1m"
    body_buffer_size: str = ""
    connect_timeout: int = 5
    send_timeout: int = 60
    read_timeout: int = 60
    buffering: str = "off"
    request_buffering: str = "on"
    buffer_size: str = "4k"
    buffers_number: int = 4
    busy_buffers_size: str = ""
    max_temp_file_size: str = "1024m"
    next_upstream: str = "error timeout"
    next_upstream_timeout: int = 0
    next_upstream_tries: int = 3
    redirect_from: str = ""
    redirect_to: str = ""
    cookie_domain: str = ""
    cookie_path: str = ""
    proxy_ssl_verify: bool = False
    proxy_ssl_name: str = ""
    proxy_ssl_server_name: bool = False
    proxy_ssl_protocols: str = ""
    # Which endpoint.
    service_upstream: bool = True
    hash_by: str = ""
    affinity: bool = False
    cookie_name: str = "INGRESSCOOKIE"
    cookie_attributes: str = ""
    # Canary.
    canary: bool = False
    canary_weight: int = 0
    canary_weight_total: int = 100
    canary_header: str = ""
    canary_header_value: str = ""
    canary_header_pattern: str = ""
    canary_cookie: str = ""
    # Who may.
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    satisfy: str = ""
    auth_type: str = ""
    auth_secret: str = ""
    auth_secret_type: str = "auth-file"
    auth_realm: str = "Authentication Required"
    auth_url: str = ""
    auth_method: str = ""
    auth_signin: str = ""
    auth_response_headers: tuple[str, ...] = ()
    limit_rps: int = 0
    limit_rpm: int = 0
    limit_connections: int = 0
    limit_burst: int = 5
    limit_rate: int = 0
    limit_rate_after: int = 0
    # CORS.
    cors: bool = False
    cors_origins: tuple[str, ...] = ("*",)
    cors_methods: str = DEFAULT_CORS_METHODS
    cors_headers: str = DEFAULT_CORS_HEADERS
    cors_expose: str = ""
    cors_credentials: bool = True
    cors_max_age: int = 1728000
    # Logging.
    access_log: bool = True
    closed: str = ""
    """Why nothing of this Ingress may be served: a rule about who may was not understood."""


_Parser = Callable[[str], Any]


def _bool(text: str) -> bool:
    if text in ("1", "t", "T", "TRUE", "true", "True"):
        return True
    if text in ("0", "f", "F", "FALSE", "false", "False"):
        return False
    raise ValueError("must be true or false")


def _number(low: int, high: int) -> _Parser:
    def parse(text: str) -> int:
        if not re.fullmatch(r"\d{1,10}", text) or not low <= int(text) <= high:
            raise ValueError(f"must be a number from {low} to {high}")
        return int(text)

    return parse


def _seconds(text: str) -> int:
    found = re.fullmatch(r"(\d{1,8})s?", text)
    if not found:
        raise ValueError("must be a number of seconds")
    return int(found[1])


def _word(pattern: str, meaning: str) -> _Parser:
    compiled = re.compile(pattern)

    def parse(text: str) -> str:
        if not compiled.fullmatch(text):
            raise ValueError(f"must be {meaning}")
        return text

    return parse


def _one_of(*words: str, fold: bool = False) -> _Parser:
    def parse(text: str) -> str:
        text = text.upper() if fold else text
        if text not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return text

    return parse


def _networks(text: str) -> tuple[str, ...]:
    try:
        return tuple(str(ipaddress.ip_network(part.strip(), strict=False)) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ValueError(f"must be addresses or CIDRs separated by commas: {error}") from error


def _list(item: _Parser) -> _Parser:
    return lambda text: tuple(item(part.strip()) for part in text.split(",") if part.strip())


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or not _URL.fullmatch(text):
        raise ValueError("must be an http or https URL")
    return text


def _redirect(text: str) -> str:
    """A URL, possibly with nginx's request variables in it."""
    if not _URL.fullmatch(text) or not text.startswith(("http://", "https://", "/", "$scheme://")):
        raise ValueError("must be a URL")
    return text


def _regex(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"must be a regular expression: {error}") from error
    if not _PRINTABLE.fullmatch(text):
        raise ValueError("must be printable ASCII")
    return text


def _next_upstream(text: str) -> str:
    words = text.split()
    known = "error timeout invalid_header http_500 http_502 http_503 http_504 http_403 http_404 http_429 non_idempotent"
    if not words or not set(words) <= {*known.split(), "off"}:
        raise ValueError(f"must be of the words {known} off")
    return " ".join(words)


def _origin(text: str) -> str:
    if text != "*" and not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*://(\*\.)?[A-Za-z0-9.-]+(:\d{1,5})?", text):
        raise ValueError("must be * or origins such as https://example.com, https://*.example.com")
    return text


_PRINTABLE = re.compile(r"[\x20-\x7e]*")
_URL = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,=%{}-]+")
_SIZE = _word(r"\d{1,9}[kKmMgG]?", "a size such as 8m")
_PATH = _word(r"[A-Za-z0-9._~:/?#@!$&'()*+,=%-]*", "a path")
_HOST = _word(r"[A-Za-z0-9*$_{}.:-]+", "a host name")
_HEADER = _word(r"[A-Za-z0-9_-]+", "a header's name")
_HEADERS = _word(r"[A-Za-z0-9_*, -]+", "headers' names separated by commas")
_COOKIE = _word(r"[A-Za-z0-9_!#$%&'*+.^`|~-]+", "a cookie's name")
_ON_OFF = _one_of("on", "off")

# annotation -> (field of Options, parser)
_SUPPORTED: dict[str, tuple[str, _Parser]] = {
    "rewrite-target": ("rewrite_target", _PATH),
    "use-regex": ("use_regex", _bool),
    "app-root": ("app_root", _word(r"/[A-Za-z0-9._~:/?#@!&'()*+,=%-]*", "a path that begins with /")),
    "server-alias": ("server_alias", _list(_word(r"(\*\.)?[a-z0-9.-]+", "host names"))),
    "from-to-www-redirect": ("from_to_www", _bool),
    "permanent-redirect": ("permanent_redirect", _redirect),
    "permanent-redirect-code": ("permanent_redirect_code", _number(300, 308)),
    "temporal-redirect": ("temporal_redirect", _redirect),
    "temporal-redirect-code": ("temporal_redirect_code", _number(300, 308)),
    "ssl-redirect": ("ssl_redirect", _bool),
    "force-ssl-redirect": ("force_ssl_redirect", _bool),
    "backend-protocol": ("backend_protocol", _one_of("HTTP", "HTTPS", "GRPC", "GRPCS", "AUTO_HTTP", fold=True)),
    "upstream-vhost": ("upstream_vhost", _HOST),
    "x-forwarded-prefix": ("x_forwarded_prefix", _PATH),
    "connection-proxy-header": ("connection_header", _word(r"[A-Za-z0-9_-]+", "a word")),
    "proxy-http-version": ("http_version", _one_of("1.0", "1.1")),
    "proxy-body-size": ("body_size", _SIZE),
    "client-body-buffer-size": ("body_buffer_size", _SIZE),
    "proxy-connect-timeout": ("connect_timeout", _seconds),
    "proxy-send-timeout": ("send_timeout", _seconds),
    "proxy-read-timeout": ("read_timeout", _seconds),
    "proxy-buffering": ("buffering", _ON_OFF),
    "proxy-request-buffering": ("request_buffering", _ON_OFF),
    "proxy-buffer-size": ("buffer_size", _SIZE),
    "proxy-buffers-number": ("buffers_number", _number(1, 1024)),
    "proxy-busy-buffers-size": ("busy_buffers_size", _SIZE),
    "proxy-max-temp-file-size": ("max_temp_file_size", _SIZE),
    "proxy-next-upstream": ("next_upstream", _next_upstream),
    "proxy-next-upstream-timeout": ("next_upstream_timeout", _seconds),
    "proxy-next-upstream-tries": ("next_upstream_tries", _number(0, 100)),
    "proxy-redirect-from": ("redirect_from", _redirect),
    "proxy-redirect-to": ("redirect_to", _redirect),
    "proxy-cookie-domain": ("cookie_domain", _word(r"off|\S+ \S+", "off, or two words")),
    "proxy-cookie-path": ("cookie_path", _word(r"off|\S+ \S+", "off, or two words")),
    "proxy-ssl-verify": ("proxy_ssl_verify", lambda text: _ON_OFF(text) == "on"),
    "proxy-ssl-name": ("proxy_ssl_name", _word(r"[A-Za-z0-9.-]+", "a host name")),
    "proxy-ssl-server-name": ("proxy_ssl_server_name", lambda text: _ON_OFF(text) == "on"),
    "proxy-ssl-protocols": ("proxy_ssl_protocols", _word(r"(TLSv1(\.[123])? ?)+", "TLS versions")),
    "service-upstream": ("service_upstream", _bool),
    "upstream-hash-by": ("hash_by", _word(r"[A-Za-z0-9_$:/{}-]+", "nginx variables and text")),
    "affinity": ("affinity", lambda text: _one_of("cookie")(text) == "cookie"),
    "affinity-mode": ("", _one_of("balanced")),
    "session-cookie-name": ("cookie_name", _COOKIE),
    "canary": ("canary", _bool),
    "canary-weight": ("canary_weight", _number(0, 1_000_000)),
    "canary-weight-total": ("canary_weight_total", _number(1, 1_000_000)),
    "canary-by-header": ("canary_header", _HEADER),
    "canary-by-header-value": ("canary_header_value", _word(r"[\x21-\x7e]+", "a header's value")),
    "canary-by-header-pattern": ("canary_header_pattern", _regex),
    "canary-by-cookie": ("canary_cookie", _COOKIE),
    "whitelist-source-range": ("allow", _networks),
    "allowlist-source-range": ("allow", _networks),
    "denylist-source-range": ("deny", _networks),
    "satisfy": ("satisfy", _one_of("any", "all")),
    "auth-type": ("auth_type", _one_of("basic")),
    "auth-secret": ("auth_secret", _word(r"([a-z0-9.-]+/)?[a-z0-9.-]+", "the name of a Secret")),
    "auth-secret-type": ("auth_secret_type", _one_of("auth-file", "auth-map")),
    "auth-realm": ("auth_realm", _word(r"[\x20\x21\x23\x25-\x5b\x5d-\x7e]+", "text without quotes, $ and \\")),
    "auth-url": ("auth_url", _url),
    "auth-method": ("auth_method", _one_of("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", fold=True)),
    "auth-signin": ("auth_signin", _redirect),
    "auth-response-headers": ("auth_response_headers", _list(_HEADER)),
    "limit-rps": ("limit_rps", _number(0, 1_000_000)),
    "limit-rpm": ("limit_rpm", _number(0, 10_000_000)),
    "limit-connections": ("limit_connections", _number(0, 1_000_000)),
    "limit-burst-multiplier": ("limit_burst", _number(1, 1000)),
    "limit-rate": ("limit_rate", _number(0, 1_000_000_000)),
    "limit-rate-after": ("limit_rate_after", _number(0, 1_000_000_000)),
    "enable-cors": ("cors", _bool),
    "cors-allow-origin": ("cors_origins", _list(_origin)),
    "cors-allow-methods": ("cors_methods", _word(r"[A-Za-z*, ]+", "methods separated by commas")),
    "cors-allow-headers": ("cors_headers", _HEADERS),
    "cors-expose-headers": ("cors_expose", _HEADERS),
    "cors-allow-credentials": ("cors_credentials", _bool),
    "cors-max-age": ("cors_max_age", _number(0, 1_000_000_000)),
    "enable-access-log": ("access_log", _bool),
    "websocket-services": ("", lambda text: text),  # every location passes upgrades on
}

_COOKIE_ATTRIBUTES: dict[str, Callable[[str], str]] = {
    "session-cookie-path": lambda text: f"; Path={_PATH(text)}",
    "session-cookie-domain": lambda text: f"; Domain={_word('[A-Za-z0-9.-]+', 'a domain')(text)}",
    "session-cookie-max-age": lambda text: f"; Max-Age={_number(0, 1 << 31)(text)}",
    "session-cookie-expires": lambda text: f"; Max-Age={_number(0, 1 << 31)(text)}",
    "session-cookie-secure": lambda text: "; Secure" if _bool(text) else "",
    "session-cookie-samesite": lambda text: f"; SameSite={_one_of('None', 'Lax', 'Strict')(text)}",
}

_SECURITY = frozenset(
    {
        "whitelist-source-range",
        "allowlist-source-range",
        "denylist-source-range",
        "satisfy",
        "auth-type",
        "auth-secret",
        "auth-secret-type",
        "auth-url",
        "auth-method",
        "auth-tls-secret",
        "auth-tls-verify-client",
        "auth-tls-match-cn",
    }
)
"""Without these the Ingress would be more open than asked for: it answers 503 instead."""

_REFUSED = {
    "configuration-snippet": "snippets are not allowed: they could read every Secret that nginx can",
    "server-snippet": "snippets are not allowed: they could read every Secret that nginx can",
    "auth-snippet": "snippets are not allowed: they could read every Secret that nginx can",
    "stream-snippet": "snippets are not allowed: they could read every Secret that nginx can",
    "modsecurity-snippet": "snippets are not allowed: they could read every Secret that nginx can",
}


def parse(annotations: Mapping[str, str]) -> tuple[Options, list[str]]:
    """The options of an Ingress, and what is wrong with its annotations."""
    values: dict[str, Any] = {}
    problems: list[str] = []
    attributes = ""
    path_given = False
    for full, text in sorted(annotations.items()):
        if not full.startswith(PREFIX):
            continue
        name = full.removeprefix(PREFIX)
        try:
            if name in _COOKIE_ATTRIBUTES:
                attributes += _COOKIE_ATTRIBUTES[name](text)
                path_given = path_given or name == "session-cookie-path"
                continue
            if name not in _SUPPORTED:
                why = _REFUSED.get(name, "this annotation is not supported")
                raise ValueError(why)
            target, parser = _SUPPORTED[name]
            value = parser(text)
            if target:
                values[target] = value
        except ValueError as error:
            problems.append(f"annotation {full}: {error}")
            if name in _SECURITY:
                values["closed"] = f"annotation {full}: {error}"
    options = Options(**values)
    if not path_given:
        attributes = "; Path=/" + attributes
    options = replace(options, cookie_attributes=attributes + "; HttpOnly")
    if options.auth_type and not options.auth_secret:
        message = f"annotation {PREFIX}auth-type: needs {PREFIX}auth-secret"
        problems.append(message)
        options = replace(options, closed=message)
    return options, problems

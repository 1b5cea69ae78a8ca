"""From the model to nginx's configuration, for nginx 1.18 and later without any dynamic module. Pure.

Specified in https://nginx.org/en/docs/. What users wrote goes through `quoted`, after annotations.py has checked it.
"""

import re
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from wherry.cluster_net.ingress.model import CATCH_ALL, Location, Model, Server, Upstream

KEEPALIVE = 64
"""Idle connections that each worker keeps to a Service."""
KEEPALIVE_MILLISECONDS = 100
"""A kept connection is used no longer: it is bound to one endpoint, and endpoints come and go."""
_ANNOUNCE_CLOSE = "add_header Connection $wherry_close always;"
"""Empty, and so not sent, but while this configuration is on its way out."""


@dataclass(frozen=True)
class Place:
    """Where this nginx lives and listens. `resolver` answers for names in the cluster; "" when there is none."""

    directory: Path
    log_directory: Path
    http_port: int
    https_port: int
    default_certificate: Path
    workers: int
    user: str
    resolver: str = ""
    ipv6: bool = False

    @property
    def socket(self) -> Path:
        """Answers, to root only, which configuration is in force."""
        return self.directory / "status.sock"

    @property
    def empty_directory(self) -> Path:
        """Holds a file, named like the upstream, for each that has no endpoint now."""
        return self.directory / "empty"


def draining_marker(directory: Path, generation: str) -> Path:
    """While this file exists, nginx tells clients of that configuration not to use their connection again.

    Workers that are to end close connections after the request under way, and would have promised to keep them.
    """
    return directory / f"draining-{generation}"


def quoted(text: str) -> str:
    """`text` as one argument. nginx takes a backslash before `\\`, `"`, `t`, `r` and `n` as an escape."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def render(model: Model, place: Place, generation: str) -> str:
    """The whole configuration. `generation` is what the status socket says while it is in force."""
    lines = [*_main(place), *_http(model, place)]
    zones: list[str] = []
    servers: list[str] = []
    names = _Names()
    for server in model.servers:
        servers += _server(server, place, zones, names, generation)
    lines += [f"    {line}" for line in (*_upstreams(model), *zones, *servers, *_status(place, generation))]
    return "\n".join([*lines, "}", ""])


class _Names:
    """Numbers for the variables and zones that single locations need."""

    def __init__(self) -> None:
        self._next = 0

    def __call__(self, kind: str) -> str:
        self._next += 1
        return f"wherry_{kind}_{self._next}"


def _main(place: Place) -> list[str]:
    return [
        "# Written by wherry-node; changes are overwritten.",
        "daemon on;",
        f"user {place.user};",
        f"pid {quoted(str(place.directory / 'nginx.pid'))};",
        f"error_log {quoted(str(place.log_directory / 'ingress-error.log'))} warn;",
        f"worker_processes {place.workers};",
        "worker_shutdown_timeout 240s;",
        "worker_rlimit_nofile 65535;",
        "events { worker_connections 4096; multi_accept on; }",
    ]


def _http(model: Model, place: Place) -> Iterator[str]:
    temporary = place.directory / "tmp"
    names = [name for server in model.servers for name in (server.host, *server.aliases)]
    longest = max((len(name) for name in names), default=0)
    yield "http {"
    for line in (
        *(
            f"{kind}_temp_path {quoted(str(temporary / kind))};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        ),
        'log_format wherry \'$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent '
        '"$http_referer" "$http_user_agent" $request_length $request_time [$wherry_ingress] [$proxy_host] '
        "$upstream_addr $upstream_response_length $upstream_response_time $upstream_status $wherry_request_id';",
        f"access_log {quoted(str(place.log_directory / 'ingress-access.log'))} wherry buffer=32k flush=1s;",
        "default_type text/html;",
        "sendfile on;",
        "tcp_nopush on;",
        "tcp_nodelay on;",
        "reset_timedout_connection on;",
        "keepalive_timeout 75s;",
        "keepalive_requests 1000;",
        "client_header_buffer_size 1k;",
        "large_client_header_buffers 4 8k;",
        "client_header_timeout 60s;",
        "client_body_timeout 60s;",
        "types_hash_max_size 2048;",
        f"server_names_hash_max_size {max(1024, 2 * len(names))};",
        f"server_names_hash_bucket_size {max(64, 1 << (longest + 32).bit_length())};",
        "map_hash_bucket_size 256;",
        "variables_hash_max_size 4096;",
        "proxy_headers_hash_bucket_size 128;",
        "server_tokens off;",
        "underscores_in_headers off;",
        "ignore_invalid_headers on;",
        "limit_req_status 503;",
        "limit_conn_status 503;",
        "proxy_http_version 1.1;",
        "proxy_ssl_session_reuse on;",
        "ssl_protocols TLSv1.2 TLSv1.3;",
        "ssl_session_cache shared:wherry:10m;",
        "ssl_session_timeout 10m;",
        "ssl_session_tickets off;",
        "ssl_prefer_server_ciphers on;",
        "ssl_buffer_size 4k;",
        *([f"resolver {place.resolver} valid=5s ipv6=off;", "resolver_timeout 5s;"] if place.resolver else []),
        "map $http_host $wherry_host { default $http_host; '' $host; }",
        "map $http_x_request_id $wherry_request_id { default $http_x_request_id; '' $request_id; }",
        "map $http_upgrade $wherry_connection { default upgrade; '' ''; }",
        # Not in HTTP/2, which has its own way and forbids the header, and not to what becomes another protocol.
        "map $wherry_draining$http2$http_upgrade $wherry_close { default ''; close close; }",
    ):
        yield f"    {line}"


def _upstreams(model: Model) -> Iterator[str]:
    cookies: set[str] = set()
    for upstream in model.upstreams():
        if upstream.cookie and upstream.cookie not in cookies:
            cookies.add(upstream.cookie)
            yield from _cookie_maps(upstream.cookie)
        if not upstream.servers:
            continue
        yield f"upstream {quoted(upstream.name)} {{"
        if upstream.cookie:
            yield f"    hash ${_cookie_variable(upstream.cookie)} consistent;"
        elif upstream.hash_by:
            yield f"    hash {quoted(upstream.hash_by)} consistent;"
        yield from (f"    server {server} max_fails=0;" for server in upstream.servers)
        yield f"    keepalive {KEEPALIVE};"
        yield f"    keepalive_time {KEEPALIVE_MILLISECONDS}ms;"
        yield f"    keepalive_timeout {KEEPALIVE_MILLISECONDS}ms;"
        yield "    keepalive_requests 10000;"
        yield "}"


def _cookie_variable(cookie: str, kind: str = "sticky") -> str:
    return f"wherry_{kind}_" + "".join(f"{ord(letter):x}" for letter in cookie)


def _cookie_maps(cookie: str) -> list[str]:
    """The client's cookie, or for a new client the request's id, which then becomes its cookie."""
    pattern = quoted(rf"~(?:^|;\s*){re.escape(cookie)}=(?<value>[0-9a-f]+)")
    variable = _cookie_variable(cookie)
    return [
        f"map $http_cookie ${variable} {{ default $request_id; {pattern} $value; }}",
        f'map $http_cookie ${_cookie_variable(cookie, "new")} {{ default "{cookie}=$request_id"; {pattern} ""; }}',
    ]


def _draining(place: Place, generation: str) -> Iterator[str]:
    marker = quoted(str(draining_marker(place.directory, generation)))
    yield '    set $wherry_draining "";'
    yield f"    if (-f {marker}) {{ set $wherry_draining close; }}"
    yield f"    {_ANNOUNCE_CLOSE}"


def _server(server: Server, place: Place, zones: list[str], names: _Names, generation: str) -> Iterator[str]:
    default = " default_server" if server.host == CATCH_ALL else ""
    if server.www:
        other = server.host[4:] if server.host.startswith("www.") else f"www.{server.host}"
        yield from ("server {", *_listen(place, ""), f"    server_name {other};")
        yield from (f"    {line}" for line in _certificate(server, place))
        port = "" if (place.http_port, place.https_port) == (80, 443) else ":$server_port"
        yield f"    return 308 $scheme://{server.host}{port}$request_uri;"
        yield "}"
    yield "server {"
    yield from _listen(place, default)
    yield f"    server_name {' '.join(_server_name(name) for name in (server.host, *server.aliases))};"
    yield from (f"    {line}" for line in _certificate(server, place))
    yield '    set $wherry_ingress "-";'
    yield from _draining(place, generation)
    if server.app_root:
        yield f"    if ($uri = /) {{ return 302 {quoted(f'$scheme://$http_host{server.app_root}')}; }}"
    regex = server.uses_regex
    extra: list[str] = []
    ordered = sorted(server.locations, key=lambda one: (-len(one.path), one.path, one.kind != "Exact"))
    taken = {one.path.rstrip("/") or "/" for one in ordered if one.kind == "Exact"}
    for location in ordered:
        body = list(_location(location, server, place, zones, names, extra, regex))
        for match in _matches(location, regex, taken):
            yield f"    location {match} {{"
            yield from (f"        {line}" for line in body)
            yield "    }"
    if regex or not any(one.path == "/" and one.kind != "Exact" for one in ordered):
        yield "    location / { return 404; }"
    yield from (f"    {line}" for line in extra)
    yield "}"


def _listen(place: Place, default: str) -> Iterator[str]:
    """`default` is " default_server" for the server that also says how the sockets are to be."""
    options = f"{default} backlog=4096" if default else ""
    for address in ("", "[::]:") if place.ipv6 else ("",):
        yield f"    listen {address}{place.http_port}{options};"
        yield f"    listen {address}{place.https_port}{options} ssl http2;"


def _server_name(host: str) -> str:
    """A wildcard stands for exactly one label, which nginx's own wildcard does not say."""
    if host.startswith("*."):
        return quoted(rf"~^[\w-]+\.{re.escape(host[2:])}$")
    return host


def _certificate(server: Server, place: Place) -> list[str]:
    path = quoted(server.certificate or str(place.default_certificate))
    return [f"ssl_certificate {path};", f"ssl_certificate_key {path};"]


def _matches(location: Location, regex: bool, exact: set[str]) -> list[str]:
    """nginx's matches for one path: a prefix in Kubernetes ends at a slash, so it takes two."""
    path = location.path
    if regex:
        plain = re.fullmatch(r"[A-Za-z0-9/_~-]*", path) is not None
        if location.kind == "Exact" and plain:
            return [f"~* {quoted(f'^{path}$')}"]
        if location.kind == "Prefix" and plain and path != "/":
            return ["~* " + quoted("^" + path.rstrip("/") + "(?=/|$)")]
        return [f"~* {quoted('^' + path)}"]
    if location.kind == "Exact":
        return [f"= {quoted(path)}"]
    if location.kind == "Prefix" and path.rstrip("/"):
        bare = path.rstrip("/")
        return [quoted(f"{bare}/"), *([] if bare in exact else [f"= {quoted(bare)}"])]
    return [quoted(path)]


def _location(
    location: Location,
    server: Server,
    place: Place,
    zones: list[str],
    names: _Names,
    extra: list[str],
    regex: bool,
) -> Iterator[str]:
    options, upstream = location.options, location.upstream
    yield f"set $wherry_ingress {quoted('/'.join(location.owner))};"
    if not options.access_log:
        yield "access_log off;"
    if options.closed:
        yield "return 503;"
        return
    redirect_tls = options.force_ssl_redirect or (options.ssl_redirect and server.certificate)
    if redirect_tls:
        port = "" if place.https_port == 443 else f":{place.https_port}"
        yield f"if ($scheme = http) {{ return 308 https://$host{port}$request_uri; }}"
    if options.permanent_redirect:
        yield f"return {options.permanent_redirect_code} {quoted(options.permanent_redirect)};"
        return
    if options.temporal_redirect:
        yield f"return {options.temporal_redirect_code} {quoted(options.temporal_redirect)};"
        return
    headers: list[str] = []
    if options.cors:
        headers += yield from _cors(location, zones, names)
    if upstream is not None and upstream.cookie:
        variable = _cookie_variable(upstream.cookie, "new")
        attributes = names("cookie")
        zones.append(
            f'map ${variable} ${attributes} {{ "" ""; default {quoted(f"${variable}{options.cookie_attributes}")}; }}'
        )
        headers.append(f"add_header Set-Cookie ${attributes};")
    if headers:
        # A location with headers of its own inherits none.
        headers.append(_ANNOUNCE_CLOSE)
    yield from headers
    yield from _access(location, zones, names, place, extra)
    marked = upstream is not None and upstream.by_address and not location.canaries
    if upstream is None or not (upstream.usable or marked):
        yield "return 503;"
        return
    if marked:
        yield f"if (-f {quoted(str(place.empty_directory / upstream.name))}) {{ return 503; }}"
    yield from _proxy(location, upstream, place, zones, names, regex)


def _cors(location: Location, zones: list[str], names: _Names) -> Generator[str, None, list[str]]:
    options = location.options
    if "*" in options.cors_origins:
        origin = quoted("*")
    else:
        variable = names("origin")
        patterns = []
        for one in options.cors_origins:
            pattern = re.escape(one).replace(r"\*\.", r"[A-Za-z0-9-]+\.")
            patterns.append(f"{quoted(f'~^{pattern}$')} $http_origin;")
        zones.append(f'map $http_origin ${variable} {{ default ""; {" ".join(patterns)} }}')
        origin = f"${variable}"
    headers = [f"add_header Access-Control-Allow-Origin {origin} always;"]
    if options.cors_credentials:
        headers.append('add_header Access-Control-Allow-Credentials "true" always;')
    headers += [
        f"add_header Access-Control-Allow-Methods {quoted(options.cors_methods)} always;",
        f"add_header Access-Control-Allow-Headers {quoted(options.cors_headers)} always;",
    ]
    if options.cors_expose:
        headers.append(f"add_header Access-Control-Expose-Headers {quoted(options.cors_expose)} always;")
    yield "if ($request_method = OPTIONS) {"
    yield from (f"    {header}" for header in (*headers, _ANNOUNCE_CLOSE))
    yield f'    add_header Access-Control-Max-Age "{options.cors_max_age}";'
    yield "    return 204;"
    yield "}"
    return [*headers, f'add_header Access-Control-Max-Age "{options.cors_max_age}" always;']


def _access(location: Location, zones: list[str], names: _Names, place: Place, extra: list[str]) -> Iterator[str]:
    options = location.options
    if options.satisfy:
        yield f"satisfy {options.satisfy};"
    yield from (f"deny {network};" for network in options.deny)
    if options.allow:
        yield from (f"allow {network};" for network in options.allow)
        yield "deny all;"
    if location.users:
        yield f"auth_basic {quoted(options.auth_realm)};"
        yield f"auth_basic_user_file {quoted(location.users)};"
    if options.auth_url:
        yield from _auth_request(location, names, extra)
    for value, unit in ((options.limit_rps, "r/s"), (options.limit_rpm, "r/m")):
        if value:
            zone = names("limit")
            zones.append(f"limit_req_zone $binary_remote_addr zone={zone}:5m rate={value}{unit};")
            yield f"limit_req zone={zone} burst={value * options.limit_burst} nodelay;"
    if options.limit_connections:
        zone = names("connections")
        zones.append(f"limit_conn_zone $binary_remote_addr zone={zone}:5m;")
        yield f"limit_conn {zone} {options.limit_connections};"
    if options.limit_rate:
        yield f"limit_rate {options.limit_rate}k;"
        yield f"limit_rate_after {options.limit_rate_after}k;"


def _auth_request(location: Location, names: _Names, extra: list[str]) -> Iterator[str]:
    options = location.options
    path = f"/_{names('auth')}"
    target = names("auth_url")
    extra += [
        f"location = {path} {{",
        "    internal;",
        "    access_log off;",
        f"    set ${target} {quoted(options.auth_url)};",
        "    proxy_pass_request_body off;",
        '    proxy_set_header Content-Length "";',
        '    proxy_set_header Connection "";',
        "    proxy_set_header X-Original-URL $scheme://$http_host$request_uri;",
        "    proxy_set_header X-Original-Method $request_method;",
        "    proxy_set_header X-Auth-Request-Redirect $request_uri;",
        "    proxy_set_header X-Real-IP $remote_addr;",
        "    proxy_set_header X-Forwarded-For $remote_addr;",
        "    proxy_set_header X-Request-ID $wherry_request_id;",
        f"    proxy_set_header Host {quoted(_host_of(options.auth_url))};",
        *([f"    proxy_method {options.auth_method};"] if options.auth_method else []),
        "    proxy_ssl_server_name on;",
        f"    proxy_pass ${target};",
        "}",
    ]
    yield f"auth_request {path};"
    for header in options.auth_response_headers:
        word = header.lower().replace("-", "_")
        yield f"auth_request_set $wherry_auth_{word} $upstream_http_{word};"
    if options.auth_signin:
        name = f"@{names('signin')}"
        joint = "&" if "?" in options.auth_signin else "?"
        target = f"{options.auth_signin}{joint}rd=$scheme://$http_host$request_uri"
        extra += [f"location {name} {{", "    internal;", f"    return 302 {quoted(target)};", "}"]
        yield f"error_page 401 = {name};"


def _host_of(url: str) -> str:
    return url.partition("://")[2].partition("/")[0].rpartition("@")[2]


def _proxy(
    location: Location, upstream: Upstream, place: Place, zones: list[str], names: _Names, regex: bool
) -> Iterator[str]:
    options = location.options
    protocol = options.backend_protocol
    grpc = protocol in ("GRPC", "GRPCS")
    kind = "grpc" if grpc else "proxy"
    scheme = {"HTTP": "http", "HTTPS": "https", "AUTO_HTTP": "$scheme", "GRPC": "grpc", "GRPCS": "grpcs"}[protocol]
    yield f"client_max_body_size {options.body_size};"
    if options.body_buffer_size:
        yield f"client_body_buffer_size {options.body_buffer_size};"
    yield f"{kind}_connect_timeout {options.connect_timeout}s;"
    yield f"{kind}_send_timeout {options.send_timeout}s;"
    yield f"{kind}_read_timeout {options.read_timeout}s;"
    yield f"{kind}_next_upstream {options.next_upstream};"
    yield f"{kind}_next_upstream_timeout {options.next_upstream_timeout}s;"
    yield f"{kind}_next_upstream_tries {options.next_upstream_tries};"
    host = options.upstream_vhost or (upstream.external.rpartition(":")[0] if upstream.external else "$wherry_host")
    headers = [
        ("Host", quoted(host)),
        ("X-Request-ID", "$wherry_request_id"),
        ("X-Real-IP", "$remote_addr"),
        ("X-Forwarded-For", "$remote_addr"),
        ("X-Forwarded-Host", "$wherry_host"),
        ("X-Forwarded-Port", "$server_port"),
        ("X-Forwarded-Proto", "$scheme"),
        ("X-Forwarded-Scheme", "$scheme"),
        ("X-Scheme", "$scheme"),
        ("X-Original-Forwarded-For", "$http_x_forwarded_for"),
        ("Proxy", '""'),
        *([("Authorization", '""')] if location.users else []),
    ]
    if not grpc:
        headers += [
            ("Upgrade", "$http_upgrade"),
            ("Connection", quoted(options.connection_header) if options.connection_header else "$wherry_connection"),
        ]
    if options.x_forwarded_prefix:
        headers.append(("X-Forwarded-Prefix", quoted(options.x_forwarded_prefix)))
    for header in options.auth_response_headers if options.auth_url else ():
        headers.append((header, f"$wherry_auth_{header.lower().replace('-', '_')}"))
    yield from (f"{kind}_set_header {name} {value};" for name, value in headers)
    if protocol in ("HTTPS", "AUTO_HTTP", "GRPCS"):
        if options.proxy_ssl_server_name or options.proxy_ssl_name or upstream.external:
            yield f"{kind}_ssl_server_name on;"
            yield f"{kind}_ssl_name {quoted(options.proxy_ssl_name or host)};"
        if options.proxy_ssl_protocols:
            yield f"{kind}_ssl_protocols {options.proxy_ssl_protocols.strip()};"
        if options.proxy_ssl_verify:
            yield f"{kind}_ssl_verify on;"
            yield f"{kind}_ssl_trusted_certificate /etc/ssl/certs/ca-certificates.crt;"
    if not grpc:
        yield f"proxy_http_version {options.http_version};"
        yield f"proxy_buffering {options.buffering};"
        yield f"proxy_request_buffering {options.request_buffering};"
        yield f"proxy_buffer_size {options.buffer_size};"
        yield f"proxy_buffers {options.buffers_number} {options.buffer_size};"
        if options.busy_buffers_size:
            yield f"proxy_busy_buffers_size {options.busy_buffers_size};"
        yield f"proxy_max_temp_file_size {options.max_temp_file_size};"
        if options.cookie_domain:
            yield f"proxy_cookie_domain {options.cookie_domain};"
        if options.cookie_path:
            yield f"proxy_cookie_path {options.cookie_path};"
        if options.redirect_to:
            yield f"proxy_redirect {quoted(options.redirect_from or 'default')} {quoted(options.redirect_to)};"
        else:
            yield "proxy_redirect off;"
    if options.rewrite_target and options.rewrite_target != location.path:
        pattern = location.path if regex else "^" + location.path
        yield f"rewrite {quoted('(?i)' + pattern)} {quoted(options.rewrite_target)} break;"
    target = upstream.external or upstream.name
    if location.canaries:
        target = "$" + _choose(location, target, zones, names)
    elif upstream.external:
        variable = names("target")
        yield f"set ${variable} {quoted(target)};"
        target = f"${variable}"
    yield f"{kind}_pass {scheme}://{target};"


def _choose(location: Location, main: str, zones: list[str], names: _Names) -> str:
    """Maps that pick a canary by header, then by cookie, then by weight. Returns the variable's name."""
    chosen = main
    for canary in location.canaries:
        options, name = canary.options, canary.upstream.external or canary.upstream.name
        if options.canary_weight:
            variable = names("weight")
            share = min(100.0, 100 * options.canary_weight / options.canary_weight_total)
            drawn = names("drawn")
            parts = "* yes;" if share >= 100 else f"{share:.2f}% yes; * no;"
            zones.append(f'split_clients "${{request_id}}{variable}" ${drawn} {{ {parts} }}')
            zones.append(f"map ${drawn} ${variable} {{ default {_value(chosen)}; yes {quoted(name)}; }}")
            chosen = f"${variable}"
        if options.canary_cookie:
            variable = names("cookie")
            key = quoted(rf"~(?:^|;\s*){re.escape(options.canary_cookie)}=always(?:;|$)")
            never = quoted(rf"~(?:^|;\s*){re.escape(options.canary_cookie)}=never(?:;|$)")
            values = f"{key} {quoted(name)}; {never} {quoted(main)};"
            zones.append(f"map $http_cookie ${variable} {{ default {_value(chosen)}; {values} }}")
            chosen = f"${variable}"
        if options.canary_header:
            variable = names("header")
            source = f"$http_{options.canary_header.lower().replace('-', '_')}"
            if options.canary_header_value:
                values = f"{quoted(options.canary_header_value)} {quoted(name)};"
            elif options.canary_header_pattern:
                values = f"{quoted('~' + options.canary_header_pattern)} {quoted(name)};"
            else:
                values = f"always {quoted(name)}; never {quoted(main)};"
            zones.append(f"map {source} ${variable} {{ default {_value(chosen)}; {values} }}")
            chosen = f"${variable}"
    if not chosen.startswith("$"):  # canaries without any rule: nothing goes to them
        variable = names("main")
        zones.append(f"map $request_method ${variable} {{ default {quoted(main)}; }}")
        chosen = f"${variable}"
    return chosen[1:]


def _value(chosen: str) -> str:
    return chosen if chosen.startswith("$") else quoted(chosen)


def _status(place: Place, generation: str) -> Sequence[str]:
    return (
        "server {",
        f"    listen {quoted(f'unix:{place.socket}')};",
        "    access_log off;",
        '    set $wherry_ingress "-";',
        "    location = /generation { default_type text/plain; return 200 " + quoted(generation) + "; }",
        "    location = /status { stub_status; }",
        "}",
    )

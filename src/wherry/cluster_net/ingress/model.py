"""From Ingresses, Services, EndpointSlices and Secrets to what nginx is to serve. Pure.

Vocabulary: a *server* is one host name with its locations; a *location* is one path; an *upstream* is one port of one
Service, with where its requests are sent; a *claim* is the (host, path, type) that belongs to the oldest Ingress that
names it.

An upstream is normally the Service's own address, so that the service proxy chooses the endpoint: endpoints come and
go without nginx being told, the first and the last of them by a marker file that nginx looks for. Only what must know
endpoints (session affinity, hashing, headless Services) lists them.

Specified in https://kubernetes.io/docs/concepts/services-networking/ingress/.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from wherry.cluster_net.ingress.annotations import PREFIX, Options, parse
from wherry.cluster_net.service_rules import ready_endpoints
from wherry.schema.resource import Object

Key = tuple[str, str]
"""(namespace, name) of an Ingress."""

CATCH_ALL = "_"
TRIES = 3
"""A Service's address is listed as often as a request may be tried: each try meets an endpoint of its own."""


@dataclass(frozen=True)
class Upstream:
    """One port of one Service. Without `servers` and `external` there is nobody to answer: 503.

    `by_address`: `servers` is the Service's own address, listed whether or not there is an endpoint; `empty` says that
    there is none now. Such an upstream is the same for nginx either way, as it learns of that by a marker.
    """

    name: str
    servers: tuple[str, ...] = ()
    external: str = ""
    """`host:port` of an ExternalName, resolved for each request."""
    hash_by: str = ""
    cookie: str = ""
    """Cookie by which a client stays with an endpoint."""
    by_address: bool = False
    empty: bool = False

    @property
    def usable(self) -> bool:
        return bool(self.servers or self.external) and not self.empty


@dataclass(frozen=True)
class Canary:
    upstream: Upstream
    options: Options


@dataclass(frozen=True)
class Location:
    """`kind` is pathType, `path` as in the Ingress. `upstream` None: the Ingress cannot be served (503)."""

    path: str
    kind: str
    owner: Key
    options: Options
    upstream: Upstream | None
    users: str = ""
    """File of users and hashes for basic authentication."""
    canaries: tuple[Canary, ...] = ()


@dataclass(frozen=True)
class Server:
    """`host` is a name, `*.name`, or `_` for every other. `certificate`: PEM file with key; "": the default one."""

    host: str
    locations: tuple[Location, ...] = ()
    certificate: str = ""
    aliases: tuple[str, ...] = ()
    app_root: str = ""
    www: bool = False

    @property
    def uses_regex(self) -> bool:
        """As ingress-nginx: one location that rewrites makes every path of the host a regular expression."""
        return any(one.options.use_regex or one.options.rewrite_target not in ("", one.path) for one in self.locations)


@dataclass
class Model:
    """What to serve, and per Ingress what is wrong: (reason, message)."""

    servers: list[Server] = field(default_factory=list)
    problems: dict[Key, list[tuple[str, str]]] = field(default_factory=dict)

    def upstreams(self) -> list[Upstream]:
        found: dict[str, Upstream] = {}
        for server in self.servers:
            for location in server.locations:
                for upstream in (location.upstream, *(canary.upstream for canary in location.canaries)):
                    if upstream is not None:
                        found[upstream.name] = upstream
        return [found[name] for name in sorted(found)]

    def problem(self, key: Key, reason: str, message: str) -> None:
        entry = (reason, message)
        known = self.problems.setdefault(key, [])
        if entry not in known:
            known.append(entry)


class Lookup(Protocol):
    """What the model reads of the cluster. Certificates and user files exist once their path is returned."""

    def service(self, namespace: str, name: str) -> Object | None: ...

    def slices(self, namespace: str, name: str) -> Iterable[Object]: ...

    def certificate(self, namespace: str, secret: str, host: str) -> str:
        """Path of a PEM file good for `host`. Raises LookupError with the reason."""
        ...

    def users(self, namespace: str, secret: str, kind: str) -> str:
        """Path of the users' file. Raises LookupError with the reason."""
        ...


def secrets_of(ingress: Object) -> set[Key]:
    """The Secrets that an Ingress names."""
    namespace = ingress["metadata"]["namespace"]
    found = {(namespace, tls["secretName"]) for tls in ingress["spec"].get("tls") or () if tls.get("secretName")}
    secret = (ingress["metadata"].get("annotations") or {}).get(f"{PREFIX}auth-secret", "")
    if secret:
        found.add((namespace, secret.rpartition("/")[2]))
    return found


def build(ingresses: Iterable[Object], lookup: Lookup, *, skip: frozenset[Key] = frozenset()) -> Model:
    """The model of all `ingresses` but those in `skip`. The oldest has the first word on every host and path."""
    return _Builder(lookup).build([one for one in sorted(ingresses, key=_age) if _key(one) not in skip])


def _key(ingress: Object) -> Key:
    return ingress["metadata"]["namespace"], ingress["metadata"]["name"]


def _age(ingress: Object) -> tuple[str, str, str]:
    metadata = ingress["metadata"]
    return metadata.get("creationTimestamp") or "", metadata["namespace"], metadata["name"]


class _Builder:
    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self.model = Model()
        self._locations: dict[str, dict[tuple[str, str], Location]] = {}
        self._defaults: dict[str, Location] = {}
        self._servers: dict[str, Server] = {}
        self._for_other_hosts: Location | None = None

    def build(self, ingresses: list[Object]) -> Model:
        canaries = []
        for ingress in ingresses:
            options, problems = parse(ingress["metadata"].get("annotations") or {})
            for message in problems:
                self.model.problem(_key(ingress), "UnsupportedAnnotation", message)
            if options.canary:
                canaries.append((ingress, options))
            else:
                self._add(ingress, options)
        for ingress, options in canaries:
            self._add_canary(ingress, options)
        if self._for_other_hosts is not None:
            self._defaults.setdefault(CATCH_ALL, self._for_other_hosts)
        for host in sorted(self._servers.keys() | {CATCH_ALL}):
            locations = list(self._locations.get(host, {}).values())
            default = self._defaults.get(host)
            if default is not None and not any(one.path == "/" and one.kind != "Exact" for one in locations):
                locations.append(default)
            server = self._servers.get(host, Server(host))
            self.model.servers.append(replace(server, locations=tuple(locations)))
        return self.model

    def _add(self, ingress: Object, options: Options) -> None:
        key = _key(ingress)
        spec = ingress["spec"]
        users = ""
        if options.auth_type and not options.closed:
            namespace, _, secret = options.auth_secret.rpartition("/")
            try:
                if namespace not in ("", key[0]):
                    raise LookupError(f"Secret {options.auth_secret} is in another namespace, which is not allowed")
                users = self._lookup.users(key[0], secret, options.auth_secret_type)
            except LookupError as error:
                options = replace(options, closed=str(error))
        if options.closed:
            self.model.problem(key, "Closed", f"answers 503, as not to be open to everybody: {options.closed}")
        for rule in spec.get("rules") or ():
            host = rule.get("host") or CATCH_ALL
            self._server(host, ingress, options)
            for path in (rule.get("http") or {}).get("paths") or ():
                location = Location(
                    path=path.get("path") or "/",
                    kind=path["pathType"],
                    owner=key,
                    options=options,
                    upstream=self._upstream(key, path["backend"], options),
                    users=users,
                )
                self._claim(host, location)
            if spec.get("defaultBackend"):
                self._default(host, ingress, options, users)
        if spec.get("defaultBackend") and not spec.get("rules"):
            self._server(CATCH_ALL, ingress, options)
            self._default(CATCH_ALL, ingress, options, users)
        elif spec.get("defaultBackend") and self._for_other_hosts is None:
            # For requests that match no rule of any Ingress, while none is there for all hosts.
            upstream = self._upstream(key, spec["defaultBackend"], options)
            self._for_other_hosts = Location("/", "Prefix", key, options, upstream, users=users)

    def _claim(self, host: str, location: Location) -> None:
        kind = "Exact" if location.kind == "Exact" else "Prefix"
        path = location.path if kind == "Exact" or location.path == "/" else location.path.rstrip("/")
        known = self._locations.setdefault(host, {})
        if (path, kind) in known:
            owner = known[path, kind].owner
            if owner != location.owner:
                message = f'host "{host}" and path "{location.path}" is already defined in ingress {"/".join(owner)}'
                self.model.problem(location.owner, "Conflict", message)
            return
        known[path, kind] = location

    def _default(self, host: str, ingress: Object, options: Options, users: str) -> None:
        key = _key(ingress)
        backend = ingress["spec"]["defaultBackend"]
        if host in self._defaults:
            owner = self._defaults[host].owner
            if owner != key:
                self.model.problem(key, "Conflict", f'host "{host}" has its default backend from {"/".join(owner)}')
            return
        upstream = self._upstream(key, backend, options)
        self._defaults[host] = Location("/", "Prefix", key, options, upstream, users=users)

    def _server(self, host: str, ingress: Object, options: Options) -> None:
        server = self._servers.get(host) or Server(host)
        if not server.certificate:
            server = replace(server, certificate=self._certificate(host, ingress))
        if options.server_alias:
            aliases = [alias for alias in options.server_alias if alias != host and alias not in server.aliases]
            taken = [alias for alias in aliases if alias in self._servers]
            for alias in taken:
                self.model.problem(_key(ingress), "Conflict", f'alias "{alias}" is the host of another Ingress')
            server = replace(server, aliases=(*server.aliases, *(one for one in aliases if one not in taken)))
        server = replace(
            server,
            app_root=server.app_root or options.app_root,
            www=server.www or (options.from_to_www and host != CATCH_ALL and not host.startswith("*")),
        )
        self._servers[host] = server

    def _certificate(self, host: str, ingress: Object) -> str:
        """The file for `host` by the Ingress's `tls`; "" for none, which is the default certificate."""
        for tls in ingress["spec"].get("tls") or ():
            hosts = tls.get("hosts") or ()
            if hosts and not any(covers(pattern, host) for pattern in hosts):
                continue
            secret = tls.get("secretName")
            if not secret:
                continue
            try:
                return self._lookup.certificate(ingress["metadata"]["namespace"], secret, host)
            except LookupError as error:
                self.model.problem(_key(ingress), "BadTLS", f"{error}; using the default certificate")
        return ""

    def _add_canary(self, ingress: Object, options: Options) -> None:
        key = _key(ingress)
        for rule in ingress["spec"].get("rules") or ():
            host = rule.get("host") or CATCH_ALL
            for path in (rule.get("http") or {}).get("paths") or ():
                wanted = path.get("path") or "/"
                kind = "Exact" if path["pathType"] == "Exact" else "Prefix"
                place = (wanted if kind == "Exact" or wanted == "/" else wanted.rstrip("/"), kind)
                main = self._locations.get(host, {}).get(place)
                if main is None:
                    message = f'canary without a main Ingress for host "{host}" and path "{wanted}"'
                    self.model.problem(key, "CanaryWithoutMain", message)
                    continue
                upstream = self._upstream(key, path["backend"], replace(options, affinity=False))
                if upstream is not None and upstream.usable:
                    canaries = (*main.canaries, Canary(upstream, options))
                    self._locations[host][place] = replace(main, canaries=canaries)

    def _upstream(self, key: Key, backend: Object, options: Options) -> Upstream | None:
        wanted = backend.get("service")
        if wanted is None:
            self.model.problem(
                key, "UnsupportedBackend", "backends that are resources are not supported, only Services"
            )
            return None
        namespace, name = key[0], wanted["name"]
        service = self._lookup.service(namespace, name)
        if service is None:
            self.model.problem(key, "ServiceNotFound", f'service "{namespace}/{name}" not found')
            return None
        port = _port(service, wanted.get("port") or {})
        if port is None:
            text = (wanted.get("port") or {}).get("name") or (wanted.get("port") or {}).get("number")
            self.model.problem(key, "PortNotFound", f'service "{namespace}/{name}" has no port {text}')
            return None
        return upstream_of(service, port, self._lookup.slices(namespace, name), options)


def upstream_of(service: Object, port: Object, slices: Iterable[Object], options: Options) -> Upstream:
    """Where requests for this port of the Service go."""
    metadata, spec = service["metadata"], service["spec"]
    number = port["port"]
    base = f"{metadata['namespace']}_{metadata['name']}_{number}".replace(".", "-")
    if spec.get("type") == "ExternalName":
        return Upstream(f"{base}_external", external=f"{spec['externalName'].rstrip('.')}:{number}")
    slices = [item for item in slices if item.get("addressType") == "IPv4"]
    endpoints = ready_endpoints(slices, port.get("name") or "", "tcp", "")
    cookie = options.cookie_name if options.affinity else ""
    address = spec.get("clusterIP") or "None"
    if cookie or options.hash_by or address == "None" or not options.service_upstream:
        kind = f"_by_{_safe(cookie or options.hash_by)}" if cookie or options.hash_by else "_endpoints"
        servers = tuple(f"{endpoint.ip}:{endpoint.port}" for endpoint in endpoints)
        return Upstream(base + kind, servers, hash_by="" if cookie else options.hash_by, cookie=cookie)
    return Upstream(base, (f"{address}:{number}",) * TRIES, by_address=True, empty=not endpoints)


def _safe(text: str) -> str:
    return "".join(letter if letter.isalnum() and letter.isascii() else f"-{ord(letter):x}" for letter in text)


def _port(service: Object, wanted: Mapping[str, object]) -> Object | None:
    ports = service["spec"].get("ports") or ()
    test: Callable[[Object], bool]
    if wanted.get("name"):
        test = lambda port: port.get("name") == wanted["name"]  # noqa: E731
    else:
        test = lambda port: port["port"] == wanted.get("number")  # noqa: E731
    found = next((port for port in ports if test(port) and port.get("protocol", "TCP") == "TCP"), None)
    if found is None and service["spec"].get("type") == "ExternalName" and wanted.get("number"):
        # An ExternalName needs no ports of its own.
        return {"port": wanted["number"]}
    return found


def covers(pattern: str, host: str) -> bool:
    """Whether a TLS host (maybe `*.name`) is for this rule's host. A wildcard stands for one label."""
    if pattern == host:
        return True
    return pattern.startswith("*.") and host.partition(".")[2] == pattern[2:] and not host.startswith("*")

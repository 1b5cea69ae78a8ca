"""The Ingress controller of one node: follows the API, keeps nginx true to it, says in status and Events how it went.

nginx runs only while there is an Ingress to serve. It is reloaded when its configuration changes, which endpoints
normally do not do (see model.py).
"""

import asyncio
import hashlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from wherry.client.api import Client, PatchType
from wherry.client.events import NORMAL, WARNING, EventRecorder
from wherry.client.informer import Informer
from wherry.cluster_net.ingress.certificates import SecretFiles
from wherry.cluster_net.ingress.model import Key, Model, build, secrets_of
from wherry.cluster_net.ingress.nginx import BadConfig, Nginx, NginxError, Ports, has_ipv6
from wherry.cluster_net.ingress.render import Place, render
from wherry.cluster_net.service_proxy import index_service
from wherry.cluster_net.settings import IngressSettings
from wherry.host.instance import Instance
from wherry.schema.builtin import ENDPOINT_SLICES, INGRESS_CLASSES, INGRESSES, NODES, SECRETS, SERVICES
from wherry.schema.errors import ApiError
from wherry.schema.resource import Object

log = logging.getLogger(__name__)

CONTROLLER = "k8s.io/ingress-nginx"
"""What `spec.controller` of our IngressClasses says."""
CLASS_ANNOTATION = "kubernetes.io/ingress.class"
DEFAULT_CLASS = "nginx"
_GATHER_SECONDS = 0.05
"""Changes come in bursts (one `kubectl apply`): how long to wait for the rest of one."""
_RETRY_SECONDS = 5.0
_HOUSEKEEPING_SECONDS = 30.0


@dataclass
class _Report:
    """What was last said about one Ingress."""

    generation: Any = None
    problems: tuple[tuple[str, str], ...] = ()


class IngressController:
    """One node's. `run` works until it is cancelled; nginx stays."""

    def __init__(
        self,
        client: Client,
        instance: Instance,
        *,
        addresses: Sequence[str],
        resolver: str = "",
        settings: IngressSettings | None = None,
        services: Informer | None = None,
        slices: Informer | None = None,
    ) -> None:
        """`addresses` are this node's own, for status. `resolver` answers for ExternalNames (the cluster DNS).
        `services` and `slices` may be shared informers that somebody else runs."""
        self._client = client
        self._addresses = list(addresses)
        self._resolver = resolver
        self.settings = settings if settings is not None else IngressSettings()
        self.nginx = Nginx(instance, self.settings)
        self._files = SecretFiles(self.nginx.directory / "secrets")
        self.ingresses = Informer(client, INGRESSES)
        self.classes = Informer(client, INGRESS_CLASSES)
        self.services = services if services is not None else Informer(client, SERVICES)
        self.slices = slices if slices is not None else Informer(client, ENDPOINT_SLICES)
        self.slices.add_index("service", index_service)
        self._own = [self.ingresses, self.classes]
        self._own += [one for one, given in ((self.services, services), (self.slices, slices)) if given is None]
        self._secrets: dict[Key, tuple[Informer, asyncio.Task[None]]] = {}
        self._events = EventRecorder(client, "nginx-ingress-controller")
        self._reports: dict[Key, _Report] = {}
        self._wake = asyncio.Event()
        self._accepted: dict[Key, Any] = {}
        self._served_services: set[Key] = set()
        self._text = ""
        self._group: asyncio.TaskGroup | None = None
        self.serving = asyncio.Event()
        """Set while nginx has what the API asked for at the last look."""

    async def run(self) -> None:
        for informer in (self.ingresses, self.classes, self.services):
            informer.add_handler(lambda old, new: self._wake.set())
        self.slices.add_handler(self._on_slice)
        async with asyncio.TaskGroup() as group:
            self._group = group
            group.create_task(self._events.run(), name="ingress events")
            group.create_task(self._housekeeping(), name="ingress housekeeping")
            for informer in self._own:
                group.create_task(informer.run(), name="ingress informer")
            for informer in (self.ingresses, self.classes, self.services, self.slices):
                await informer.synced.wait()
            watch = group.create_task(self._watch_nginx(), name="nginx")
            while True:
                await self._wake.wait()
                await asyncio.sleep(_GATHER_SECONDS)
                self._wake.clear()
                try:
                    await self._sync()
                except (NginxError, OSError, ApiError) as error:
                    log.error("ingress: %s; trying again in %.0f s", error, _RETRY_SECONDS)
                    self._text = ""
                    asyncio.get_running_loop().call_later(_RETRY_SECONDS, self._wake.set)
                if watch.done():
                    watch = group.create_task(self._watch_nginx(), name="nginx")

    def _on_slice(self, old: Object | None, new: Object | None) -> None:
        for item in (old, new):
            for value in index_service(item) if item is not None else ():
                namespace, _, name = value.partition("/")
                if (namespace, name) in self._served_services:
                    self._wake.set()

    async def _watch_nginx(self) -> None:
        """Starts nginx again when it ends by itself."""
        if self.nginx.pid() is None:
            return
        await self.nginx.ended()
        if self._text and self.nginx.pid() is None:
            log.warning("ingress: nginx has ended; starting it again")
            self._text = ""
            self._wake.set()

    async def _housekeeping(self) -> None:
        while True:
            await asyncio.sleep(_HOUSEKEEPING_SECONDS)
            await asyncio.to_thread(self.nginx.rotate_logs)

    def mine(self) -> list[Object]:
        """The Ingresses of this controller's classes."""
        return [ingress for ingress in self.ingresses if self._is_mine(ingress)]

    def _is_mine(self, ingress: Object) -> bool:
        name = ingress["spec"].get("ingressClassName")
        if name:
            found = self.classes.get(None, name)
            return found is not None and (found.get("spec") or {}).get("controller") == CONTROLLER
        annotated = (ingress["metadata"].get("annotations") or {}).get(CLASS_ANNOTATION)
        return annotated == DEFAULT_CLASS

    async def _sync(self) -> None:
        mine = [ingress for ingress in self.mine() if not ingress["metadata"].get("deletionTimestamp")]
        keys = {_key(ingress) for ingress in mine}
        for key in self._reports.keys() - keys:
            del self._reports[key]
            self._accepted.pop(key, None)
            await self._withdraw(key)
        if not mine:
            if self.nginx.pid() is not None:
                log.info("ingress: no Ingress is left: nginx ends")
                self._text = ""
                await self.nginx.stop()
            await self._follow_secrets(set())
            self.serving.set()
            return
        await self._follow_secrets({secret for ingress in mine for secret in secrets_of(ingress)})
        self._served_services = {service for ingress in mine for service in _services_of(ingress)}
        try:
            ports, model = await self._serve(mine)
        except NginxError as error:
            for ingress in mine:
                self._say(ingress, [("NotServed", str(error))])
            raise
        self.serving.set()
        nodes = None
        for ingress in mine:
            problems = [*model.problems.get(_key(ingress), ()), *_port_problems(ports)]
            self._say(ingress, problems)
            if nodes is None and self._needs_status(ingress, ports):
                nodes = await self._other_addresses()
            if nodes is not None:
                await self._write_status(ingress, ports, nodes)

    async def _serve(self, mine: list[Object]) -> tuple[Ports, Model]:
        """Brings nginx to serve `mine`, without those that it refuses."""
        if self.nginx.ports is None:
            await asyncio.to_thread(self.nginx.choose_ports)
        assert self.nginx.ports is not None
        place = Place(
            directory=self.nginx.directory,
            log_directory=self.nginx.log_directory,
            http_port=self.nginx.ports.http,
            https_port=self.nginx.ports.https,
            default_certificate=await asyncio.to_thread(self._files.default),
            workers=self.nginx.workers(),
            user=self.nginx.user(),
            resolver=self._resolver,
            ipv6=has_ipv6(),
        )
        model, text = await asyncio.to_thread(self._render, mine, place, frozenset())
        await asyncio.to_thread(self.nginx.mark_empty, {one.name for one in model.upstreams() if one.empty})
        if text == self._text and self.nginx.pid() is not None:
            return self.nginx.ports, model
        generation = _digest(text)
        if not self._text and self.nginx.pid() is not None and await self.nginx.generation() == generation:
            # Found running after a restart, with just this.
            self._text = text
            return self.nginx.ports, model
        try:
            await self.nginx.check(_with_generation(text, generation))
        except BadConfig as error:
            model, text = await self._without_bad(mine, place, error)
            generation = _digest(text)
        for ingress in mine:
            if (_key(ingress) not in model.problems) or all(
                reason != "Rejected" for reason, _ in model.problems[_key(ingress)]
            ):
                self._accepted[_key(ingress)] = _identity(ingress)
        await self.nginx.apply(_with_generation(text, generation), generation)
        self._text = text
        await asyncio.to_thread(self._forget_files, text)
        log.info("ingress: nginx serves %d Ingresses on ports %d and %d", len(mine), place.http_port, place.https_port)
        return self.nginx.ports, model

    def _render(self, mine: list[Object], place: Place, skip: frozenset[Key]) -> tuple[Model, str]:
        model = build(mine, _Lookup(self), skip=skip)
        return model, render(model, place, _GENERATION)

    async def _without_bad(self, mine: list[Object], place: Place, error: BadConfig) -> tuple[Model, str]:
        """Leaves out the Ingresses that nginx refuses, found by adding the new ones one at a time."""
        suspects = [one for one in mine if self._accepted.get(_key(one)) != _identity(one)] or mine
        skip = {_key(one) for one in suspects}
        rejected: dict[Key, str] = {}
        for suspect in suspects:
            key = _key(suspect)
            model, text = await asyncio.to_thread(self._render, mine, place, frozenset(skip - {key}))
            try:
                await self.nginx.check(_with_generation(text, _digest(text)))
                skip.discard(key)
            except BadConfig as refusal:
                rejected[key] = str(refusal)
        model, text = await asyncio.to_thread(self._render, mine, place, frozenset(skip))
        await self.nginx.check(_with_generation(text, _digest(text)))
        for key, words in rejected.items():
            model.problem(key, "Rejected", f"nginx refuses the configuration of this Ingress: {words}")
        return model, text

    def _forget_files(self, text: str) -> None:
        directory = self.nginx.directory / "secrets"
        wanted = {path.name for path in directory.iterdir() if path.name in text}
        self._files.keep(wanted)

    def _say(self, ingress: Object, problems: Sequence[tuple[str, str]]) -> None:
        """Events for what is new: a new or changed Ingress, and problems that it did not have."""
        report = self._reports.setdefault(_key(ingress), _Report())
        identity = _identity(ingress)
        if report.generation != identity:
            report.generation = identity
            self._events.record(ingress, NORMAL, "Sync", "Scheduled for sync")
        for reason, message in problems:
            if (reason, message) not in report.problems:
                self._events.record(ingress, WARNING, reason, message)
        report.problems = tuple(problems)

    def _needs_status(self, ingress: Object, ports: Ports) -> bool:
        current = ((ingress.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
        return any(entry not in current for entry in self._entries(ports))

    def _entries(self, ports: Ports) -> list[Object]:
        if (ports.http, ports.https) == (80, 443):
            return [{"ip": address} for address in self._addresses]
        shown = [{"port": number, "protocol": "TCP"} for number in (ports.http, ports.https)]
        return [{"ip": address, "ports": shown} for address in self._addresses]

    async def _other_addresses(self) -> set[str]:
        """Addresses of the other nodes: their entries in a status are theirs."""
        nodes = (await self._client.list(NODES)).items
        return {
            entry["address"]
            for node in nodes
            for entry in (node.get("status") or {}).get("addresses") or ()
            if entry["type"] == "InternalIP" and entry["address"] not in self._addresses
        }

    async def _write_status(self, ingress: Object, ports: Ports, others: set[str]) -> None:
        current = ((ingress.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
        wanted = [*(entry for entry in current if entry.get("ip") in others), *self._entries(ports)]
        if current == wanted:
            return
        namespace, name = _key(ingress)
        try:
            await self._client.patch(
                INGRESSES,
                name,
                {"status": {"loadBalancer": {"ingress": wanted}}},
                namespace,
                type=PatchType.MERGE,
                subresource="status",
            )
        except ApiError as error:
            log.warning("ingress %s/%s: status not written: %s", namespace, name, error)

    async def _withdraw(self, key: Key) -> None:
        """Take this node's addresses out of the status of an Ingress that is another controller's now."""
        ingress = self.ingresses.get(*key)
        if ingress is None or ingress["metadata"].get("deletionTimestamp"):
            return
        current = ((ingress.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
        left = [entry for entry in current if entry.get("ip") not in self._addresses]
        if left != current:
            patch = {"status": {"loadBalancer": {"ingress": left or None}}}
            await self._client.patch(INGRESSES, key[1], patch, key[0], type=PatchType.MERGE, subresource="status")

    async def _follow_secrets(self, wanted: set[Key]) -> None:
        """One small watch per Secret that is named: never a list of all Secrets."""
        assert self._group is not None
        for key in self._secrets.keys() - wanted:
            self._secrets.pop(key)[1].cancel()
        fresh = []
        for namespace, name in wanted - self._secrets.keys():
            informer = Informer(self._client, SECRETS, namespace=namespace, field_selector=f"metadata.name={name}")
            informer.add_handler(lambda old, new: self._wake.set())
            self._secrets[namespace, name] = informer, self._group.create_task(informer.run(), name="ingress secret")
            fresh.append(informer)
        for informer in fresh:
            await informer.synced.wait()

    def secret(self, namespace: str, name: str) -> Object:
        """Raises LookupError."""
        followed = self._secrets.get((namespace, name))
        found = followed[0].get(namespace, name) if followed is not None else None
        if found is None:
            raise LookupError(f"secret {namespace}/{name} does not exist")
        return found

    def certificate(self, namespace: str, name: str, host: str) -> str:
        return str(self._files.certificate(self.secret(namespace, name), host))

    def users(self, namespace: str, name: str, kind: str) -> str:
        return str(self._files.users(self.secret(namespace, name), kind))


class _Lookup:
    """What model.py reads, from the caches."""

    def __init__(self, controller: IngressController) -> None:
        self._controller = controller

    def service(self, namespace: str, name: str) -> Object | None:
        return self._controller.services.get(namespace, name)

    def slices(self, namespace: str, name: str) -> Iterable[Object]:
        return self._controller.slices.by_index("service", f"{namespace}/{name}")

    def certificate(self, namespace: str, secret: str, host: str) -> str:
        return self._controller.certificate(namespace, secret, host)

    def users(self, namespace: str, secret: str, kind: str) -> str:
        return self._controller.users(namespace, secret, kind)


_GENERATION = "@generation@"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _with_generation(text: str, generation: str) -> str:
    return text.replace(_GENERATION, generation)


def _key(ingress: Object) -> Key:
    return ingress["metadata"]["namespace"], ingress["metadata"]["name"]


def _identity(ingress: Object) -> tuple[str, Any, Any]:
    metadata = ingress["metadata"]
    return metadata.get("uid", ""), metadata.get("generation"), metadata.get("annotations")


def _services_of(ingress: Object) -> Iterable[Key]:
    namespace, spec = ingress["metadata"]["namespace"], ingress["spec"]
    backends = [spec.get("defaultBackend") or {}]
    for rule in spec.get("rules") or ():
        backends += [path["backend"] for path in (rule.get("http") or {}).get("paths") or ()]
    for backend in backends:
        if backend.get("service"):
            yield namespace, backend["service"]["name"]


def _port_problems(ports: Ports) -> list[tuple[str, str]]:
    if not ports.taken:
        return []
    taken = " and ".join(str(port) for port in ports.taken)
    message = (
        f"port {taken} of this machine is taken by somebody else: Ingress answers on ports {ports.http} (HTTP) and "
        f"{ports.https} (HTTPS). Free the port and stop nginx, or choose ports in config.toml"
    )
    return [("PortTaken", message)]

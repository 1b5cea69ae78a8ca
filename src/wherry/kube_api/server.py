"""The API server: puts its parts together, starts and stops them.

server = ApiServer(instance, ServerOptions())
await server.start()          # listens, bootstraps, writes <root>/kubeconfig
client = server.client()      # in-process Client for controllers and scheduler
await server.stop()
"""

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.host.instance import Instance
from wherry.kube_api.api import Api
from wherry.kube_api.call import SERVER, User
from wherry.kube_api.options import ServerOptions
from wherry.kube_api.pki import Pki, ensure_pki, kubeconfig, write_kubeconfig
from wherry.store.api import Store

if TYPE_CHECKING:
    from wherry.kube_api.http.protocol import Server
    from wherry.kube_api.local import LocalClient
    from wherry.kube_api.nonresource import DocumentOf

log = logging.getLogger(__name__)

CONTROLLER_MANAGER = User("system:kube-controller-manager", ("system:masters", "system:authenticated"))


class ApiServer:
    """See the module. Attributes are valid after `start`: `port`, `url`, `pki`, `api`."""

    def __init__(
        self, instance: Instance, options: ServerOptions | None = None, *, now: Callable[[], float] = time.time
    ) -> None:
        self.instance = instance
        self.options = options or ServerOptions()
        self.port = 0
        self.pki: Pki
        self.api: Api
        self.documents: dict[str, DocumentOf] = {}
        """Further paths to serve, by prefix; RBAC guards them as it does every path that is no resource."""
        self._now = now
        self._store: Store | None = None
        self._http: Server | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._ready = False

    @property
    def url(self) -> str:
        address = self.options.bind_addresses[0]
        host = "127.0.0.1" if address in ("0.0.0.0", "::") else address
        return f"https://{host}:{self.port}"

    @property
    def store_path(self) -> Path:
        return self.instance.root / "cluster.db"

    async def start(self) -> None:
        """Returns when the server answers and is bootstrapped.

        Raises OSError (the port is taken), store.api.Corrupt, store.api.Unavailable.
        """
        from wherry.kube_api.assemble import assemble
        from wherry.kube_api.bootstrap import bootstrap, keep_service
        from wherry.kube_api.rotation import keep_certificates

        options = self.options
        service_address = first_address(options.service_cidr)
        names = [
            "localhost", "127.0.0.1", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
            f"kubernetes.default.svc.{options.cluster_domain}", service_address,
            *(one for one in options.bind_addresses if one not in ("0.0.0.0", "::")), *options.names,
        ]  # fmt: skip
        if options.advertise_address:
            names.append(options.advertise_address)
        self.pki, store = await asyncio.gather(
            asyncio.to_thread(ensure_pki, self.instance.pki_dir, list(dict.fromkeys(names))), self._open_store()
        )
        self._store = store
        try:
            parts = await assemble(self, store, self._now)
            self.api = parts.api
            await bootstrap(self.client(SERVER), self.api, options)
            self._http = parts.http
            context = self._tls()
            self.port = await self._http.start(self._addresses(), self._chosen_port(), context)
            self._keep_port()
            parts.listening(self.port)
            await bootstrap(self.client(SERVER), self.api, options, port=self.port)
            background = [
                *parts.background,
                keep_service(self.client(SERVER), self.api, options, self.port),
                keep_certificates(self, context, list(dict.fromkeys(names))),
            ]
            self._tasks = [asyncio.get_running_loop().create_task(work) for work in background]
            self.write_kubeconfig()
            self._ready = True
        except BaseException:
            await self.stop()
            raise

    @property
    def ready(self) -> bool:
        return self._ready and self.api.cache.failure is None

    def client(self, user: User = CONTROLLER_MANAGER) -> "LocalClient":
        """A `client.api.Client` in this process that acts as `user`, without asking RBAC."""
        from wherry.kube_api.local import LocalClient

        return LocalClient(self.api, user, field_manager=user.name.rpartition(":")[2])

    async def stop(self) -> None:
        """Stop serving, then close the store. Safe to call twice."""
        self._ready = False
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks = []
        if self._http is not None:
            await self._http.stop()
            self._http = None
        if self._store is not None:
            if hasattr(self, "api"):
                self.api.cache.stop()
                await self.api.admission.close()
            await self._store.close()
            self._store = None

    # -- parts

    async def _open_store(self) -> Store:
        options = self.options
        if options.etcd_endpoints:
            from wherry.store.etcd import EtcdStore

            return await EtcdStore.open(
                options.etcd_endpoints, ca=options.etcd_ca, cert=options.etcd_cert, key=options.etcd_key
            )
        from wherry.store.sqlite import SqliteStore

        return await SqliteStore.open(self.store_path)

    def _addresses(self) -> list[str]:
        addresses = list(self.options.bind_addresses)
        advertised = self.options.advertise_address
        if advertised and advertised not in addresses and not {"0.0.0.0", "::"} & set(addresses):
            addresses.append(advertised)
        return addresses

    def _chosen_port(self) -> int:
        if self.options.port:
            return self.options.port
        kept = self.instance.root / "apiserver-port"
        return int(kept.read_text()) if kept.exists() else 0

    def _keep_port(self) -> None:
        if not self.options.port:
            (self.instance.root / "apiserver-port").write_text(f"{self.port}\n")

    def _tls(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.pki.serving.cert, self.pki.serving.key)
        context.load_verify_locations(self.pki.ca.cert)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.set_alpn_protocols(["http/1.1"])
        return context

    def write_kubeconfig(self) -> None:
        """The administrator's kubeconfig, with a certificate that is good (blocking)."""
        pair = self.pki.client("admin", "kubernetes-admin", ("system:masters",))
        ca = self.pki.ca.cert.read_bytes()
        write_kubeconfig(self.instance.kubeconfig, kubeconfig(self.url, ca, user="kubernetes-admin", pair=pair))


def first_address(cidr: str) -> str:
    """The first usable address of a network: that of the service `kubernetes`."""
    import ipaddress

    return str(ipaddress.ip_network(cidr)[1])

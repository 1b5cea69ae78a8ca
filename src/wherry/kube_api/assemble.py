"""How the API server's parts are put together; `server.py` decides when."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wherry.kube_api.aggregation import Aggregation
from wherry.kube_api.api import Api
from wherry.kube_api.auth.authn import Authenticator
from wherry.kube_api.auth.authorizer import Authorizer
from wherry.kube_api.auth.node import NodeAuthorizer
from wherry.kube_api.auth.rbac import Rbac
from wherry.kube_api.cache import WatchCache
from wherry.kube_api.call import User
from wherry.kube_api.custom_resources import CustomResources
from wherry.kube_api.discovery import Discovery
from wherry.kube_api.encryption import Encryption
from wherry.kube_api.http.app import App
from wherry.kube_api.http.protocol import Server
from wherry.kube_api.nonresource import NonResource
from wherry.kube_api.proxy.connect import Connector
from wherry.kube_api.tokens import TokenSigner
from wherry.schema import builtin
from wherry.store.api import Store

if TYPE_CHECKING:
    from wherry.kube_api.server import ApiServer


@dataclass
class Parts:
    """What `ApiServer` needs to hold on to."""

    api: Api
    http: Server
    listening: Callable[[int], None]
    """To be told the port."""
    background: list[Coroutine[Any, Any, None]] = field(default_factory=list)


async def assemble(server: "ApiServer", store: Store, now: Callable[[], float]) -> Parts:
    """Load the cache and build everything that needs it."""
    options = server.options
    encryption = Encryption.load(server.pki.encryption_key, options.encrypt)
    cache = WatchCache(store, encryption.reveal)
    await cache.start()
    api = Api(store, cache, now=now, conceal=encryption.conceal)
    issuer = f"https://kubernetes.default.svc.{options.cluster_domain}"
    signer = TokenSigner.load(server.pki.account_key, issuer, [issuer])
    authenticator = Authenticator(
        api, signer, {token: User(name, groups) for token, (name, groups) in options.static_tokens.items()}
    )
    audit_log = None
    if options.audit_log:
        from wherry.kube_api.audit import AuditLog

        audit_log = AuditLog(server.instance.log_dir / "audit.log")
    authorizer = Authorizer(Rbac(api), audit_log, NodeAuthorizer(api))
    api.services.update(tokens=signer, authenticator=authenticator, authorizer=authorizer, pki=server.pki)
    _install(api, server)
    custom_resources = CustomResources(api)
    discovery = Discovery(api.table, "")
    connector = Connector(api, server.pki)
    non_resource = NonResource(api, discovery, signer, lambda: server.ready, server.documents)
    app = App(api, authenticator, authorizer, non_resource.answer, connector.serve)
    non_resource.app = app

    def listening(port: int) -> None:
        discovery.address = f"{options.advertise_address or options.bind_addresses[0]}:{port}"
        non_resource.port = port

    from wherry.kube_api.expiry import expire_events

    background = [
        expire_events(api, options.event_ttl_seconds),
        custom_resources.finish_deletions(),
        Aggregation(api).run(),
    ]
    return Parts(api, Server(app), listening, background)


def _install(api: Api, server: "ApiServer") -> None:
    """Allocators, admission plugins, custom resources."""
    from wherry.kube_api.admission.plugins import default_plugins
    from wherry.kube_api.component_statuses import ComponentStatuses
    from wherry.kube_api.resource_metrics import ResourceMetrics
    from wherry.kube_api.strategies.services import ServiceAddresses

    api.services["addresses"] = ServiceAddresses(api, server.options.service_cidr, server.options.node_port_range)
    api.admission.plugins.extend(default_plugins(api))
    api.services[f"compute:{builtin.COMPONENT_STATUSES.qualified}"] = ComponentStatuses(api).compute
    metrics = ResourceMetrics(api, server.pki)
    for resource in (builtin.POD_METRICS, builtin.NODE_METRICS):
        api.services[f"compute:{resource.qualified}"] = metrics.compute

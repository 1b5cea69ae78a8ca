"""What a new cluster begins with: namespaces, default roles, priority classes, the service `kubernetes`.

Runs at every start and makes only what is missing (roles that are marked to be kept up to date are).
"""

import asyncio
import logging

from wherry.client.api import Client
from wherry.kube_api.api import Api
from wherry.kube_api.auth.bootstrap_roles import cluster_role_bindings, cluster_roles
from wherry.kube_api.cache import CacheEvent
from wherry.kube_api.options import ServerOptions
from wherry.schema import builtin, errors
from wherry.schema.resource import Object, Resource

log = logging.getLogger(__name__)

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")

PRIORITIES = (
    ("system-cluster-critical", 2000000000, "Used for system critical pods that must run in the cluster, but can be "
     "moved to another node if necessary."),
    ("system-node-critical", 2000001000, "Used for system critical pods that must not be moved from their current "
     "node."),
)  # fmt: skip


async def bootstrap(client: Client, api: Api, options: ServerOptions, port: int = 0) -> None:
    """Once before listening (`port` 0), once after: then the service `kubernetes` gets its endpoint."""
    if port:
        await _endpoint(client, api, options, port)
        return
    await asyncio.gather(
        *(_ensure(client, api, builtin.NAMESPACES, _named("Namespace", "v1", one)) for one in NAMESPACES)
    )
    wanted: list[tuple[Resource, Object]] = [
        *((builtin.CLUSTER_ROLES, role) for role in cluster_roles()),
        *((builtin.CLUSTER_ROLE_BINDINGS, binding) for binding in cluster_role_bindings()),
    ]
    for name, value, text in PRIORITIES:
        wanted.append(
            (
                builtin.PRIORITY_CLASSES,
                {**_named("PriorityClass", "scheduling.k8s.io/v1", name), "value": value, "description": text},
            )
        )
    wanted.append((builtin.CONFIG_MAPS, _authentication(api)))
    wanted.append((builtin.INGRESS_CLASSES, _ingress_class()))
    await asyncio.gather(*(_ensure(client, api, resource, obj) for resource, obj in wanted))


def _named(kind: str, api_version: str, name: str) -> Object:
    return {"kind": kind, "apiVersion": api_version, "metadata": {"name": name}}


def _ingress_class() -> Object:
    """The class that every node's nginx serves, for Ingresses that name none."""
    made = _named("IngressClass", "networking.k8s.io/v1", "nginx")
    made["metadata"]["annotations"] = {"ingressclass.kubernetes.io/is-default-class": "true"}
    made["spec"] = {"controller": "k8s.io/ingress-nginx"}
    return made


def _authentication(api: Api) -> Object:
    """Where extension servers learn which clients to trust."""
    ca = api.services["pki"].ca.cert.read_text()
    made = _named("ConfigMap", "v1", "extension-apiserver-authentication")
    made["metadata"]["namespace"] = "kube-system"
    made["data"] = {"client-ca-file": ca}
    return made


async def _ensure(client: Client, api: Api, resource: Resource, obj: Object) -> None:
    metadata = obj["metadata"]
    entry = api.cached(resource, metadata.get("namespace"), metadata["name"])
    if entry is None:
        try:
            await client.create(resource, obj, metadata.get("namespace"))
        except errors.AlreadyExists:
            return
        return
    if resource != builtin.CLUSTER_ROLES:
        return
    current = entry.decode()
    annotations = current["metadata"].get("annotations") or {}
    if annotations.get("rbac.authorization.kubernetes.io/autoupdate") == "false":
        return
    have = current.get("rules") or []
    missing = [rule for rule in obj["rules"] if rule not in have]
    if missing and "aggregationRule" not in obj:
        current["rules"] = [*have, *missing]
        await client.update(resource, current)


async def _endpoint(client: Client, api: Api, options: ServerOptions, port: int) -> None:
    """The service `kubernetes` in `default`, its Endpoints and its EndpointSlice."""
    from wherry.kube_api.server import first_address

    labels = {"component": "apiserver", "provider": "kubernetes"}
    address = first_address(options.service_cidr)
    service: Object = {
        **_named("Service", "v1", "kubernetes"),
        "spec": {
            "clusterIP": address,
            "clusterIPs": [address],
            "type": "ClusterIP",
            "sessionAffinity": "None",
            "ipFamilyPolicy": "SingleStack",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}],
        },
    }
    service["metadata"] |= {"namespace": "default", "labels": labels}
    await _ensure(client, api, builtin.SERVICES, service)
    entry = api.cached(builtin.SERVICES, "default", "kubernetes")
    if entry is not None and entry.peek()["spec"]["ports"][0].get("targetPort") != port:
        await client.patch(
            builtin.SERVICES,
            "kubernetes",
            {"spec": {"ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}]}},
            "default",
        )
    if not options.advertise_address:
        return
    subsets = [
        {
            "addresses": [{"ip": options.advertise_address}],
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
        }
    ]
    endpoints: Object = {**_named("Endpoints", "v1", "kubernetes"), "subsets": subsets}
    endpoints["metadata"] |= {
        "namespace": "default",
        "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
    }
    slice_: Object = {
        **_named("EndpointSlice", "discovery.k8s.io/v1", "kubernetes"),
        "addressType": "IPv4",
        "endpoints": [{"addresses": [options.advertise_address], "conditions": {"ready": True}}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    }
    slice_["metadata"] |= {"namespace": "default", "labels": {"kubernetes.io/service-name": "kubernetes"}}
    await _put(client, api, builtin.ENDPOINTS, endpoints, "subsets")
    await _put(client, api, builtin.ENDPOINT_SLICES, slice_, "endpoints", "ports")


async def keep_service(client: Client, api: Api, options: ServerOptions, port: int) -> None:
    """Make the service `kubernetes` and its endpoint again whenever somebody deletes them. Runs for ever."""
    deleted = asyncio.Event()

    def notice(event: CacheEvent) -> None:
        if event.deleted and event.entry.name == "kubernetes" and event.entry.namespace == "default":
            deleted.set()

    for resource in (builtin.SERVICES, builtin.ENDPOINTS, builtin.ENDPOINT_SLICES):
        api.cache_of(resource).listen(notice)
    while True:
        await deleted.wait()
        deleted.clear()
        try:
            await _endpoint(client, api, options, port)
        except errors.ApiError as error:
            log.warning("the service kubernetes could not be made again: %s", error.message)


async def _put(client: Client, api: Api, resource: Resource, obj: Object, *fields: str) -> None:
    metadata = obj["metadata"]
    entry = api.cached(resource, metadata["namespace"], metadata["name"])
    if entry is None:
        await client.create(resource, obj, metadata["namespace"])
        return
    current = entry.decode()
    if any(current.get(field) != obj[field] for field in fields):
        await client.update(resource, {**current, **{field: obj[field] for field in fields}})

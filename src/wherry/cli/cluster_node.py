"""This machine's part of the cluster: kubelet, pod network, service proxy and DNS, over one engine."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from wherry.cli.cluster_file import ClusterFile, load_or_choose
from wherry.host.instance import Instance

if TYPE_CHECKING:
    from wherry.client.api import Client
    from wherry.engine.engine import Engine
    from wherry.node.server import NodeTls

log = logging.getLogger(__name__)

SERVER_POLL_SECONDS = 0.02


async def run_cluster_node(engine: "Engine", on_ready: Callable[[str], None]) -> None:
    """Runs until cancelled; `on_ready(node name)` is called once the API shows the node as Ready.

    Raises what ends a part of it. The pods' containers keep running whatever happens here.
    """
    from wherry.client.http import HttpClient
    from wherry.client.informer import Informer
    from wherry.cluster_net.dns import ClusterDNS
    from wherry.cluster_net.ingress import IngressController
    from wherry.cluster_net.load_balancers import LoadBalancers
    from wherry.cluster_net.pod_network import PodNetwork
    from wherry.cluster_net.service_proxy import ServiceProxy
    from wherry.cluster_net.settings import load as load_settings
    from wherry.node.engine_runtime import EngineRuntime
    from wherry.node.kubelet import Kubelet
    from wherry.node.node_status import NodeSettings, primary_address
    from wherry.node.sandbox import ClusterSettings
    from wherry.node.server import NodeServer
    from wherry.schema.builtin import ENDPOINT_SLICES, NAMESPACES, SERVICES

    instance = engine.instance
    cluster = load_or_choose(instance)
    settings = load_settings(instance)
    network = PodNetwork(
        instance, cluster.node_cidr, service_cidr=cluster.service_cidr, cluster_cidr=cluster.cluster_cidr
    )
    await network.start()
    try:
        await wait_for_server(instance)
        address = primary_address()
        tls = await asyncio.to_thread(_credentials, instance, cluster, address)
        async with HttpClient.from_kubeconfig(node_kubeconfig(instance)) as client:
            services = Informer(client, SERVICES)
            slices = Informer(client, ENDPOINT_SLICES)
            namespaces = Informer(client, NAMESPACES)
            kubelet = Kubelet(
                EngineRuntime(engine),
                client,
                instance,
                network,
                NodeSettings(cluster.node_name, addresses=(address,), pod_cidr=cluster.node_cidr),
                cluster=ClusterSettings(dns=(cluster.dns_address,)),
                services=services,
            )
            server = NodeServer(kubelet, instance.root)
            await server.start(tls, host=address, local_only=True)
            try:
                async with asyncio.TaskGroup() as group:
                    for informer in (services, slices, namespaces):
                        group.create_task(informer.run(), name="informer")
                    proxy = ServiceProxy(
                        client,
                        instance,
                        cluster.node_name,
                        service_cidr=cluster.service_cidr,
                        services=services,
                        slices=slices,
                    )
                    dns = ClusterDNS(
                        client,
                        service_cidr=cluster.service_cidr,
                        bridge=network.bridge,
                        address=cluster.dns_address,
                        services=services,
                        slices=slices,
                        namespaces=namespaces,
                    )
                    balancers = LoadBalancers(
                        client,
                        instance,
                        cluster.node_name,
                        addresses=[address],
                        bridge=network.bridge,
                        settings=settings,
                        services=services,
                    )
                    if settings.ingress.enabled:
                        ingress = IngressController(
                            client,
                            instance,
                            addresses=[address],
                            resolver=cluster.dns_address,
                            settings=settings.ingress,
                            services=services,
                            slices=slices,
                        )
                        group.create_task(ingress.run(), name="ingress")
                    group.create_task(balancers.run(), name="load balancers")
                    group.create_task(proxy.run(), name="service proxy")
                    group.create_task(dns.run(), name="cluster DNS")
                    group.create_task(kubelet.run(), name="kubelet")
                    await wait_node_ready(client, cluster.node_name)
                    on_ready(cluster.node_name)
            finally:
                await server.stop()
    finally:
        await network.stop()


def node_kubeconfig(instance: Instance) -> Path:
    """The kubeconfig with which this node reaches the API server."""
    return instance.root / "node.kubeconfig"


async def wait_for_server(instance: Instance) -> None:
    """Waits until the API server has written the administrator's kubeconfig, which it does once it serves."""
    while not instance.kubeconfig.exists():  # noqa: ASYNC110 - another process makes the file
        await asyncio.sleep(SERVER_POLL_SECONDS)


def _credentials(instance: Instance, cluster: ClusterFile, address: str) -> "NodeTls":
    """This node's certificates and kubeconfig, made where they are missing (blocking)."""
    from wherry.kube_api.pki import Pki, kubeconfig, write_kubeconfig
    from wherry.node.server import NodeTls

    pki = Pki(instance.pki_dir)
    pair = pki.node_client(cluster.node_name)
    server = f"https://127.0.0.1:{cluster.api_port}"
    text = kubeconfig(server, pki.ca.cert.read_bytes(), user=f"system:node:{cluster.node_name}", pair=pair)
    write_kubeconfig(node_kubeconfig(instance), text)
    serving = pki.node_serving(cluster.node_name, [cluster.node_name, address, "127.0.0.1"])
    return NodeTls(cert=serving.cert, key=serving.key, client_ca=pki.ca.cert)


async def wait_node_ready(client: "Client", name: str) -> None:
    """Watches the node's object until its Ready condition is True."""
    from wherry.client.informer import Informer
    from wherry.schema.builtin import NODES
    from wherry.schema.resource import Object

    ready = asyncio.Event()

    def changed(old: Object | None, new: Object | None) -> None:
        conditions = ((new or {}).get("status") or {}).get("conditions") or ()
        if any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions):
            ready.set()

    informer = Informer(client, NODES, field_selector=f"metadata.name={name}")
    informer.add_handler(changed)
    task = asyncio.create_task(informer.run())
    try:
        await ready.wait()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

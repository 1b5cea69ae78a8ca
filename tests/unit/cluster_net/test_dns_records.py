"""Against the examples of the Kubernetes DNS specification 1.1.0."""

import ipaddress
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from wherry.client.informer import Informer
from wherry.cluster_net.dns_records import Zone, index_addresses, index_cluster_ips
from wherry.cluster_net.service_proxy import index_service
from wherry.engine.networks.dns_wire import AAAA, CNAME, PTR, SRV, TXT, A
from wherry.schema.builtin import ENDPOINT_SLICES, NAMESPACES, SERVICES
from wherry.testing.fake_client import FakeClient


def service(name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"}, "spec": spec}


PORTS = [{"name": "http", "port": 80, "protocol": "TCP"}]


@pytest_asyncio.fixture
async def zone() -> AsyncIterator[Zone]:
    client = FakeClient()
    client.seed(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}})
    client.seed(SERVICES, service("web", clusterIP="10.43.0.20", clusterIPs=["10.43.0.20"], ports=PORTS))
    client.seed(SERVICES, service("db", clusterIP="None", clusterIPs=["None"], ports=PORTS))
    client.seed(
        SERVICES, service("early", clusterIP="None", clusterIPs=["None"], publishNotReadyAddresses=True, ports=PORTS)
    )
    client.seed(SERVICES, service("ext", type="ExternalName", externalName="Example.Org."))
    for name in ("db", "early"):
        client.seed(
            ENDPOINT_SLICES,
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {"name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": name}},
                "addressType": "IPv4",
                "endpoints": [
                    {"addresses": ["10.42.0.5"], "hostname": "db-0", "conditions": {"ready": True}},
                    {"addresses": ["10.42.0.6"], "conditions": {"ready": True}},
                    {"addresses": ["10.42.0.7"], "hostname": "db-2", "conditions": {"ready": False}},
                ],
                "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            },
        )
    informers = [Informer(client, resource) for resource in (SERVICES, ENDPOINT_SLICES, NAMESPACES)]
    services, slices, _ = informers
    services.add_index("cluster_ip", index_cluster_ips)
    slices.add_index("service", index_service)
    slices.add_index("address", index_addresses)
    for informer in informers:
        await informer._relist()
    yield Zone("cluster.local", *informers)


def addresses(zone: Zone, name: str, kind: int = A) -> list[str]:
    return [str(ipaddress.ip_address(record.data)) for record in zone.find(f"{name}.cluster.local", kind).records]


async def test_cluster_ip_services(zone: Zone) -> None:
    assert addresses(zone, "web.default.svc") == ["10.43.0.20"]
    found = zone.find("web.default.svc.cluster.local", AAAA)
    assert found.exists and not found.records
    (record,) = zone.find("_http._tcp.web.default.svc.cluster.local", SRV).records
    assert record.data.startswith(b"\0\0\0\x64\0\x50\x03web")


async def test_headless_services_list_ready_endpoints_and_their_names(zone: Zone) -> None:
    assert addresses(zone, "db.default.svc") == ["10.42.0.5", "10.42.0.6"]
    assert addresses(zone, "db-0.db.default.svc") == ["10.42.0.5"]
    assert addresses(zone, "10-42-0-6.db.default.svc") == ["10.42.0.6"]
    assert not zone.find("db-2.db.default.svc.cluster.local", A).exists
    assert addresses(zone, "db-2.early.default.svc") == ["10.42.0.7"]
    found = zone.find("_http._tcp.db.default.svc.cluster.local", SRV)
    assert len(found.records) == 2 and len(found.additional) == 2


async def test_external_names_are_aliases(zone: Zone) -> None:
    found = zone.find("ext.default.svc.cluster.local", A)
    assert found.alias == "example.org" and found.records[0].type == CNAME


async def test_pod_names_say_their_address(zone: Zone) -> None:
    assert addresses(zone, "10-42-0-9.default.pod") == ["10.42.0.9"]
    assert not zone.find("10-42-0-9.nowhere.pod.cluster.local", A).exists
    assert not zone.find("web.default.pod.cluster.local", A).exists


@pytest.mark.parametrize(
    ("name", "exists"),
    [
        ("cluster.local", True),
        ("svc.cluster.local", True),
        ("default.svc.cluster.local", True),
        ("nowhere.svc.cluster.local", False),
        ("nope.default.svc.cluster.local", False),
        ("a.web.default.svc.cluster.local", False),
        ("_ftp._tcp.web.default.svc.cluster.local", False),
        ("other.cluster.local", False),
    ],
)
async def test_which_names_exist(zone: Zone, name: str, exists: bool) -> None:
    assert zone.find(name, A).exists is exists


async def test_reverse_names(zone: Zone) -> None:
    (record,) = zone.reverse("20.0.43.10.in-addr.arpa")
    assert record.type == PTR and record.data.startswith(b"\x03web\x07default")
    assert {record.data[1:5] for record in zone.reverse("5.0.42.10.in-addr.arpa")} == {b"db-0"}
    assert zone.reverse("9.9.9.9.in-addr.arpa") == ()


async def test_the_schema_version(zone: Zone) -> None:
    (record,) = zone.find("dns-version.cluster.local", TXT).records
    assert record.data == b"\x051.1.0"

from typing import Any

import pytest

from wherry.cluster_net import settings
from wherry.cluster_net.load_balancers import Assignment, Holdings, Port, assign


def service(name: str, *ports: int, created: str = "1", has: str = "", **spec: Any) -> Any:
    made = {
        "metadata": {"namespace": "default", "name": name, "creationTimestamp": created},
        "spec": {
            "type": "LoadBalancer",
            "clusterIP": f"10.0.0.{len(name)}",
            "ports": [{"port": port, "protocol": "TCP"} for port in ports],
        }
        | spec,
    }
    if has:
        made["status"] = {"loadBalancer": {"ingress": [{"ip": has}]}}
    return made


class Machine(Holdings):
    """Some ports are in use by others."""

    used: frozenset[Port] = frozenset()

    def try_hold(self, address: str, port: Port) -> str:
        return f"port {port[1]} is in use" if port in self.used else ""


def names(found: dict[tuple[str, str], Assignment]) -> dict[str, str]:
    return {name: assignment.address for (_, name), assignment in found.items()}


def test_the_machines_address_is_shared_by_ports() -> None:
    found = assign([service("a", 80, 81), service("bb", 82)], Machine(["192.0.2.1"], [], frozenset()))
    assert names(found) == {"a": "192.0.2.1", "bb": "192.0.2.1"}


def test_a_port_goes_to_who_has_it_then_to_the_oldest() -> None:
    holdings = Machine(["192.0.2.1"], [], frozenset())
    services = [service("old", 80, created="1"), service("has", 80, created="2", has="192.0.2.1")]
    found = assign(services, holdings)
    assert names(found) == {"has": "192.0.2.1", "old": "10.0.0.3"}
    assert found["default", "old"].why == "port 80/TCP of 192.0.2.1 belongs to service default/has"
    assert names(assign([service("bb", 90, created="2"), service("a", 90, created="1")], holdings))["a"] == "192.0.2.1"


def test_all_ports_or_none_are_taken() -> None:
    holdings = Machine(["192.0.2.1"], [], frozenset({("tcp", 80)}))
    assert names(assign([service("a", 81, 80)], holdings)) == {"a": "10.0.0.1"}
    assert not holdings.taken
    holdings.used = frozenset({("tcp", 82)})
    assert assign([service("a", 81, 82)], holdings)["default", "a"].why == "port 82 is in use"
    assert not holdings.taken


def test_a_second_machine_address_is_tried() -> None:
    holdings = Machine(["192.0.2.1", "192.0.2.2"], [], frozenset())
    assert names(assign([service("a", 80), service("bb", 80)], holdings)) == {"a": "192.0.2.1", "bb": "192.0.2.2"}


def test_a_pool_gives_each_its_own_then_shares_then_ends() -> None:
    holdings = Machine(["192.0.2.1"], ["10.9.0.1", "10.9.0.2"], frozenset({("tcp", 80)}))
    services = [service(name, port, created=name) for name, port in (("a", 80), ("bb", 81), ("ccc", 82), ("dddd", 80))]
    found = assign(services, holdings)
    assert names(found) == {"a": "10.9.0.1", "bb": "10.9.0.2", "ccc": "10.9.0.1", "dddd": "10.9.0.2"}
    assert assign([service("eeeee", 80)], holdings)["default", "eeeee"].address == ""


def test_an_address_that_is_asked_for() -> None:
    holdings = Machine(["192.0.2.1"], [], frozenset())
    assert names(assign([service("a", 80, loadBalancerIP="192.0.2.1")], holdings)) == {"a": "192.0.2.1"}
    refused = assign([service("bb", 80, loadBalancerIP="192.0.2.1")], holdings)["default", "bb"]
    assert refused == Assignment("", "port 80/TCP of 192.0.2.1 belongs to service default/a")
    unknown = assign([service("ccc", 80, loadBalancerIP="192.0.2.9")], holdings)["default", "ccc"]
    assert unknown == Assignment("", '"192.0.2.9" is not an address of this machine')


def test_settings_are_read_and_checked() -> None:
    found = settings.parse({"load_balancer": {"pool": ["10.9.0.1-10.9.0.2", "10.9.1.0/31"]}, "other": {"x": 1}})
    assert list(settings.addresses(found.pool)) == ["10.9.0.1", "10.9.0.2", "10.9.1.0", "10.9.1.1"]
    assert settings.parse({"ingress": {"http_port": 8080}}).ingress.http_port == 8080


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"ingress": {"http_port": 0}}, "ingress.http_port: 0 is not a port"),
        ({"ingress": {"http_port": "80"}}, "ingress.http_port: must be of type int"),
        ({"ingress": {"colour": 1}}, "ingress.colour: unknown"),
        ({"load_balancer": {"pool": ["10.9.0.2-10.9.0.1"]}}, "its end is below its start"),
        ({"load_balancer": {"pool": ["10.9.0.1/24"]}}, "has host bits set"),
        ({"load_balancer": []}, "load_balancer: must be a table"),
    ],
)
def test_bad_settings_name_the_key(document: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        settings.parse(document)

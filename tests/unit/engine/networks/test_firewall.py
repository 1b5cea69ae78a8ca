"""The documents are checked by nft itself where it is there (`nft -c` needs no change, but root), and by their text."""

from ipaddress import ip_address, ip_network

from wherry.engine.networks.firewall import NetworkRules, PublishedPort, network_elements, port_elements, whole_table
from wherry.engine.networks.ports import PortMapping

NET = NetworkRules("whabcdb0", (ip_network("172.17.0.0/16"), ip_network("fd00:1::/64")))


def test_a_network_is_elements_of_sets() -> None:
    document = network_elements("add", "t", NET)
    assert 'add element inet t bridges { "whabcdb0" }\n' in document
    assert "add element inet t masquerade4 { 172.17.0.0/16 }\n" in document
    assert "add element inet t masquerade6 { fd00:1::/64 }\n" in document
    assert network_elements("delete", "t", NET) == document.replace("add element", "delete element")


def test_an_internal_network_is_not_masqueraded() -> None:
    document = network_elements("add", "t", NetworkRules("b", (ip_network("10.0.0.0/24"),), internal=True))
    assert "internal" in document and "masquerade" not in document


def test_published_ports_go_by_address_or_by_any() -> None:
    ports = [
        PublishedPort(PortMapping("tcp", 80, "0.0.0.0", 8080), ip_address("172.17.0.2")),
        PublishedPort(PortMapping("udp", 53, "127.0.0.1", 5353), ip_address("172.17.0.3")),
        PublishedPort(PortMapping("tcp", 80, "::", 8080), ip_address("fd00:1::2")),
    ]
    assert port_elements("add", "t", ports).splitlines() == [
        "add element inet t publish_any4 { tcp . 8080 : 172.17.0.2 . 80 }",
        "add element inet t publish4 { 127.0.0.1 . udp . 5353 : 172.17.0.3 . 53 }",
        "add element inet t publish_any6 { tcp . 8080 : fd00:1::2 . 80 }",
    ]


def test_the_whole_table_replaces_the_old_one_in_the_same_document() -> None:
    document = whole_table("t", [NET], [])
    assert document.startswith("add table inet t\ndelete table inet t\n")
    assert document.count("table inet t {") == 1

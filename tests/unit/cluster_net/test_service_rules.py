from typing import Any

from wherry.cluster_net.service_rules import Endpoint, change, ready_endpoints, service_ports, stale_udp, whole_table


def service(**spec: Any) -> dict[str, Any]:
    base = {
        "clusterIP": "10.43.0.20",
        "clusterIPs": ["10.43.0.20"],
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
    }
    return {"metadata": {"namespace": "default", "name": "web"}, "spec": base | spec}


def endpoint(ip: str, node: str = "n1", **conditions: bool) -> dict[str, Any]:
    return {"addresses": [ip], "nodeName": node, "conditions": conditions}


def slice_of(*endpoints: dict[str, Any], port: int = 8080, protocol: str = "TCP") -> dict[str, Any]:
    return {
        "addressType": "IPv4",
        "endpoints": list(endpoints),
        "ports": [{"name": "http", "port": port, "protocol": protocol}],
    }


def test_ready_endpoints_serve_and_terminating_ones_only_when_there_is_no_other() -> None:
    going = endpoint("10.42.0.9", ready=False, serving=True, terminating=True)
    assert ready_endpoints([slice_of(endpoint("10.42.0.5", ready=True), going)], "http", "tcp", "n1") == (
        Endpoint("10.42.0.5", 8080, True),
    )
    assert ready_endpoints([slice_of(going, endpoint("10.42.0.6", ready=False))], "http", "tcp", "n1") == (
        Endpoint("10.42.0.9", 8080, True),
    )


def test_a_missing_condition_means_ready_and_duplicates_count_once() -> None:
    twice = [slice_of(endpoint("10.42.0.5")), slice_of(endpoint("10.42.0.5", ready=True))]
    assert len(ready_endpoints(twice, "http", "tcp", "n1")) == 1


def test_local_policies_keep_this_nodes_endpoints() -> None:
    slices = [slice_of(endpoint("10.42.0.5", "n1"), endpoint("10.42.1.5", "n2"))]
    (port,) = service_ports(service(externalTrafficPolicy="Local"), slices, "n1")
    assert [e.ip for e in port.endpoints] == ["10.42.0.5", "10.42.1.5"]
    assert [e.ip for e in port.external_endpoints] == ["10.42.0.5"]
    (port,) = service_ports(service(internalTrafficPolicy="Local"), slices, "n2")
    assert [e.ip for e in port.endpoints] == ["10.42.1.5"]


def test_headless_and_external_name_services_have_no_rules() -> None:
    assert service_ports(service(clusterIP="None", clusterIPs=["None"]), [], "n1") == []
    assert service_ports({"metadata": {}, "spec": {"type": "ExternalName", "externalName": "x"}}, [], "n1") == []


def test_one_endpoint_is_plain_and_several_are_chosen_by_chance() -> None:
    (one,) = service_ports(service(), [slice_of(endpoint("10.42.0.5"))], "n1")
    assert "meta l4proto tcp dnat ip to 10.42.0.5:8080\n" in change("t", None, one)
    (two,) = service_ports(service(), [slice_of(endpoint("10.42.0.5"), endpoint("10.42.0.6"))], "n1")
    document = change("t", one, two)
    assert "dnat ip to numgen random mod 2 map { 0 : 10.42.0.5 . 8080, 1 : 10.42.0.6 . 8080 }" in document
    assert "element" not in document, "an endpoint's change leaves the maps alone"


def test_without_endpoints_the_port_is_refused() -> None:
    (none,) = service_ports(service(type="NodePort", ports=[{"name": "http", "port": 80, "nodePort": 30080}]), [], "n1")
    document = change("t", None, none)
    assert "add element inet t dead { 10.43.0.20 . tcp . 80 }" in document
    assert "add element inet t dead_node_ports { tcp . 30080 }" in document
    assert "services {" not in document


def test_node_ports_external_addresses_and_balancers_lead_to_the_external_chain() -> None:
    item = service(
        type="LoadBalancer", externalIPs=["192.0.2.9"], ports=[{"name": "http", "port": 80, "nodePort": 30080}]
    )
    item["status"] = {"loadBalancer": {"ingress": [{"ip": "192.0.2.10"}]}}
    (port,) = service_ports(item, [slice_of(endpoint("10.42.0.5"))], "n1")
    document = change("t", None, port)
    assert f"192.0.2.9 . tcp . 80 : goto x_{port.chain}" in document
    assert f"192.0.2.10 . tcp . 80 : goto x_{port.chain}" in document
    assert f"tcp . 30080 : goto x_{port.chain}" in document
    assert f"10.43.0.20 . tcp . 80 : goto s_{port.chain}" in document


def test_sctp_is_a_protocol_like_others() -> None:
    item = service(ports=[{"name": "http", "port": 3868, "protocol": "SCTP"}])
    (port,) = service_ports(item, [slice_of(endpoint("10.42.0.5"), protocol="SCTP")], "n1")
    document = change("t", None, port)
    assert "10.43.0.20 . sctp . 3868 : goto" in document
    assert "meta l4proto sctp dnat ip to 10.42.0.5:8080" in document


def test_source_ranges_guard_the_balancers_address_and_nothing_else() -> None:
    item = service(
        type="LoadBalancer",
        externalIPs=["192.0.2.9"],
        loadBalancerSourceRanges=["10.0.0.0/8", " 10.1.0.0/16", "192.0.2.7/32"],
        ports=[{"name": "http", "port": 80, "nodePort": 30080}],
    )
    item["status"] = {"loadBalancer": {"ingress": [{"ip": "192.0.2.10"}]}}
    (port,) = service_ports(item, [slice_of(endpoint("10.42.0.5"))], "n1")
    document = change("t", None, port)
    assert f"192.0.2.10 . tcp . 80 : goto f_{port.chain}" in document
    assert f"192.0.2.9 . tcp . 80 : goto x_{port.chain}" in document
    assert f"tcp . 30080 : goto x_{port.chain}" in document
    assert f"f_{port.chain} ip saddr != {{ 10.0.0.0/8, 192.0.2.7/32 }} drop" in document


def test_affinity_remembers_the_client_and_keeps_the_sets_of_endpoints_that_stay() -> None:
    both = [slice_of(endpoint("10.42.0.5"), endpoint("10.42.0.6"))]
    (two,) = service_ports(service(sessionAffinity="ClientIP"), both, "n1")
    assert two.affinity == 10800
    assert change("t", None, two).count("update @a_") == 2
    (one,) = service_ports(service(sessionAffinity="ClientIP"), [slice_of(endpoint("10.42.0.5"))], "n1")
    document = change("t", two, one)
    assert f"delete set inet t a_{two.chain}_10_42_0_6_8080" in document
    assert f"delete set inet t a_{two.chain}_10_42_0_5_8080" not in document


def test_a_removed_port_takes_its_elements_first_and_its_chains_last() -> None:
    (port,) = service_ports(service(), [slice_of(endpoint("10.42.0.5"))], "n1")
    document = change("t", port, None)
    assert document.index("delete element") < document.index("flush chain") < document.index("delete chain")
    assert change("t", port, port) == ""


def test_udp_flows_to_gone_endpoints_and_untranslated_ones_are_stale() -> None:
    udp = service(ports=[{"name": "http", "port": 53, "protocol": "UDP"}])
    (both,) = service_ports(
        udp, [slice_of(endpoint("10.42.0.5"), endpoint("10.42.0.6"), port=53, protocol="UDP")], "n1"
    )
    (one,) = service_ports(udp, [slice_of(endpoint("10.42.0.5"), port=53, protocol="UDP")], "n1")
    (none,) = service_ports(udp, [], "n1")
    assert stale_udp(both, one) == ({("10.42.0.6", 53)}, set())
    assert stale_udp(none, one) == (set(), {"10.43.0.20"})
    (tcp,) = service_ports(service(), [slice_of(endpoint("10.42.0.5"))], "n1")
    assert stale_udp(tcp, None) == (set(), set())


def test_the_whole_table_is_one_document() -> None:
    (port,) = service_ports(service(), [slice_of(endpoint("10.42.0.5"))], "n1")
    document = whole_table("t", "10.43.0.0/20", [port])
    assert "delete table inet t" in document and document.endswith(f"10.43.0.20 . tcp . 80 : goto s_{port.chain} }}\n")

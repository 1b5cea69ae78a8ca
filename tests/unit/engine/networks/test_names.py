import dnslib

from wherry.engine.networks import dns_wire as wire
from wherry.engine.networks.names import ContainerResolver, NamedEndpoint, NameTable, Scope


def endpoint(name: str, ip: str, *aliases: str, network: str = "n1") -> NamedEndpoint:
    return NamedEndpoint(f"id-{name}", network, (name, *aliases), (ip,))


def ask(resolver: ContainerResolver, name: str, kind: str = "A") -> dnslib.DNSRecord | None:
    answer = resolver.answer(wire.parse_query(dnslib.DNSRecord.question(name, kind).pack()), False)
    return dnslib.DNSRecord.parse(answer) if answer is not None else None


def resolver_for(table: NameTable, *, forwards: bool = True, links: dict[str, str] | None = None) -> ContainerResolver:
    return ContainerResolver(table, lambda: Scope((("n1", "shop"),), links or {}, forwards))


def test_names_aliases_and_names_with_the_network() -> None:
    table = NameTable()
    table.add(endpoint("web", "10.0.0.2", "www", "0123456789ab"))
    for name in ("web", "WEB", "www", "0123456789ab", "web.shop", "www.Shop"):
        answer = ask(resolver_for(table), name)
        assert answer is not None and str(answer.a.rdata) == "10.0.0.2", name


def test_a_shared_alias_answers_with_all_in_changing_order() -> None:
    table = NameTable()
    for number in range(4):
        table.add(endpoint(f"web-{number}", f"10.0.0.{number}", "web"))
    orders = {tuple(str(rr.rdata) for rr in ask(resolver_for(table), "web").rr) for _ in range(60)}  # type: ignore[union-attr]
    assert all(len(order) == 4 for order in orders) and len(orders) > 4


def test_other_networks_names_are_not_seen() -> None:
    table = NameTable()
    table.add(endpoint("db", "10.9.0.2", network="n2"))
    assert ask(resolver_for(table), "db") is None


def test_a_known_name_without_such_an_address_is_an_empty_answer() -> None:
    table = NameTable()
    table.add(endpoint("web", "10.0.0.2"))
    answer = ask(resolver_for(table), "web", "AAAA")
    assert answer is not None and answer.header.rcode == 0 and not answer.rr


def test_reverse_look_up_names_container_and_network() -> None:
    table = NameTable()
    table.add(endpoint("web", "10.0.0.2", "www"))
    answer = ask(resolver_for(table), "2.0.0.10.in-addr.arpa", "PTR")
    assert answer is not None and str(answer.a.rdata) == "web.shop."


def test_links_are_names_of_other_containers() -> None:
    table = NameTable()
    table.add(endpoint("postgres", "10.0.0.7"))
    answer = ask(resolver_for(table, links={"db": "postgres"}), "db")
    assert answer is not None and str(answer.a.rdata) == "10.0.0.7"


def test_internal_networks_do_not_forward() -> None:
    answer = ask(resolver_for(NameTable(), forwards=False), "example.org")
    assert answer is not None and answer.header.rcode == dnslib.RCODE.SERVFAIL


def test_a_removed_endpoint_is_forgotten_and_its_namesakes_stay() -> None:
    table = NameTable()
    first, second = endpoint("a", "10.0.0.2", "web"), endpoint("b", "10.0.0.3", "web")
    table.add(first)
    table.add(second)
    table.remove(first)
    table.remove(first)
    assert table.find("n1", "web") == [second] and table.at("n1", "10.0.0.2") is None

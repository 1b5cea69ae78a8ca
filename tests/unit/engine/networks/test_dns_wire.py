"""Answers are read back with an independent implementation (dnslib)."""

import dnslib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.engine.networks import dns_wire as wire


def ask(name: str, kind: str = "A", *, edns: int = 0) -> wire.Query:
    question = dnslib.DNSRecord.question(name, kind)
    if edns:
        question.add_ar(dnslib.EDNS0(udp_len=edns))
    return wire.parse_query(question.pack())


def read(data: bytes) -> dnslib.DNSRecord:
    return dnslib.DNSRecord.parse(data)


def test_a_query_is_read_in_lower_case_and_answered_in_the_case_it_came() -> None:
    query = ask("WeB.Shop")
    assert (query.name, query.type) == ("web.shop", wire.A)
    answer = read(wire.response(query, [wire.address("web.shop", "172.18.0.2", 600)]))
    assert str(answer.q.qname) == "WeB.Shop." and str(answer.a.rdata) == "172.18.0.2" and answer.a.ttl == 600


def test_all_record_types_read_back() -> None:
    name = "_http._tcp.web.default.svc.cluster.local"
    records = [
        wire.service(name, "web.default.svc.cluster.local", 80, 5),
        wire.address(name, "fd00::5", 5),
        wire.pointer(name, "example.org", 5, wire.CNAME),
        wire.text(name, "1.1.0", 5),
    ]
    answer = read(
        wire.response(
            ask(name, "ANY"), records, additional=[wire.address("web.default.svc.cluster.local", "10.0.0.1", 5)]
        )
    )
    assert [str(record.rdata) for record in answer.rr] == [
        "0 100 80 web.default.svc.cluster.local.", "fd00::5", "example.org.", '"1.1.0"',
    ]  # fmt: skip
    assert str(answer.ar[0].rname) == "web.default.svc.cluster.local."


def test_a_negative_answer_carries_the_soa() -> None:
    answer = read(
        wire.response(
            ask("nope.cluster.local"), code=wire.NXDOMAIN, authority=[wire.start_of_authority("cluster.local", 5)]
        )
    )
    assert answer.header.rcode == dnslib.RCODE.NXDOMAIN
    assert dnslib.QTYPE[answer.auth[0].rtype] == "SOA" and answer.auth[0].rdata.times[-1] == 5


def test_what_does_not_fit_is_truncated_and_edns_makes_room() -> None:
    records = [wire.address("many.shop", f"10.0.{i}.1", 5) for i in range(60)]
    small, large = ask("many.shop"), ask("many.shop", edns=4096)
    cut = read(wire.response(small, records, limit=small.limit))
    assert cut.header.tc == 1
    assert len(cut.rr) == (512 - 12 - len(small.question)) // 16, "what fits is there for who cannot ask by TCP"
    hints = [wire.address(f"pod-{i}.many.shop", f"10.0.{i}.1", 5) for i in range(60)]
    short = read(wire.response(small, records[:2], additional=hints, limit=small.limit))
    assert short.header.tc == 0 and len(short.rr) == 2 and 0 < len(short.ar) < 60
    whole = read(wire.response(large, records, limit=large.limit))
    assert whole.header.tc == 0 and len(whole.rr) == 60


@pytest.mark.parametrize(
    ("name", "ip"),
    [
        ("2.0.18.172.in-addr.arpa", "172.18.0.2"),
        ("5.0.0.0." + "0." * 26 + "d.f.ip6.arpa", "fd00::5"),
        ("2.0.18.in-addr.arpa", None),
        ("x.0.18.172.in-addr.arpa", None),
        ("web.shop", None),
    ],
)
def test_reverse_names(name: str, ip: str | None) -> None:
    assert wire.reverse_address(name) == ip


@given(st.binary(max_size=80))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    try:
        query = wire.parse_query(data)
    except wire.BadQuery:
        error = wire.format_error(data)
        assert error is None or error[:2] == data[:2]
    else:
        assert wire.response(query)[:2] == data[:2]
    assert wire.shortest_ttl(data) >= 0
    assert isinstance(wire.read_answers(data), list)


def test_the_shortest_ttl_and_the_answers_of_a_compressed_message() -> None:
    record = dnslib.DNSRecord(dnslib.DNSHeader(qr=1), q=dnslib.DNSQuestion("a.example.org"))
    record.add_answer(*dnslib.RR.fromZone("a.example.org 60 CNAME b.example.org\nb.example.org 20 A 1.2.3.4"))
    data = record.pack()
    assert wire.shortest_ttl(data) == 20
    assert [(r.name, r.type) for r in wire.read_answers(data)] == [
        ("a.example.org", wire.CNAME),
        ("b.example.org", wire.A),
    ]
    assert wire.read_answers(data)[0].data == wire.encode_name("b.example.org")

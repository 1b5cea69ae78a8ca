import pytest

from wherry.engine.errors import InvalidParameter
from wherry.engine.networks.files import (
    ResolvConf,
    container_resolv_conf,
    hosts_text,
    parse_extra_hosts,
    parse_resolv_conf,
)

HOST = ResolvConf(("192.0.2.53", "127.0.0.53"), ("corp.example",), ("edns0",))


def test_resolv_conf_is_read_as_the_resolver_reads_it() -> None:
    found = parse_resolv_conf(
        "# comment\nnameserver 1.1.1.1 # here\ndomain old\nsearch a b\noptions ndots:2\noptions rotate\nbroken\n"
    )
    assert found == ResolvConf(("1.1.1.1",), ("a", "b"), ("ndots:2", "rotate"))


def test_servers_on_the_hosts_loopback_are_left_out() -> None:
    assert container_resolv_conf(HOST).nameservers == ("192.0.2.53",)
    assert container_resolv_conf(ResolvConf(("127.0.0.53",))).nameservers == ("8.8.8.8", "8.8.4.4")


def test_the_containers_own_settings_win_one_by_one() -> None:
    conf = container_resolv_conf(HOST, dns=["9.9.9.9"], search=["."], options=["ndots:3"])
    assert conf == ResolvConf(("9.9.9.9",), (), ("ndots:3",))


def test_user_defined_networks_have_the_internal_resolver() -> None:
    conf = container_resolv_conf(HOST, dns=["9.9.9.9"], internal_resolver=True)
    assert conf == ResolvConf(("127.0.0.11",), ("corp.example",), ("edns0", "ndots:0"))


def test_hosts_lists_localhost_then_extra_then_itself() -> None:
    lines = hosts_text([("172.17.0.2", "web")], [("10.0.0.9", "db")]).splitlines()
    assert lines[0] == "127.0.0.1\tlocalhost" and lines[-2:] == ["10.0.0.9\tdb", "172.17.0.2\tweb"]


def test_extra_hosts() -> None:
    found = parse_extra_hosts(["db:10.0.0.9", "h=10.0.0.8", "six:[fd00::1]", "gw:host-gateway"], "172.17.0.1")
    assert found == [("10.0.0.9", "db"), ("10.0.0.8", "h"), ("fd00::1", "six"), ("172.17.0.1", "gw")]


@pytest.mark.parametrize("entry", ["nothing", ":1.2.3.4", "db:not-an-address"])
def test_bad_extra_hosts_are_refused(entry: str) -> None:
    with pytest.raises(InvalidParameter):
        parse_extra_hosts([entry], None)

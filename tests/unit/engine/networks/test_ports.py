import socket
from collections.abc import Iterator

import pytest

from wherry.engine.errors import InvalidParameter
from wherry.engine.errors import NotImplemented as Unsupported
from wherry.engine.networks.ports import PortAllocator, PortInUse, PortMapping, PortRequest, parse_ports, port_requests

ANY = ("0.0.0.0",)


@pytest.fixture
def ports() -> Iterator[PortAllocator]:
    allocator = PortAllocator()
    yield allocator
    allocator.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_bindings_become_requests_and_fixed_ports_come_first() -> None:
    requests = port_requests(
        {"80/tcp": [{"HostIp": "", "HostPort": ""}, {"HostIp": "127.0.0.1", "HostPort": "8080"}], "53/udp": None},
        {}, False, default_ips=ANY,
    )  # fmt: skip
    assert requests == [PortRequest("tcp", 80, ("127.0.0.1",), 8080, 8080), PortRequest("tcp", 80, ANY, 0, 0)]


def test_publish_all_takes_what_is_exposed_and_not_bound() -> None:
    requests = port_requests({"80/tcp": [{"HostPort": "8080"}]}, {"80/tcp": {}, "90-91/udp": {}}, True, default_ips=ANY)
    assert [(r.container_port, r.protocol, r.first) for r in requests] == [
        (80, "tcp", 8080),
        (90, "udp", 0),
        (91, "udp", 0),
    ]


@pytest.mark.parametrize("key", ["0/tcp", "70000/tcp", "x/tcp", "80/icmp", "", "90-80/tcp"])
def test_bad_ports_are_refused(key: str) -> None:
    with pytest.raises(InvalidParameter):
        list(parse_ports(key))


@pytest.mark.parametrize("binding", [{"HostPort": "x"}, {"HostPort": "99999"}, {"HostIp": "nowhere", "HostPort": "1"}])
def test_bad_bindings_are_refused(binding: dict[str, str]) -> None:
    with pytest.raises(InvalidParameter):
        port_requests({"80/tcp": [binding]}, {}, False, default_ips=ANY)


def test_sctp_is_refused_by_name() -> None:
    with pytest.raises(Unsupported, match="SCTP"):
        list(parse_ports("80/sctp"))


def test_a_port_held_by_a_container_is_already_allocated(ports: PortAllocator) -> None:
    number = free_port()
    ports.hold(PortMapping("tcp", 80, "127.0.0.1", number))
    with pytest.raises(PortInUse, match=f"Bind for 0.0.0.0:{number} failed: port is already allocated"):
        ports.hold(PortMapping("tcp", 80, "0.0.0.0", number))
    ports.release(PortMapping("tcp", 80, "127.0.0.1", number))
    ports.hold(PortMapping("tcp", 80, "0.0.0.0", number))


def test_a_port_held_by_another_program_is_in_use(ports: PortAllocator) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        number = other.getsockname()[1]
        with pytest.raises(PortInUse, match=f"failed to bind host port 127.0.0.1:{number}/tcp: address already in use"):
            ports.hold(PortMapping("tcp", 80, "127.0.0.1", number))


def test_other_programs_cannot_take_a_held_port(ports: PortAllocator) -> None:
    number = free_port()
    ports.hold(PortMapping("tcp", 80, "127.0.0.1", number))
    with socket.socket() as other, pytest.raises(OSError):
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", number))


def test_an_address_that_is_not_ours_is_refused(ports: PortAllocator) -> None:
    with pytest.raises(PortInUse, match="cannot assign requested address"):
        ports.hold(PortMapping("tcp", 80, "203.0.113.77", 8080))


def test_a_range_takes_its_first_free_port(ports: PortAllocator) -> None:
    number = free_port()
    ports.hold(PortMapping("tcp", 80, "127.0.0.1", number))
    ((mapping, _),) = ports.allocate(PortRequest("tcp", 80, ("127.0.0.1",), number, number + 5))
    assert number < mapping.host_port <= number + 5


def test_an_ephemeral_port_is_the_same_for_all_addresses(ports: PortAllocator) -> None:
    held = ports.allocate(PortRequest("udp", 53, ("127.0.0.1", "127.0.0.2"), 0, 0))
    assert len({mapping.host_port for mapping, _ in held}) == 1 and len(held) == 2

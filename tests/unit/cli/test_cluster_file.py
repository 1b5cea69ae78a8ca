import ipaddress
import socket
from pathlib import Path

import pytest

from wherry.cli import cluster_file
from wherry.host.instance import Instance, open_instance


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    return open_instance(tmp_path / "root", tmp_path / "run")


def test_what_was_chosen_once_is_kept(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    first = cluster_file.load_or_choose(instance)
    monkeypatch.setattr(cluster_file, "used_networks", lambda: iter([ipaddress.IPv4Network(first.cluster_cidr)]))
    assert cluster_file.load_or_choose(instance) == first


def test_ranges_in_use_are_skipped(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    used = [ipaddress.IPv4Network("10.244.3.0/24"), ipaddress.IPv4Network("10.96.0.0/12")]
    monkeypatch.setattr(cluster_file, "used_networks", lambda: iter(used))
    chosen = cluster_file.load_or_choose(instance)
    assert chosen.cluster_cidr == "10.245.0.0/16"
    assert chosen.service_cidr == "10.112.0.0/16"
    assert chosen.dns_address == "10.112.0.10"
    assert chosen.node_gateway == "10.245.0.1"


def test_a_taken_api_port_is_replaced_by_a_free_one(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr(cluster_file, "DEFAULT_API_PORT", taken.getsockname()[1])
        chosen = cluster_file.load_or_choose(instance)
        assert chosen.api_port not in (0, taken.getsockname()[1])


def test_a_port_that_is_asked_for_is_obeyed(instance: Instance) -> None:
    cluster_file.load_or_choose(instance)
    assert cluster_file.load_or_choose(instance, api_port=7443).api_port == 7443
    assert cluster_file.load_or_choose(instance).api_port == 7443

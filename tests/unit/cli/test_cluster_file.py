import ipaddress
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from wherry.cli import cluster_file
from wherry.host.instance import Instance, open_instance


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Instance:
    monkeypatch.setattr(cluster_file, "CHOICES", tmp_path / "choices.json")
    return open_instance(tmp_path / "root", tmp_path / "run")


@pytest.fixture
def other(tmp_path: Path) -> Instance:
    return open_instance(tmp_path / "other", tmp_path / "other-run")


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


def test_two_that_start_at_once_choose_different_ranges_and_ports(
    instance: Instance, other: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_file, "used_networks", lambda: iter([]))
    waiting = threading.Barrier(2)

    def start(one: Instance) -> cluster_file.ClusterFile:
        waiting.wait()
        return cluster_file.load_or_choose(one)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(start, (instance, other))
    assert first.cluster_cidr != second.cluster_cidr
    assert first.service_cidr != second.service_cidr
    assert first.api_port != second.api_port


def test_ranges_of_an_instance_that_rests_are_left_to_it_while_there_are_others(
    instance: Instance, other: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_file, "used_networks", lambda: iter([]))
    first = cluster_file.load_or_choose(other)
    known = json.loads(cluster_file.CHOICES.read_text())
    known[str(other.root)]["started"] = 0
    cluster_file.CHOICES.write_text(json.dumps(known))
    second = cluster_file.load_or_choose(instance)
    assert (second.cluster_cidr, second.service_cidr) != (first.cluster_cidr, first.service_cidr)
    (instance.root / "cluster.json").unlink()
    rest = [ipaddress.IPv4Network(f"10.{number}.0.0/16") for number in range(97, 256) if number != 244]
    monkeypatch.setattr(cluster_file, "used_networks", lambda: iter(rest))
    third = cluster_file.load_or_choose(instance)
    assert (third.cluster_cidr, third.service_cidr) == (first.cluster_cidr, first.service_cidr)


def test_what_a_deleted_instance_had_is_free(
    instance: Instance, other: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_file, "used_networks", lambda: iter([]))
    first = cluster_file.load_or_choose(other)
    (other.root / "cluster.json").unlink()
    assert cluster_file.load_or_choose(instance).service_cidr == first.service_cidr

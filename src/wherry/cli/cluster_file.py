"""What is chosen once for a cluster and then kept: `<root>/cluster.json`.

Address ranges must not be in use on this machine and must never change while there is data, so the first process
that asks chooses them and writes them down; both processes then read the same.
"""

import fcntl
import ipaddress
import json
import os
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from wherry.host.instance import Instance

DEFAULT_API_PORT = 6443


@dataclass(frozen=True)
class ClusterFile:
    """`cluster_cidr` holds the pods of all nodes, `node_cidr` this node's; `dns_address` is in the service range."""

    node_name: str
    cluster_cidr: str
    node_cidr: str
    service_cidr: str
    dns_address: str
    api_port: int

    @property
    def node_gateway(self) -> str:
        """This node's address on its pod network: where pods reach the API server."""
        return str(ipaddress.ip_network(self.node_cidr)[1])


def load_or_choose(instance: Instance, *, api_port: int = 0) -> ClusterFile:
    """The cluster's choices; made now if this is the first start. `api_port` is obeyed when it is not 0."""
    instance.root.mkdir(parents=True, exist_ok=True)
    path = instance.root / "cluster.json"
    with open(instance.root / "cluster.json.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            found = ClusterFile(**json.loads(path.read_text()))
            if api_port in (0, found.api_port):
                return found
            found = ClusterFile(**{**asdict(found), "api_port": api_port})
        else:
            found = _choose(api_port)
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps(asdict(found), indent=2) + "\n")
        os.replace(temporary, path)
        return found


def _choose(api_port: int) -> ClusterFile:
    used = list(used_networks())
    cluster = _first_free((f"10.{second}.0.0/16" for second in (*range(244, 255), *range(128, 244))), used)
    service = _first_free((f"10.{second}.0.0/16" for second in range(96, 128)), used)
    return ClusterFile(
        node_name=socket.gethostname().lower(),
        cluster_cidr=str(cluster),
        node_cidr=str(next(cluster.subnets(new_prefix=24))),
        service_cidr=str(service),
        dns_address=str(service[10]),
        api_port=api_port or _free_port(DEFAULT_API_PORT),
    )


def used_networks() -> Iterator[ipaddress.IPv4Network]:
    """Networks that this machine has routes to, without the default route (/proc/net/route)."""
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        fields = line.split()
        destination = int.from_bytes(bytes.fromhex(fields[1]), "little")
        mask = int.from_bytes(bytes.fromhex(fields[7]), "little")
        if mask:
            yield ipaddress.IPv4Network((destination, mask.bit_count()))


def _first_free(candidates: Iterator[str], used: list[ipaddress.IPv4Network]) -> ipaddress.IPv4Network:
    for candidate in candidates:
        network = ipaddress.IPv4Network(candidate)
        if not any(network.overlaps(other) for other in used):
            return network
    raise OSError("every private address range that a cluster could use is taken by routes of this machine")


def _free_port(wanted: int) -> int:
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            chosen: int = probe.getsockname()[1]
            return chosen
    raise OSError("no free port on 127.0.0.1")

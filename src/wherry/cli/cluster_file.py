"""What is chosen once for a cluster and then kept: `<root>/cluster.json`.

Address ranges must not be in use on this machine and must never change while there is data, so the first process
that asks chooses them and writes them down; both processes then read the same.

The kernel shows a range as used only once the node has made its routes, and only while they are there. So what the
machine's instances have chosen is also kept in `CHOICES`, until the next boot.
"""

import contextlib
import fcntl
import ipaddress
import json
import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from wherry.host import processes
from wherry.host.instance import Instance

DEFAULT_API_PORT = 6443
CHOICES = Path("/run/wherry-choices.json")
"""Of all instances of this machine: {root: {cluster_cidr, service_cidr, api_port, pid, started}}."""


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
            _write(path, found)
            return found
        with _others(instance) as others:
            found = _choose(api_port, others)
            _write(path, found)
            others.mine = found
        return found


def _write(path: Path, found: ClusterFile) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(asdict(found), indent=2) + "\n")
    os.replace(temporary, path)


@dataclass
class _Others:
    """What the machine's other instances have chosen.

    `starting`: by those that may not have made their routes or opened their port yet. `resting`: by those that have
    ended, and would be in the way when they come back. `mine` is what is written down at the end.
    """

    starting: list[ipaddress.IPv4Network] = field(default_factory=list)
    resting: list[ipaddress.IPv4Network] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)
    mine: ClusterFile | None = None


@contextlib.contextmanager
def _others(instance: Instance) -> Iterator[_Others]:
    """One process of this machine at a time chooses."""
    with open(os.open(CHOICES, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        known: dict[str, Any] = {}
        with contextlib.suppress(ValueError):  # empty at first, or written by somebody who was killed
            known = json.loads(file.read())
        known = {root: entry for root, entry in known.items() if Path(root, "cluster.json").exists()}
        others = _Others()
        for entry in known.values():
            starting = processes.start_time(entry["pid"]) == entry["started"]
            ranges = others.starting if starting else others.resting
            ranges += (ipaddress.IPv4Network(entry[name]) for name in ("cluster_cidr", "service_cidr"))
            others.ports += [entry["api_port"]] if starting else []
        yield others
        if others.mine is not None:
            chosen = {name: getattr(others.mine, name) for name in ("cluster_cidr", "service_cidr", "api_port")}
            known[str(instance.root)] = {**chosen, "pid": os.getpid(), "started": processes.start_time(os.getpid())}
            file.seek(0)
            file.truncate()
            json.dump(known, file)


def _choose(api_port: int, others: _Others) -> ClusterFile:
    used = [*used_networks(), *others.starting]
    clusters = [f"10.{second}.0.0/16" for second in (*range(244, 255), *range(128, 244))]
    services = [f"10.{second}.0.0/16" for second in range(96, 128)]
    cluster = _first_free(clusters, used, others.resting)
    service = _first_free(services, used, others.resting)
    return ClusterFile(
        node_name=socket.gethostname().lower(),
        cluster_cidr=str(cluster),
        node_cidr=str(next(cluster.subnets(new_prefix=24))),
        service_cidr=str(service),
        dns_address=str(service[10]),
        api_port=api_port or _free_port(DEFAULT_API_PORT, others.ports),
    )


def used_networks() -> Iterator[ipaddress.IPv4Network]:
    """Networks that this machine has routes to, without the default route (/proc/net/route)."""
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        fields = line.split()
        destination = int.from_bytes(bytes.fromhex(fields[1]), "little")
        mask = int.from_bytes(bytes.fromhex(fields[7]), "little")
        if mask:
            yield ipaddress.IPv4Network((destination, mask.bit_count()))


def _first_free(
    candidates: Sequence[str], used: Iterable[ipaddress.IPv4Network], resting: Iterable[ipaddress.IPv4Network]
) -> ipaddress.IPv4Network:
    """Rather one that no resting instance has; there are not enough to keep them all."""
    for avoided in ([*used, *resting], used):
        for candidate in candidates:
            network = ipaddress.IPv4Network(candidate)
            if not any(network.overlaps(other) for other in avoided):
                return network
    raise OSError("every private address range that a cluster could use is taken by routes of this machine")


def _free_port(wanted: int, taken: Iterable[int]) -> int:
    for port in (wanted, 0):
        if port in taken:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            chosen: int = probe.getsockname()[1]
            return chosen
    raise OSError("no free port on 127.0.0.1")

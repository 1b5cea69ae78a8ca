"""What can be chosen when an API server is started."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class ServerOptions:
    """All have defaults that work for one machine."""

    port: int = 6443
    """0: a free port, chosen once and kept in `<root>/apiserver-port`."""

    bind_addresses: tuple[str, ...] = ("127.0.0.1",)
    """Where to listen; an address need not exist yet."""

    advertise_address: str = ""
    """The address under which pods reach the server (endpoint of the service `kubernetes`); it is listened on too.
    Empty: the service gets no endpoint."""

    names: tuple[str, ...] = ()
    """Further host names and addresses for the serving certificate."""

    service_cidr: str = "10.96.0.0/16"
    node_port_range: tuple[int, int] = (30000, 32767)
    cluster_domain: str = "cluster.local"

    etcd_endpoints: tuple[str, ...] = ()
    """Use etcd instead of the embedded store."""

    etcd_ca: str = ""
    etcd_cert: str = ""
    etcd_key: str = ""

    audit_log: bool = False
    """Keep `<log directory>/audit.log`: who asked for what, one line per request to a resource."""

    encrypt: tuple[str, ...] = ("secrets",)
    """Resources of the core group whose objects are encrypted at rest."""

    static_tokens: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    """Bearer token -> (user, groups)."""

    event_ttl_seconds: float = 3600.0

"""What a container is given to see of its network: /etc/hosts, /etc/resolv.conf and NetworkSettings."""

from collections.abc import Iterable
from pathlib import Path

from wherry.engine.errors import Conflict
from wherry.engine.networks.files import container_resolv_conf, hosts_text, parse_extra_hosts, read_host_resolv_conf
from wherry.engine.networks.sandboxes import Sandbox
from wherry.engine.networks.settings import empty_settings, endpoint_settings, sandbox_settings
from wherry.engine.networks.types import NetworkRequest, NetworkSandbox

_HOSTS = Path("/etc/hosts")


def sandbox_view(
    sandbox: Sandbox, others: Iterable[Sandbox], host_gateway: str | None, none_network_id: str
) -> NetworkSandbox:
    """`others` are all sandboxes, for links; `none_network_id` the id of network `none`.

    Raises InvalidParameter (a bad extra host), Conflict (a link to a container that does not run).
    """
    request = sandbox.request
    known = request.hostname
    if request.domainname:
        known = f"{request.hostname}.{request.domainname} {request.hostname}"
    elif "." in known:
        known = f"{known} {known.partition('.')[0]}"
    own = [(ip, known) for endpoint in sandbox.endpoints for ip in endpoint.addresses] if request.hostname else []
    extra = parse_extra_hosts(request.extra_hosts, host_gateway)
    resolv_conf = container_resolv_conf(
        read_host_resolv_conf(),
        dns=request.dns,
        search=request.dns_search,
        options=request.dns_options,
        internal_resolver=bool(sandbox.resolver),
    )
    return NetworkSandbox(
        netns=sandbox.netns,
        settings=sandbox_settings(sandbox, none_network_id if request.mode == "none" else ""),
        hosts=hosts_text(own, [*extra, *linked_hosts(request, others)]),
        resolv_conf=resolv_conf.text(),
    )


def linked_hosts(request: NetworkRequest, others: Iterable[Sandbox]) -> list[tuple[str, str]]:
    """Links on the default network are lines in /etc/hosts: (address, names)."""
    if request.mode not in ("default", "bridge", "") or not request.links:
        return []
    by_name = {name: sandbox for sandbox in others for name in (sandbox.request.name.lstrip("/"), sandbox.id)}
    found = []
    for link in request.links:
        name, _, alias = link.partition(":")
        name, alias = name.lstrip("/"), alias.rpartition("/")[2]
        target = by_name.get(name)
        if target is None or not target.endpoints:
            raise Conflict(
                f"Cannot link to a non running container: /{name} AS /{request.name.lstrip('/')}/{alias or name}"
            )
        names = dict.fromkeys((alias or name, target.request.hostname, target.request.name.lstrip("/")))
        found.append((target.endpoints[0].addresses[0], " ".join(filter(None, names))))
    return found


def host_view(request: NetworkRequest, host_gateway: str | None, host_network_id: str) -> NetworkSandbox:
    """A container on the host's own network sees the host's files."""
    try:
        hosts = _HOSTS.read_text()
    except OSError:
        hosts = hosts_text([])
    extra = parse_extra_hosts(request.extra_hosts, host_gateway)
    conf = read_host_resolv_conf()
    if request.dns or request.dns_search or request.dns_options:
        conf = container_resolv_conf(conf, dns=request.dns, search=request.dns_search, options=request.dns_options)
    settings = empty_settings()
    settings["Networks"] = {"host": endpoint_settings(host_network_id)}
    return NetworkSandbox(None, settings, hosts + "".join(f"{ip}\t{name}\n" for ip, name in extra), conf.text())


def shared_view(target: NetworkSandbox) -> NetworkSandbox:
    """`container:` mode: another container's network and files, and no settings of its own."""
    return NetworkSandbox(target.netns, empty_settings(), target.hosts, target.resolv_conf)

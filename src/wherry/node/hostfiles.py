"""/etc/hosts and /etc/resolv.conf of a pod. Pure text.

Specified in https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/ and
.../tasks/network/customize-hosts-file-for-pods/.
"""

from collections.abc import Sequence

from wherry.node import pods
from wherry.schema.resource import Object

MAX_NAMESERVERS = 3
MAX_SEARCHES = 32


def hosts(pod: Object, ips: Sequence[str], host_hosts: str, cluster_domain: str) -> str:
    """The hosts file. `host_hosts` is the node's own, which pods on the host network get."""
    lines: list[str]
    if pods.host_network(pod):
        lines = ["# Kubernetes-managed hosts file (host network).", host_hosts.rstrip("\n")]
    else:
        lines = [
            "# Kubernetes-managed hosts file.",
            "127.0.0.1\tlocalhost",
            "::1\tlocalhost ip6-localhost ip6-loopback",
            "fe00::0\tip6-localnet",
            "fe00::0\tip6-mcastprefix",
            "fe00::1\tip6-allnodes",
            "fe00::2\tip6-allrouters",
        ]
        host_name = pods.hostname(pod)
        qualified = pods.subdomain_fqdn(pod, cluster_domain)
        names = f"{qualified}\t{host_name}" if qualified else host_name
        lines += [f"{address}\t{names}" for address in ips]
    aliases = pods_aliases(pod)
    if aliases:
        lines += ["", "# Entries added by HostAliases.", *aliases]
    return "\n".join(lines) + "\n"


def pods_aliases(pod: Object) -> list[str]:
    """One line per hostAlias."""
    return ["\t".join([alias["ip"], *(alias.get("hostnames") or [])]) for alias in pod["spec"].get("hostAliases") or []]


def resolv_conf(pod: Object, host_conf: str, cluster_dns: Sequence[str], cluster_domain: str) -> str:
    """The resolv.conf for the pod's dnsPolicy and dnsConfig; `host_conf` is the node's own."""
    servers, searches, options = parse_resolv_conf(host_conf)
    policy = pods_dns_policy(pod, bool(cluster_dns))
    if policy == "ClusterFirst":
        namespace = pods.namespace(pod)
        servers = list(cluster_dns)
        searches = [f"{namespace}.svc.{cluster_domain}", f"svc.{cluster_domain}", cluster_domain, *searches]
        options = ["ndots:5"]
    elif policy == "None":
        servers, searches, options = [], [], []
    config = pod["spec"].get("dnsConfig") or {}
    servers += [server for server in config.get("nameservers") or [] if server not in servers]
    searches += [domain for domain in config.get("searches") or [] if domain not in searches]
    for option in config.get("options") or []:
        name = option["name"]
        options = [known for known in options if known.partition(":")[0] != name]
        options.append(f"{name}:{option['value']}" if option.get("value") else name)
    lines = []
    if searches:
        lines.append("search " + " ".join(dict.fromkeys(searches[:MAX_SEARCHES])))
    lines += [f"nameserver {server}" for server in servers[:MAX_NAMESERVERS]]
    if options:
        lines.append("options " + " ".join(options))
    return "\n".join(lines) + "\n"


def pods_dns_policy(pod: Object, has_cluster_dns: bool) -> str:
    """ClusterFirst, Default or None, as it applies."""
    policy = pod["spec"].get("dnsPolicy") or "ClusterFirst"
    if policy == "None":
        return "None"
    if policy == "ClusterFirstWithHostNet":
        return "ClusterFirst" if has_cluster_dns else "Default"
    if policy == "ClusterFirst" and has_cluster_dns and not pods.host_network(pod):
        return "ClusterFirst"
    return "Default"


def parse_resolv_conf(text: str) -> tuple[list[str], list[str], list[str]]:
    """(nameservers, search domains, options)."""
    servers: list[str] = []
    searches: list[str] = []
    options: list[str] = []
    for line in text.splitlines():
        words = line.split()
        if not words or words[0][0] in "#;":
            continue
        if words[0] == "nameserver" and len(words) > 1:
            servers.append(words[1])
        elif words[0] in ("search", "domain"):
            searches = words[1:]
        elif words[0] == "options":
            options = words[1:]
    return servers, searches, options

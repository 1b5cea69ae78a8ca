"""hosts and resolv.conf."""

from node_samples import make_pod

from wherry.node.hostfiles import hosts, resolv_conf

HOST = "nameserver 192.0.2.53\nsearch example.com\noptions edns0\n"


def test_hosts_name_the_pod_and_its_aliases() -> None:
    pod = make_pod(hostname="h", subdomain="db", hostAliases=[{"ip": "1.2.3.4", "hostnames": ["a", "b"]}])
    lines = hosts(pod, ["10.0.0.2"], "", "cluster.local").splitlines()
    assert lines[0] == "# Kubernetes-managed hosts file."
    assert "10.0.0.2\th.db.default.svc.cluster.local\th" in lines
    assert lines[-2:] == ["# Entries added by HostAliases.", "1.2.3.4\ta\tb"]


def test_dns_policies() -> None:
    def of(**spec: object) -> list[str]:
        return resolv_conf(make_pod(**spec), HOST, ["10.96.0.10"], "cluster.local").splitlines()

    assert of() == [
        "search default.svc.cluster.local svc.cluster.local cluster.local example.com",
        "nameserver 10.96.0.10",
        "options ndots:5",
    ]
    assert of(dnsPolicy="Default") == ["search example.com", "nameserver 192.0.2.53", "options edns0"]
    assert of(hostNetwork=True) == of(dnsPolicy="Default")
    assert of(hostNetwork=True, dnsPolicy="ClusterFirstWithHostNet") == of()
    config = {
        "nameservers": ["1.1.1.1"],
        "searches": ["x"],
        "options": [{"name": "ndots", "value": "2"}, {"name": "trust-ad"}],
    }
    assert of(dnsPolicy="None", dnsConfig=config) == ["search x", "nameserver 1.1.1.1", "options ndots:2 trust-ad"]
    assert of(dnsConfig=config)[-1] == "options ndots:2 trust-ad"

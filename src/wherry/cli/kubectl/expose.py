"""`kubectl expose`."""

from typing import Any

from wherry.cli.kubectl.create.common import SAVE_CONFIG
from wherry.cli.kubectl.errors import KubectlError, UsageError, raise_all
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.selection import Found, load
from wherry.cli.kubectl.session import DRY_RUN, FILES, MANAGER, PRINTING, Object, Session

HELP = "Expose a resource (pod, service, replica set, deployment) as a new Kubernetes service."
EXAMPLES = """
kubectl expose deployment nginx --port=80 --target-port=8000
kubectl expose pod valid-pod --port=444 --name=frontend
"""
USAGE = (
    "(-f FILENAME | TYPE NAME) [--port=port] [--protocol=TCP|UDP|SCTP] "
    "[--target-port=number-or-name] [--name=name] [--type=type]"
)
FLAGS = (
    *FILES,
    *PRINTING,
    DRY_RUN,
    MANAGER,
    SAVE_CONFIG,
    Flag("cluster-ip", "", "str", "", "The cluster IP, or None for a headless service."),
    Flag("external-ip", "", "str", "", "A further address of the service."),
    Flag("labels", "l", "str", "", "Labels of the service."),
    Flag("load-balancer-ip", "", "str", "", "The address of a LoadBalancer service."),
    Flag("name", "", "str", "", "The service's name; the resource's own when left out."),
    Flag("override-type", "", "str", "merge", "How --overrides are merged: json, merge, strategic."),
    Flag("overrides", "", "str", "", "JSON that is merged into the generated object."),
    Flag("port", "", "str", "", "The port that the service serves on; the resource's own when left out."),
    Flag("protocol", "", "str", "", "The protocol; TCP when left out."),
    Flag("selector", "", "str", "", "The labels of the pods; the resource's own when left out."),
    Flag("session-affinity", "", "str", "", "None or ClientIP."),
    Flag("target-port", "", "str", "", "The name or number of the pods' port."),
    Flag("type", "", "str", "", "ClusterIP, NodePort, LoadBalancer, or ExternalName."),
)
_KINDS = ("Pod", "Service", "ReplicationController", "Deployment", "ReplicaSet")


def run(session: Session) -> int:
    options = session.options
    if not options.arguments and not options["filename"]:
        raise UsageError("You must provide one or more resources by argument or filename.")
    # `--selector` is the service's here, not a filter.
    wanted = options["selector"]
    options.values["selector"] = ""
    found = load(session)
    options.values["selector"] = wanted
    errors: list[KubectlError] = []
    for one in found:
        try:
            service = _service(session, one)
            if session.dry_run != "client":
                path = session.find("services").path(one.namespace)
                service = session.http.request(
                    "POST", path, session.write_query("kubectl-expose", validate=False), service
                )
            session.done(session.find("services"), service["metadata"]["name"], "exposed", service)
        except KubectlError as error:
            errors.append(error)
    raise_all(errors)
    return 0


def _selector(session: Session, one: Found) -> dict[str, str]:
    text = session.options["selector"]
    if text:
        return dict(word.partition("=")[::2] for word in text.split(","))
    obj, kind = one.object, one.resource.kind
    spec = obj.get("spec") or {}
    if kind == "Pod":
        labels: dict[str, str] = obj["metadata"].get("labels") or {}
        if not labels:
            raise KubectlError(
                "couldn't retrieve selectors via --selector flag or introspection: the pod has no "
                "labels and cannot be exposed"
            )
        return labels
    if kind in ("Service", "ReplicationController"):
        found: dict[str, str] = spec.get("selector") or {}
        if not found:
            raise KubectlError(
                "couldn't retrieve selectors via --selector flag or introspection: the service has no pod selector set"
            )
        return found
    selector = spec.get("selector") or {}
    if selector.get("matchExpressions"):
        raise KubectlError(
            "couldn't retrieve selectors via --selector flag or introspection: couldn't convert "
            f'expressions - "{selector["matchExpressions"]}" to map-based selector format'
        )
    return selector.get("matchLabels") or {}


def _ports(one: Found) -> list[dict[str, Any]]:
    """Ports of the object's containers, or of a service."""
    from wherry.cli.kubectl.pod_specs import pod_spec

    if one.resource.kind == "Service":
        return [
            {"port": p["port"], "protocol": p.get("protocol", "TCP")}
            for p in (one.object.get("spec") or {}).get("ports") or ()
        ]
    spec = pod_spec(one.object) or {}
    return [
        {"port": port["containerPort"], "protocol": port.get("protocol", "TCP")}
        for container in spec.get("containers") or ()
        for port in container.get("ports") or ()
    ]


def _service(session: Session, one: Found) -> Object:
    options = session.options
    if one.resource.kind not in _KINDS:
        group = f"{one.resource.kind}.{one.resource.group}" if one.resource.group else one.resource.kind
        raise KubectlError(f"cannot expose a {group}")
    selector = _selector(session, one)
    own = _ports(one)
    if options["port"]:
        numbers = options["port"].split(",")
        protocols = {port["port"]: port["protocol"] for port in own}
        ports = []
        for number in numbers:
            if not number.isdigit():
                raise KubectlError(f'strconv.Atoi: parsing "{number}": invalid syntax')
            protocol = options["protocol"] or protocols.get(int(number), "TCP")
            ports.append({"port": int(number), "protocol": protocol, "targetPort": int(number)})
    else:
        if not own:
            raise KubectlError("couldn't find port via --port flag or introspection")
        ports = [{**port, "targetPort": port["port"]} for port in own]
    for index, port in enumerate(ports):
        target = options["target-port"]
        if target:
            port["targetPort"] = int(target) if target.isdigit() else target
        if len(ports) > 1:
            port["name"] = f"port-{index + 1}"
    name = options["name"] or one.name
    if len(name) > 63:
        name = name[:63]
    meta: Object = {"creationTimestamp": None, "name": name}
    labels = one.object["metadata"].get("labels")
    if options["labels"]:
        labels = dict(word.partition("=")[::2] for word in options["labels"].split(","))
    if labels:
        meta["labels"] = labels
    if session.is_namespace_given:
        meta["namespace"] = session.namespace
    spec: Object = {"ports": ports, "selector": selector}
    if options["type"]:
        spec["type"] = options["type"]
    if options["cluster-ip"]:
        spec["clusterIP"] = options["cluster-ip"]
    if options["external-ip"]:
        spec["externalIPs"] = [options["external-ip"]]
    if options["load-balancer-ip"]:
        spec["loadBalancerIP"] = options["load-balancer-ip"]
    if options["session-affinity"]:
        spec["sessionAffinity"] = options["session-affinity"]
    service: Object = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta,
        "spec": spec,
        "status": {"loadBalancer": {}},
    }
    if options["overrides"]:
        from wherry.cli.kubectl.patch import _locally, _parse

        kind = options["override-type"]
        service = _locally(
            Found(session.find("services"), one.namespace, name, service), _parse(options["overrides"]), kind
        )
    if options["save-config"]:
        from wherry.cli.kubectl import last_applied

        service = last_applied.annotated(service)
    return service

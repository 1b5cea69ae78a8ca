"""`kubectl create service clusterip|nodeport|loadbalancer|externalname`."""

from typing import Any

from wherry.cli.kubectl.create.common import COMMON, finish, metadata, name_of
from wherry.cli.kubectl.errors import KubectlError
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.session import Session

HELP = "Create a service of the given type."
EXAMPLES = """
kubectl create service clusterip web --tcp=5678:8080
kubectl create service nodeport web --tcp=80 --node-port=30080
kubectl create service externalname db --external-name=db.example.com
"""
USAGE = "NAME --tcp=port:targetPort"
FLAGS = (
    *COMMON,
    Flag("tcp", "", "list", (), "Port pairs: port or port:targetPort."),
    Flag("clusterip", "", "str", "", "The cluster IP, or None for a headless service."),
    Flag("node-port", "", "int", 0, "The port on each node."),
    Flag("external-name", "", "str", "", "The name that an ExternalName service stands for."),
)
_TYPES = {
    "clusterip": "ClusterIP",
    "nodeport": "NodePort",
    "loadbalancer": "LoadBalancer",
    "externalname": "ExternalName",
}


def run(session: Session) -> int:
    options = session.options
    kind = _TYPES[session.command.split()[-1]]
    name = name_of(session)
    if kind == "ExternalName" and not options["external-name"]:
        raise KubectlError('required flag(s) "external-name" not set')
    if options["clusterip"] == "None" and kind != "ClusterIP":
        raise KubectlError("ClusterIP=None can only be used with ClusterIP service type")
    if not options["tcp"] and options["clusterip"] != "None" and kind != "ExternalName":
        raise KubectlError("at least one tcp port specifier must be provided")
    ports = [_port(word, options["node-port"] if kind == "NodePort" else 0) for word in options["tcp"]]
    spec: dict[str, Any] = {"selector": {"app": name}, "type": kind}
    if ports:
        spec["ports"] = ports
    if options["clusterip"]:
        spec["clusterIP"] = options["clusterip"]
    if kind == "ExternalName":
        spec["externalName"] = options["external-name"]
    obj = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(session, name, labels={"app": name}),
        "spec": spec,
        "status": {"loadBalancer": {}},
    }
    return finish(session, "services", obj, failed=f"failed to create {kind} service: ")


def _port(word: str, node_port: int) -> dict[str, Any]:
    first, colon, second = word.partition(":")
    if not first.isdigit() or not 0 <= int(first) <= 65535:
        raise KubectlError(
            f'strconv.Atoi: parsing "{first}": invalid syntax'
            if not first.isdigit()
            else f"invalid port number {first}"
        )
    target: Any = second if colon else first
    if str(target).isdigit():
        target = int(target)
    port = {"name": word.replace(":", "-"), "port": int(first), "protocol": "TCP", "targetPort": target}
    if node_port:
        port["nodePort"] = node_port
    return port

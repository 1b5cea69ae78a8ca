"""`kubectl create ingress`."""

import re
from typing import Any

from wherry.cli.kubectl.create.common import COMMON, finish, metadata, name_of
from wherry.cli.kubectl.errors import KubectlError
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.session import Session

HELP = "Create an ingress with the specified name."
EXAMPLES = """
kubectl create ingress simple --rule="foo.com/bar=svc1:8080,tls=my-cert"
kubectl create ingress catch-all --class=nginx --rule="/path=svc:port"
"""
USAGE = "NAME --rule=host/path=service:port[,tls[=secret]]"
FLAGS = (
    *COMMON,
    Flag("annotation", "", "array", (), "Annotations, as key=value."),
    Flag("class", "", "str", "", "The ingress class."),
    Flag("default-backend", "", "str", "", "Where all other traffic goes, as service:port."),
    Flag(
        "rule", "", "array", (), "Rules, as host/path=service:port[,tls[=secret]]; a path that ends in * is a prefix."
    ),
)
_RULE = re.compile(r"([^/]*)(/[^=]*)=([^:,=]+):([^,=]+)(?:,tls(?:=([^,]*))?)?\Z")


def run(session: Session) -> int:
    options = session.options
    name = name_of(session)
    if not options["rule"] and not options["default-backend"]:
        raise KubectlError(
            "not enough information provided: every ingress has to either specify a default-backend (which catches all "
            "traffic) or a list of rules (which catch specific paths)"
        )
    spec: dict[str, Any] = {}
    if options["class"]:
        spec["ingressClassName"] = options["class"]
    if options["default-backend"]:
        parts = options["default-backend"].split(":")
        if len(parts) != 2 or not all(parts):
            raise KubectlError("default-backend should be in format servicename:serviceport")
        spec["defaultBackend"] = _backend(*parts)
    rules: dict[str, list[dict[str, Any]]] = {}
    tls: dict[str, list[str]] = {}
    for word in options["rule"]:
        match = _RULE.match(word)
        if match is None:
            raise KubectlError(
                f"rule {word} is invalid and should be in format host/path=svcname:svcport[,tls[=secret]]"
            )
        host, path, service, port, secret = match.groups()
        prefix = path.endswith("*")
        path = path.rstrip("*") or "/"
        entry = {"backend": _backend(service, port), "path": path, "pathType": "Prefix" if prefix else "Exact"}
        rules.setdefault(host, []).append(entry)
        if ",tls" in word:
            hosts = tls.setdefault(secret or "", [])
            if host and host not in hosts:
                hosts.append(host)
    if rules:
        spec["rules"] = [
            {**({"host": host} if host else {}), "http": {"paths": paths}} for host, paths in rules.items()
        ]
    if tls:
        spec["tls"] = [
            {**({"hosts": hosts} if hosts else {}), **({"secretName": secret} if secret else {})}
            for secret, hosts in tls.items()
        ]
    meta = metadata(session, name)
    annotations: dict[str, str] = {}
    for word in options["annotation"]:
        key, equals, value = word.partition("=")
        if not equals:
            raise KubectlError(f"annotation {word} is invalid and should be in format key=[value]")
        annotations[key] = value
    if annotations:
        meta["annotations"] = annotations
    obj = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": meta,
        "spec": spec,
        "status": {"loadBalancer": {}},
    }
    return finish(session, "ingresses.networking.k8s.io", obj, failed="failed to create ingress: ")


def _backend(service: str, port: str) -> dict[str, Any]:
    return {"service": {"name": service, "port": {"number": int(port)} if port.isdigit() else {"name": port}}}

"""`kubectl cluster-info`."""

import os
import sys

from wherry.cli.kubectl.errors import KubectlError
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.session import Session

HELP = "Display addresses of the control plane and services with label kubernetes.io/cluster-service=true."
USAGE = ""
FLAGS = (Flag("output-directory", "", "str", "", "dump: not supported."),)


def run(session: Session) -> int:
    if session.options.arguments:
        if session.options.arguments == ["dump"]:
            raise KubectlError("`kubectl cluster-info dump` is not supported; use `kubectl get all -A -o yaml`")
        raise KubectlError(f'unknown command "{session.options.arguments[0]}" for "kubectl cluster-info"')
    green, yellow, plain = ("\033[0;32m", "\033[0;33m", "\033[0m")
    colored = sys.stdout.isatty() and os.environ.get("TERM") not in (None, "dumb")

    def line(name: str, link: str) -> None:
        if colored:
            print(f"{green}{name}{plain} is running at {yellow}{link}{plain}")
        else:
            print(f"{name} is running at {link}")

    services = session.http.get(
        "/api/v1/namespaces/kube-system/services", {"labelSelector": "kubernetes.io/cluster-service=true"}
    )
    line("Kubernetes control plane", session.access.server)
    for service in services.get("items") or ():
        meta = service["metadata"]
        ports = (service.get("spec") or {}).get("ports") or []
        ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
        if ingress:
            host = ingress[0].get("ip") or ingress[0].get("hostname")
            link = " ".join(f"http://{host}:{port['port']}" for port in ports)
        else:
            name = meta["name"]
            if ports:
                scheme = "https:" if ports[0]["port"] == 443 or ports[0].get("name") == "https" else ""
                suffix = ports[0].get("name", "")
                name = f"{scheme}{name}:{suffix}" if scheme or suffix else name
            link = f"{session.access.server}/api/v1/namespaces/{meta['namespace']}/services/{name}/proxy"
        line((meta.get("labels") or {}).get("kubernetes.io/name") or meta["name"], link)
    print("\nTo further debug and diagnose cluster problems, use 'kubectl cluster-info dump'.")
    return 0

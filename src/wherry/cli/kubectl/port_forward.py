"""`kubectl port-forward`: each local connection is carried by a WebSocket of its own."""

import contextlib
import socket
import sys
import threading
from typing import Any

from wherry.cli.kubectl.errors import KubectlError, UsageError
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.pods import first_pod, target_object
from wherry.cli.kubectl.selection import Found
from wherry.cli.kubectl.session import Session
from wherry.cli.kubectl.websocket import WebSocket, connect

HELP = "Forward one or more local ports to a pod."
EXAMPLES = """
# Listen on ports 5000 and 6000 locally, forward to the same ports in the pod
kubectl port-forward pod/mypod 5000 6000

# Listen on port 8443, forward to the port named https of a service
kubectl port-forward service/myservice 8443:https

# Listen on a random port
kubectl port-forward pod/mypod :5000
"""
USAGE = "TYPE/NAME [options] [LOCAL_PORT:]REMOTE_PORT [...[LOCAL_PORT_N:]REMOTE_PORT_N]"
FLAGS = (
    Flag("address", "", "list", ("localhost",), "Addresses to listen on."),
    Flag("pod-running-timeout", "", "duration", 60.0, "How long to wait for a pod of a workload."),
)


def run(session: Session) -> int:
    options = session.options
    arguments = options.arguments
    if len(arguments) < 2:
        raise UsageError("TYPE/NAME and list of ports are required for port-forward")
    found = target_object(session, arguments[0])
    pod = found if found.resource.kind == "Pod" else first_pod(session, found)
    phase = (pod.object.get("status") or {}).get("phase")
    if phase != "Running":
        raise KubectlError(f"unable to forward port because pod is not running. Current status={phase}")
    pairs = [_pair(session, word, found, pod) for word in arguments[1:]]
    listeners: list[tuple[socket.socket, int]] = []
    failed: list[str] = []
    for local, remote_port in pairs:
        opened = False
        for address in options["address"]:
            hosts = ["127.0.0.1", "::1"] if address == "localhost" else [address]
            for host in hosts:
                try:
                    listener = _listen(host, local)
                except OSError as error:
                    failed.append(
                        f"listen tcp{6 if ':' in host else 4} {f'[{host}]' if ':' in host else host}:{local}: "
                        f"bind: {(error.strerror or str(error)).lower()}"
                    )
                    continue
                local = listener.getsockname()[1]
                shown = f"[{host}]" if ":" in host else host
                print(f"Forwarding from {shown}:{local} -> {remote_port}", flush=True)
                listeners.append((listener, remote_port))
                opened = True
        if not opened:
            detail = " ".join(failed)
            raise KubectlError(
                f"unable to listen on port {local}: Listeners failed to create with the following "
                f"errors: [unable to create listener: Error {detail}]\nerror: unable to listen on any "
                f"of the requested ports: [{{{local} {remote_port}}}]",
                prefix="",
            )
    path = pod.resource.path(pod.namespace, pod.name, "portforward")
    for listener, remote_port in listeners:
        threading.Thread(target=_accept, args=(session, listener, path, remote_port), daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()
    return 0


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if ":" in host:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        listener.bind((host, port))
        listener.listen(64)
    except OSError:
        listener.close()
        raise
    return listener


def _pair(session: Session, word: str, found: Found, pod: Found) -> tuple[int, int]:
    local, colon, wanted = word.partition(":")
    if not colon:
        wanted = local
    target = _pod_port(wanted, found, pod)
    if colon and not local:
        return 0, target
    if not colon and not wanted.isdigit():
        return _service_or_pod_number(wanted, found, target), target
    if not local.isdigit() or not 0 <= int(local) <= 65535:
        raise KubectlError(
            f"error parsing local port '{local}': strconv.ParseUint: parsing \"{local}\": invalid syntax"
        )
    return int(local), target


def _service_or_pod_number(name: str, found: Found, target: int) -> int:
    for port in (found.object.get("spec") or {}).get("ports") or ():
        if port.get("name") == name:
            return int(port["port"])
    return target


def _pod_port(word: str, found: Found, pod: Found) -> int:
    """The number of the pod's port that a number or a name means; through a service's ports when it is one."""
    wanted: Any = int(word) if word.isdigit() else word
    if found.resource.kind == "Service":
        for port in (found.object.get("spec") or {}).get("ports") or ():
            if wanted in (port["port"], port.get("name")):
                if (found.object["spec"].get("clusterIP")) == "None" and isinstance(wanted, int):
                    return wanted
                wanted = port.get("targetPort") or port["port"]
                break
        else:
            raise KubectlError(
                f"Service {found.name} does not have a service port {word}"
                if isinstance(wanted, int)
                else f"Service '{found.name}' does not have a named port '{word}'"
            )
    if isinstance(wanted, int):
        if not 0 < wanted <= 65535:
            raise KubectlError("remote port must be > 0")
        return wanted
    for container in pod.object["spec"].get("containers") or ():
        for port in container.get("ports") or ():
            if port.get("name") == wanted:
                return int(port["containerPort"])
    raise KubectlError(f"Pod '{pod.name}' does not have a named port '{wanted}'")


def _accept(session: Session, listener: socket.socket, path: str, port: int) -> None:
    while True:
        connection, _ = listener.accept()
        print(f"Handling connection for {listener.getsockname()[1]}", flush=True)
        threading.Thread(target=_forward, args=(session, connection, path, port), daemon=True).start()


def _forward(session: Session, connection: socket.socket, path: str, port: int) -> None:
    from wherry.cli.kubectl.http import HTTP

    # A client of its own: connections are opened by several threads at once.
    http = HTTP(session.access)
    try:
        ws = connect(http, path, {"ports": str(port)}, ["v4.channel.k8s.io"])
    except KubectlError as error:
        print(f"error: error creating forwarding stream for port {port}: {error}", file=sys.stderr)
        connection.close()
        return
    threading.Thread(target=_outward, args=(connection, ws), daemon=True).start()
    headers = {0: True, 1: True}
    for message in ws.messages():
        if not message:
            continue
        channel, data = message[0], message[1:]
        if headers.pop(channel, False):
            data = data[2:]
        if channel == 1 and data:
            print(
                f"E portforward: an error occurred forwarding {connection.getsockname()[1]} -> {port}: "
                f"{data.decode(errors='replace')}",
                file=sys.stderr,
            )
            break
        if channel == 0 and data:
            try:
                connection.sendall(data)
            except OSError:
                break
    ws.close()
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def _outward(connection: socket.socket, ws: WebSocket) -> None:
    try:
        while data := connection.recv(65536):
            ws.send(b"\0" + data)
    except OSError:
        pass
    ws.close()

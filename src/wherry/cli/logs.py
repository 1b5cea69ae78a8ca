"""`wherry logs`: what Wherry's own processes say, or what containers and pods say, side by side.

A pod's containers are containers of the engine, so one kind of stream serves all: names and labels choose which.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from wherry.docker_api.client import DockerClient
from wherry.host.instance import Instance

COLOURS = ("cyan", "yellow", "green", "magenta", "blue", "bright_cyan", "bright_yellow", "bright_green")
POD_UID, POD_NAME, POD_NAMESPACE, CONTAINER = (
    "io.kubernetes.pod.uid",
    "io.kubernetes.pod.name",
    "io.kubernetes.pod.namespace",
    "io.kubernetes.container.name",
)
FOLLOW_SECONDS = 0.2


class Printer:
    """Writes whole lines of several streams to standard output, each with its name in front."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._width = 0
        self._colours: dict[str, str] = {}

    def add(self, name: str) -> None:
        with self._lock:
            self._width = max(self._width, len(name))
            self._colours.setdefault(name, COLOURS[len(self._colours) % len(COLOURS)])

    def line(self, name: str, text: bytes) -> None:
        with self._lock:
            label = click.style(f"{name:<{self._width}} |", fg=self._colours[name])
            click.echo(f"{label} {text.decode(errors='replace')}")


def own_logs(instance: Instance, follow: bool, tail: int) -> None:
    """The logs of Wherry's processes, the last `tail` lines of each, then what comes."""
    printer = Printer()
    paths = sorted(instance.log_dir.glob("wherry-*.log")) + sorted(instance.log_dir.glob("wherry-*.err"))
    if not paths:
        if instance.log_dir.exists() and not os.access(instance.log_dir, os.R_OK):
            raise click.ClickException(f"{instance.log_dir} is root's: run the command with sudo")
        raise click.ClickException(f"no logs in {instance.log_dir}: Wherry has not run here")
    for path in paths:
        printer.add(path.name)
    positions = {path: print_tail(path, printer, tail) for path in paths}
    while follow:
        for path in paths:
            positions[path] = print_new(path, printer, positions[path])
        time.sleep(FOLLOW_SECONDS)


def print_tail(path: Path, printer: Printer, count: int) -> int:
    """Prints the last lines; returns the position of the end."""
    data = path.read_bytes()
    for line in data.splitlines()[-count:] if count else ():
        printer.line(path.name, line)
    return len(data)


def print_new(path: Path, printer: Printer, position: int) -> int:
    """Prints whole lines after `position`; a file that has become shorter was rotated and is read anew."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return 0
    if size < position:
        position = 0
    if size == position:
        return position
    with path.open("rb") as file:
        file.seek(position)
        data = file.read(size - position)
    whole = data.rfind(b"\n") + 1
    for line in data[:whole].splitlines():
        printer.line(path.name, line)
    return position + whole


class Chooser:
    """Says which containers are meant: by name, by container label, or by the labels of their pod."""

    def __init__(self, instance: Instance, names: tuple[str, ...], selector: str) -> None:
        self._instance = instance
        self._names = names
        self._selector = selector
        self._pods: dict[str, dict[str, str]] = {}

    def chooses(self, container: dict[str, Any]) -> bool:
        from wherry.schema.selectors import parse_labels

        labels: dict[str, str] = container.get("Labels") or {}
        if self._names:
            known = {name.removeprefix("/") for name in container.get("Names") or ()}
            known |= {labels.get(POD_NAME, ""), labels.get("com.docker.compose.service", ""), container["Id"][:12]}
            if not known & set(self._names):
                return False
        if not self._selector:
            return True
        try:
            selector = parse_labels(self._selector)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--selector") from None
        return selector.matches(labels) or selector.matches(self.pod_labels(labels.get(POD_UID, "")))

    def pod_labels(self, uid: str) -> dict[str, str]:
        """The labels of the pod with this UID; the API is asked when it is a new one."""
        if uid and uid not in self._pods:
            self._pods |= {
                pod["metadata"]["uid"]: pod["metadata"].get("labels") or {} for pod in list_pods(self._instance)
            }
        return self._pods.get(uid, {})


def list_pods(instance: Instance) -> list[dict[str, Any]]:
    """Every pod of the cluster; empty when there is none or it does not answer."""
    import http.client
    import json

    from wherry.cli.status import api_server
    from wherry.client.kubeconfig import load

    try:
        host, port = api_server(instance)
        connection = http.client.HTTPSConnection(host, port, timeout=5, context=load(instance.kubeconfig).tls)
        connection.request("GET", "/api/v1/pods")
        found: list[dict[str, Any]] = json.loads(connection.getresponse().read()).get("items") or []
        return found
    except (OSError, http.client.HTTPException, ValueError, KeyError):
        return []


def shown_name(container: dict[str, Any]) -> str:
    """`pod/container` for a pod's container, else the container's name."""
    labels: dict[str, str] = container.get("Labels") or {}
    if POD_NAME in labels:
        return f"{labels[POD_NAME]}/{labels.get(CONTAINER, '')}"
    return str((container.get("Names") or [container["Id"][:12]])[0]).removeprefix("/")


def stream(client: DockerClient, container: dict[str, Any], printer: Printer, follow: bool, tail: str) -> None:
    """Prints one container's log until it ends (or the container does, when followed)."""
    name = shown_name(container)
    query = {"stdout": 1, "stderr": 1, "follow": int(follow), "tail": tail}
    response = client.call("GET", f"/containers/{container['Id']}/logs", query)
    framed = response.headers.get("content-type", "") != "application/vnd.docker.raw-stream"
    pieces = (data for _, data in response.frames()) if framed else response.chunks()
    for line in lines_of(pieces):
        printer.line(name, line)


def lines_of(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Whole lines out of pieces; what is left at the end is a line too."""
    pending = b""
    for piece in pieces:
        *whole, pending = (pending + piece).split(b"\n")
        yield from whole
    if pending:
        yield pending


def container_logs(instance: Instance, names: tuple[str, ...], selector: str, follow: bool, tail: str) -> None:
    client = DockerClient(f"unix://{instance.docker_socket}")
    chooser, printer = Chooser(instance, names, selector), Printer()
    chosen = [container for container in client.get("/containers/json", {"all": True}) if chooser.chooses(container)]
    if not chosen and not follow:
        raise click.ClickException("no container or pod matches")
    for container in chosen:
        printer.add(shown_name(container))
    if not follow:
        for container in sorted(chosen, key=shown_name):
            stream(client, container, printer, False, tail)
        return
    running = [container for container in chosen if container["State"] == "running"]
    begin = start_in_threads(client, printer, tail)
    for container in running:
        begin(container)
    for event in client.call("GET", "/events", {"filters": {"type": ["container"], "event": ["start"]}}).json_lines():
        found = client.get("/containers/json", {"filters": {"id": [event["Actor"]["ID"]]}})
        if found and chooser.chooses(found[0]):
            printer.add(shown_name(found[0]))
            begin(found[0])


def start_in_threads(client: DockerClient, printer: Printer, tail: str) -> Callable[[dict[str, Any]], None]:
    """A function that follows a container in a thread of its own."""

    def begin(container: dict[str, Any]) -> None:
        threading.Thread(target=stream, args=(client, container, printer, True, tail), daemon=True).start()

    return begin


@click.command()
@click.argument("names", nargs=-1)
@click.option("-l", "--selector", default="", help="Containers and pods with these labels, e.g. app=web.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, also from new containers and pods.")
@click.option(
    "-n",
    "--tail",
    default=None,
    type=click.IntRange(min=0),
    help="Only the last lines of each (all; 50 of Wherry's own).",
)
@click.pass_obj
def logs(instance: Instance, names: tuple[str, ...], selector: str, follow: bool, tail: int | None) -> None:
    """Show logs: of Wherry's own processes, or of the containers, services and pods that are named or selected."""
    from wherry.cli.state import start_command
    from wherry.docker_api.client import CannotConnect, DockerError

    try:
        if names or selector:
            container_logs(instance, names, selector, follow, "all" if tail is None else str(tail))
        else:
            own_logs(instance, follow, 50 if tail is None else tail)
    except KeyboardInterrupt:
        # At once: threads that still follow a container would be in the way of Python's orderly end.
        sys.stdout.flush()
        os._exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except DockerError as error:
        raise click.ClickException(str(error)) from None
    except CannotConnect as error:
        raise click.ClickException(f"{error}\nStart it with: {start_command(instance)}") from None

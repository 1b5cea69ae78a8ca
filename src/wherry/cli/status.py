"""`wherry status`: what runs, and whether it answers."""

import http.client
import json
import socket
import ssl
import time
from pathlib import Path
from typing import Any

import click

from wherry.cli.state import memory_kib, read_state, start_command
from wherry.host.instance import Instance

TIMEOUT = 5.0


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self.unix_path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(self.unix_path)


def ask_engine(instance: Instance) -> dict[str, Any]:
    """GET /info. Raises OSError or HTTPException when the engine does not answer."""
    connection = UnixConnection(instance.docker_socket)
    try:
        connection.request("GET", "/info")
        response = connection.getresponse()
        info: dict[str, Any] = json.loads(response.read())
        if response.status != 200:
            raise http.client.HTTPException(info.get("message", f"status {response.status}"))
        return info
    finally:
        connection.close()


def api_server(instance: Instance) -> tuple[str, int]:
    """Host and port of the API server as the kubeconfig has them. Raises OSError, ValueError when there is none."""
    import yaml

    config = yaml.safe_load(instance.kubeconfig.read_text())
    host, _, port = config["clusters"][0]["cluster"]["server"].removeprefix("https://").rpartition(":")
    return host.strip("[]"), int(port)


def ask_server(instance: Instance) -> str:
    """GET /readyz, checked against the instance's own CA: "ok", or the failing checks."""
    host, port = api_server(instance)
    context = ssl.create_default_context(cafile=str(instance.pki_dir / "ca.crt"))
    connection = http.client.HTTPSConnection(host, port, timeout=TIMEOUT, context=context)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        text = response.read().decode(errors="replace").strip()
        return "ok" if response.status == 200 else text
    finally:
        connection.close()


def age(seconds: float) -> str:
    """`42s`, `7m`, `3h`, `2d`."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)}{unit}"
    return f"{int(seconds)}s"


@click.command()
@click.pass_obj
def status(instance: Instance) -> None:
    """Show what runs and how it is. Exit code 0 when all is well, 1 when something is wrong, 3 when nothing runs."""
    state = read_state(instance)
    click.echo(f"Instance {instance.id}: root {instance.root}, run {instance.run}")
    if not state.any_alive:
        click.echo(f"Wherry is not running. Start it with: {start_command(instance)}")
        raise SystemExit(3)
    problems = []
    if not state.pid:
        problems.append("the supervisor is not running: what dies now stays dead until the next `wherry up`")
    else:
        click.echo(f"{'supervisor':<14} pid {state.pid}, {memory_kib(state.pid) // 1024} MiB")
    for process in state.processes:
        if not process.alive:
            problems.append(f"{process.name} is not running (last: {process.last_exit}); see {instance.log_dir}")
            continue
        ready = "ready" if process.ready_after is not None else "not ready yet"
        restarts = f", {process.restarts} restarts (last: {process.last_exit})" if process.restarts else ""
        click.echo(
            f"{process.name:<14} pid {process.pid}, {ready}, up {age(time.time() - process.started)}, "
            f"{memory_kib(process.pid) // 1024} MiB{restarts}"
        )
        if process.ready_after is None:
            problems.append(f"{process.name} is not ready: {process.status or 'it has not said why'}")
    try:
        info = ask_engine(instance)
        click.echo(
            f"Engine         {instance.docker_socket}: {info['ContainersRunning']} of {info['Containers']} containers "
            f"running, {info['Images']} images"
        )
    except PermissionError:
        problems.append(f"{instance.docker_socket} is root's: run the command with sudo to see more")
    except (OSError, http.client.HTTPException, ValueError) as error:
        problems.append(f"the engine does not answer on {instance.docker_socket}: {error}")
    if state.process("wherry-server"):
        try:
            answer = ask_server(instance)
            host, port = api_server(instance)
            click.echo(f"Kubernetes API https://{host}:{port}: {answer}")
            if answer != "ok":
                problems.append(f"the API server is not ready: {answer}")
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            problems.append(f"the API server does not answer: {error}")
        node = state.process("wherry-node")
        if node and node.status:
            click.echo(f"Node           {node.status}")
    for problem in problems:
        click.echo(f"Problem: {problem}", err=True)
    if problems:
        raise SystemExit(1)

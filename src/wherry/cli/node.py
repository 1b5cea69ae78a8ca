"""`wherry-node`: the container engine with its API, and this machine's part of the cluster."""

import asyncio
import logging
import sys
from typing import TYPE_CHECKING

import click

from wherry.cli import process
from wherry.cli.notify import notify
from wherry.host.instance import Instance, open_instance

if TYPE_CHECKING:
    from wherry.docker_api.server import TcpAddress
    from wherry.engine.engine import Engine

log = logging.getLogger(__name__)

RETRY_FIRST, RETRY_MAX = 0.5, 15.0


async def serve(instance: Instance, stop: asyncio.Event, *, engine_only: bool, tcp: "list[TcpAddress]") -> None:
    """Runs until `stop`. Containers keep running afterwards."""
    from wherry.docker_api.server import serve as serve_docker_api
    from wherry.engine.engine import Engine

    engine = await Engine.open(instance)
    server = await serve_docker_api(engine, instance.docker_socket, tcp=tcp)
    log.info("engine serving on %s", ", ".join(server.addresses))
    cluster = None
    if engine_only:
        notify("READY=1\nSTATUS=engine is serving")
    else:
        notify("STATUS=engine is serving; joining the cluster")
        cluster = asyncio.create_task(keep_joined(engine), name="cluster")
    await stop.wait()
    if cluster is not None:
        cluster.cancel()
        await asyncio.gather(cluster, return_exceptions=True)
    await server.close()
    await engine.close()


async def keep_joined(engine: "Engine") -> None:
    """This machine's part of the cluster; what fails is said and tried again, and the engine goes on meanwhile."""
    from wherry.cli.cluster_node import run_cluster_node

    delay = RETRY_FIRST
    while True:
        try:
            await run_cluster_node(engine, on_ready=_ready)
            raise RuntimeError("it ended by itself")
        except Exception as error:
            log.exception("the cluster part of this node failed; again in %.1f s", delay)
            notify(f"STATUS=not part of the cluster: {process.innermost(error)}")
        await asyncio.sleep(delay)
        delay = min(delay * 2, RETRY_MAX)


def _ready(name: str) -> None:
    notify(f"READY=1\nSTATUS=node {name} is Ready")


def parse_tcp(
    text: str | None, *, ca: str | None, cert: str | None, key: str | None, insecure: bool
) -> "list[TcpAddress]":
    """`HOST:PORT` as an address to listen on. Raises click.BadParameter."""
    if not text:
        return []
    from pathlib import Path

    from wherry.docker_api.server import TcpAddress, TlsFiles

    host, _, port = text.removeprefix("tcp://").rpartition(":")
    if not port.isdigit():
        raise click.BadParameter(f"{text!r} is not HOST:PORT", param_hint="--tcp")
    tls = TlsFiles(Path(ca), Path(cert), Path(key)) if ca and cert and key else None
    return [TcpAddress(host.strip("[]") or "127.0.0.1", int(port), tls, insecure)]


@click.command()
@click.option("--root", type=click.Path(), help="State directory.")
@click.option("--run", type=click.Path(), help="Runtime directory.")
@click.option("--engine-only", is_flag=True, help="Only the container engine.")
@click.option("--tcp", metavar="HOST:PORT", help="Also serve the Docker API there.")
@click.option("--tls-ca", type=click.Path(exists=True), help="CA that signs the clients' certificates.")
@click.option("--tls-cert", type=click.Path(exists=True), help="The server's certificate.")
@click.option("--tls-key", type=click.Path(exists=True), help="The server's key.")
@click.option(
    "--tcp-without-tls-gives-root-to-everyone",
    "insecure",
    is_flag=True,
    help="Serve plain TCP beyond loopback: whoever reaches it is root on this machine.",
)
@click.option("--verbose", is_flag=True, help="Log more.")
def main(
    root: str | None,
    run: str | None,
    engine_only: bool,
    tcp: str | None,
    tls_ca: str | None,
    tls_cert: str | None,
    tls_key: str | None,
    insecure: bool,
    verbose: bool,
) -> None:
    """The container engine and this machine's part of the cluster. Normally started by `wherry up`."""
    instance = open_instance(root, run)
    addresses = parse_tcp(tcp, ca=tls_ca, cert=tls_cert, key=tls_key, insecure=insecure)
    process.set_up_logging(instance, "wherry-node", verbose)

    async def body(stop: asyncio.Event) -> None:
        await serve(instance, stop, engine_only=engine_only, tcp=addresses)

    sys.exit(process.run(body))

"""`wherry-server`: the cluster's API server, controllers and scheduler in one process."""

import asyncio
import logging
import os
import sys
import time
from typing import TYPE_CHECKING

import click

from wherry.cli import process
from wherry.cli.cluster_file import load_or_choose
from wherry.cli.notify import notify
from wherry.host.instance import Instance, open_instance
from wherry.host.memory import few_arenas

if TYPE_CHECKING:
    from wherry.controllers.certificates import Asked, Sign
    from wherry.controllers.service_account_tokens import Issue
    from wherry.kube_api.pki import Pki
    from wherry.kube_api.server import ApiServer
    from wherry.kube_api.tokens import TokenSigner
    from wherry.schema.resource import Object

log = logging.getLogger(__name__)


async def serve(instance: Instance, stop: asyncio.Event, api_port: int, explain: bool, audit_log: bool = False) -> None:
    """Runs until `stop`; raises what ends a part of it before."""
    from wherry.kube_api.options import ServerOptions
    from wherry.kube_api.server import ApiServer
    from wherry.store.choice import load as load_store_choice

    few_arenas()
    cluster = load_or_choose(instance, api_port=api_port)
    store = load_store_choice(instance.root)
    options = ServerOptions(
        port=cluster.api_port,
        service_cidr=cluster.service_cidr,
        advertise_address=cluster.node_gateway,
        etcd_endpoints=store.endpoints,
        etcd_ca=store.ca,
        etcd_cert=store.cert,
        etcd_key=store.key,
        audit_log=audit_log,
    )
    server = ApiServer(instance, options)
    await server.start()
    os.chmod(instance.kubeconfig, 0o600)
    workers = asyncio.create_task(run_workers(server, explain), name="controllers and scheduler")
    notify(f"READY=1\nSTATUS=serving on {server.url}")
    log.info("serving on %s", server.url)
    stopped = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait({workers, stopped}, return_when=asyncio.FIRST_COMPLETED)
    workers.cancel()
    await asyncio.gather(workers, return_exceptions=True)
    await server.stop()
    if workers in done:
        workers.result()  # raises what ended it: the supervisor starts us again
        raise RuntimeError("controllers and scheduler ended by themselves")


def signer(pki: "Pki") -> "Sign":
    """Signs certificate requests with the cluster's CA."""
    from wherry.kube_api.pki import sign_request

    def sign(request: bytes, asked: "Asked", client: bool, server: bool, seconds: float) -> bytes:
        days = seconds / 86_400
        return sign_request(
            pki.ca, request, asked.name, asked.groups, asked.names, client=client, server=server, days=days
        )

    return sign


LASTING_SECONDS = 100 * 365 * 86_400


def issuer(server: "ApiServer") -> "Issue":
    """Makes the tokens that Secrets hold: they end with their Secret."""

    tokens: TokenSigner = server.api.services["tokens"]

    def issue(account: "Object", secret: "Object") -> str:
        token, _ = tokens.issue(
            namespace=account["metadata"]["namespace"],
            account=account["metadata"]["name"],
            uid=account["metadata"]["uid"],
            audiences=tokens.audiences,
            seconds=LASTING_SECONDS,
            now=time.time(),
            bound=("Secret", secret["metadata"]["name"], secret["metadata"]["uid"], "", ""),
        )
        return token

    return issue


async def run_workers(server: "ApiServer", explain: bool) -> None:
    """Controllers and scheduler over one set of informers."""
    from wherry.cli.explaining import PATH, Explainer
    from wherry.controllers.manager import ControllerManager, ControllerOptions
    from wherry.scheduler.scheduler import Scheduler

    client = server.client()
    options = ControllerOptions(
        root_ca=server.pki.ca.cert.read_text(),
        volumes=server.instance.root / "persistent-volumes",
        cluster_cidr=load_or_choose(server.instance).cluster_cidr,
        sign=signer(server.pki),
        issue=issuer(server),
        explain=explain,
    )
    manager = ControllerManager(client, options=options)
    scheduler = Scheduler(client, informers=manager.informers)
    server.documents[PATH] = Explainer(client, manager, scheduler).answer
    async with asyncio.TaskGroup() as group:
        group.create_task(manager.run(), name="controllers")
        group.create_task(scheduler.run(), name="scheduler")


@click.command()
@click.option("--root", type=click.Path(), help="State directory.")
@click.option("--run", type=click.Path(), help="Runtime directory.")
@click.option("--api-port", type=int, default=0, help="Port of the Kubernetes API.")
@click.option("--explain", is_flag=True, help="Log every decision of every controller.")
@click.option("--audit-log", is_flag=True, help="Note every request in log/audit.log.")
@click.option("--verbose", is_flag=True, help="Log more.")
def main(root: str | None, run: str | None, api_port: int, explain: bool, audit_log: bool, verbose: bool) -> None:
    """The cluster's API server, scheduler and controllers. Normally started by `wherry up`."""
    instance = open_instance(root, run)
    process.set_up_logging(instance, "wherry-server", verbose)

    async def body(stop: asyncio.Event) -> None:
        await serve(instance, stop, api_port, explain, audit_log)

    sys.exit(process.run(body))

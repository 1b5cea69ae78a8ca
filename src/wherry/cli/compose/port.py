"""`compose port`."""

import click

from wherry.cli.compose.session import Session
from wherry.compose.errors import ComposeError


@click.command()
@click.option("--index", type=int, default=0, help="Index of the container if service has multiple replicas.")
@click.option("--protocol", type=click.Choice(["tcp", "udp", "sctp"]), default="tcp")
@click.argument("service")
@click.argument("private_port", type=int)
@click.pass_obj
def port(session: Session, index: int, protocol: str, service: str, private_port: int) -> None:
    """Print the public port for a port binding."""
    container = session.one_container(service, index)
    bindings = session.client.get(f"/containers/{container['Id']}/json")["NetworkSettings"]["Ports"] or {}
    found = bindings.get(f"{private_port}/{protocol}") or []
    if not found:
        name = container["Names"][0].removeprefix("/")
        raise ComposeError(f"no port {private_port}/{protocol} for container {name}: it is not published")
    click.echo(f"{found[0]['HostIp']}:{found[0]['HostPort']}")

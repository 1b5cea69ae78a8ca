"""`wherry env`: the environment that points the clients at an instance."""

import shlex
from pathlib import Path

import click

from wherry.cli.state import read_state
from wherry.host.instance import DEFAULT_ROOT, DEFAULT_RUN, Instance


def variables(instance: Instance) -> dict[str, str]:
    """What docker, docker-compose and kubectl need to find this instance."""
    found = {"DOCKER_HOST": f"unix://{instance.docker_socket}", "KUBECONFIG": str(instance.kubeconfig)}
    if instance.root != DEFAULT_ROOT:
        found["WHERRY_ROOT"] = str(instance.root)
    if instance.run != DEFAULT_RUN:
        found["WHERRY_RUN"] = str(instance.run)
    return found


@click.command()
@click.pass_obj
def env(instance: Instance) -> None:
    """Print the environment that points docker, docker-compose and kubectl at this instance.

    Use it as: eval "$(wherry env)"
    """
    for name, value in variables(instance).items():
        click.echo(f"export {name}={shlex.quote(value)}")
    if not read_state(instance).any_alive and not Path(instance.docker_socket).exists():
        click.echo("# Wherry is not running: start it with `wherry up`", err=True)

"""`wherry env`: the environment that points the clients at an instance, and the clients themselves."""

import os
import shlex
from pathlib import Path

import click

from wherry.cli import launchers
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
@click.option(
    "--clients",
    type=click.Choice(["auto", "wherry", "installed"]),
    default="auto",
    show_default=True,
    help="Whose docker, docker-compose and kubectl: Wherry's own first on PATH (wherry), only those that are "
    "installed (installed), or Wherry's own for those that are not (auto).",
)
@click.pass_obj
def env(instance: Instance, clients: str) -> None:
    """Print the environment that points docker, docker-compose and kubectl at this instance.

    Use it as: eval "$(wherry env)"
    """
    for name, value in variables(instance).items():
        click.echo(f"export {name}={shlex.quote(value)}")
    before = os.environ.get("PATH", os.defpath)
    after = launchers.path_with(launchers.folder(instance), before, clients)
    if str(launchers.folder(instance)) in after.split(os.pathsep):
        try:
            launchers.write(instance)
        except OSError as error:
            click.echo(f"# Wherry's own clients cannot be written to {error.filename}: {error.strerror}", err=True)
            after = before
    if after != before:
        click.echo(f"export PATH={shlex.quote(after)}")
    if not read_state(instance).any_alive and not Path(instance.docker_socket).exists():
        click.echo("# Wherry is not running: start it with `wherry up`", err=True)

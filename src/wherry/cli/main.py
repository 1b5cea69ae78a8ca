"""`wherry`: the command that starts, stops and explains an instance."""

import click

from wherry import __version__
from wherry.cli.lazy import LazyGroup

COMMANDS = {
    "up": ("wherry.cli.up", "up", "Start Wherry on this machine and wait until it is ready"),
    "down": ("wherry.cli.down", "down", "Stop Wherry; containers keep running unless told otherwise"),
    "status": ("wherry.cli.status", "status", "Show what runs and how it is"),
    "doctor": ("wherry.cli.doctor", "doctor", "Check what this machine has and what it lacks"),
    "env": ("wherry.cli.env", "env", "Print the environment that points docker and kubectl at this instance"),
    "docker": ("wherry.cli.docker.verb", "docker", "Docker's commands: run, ps, build, images, logs, exec, …"),
    "kubectl": ("wherry.cli.kubectl.verb", "kubectl", "kubectl's commands: get, apply, describe, logs, exec, …"),
    "compose": ("wherry.cli.compose.main", "compose", "Run applications of several containers from Compose files"),
    "simulate": ("wherry.cli.simulate", "simulate", "Simulate nodes without containers and measure scheduling"),
    "explain": ("wherry.cli.explain", "explain", "Say why a pod is where it is, or nowhere"),
    "logs": ("wherry.cli.logs", "logs", "Show the logs of Wherry itself, or of containers and pods"),
    "snapshot": ("wherry.cli.snapshot", "snapshot", "Save the cluster's data to a file, restore or inspect it"),
    "version": ("wherry.cli.version", "version", "Show the versions of Wherry and its parts"),
    "completion": ("wherry.cli.completion", "completion", "Print a shell's completion script"),
}

PLACE = click.Path(readable=False)
"""Who may not read a place is told by the verb what to do."""


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Begin with: sudo wherry up",
)
@click.option("--root", type=PLACE, metavar="DIR", help="State directory (WHERRY_ROOT; /var/lib/wherry).")
@click.option("--run", type=PLACE, metavar="DIR", help="Runtime directory (WHERRY_RUN; /run/wherry).")
@click.version_option(__version__, prog_name="wherry", message="%(prog)s %(version)s")
@click.pass_context
def main(context: click.Context, root: str | None, run: str | None) -> None:
    """Docker and Kubernetes in one small package."""
    from wherry.host.instance import open_instance

    context.obj = open_instance(root, run)
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
        context.exit(2)


if __name__ == "__main__":
    main()

"""`wherry version`: Wherry's version, and those of the APIs and parts it stands on."""

import platform
import subprocess

import click

from wherry import __version__

PARTS = {"crun": "--version", "conmon": "--version", "nft": "--version", "nginx": "-v"}


def part_version(program: str, flag: str) -> str:
    """The first line of what a program says of itself; "not found" when it is not there."""
    try:
        said = subprocess.run([program, flag], capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return "not found"
    lines = (said.stdout + said.stderr).strip().splitlines()
    return lines[0] if lines else "says nothing"


@click.command()
def version() -> None:
    """Show the versions of Wherry, of the APIs it serves, and of the parts it uses."""
    from wherry.docker_api.client import API_VERSION
    from wherry.schema.definitions import VERSION

    click.echo(f"Wherry             {__version__}")
    click.echo(f"Docker Engine API  {API_VERSION}")
    click.echo(f"Kubernetes API     {VERSION}")
    click.echo(f"Python             {platform.python_version()}")
    for program, flag in PARTS.items():
        click.echo(f"{program:<18} {part_version(program, flag)}")

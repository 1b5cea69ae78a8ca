"""`compose version`."""

import click

from wherry import __version__
from wherry.compose.names import COMPOSE_VERSION


@click.command()
@click.option("-f", "--format", "form", type=click.Choice(["pretty", "json"]), default="pretty")
@click.option("--short", is_flag=True, help="Shows only the version number.")
def version(form: str, short: bool) -> None:
    """Show the version: whose behaviour this is, and Wherry's own."""
    if short:
        click.echo(COMPOSE_VERSION)
    elif form == "json":
        click.echo(f'{{"version":"v{COMPOSE_VERSION}"}}')
    else:
        click.echo(f"Docker Compose version v{COMPOSE_VERSION} (Wherry {__version__})")

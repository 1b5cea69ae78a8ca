"""`wherry docker …`: the docker command as a verb of wherry."""

import os
import sys

import click

from wherry.host.instance import Instance


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []}
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def docker(instance: Instance, words: tuple[str, ...]) -> None:
    """Docker's commands on this instance. See: wherry docker --help"""
    from wherry.cli.docker.program import main

    os.environ["WHERRY_ROOT"], os.environ["WHERRY_RUN"] = str(instance.root), str(instance.run)
    os.environ["DOCKER_HOST"] = f"unix://{instance.docker_socket}"
    sys.exit(main(list(words)))

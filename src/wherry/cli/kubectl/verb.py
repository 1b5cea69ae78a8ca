"""`wherry kubectl …`: the kubectl command as a verb of wherry, on this instance's cluster."""

import os
import sys

import click

from wherry.host.instance import Instance


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []}
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def kubectl(instance: Instance, words: tuple[str, ...]) -> None:
    """kubectl's commands on this instance's cluster. See: wherry kubectl --help"""
    from wherry.cli.kubectl.main import main

    os.environ["WHERRY_ROOT"], os.environ["WHERRY_RUN"] = str(instance.root), str(instance.run)
    os.environ["KUBECONFIG"] = str(instance.kubeconfig)
    sys.exit(main(list(words)))

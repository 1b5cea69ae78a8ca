"""`wherry completion`: the script that makes a shell complete Wherry's verbs and options."""

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell: eval "$(wherry completion bash)"."""
    from click.shell_completion import get_completion_class

    from wherry.cli.main import main

    complete = get_completion_class(shell)
    assert complete is not None
    click.echo(complete(main, {}, "wherry", "_WHERRY_COMPLETE").source())

"""`compose cp`."""

import click

from wherry.cli.compose.session import Session
from wherry.compose.errors import ComposeError


@click.command()
@click.option("-a", "--archive", is_flag=True, help="Archive mode (copy all uid/gid information).")
@click.option("--all", "everything", is_flag=True, help="Include containers created by the run command.")
@click.option("-L", "--follow-link", is_flag=True, help="Always follow symbol link in SRC_PATH.")
@click.option("--index", type=int, default=0, help="Index of the container if service has multiple replicas.")
@click.argument("source")
@click.argument("target")
@click.pass_obj
def cp(
    session: Session, archive: bool, everything: bool, follow_link: bool, index: int, source: str, target: str
) -> None:
    """Copy files/folders between a service container and the local filesystem (SERVICE:PATH; - is a tar stream)."""
    from wherry.cli.docker.copying import copy_in, copy_out
    from wherry.cli.docker.errors import CliError
    from wherry.compose.names import ONEOFF, SERVICE
    from wherry.compose.steps import name_of, number_of

    from_service, from_path = _split(source)
    to_service, to_path = _split(target)
    if from_service and to_service:
        raise ComposeError("copying between services is not supported")
    service = from_service or to_service
    if not service:
        raise ComposeError("unknown copy direction: one side must be SERVICE:PATH")
    _, _, observed = session.observed([service])
    chosen = [
        one
        for one in sorted(observed.containers, key=number_of)
        if one["Labels"].get(SERVICE) == service
        and (everything or one["Labels"].get(ONEOFF) != "True")
        and (not index or number_of(one) == index)
    ]
    if not chosen:
        raise ComposeError(f'no container found for service "{service}"')
    try:
        if from_service:
            copy_out(session, chosen[0]["Id"], from_path, to_path, follow=follow_link, owners=archive)
            return
        for one in chosen:
            label = name_of(one)
            session.progress(f"{label} copy {from_path} to {label}:{to_path}", "Copying")
            copy_in(session, from_path, one["Id"], to_path, follow=follow_link, owners=archive)
            session.progress(f"{label} copy {from_path} to {label}:{to_path}", "Copied", "done")
    except CliError as error:
        raise ComposeError(error.message) from None
    session.close()


def _split(text: str) -> tuple[str, str]:
    """(service, path); the service is empty for a path on this machine."""
    if text.startswith(("/", ".")) or ":" not in text:
        return "", text
    service, _, path = text.partition(":")
    return service, path

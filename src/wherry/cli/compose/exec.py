"""`compose exec`."""

import sys

import click

from wherry.cli.compose.session import Session


@click.command(name="exec", context_settings={"allow_interspersed_args": False})
@click.option("-d", "--detach", is_flag=True, help="Detached mode: Run command in the background.")
@click.option("-e", "--env", "environment", multiple=True, metavar="NAME=VALUE", help="Set environment variables.")
@click.option("--index", type=int, default=0, help="Index of the container if service has multiple replicas.")
@click.option("-i", "--interactive/--no-interactive", default=True, hidden=True)
@click.option("-t", "--tty", is_flag=True, hidden=True)
@click.option("-T", "--no-tty", "--no-TTY", "no_tty", is_flag=True, help="Disable pseudo-TTY allocation.")
@click.option("--privileged", is_flag=True, help="Give extended privileges to the process.")
@click.option("-u", "--user", default="", help="Run the command as this user.")
@click.option("-w", "--workdir", default="", help="Path to workdir directory for this command.")
@click.argument("service")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_context
def exec_(
    context: click.Context,
    detach: bool,
    environment: tuple[str, ...],
    index: int,
    interactive: bool,
    tty: bool,
    no_tty: bool,
    privileged: bool,
    user: str,
    workdir: str,
    service: str,
    command: tuple[str, ...],
) -> None:
    """Execute a command in a running container."""
    from wherry.cli.compose.terminal import console_size, join, keep_size

    session: Session = context.obj
    container = session.one_container(service, index)
    is_tty = not no_tty and not detach and sys.stdin.isatty() and sys.stdout.isatty()
    body = {
        "AttachStdin": interactive and not detach,
        "AttachStdout": not detach,
        "AttachStderr": not detach,
        "Tty": is_tty,
        "Cmd": list(command),
        "Env": list(environment),
        "Privileged": privileged,
        "User": user,
        "WorkingDir": workdir,
    }
    client = session.client
    identity = client.post(f"/containers/{container['Id']}/exec", body=body)["Id"]
    if detach:
        client.post(f"/exec/{identity}/start", body={"Detach": True, "Tty": False})
        return
    size = {"ConsoleSize": console_size()} if is_tty else {}
    stream = client.hijack(f"/exec/{identity}/start", body={"Detach": False, "Tty": is_tty, **size})
    if is_tty:
        keep_size(client, f"/exec/{identity}/resize")
    join(stream, stdin=interactive, is_tty=is_tty)
    context.exit(client.get(f"/exec/{identity}/json")["ExitCode"] or 0)

"""`wherry compose`, `docker-compose` and `docker compose`: the global options, and which verb is where."""

import os
import sys
import threading
from typing import NoReturn

import click

from wherry.cli.compose.session import Options, Session
from wherry.cli.lazy import LazyGroup

WORKERS = "compose"
"""How the names of the threads that carry out steps begin."""
_PLACE = "wherry.cli.compose."
COMMANDS = {
    name: (_PLACE + module, attribute, text)
    for name, module, attribute, text in (
        ("attach", "attach", "attach", "Attach local standard input, output, and error streams to a running container"),
        ("build", "build", "build", "Build or rebuild services"),
        ("config", "config", "config", "Parse, resolve and render compose file in canonical format"),
        ("convert", "config", "config", "Another name of config"),
        ("cp", "cp", "cp", "Copy files/folders between a service container and the local filesystem"),
        ("create", "create", "create", "Creates containers for a service"),
        ("down", "down", "down", "Stop and remove containers, networks"),
        ("events", "events", "events", "Receive real time events from containers"),
        ("exec", "exec", "exec_", "Execute a command in a running container"),
        ("images", "images", "images", "List images used by the created containers"),
        ("kill", "kill", "kill", "Force stop service containers"),
        ("logs", "logs", "logs", "View output from containers"),
        ("ls", "ls", "ls", "List running compose projects"),
        ("pause", "pause", "pause", "Pause services"),
        ("port", "port", "port", "Print the public port for a port binding"),
        ("ps", "ps", "ps", "List containers"),
        ("pull", "pull", "pull", "Pull service images"),
        ("push", "push", "push", "Push service images"),
        ("restart", "restart", "restart", "Restart service containers"),
        ("rm", "rm", "rm", "Removes stopped service containers"),
        ("run", "run", "run", "Run a one-off command on a service"),
        ("scale", "scale", "scale", "Scale services"),
        ("start", "start", "start", "Start services"),
        ("stats", "stats", "stats", "Display a live stream of container(s) resource usage statistics"),
        ("stop", "stop", "stop", "Stop services"),
        ("top", "top", "top", "Display the running processes"),
        ("unpause", "unpause", "unpause", "Unpause services"),
        ("up", "up", "up", "Create and start containers"),
        ("version", "version", "version", "Show the Docker Compose version information"),
        ("volumes", "volumes", "volumes", "List volumes"),
        ("wait", "wait", "wait", "Block until containers of all (or specified) services stop."),
    )
}

REFUSED = {
    "watch": "`watch` is not supported: run `up --build` after a change",
    "export": "`export` is not supported: use `docker export`",
    "commit": "`commit` is not supported: use `docker commit`",
    "publish": "`publish` is not supported: Compose files are not sent to registries",
    "bridge": "`bridge` is not supported",
}


class ComposeGroup(LazyGroup):
    """Adds to a lazy group: names of commands that are refused, and errors told as Docker Compose tells them."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] in REFUSED:
            raise click.ClickException(REFUSED[args[0]])
        if args and args[0] not in self.lazy and not args[0].startswith("-"):
            raise click.ClickException(f'unknown docker command: "compose {args[0]}"')
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:  # noqa: RET503 - `leave` does not come back
        from wherry.compose.errors import ComposeError
        from wherry.compose.interpolate import InterpolationError
        from wherry.docker_api.client import CannotConnect, DockerError

        try:
            return super().invoke(ctx)
        except click.exceptions.Exit as end:
            leave(end.exit_code)
        except DockerError as error:
            message = f"Error response from daemon: {error.message}"
        except CannotConnect as error:
            from wherry.cli import hints

            found = ctx.find_object(Session)
            message = f"{error}\n{hints.engine(found.client.host) if found else ''}".rstrip()
        except (ComposeError, InterpolationError) as error:
            message = str(error)
        except KeyboardInterrupt:
            message = ""
        session = ctx.find_object(Session)
        if session is not None:
            session.close()
        if message:
            click.echo(message, err=True)
        leave(1 if message else 130)


def leave(code: int) -> NoReturn:
    """Ends the command; at once when threads still wait for the daemon, for there is nothing for them to save."""
    sys.stdout.flush()
    sys.stderr.flush()
    if any(thread.name.startswith(WORKERS) for thread in threading.enumerate()):
        os._exit(code)
    raise click.exceptions.Exit(code)


@click.group(
    cls=ComposeGroup,
    lazy=COMMANDS,
    name="compose",
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=True,
)
@click.option("--all-resources", is_flag=True, help="Include all resources, even those not used by services.")
@click.option("--ansi", type=click.Choice(["never", "always", "auto"]), help="When to print ANSI control characters.")
@click.option("--compatibility", is_flag=True, help="Name containers as Docker Compose 1 did: with underscores.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--env-file", multiple=True, metavar="FILE", help="An alternate environment file.")
@click.option("-f", "--file", "files", multiple=True, metavar="FILE", help="Compose configuration files.")
@click.option("-H", "--host", metavar="HOST", help="Daemon socket to connect to (DOCKER_HOST).")
@click.option("--parallel", type=int, default=None, help="Control max parallelism, -1 for unlimited.")
@click.option("--profile", "profiles", multiple=True, metavar="NAME", help="Specify a profile to enable.")
@click.option(
    "--progress",
    type=click.Choice(["auto", "tty", "plain", "json", "quiet"]),
    help="Set type of progress output.",
)
@click.option("--project-directory", "--workdir", metavar="DIR", help="An alternate working directory.")
@click.option("-p", "--project-name", metavar="NAME", help="Project name.")
@click.option("--verbose", is_flag=True, hidden=True)
@click.option("--no-ansi", is_flag=True, hidden=True)
@click.option("-v", "--version", "show_version", is_flag=True, help="Show the version information.")
@click.pass_context
def compose(
    context: click.Context,
    all_resources: bool,
    ansi: str | None,
    compatibility: bool,
    dry_run: bool,
    env_file: tuple[str, ...],
    files: tuple[str, ...],
    host: str | None,
    parallel: int | None,
    profiles: tuple[str, ...],
    progress: str | None,
    project_directory: str | None,
    project_name: str | None,
    verbose: bool,
    no_ansi: bool,
    show_version: bool,
) -> None:
    """Define and run multi-container applications with Docker."""
    from wherry.host.instance import Instance

    if show_version:
        context.invoke(_version_command())
        context.exit()
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
        context.exit()
    above = context.find_object(Instance)
    if above:
        os.environ["WHERRY_ROOT"], os.environ["WHERRY_RUN"] = str(above.root), str(above.run)
    context.obj = Session(
        Options(
            files=files,
            name=project_name,
            profiles=profiles,
            env_files=env_file,
            directory=project_directory,
            ansi="never" if no_ansi else ansi,
            progress=progress,
            parallel=parallel,
            compatible=compatibility,
            dry=dry_run,
            all_resources=all_resources,
            host=host or (f"unix://{above.docker_socket}" if above and "DOCKER_HOST" not in os.environ else None),
        )
    )


def _version_command() -> click.Command:
    from wherry.cli.compose.version import version

    return version


def program() -> None:
    """Entry point of the program `docker-compose`."""
    compose.main(prog_name="docker-compose")

"""`compose up`."""

import click

from wherry.cli.compose.session import Session
from wherry.compose.errors import ComposeError


def parse_scale(values: tuple[str, ...]) -> dict[str, int]:
    """`SERVICE=NUM` each. Raises ComposeError."""
    from wherry.compose.service_fields import MAX_REPLICAS

    found = {}
    for value in values:
        name, equals, count = value.partition("=")
        if not equals or not name or not count.isdigit():
            raise ComposeError(f"invalid --scale option {value!r}. Should be SERVICE=NUM")
        found[name] = int(count)
        if found[name] > MAX_REPLICAS:
            raise ComposeError(f"invalid --scale option {value!r}. At most {MAX_REPLICAS} containers can be asked for")
    return found


@click.command()
@click.option("--abort-on-container-exit", is_flag=True, help="Stops all containers if any container was stopped.")
@click.option("--abort-on-container-failure", is_flag=True, help="Stops all containers if any exited with failure.")
@click.option("--always-recreate-deps", is_flag=True, help="Recreate dependent containers.")
@click.option("--attach", multiple=True, metavar="SERVICE", help="Attach to these services only.")
@click.option("--attach-dependencies", is_flag=True, help="Also attach to dependencies.")
@click.option("--build/--no-build", "build", default=None, help="Build images before starting; or never.")
@click.option("-d", "--detach", is_flag=True, help="Run containers in the background.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--exit-code-from", metavar="SERVICE", help="Return the exit code of the service's container.")
@click.option("--force-recreate", is_flag=True, help="Recreate containers even if nothing changed.")
@click.option("--menu", is_flag=True, hidden=True)
@click.option("--no-attach", multiple=True, metavar="SERVICE", help="Do not attach to these services.")
@click.option("--no-color", is_flag=True, help="Produce monochrome output.")
@click.option("--no-deps", is_flag=True, help="Don't start linked services.")
@click.option("--no-log-prefix", is_flag=True, help="Don't print prefix in logs.")
@click.option("--no-recreate", is_flag=True, help="If containers already exist, don't recreate them.")
@click.option("--no-start", is_flag=True, help="Don't start the services after creating them.")
@click.option("--pull", type=click.Choice(["always", "missing", "never", "policy"]), default="policy")
@click.option("--quiet-build", is_flag=True, help="Suppress the build output.")
@click.option("--quiet-pull", is_flag=True, help="Pull without printing progress information.")
@click.option("--remove-orphans", is_flag=True, help="Remove containers for services not defined in the file.")
@click.option("-V", "--renew-anon-volumes", is_flag=True, help="Recreate anonymous volumes.")
@click.option("--scale", multiple=True, metavar="SERVICE=NUM", help="Scale SERVICE to NUM instances.")
@click.option("-t", "--timeout", type=int, default=None, help="Timeout in seconds for container shutdown.")
@click.option("--timestamps", is_flag=True, help="Show timestamps.")
@click.option("--wait", is_flag=True, help="Wait for services to be running|healthy. Implies detached mode.")
@click.option("--wait-timeout", type=int, default=None, help="Maximum duration in seconds to wait.")
@click.option("-w", "--watch", is_flag=True, help="Not supported.")
@click.option("-y", "--yes", is_flag=True, hidden=True)
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@click.pass_context
def up(
    context: click.Context,
    abort_on_container_exit: bool,
    abort_on_container_failure: bool,
    always_recreate_deps: bool,
    attach: tuple[str, ...],
    attach_dependencies: bool,
    build: bool | None,
    detach: bool,
    dry_run: bool,
    exit_code_from: str | None,
    force_recreate: bool,
    menu: bool,
    no_attach: tuple[str, ...],
    no_color: bool,
    no_deps: bool,
    no_log_prefix: bool,
    no_recreate: bool,
    no_start: bool,
    pull: str,
    quiet_build: bool,
    quiet_pull: bool,
    remove_orphans: bool,
    renew_anon_volumes: bool,
    scale: tuple[str, ...],
    timeout: int | None,
    timestamps: bool,
    wait: bool,
    wait_timeout: int | None,
    watch: bool,
    yes: bool,
    services: tuple[str, ...],
) -> None:
    """Create and start containers."""
    from wherry.cli.compose.convergence import Convergence
    from wherry.compose.images import ImageWishes
    from wherry.compose.steps import Wishes

    session: Session = context.obj
    if watch:
        raise ComposeError("--watch is not supported: run `up --build` after a change")
    if force_recreate and no_recreate:
        raise ComposeError("--force-recreate and --no-recreate are incompatible")
    if timestamps and detach:
        raise ComposeError("--timestamps cannot be combined with -d: there is no output to stamp")
    aborting = abort_on_container_exit or abort_on_container_failure or exit_code_from is not None
    if (detach or wait or no_start) and (aborting or attach or attach_dependencies):
        raise ComposeError(
            "--detach, --wait and --no-start cannot be combined with --abort-on-container-exit, "
            "--abort-on-container-failure, --exit-code-from, --attach or --attach-dependencies"
        )
    session.options = type(session.options)(**{**vars(session.options), "dry": session.options.dry or dry_run})
    session.progress.dry = session.options.dry
    project = session.load(services)
    if exit_code_from is not None and exit_code_from not in project.services:
        raise ComposeError(f"no such service: {exit_code_from}")
    convergence = Convergence(
        session,
        project,
        Wishes(
            services=services,
            scale=parse_scale(scale),
            force_recreate=force_recreate,
            no_recreate=no_recreate,
            always_recreate_deps=always_recreate_deps,
            no_deps=no_deps,
            no_start=no_start,
            remove_orphans=remove_orphans or session.environment.get("COMPOSE_REMOVE_ORPHANS", "") in ("1", "true"),
            renew_anonymous_volumes=renew_anon_volumes,
        ),
        ImageWishes(build=build is True, no_build=build is False, pull="" if pull == "policy" else pull),
        timeout=timeout,
        quiet_build=quiet_build,
        quiet_pull=quiet_pull,
    )
    if detach or wait or no_start or session.options.dry:
        convergence.run()
        if wait and not session.options.dry:
            convergence.wait_ready(wait_timeout)
        session.close()
        return
    from wherry.cli.compose.foreground import Foreground

    watched = set(attach) or {
        name
        for name in (project.services if attach_dependencies or not services else services)
        if project.services[name].get("attach", True)
    }
    foreground = Foreground(
        session,
        project,
        convergence,
        watched - set(no_attach),
        abort_on=("exit" if abort_on_container_exit or exit_code_from else "failure") if aborting else "",
        exit_code_from=exit_code_from,
        colour=session.colour() and not no_color,
        prefix=not no_log_prefix,
        timestamps=timestamps,
    )
    context.exit(foreground.run())

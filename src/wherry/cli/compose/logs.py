"""`compose logs`."""

import sys

import click

from wherry.cli.compose.session import Session
from wherry.compose.errors import ComposeError


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Follow log output.")
@click.option("--index", type=int, default=0, help="Index of the container if service has multiple replicas.")
@click.option("--no-color", is_flag=True, help="Produce monochrome output.")
@click.option("--no-log-prefix", is_flag=True, help="Don't print prefix in logs.")
@click.option("--since", help="Show logs since timestamp or relative time (e.g. 42m).")
@click.option("-n", "--tail", default="all", help="Number of lines to show from the end, for each container.")
@click.option("-t", "--timestamps", is_flag=True, help="Show timestamps.")
@click.option("--until", help="Show logs before a timestamp or relative time.")
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@click.pass_obj
def logs(
    session: Session,
    follow: bool,
    index: int,
    no_color: bool,
    no_log_prefix: bool,
    since: str | None,
    tail: str,
    timestamps: bool,
    until: str | None,
    services: tuple[str, ...],
) -> None:
    """View output from containers."""
    import time

    from wherry.cli.compose.foreground import write
    from wherry.cli.format.units import parse_moment
    from wherry.compose.log_printer import LogPrinter
    from wherry.compose.log_streams import Follower, event_container, moment, print_logs, short_name
    from wherry.compose.names import ONEOFF, SERVICE
    from wherry.compose.steps import name_of, number_of

    name, project, observed = session.observed(services)
    if index and len(services) != 1:
        raise ComposeError("--index needs exactly one service")
    separator = project.separator if project else "-"
    query = {"timestamps": timestamps, "tail": tail}
    try:
        query |= {key: parse_moment(text, time.time()) for key, text in (("since", since), ("until", until)) if text}
    except ValueError as error:
        raise ComposeError(f"invalid value for --since or --until: {error}") from None
    chosen = [
        one
        for one in sorted(observed.containers, key=lambda one: (one["Labels"][SERVICE], number_of(one), name_of(one)))
        if (not index or number_of(one) == index) and one["Labels"].get(ONEOFF) != "True"
    ]
    printer = LogPrinter(write, colour=session.colour() and not no_color, prefix=not no_log_prefix)
    labels = {one["Id"]: short_name(one, name, separator) for one in chosen}
    printer.register(labels.values())
    if not follow:
        for container, label in labels.items():
            print_logs(session.client, container, label, printer, query)
        sys.stdout.flush()
        return
    follower = Follower(session.client, name, printer, query)
    events = follower.events()
    running = {one["Id"] for one in chosen if one["State"] in ("running", "paused", "restarting")}
    for container, label in labels.items():
        follower.follow(container, label)
    if not running:
        for container in labels:
            follower.threads[container].join()
        return
    for event in events:
        found = event_container(event)
        if (index or (services and found["Labels"].get(SERVICE) not in services)) and found["Id"] not in labels:
            continue
        if event["Action"] == "start" and found["Labels"].get(ONEOFF) != "True":
            labels[found["Id"]] = short_name(found, name, separator)
            running.add(found["Id"])
            follower.finish(found["Id"], 1.0)
            follower.follow(found["Id"], labels[found["Id"]], since=moment(event), tail="all")
        elif event["Action"] == "die" and found["Id"] in running:
            follower.finish(found["Id"])
            running.discard(found["Id"])
            printer.note(f"{labels[found['Id']]} exited with code {found['Labels'].get('exitCode', '0')}")
            if not running and not restarting(session, found["Id"]):
                return


def restarting(session: Session, container: str) -> bool:
    """Whether a container that ended will start again by itself."""
    from wherry.docker_api.client import DockerError

    try:
        state = session.client.get(f"/containers/{container}/json")["State"]
    except DockerError:
        return False
    return bool(state["Restarting"] or state["Running"])

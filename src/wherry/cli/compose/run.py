"""`compose run`."""

import secrets
import sys
from typing import Any

import click

from wherry.cli.compose.session import Session
from wherry.compose.project import Project


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("--build", is_flag=True, help="Build image before starting container.")
@click.option("--cap-add", multiple=True, help="Add Linux capabilities.")
@click.option("--cap-drop", multiple=True, help="Drop Linux capabilities.")
@click.option("-d", "--detach", is_flag=True, help="Run container in background and print container ID.")
@click.option("--entrypoint", help="Override the entrypoint of the image.")
@click.option("-e", "--env", "environment", multiple=True, metavar="NAME=VALUE", help="Set environment variables.")
@click.option("--env-from-file", "env_files", multiple=True, metavar="FILE", help="Set variables from a file.")
@click.option("-i", "--interactive/--no-interactive", default=True, help="Keep STDIN open even if not attached.")
@click.option("-l", "--label", "labels", multiple=True, metavar="NAME=VALUE", help="Add or override a label.")
@click.option("--name", help="Assign a name to the container.")
@click.option("-T", "--no-TTY", "--no-tty", "no_tty", is_flag=True, help="Disable pseudo-TTY allocation.")
@click.option("-t", "--tty", is_flag=True, hidden=True)
@click.option("--no-deps", is_flag=True, help="Don't start linked services.")
@click.option("-p", "--publish", multiple=True, metavar="PORT", help="Publish a container's port(s) to the host.")
@click.option("--pull", type=click.Choice(["always", "missing", "never", "policy"]), default="policy")
@click.option("-q", "--quiet", is_flag=True, help="Don't print anything to STDOUT.")
@click.option("--quiet-build", is_flag=True, help="Suppress the build output.")
@click.option("--quiet-pull", is_flag=True, help="Pull without printing progress information.")
@click.option("--remove-orphans", is_flag=True, help="Remove containers for services not defined in the file.")
@click.option("--rm", "remove", is_flag=True, help="Automatically remove the container when it exits.")
@click.option("-P", "--service-ports", is_flag=True, help="Run with all the service's ports mapped to the host.")
@click.option("--use-aliases", is_flag=True, help="Use the service's network aliases.")
@click.option("-u", "--user", help="Run as specified username or uid.")
@click.option("-v", "--volume", "volumes", multiple=True, metavar="VOLUME", help="Bind mount a volume.")
@click.option("-w", "--workdir", help="Working directory inside the container.")
@click.argument("service")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def run(context: click.Context, /, service: str, command: tuple[str, ...], **options: Any) -> None:
    """Run a one-off command on a service."""
    session: Session = context.obj
    project = session.load([service])
    before_run(session, project, service, options)
    changes = overrides(session, project, service, command, options)
    context.exit(run_container(session, project, service, changes, options))


def before_run(session: Session, project: Project, service: str, options: dict[str, Any]) -> None:
    """Images, what the service depends on, and its networks and volumes."""
    from wherry.cli.compose.convergence import Convergence
    from wherry.compose.apply import Applier
    from wherry.compose.images import ImageWishes
    from wherry.compose.observe import observe
    from wherry.compose.resources import network_steps, volume_steps
    from wherry.compose.steps import Observed, Wishes
    from wherry.compose.unsupported import refuse

    refuse(project, [service])
    needed = [] if options["no_deps"] else [one for one in project.dependencies(service) if one in project.services]
    images = ImageWishes(options["build"], False, "" if options["pull"] == "policy" else options["pull"])
    quiet = {"quiet_build": options["quiet_build"] or options["quiet"], "quiet_pull": options["quiet_pull"]}
    if needed:
        wishes = Wishes(services=needed, remove_orphans=options["remove_orphans"], no_recreate=False)
        Convergence(session, project, wishes, ImageWishes(pull=images.pull), **quiet).run()
    own = Convergence(session, project, Wishes(services=[service], no_deps=True), images, **quiet)
    observed: Observed = observe(session.client, project.name, project, [service])
    own.ensure_images([service], observed)
    steps = [*network_steps(project, [service], observed, ()), *volume_steps(project, [service], observed)]
    applier = Applier(session.client, project, own.containers, session.progress, dry=session.options.dry)
    applier.run(steps)
    if needed:
        waiting = observe(session.client, project.name, project)
        applier.adopt(waiting)
        applier.wait_for_dependencies(service)
    session.close()


def overrides(
    session: Session, project: Project, service: str, command: tuple[str, ...], options: dict[str, Any]
) -> dict[str, Any]:
    """The keys of the service that this run changes, in canonical form. Raises ComposeError."""
    import shlex
    from pathlib import Path

    from wherry.compose import dotenv
    from wherry.compose.convert import At
    from wherry.compose.port_fields import port
    from wherry.compose.service_fields import volume

    definition = project.services[service]
    at = At((), {}, Path.cwd())
    environment = dict(definition.get("environment") or {})
    for file in options["env_files"]:
        values = dotenv.read(Path(file), session.environment)
        environment |= {name: value for name, value in values.items() if value is not None}
    for entry in options["environment"]:
        name, equals, value = entry.partition("=")
        if equals:
            environment[name] = value
        elif name in session.environment:
            environment[name] = session.environment[name]
    ports = list(definition.get("ports") or ()) if options["service_ports"] else []
    ports += [entry for text in options["publish"] for entry in port(text, at)]
    mounts = [volume(text, at) for text in options["volumes"]]
    targets = {one["target"] for one in mounts}
    changes: dict[str, Any] = {
        "environment": environment,
        "ports": ports,
        "volumes": [*(one for one in definition.get("volumes") or () if one.get("target") not in targets), *mounts],
        "restart": "no",
        "tty": not options["no_tty"] and not options["detach"] and sys.stdin.isatty() and sys.stdout.isatty(),
        "stdin_open": options["interactive"],
        "labels": {**(definition.get("labels") or {}), **dict(one.partition("=")[::2] for one in options["labels"])},
    }
    if command:
        changes["command"] = list(command)
    if options["entrypoint"] is not None:
        changes["entrypoint"] = shlex.split(options["entrypoint"])
        changes.setdefault("command", [])
    for option, key in (("user", "user"), ("workdir", "working_dir")):
        if options[option]:
            changes[key] = options[option]
    for key in ("cap_add", "cap_drop"):
        if options[key]:
            changes[key] = [*(definition.get(key) or ()), *options[key]]
    for one in mounts:
        if one["type"] == "volume" and one.get("source") and one["source"] not in project.volumes:
            project.volumes[one["source"]] = {"name": one["source"]}
    return changes


def run_container(
    session: Session, project: Project, service: str, changes: dict[str, Any], options: dict[str, Any]
) -> int:
    """Makes the container, joins it, and gives its exit code."""
    from wherry.cli.compose.terminal import console_size, join, keep_size
    from wherry.compose.container import create_body
    from wherry.compose.names import SLUG, image_name
    from wherry.compose.observe import containers, images
    from wherry.compose.plan import references
    from wherry.compose.steps import Observed

    client = session.client
    slug = secrets.token_hex(6)
    name = options["name"] or project.separator.join((project.name, service, "run", slug))
    image = image_name(project, service)
    observed = Observed(tuple(containers(client, project.name)))
    body = create_body(
        project,
        service,
        1,
        image_id=images(client, [image]).get(image, ""),
        oneoff=True,
        overrides=changes,
        references=references(project, observed),
        name=name,
        use_aliases=options["use_aliases"],
    )
    body["Labels"][SLUG] = slug
    body["Labels"] = {**changes["labels"], **body["Labels"]}
    stdin = bool(changes["stdin_open"]) and not options["detach"]
    body |= {"AttachStdin": stdin, "AttachStdout": True, "AttachStderr": True, "StdinOnce": stdin}
    body["OpenStdin"] = stdin
    if changes["tty"]:
        body["HostConfig"]["ConsoleSize"] = console_size()
    if options["remove"] and options["detach"]:
        body["HostConfig"]["AutoRemove"] = True
    session.progress(f"Container {name}", "Creating")
    if session.options.dry:
        session.close()
        return 0
    acting = session.containers(project)
    container = acting.create(service, name, body)
    session.progress(f"Container {name}", "Created", "done")
    session.close()
    if options["detach"]:
        client.post(f"/containers/{container}/start")
        click.echo(name)
        return 0
    query = {"stream": True, "stdin": stdin, "stdout": True, "stderr": True}
    stream = client.hijack(f"/containers/{container}/attach", query)

    def begin() -> None:
        client.post(f"/containers/{container}/start")
        if changes["tty"]:
            keep_size(client, f"/containers/{container}/resize")

    code = 0
    try:
        join(stream, stdin=stdin, is_tty=bool(changes["tty"]), begin=begin)
        code = int(client.post(f"/containers/{container}/wait")["StatusCode"])
    except KeyboardInterrupt:
        client.post(f"/containers/{container}/stop")
        code = 130
    finally:
        if options["remove"]:
            acting.remove(container, volumes=True, quiet=True)
    return code

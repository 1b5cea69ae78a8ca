"""`compose config`."""

import json

import click

from wherry.cli.compose.session import Session
from wherry.compose.errors import ComposeError


@click.command()
@click.option("--environment", is_flag=True, help="Print environment used for interpolation.")
@click.option("--format", "form", type=click.Choice(["yaml", "json"]), default="yaml")
@click.option("--hash", "hashes", metavar="SERVICES", help="Print the service config hash, one per line ('*': all).")
@click.option("--images", is_flag=True, help="Print the image names, one per line.")
@click.option("--networks", is_flag=True, help="Print the network names, one per line.")
@click.option("--no-consistency", is_flag=True, help="Don't check model consistency.")
@click.option("--no-env-resolution", is_flag=True, help="Don't resolve service env files.")
@click.option("--no-interpolate", is_flag=True, help="Don't interpolate environment variables.")
@click.option("--no-normalize", is_flag=True, help="Don't normalize compose model.")
@click.option("--no-path-resolution", is_flag=True, help="Don't resolve file paths.")
@click.option("--lock-image-digests", is_flag=True, help="Produces an override file with image digests.")
@click.option("--resolve-image-digests", is_flag=True, help="Pin image tags to digests.")
@click.option("-o", "--output", type=click.Path(), help="Save to file (default to stdout).")
@click.option("--plan", "show_plan", is_flag=True, help="Print what `up` would do, and why (Wherry's own).")
@click.option("--profiles", is_flag=True, help="Print the profile names, one per line.")
@click.option("-q", "--quiet", is_flag=True, help="Only validate the configuration, don't print anything.")
@click.option("--services", "names_only", is_flag=True, help="Print the service names, one per line.")
@click.option("--variables", is_flag=True, help="Print model variables and default values.")
@click.option("--volumes", is_flag=True, help="Print the volume names, one per line.")
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@click.pass_obj
def config(
    session: Session,
    environment: bool,
    form: str,
    hashes: str | None,
    images: bool,
    networks: bool,
    no_consistency: bool,
    no_env_resolution: bool,
    no_interpolate: bool,
    no_normalize: bool,
    no_path_resolution: bool,
    lock_image_digests: bool,
    resolve_image_digests: bool,
    output: str | None,
    show_plan: bool,
    profiles: bool,
    quiet: bool,
    names_only: bool,
    variables: bool,
    volumes: bool,
    services: tuple[str, ...],
) -> None:
    """Parse, resolve and render compose file in canonical format."""
    from wherry.compose import names
    from wherry.compose.load import Steps
    from wherry.compose.plan import wanted_services
    from wherry.compose.render import model, to_yaml

    if variables:
        from wherry.cli.compose.listing import table
        from wherry.cli.compose.variables import rows

        _write(table(rows(session.files)), output)
        return
    steps = Steps(
        interpolate=not no_interpolate,
        resolve_paths=not no_path_resolution,
        normalize=not no_normalize,
        read_env_files=not no_env_resolution,
        check=not no_consistency,
    )
    project = session.load(services, steps=steps)
    lines: list[str] | None = None
    if quiet:
        return
    if names_only:
        lines = wanted_services(project, services)
    elif volumes:
        lines = list(project.volumes)
    elif networks:
        lines = list(project.networks)
    elif profiles:
        everything = [*project.services.values(), *project.disabled.values()]
        lines = sorted({profile for service in everything for profile in service.get("profiles") or ()})
    elif images:
        lines = [names.image_name(project, service) for service in wanted_services(project, services)]
    elif environment:
        lines = [f"{name}={value}" for name, value in sorted(project.environment.items())]
    elif hashes is not None:
        asked = list(project.services) if hashes == "*" else hashes.split(",")
        for service in asked:
            if service not in project.services:
                raise ComposeError(f"no such service: {service}")
        lines = [f"{service} {names.config_hash(project.services[service])}" for service in sorted(asked)]
    elif show_plan:
        lines = plan_lines(session, services)
    if lines is not None:
        _write("".join(f"{line}\n" for line in lines), output)
        return
    wanted = wanted_services(project, services)
    if resolve_image_digests or lock_image_digests:
        for service in wanted:
            if project.services[service].get("image"):
                project.services[service]["image"] = pinned(session, project.services[service]["image"])
    found = model(project, wanted, everything=session.options.all_resources, escape=not no_interpolate)
    if lock_image_digests:
        found = {
            "services": {name: {"image": one["image"]} for name, one in found["services"].items() if "image" in one}
        }
    if form == "json":
        # Docker Compose writes these two even when they are not given.
        found["services"] = {
            name: one if lock_image_digests else {"command": None, "entrypoint": None, **one}
            for name, one in found["services"].items()
        }
    text = json.dumps(found, indent=2, ensure_ascii=False) + "\n" if form == "json" else to_yaml(found)
    _write(text, output)


def plan_lines(session: Session, services: tuple[str, ...]) -> list[str]:
    """Each step of `up` with its reason. The engine is asked what it has, and nothing is changed."""
    from wherry.compose.images import ImageWishes, image_ages, plan_images
    from wherry.compose.observe import observe
    from wherry.compose.plan import plan_up, wanted_services
    from wherry.compose.steps import Wishes

    project = session.load(services)
    wanted = wanted_services(project, services)
    observed = observe(session.client, project.name, project, wanted)
    images = plan_images(project, wanted, observed, ImageWishes(), image_ages(session.client, project, wanted))
    return [step.line() for step in [*images, *plan_up(project, observed, Wishes(services=services))]]


def pinned(session: Session, image: str) -> str:
    """`image` with the digest that its registry has for it now. Raises DockerError."""
    from urllib.parse import quote

    from wherry.compose.credentials import auth_header
    from wherry.compose.images import split_reference

    name, tag = split_reference(image)
    if tag.startswith("sha256:"):
        return image
    path = f"/distribution/{quote(f'{name}:{tag}', safe='/:@')}/json"
    about = session.client.call("GET", path, headers=auth_header(image)).json()
    return f"{name}:{tag}@{about['Descriptor']['digest']}"


def _write(text: str, output: str | None) -> None:
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        with open(output, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise ComposeError(f"open {output}: {error.strerror}") from None

"""What the engine has of a project, asked for in a few calls."""

from collections.abc import Collection, Iterable
from typing import Any
from urllib.parse import quote

from wherry.compose import graph, names
from wherry.compose.project import Project
from wherry.compose.steps import Observed
from wherry.docker_api.client import DockerClient, DockerError


def observe(
    client: DockerClient, name: str, project: Project | None = None, services: Collection[str] = ()
) -> Observed:
    """The project's containers, all networks and volumes, and the ids of the images that `services` run.

    Without a project there are only those networks and volumes that carry its label.
    """
    found: dict[str, Any] = {}
    label = {} if project else {"label": [f"{names.PROJECT}={name}"]}

    def networks() -> None:
        found["networks"] = {one["Name"]: one for one in client.get("/networks", {"filters": label})}

    def volumes() -> None:
        found["volumes"] = {one["Name"]: one for one in (client.get("/volumes", {"filters": label})["Volumes"] or ())}

    def seen_images() -> None:
        wanted = {names.image_name(project, service) for service in services} if project else set()
        found["images"] = images(client, wanted)

    def seen_containers() -> None:
        found["containers"] = tuple(containers(client, name))

    asked = (networks, volumes, seen_images, seen_containers)
    graph.run([graph.Task(ask.__name__, ask) for ask in asked])
    return Observed(found["containers"], found["networks"], found["volumes"], found["images"])


def containers(client: DockerClient, name: str, *, running: bool = False) -> list[dict[str, Any]]:
    """The project's containers as GET /containers/json lists them, one-off runs among them."""
    filters = {"label": [f"{names.PROJECT}={name}"]}
    listed: list[dict[str, Any]] = client.get("/containers/json", {"all": not running, "filters": filters})
    return [one for one in listed if one["Labels"].get(names.SERVICE)]


def images(client: DockerClient, wanted: Iterable[str]) -> dict[str, str]:
    """The id of each image that is there, by the name it was asked for."""
    found = {}
    for name in wanted:
        if (image := image_or_none(client, name)) is not None:
            found[name] = str(image["Id"])
    return found


def image_or_none(client: DockerClient, name: str) -> dict[str, Any] | None:
    """GET /images/NAME/json, or None when there is no such image."""
    try:
        image: dict[str, Any] = client.get(f"/images/{quote(name, safe='/:@')}/json")
    except DockerError as error:
        if error.status == 404:
            return None
        raise
    return image


def project_names(client: DockerClient) -> dict[str, list[dict[str, Any]]]:
    """Every project that has containers, with them."""
    found: dict[str, list[dict[str, Any]]] = {}
    for one in client.get("/containers/json", {"all": True, "filters": {"label": [names.PROJECT]}}):
        found.setdefault(one["Labels"][names.PROJECT], []).append(one)
    return found

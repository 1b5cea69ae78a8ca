"""All routes, one file per resource of the Docker Engine API."""

from wherry.docker_api.routes import (
    build as build_routes,
)
from wherry.docker_api.routes import (
    containers,
    exec,
    files,
    images,
    networks,
    streams,
    swarm,
    system,
    volumes,
)
from wherry.docker_api.routing import Routes


def build() -> Routes:
    """One table of all routes. Order matters: fixed paths stand before those with a name in their place."""
    table = Routes()
    for module in (system, swarm, streams, files, exec, containers, images, build_routes, networks, volumes):
        table.include(module.routes)
    return table

"""`/build`: images out of Dockerfiles."""

from wherry.docker_api.routing import Routes

routes = Routes()

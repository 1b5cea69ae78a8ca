"""`/images`: the image store."""

from wherry.docker_api.routing import Routes

routes = Routes()

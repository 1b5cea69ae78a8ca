"""What this engine does not offer: Swarm, plugins, checkpoints and BuildKit sessions.

Swarm and plugins answer as a daemon whose Swarm mode is inactive and which has no plugins; the rest refuses by name.
"""

from aiohttp import web

from wherry.docker_api.replies import json_reply
from wherry.docker_api.routing import Call, Routes
from wherry.engine import errors

routes = Routes()


def not_a_manager() -> errors.Unavailable:
    return errors.Unavailable(
        'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to '
        "swarm and try again."
    )


async def _needs_manager(call: Call) -> web.StreamResponse:
    raise not_a_manager()


async def _needs_swarm(call: Call) -> web.StreamResponse:
    raise errors.Unavailable("This node is not part of a swarm")


async def _swarm_unsupported(call: Call) -> web.StreamResponse:
    raise errors.NotImplemented(
        "Swarm mode is not supported by this engine; use Kubernetes on the same machine instead"
    )


for _method, _path in (
    ("GET", "/swarm"),
    ("POST", "/swarm/update"),
    ("GET", "/swarm/unlockkey"),
    ("GET", "/services"),
    ("POST", "/services/create"),
    ("GET", "/services/{name}/logs"),
    ("POST", "/services/{name}/update"),
    ("GET", "/services/{name}"),
    ("DELETE", "/services/{name}"),
    ("GET", "/nodes"),
    ("POST", "/nodes/{name}/update"),
    ("GET", "/nodes/{name}"),
    ("DELETE", "/nodes/{name}"),
    ("GET", "/tasks"),
    ("GET", "/tasks/{name}/logs"),
    ("GET", "/tasks/{name}"),
    ("GET", "/secrets"),
    ("POST", "/secrets/create"),
    ("POST", "/secrets/{name}/update"),
    ("GET", "/secrets/{name}"),
    ("DELETE", "/secrets/{name}"),
    ("GET", "/configs"),
    ("POST", "/configs/create"),
    ("POST", "/configs/{name}/update"),
    ("GET", "/configs/{name}"),
    ("DELETE", "/configs/{name}"),
):
    routes.add(_method, _path)(_needs_manager)

routes.post("/swarm/leave")(_needs_swarm)
routes.post("/swarm/unlock")(_needs_swarm)
routes.post("/swarm/init")(_swarm_unsupported)
routes.post("/swarm/join")(_swarm_unsupported)


@routes.get("/plugins")
async def list_plugins(call: Call) -> web.StreamResponse:
    return json_reply([])


async def _no_such_plugin(call: Call) -> web.StreamResponse:
    raise errors.NotFound(f'plugin "{call.name}" not found')


async def _plugins_unsupported(call: Call) -> web.StreamResponse:
    raise errors.NotImplemented("plugins are not supported by this engine")


routes.get("/plugins/privileges")(_plugins_unsupported)
routes.post("/plugins/pull")(_plugins_unsupported)
routes.post("/plugins/create")(_plugins_unsupported)
for _method, _path in (
    ("GET", "/plugins/{name}/json"),
    ("POST", "/plugins/{name}/enable"),
    ("POST", "/plugins/{name}/disable"),
    ("POST", "/plugins/{name}/push"),
    ("POST", "/plugins/{name}/upgrade"),
    ("POST", "/plugins/{name}/set"),
    ("DELETE", "/plugins/{name}"),
):
    routes.add(_method, _path)(_no_such_plugin)


async def _buildkit_unsupported(call: Call) -> web.StreamResponse:
    raise errors.NotImplemented(
        "BuildKit is not offered by this engine: build with the classic builder (DOCKER_BUILDKIT=0)"
    )


routes.post("/session")(_buildkit_unsupported)
routes.post("/grpc")(_buildkit_unsupported)


async def _checkpoints_unsupported(call: Call) -> web.StreamResponse:
    raise errors.NotImplemented("checkpoints are not supported by this engine")


routes.get("/containers/{name}/checkpoints")(_checkpoints_unsupported)
routes.post("/containers/{name}/checkpoints")(_checkpoints_unsupported)
routes.delete("/containers/{name}/checkpoints/{checkpoint}")(_checkpoints_unsupported)

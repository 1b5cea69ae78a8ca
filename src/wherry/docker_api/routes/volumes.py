"""`/volumes`: the engine's volumes."""

from aiohttp import web

from wherry.docker_api.replies import empty, json_reply
from wherry.docker_api.routes.swarm import not_a_manager
from wherry.docker_api.routing import Call, Routes
from wherry.docker_api.shapes import VOLUME_CREATE
from wherry.engine.errors import Unavailable

routes = Routes()


@routes.get("/volumes")
async def list_volumes(call: Call) -> web.StreamResponse:
    return json_reply(call.engine.volumes.list(call.query.filters()))


@routes.post("/volumes/create")
async def create_volume(call: Call) -> web.StreamResponse:
    body = await call.json(VOLUME_CREATE)
    if body.get("ClusterVolumeSpec") is not None and call.version >= (1, 42):
        raise not_a_manager()
    return json_reply(await call.engine.volumes.create(body), 201)


@routes.post("/volumes/prune")
async def prune_volumes(call: Call) -> web.StreamResponse:
    filters = call.query.filters()
    if call.version < (1, 42):
        # Before 1.42 named volumes were pruned too.
        filters["all"] = ["true"]
    return json_reply(await call.engine.volumes.prune(filters))


@routes.get("/volumes/{name}")
async def inspect_volume(call: Call) -> web.StreamResponse:
    return json_reply(call.engine.volumes.inspect(call.name))


@routes.put("/volumes/{name}")
async def update_volume(call: Call) -> web.StreamResponse:
    raise Unavailable("volume update only valid for cluster volumes, but swarm is unavailable")


@routes.delete("/volumes/{name}")
async def remove_volume(call: Call) -> web.StreamResponse:
    await call.engine.volumes.remove(call.name, force=call.query.boolean("force"))
    return empty()

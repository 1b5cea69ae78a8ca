"""`/networks`: the engine's networks."""

from aiohttp import web

from wherry.docker_api.replies import empty, json_reply
from wherry.docker_api.routing import Call, Routes
from wherry.docker_api.shapes import NETWORK_CONNECT, NETWORK_CREATE, NETWORK_DISCONNECT

routes = Routes()


@routes.get("/networks")
async def list_networks(call: Call) -> web.StreamResponse:
    networks = call.engine.networks.list(call.query.filters())
    if call.version < (1, 28):
        # Since then only a network asked for by itself tells of its containers.
        networks = [call.engine.networks.inspect(network["Id"]) for network in networks]
    return json_reply(networks)


@routes.post("/networks/create")
async def create_network(call: Call) -> web.StreamResponse:
    body = await call.json(NETWORK_CREATE, required=True)
    if call.version < (1, 48):
        body.pop("EnableIPv4", None)
    return json_reply(await call.engine.networks.create(body), 201)


@routes.post("/networks/prune")
async def prune_networks(call: Call) -> web.StreamResponse:
    return json_reply(await call.engine.networks.prune(call.query.filters()))


@routes.post("/networks/{name}/connect")
async def connect(call: Call) -> web.StreamResponse:
    body = await call.json(NETWORK_CONNECT, required=True)
    await call.engine.networks.connect(call.name, body.get("Container") or "", body.get("EndpointConfig") or {})
    return empty(200)


@routes.post("/networks/{name}/disconnect")
async def disconnect(call: Call) -> web.StreamResponse:
    body = await call.json(NETWORK_DISCONNECT, required=True)
    await call.engine.networks.disconnect(call.name, body.get("Container") or "", force=bool(body.get("Force")))
    return empty(200)


@routes.get("/networks/{name}")
async def inspect_network(call: Call) -> web.StreamResponse:
    return json_reply(call.engine.networks.inspect(call.name, verbose=call.query.boolean("verbose")))


@routes.delete("/networks/{name}")
async def remove_network(call: Call) -> web.StreamResponse:
    await call.engine.networks.remove(call.name)
    return empty()

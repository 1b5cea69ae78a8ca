"""`/_ping`, `/version`, `/info`, `/events`, `/system/df`, `/auth`: the engine as a whole."""

from typing import Any

from aiohttp import web

from wherry.docker_api import compat
from wherry.docker_api.replies import Stream, json_reply
from wherry.docker_api.routing import Call, Routes
from wherry.docker_api.shapes import AUTH
from wherry.engine.errors import InvalidParameter
from wherry.engine.events import ACCEPTED_FILTERS

routes = Routes()

# "1": the classic builder. Clients that would use BuildKit fall back to it by this header.
_PING_HEADERS = {
    "Builder-Version": "1",
    "Swarm": "inactive",
    "Cache-Control": "no-cache, no-store, must-revalidate",
    "Pragma": "no-cache",
    "Content-Type": "text/plain; charset=utf-8",
}

_USAGE_TYPES = {"container": "Containers", "image": "Images", "volume": "Volumes", "build-cache": "BuildCache"}


@routes.get("/_ping")
async def ping(call: Call) -> web.StreamResponse:
    return web.Response(body=b"OK", headers=_PING_HEADERS)


@routes.head("/_ping")
async def ping_head(call: Call) -> web.StreamResponse:
    return web.Response(headers=_PING_HEADERS)


@routes.get("/version")
async def version(call: Call) -> web.StreamResponse:
    return json_reply(await call.engine.version())


@routes.get("/info")
async def info(call: Call) -> web.StreamResponse:
    return json_reply(compat.info(await call.engine.info(), call.version))


@routes.get("/events")
async def events(call: Call) -> web.StreamResponse:
    query = call.query
    since, until = query.timestamp("since"), query.timestamp("until")
    if since is not None and until is not None and until < since:
        raise InvalidParameter(
            f"`since` time ({query.text('since')}) cannot be after `until` time ({query.text('until')})"
        )
    filters = query.filters()
    filters.validate(ACCEPTED_FILTERS)
    stream = Stream(call)
    await stream.start()
    async for event in call.engine.events.stream(since, until, filters):
        if call.version < (1, 46) and event["Type"] == "image" and event["Action"] == "create":
            continue
        await stream.write_json(event)
    return await stream.finish()


@routes.get("/system/df")
async def disk_usage(call: Call) -> web.StreamResponse:
    wanted = call.query.texts("type") if call.version >= (1, 42) else []
    for kind in wanted:
        if kind not in _USAGE_TYPES:
            raise InvalidParameter(f"unknown object type: {kind}")
    fields = {_USAGE_TYPES[kind] for kind in wanted} or set(_USAGE_TYPES.values())
    engine = call.engine
    usage: dict[str, Any] = {}
    if "Images" in fields:
        usage["LayersSize"] = engine.images.disk_usage()
        usage["Images"] = engine.images.list(shared_size=True, count_containers=True)
    if "Containers" in fields:
        usage["Containers"] = await engine.containers.list(all=True, size=True)
    if "Volumes" in fields:
        usage["Volumes"] = await engine.volumes.usage()
    if "BuildCache" in fields:
        from wherry.build.builder import Builder

        usage["BuildCache"] = await (await Builder.of(engine)).cache.usage()
    return json_reply(compat.disk_usage(usage, call.version))


@routes.post("/auth", interruptible=True)
async def auth(call: Call) -> web.StreamResponse:
    credentials = await call.json(AUTH, required=True)
    token = await call.engine.images.authenticate(credentials)
    return json_reply({"Status": "Login Succeeded", "IdentityToken": token or ""})

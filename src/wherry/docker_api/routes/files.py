"""A container's files: archive (`docker cp`) and export."""

import base64
from typing import Any

import orjson
from aiohttp import web

from wherry.docker_api.replies import HEADERS, bytes_stream, empty
from wherry.docker_api.routing import Call, Routes
from wherry.engine.errors import InvalidParameter

routes = Routes()


def _path(call: Call) -> str:
    path = call.query.text("path")
    if not path:
        raise InvalidParameter("bad parameter: path cannot be empty")
    if "\0" in path:
        raise InvalidParameter("bad parameter: path must not hold a NUL byte")
    return path


def _stat_header(stat: dict[str, Any]) -> dict[str, str]:
    return {"X-Docker-Container-Path-Stat": base64.b64encode(orjson.dumps(stat)).decode()}


@routes.head("/containers/{name}/archive")
async def archive_stat(call: Call) -> web.StreamResponse:
    stat = await call.engine.containers.archive_stat(call.name, _path(call))
    return web.Response(headers=_stat_header(stat))


@routes.get("/containers/{name}/archive")
async def archive_get(call: Call) -> web.StreamResponse:
    stat, pieces = await call.engine.containers.archive_get(call.name, _path(call))
    response = web.StreamResponse(headers={**HEADERS, **_stat_header(stat), "Content-Type": "application/x-tar"})
    response.enable_chunked_encoding()
    await response.prepare(call.request)
    async for piece in pieces:
        await response.write(piece)
    await response.write_eof()
    return response


@routes.put("/containers/{name}/archive")
async def archive_put(call: Call) -> web.StreamResponse:
    query = call.query
    await call.engine.containers.archive_put(
        call.name,
        _path(call),
        call.request.content.iter_any(),
        no_overwrite_dir_non_dir=query.boolean("noOverwriteDirNonDir"),
        copy_uid_gid=query.boolean("copyUIDGID"),
    )
    return empty(200)


@routes.get("/containers/{name}/export")
async def export(call: Call) -> web.StreamResponse:
    pieces = await call.engine.containers.export(call.name)
    return await bytes_stream(call, pieces, "application/octet-stream")

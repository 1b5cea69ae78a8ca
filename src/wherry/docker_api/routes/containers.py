"""`/containers`: create, list, inspect and everything that changes a container's state."""

from typing import Any

from aiohttp import web

from wherry.docker_api import compat
from wherry.docker_api.replies import Stream, empty, json_reply
from wherry.docker_api.routing import Call, Routes
from wherry.docker_api.shapes import CONFIG, CREATE, UPDATE
from wherry.engine.errors import InvalidParameter, NotFound

routes = Routes()

_WAIT_CONDITIONS = ("not-running", "next-exit", "removed")


@routes.get("/containers/json")
async def list_containers(call: Call) -> web.StreamResponse:
    query = call.query
    containers = await call.engine.containers.list(
        all=query.boolean("all"),
        filters=query.filters(),
        limit=query.integer("limit", 0) or 0,
        size=query.boolean("size"),
    )
    return json_reply([compat.container_summary(item, call.version) for item in containers])


@routes.post("/containers/create")
async def create(call: Call) -> web.StreamResponse:
    body = await call.json(CREATE, required=True)
    platform = call.query.text("platform") if call.version >= (1, 41) else ""
    warnings = compat.create_body(body, call.version, cgroup_version=call.engine.layout.version)
    if platform:
        compat.check_platform(platform)
    created = await call.engine.containers.create(call.query.text("name") or None, body)
    return json_reply({"Id": created["Id"], "Warnings": [*(created.get("Warnings") or []), *warnings]}, 201)


@routes.post("/containers/prune")
async def prune(call: Call) -> web.StreamResponse:
    return json_reply(await call.engine.containers.prune(call.query.filters()))


@routes.get("/containers/{name}/json")
async def inspect(call: Call) -> web.StreamResponse:
    container = await call.engine.containers.inspect(call.name, size=call.query.boolean("size"))
    return json_reply(compat.container(container, call.version))


@routes.get("/containers/{name}/top")
async def top(call: Call) -> web.StreamResponse:
    return json_reply(await call.engine.containers.top(call.name, call.query.text("ps_args")))


@routes.get("/containers/{name}/changes")
async def changes(call: Call) -> web.StreamResponse:
    return json_reply(await call.engine.containers.changes(call.name))


@routes.post("/containers/{name}/start")
async def start(call: Call) -> web.StreamResponse:
    length = call.request.content_length
    if (length or 0) > 7 or (length is None and call.request.body_exists):
        raise InvalidParameter(
            "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24"
        )
    if call.query.text("checkpoint"):
        raise InvalidParameter("checkpoint is not supported by this engine")
    await call.engine.containers.start(call.name)
    return empty()


@routes.post("/containers/{name}/stop")
async def stop(call: Call) -> web.StreamResponse:
    signal = call.query.text("signal") if call.version >= (1, 42) else ""
    await call.engine.containers.stop(call.name, timeout=call.query.integer("t"), signal=signal or None)
    return empty()


@routes.post("/containers/{name}/restart")
async def restart(call: Call) -> web.StreamResponse:
    signal = call.query.text("signal") if call.version >= (1, 42) else ""
    await call.engine.containers.restart(call.name, timeout=call.query.integer("t"), signal=signal or None)
    return empty()


@routes.post("/containers/{name}/kill")
async def kill(call: Call) -> web.StreamResponse:
    try:
        await call.engine.containers.kill(call.name, call.query.text("signal") or "SIGKILL")
    except NotFound as error:
        raise NotFound(f"cannot kill container: {call.name}: {error.message}") from None
    return empty()


@routes.post("/containers/{name}/pause")
async def pause(call: Call) -> web.StreamResponse:
    await call.engine.containers.pause(call.name)
    return empty()


@routes.post("/containers/{name}/unpause")
async def unpause(call: Call) -> web.StreamResponse:
    await call.engine.containers.unpause(call.name)
    return empty()


@routes.post("/containers/{name}/rename")
async def rename(call: Call) -> web.StreamResponse:
    await call.engine.containers.rename(call.name, call.query.text("name"))
    return empty()


@routes.post("/containers/{name}/resize")
async def resize(call: Call) -> web.StreamResponse:
    height, width = call.query.size("h", "height"), call.query.size("w", "width")
    await call.engine.containers.resize(call.name, height, width)
    return empty(200)


@routes.post("/containers/{name}/update")
async def update(call: Call) -> web.StreamResponse:
    body = await call.json(UPDATE, required=True)
    warnings = compat.update_body(body, call.version)
    updated = await call.engine.containers.update(call.name, body)
    return json_reply({**updated, "Warnings": [*(updated.get("Warnings") or []), *warnings]})


@routes.post("/containers/{name}/wait", interruptible=True)
async def wait(call: Call) -> web.StreamResponse:
    condition = "not-running"
    if call.version >= (1, 30):
        condition = call.query.text("condition") or condition
        if condition not in _WAIT_CONDITIONS:
            raise InvalidParameter(f'invalid condition: "{condition}"')
    # From here on the exit cannot be missed: the answer's header tells the client that it may start the container.
    waiting = await call.engine.containers.wait_started(call.name, condition)
    stream = Stream(call)
    if call.version >= (1, 30):
        await stream.start()
    exit_code, error = await waiting
    if error and condition == "removed" and call.version < (1, 34):
        # Before errors had a place in the answer, an empty one told of them.
        return await stream.finish()
    result: dict[str, Any] = {"StatusCode": exit_code}
    if error:
        result["Error"] = {"Message": error}
    await stream.write_json(result)
    return await stream.finish()


@routes.delete("/containers/{name}")
async def remove(call: Call) -> web.StreamResponse:
    query = call.query
    await call.engine.containers.remove(
        call.name, force=query.boolean("force"), volumes=query.boolean("v"), link=query.boolean("link")
    )
    return empty()


@routes.post("/commit")
async def commit(call: Call) -> web.StreamResponse:
    query = call.query
    config = await call.json(CONFIG)
    image_id = await call.engine.containers.commit(
        query.text("container"),
        repo=query.text("repo"),
        tag=query.text("tag"),
        comment=query.text("comment"),
        author=query.text("author"),
        pause=query.boolean("pause", True),
        changes=query.texts("changes"),
        config=config or None,
    )
    return json_reply({"Id": image_id}, 201)

"""`/exec`: further processes in a running container."""

from aiohttp import web

from wherry.docker_api.hijack import Hijacked, hijack
from wherry.docker_api.pump import pump
from wherry.docker_api.replies import empty, json_reply
from wherry.docker_api.routing import Call, Routes
from wherry.docker_api.shapes import EXEC_CREATE, EXEC_START
from wherry.engine.errors import EngineError, InvalidParameter
from wherry.engine.streams import DetachKeys, parse_detach_keys

routes = Routes()


@routes.post("/containers/{name}/exec")
async def create(call: Call) -> web.StreamResponse:
    body = await call.json(EXEC_CREATE)
    if not body.get("Cmd"):
        raise InvalidParameter("No exec command specified")
    parse_detach_keys(body.get("DetachKeys") or "")
    if call.version < (1, 42):
        body.pop("ConsoleSize", None)
    return json_reply({"Id": await call.engine.execs.create(call.name, body)}, 201)


@routes.get("/exec/{name}/json")
async def inspect(call: Call) -> web.StreamResponse:
    return json_reply(await call.engine.execs.inspect(call.name))


@routes.post("/exec/{name}/resize")
async def resize(call: Call) -> web.StreamResponse:
    height, width = call.query.size("h", "height"), call.query.size("w", "width")
    await call.engine.execs.resize(call.name, height, width)
    return empty(200)


@routes.post("/exec/{name}/start", interruptible=True)
async def start(call: Call) -> web.StreamResponse:
    body = await call.json(EXEC_START)
    tty = bool(body.get("Tty"))
    size = body.get("ConsoleSize") if tty and call.version >= (1, 42) else None
    if body.get("Detach"):
        await call.engine.execs.start(call.name, detach=True, tty=tty)
        return empty(200)
    about = await call.engine.execs.inspect(call.name)
    keys = parse_detach_keys(about.get("DetachKeys") or "")
    attachment = await call.engine.execs.start(call.name, detach=False, tty=tty, console_size=size)
    if attachment is None:
        raise EngineError(f"exec {call.name} has no streams to attach to")
    try:
        # Framed as the request says, not as the exec was created: clients read what they asked for.
        connection = hijack(call, multiplexed=not tty)
        detach = DetachKeys(keys) if attachment.tty else None
        if await pump(connection, attachment, multiplexed=not tty, detach=detach):
            call.engine.execs.left(call.name)
    finally:
        attachment.detach()
    return Hijacked()

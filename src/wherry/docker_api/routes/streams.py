"""A container's streams: attach (hijacked and by websocket), logs and stats."""

import asyncio

from aiohttp import WSMsgType, web

from wherry.docker_api.hijack import HEADER, Hijacked, hijack
from wherry.docker_api.pump import pump
from wherry.docker_api.replies import MULTIPLEXED_STREAM, RAW_STREAM, Stream, json_reply
from wherry.docker_api.routing import Call, Routes
from wherry.engine.errors import InvalidParameter
from wherry.engine.streams import DetachKeys, parse_detach_keys

routes = Routes()


@routes.post("/containers/{name}/attach", interruptible=True)
async def attach(call: Call) -> web.StreamResponse:
    query = call.query
    keys = parse_detach_keys(query.text("detachKeys"))
    attachment = await call.engine.containers.attach(
        call.name,
        stdin=query.boolean("stdin"),
        stdout=query.boolean("stdout"),
        stderr=query.boolean("stderr"),
        logs=query.boolean("logs"),
        stream=query.boolean("stream"),
    )
    try:
        connection = hijack(call, multiplexed=not attachment.tty)
        detach = DetachKeys(keys) if attachment.tty else None
        if query.boolean("logs"):
            await connection.header_read()
        if await pump(connection, attachment, multiplexed=not attachment.tty, detach=detach):
            call.engine.containers.left(call.name)
    finally:
        attachment.detach()
    return Hijacked()


@routes.get("/containers/{name}/attach/ws")
async def attach_websocket(call: Call) -> web.StreamResponse:
    query = call.query
    keys = parse_detach_keys(query.text("detachKeys"))
    every = call.version < (1, 42)
    attachment = await call.engine.containers.attach(
        call.name,
        stdin=every or query.boolean("stdin"),
        stdout=every or query.boolean("stdout"),
        stderr=every or query.boolean("stderr"),
        logs=query.boolean("logs"),
        stream=query.boolean("stream"),
    )
    socket = web.WebSocketResponse()
    watch = DetachKeys(keys) if attachment.tty else None

    async def forward_input() -> None:
        async for message in socket:
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                continue
            data = message.data.encode() if message.type is WSMsgType.TEXT else message.data
            data, left = watch.filter(data) if watch else (data, False)
            if data:
                await attachment.write(data)
            if left:
                call.engine.containers.left(call.name)
                return
        attachment.detach()

    async def forward_output() -> None:
        async for _, data in attachment:
            if call.version >= (1, 28):
                await socket.send_bytes(data)
            else:
                await socket.send_str(data.decode("utf-8", "replace"))

    try:
        await socket.prepare(call.request)
        tasks = {asyncio.create_task(forward_input()), asyncio.create_task(forward_output())}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        attachment.detach()
    await socket.close()
    return socket


@routes.get("/containers/{name}/logs")
async def logs(call: Call) -> web.StreamResponse:
    query = call.query
    stdout, stderr = query.boolean("stdout"), query.boolean("stderr")
    if not stdout and not stderr:
        raise InvalidParameter("Bad parameters: you must choose at least one stream")
    since, until = query.timestamp("since"), query.timestamp("until")
    container = await call.engine.containers.inspect(call.name)
    tty = bool(container["Config"].get("Tty"))
    pieces = call.engine.containers.log_batches(
        call.name,
        follow=query.boolean("follow"),
        since=since,
        until=until,
        tail=query.text("tail") or "all",
        timestamps=query.boolean("timestamps"),
        details=query.boolean("details"),
        stdout=stdout,
        stderr=stderr,
    )
    stream = Stream(call, RAW_STREAM if tty or call.version < (1, 42) else MULTIPLEXED_STREAM)
    async for batch in pieces:
        # One write for many lines: the cost of a chunk is that of hundreds of lines.
        if tty:
            await stream.write(b"".join(data for _, data in batch))
        else:
            await stream.write(b"".join(HEADER.pack(number, len(data)) + data for number, data in batch))
    return await stream.finish()


@routes.get("/containers/{name}/stats")
async def stats(call: Call) -> web.StreamResponse:
    query = call.query
    containers = call.engine.containers
    if not query.boolean("stream", True):
        one_shot = call.version >= (1, 41) and query.boolean("one-shot")
        return json_reply(await containers.stats(call.name, one_shot=one_shot))
    stream = Stream(call)
    async for sample in containers.stats_stream(call.name):
        await stream.write_json(sample)
    return await stream.finish()

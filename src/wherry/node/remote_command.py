"""exec and attach over WebSocket: `v5.channel.k8s.io` and `v4.channel.k8s.io`.

Each message begins with a byte naming its channel: 0 stdin, 1 stdout, 2 stderr, 3 the final Status, 4 terminal size;
in v5, 255 closes the channel named by the next byte. Specified in
https://kubernetes.io/docs/reference/using-api/ (streaming) and KEP-4006.
"""

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

from wherry.node.runtime import RuntimeFailure, Session

if TYPE_CHECKING:
    from aiohttp import web

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
STDIN, STDOUT, STDERR, STATUS, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255


def exit_status(code: int) -> dict[str, Any]:
    """The Status that ends an exec."""
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: command terminated with exit code {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def failure_status(message: str) -> dict[str, Any]:
    return {"metadata": {}, "status": "Failure", "message": message, "reason": "InternalError", "code": 500}


async def serve(ws: "web.WebSocketResponse", session: Session, *, stdin: bool, stdout: bool, stderr: bool) -> None:
    """Connect a prepared WebSocket with a session until either ends; sends the final Status."""
    # An empty message tells the client that the streams stand.
    first = STDOUT if stdout else STDERR if stderr else STATUS
    await ws.send_bytes(bytes((first,)))
    receiving = asyncio.create_task(_receive(ws, session, stdin))
    sending = asyncio.create_task(_send(ws, session))
    try:
        await asyncio.wait([receiving, sending], return_when=asyncio.FIRST_COMPLETED)
        if not sending.done():
            # The client left: what it started goes on, or ends by itself, as with docker exec.
            session.detach()
            return
        try:
            sending.result()
            status = exit_status(await session.wait())
        except RuntimeFailure as error:
            status = failure_status(str(error))
        with contextlib.suppress(ConnectionError):
            await ws.send_bytes(bytes((STATUS,)) + json.dumps(status).encode())
            await ws.close()
    finally:
        for task in (receiving, sending):
            task.cancel()
        await asyncio.gather(receiving, sending, return_exceptions=True)


async def _send(ws: "web.WebSocketResponse", session: Session) -> None:
    async for stream, data in session:
        with contextlib.suppress(ConnectionError):
            await ws.send_bytes(bytes((STDERR if stream == 2 else STDOUT,)) + data)


async def _receive(ws: "web.WebSocketResponse", session: Session, stdin: bool) -> None:
    from aiohttp import WSMsgType

    async for message in ws:
        data: bytes = message.data if message.type == WSMsgType.BINARY else str(message.data).encode()
        if message.type not in (WSMsgType.BINARY, WSMsgType.TEXT) or not data:
            continue
        channel = data[0]
        if channel == STDIN and stdin:
            if len(data) > 1:
                await session.write(data[1:])
        elif channel == CLOSE and data[1:2] == bytes((STDIN,)):
            session.close_stdin()
        elif channel == RESIZE:
            with contextlib.suppress(ValueError, KeyError, RuntimeFailure):
                size = json.loads(data[1:])
                await session.resize(int(size["Height"]), int(size["Width"]))

"""Carries bytes between a hijacked connection and a container's or exec's streams until one side ends."""

import asyncio
from contextlib import suppress

from wherry.docker_api.hijack import Connection
from wherry.engine.streams import Attachment, DetachKeys


async def pump(connection: Connection, attachment: Attachment, *, multiplexed: bool, detach: DetachKeys | None) -> bool:
    """Output goes to the client, with headers when `multiplexed`; input to the container until the client half-closes.

    Ends, and closes the connection, when the output ends, when the client has gone, or when the client typed the
    detach keys (`detach`, for terminals): then it returns True. The caller releases the attachment.
    """
    asked_to_detach = False

    async def forward_output() -> None:
        async for stream, data in attachment:
            if multiplexed:
                await connection.write_stream(stream, data)
            else:
                await connection.write(data)

    async def forward_input() -> bool:
        """True when the client asked to detach."""
        while data := await connection.read():
            data, left = detach.filter(data) if detach else (data, False)
            if data:
                await attachment.write(data)
            if left:
                return True
        if not connection.lost.done():
            attachment.close_stdin()
        return False

    output = asyncio.create_task(forward_output())
    incoming = asyncio.create_task(forward_input())
    try:
        while not output.done() and not connection.lost.done():
            waited: set[asyncio.Future[object]] = {output, connection.lost}  # type: ignore[arg-type]
            if not incoming.done():
                waited.add(incoming)  # type: ignore[arg-type]
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if incoming.done() and not incoming.exception() and incoming.result():
                asked_to_detach = True
                break
    finally:
        for task in (output, incoming):
            task.cancel()
            # A client that has gone ends both; that is no error.
            with suppress(asyncio.CancelledError, ConnectionError):
                await task
        connection.close()
    return asked_to_detach

"""Progress of long operations (pull, push, load, build) as Docker's JSON stream, one object after another."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeAlias

from aiohttp import web

from wherry.docker_api.errors import message_of
from wherry.docker_api.replies import Stream
from wherry.docker_api.routing import Call

Tell: TypeAlias = Callable[[dict[str, Any]], None]


class Messages(Protocol):
    """An answer that messages are written to."""

    @property
    def started(self) -> bool: ...

    async def write_json(self, value: dict[str, Any]) -> None: ...

    async def finish(self) -> web.StreamResponse: ...


async def progress_stream(
    call: Call,
    operation: Callable[[Tell], Awaitable[object]],
    *,
    errors_inside: bool = False,
    answer: Messages | None = None,
) -> web.StreamResponse:
    """Run `operation` and send every message it tells, at once, to `answer` or as a plain stream.

    An error before the first message is the request's (status code); a later one, or any with `errors_inside`, goes
    into the stream as `{"errorDetail": {"message": …}, "error": …}`. A client that leaves cancels the operation.
    """
    messages: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
    stream: Messages = answer if answer is not None else Stream(call)

    async def work() -> None:
        try:
            await operation(messages.put_nowait)
        finally:
            messages.put_nowait(None)

    task = asyncio.create_task(work())
    try:
        while (message := await messages.get()) is not None:
            await stream.write_json(message)
        await task
    except (asyncio.CancelledError, ConnectionError):
        raise
    except Exception as error:
        # Nothing is swallowed: the client gets it, in one of two places.
        if not stream.started and not errors_inside:
            raise
        text = message_of(error) or type(error).__name__
        detail: dict[str, Any] = {"message": text}
        if isinstance(code := getattr(error, "code", None), int):
            # The exit code of a build step.
            detail["code"] = code
        await stream.write_json({"errorDetail": detail, "error": text})
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return await stream.finish()

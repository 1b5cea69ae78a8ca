"""What a container says before the one client that it was made for is attached.

`kubectl run -i` makes a container whose stdin is for one client only (stdinOnce), and attaches once it runs. What such
a container has printed by then would be lost to that client, so it is kept from the start, up to a bound.
"""

import asyncio
from collections import deque

from wherry.engine.engine import Engine
from wherry.engine.streams import Attachment, Frame

KEPT_BYTES = 64 * 1024


class EarlyOutput:
    """Of all containers of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._kept: dict[str, _Kept] = {}
        # Whoever comes after that finds it ended, and reads the log.
        engine.subscribe_exits(self._ended)

    async def before_start(self, id: str) -> None:
        """Listen from the first byte on, if this container is one of those. Raises EngineError."""
        config = self._engine.containers.get(id).config
        if not (config.get("OpenStdin") and config.get("StdinOnce")) or id in self._kept:
            return
        self._kept[id] = _Kept(await self._engine.containers.attach(id))

    def _ended(self, id: str, _: int) -> None:
        self._kept.pop(id, None)

    def claim(self, id: str) -> list[Frame] | None:
        """What was said so far, once; None when nothing was kept. What comes from now on is no longer kept."""
        kept = self._kept.pop(id, None)
        return None if kept is None else kept.end()


class _Kept:
    def __init__(self, attachment: Attachment) -> None:
        self._attachment = attachment
        self._frames: deque[Frame] = deque()
        self._bytes = 0
        self.task = asyncio.create_task(self._read(), name="early output")

    async def _read(self) -> None:
        async for frame in self._attachment:
            self._frames.append(frame)
            self._bytes += len(frame[1])
            while self._bytes > KEPT_BYTES:
                self._bytes -= len(self._frames.popleft()[1])

    def end(self) -> list[Frame]:
        frames = [*self._frames, *self._attachment.take()]
        self.task.cancel()
        self._attachment.detach()
        return frames

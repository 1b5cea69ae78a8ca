"""What `wherry-node` and `wherry-server` share: logging, signals, the event loop, and dying as a whole."""

import asyncio
import gc
import logging
import logging.handlers
import signal
import sys
from collections.abc import Awaitable, Callable

import uvloop

from wherry.host.instance import Instance

LOG_BYTES = 10 * 1024 * 1024
LOG_FILES = 3
GC_THRESHOLDS = (50_000, 10, 50)


def set_up_logging(instance: Instance, name: str, verbose: bool) -> None:
    """To `<root>/log/<name>.log`, at most LOG_FILES × LOG_BYTES; to stderr too when it is a terminal."""
    instance.log_dir.mkdir(parents=True, exist_ok=True)
    handlers: list[logging.Handler] = [
        logging.handlers.RotatingFileHandler(
            instance.log_dir / f"{name}.log", maxBytes=LOG_BYTES, backupCount=LOG_FILES - 1, encoding="utf-8"
        )
    ]
    if sys.stderr.isatty():
        handlers.append(logging.StreamHandler())
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        handlers=handlers,
    )
    logging.getLogger("asyncio").setLevel(logging.WARNING)


def run(body: Callable[[asyncio.Event], Awaitable[None]]) -> int:
    """Runs `body(stop)` on uvloop; SIGTERM and SIGINT set `stop`. An exception ends the process with code 1.

    `body` returns when it has stopped cleanly.
    """

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await body(stop)

    # The caches hold very many small objects that live long and are in no cycle. At Python's own thresholds, looking
    # through them again and again was 40 % of the server's work under load.
    gc.set_threshold(*GC_THRESHOLDS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
    return 0


def innermost(error: BaseException) -> BaseException:
    """The first error inside a group of groups: what to tell people. The error itself when it is no group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error

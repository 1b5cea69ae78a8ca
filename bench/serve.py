"""The engine and its API alone, for measuring: `serve.py ROOT RUN` serves `RUN/docker.sock` until SIGTERM."""

import asyncio
import signal
import sys
from pathlib import Path

import uvloop

from wherry.docker_api import serve
from wherry.engine.engine import Engine
from wherry.host.instance import open_instance


async def main() -> None:
    instance = open_instance(sys.argv[1], sys.argv[2])
    for directory in (instance.root, instance.run):
        Path(directory).mkdir(parents=True, exist_ok=True)
    engine = await Engine.open(instance)
    api = await serve(engine, instance.docker_socket)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    print("ready", flush=True)
    await stop.wait()
    await api.close()
    await engine.close()


if __name__ == "__main__":
    uvloop.run(main())

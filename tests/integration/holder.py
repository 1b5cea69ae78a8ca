"""A process of its own that holds an engine, to be killed."""

import signal
import subprocess
import sys
from pathlib import Path

from wherry.host.instance import Instance

_HOLDER = """
import asyncio, sys
from pathlib import Path
from wherry.engine.engine import Engine
from wherry.host.instance import open_instance

async def main():
    engine = await Engine.open(open_instance(sys.argv[1], sys.argv[2]))
    if engine.images.find("busybox") is None:
        await engine.images.load(Path(sys.argv[3]))
    print("ready", flush=True)
    scope = {"engine": engine, "containers": engine.containers, "asyncio": asyncio}
    code = compile(sys.argv[4], "script", "exec", flags=__import__("ast").PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(code, scope)
    if result is not None:
        await result
    print("done", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


class Holder:
    """A process of its own that holds an engine, runs a script in it, and can be killed."""

    def __init__(self, instance: Instance, archive: Path, script: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _HOLDER, str(instance.root), str(instance.run), str(archive), script],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self._output = self.process.stdout

    def wait_for(self, line: str) -> None:
        for shown in self._output:
            if shown.strip() == line:
                return
        raise AssertionError(f"the holder ended with {self.process.wait()} before it said {line!r}")

    def kill(self) -> list[str]:
        """Returns what it has said and nobody has read."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        with self._output:
            return self._output.readlines()

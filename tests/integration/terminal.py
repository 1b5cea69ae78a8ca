"""A terminal emulator around a command: what a user would see and type."""

import asyncio
import contextlib
import fcntl
import os
import pty
import struct
import termios
from typing import Any

import pyte


class Terminal:
    """`async with Terminal(["docker", …], env) as terminal`: keys go in by `type`, the screen is read by `wait_for`."""

    def __init__(self, command: list[str], env: dict[str, str], *, rows: int = 24, columns: int = 80) -> None:
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        self._command = command
        self._env = {**env, "TERM": "xterm"}
        self._size = (rows, columns)
        self._changed = asyncio.Event()
        self.raw = b""

    async def __aenter__(self) -> "Terminal":
        self._master, slave = pty.openpty()
        self._set_size(*self._size)
        os.set_blocking(self._master, False)
        self.process = await asyncio.create_subprocess_exec(
            *self._command, stdin=slave, stdout=slave, stderr=slave, env=self._env, preexec_fn=_own_terminal
        )
        os.close(slave)
        asyncio.get_running_loop().add_reader(self._master, self._read)
        return self

    async def __aexit__(self, *_: Any) -> None:
        asyncio.get_running_loop().remove_reader(self._master)
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        os.close(self._master)

    def _set_size(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def _read(self) -> None:
        try:
            data = os.read(self._master, 65536)
        except OSError:  # the other side is closed
            asyncio.get_running_loop().remove_reader(self._master)
            data = b""
        self.raw += data
        self._stream.feed(data)
        self._changed.set()

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip()

    async def wait_for(self, text: str, timeout: float = 15.0) -> None:
        """Until `text` is on the screen; fails with the screen otherwise."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while text not in self.text:
                    self._changed.clear()
                    await self._changed.wait()
        assert text in self.text, f"{text!r} never came:\n{self.text}"

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def resize(self, rows: int, columns: int) -> None:
        self.screen.resize(rows, columns)
        self._set_size(rows, columns)

    async def exit_code(self, timeout: float = 15.0) -> int:
        async with asyncio.timeout(timeout):
            return await self.process.wait()


def _own_terminal() -> None:
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)

"""Lines of several containers on one screen: each with its container's name in front, aligned, and in its colour."""

import threading
from collections.abc import Callable, Iterable

_COLOURS = ("36", "33", "32", "35", "34", "36;1", "33;1", "32;1", "35;1", "34;1")


class LogPrinter:
    """`write` gets whole lines, as bytes. Names should be registered before the first line: they set the width."""

    def __init__(self, write: Callable[[bytes], None], *, colour: bool = False, prefix: bool = True) -> None:
        self._write = write
        self._colour = colour
        self._prefix = prefix
        self._names: dict[str, int] = {}
        self._pending: dict[tuple[str, int], bytes] = {}
        self._width = 0
        self._lock = threading.Lock()
        self.silenced: set[str] = set()
        """Names of which nothing is printed."""

    def register(self, names: Iterable[str]) -> None:
        with self._lock:
            for name in names:
                self._names.setdefault(name, len(self._names))
                self._width = max(self._width, len(name))

    def feed(self, name: str, stream: int, data: bytes) -> None:
        """More output of a container; it is printed as its lines become whole."""
        if name in self.silenced:
            return
        self.register([name])
        with self._lock:
            *lines, rest = (self._pending.pop((name, stream), b"") + data).split(b"\n")
            if rest:
                self._pending[name, stream] = rest
            self._lines(name, lines)

    def end(self, name: str) -> None:
        """The container's output is over: a last line without an end is printed too."""
        with self._lock:
            for key in [key for key in self._pending if key[0] == name]:
                self._lines(name, [self._pending.pop(key)])

    def note(self, text: str) -> None:
        """A line of our own."""
        with self._lock:
            self._write(text.encode() + b"\n")

    def _lines(self, name: str, lines: list[bytes]) -> None:
        front = self._front(name)
        if lines:
            self._write(b"".join(front + line.rstrip(b"\r") + b"\n" for line in lines))

    def _front(self, name: str) -> bytes:
        if not self._prefix:
            return b""
        text = f"{name.ljust(self._width)}  | "
        if not self._colour:
            return text.encode()
        return f"\x1b[{_COLOURS[self._names[name] % len(_COLOURS)]}m{text}\x1b[0m".encode()

"""The terminal between a user and a container: attach, exec, run and start.

One loop moves bytes both ways: standard input to the connection, the connection's output to standard output and
error. A terminal on standard input is raw meanwhile, its size follows the window (SIGWINCH), and the detach keys
end the loop. Signals that reach the client are handed to the container where there is no terminal to do it.
"""

from __future__ import annotations

import _socket
import os
import sys

from wherry.cli.docker.errors import CliError

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any

    from wherry.cli.docker.program import Cli
    from wherry.docker_api.client import Hijacked

DEFAULT_DETACH = "ctrl-p,ctrl-q"


class Detached(Exception):
    """The user typed the detach keys."""


def detach_bytes(keys: str) -> bytes:
    """`ctrl-p,ctrl-q` as the bytes a terminal sends. CliError when it names no keys."""
    found = bytearray()
    for key in (keys or DEFAULT_DETACH).split(","):
        if len(key) == 1:
            found += key.encode()
        elif key.startswith("ctrl-") and len(key) == 6 and (key[5].isalpha() or key[5] in "@[\\]^_"):
            found.append(ord(key[5].upper()) & 0x1F)
        else:
            raise CliError(f"Unknown character: '{key}'")
    return bytes(found)


class RawTerminal:
    """Makes the terminal on standard input raw, and puts it back at the end; does nothing where there is none."""

    def __init__(self, wanted: bool) -> None:
        self._saved: list[Any] | None = None
        self._wanted = wanted and os.isatty(0)

    def __enter__(self) -> RawTerminal:
        if self._wanted:
            import termios

            self._saved = termios.tcgetattr(0)
            mode: list[Any] = [list(part) if isinstance(part, list) else part for part in self._saved]
            mode[0] &= ~(
                termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP | termios.INLCR | termios.IGNCR
                | termios.ICRNL | termios.IXON
            )  # fmt: skip
            mode[1] &= ~termios.OPOST
            mode[2] = mode[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
            mode[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
            mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
            termios.tcsetattr(0, termios.TCSADRAIN, mode)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._saved is not None:
            import termios

            termios.tcsetattr(0, termios.TCSADRAIN, self._saved)


def follow_window(resize: Callable[[int, int], object], *, redraw: bool = False) -> None:
    """Calls `resize(rows, columns)` now and whenever the window changes. What the engine answers is of no interest.

    `redraw` gives another size first: a shell that is attached to again draws its prompt only when its size changes.
    """
    import signal

    from wherry.docker_api.client import CannotConnect, DockerError

    def changed(*_: object) -> None:
        nonlocal redraw
        try:
            size = os.get_terminal_size(1)
            if redraw:
                redraw = False
                resize(size.lines + 1, size.columns + 1)
            resize(size.lines, size.columns)
        except (OSError, DockerError, CannotConnect):
            return

    signal.signal(signal.SIGWINCH, changed)
    changed()


_NOT_FORWARDED = ("SIGCHLD", "SIGPIPE", "SIGURG", "SIGWINCH", "SIGKILL", "SIGSTOP", "SIGCLD", "SIGALRM", "SIGTTOU")


def forward_signals(send: Callable[[str], object]) -> Callable[[], None]:
    """Hands every signal that can be caught to `send(name)`; the result puts the old handlers back."""
    import signal

    from wherry.docker_api.client import CannotConnect, DockerError

    def handler(number: int, _: object) -> None:
        try:
            send(signal.Signals(number).name.removeprefix("SIG"))
        except (DockerError, CannotConnect):
            return  # not started yet or gone already: as with Docker's client, the signal is lost

    previous: dict[int, Any] = {}
    for one in signal.valid_signals():
        name = one.name if isinstance(one, signal.Signals) else ""
        if name and name not in _NOT_FORWARDED and not name.startswith("SIGRT"):
            try:
                previous[one] = signal.signal(one, handler)
            except OSError:
                continue

    def restore() -> None:
        for number, old in previous.items():
            signal.signal(number, old)

    return restore


class _Keys:
    """Watches input for the detach keys; holds back bytes that may be their beginning."""

    def __init__(self, keys: bytes) -> None:
        self.keys = keys
        self.matched = 0

    def feed(self, data: bytes) -> bytes:
        """The bytes to pass on. Raises Detached."""
        if not self.keys:
            return data
        out = bytearray()
        for byte in data:
            if byte == self.keys[self.matched]:
                self.matched += 1
                if self.matched == len(self.keys):
                    raise Detached
                continue
            out += self.keys[: self.matched]
            self.matched = 0
            if byte == self.keys[0]:
                self.matched = 1
            else:
                out.append(byte)
        return bytes(out)


def converse(connection: Hijacked, *, stdin: bool, tty: bool, detach_keys: bytes = b"") -> None:
    """Moves bytes until the other side is done. Raises Detached when the user types the detach keys.

    `tty`: the stream is one, not multiplexed. The end of standard input closes the writing half.
    """
    import select

    connection.connection.setblocking(False)
    socket_fd = connection.connection.fileno()
    poll = select.poll()
    poll.register(socket_fd, select.POLLIN)
    if stdin:
        poll.register(0, select.POLLIN)
    keys = _Keys(detach_keys if tty else b"")
    demultiplex = _Demultiplexer() if not tty else None
    pending = b""
    open_input = stdin
    # What came with the answer's head is read before anything is waited for.
    early, connection._reader.buffer = connection._reader.buffer, b""
    if early:
        _put(demultiplex, early)
    while True:
        for descriptor, event in poll.poll():
            if descriptor == 0:
                data = os.read(0, 32768)
                if not data:
                    poll.unregister(0)
                    open_input = False
                    if not pending:
                        _close_write(connection)
                    continue
                pending += keys.feed(data)
                if pending:
                    poll.modify(socket_fd, select.POLLIN | select.POLLOUT)
                    # Nothing more is read until this is sent: the container sets the pace.
                    poll.unregister(0)
                continue
            if event & select.POLLOUT and pending:
                try:
                    pending = pending[connection.connection.send(pending) :]
                except (BlockingIOError, InterruptedError):
                    pass
                except (BrokenPipeError, ConnectionResetError):
                    pending, open_input = b"", False
                if not pending:
                    poll.modify(socket_fd, select.POLLIN)
                    if open_input:
                        poll.register(0, select.POLLIN)
                    elif stdin:
                        _close_write(connection)
            if event & (select.POLLIN | select.POLLHUP | select.POLLERR):
                try:
                    data = connection.connection.recv(65536)
                except (BlockingIOError, InterruptedError):
                    continue
                except ConnectionResetError:
                    data = b""
                if not data:
                    return
                _put(demultiplex, data)


def _close_write(connection: Hijacked) -> None:
    try:
        connection.connection.shutdown(_socket.SHUT_WR)
    except OSError:
        return  # the other side has closed already


def _put(demultiplex: _Demultiplexer | None, data: bytes) -> None:
    if demultiplex is None:
        write_all(1, data)
    else:
        for descriptor, piece in demultiplex.feed(data):
            write_all(descriptor, piece)


def write_all(descriptor: int, data: bytes) -> None:
    """Writes everything, past short writes."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


class _Demultiplexer:
    """The API's "stream format": frames of one byte for the stream, three of nothing, four for the length."""

    def __init__(self) -> None:
        self.buffer = b""

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        self.buffer += data
        found = []
        while len(self.buffer) >= 8:
            size = int.from_bytes(self.buffer[4:8], "big")
            if len(self.buffer) < 8 + size:
                break
            found.append((2 if self.buffer[0] == 2 else 1, self.buffer[8 : 8 + size]))
            self.buffer = self.buffer[8 + size :]
        return found


def require_terminal(stdin: bool, tty: bool) -> None:
    """-t with standard input attached needs a terminal there. CliError as Docker words it."""
    if tty and stdin and not os.isatty(0):
        raise CliError("the input device is not a TTY")


def resizer(cli: Cli, kind: str, identity: str) -> Callable[[int, int], object]:
    """`resize(rows, columns)` of a container or an exec."""
    return lambda rows, columns: cli.client.post(f"/{kind}/{identity}/resize", {"h": rows, "w": columns})


def flush() -> None:
    """What was printed before goes out before raw bytes do."""
    sys.stdout.flush()
    sys.stderr.flush()

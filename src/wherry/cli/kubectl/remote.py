"""A command's streams over a WebSocket, connected with ours: what exec, attach, run and cp use.

Each message begins with a byte naming its channel: 0 stdin, 1 stdout, 2 stderr, 3 the final Status, 4 terminal size;
in v5, 255 closes the channel named by the next byte.
"""

import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from wherry.cli.kubectl.errors import KubectlError, Quiet, ServerError
from wherry.cli.kubectl.session import Session
from wherry.cli.kubectl.websocket import WebSocket, connect

PROTOCOLS = ["v5.channel.k8s.io", "v4.channel.k8s.io"]
STDIN, STDOUT, STDERR, STATUS, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255


def open_streams(session: Session, path: str, query: dict[str, Any]) -> WebSocket:
    return connect(session.http, path, query, PROTOCOLS)


def finish(status: dict[str, Any]) -> int:
    """The exit code of the final Status. Raises KubectlError for a failure that is no exit code."""
    if status.get("status") == "Success":
        return 0
    if status.get("reason") == "NonZeroExitCode":
        for cause in (status.get("details") or {}).get("causes") or ():
            if cause.get("reason") == "ExitCode":
                return int(cause["message"])
    if status.get("code"):
        raise ServerError(int(status["code"]), status)
    raise KubectlError(str(status.get("message") or "the connection ended without a status"))


def run(
    ws: WebSocket,
    *,
    stdin: BinaryIO | None,
    stdout: Callable[[bytes], Any],
    stderr: Callable[[bytes], Any],
    tty: bool = False,
) -> int:
    """Carry the streams until the command ends. Returns its exit code."""
    status: dict[str, Any] | None = None
    with _terminal(ws) if tty else contextlib.nullcontext():
        if stdin is not None:
            threading.Thread(target=_pump, args=(ws, stdin), daemon=True).start()
        for message in ws.messages():
            if not message:
                continue
            channel, data = message[0], message[1:]
            if channel == STDOUT and data:
                stdout(data)
            elif channel == STDERR and data:
                stderr(data)
            elif channel == STATUS and data:
                status = json.loads(data)
    ws.close()
    if status is None:
        raise KubectlError(
            "error reading from error stream: next reader: websocket: close 1006 (abnormal closure): unexpected EOF"
        )
    return finish(status)


def _pump(ws: WebSocket, stdin: BinaryIO) -> None:
    try:
        descriptor = stdin.fileno()
    except (OSError, ValueError):
        descriptor = -1
    try:
        while data := os.read(descriptor, 32768) if descriptor >= 0 else stdin.read(32768):
            ws.send(bytes((STDIN,)) + data)
        if ws.protocol.startswith("v5"):
            ws.send(bytes((CLOSE, STDIN)))
    except OSError:
        return


def write_stdout(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def write_stderr(data: bytes) -> None:
    sys.stderr.buffer.write(data)
    sys.stderr.buffer.flush()


@contextlib.contextmanager
def _terminal(ws: WebSocket) -> Iterator[None]:
    """Our terminal raw, its size told now and at every change."""
    import queue
    import termios
    import tty

    # A signal handler may not send: it comes in the middle of a read, or of another message.
    changes: queue.SimpleQueue[None] = queue.SimpleQueue()

    def tell() -> None:
        while True:
            with contextlib.suppress(OSError):
                size = os.get_terminal_size(sys.stdout.fileno())
                ws.send(bytes((RESIZE,)) + json.dumps({"Width": size.columns, "Height": size.lines}).encode())
            changes.get()

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    previous = signal.signal(signal.SIGWINCH, lambda *_: changes.put(None))
    try:
        tty.setraw(descriptor)
        threading.Thread(target=tell, daemon=True).start()
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
        signal.signal(signal.SIGWINCH, previous)


def exit_with(code: int) -> int:
    """0, or the end of kubectl with the command's own exit code, said as kubectl says it."""
    if code:
        print(f"command terminated with exit code {code}", file=sys.stderr)
        raise Quiet(code)
    return 0

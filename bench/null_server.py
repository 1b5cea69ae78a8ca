"""A daemon that answers every request at once and does nothing: what is left is the client's own time.

    python bench/null_server.py SOCKET

A process of its own, so that it does not share the measuring process's interpreter.
"""

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

_HEAD = (
    b"HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nBuilder-Version: 1\r\nOstype: linux\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
)


def _serve(connection: socket.socket) -> None:
    with connection, connection.makefile("rb") as reader:
        while request := reader.readline():
            headers = {}
            while line := reader.readline().strip():
                name, _, value = line.decode("latin-1").partition(":")
                headers[name.lower()] = value.strip()
            if headers.get("transfer-encoding") == "chunked":
                while size := int(reader.readline(), 16):
                    reader.read(size + 2)
                reader.readline()
            else:
                reader.read(int(headers.get("content-length", 0)))
            body = b'{"stream":"sha256:0\\n"}\r\n' if b"/build" in request else b"OK"
            connection.sendall(_HEAD % len(body) + (b"" if request.startswith(b"HEAD") else body))


def main() -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(sys.argv[1])
        listener.listen(16)
        print("ready", flush=True)
        while True:
            threading.Thread(target=_serve, args=(listener.accept()[0],), daemon=True).start()


@contextlib.contextmanager
def null_server(path: Path) -> Iterator[str]:
    """Its DOCKER_HOST."""
    process = subprocess.Popen([sys.executable, __file__, path], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield f"unix://{path}"
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()

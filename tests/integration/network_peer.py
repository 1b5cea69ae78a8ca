"""Things to talk to and to talk with inside network namespaces: a small server, HTTP and DNS clients."""

import asyncio
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType

_SERVER = """
import http.server, socket, sys, threading
name = sys.argv[1].encode()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(name + b" " + self.client_address[0].encode())
    def log_message(self, *arguments):
        pass
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("", 53))
def echo():
    while True:
        data, client = udp.recvfrom(999)
        udp.sendto(name, client)
threading.Thread(target=echo, daemon=True).start()
server = Server(("::", 80), Handler)
print("ready", flush=True)
server.serve_forever()
"""

_ASK = """
import sys, dnslib
name, kind, tcp, server = sys.argv[1:]
answer = dnslib.DNSRecord.question(name, kind).send(server, 53, tcp=tcp == "1", timeout=5)
print("\\n".join(str(record.rdata) for record in dnslib.DNSRecord.parse(answer).rr))
"""

_UDP = """
import socket, sys
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(3)
client.bind(("", int(sys.argv[3])))
client.sendto(b"x", (sys.argv[1], int(sys.argv[2])))
print(client.recv(99).decode())
"""


class Peer:
    """A server on TCP port 80 (answers "<name> <client address>") and UDP port 53 (answers "<name>")."""

    def __init__(self, netns: Path, name: str) -> None:
        command = ["nsenter", f"--net={netns}", sys.executable, "-c", _SERVER, name]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()


def inside(netns: Path | None, *command: str) -> str:
    """Output of a command in a namespace (None: here); "" when it fails."""
    enter = ["nsenter", f"--net={netns}"] if netns else []
    return subprocess.run([*enter, *command], capture_output=True, text=True, check=False).stdout


async def http_get(url: str, netns: Path | None = None, *, seconds: int = 5) -> str:
    """The body, or "" when there is no answer."""
    return await asyncio.to_thread(inside, netns, "curl", "-s", "-g", "-m", str(seconds), url)


async def resolve(
    netns: Path | None, name: str, kind: str = "A", *, tcp: bool = False, server: str = "127.0.0.11"
) -> list[str]:
    command = [sys.executable, "-c", _ASK, name, kind, "1" if tcp else "0", server]
    return (await asyncio.to_thread(inside, netns, *command)).split()


async def udp_ask(address: str, port: int, netns: Path | None = None, *, source_port: int = 0) -> str:
    command = [sys.executable, "-c", _UDP, address, str(port), str(source_port)]
    return (await asyncio.to_thread(inside, netns, *command)).strip()


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])

"""The API server under load, with etcd's own put rate and a bare HTTP echo measured in the same run.

    .venv/bin/python bench/api.py [--seconds 4] [--connections 16] [--objects 50000] [--pods 100000]

The client is a process of its own and its cost is included: 16 keep-alive TLS connections, HTTP/1.1, one request at a
time on each, as fast as they go. Prints one line per measure. Writes only below a temporary directory.

The echo is what the machine and this client can do at best: a server that answers every request with the very bytes
that the API server gives for the GET, unread and unchecked, under the same TLS settings, asked by the same client over
as many connections. It is measured before and after the GET, because the machine is not the same from one second to
the next.
"""

import argparse
import asyncio
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import uvloop

from wherry.host.instance import Instance

SERVER = """
import asyncio, sys, time, uvloop
started = time.perf_counter()
async def main():
    from pathlib import Path
    from wherry.host.instance import Instance
    from wherry.kube_api.server import ApiServer, ServerOptions
    root = Path(sys.argv[1])
    server = ApiServer(Instance("bnch", root, root / "run"), ServerOptions(
        port=0, static_tokens={"bench": ("bench", ("system:masters",))}))
    await server.start()
    print(server.port, time.perf_counter() - started, flush=True)
    await asyncio.Event().wait()
uvloop.run(main())
"""

ECHO = """
import asyncio, ssl, sys, uvloop
answer = open(sys.argv[4], "rb").read()
class Echo(asyncio.Protocol):
    def connection_made(self, transport): self.transport = transport
    def data_received(self, data):
        if data.endswith(b"\\r\\n\\r\\n"):
            self.transport.write(answer)
async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(sys.argv[1], sys.argv[2])
    context.load_verify_locations(sys.argv[3])
    context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["http/1.1"])
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0, ssl=context)
    print(server.sockets[0].getsockname()[1], 0, flush=True)
    await asyncio.Event().wait()
uvloop.run(main())
"""


class Connection(asyncio.Protocol):
    """One keep-alive connection that asks again as soon as it has been answered."""

    def __init__(self, make: Callable[[], bytes | None], done: asyncio.Future[None]) -> None:
        self.make = make
        self.done = done
        self.count = 0
        self.bad = 0
        self.times: list[float] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        self.head, self.need, self.got = b"", -1, 0
        request = self.make()
        if request is None:
            if not self.done.done():
                self.done.set_result(None)
            return
        self.began = time.perf_counter()
        self.transport.write(request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        if self.need < 0:
            self.head += data
            end = self.head.find(b"\r\n\r\n")
            if end < 0:
                return
            start = self.head.find(b"Content-Length: ") + 16
            self.need = int(self.head[start : self.head.find(b"\r", start)])
            self.got = len(self.head) - end - 4
            if self.head[9:10] != b"2":
                self.bad += 1
        else:
            self.got += len(data)
        if self.got >= self.need:
            self.count += 1
            self.times.append(time.perf_counter() - self.began)
            self.ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


def request(method: str, path: str, body: bytes = b"", content_type: str = "application/json") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\nAuthorization: Bearer bench\r\n"
    if body:
        head += f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


async def load(
    port: int, context: ssl.SSLContext, connections: int, seconds: float, make: Callable[[], bytes | None]
) -> str:
    """Requests per second and latencies of `make()` over some connections for some seconds, or until it gives None."""
    loop = asyncio.get_running_loop()
    stop = time.perf_counter() + seconds

    def next_request() -> bytes | None:
        return make() if time.perf_counter() < stop else None

    running = []
    began = time.perf_counter()
    for _ in range(connections):
        done = loop.create_future()
        _, connection = await loop.create_connection(
            lambda done=done: Connection(next_request, done),
            "127.0.0.1",
            port,
            ssl=context,
            server_hostname="localhost",
        )
        running.append((connection, done))
    await asyncio.gather(*(done for _, done in running))
    took = time.perf_counter() - began
    times = sorted(one for connection, _ in running for one in connection.times)
    bad = sum(connection.bad for connection, _ in running)
    for connection, _ in running:
        connection.transport.close()  # type: ignore[attr-defined]
    p99 = times[int(len(times) * 0.99)] * 1000
    return f"{len(times) / took:10,.0f}/s   p99 {p99:6.1f} ms" + (f"   {bad} refused" if bad else "")


async def send(port: int, context: ssl.SSLContext, connections: int, requests: list[bytes]) -> None:
    """Each request once."""
    queue = iter(requests)
    print("  preparing:", (await load(port, context, connections, 1e9, lambda: next(queue, None))).strip())


def start(code: str, *arguments: str) -> tuple[subprocess.Popen[str], int, float]:
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    port, seconds = process.stdout.readline().split()
    return process, int(port), float(seconds)


def pss(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def config_map(name: str, size: int = 1024) -> bytes:
    return json.dumps({"metadata": {"name": name}, "data": {"k": "x" * size}}).encode()


def pod(name: str) -> bytes:
    """A pod as a Deployment's, of about 1.5 KiB as it is stored."""
    labels = {"app": "web", "pod-template-hash": "5d9c7f8b6"}
    container = {
        "name": "web", "image": "nginx:1.27", "ports": [{"containerPort": 80}],
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
    }  # fmt: skip
    return json.dumps({"metadata": {"name": name, "labels": labels}, "spec": {"containers": [container]}}).encode()


async def answer_to(port: int, context: ssl.SSLContext, asked: bytes) -> bytes:
    """The bytes of one answer, head and body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    writer.write(asked)
    head = await reader.readuntil(b"\r\n\r\n")
    begin = head.find(b"Content-Length: ") + 16
    body = await reader.readexactly(int(head[begin : head.find(b"\r", begin)]))
    writer.close()
    return head + body


async def watch_latency(port: int, context: ssl.SSLContext, watchers: int, updates: int) -> str:
    """Delivery times of `updates` to `watchers`, from the moment an update is sent."""
    path = "/api/v1/namespaces/default/configmaps"
    sent: dict[bytes, float] = {}
    times: list[float] = []
    readers = []
    for _ in range(watchers):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=context, server_hostname="localhost", limit=1 << 20
        )
        query = "?watch=1&fieldSelector=metadata.name%3Dwatched&resourceVersion=0"
        writer.write(request("GET", path + query))
        await reader.readuntil(b"\r\n\r\n")
        readers.append((reader, writer))

    async def follow(reader: asyncio.StreamReader) -> None:
        seen = 0
        while seen < updates:
            line = await reader.readuntil(b"}\n")
            now = time.perf_counter()
            start = line.find(b'"n":"')
            if start >= 0:
                mark = line[start + 5 : line.find(b'"', start + 5)]
                times.append(now - sent[mark])
                seen += 1

    tasks = [asyncio.create_task(follow(reader)) for reader, _ in readers]
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    for index in range(updates):
        mark = b"%d" % index
        sent[mark] = time.perf_counter()
        body = b'{"data":{"n":"%b"}}' % mark
        writer.write(request("PATCH", f"{path}/watched", body, "application/merge-patch+json"))
        head = await reader.readuntil(b"\r\n\r\n")
        begin = head.find(b"Content-Length: ") + 16
        await reader.readexactly(int(head[begin : head.find(b"\r", begin)]))
        await asyncio.sleep(max(0.0, 0.01 - (time.perf_counter() - sent[mark])))
    async with asyncio.timeout(20):
        await asyncio.gather(*tasks)
    for _, one in [*readers, (reader, writer)]:
        one.close()
    times.sort()
    return f"p50 {times[len(times) // 2] * 1000:.1f} ms   p99 {times[int(len(times) * 0.99)] * 1000:.1f} ms"


async def etcd_rate(directory: Path, clients: int, seconds: float) -> str:
    """Puts per second of a real etcd through its gRPC gateway would measure the gateway: use its own benchmark path,
    the v3 JSON API over keep-alive connections, and say so."""
    if shutil.which("etcd") is None:
        return "etcd is not installed"
    ports = []
    for _ in range(2):
        with socket.create_server(("127.0.0.1", 0)) as one:
            ports.append(one.getsockname()[1])
    client, peer = (f"http://127.0.0.1:{port}" for port in ports)
    process = subprocess.Popen(  # noqa: ASYNC220 (starts before anything is measured)
        [
            "etcd", "--data-dir", str(directory / "etcd"),
            "--listen-client-urls", client, "--advertise-client-urls", client,
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}",
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    from wherry.store.api import Unavailable
    from wherry.store.etcd import EtcdStore

    try:
        async with asyncio.timeout(20):
            while True:
                try:
                    store = await EtcdStore.open([client])
                    break
                except Unavailable:
                    await asyncio.sleep(0.05)
        stop = time.perf_counter() + seconds
        count = 0
        value = b"x" * 1024

        async def put(index: int) -> None:
            nonlocal count
            while time.perf_counter() < stop:
                await store.put(f"/bench/{index}/{count}", value)
                count += 1

        began = time.perf_counter()
        await asyncio.gather(*(put(index) for index in range(clients)))
        rate = count / (time.perf_counter() - began)
        await store.close()
        return f"{rate:10,.0f}/s   (JSON gateway, {clients} clients)"
    finally:
        process.kill()
        process.wait()


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--objects", type=int, default=0, help="also measure a start with so many objects")
    parser.add_argument("--pods", type=int, default=0, help="also measure the memory with so many pods")
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="wh-bench-"))
    root = directory / "root"
    root.mkdir()
    print(f"{os.cpu_count()} cores, {options.connections} connections, TLS, client included")
    process, port, cold = start(SERVER, str(root))
    pki = Instance("bnch", root, root / "run").pki_dir
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    try:
        print(f"cold start, new cluster        {cold:10.2f} s")
        await asyncio.sleep(1)
        print(f"idle memory (PSS)              {pss(process.pid):10.1f} MiB")
        print(f"calibration: etcd put 1 KiB    {await etcd_rate(directory, options.connections, options.seconds)}")
        path = "/api/v1/namespaces/default/configmaps"
        counter = iter(range(1 << 30))

        async def measure(name: str, make: Callable[[], bytes], seconds: float = options.seconds) -> None:
            print(f"{name:31}{await load(port, context, options.connections, seconds, make)}", flush=True)

        create = lambda: request("POST", path, config_map(f"c-{next(counter)}"))  # noqa: E731
        await measure("CREATE 1 KiB", create)
        names = [f"p-{index}" for index in range(64)]
        await send(
            port, context, options.connections, [request("POST", path, config_map(n)) for n in ["watched", *names]]
        )
        asked = request("GET", f"{path}/p-0")
        (directory / "answer").write_bytes(await answer_to(port, context, asked))

        async def echo() -> None:
            files = [str(pki / name) for name in ("apiserver.crt", "apiserver.key", "ca.crt")]
            process, echo_port, _ = start(ECHO, *files, str(directory / "answer"))
            rate = await load(echo_port, context, options.connections, options.seconds, lambda: asked)
            print(f"calibration: bare HTTPS echo   {rate}", flush=True)
            process.kill()
            process.wait()

        await echo()
        await measure("GET 1 KiB", lambda: asked)
        await echo()
        patch = lambda: request(  # noqa: E731
            "PATCH",
            f"{path}/p-{next(counter) % 64}",
            b'{"data":{"n":"%d"}}' % next(counter),
            "application/merge-patch+json",
        )
        await measure("merge PATCH", patch)
        listed = "/api/v1/namespaces/kube-public/configmaps"
        fill = [request("POST", listed, config_map(f"l-{index}")) for index in range(1000)]
        await send(port, context, options.connections, fill)
        await measure("LIST 1,000 of 1 KiB", lambda: request("GET", listed))
        print(f"100 watchers x 200 updates      {await watch_latency(port, context, 100, 200)}")
        print(f"memory afterwards (PSS)        {pss(process.pid):10.1f} MiB")
        if options.objects:
            fill = [request("POST", path, config_map(f"f-{index}")) for index in range(options.objects)]
            await send(port, context, options.connections, fill)
        process.terminate()
        process.wait()
        process, port, again = start(SERVER, str(root))
        print(f"start with what was written    {again:10.2f} s   {pss(process.pid):.0f} MiB")
        if options.pods:
            accounts = "/api/v1/namespaces/default/serviceaccounts"
            await send(port, context, 1, [request("POST", accounts, b'{"metadata":{"name":"default"}}')])
            pods = "/api/v1/namespaces/default/pods"
            await send(
                port, context, options.connections, [request("POST", pods, pod(f"w-{n}")) for n in range(options.pods)]
            )
            await asyncio.sleep(2)
            print(f"{options.pods} pods and the above (PSS)  {pss(process.pid):10.1f} MiB")
            process.terminate()
            process.wait()
            process, port, again = start(SERVER, str(root))
            print(f"start with these               {again:10.2f} s   {pss(process.pid):.0f} MiB")
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(directory)


if __name__ == "__main__":
    uvloop.run(main())

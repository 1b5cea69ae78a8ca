"""nginx as the Ingress controller's data plane, with a stand-in for the API server: every Service is a server here."""

import asyncio
import base64
import contextlib
import json
import subprocess
from collections.abc import AsyncIterator, Callable
from typing import Any

from network_peer import free_port

from wherry.cluster_net.ingress import IngressController
from wherry.cluster_net.settings import IngressSettings
from wherry.host import leftovers
from wherry.host.instance import Instance
from wherry.schema.builtin import ENDPOINT_SLICES, EVENTS, INGRESS_CLASSES, INGRESSES, SECRETS, SERVICES
from wherry.testing.fake_client import FakeClient

PREFIX = "nginx.ingress.kubernetes.io/"


class Backend:
    """A server that answers with its name and the request as it came: a JSON object."""

    def __init__(self, name: str, address: str) -> None:
        self.name, self.address = name, address
        self.delay = 0.0
        self._server: asyncio.Server | None = None

    async def start(self, port: int) -> None:
        self._server = await asyncio.start_server(self._serve, self.address, port)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                line, _, rest = head.partition("\r\n")
                method, path, _ = line.split()
                headers = dict(one.split(": ", 1) for one in rest.strip().split("\r\n") if ": " in one)
                headers = {name.lower(): value for name, value in headers.items()}
                if headers.get("upgrade") == "echo":
                    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n")
                    while data := await reader.read(100):
                        writer.write(data)
                    break
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                await asyncio.sleep(self.delay)
                seen = {"name": self.name, "method": method, "path": path, "headers": headers, "size": len(body)}
                code = b"401 Unauthorized" if path.startswith("/deny") else b"200 OK"
                text = json.dumps(seen).encode()
                writer.write(b"HTTP/1.1 %s\r\nX-User: alice\r\nContent-Length: %d\r\n\r\n%s" % (code, len(text), text))
                await writer.drain()
        writer.close()


class Answer:
    """`seen` is what the backend saw, when a backend answered."""

    def __init__(self, raw: str) -> None:
        head, _, self.body = raw.rpartition("\r\n\r\n") if "\r\n\r\n" in raw else ("", "", raw)
        # curl shows the heads of interim answers too: the last one counts.
        lines = head.split("\r\n\r\n")[-1].split("\r\n")
        self.status = int(lines[0].split()[1]) if lines[0] else 0
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:]) if name}
        self.cookies = [line.partition(": ")[2] for line in lines[1:] if line.lower().startswith("set-cookie: ")]
        try:
            self.seen: dict[str, Any] = json.loads(self.body)
        except ValueError:
            self.seen = {}

    @property
    def name(self) -> str:
        return str(self.seen.get("name", ""))


class Site:
    """The controller over a fake API, and backends on 127.0.0.0/8."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.client = FakeClient()
        self.settings = IngressSettings(http_port=free_port(), https_port=free_port(), workers=2)
        self.controller = self._controller()
        self.backends: dict[str, Backend] = {}
        self.port = free_port()
        self._task: asyncio.Task[None] | None = None
        self.client.seed(
            INGRESS_CLASSES,
            {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "IngressClass",
                "metadata": {"name": "nginx"},
                "spec": {"controller": "k8s.io/ingress-nginx"},
            },
        )

    def _controller(self) -> IngressController:
        return IngressController(
            self.client, self.instance, addresses=["127.0.0.1"], settings=self.settings, resolver="127.0.0.1"
        )

    def start(self) -> None:
        self._task = asyncio.create_task(self.controller.run())

    async def stop(self) -> None:
        """As when wherry-node is killed: nginx is left alone."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def restart(self) -> None:
        await self.stop()
        self.controller = self._controller()
        self.start()

    async def service(self, name: str, *endpoints: str, **spec: Any) -> None:
        """A Service whose address is a backend's; without `endpoints` it has one endpoint, the backend itself."""
        number = len(self.backends) + 2
        backend = Backend(name, f"127.0.7.{number}")
        await backend.start(self.port)
        self.backends[name] = backend
        await self.client.create(
            SERVICES,
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": name, "namespace": "default"},
                "spec": {
                    "type": "ClusterIP",
                    "clusterIP": backend.address,
                    "ports": [{"name": "http", "port": self.port, "protocol": "TCP"}],
                }
                | spec,
            },
            "default",
        )
        await self.endpoints(name, *(endpoints or (backend.address,)))

    async def endpoints(self, name: str, *addresses: str) -> None:
        item = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"{name}-1",
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": name},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
            "ports": [{"name": "http", "port": self.port, "protocol": "TCP"}],
        }
        known = any(one["metadata"]["name"] == f"{name}-1" for one in self.client.all(ENDPOINT_SLICES))
        await (self.client.update if known else self.client.create)(ENDPOINT_SLICES, item)  # type: ignore[operator]

    async def ingress(self, name: str, *rules: Any, annotations: dict[str, str] | None = None, **spec: Any) -> None:
        """`rules` are (host, {path or (path, type): service}); annotations without their prefix."""
        made = []
        for host, paths in rules:
            listed = []
            for key, service in paths.items():
                path, kind = key if isinstance(key, tuple) else (key, "Prefix")
                backend = {"service": {"name": service, "port": {"number": self.port}}}
                listed.append({"path": path, "pathType": kind, "backend": backend})
            made.append(({"host": host} if host else {}) | {"http": {"paths": listed}})
        metadata = {
            "name": name,
            "namespace": "default",
            "annotations": {PREFIX + key: value for key, value in (annotations or {}).items()},
        }
        item = {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": metadata,
            "spec": {"ingressClassName": "nginx", "rules": made} | spec,
        }
        known = any(one["metadata"]["name"] == name for one in self.client.all(INGRESSES))
        await (self.client.update if known else self.client.create)(INGRESSES, item)  # type: ignore[operator]
        await self.settled()

    async def secret(self, name: str, **data: bytes) -> None:
        item = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": "default"},
            "data": {key.replace("_", "."): base64.b64encode(value).decode() for key, value in data.items()},
        }
        known = any(one["metadata"]["name"] == name for one in self.client.all(SECRETS))
        await (self.client.update if known else self.client.create)(SECRETS, item)  # type: ignore[operator]

    async def settled(self) -> None:
        """Until nginx answers by what the API says now."""

        def known() -> bool:
            pairs = [
                (one, self.controller.ingresses.get("default", one["metadata"]["name"]))
                for one in self.client.all(INGRESSES)
            ]
            return all(
                own is not None
                and own["spec"] == one["spec"]
                and own["metadata"]["annotations"] == one["metadata"]["annotations"]
                for one, own in pairs
            )

        await self.until(known)
        for _ in range(2):  # the first may be of a look that began before
            self.controller.serving.clear()
            self.controller._wake.set()
            await self.controller.serving.wait()

    async def until(self, probe: Callable[[], Any]) -> Any:
        async with asyncio.timeout(15):
            while True:
                found = probe()
                if asyncio.iscoroutine(found):
                    found = await found
                if found:
                    return found
                await asyncio.sleep(0.02)

    async def get(self, host: str, path: str = "/", *arguments: str, tls: bool = False) -> Answer:
        port = self.settings.https_port if tls else self.settings.http_port
        scheme = "https" if tls else "http"
        command = [
            "curl", "-si", "-m", "5", "--path-as-is", "-k", "--http1.1", "--resolve", f"{host}:{port}:127.0.0.1",
            *arguments, f"{scheme}://{host}:{port}{path}",
        ]  # fmt: skip
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False)
        return Answer(done.stdout.decode())

    def events(self, name: str) -> dict[str, str]:
        """Reason -> message of the Warnings about an Ingress."""
        return {
            event["reason"]: event["message"]
            for event in self.client.all(EVENTS)
            if event["involvedObject"]["name"] == name and event["type"] == "Warning"
        }

    async def warned(self, name: str, reason: str) -> str:
        return str(await self.until(lambda: self.events(name).get(reason)))


@contextlib.asynccontextmanager
async def open_site(instance: Instance) -> AsyncIterator[Site]:
    made = Site(instance)
    made.start()
    try:
        yield made
    finally:
        await made.stop()
        await made.controller.nginx.stop()
        for backend in made.backends.values():
            await backend.stop()
    left = await asyncio.to_thread(leftovers.purge, instance)
    assert not left.processes, left.lines()

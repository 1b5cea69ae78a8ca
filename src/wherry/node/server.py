"""The node API over HTTPS: logs, exec, attach, port-forward, stats and health, for the API server to proxy to.

Only clients with a certificate of the cluster's CA are let in (the API server shows one). Paths, parameters and
plain-text errors are the kubelet's: https://kubernetes.io/docs/reference/node/.
"""

import contextlib
import ctypes
import errno
import json
import logging
import socket
import ssl
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from wherry.node import metrics, pods, port_forward, remote_command
from wherry.node.kubelet import Kubelet
from wherry.node.pod_worker import PodWorker
from wherry.node.runtime import LogOptions, NoSuchContainer, RuntimeFailure
from wherry.node.state import ContainerView
from wherry.node.stats import Stats

log = logging.getLogger(__name__)

DEFAULT_PORT = 10250
PORTS_TRIED = 200


def _listening_socket(host: str, port: int, local_only: bool) -> socket.socket:
    """A TCP socket bound to the address; with `local_only` it hears only connections that come from that very
    address, as a machine's own do. Raises OSError."""
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if local_only and ":" not in host:
            _hear_only(listening, host)
        listening.bind((host, port))
    except OSError:
        listening.close()
        raise
    return listening


def _hear_only(listening: socket.socket, address: str) -> None:
    """A packet filter on the socket: what does not come from `address` is dropped before it is a connection.

    Binding to the loopback device would not do: the kernel counts a connection to one of the machine's own addresses
    as one of the device that has the address.
    """
    source = int.from_bytes(socket.inet_aton(address), "big")
    load, equal, give = 0x20, 0x15, 0x06
    program = b"".join(
        struct.pack("=HBBI", *instruction)
        for instruction in (
            (load, 0, 0, 0xFFF00000 + 12),  # the source address in the network header
            (equal, 0, 1, source),
            (give, 0, 0, 0xFFFFFFFF),
            (give, 0, 0, 0),
        )
    )
    buffer = ctypes.create_string_buffer(program, len(program))
    so_attach_filter = 26
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    listening.setsockopt(socket.SOL_SOCKET, so_attach_filter, header)


@dataclass(frozen=True)
class NodeTls:
    """PEM files: what the server shows, and the CA whose clients it lets in."""

    cert: Path
    key: Path
    client_ca: Path

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.cert, self.key)
        context.load_verify_locations(self.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
        return context


class _NotRunning(Exception):
    """The container that a request is about does not run."""


class NodeServer:
    """Serves one kubelet. `port` is known after `start`."""

    def __init__(self, kubelet: Kubelet, root: Path) -> None:
        self._kubelet = kubelet
        self._stats = Stats(kubelet.runtime, root)
        self._metrics = metrics.Metrics(self._stats, root, kubelet.settings.name)
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(
        self, tls: NodeTls | None, *, host: str = "0.0.0.0", port: int = DEFAULT_PORT, local_only: bool = False
    ) -> int:
        """Listen on the first free port from `port` on, and tell the node's status of it. Raises OSError.

        With `local_only` just this machine's own connections are heard, whatever address they are made to. Without
        `tls` it speaks plain HTTP, which is for tests only.
        """
        runner = web.AppRunner(self.app(), access_log=None)
        await runner.setup()
        context = tls.context() if tls is not None else None
        for candidate in range(port, port + PORTS_TRIED):
            try:
                site = web.SockSite(runner, _listening_socket(host, candidate, local_only), ssl_context=context)
                await site.start()
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    await runner.cleanup()
                    raise
                continue
            self._runner, self.port = runner, candidate
            self._kubelet.heartbeat.port = candidate
            self._kubelet.heartbeat.changed()
            return candidate
        await runner.cleanup()
        raise OSError(errno.EADDRINUSE, f"no free port from {port} to {port + PORTS_TRIED - 1}")

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def app(self) -> web.Application:
        app = web.Application()
        router = app.router
        for path in ("/healthz", "/healthz/ping", "/healthz/syncloop"):
            router.add_get(path, self._healthz)
        router.add_get("/pods", self._pods)
        router.add_get("/runningpods/", self._pods)
        router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._logs)
        for verb, handler in (("exec", self._exec), ("attach", self._attach)):
            for path in ("/{namespace}/{pod}/{container}", "/{namespace}/{pod}/{uid}/{container}"):
                router.add_route("*", f"/{verb}{path}", handler)
        for path in ("/{namespace}/{pod}", "/{namespace}/{pod}/{uid}"):
            router.add_route("*", f"/portForward{path}", self._port_forward)
        router.add_post("/run/{namespace}/{pod}/{container}", self._run)
        router.add_get("/stats/summary", self._summary)
        for path in ("/metrics", "/metrics/resource", "/metrics/cadvisor", "/metrics/probes"):
            router.add_get(path, self._metrics_text)
        return app

    # Small ones.

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def _pods(self, _: web.Request) -> web.Response:
        items = [worker.pod for worker in self._kubelet.workers()]
        return web.json_response({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})

    async def _summary(self, _: web.Request) -> web.Response:
        return web.json_response(await self._stats.summary(self._kubelet.settings.name, self._kubelet.workers()))

    async def _metrics_text(self, request: web.Request) -> web.Response:
        workers = self._kubelet.workers()
        match request.path.rpartition("/")[2]:
            case "resource":
                text = await self._metrics.resource(workers)
            case "cadvisor":
                text = await self._metrics.cadvisor(workers)
            case "probes":
                text = self._metrics.probes(workers)
            case _:
                text = self._metrics.kubelet(workers)
        return web.Response(text=text, headers={"Content-Type": metrics.CONTENT_TYPE})

    # Finding what a request is about.

    def _worker(self, request: web.Request) -> PodWorker:
        info = request.match_info
        worker = self._kubelet.find_pod(info["namespace"], info["pod"], info.get("uid", ""))
        if worker is None:
            raise web.HTTPNotFound(text=f'pod "{info["pod"]}" not found\n')
        return worker

    def _running(self, request: web.Request) -> ContainerView:
        worker = self._worker(request)
        name = request.match_info["container"]
        view = worker.container(name)
        if view is None or not view.running:
            raise _NotRunning(f'container not found ("{name}")')
        return view

    # Logs.

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        worker = self._worker(request)
        name = request.match_info["container"]
        if pods.find_container(worker.pod, name) is None:
            raise web.HTTPNotFound(text=f'container "{name}" not found in pod "{pods.name(worker.pod)}"\n')
        query = request.query
        previous = query.get("previous") in ("true", "1")
        view = self._log_source(worker, name, previous=previous)
        try:
            options, limit = _log_options(query, self._kubelet)
        except ValueError as error:
            raise web.HTTPBadRequest(text=f"{error}\n") from error
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            try:
                async for chunk in self._kubelet.runtime.logs(view.id, options):
                    if limit is not None:
                        chunk = chunk[:limit]
                        limit -= len(chunk)
                    await response.write(chunk)
                    if limit == 0:
                        break
            except NoSuchContainer:
                log.debug("container %s was removed while its log was read", view.id[:12])
            await response.write_eof()
        return response

    def _log_source(self, worker: PodWorker, name: str, *, previous: bool) -> ContainerView:
        """The attempt to show, or the plain-text 400 that says why there is none."""
        current = worker.container(name)
        where = f'in pod "{pods.name(worker.pod)}"'
        if previous:
            before = worker.container(name, previous=True)
            if current is not None and current.exited and not current.lost and worker.is_waiting(name):
                # Between two attempts the one that ended last is the previous one.
                before = current
            if before is None or before.lost:
                raise web.HTTPBadRequest(text=f'previous terminated container "{name}" {where} not found\n')
            return before
        if current is None or (current.state == "created" and not current.exited):
            reason = worker.waiting_reason(name) or "ContainerCreating"
            if reason in ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"):
                what = {"ErrImagePull": "image can't be pulled"}.get(reason, "trying and failing to pull image")
                text = f'container "{name}" {where} is waiting to start: {what}\n'
            else:
                text = f'container "{name}" {where} is waiting to start: {reason}\n'
            raise web.HTTPBadRequest(text=text)
        if current.lost:
            raise web.HTTPBadRequest(text=f'container "{name}" {where} is not available\n')
        return current

    # Streams.

    async def _exec(self, request: web.Request) -> web.StreamResponse:
        command = request.query.getall("command", [])
        if not command:
            raise web.HTTPBadRequest(text="you must specify at least 1 of stdin, stdout, stderr and a command\n")
        want = _Wanted.of(request)
        try:
            view = self._running(request)
            session = await self._kubelet.runtime.open_exec(
                view.id, command, stdin=want.stdin, tty=want.tty, stderr=want.stderr
            )
        except (_NotRunning, RuntimeFailure) as error:
            return await self._refuse(request, error)
        ws = await _upgrade(request, remote_command.PROTOCOLS)
        await remote_command.serve(ws, session, stdin=want.stdin, stdout=want.stdout, stderr=want.stderr)
        return ws

    async def _attach(self, request: web.Request) -> web.StreamResponse:
        want = _Wanted.of(request)
        try:
            view = self._running(request)
            session = await self._kubelet.runtime.open_attach(
                view.id, stdin=want.stdin, stdout=want.stdout, stderr=want.stderr
            )
        except (_NotRunning, RuntimeFailure) as error:
            return await self._refuse(request, error)
        ws = await _upgrade(request, remote_command.PROTOCOLS)
        await remote_command.serve(ws, session, stdin=want.stdin, stdout=want.stdout, stderr=want.stderr)
        return ws

    async def _refuse(self, request: web.Request, error: Exception) -> web.StreamResponse:
        """A failure before the streams stand is told as the final Status, where every client looks for it."""
        message = str(error)
        if isinstance(error, _NotRunning):
            if request.headers.get("Upgrade", "").lower() != "websocket":
                # Without a colon in it: clients put "unable to upgrade connection: " before it, and take what has a
                # colon for YAML.
                raise web.HTTPInternalServerError(text=f"{message}\n")
            message = f"Internal error occurred: unable to upgrade connection: {message}"
        ws = await _upgrade(request, remote_command.PROTOCOLS)
        with contextlib.suppress(ConnectionError):
            status = json.dumps(remote_command.failure_status(message)).encode()
            await ws.send_bytes(bytes((remote_command.STATUS,)) + status)
            await ws.close()
        return ws

    async def _run(self, request: web.Request) -> web.Response:
        command = request.query.get("cmd", "").split()
        try:
            view = self._running(request)
            code, output = await self._kubelet.runtime.exec(view.id, command, 60.0)
        except (_NotRunning, RuntimeFailure, TimeoutError) as error:
            raise web.HTTPInternalServerError(text=f"{error}\n") from error
        return web.Response(body=output, status=200 if code == 0 else 500)

    async def _port_forward(self, request: web.Request) -> web.StreamResponse:
        worker = self._worker(request)
        sandbox = worker.sandbox
        if sandbox is None:
            name = pods.name(worker.pod)
            raise web.HTTPBadRequest(text=f'pod "{name}" is not running\n')
        offered = [word.strip() for word in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
        if port_forward.TUNNEL in offered:
            ws = await _upgrade(request, (port_forward.TUNNEL,))
            await port_forward.tunnel(ws, sandbox.netns, worker.uid)
            return ws
        ports = _ports(request)
        if not ports:
            raise web.HTTPBadRequest(text='query parameter "ports" is required\n')
        ws = await _upgrade(request, (port_forward.CHANNELS[0],))
        await port_forward.channels(ws, ports, sandbox.netns, worker.uid)
        return ws


@dataclass(frozen=True)
class _Wanted:
    """Which streams a request asks for, in the API server's words or the kubelet's."""

    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool

    @classmethod
    def of(cls, request: web.Request) -> "_Wanted":
        def flag(*names: str) -> bool:
            return any(request.query.get(name) in ("1", "true") for name in names)

        wanted = cls(flag("input", "stdin"), flag("output", "stdout"), flag("error", "stderr"), flag("tty"))
        if not (wanted.stdin or wanted.stdout or wanted.stderr):
            raise web.HTTPBadRequest(text="you must specify at least 1 of stdin, stdout, stderr\n")
        if wanted.tty and wanted.stderr:
            # With a terminal there is one output only.
            wanted = cls(wanted.stdin, wanted.stdout, False, True)
        return wanted


async def _upgrade(request: web.Request, protocols: Sequence[str]) -> web.WebSocketResponse:
    """A prepared WebSocket. SPDY is refused by name: clients then say which protocol they would need."""
    upgrade = request.headers.get("Upgrade", "")
    if upgrade.lower().startswith("spdy/"):
        raise web.HTTPBadRequest(
            text=f"unable to upgrade: {upgrade} is not supported, use WebSocket with one of {', '.join(protocols)}\n"
        )
    if upgrade.lower() != "websocket":
        raise web.HTTPBadRequest(text="unable to upgrade: missing upgrade headers in request\n")
    ws = web.WebSocketResponse(protocols=protocols, heartbeat=None, compress=False, max_msg_size=0)
    await ws.prepare(request)
    return ws


def _ports(request: web.Request) -> list[int]:
    found = []
    for value in request.query.getall("ports", request.query.getall("port", [])):
        for word in value.split(","):
            if not word.isdigit() or not 0 < int(word) < 65536:
                raise web.HTTPBadRequest(text=f"unable to parse {word!r} as a port\n")
            found.append(int(word))
    return found


def _log_options(query: Mapping[str, str], kubelet: Kubelet) -> tuple[LogOptions, int | None]:
    """(options, byte limit). Raises ValueError."""
    since = 0.0
    if query.get("sinceSeconds"):
        since = kubelet.now() - _whole(query["sinceSeconds"], "sinceSeconds", 1)
    elif query.get("sinceTime"):
        since = pods.parse_time(query["sinceTime"]) or 0.0
    tail = _whole(query["tailLines"], "tailLines", 0) if query.get("tailLines") else None
    limit = _whole(query["limitBytes"], "limitBytes", 1) if query.get("limitBytes") else None
    stream = query.get("stream") or "All"
    if stream not in ("All", "Stdout", "Stderr"):
        raise ValueError(f'invalid log stream "{stream}"')
    options = LogOptions(
        follow=query.get("follow") in ("true", "1"),
        since=since,
        tail=tail,
        timestamps=query.get("timestamps") in ("true", "1"),
        stdout=stream != "Stderr",
        stderr=stream != "Stdout",
    )
    return options, limit


def _whole(text: str, name: str, least: int) -> int:
    try:
        number = int(text)
    except ValueError as error:
        raise ValueError(f'unable to parse {name} "{text}" as a number') from error
    if number < least:
        raise ValueError(f"{name}: Invalid value: {number}: must be greater than or equal to {least}")
    return number

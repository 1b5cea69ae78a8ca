"""When probes run, and what their results mean."""

import asyncio
from collections.abc import Callable
from typing import Any

from wherry.node.probe_handlers import Result, probe
from wherry.node.probes import ContainerProbes, Report
from wherry.testing.clock import MockClock


class Probed:
    """A container whose exec probes answer as `healthy` says; collects what is reported."""

    def __init__(self, container: dict[str, Any], healthy: Callable[[str], bool]) -> None:
        self.clock = MockClock()
        self.begun = self.clock.time()
        self.calls: list[tuple[str, float]] = []
        self.results: list[tuple[str, bool]] = []
        self.unhealthy: list[str] = []

        async def run(command: list[str], timeout: float) -> tuple[int, bytes]:
            self.calls.append((command[0], round(self.clock.time() - self.begun, 3)))
            return (0, b"") if healthy(command[0]) else (1, b"not well")

        report = Report(lambda kind, ok: self.results.append((kind, ok)), self.unhealthy.append)
        probes = ContainerProbes(container, self.begun, "10.0.0.1", run, report, self.clock)
        self.task = asyncio.create_task(probes.run())

    async def after(self, seconds: float) -> None:
        await self.clock.settle()
        await self.clock.advance(seconds)
        await self.clock.settle()

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


def spec(name: str, **more: Any) -> dict[str, Any]:
    return {"exec": {"command": [name]}, **more}


async def test_readiness_follows_its_thresholds() -> None:
    well = {"ready": True}
    probed = Probed({"readinessProbe": spec("ready", periodSeconds=5, failureThreshold=2)}, lambda name: well[name])
    await probed.after(0)
    assert probed.results == [("startup", True), ("readiness", True)]
    well["ready"] = False
    await probed.after(5)
    assert probed.unhealthy == ["Readiness probe failed: not well"]
    assert probed.results[-1] == ("readiness", True)
    await probed.after(5)
    assert probed.results[-1] == ("readiness", False)
    await probed.stop()


async def test_a_program_that_starts_slowly_is_asked_often_at_first() -> None:
    well = {"ready": False}
    probed = Probed({"readinessProbe": spec("ready")}, lambda name: well[name])
    for _ in range(4):
        await probed.after(0.1)
    assert [at for _, at in probed.calls] == [0.0, 0.1, 0.3]
    assert probed.unhealthy == []
    well["ready"] = True
    await probed.after(0.4)
    assert probed.results[-1] == ("readiness", True)
    await probed.stop()


async def test_liveness_waits_for_startup_and_ends_at_its_failure() -> None:
    well = {"start": False, "live": True}
    container = {
        "startupProbe": spec("start", periodSeconds=1, failureThreshold=30),
        "livenessProbe": spec("live", periodSeconds=1, failureThreshold=3, initialDelaySeconds=0),
    }
    probed = Probed(container, lambda name: well[name])
    for _ in range(5):
        await probed.after(1)
    assert {name for name, _ in probed.calls} == {"start"}
    assert probed.results == []
    well["start"] = True
    await probed.after(1)
    assert ("startup", True) in probed.results
    well["live"] = False
    for _ in range(4):
        await probed.after(1)
    assert probed.results[-1] == ("liveness", False)
    calls = len(probed.calls)
    await probed.after(5)
    assert len(probed.calls) == calls
    await probed.stop()


async def test_a_startup_probe_that_never_succeeds_fails_the_container() -> None:
    probed = Probed({"startupProbe": spec("start", periodSeconds=1, failureThreshold=2)}, lambda _: False)
    for _ in range(8):
        await probed.after(0.5)
    assert probed.results == [("startup", False)]
    await probed.stop()


async def test_the_initial_delay_is_kept() -> None:
    probed = Probed({"livenessProbe": spec("live", initialDelaySeconds=7)}, lambda _: True)
    await probed.after(6)
    assert probed.calls == []
    await probed.after(1)
    assert probed.calls == [("live", 7.0)]
    await probed.stop()


async def no_exec(command: list[str], timeout: float) -> tuple[int, bytes]:
    raise TimeoutError


async def test_words_of_failures() -> None:
    async def of(**handler: Any) -> Result:
        return await probe({"timeoutSeconds": 1, **handler}, {"ports": []}, "127.0.0.1", no_exec)

    refused = "dial tcp 127.0.0.1:1: connect: connection refused"
    assert await of(tcpSocket={"port": 1}) == Result(False, refused)
    assert await of(httpGet={"port": 1, "path": "x"}) == Result(False, f'Get "http://127.0.0.1:1/x": {refused}')
    assert (await of(exec={"command": ["a", "b"]})).output == 'command timed out: "a b" timed out after 1s'
    assert await of(tcpSocket={"port": "web"}) == Result(None, "couldn't find port: web")
    assert (await of(grpc={"port": 1})).ok is False


async def test_http_probes_read_the_status_code() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        code = request.split()[1].removeprefix(b"/")
        extra = b"Location: /200\r\n" if code == b"302" else b""
        writer.write(b"HTTP/1.1 " + code + b" X\r\n" + extra + b"Content-Length: 2\r\n\r\nhi")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    async def get(path: str) -> Result:
        return await probe({"httpGet": {"port": port, "path": path}}, {}, "127.0.0.1", no_exec)

    assert await get("/200") == Result(True, "hi")
    assert await get("/302") == Result(True, "hi")
    assert await get("/503") == Result(False, "HTTP probe failed with statuscode: 503")
    server.close()
    await server.wait_closed()


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame of HTTP/2 (RFC 9113 §4.1)."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


async def grpc_answer(*frames: bytes, service: str = "") -> tuple[Result, bytes]:
    """What a gRPC probe makes of a server that answers so, and what it asked."""
    asked = b""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked = await reader.readuntil(b"grpc.health.v1.Health/Check")
        asked += await reader.read(4096)
        writer.write(frame(4, 0, 0) + frame(6, 0, 0, b"8 bytes.") + b"".join(frames))
        await writer.drain()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    handler = {"grpc": {"port": port, "service": service}, "timeoutSeconds": 5}
    result = await probe(handler, {}, "127.0.0.1", no_exec)
    server.close()
    return result, asked


def serving(status: int) -> bytes:
    """A HealthCheckResponse in a gRPC message in a DATA frame."""
    return frame(0, 0, 1, bytes((0, 0, 0, 0, 2, 0x08, status)))


async def test_grpc_probes_ask_for_the_health_of_a_service() -> None:
    headers = frame(1, 4, 1, b"\x88")
    result, asked = await grpc_answer(headers, serving(1), service="shop")
    assert result == Result(True)
    assert asked.startswith(b"PRI * HTTP/2.0")
    assert b"\x0a\x04shop" in asked
    not_serving, _ = await grpc_answer(headers, serving(2))
    assert not_serving == Result(False, 'service unhealthy (responded with "NOT_SERVING")')
    unknown, _ = await grpc_answer(frame(1, 5, 1, b"\x88"))
    assert (unknown.ok, "does not implement the grpc health protocol" in unknown.output) == (False, True)
    gone, _ = await grpc_answer(frame(7, 0, 0, bytes(8)))
    assert gone.ok is False

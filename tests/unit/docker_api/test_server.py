"""Where the API listens: stale sockets, other daemons, modes, TCP."""

import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from wherry.docker_api import ApiServer, ServeError, TcpAddress, serve

from .fake_engine import FakeEngine

if TYPE_CHECKING:
    from wherry.engine.engine import Engine


async def test_the_socket_is_closed_to_others_and_goes_away(engine: FakeEngine, tmp_path: Path) -> None:
    path = tmp_path / "run" / "d.sock"
    api = await serve(cast("Engine", engine), path)
    assert stat.S_IMODE(path.lstat().st_mode) == 0o660
    assert api.addresses == [f"unix://{path}"]
    await api.close()
    assert not path.exists()


async def test_a_stale_socket_is_replaced(engine: FakeEngine, tmp_path: Path) -> None:
    path = tmp_path / "d.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    api = await serve(cast("Engine", engine), path)
    await api.close()


async def test_a_living_daemon_is_left_alone(engine: FakeEngine, server: ApiServer, tmp_path: Path) -> None:
    with pytest.raises(ServeError, match="another daemon is already listening"):
        await serve(cast("Engine", engine), tmp_path / "d.sock")
    assert (tmp_path / "d.sock").exists()


async def test_what_is_no_socket_is_left_alone(engine: FakeEngine, tmp_path: Path) -> None:
    (tmp_path / "d.sock").write_text("precious")
    with pytest.raises(ServeError, match="is not a socket"):
        await serve(cast("Engine", engine), tmp_path / "d.sock")
    assert (tmp_path / "d.sock").read_text() == "precious"


async def test_a_path_that_no_socket_can_have(engine: FakeEngine, tmp_path: Path) -> None:
    with pytest.raises(ServeError, match="longer than 107 bytes"):
        await serve(cast("Engine", engine), tmp_path / ("x" * 120))


async def test_plain_tcp_is_for_loopback_only(engine: FakeEngine, tmp_path: Path) -> None:
    with pytest.raises(ServeError, match=r"without TLS on 0.0.0.0:2375"):
        await serve(cast("Engine", engine), tmp_path / "d.sock", tcp=[TcpAddress("0.0.0.0", 2375)])
    assert not (tmp_path / "d.sock").exists()


async def test_tcp_on_loopback(engine: FakeEngine, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    api = await serve(cast("Engine", engine), tmp_path / "d.sock", tcp=[TcpAddress("127.0.0.1", port)])
    assert api.addresses[1] == f"tcp://127.0.0.1:{port}"
    with socket.create_connection(("127.0.0.1", port)):
        pass
    await api.close()

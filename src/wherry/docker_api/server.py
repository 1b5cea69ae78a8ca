"""Serving the API: the unix socket, and TCP when asked for.

The socket belongs to root and the group `docker` (when there is one), mode 0660: whoever may write to it is root.
TCP is plain only on loopback; elsewhere clients must show a certificate signed by the given CA.
"""

import asyncio
import errno
import grp
import ipaddress
import logging
import os
import socket
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from wherry.build.recovery import open_cache
from wherry.docker_api.app import make_app
from wherry.docker_api.background import Background
from wherry.docker_api.hangups import HangupWatcher

if TYPE_CHECKING:
    from wherry.engine.engine import Engine

_log = logging.getLogger(__name__)

_GRACE = 2.0
"""Seconds for which closing waits for changes that are under way."""

_LINE = 1 << 20
"""Bytes of the request line or one header: build arguments and registry credentials travel there."""


class ServeError(RuntimeError):
    """The API cannot be served there; the message says why and what to do."""


@dataclass(frozen=True)
class TlsFiles:
    """PEM files for TCP: `ca` signs the clients' certificates, `cert` and `key` are the server's own."""

    ca: Path
    cert: Path
    key: Path


@dataclass(frozen=True)
class TcpAddress:
    """`host:port` to listen on. Without `tls` it must be loopback, unless `insecure` says otherwise aloud."""

    host: str
    port: int
    tls: TlsFiles | None = None
    insecure: bool = False


class ApiServer:
    """A running server; `await close()` ends it. The engine and its containers stay."""

    def __init__(
        self, runner: web.ServerRunner, hangups: HangupWatcher, background: Background, socket_path: Path, inode: int
    ) -> None:
        self._runner = runner
        self._hangups = hangups
        self._background = background
        self._socket_path = socket_path
        self._inode = inode
        self.addresses: list[str] = [f"unix://{socket_path}"]
        """Where it listens, as values for DOCKER_HOST."""

    async def close(self) -> None:
        """Stop listening, end the streams that are open, and remove the socket if it is still ours."""
        await self._runner.cleanup()
        await self._background.close(_GRACE)
        self._hangups.close()
        try:
            if os.lstat(self._socket_path).st_ino == self._inode:
                self._socket_path.unlink()
        except FileNotFoundError:
            pass


async def serve(engine: "Engine", socket_path: Path | str, *, tcp: list[TcpAddress] | None = None) -> ApiServer:
    """Serve the Docker Engine API over `engine` on a unix socket, and on every address of `tcp`.

    Raises ServeError when another daemon answers on the socket, when its path is too long or no socket, or when a
    TCP address is taken or would be open to others without TLS. A socket that nobody answers on is replaced.
    """
    path = Path(socket_path)
    for address in tcp or []:
        _check_address(address)
    # From now on: the build cache keeps its layers, whoever prunes.
    await open_cache(engine)
    hangups, background = HangupWatcher(), Background()
    server = web.Server(
        make_app(engine, hangups, background),
        access_log=None,
        handler_cancellation=True,
        auto_decompress=False,
        max_line_size=_LINE,
        max_field_size=_LINE,
        lingering_time=0.0,
    )
    runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=0.2)
    await runner.setup()
    try:
        listening = await asyncio.to_thread(_listen_unix, path)
    except BaseException:
        await runner.cleanup()
        raise
    api = ApiServer(runner, hangups, background, path, os.lstat(path).st_ino)
    try:
        await web.SockSite(runner, listening, backlog=512).start()
        for address in tcp or []:
            await _listen_tcp(runner, address)
            api.addresses.append(f"tcp://{_shown(address)}")
    except BaseException:
        await api.close()
        raise
    return api


def _listen_unix(path: Path) -> socket.socket:
    if len(os.fsencode(path)) > 107:
        raise ServeError(f"the socket's path is longer than 107 bytes: {path}; choose a shorter --run")
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear_stale(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    # Nobody may connect between bind and chown: the mask makes the socket private from the start.
    previous = os.umask(0o177)
    try:
        listening.bind(os.fspath(path))
    except OSError as error:
        listening.close()
        raise ServeError(f"cannot listen on {path}: {os.strerror(error.errno or 0)}") from error
    finally:
        os.umask(previous)
    try:
        group = grp.getgrnam("docker").gr_gid
    except KeyError:
        group = -1
    if os.geteuid() == 0:
        os.chown(path, 0, group)
    os.chmod(path, 0o660)
    return listening


def _clear_stale(path: Path) -> None:
    """Remove a socket that a killed daemon left; refuse when somebody answers on it."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ServeError(f"{path} exists and is not a socket; remove it or choose another --run")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        try:
            probe.connect(os.fspath(path))
        except TimeoutError:
            raise ServeError(f"another daemon holds {path} and does not answer; stop it first") from None
        except OSError as error:
            if error.errno not in (errno.ECONNREFUSED, errno.ENOENT):
                raise ServeError(f"cannot tell who holds {path}: {error}") from error
            path.unlink(missing_ok=True)
            return
    raise ServeError(f"another daemon is already listening on {path}; stop it first or choose another --run")


def _check_address(address: TcpAddress) -> None:
    if address.tls is not None:
        return
    if _is_loopback(address.host):
        return
    if not address.insecure:
        raise ServeError(
            f"refusing to serve the Docker API without TLS on {_shown(address)}: whoever reaches it is root on this "
            "machine. Listen on 127.0.0.1, or give a CA, a certificate and a key so that clients must identify "
            "themselves"
        )
    _log.warning("the Docker API is open to everybody who reaches %s: each of them is root here", _shown(address))


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _shown(address: TcpAddress) -> str:
    return f"[{address.host}]:{address.port}" if ":" in address.host else f"{address.host}:{address.port}"


async def _listen_tcp(runner: web.ServerRunner, address: TcpAddress) -> None:
    context = await asyncio.to_thread(_tls_context, address.tls) if address.tls else None
    try:
        await web.TCPSite(runner, address.host, address.port, ssl_context=context, backlog=512).start()
    except OSError as error:
        raise ServeError(f"cannot listen on {_shown(address)}: {error.strerror or error}") from error


def _tls_context(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(files.ca)
        context.load_cert_chain(files.cert, files.key)
    except (OSError, ssl.SSLError) as error:
        raise ServeError(f"cannot use the TLS files {files.ca}, {files.cert}, {files.key}: {error}") from error
    return context

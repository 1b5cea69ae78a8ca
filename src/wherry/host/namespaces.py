"""Network namespaces: made without a process, kept alive by a bind mount (*pinned*), entered by a thread.

A thread that has entered another namespace never serves anything else afterwards: it ends. Specified in
network_namespaces(7), unshare(2), setns(2).
"""

import asyncio
import contextlib
import ctypes
import errno
import logging
import os
import secrets
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from wherry.host.netlink import Netlink, set_link

T = TypeVar("T")
log = logging.getLogger(__name__)

_REFILL_DELAY = 0.05
_CLONE_NEWNET = 0x40000000
_MS_BIND, _MNT_DETACH = 4096, 2
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def _in_thread(function: Callable[[], T]) -> T:
    """Run in a thread of its own that ends afterwards; returns or raises what `function` does."""
    outcome: list[T] = []
    failure: list[BaseException] = []

    def body() -> None:
        try:
            outcome.append(function())
        except BaseException as error:  # noqa: BLE001 - handed to the caller, whatever it is
            failure.append(error)

    thread = threading.Thread(target=body, name="netns")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


def run_inside(path: Path | int, function: Callable[[], T]) -> T:
    """Call `function` in a thread that has entered the network namespace at `path` (or open as a descriptor).

    Sockets made there stay in that namespace, and /proc/sys/net is that namespace's. Blocks.
    """

    def body() -> T:
        if isinstance(path, int):
            _check(_libc.setns(path, _CLONE_NEWNET), "setns")
        else:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                _check(_libc.setns(descriptor, _CLONE_NEWNET), f"setns {path}")
            finally:
                os.close(descriptor)
        return function()

    return _in_thread(body)


@dataclass
class Namespace:
    """A pinned namespace with an open route socket inside; `close()` it when it is wired."""

    path: Path
    netlink: Netlink

    def close(self) -> None:
        self.netlink.close()


def create(path: Path, sysctls: Mapping[str, str] | None = None) -> Namespace:
    """A new network namespace pinned at `path`, loopback up, with `sysctls` (`net.…` names) written. Blocks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))

    def body() -> Netlink:
        _check(_libc.unshare(_CLONE_NEWNET), "unshare")
        netlink = Netlink()
        netlink.batch([set_link(1, up=True)])
        for name, value in (sysctls or {}).items():
            write_sysctl(name, value)
        source = f"/proc/self/task/{threading.get_native_id()}/ns/net"
        _check(_libc.mount(source.encode(), os.fsencode(path), None, _MS_BIND, None), f"mount {path}")
        return netlink

    try:
        return Namespace(path, _in_thread(body))
    except OSError:
        path.unlink(missing_ok=True)
        raise


def remove(path: Path) -> None:
    """Unpin; the kernel ends the namespace and the links in it when its last process is gone. Idempotent. Blocks."""
    if _libc.umount2(os.fsencode(path), _MNT_DETACH) != 0:
        code = ctypes.get_errno()
        if code not in (errno.EINVAL, errno.ENOENT):
            raise OSError(code, f"umount {path}: {os.strerror(code)}")
    path.unlink(missing_ok=True)


def is_pinned(path: Path) -> bool:
    """Whether `path` is a live pin: a file on the kernel's nsfs rather than the bare file below a lost mount."""
    try:
        return path.stat().st_dev != path.parent.stat().st_dev
    except OSError:
        return False


def sysctl_path(name: str) -> Path:
    """`net.ipv4.conf.eth0/1.forwarding` → path: as in sysctl(8), a `/` in the name stands for a dot.

    Raises OSError (ENOENT) for a name that would lead elsewhere.
    """
    parts = [part.replace("/", ".") for part in name.split(".")]
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise OSError(errno.ENOENT, f"sysctl {name}: no such sysctl")
    return Path("/proc/sys", *parts)


def write_sysctl(name: str, value: str) -> None:
    """In the calling thread's namespace. Raises OSError naming it."""
    try:
        sysctl_path(name).write_text(value)
    except OSError as error:
        raise OSError(error.errno, f"sysctl {name}={value}: {os.strerror(error.errno or 0)}") from error


def read_sysctl(name: str) -> str | None:
    try:
        return sysctl_path(name).read_text().strip()
    except OSError:
        return None


class NetnsPool:
    """Namespaces made ahead of need, as making one costs milliseconds of the kernel's time.

    `take()` gives one away for good: it keeps the name the pool gave it. The pool fills up again in the background,
    and grows to `most` while it is being emptied faster than it fills.
    """

    def __init__(
        self,
        directory: Path,
        prefix: str,
        *,
        keep: int = 3,
        most: int = 16,
        sysctls: Mapping[str, str] | None = None,
    ) -> None:
        """Pins are `directory`/`prefix`<12 hex digits>; `sysctls` are set in each namespace."""
        self._directory = directory
        self._prefix = prefix
        self._keep = keep
        self._most = most
        self._sysctls = dict(sysctls or {})
        self._ready: deque[Namespace] = deque()
        self._filler: asyncio.Task[None] | None = None
        self._wanted = keep
        self._closed = False

    def start(self) -> None:
        """Begin to fill. Call in the event loop."""
        self._refill()

    async def take(self) -> Namespace:
        if self._ready:
            namespace = self._ready.popleft()
            if not self._ready:
                self._wanted = min(self._wanted * 2, self._most)
        else:
            self._wanted = min(self._wanted * 2, self._most)
            namespace = await asyncio.to_thread(self._make)
        self._refill_soon()
        return namespace

    def _make(self) -> Namespace:
        return create(self._directory / f"{self._prefix}{secrets.token_hex(6)}", self._sysctls)

    def _refill_soon(self) -> None:
        """Making namespaces holds the same kernel locks as wiring the one just taken: let that go first."""
        if self._ready:
            asyncio.get_running_loop().call_later(_REFILL_DELAY, self._refill)
        else:
            self._refill()

    def _refill(self) -> None:
        if not self._closed and (self._filler is None or self._filler.done()) and len(self._ready) < self._wanted:
            self._filler = asyncio.get_running_loop().create_task(self._fill(), name="netns-pool")

    async def _fill(self) -> None:
        while not self._closed and len(self._ready) < self._wanted:
            try:
                namespace = await asyncio.to_thread(self._make)
            except OSError as error:
                log.warning("cannot make a network namespace ahead of need: %s", error)
                return
            self._ready.append(namespace)
        self._wanted = self._keep

    async def close(self) -> None:
        """Remove what nobody took."""
        self._closed = True
        if self._filler:
            with contextlib.suppress(asyncio.CancelledError):
                await self._filler
        while self._ready:
            namespace = self._ready.popleft()
            namespace.close()
            await asyncio.to_thread(remove, namespace.path)

"""Container logs: files that the monitor writes, bounded by rotation, read back, followed.

The monitor writes the format of the Kubernetes container runtime interface, one record per line:

    2026-01-31T12:00:00.123456789+00:00 stdout F a whole line
    2026-01-31T12:00:00.123456789+00:00 stderr P the beginning of one, continued by the next record of its stream

so `docker logs`, `kubectl logs` and log agents read the same files (see docs/decisions/container-logs.md). `x.log`
is the one being written; `x.log.1` the one before, and so on.
"""

import asyncio
import contextlib
import logging
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote_plus as quote

from wherry.engine import monitor
from wherry.engine.errors import EngineError, InvalidParameter
from wherry.engine.streams import STDERR, STDOUT, Frame
from wherry.host.inotify import Watch

_log = logging.getLogger(__name__)

DEFAULT_MAX_SIZE = 100 << 20
DEFAULT_MAX_FILES = 3
DRIVERS = ("json-file", "local", "none")

_BLOCK = 1 << 18
_TIME = 29
"""Characters of a record's time without its zone, which is always UTC."""
_STREAM, _TAG, _TEXT = 39, 43, 45
"""Where the letter that tells the streams apart, the tag and the text stand."""

_SIZE = re.compile(r"^(\d+)\s*([bkmg]?)(i?b)?$", re.IGNORECASE)


@dataclass(frozen=True)
class LogLimits:
    """Bytes per file and number of files, the current one included."""

    max_size: int = DEFAULT_MAX_SIZE
    max_files: int = DEFAULT_MAX_FILES


def check_log_config(log_config: Mapping[str, Any]) -> None:
    """Raises InvalidParameter for a driver or an option that this engine does not have."""
    driver, options = log_config["Type"], log_config["Config"]
    if driver not in DRIVERS:
        raise InvalidParameter(
            f"logger: no log driver named '{driver}' is registered"
            if driver not in _KNOWN_ELSEWHERE
            else f"log driver '{driver}' is not supported by this engine; use one of {', '.join(DRIVERS)}"
        )
    known = {"max-size", "max-file", "compress", "labels", "labels-regex", "env", "env-regex", "tag", "mode",
             "max-buffer-size"}  # fmt: skip
    for option in options:
        if option not in known:
            raise InvalidParameter(f"unknown log opt '{option}' for {driver} log driver")
    if str(options.get("compress") or "false").lower() not in ("false", "0", "f"):
        raise InvalidParameter("log opt 'compress' is not supported by this engine: rotated logs stay plain text")
    if options.get("mode") not in (None, "blocking", "non-blocking"):
        raise InvalidParameter(f"logger: logging mode '{options['mode']}' not supported")
    for option in ("labels-regex", "env-regex"):
        try:
            re.compile(str(options.get(option) or ""))
        except re.error as error:
            raise InvalidParameter(f"invalid {option}: {error}") from None
    limits(log_config)


_KNOWN_ELSEWHERE = frozenset({"journald", "syslog", "gelf", "fluentd", "awslogs", "splunk", "etwlogs", "gcplogs"})


def limits(log_config: Mapping[str, Any]) -> LogLimits:
    """From `max-size` (`10m`) and `max-file`; bounded by default. Raises InvalidParameter."""
    options = log_config.get("Config") or {}
    size, files = DEFAULT_MAX_SIZE, DEFAULT_MAX_FILES
    if "max-size" in options:
        match = _SIZE.match(str(options["max-size"]))
        if match is None:
            if str(options["max-size"]) != "-1":
                raise InvalidParameter(f"invalid size: '{options['max-size']}'")
        else:
            size = int(match[1]) << {"": 0, "b": 0, "k": 10, "m": 20, "g": 30}[match[2].lower()]
            files = 1
    if "max-file" in options:
        text = str(options["max-file"])
        if not text.isdigit() or int(text) < 1:
            raise InvalidParameter("max-file cannot be less than 1")
        files = int(text)
    return LogLimits(max(size, 4096), files)


# --- reading ---


@dataclass(frozen=True)
class LogQuery:
    """What to read. `since` and `until` are seconds since 1970; `tail` is the number of last lines (None: all)."""

    stdout: bool = True
    stderr: bool = True
    since: float = 0.0
    until: float = 0.0
    tail: int | None = None
    timestamps: bool = False
    follow: bool = False
    details: str | None = None
    """Put before each line, and a space, as `docker logs --details` does."""


async def read(
    path: Path, query: LogQuery, running: Callable[[], bool], ended: "asyncio.Future[Any]"
) -> AsyncIterator[list[Frame]]:
    """Lines of the log at `path` in batches, oldest first.

    With `follow`, goes on until the container has ended (`running()` is false, and `ended` done) and all was read.
    """
    decoder = _Decoder(query)
    watch = Watch(path.parent) if query.follow and running() else None
    if watch is not None:
        waker = watch
        ended.add_done_callback(lambda _: waker.poke())
    try:
        files = await asyncio.to_thread(_existing, path)
        start = await asyncio.to_thread(_tail_start, files, query) if query.tail is not None else (0, 0)
        if query.tail == 0 and watch is None:
            return
        file = None
        for index, name in enumerate(files):
            if index < start[0]:
                continue
            try:
                file = _open(name)
            except FileNotFoundError:
                continue
            if index == start[0]:
                file.seek(start[1])
            async for batch in _drain(file, decoder):
                yield batch
                if decoder.past_end:
                    file.close()
                    return
            if index < len(files) - 1:
                file.close()
                file = None
        if watch is not None:
            deadline = query.until or None
            try:
                async for batch in _follow(path, file, decoder, watch, running, deadline):
                    yield batch
            finally:
                file = None
        if file is not None:
            file.close()
        rest = decoder.rest()
        if rest:
            yield rest
    finally:
        if watch is not None:
            watch.close()


async def _drain(file: Any, decoder: "_Decoder") -> AsyncIterator[list[Frame]]:
    """All that is in `file` from where it stands. Large files are read in a thread, the tail end directly."""
    while True:
        remaining = os.fstat(file.fileno()).st_size - file.tell()
        block = file.read(_BLOCK) if remaining <= _BLOCK else await asyncio.to_thread(file.read, _BLOCK)
        if not block:
            return
        batch = decoder.feed(block)
        if batch:
            yield batch
        if decoder.past_end:
            return
        # Decoding is work for the processor: let others run.
        await asyncio.sleep(0)


async def _follow(
    path: Path, file: Any, decoder: "_Decoder", watch: Watch, running: Callable[[], bool], deadline: float | None
) -> AsyncIterator[list[Frame]]:
    try:
        while True:
            # Asked before reading: what a container wrote before it ended is then in the file.
            over = not running()
            if file is None:
                with contextlib.suppress(FileNotFoundError):
                    file = _open(path)
            if file is not None:
                async for batch in _drain(file, decoder):
                    yield batch
                if decoder.past_end:
                    return
                following = _next_file(path, os.fstat(file.fileno()).st_ino, decoder.last)
                if following is not None:
                    # The monitor closes the old file before the new one appears: read its last words, then move on.
                    async for batch in _drain(file, decoder):
                        yield batch
                    file.close()
                    file = following
                    continue
            if over:
                return
            if deadline is not None:
                left = deadline - time.time()
                if left <= 0:
                    return
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(watch.changed(), left)
            else:
                await watch.changed()
    finally:
        if file is not None:
            file.close()


def _next_file(path: Path, inode: int, last: bytes) -> IO[bytes] | None:
    """The file that follows the one with `inode`, opened; None while that is the current one.

    When that one has been deleted already: the oldest that begins after `last`, the time of the last record read.
    """
    try:
        current = _open(path)
    except FileNotFoundError:
        return None
    if os.fstat(current.fileno()).st_ino == inode:
        current.close()
        return None
    newer = path
    for number in range(1, 1000):
        older = path.with_name(f"{path.name}.{number}")
        try:
            if older.stat().st_ino == inode:
                break
            with _open(older) as file:
                begins = file.read(_TIME)
        except FileNotFoundError:
            break
        if begins <= last:
            break
        newer = older
    if newer == path:
        return current
    current.close()
    try:
        return _open(newer)
    except FileNotFoundError:
        return None


def _open(path: Path) -> IO[bytes]:
    return open(path, "rb")


def _existing(path: Path) -> list[Path]:
    """The log's files, oldest first."""
    found = []
    for number in range(1, 1000):
        older = path.with_name(f"{path.name}.{number}")
        if not older.exists():
            break
        found.append(older)
    found.reverse()
    if path.exists():
        found.append(path)
    return found


def _tail_start(files: list[Path], query: LogQuery) -> tuple[int, int]:
    """(index of the file, offset in it) where the last `query.tail` lines of the wanted streams begin."""
    wanted = query.tail or 0
    if not files:
        return (0, 0)
    if wanted == 0:
        return (len(files) - 1, files[-1].stat().st_size)
    letters = {letter for letter, on in ((ord("o"), query.stdout), (ord("e"), query.stderr)) if on}
    count = 0
    last = (0, 0)
    newest_seen = False
    for index in range(len(files) - 1, -1, -1):
        for offset, record in _records_backwards(files[index]):
            if len(record) < _TEXT - 1 or record[_STREAM] not in letters:
                continue
            whole = record[_TAG : _TAG + 1] == b"F"
            if whole or not newest_seen:
                # A record with F ends a line; the very last one may be a line without its end.
                if count == wanted:
                    return last
                count += 1
                newest_seen = True
            last = (index, offset)
    return last if count else (len(files) - 1, files[-1].stat().st_size)


def _records_backwards(path: Path) -> Iterator[tuple[int, bytes]]:
    """(offset, line without its end) from the last to the first."""
    with open(path, "rb") as file:
        position = file.seek(0, os.SEEK_END)
        carry = b""
        first = True
        while position > 0:
            size = min(_BLOCK, position)
            position -= size
            file.seek(position)
            block = file.read(size) + carry
            lines = block.split(b"\n")
            carry = lines[0]
            offset = position + len(block)
            for number in range(len(lines) - 1, 0, -1):
                line = lines[number]
                offset -= len(line)
                if not (first and number == len(lines) - 1 and not line):
                    yield offset, line
                first = False
                offset -= 1
        if carry:
            yield 0, carry


class _Decoder:
    """From the bytes of the log to frames, a block at a time."""

    def __init__(self, query: LogQuery) -> None:
        self._rest = b""
        self._since = _bound(query.since)
        self._until = _bound(query.until)
        self._timestamps = query.timestamps
        self._details = query.details.encode() + b" " if query.details is not None else b""
        self._streams = {letter: stream for letter, stream, on in
                         ((ord("o"), STDOUT, query.stdout), (ord("e"), STDERR, query.stderr)) if on}  # fmt: skip
        self._middle: set[int] = set()
        self.past_end = False
        self.last = b""
        """The time of the last record read."""

    def feed(self, block: bytes) -> list[Frame]:
        lines = (self._rest + block).split(b"\n")
        self._rest = lines.pop()
        if lines:
            self.last = lines[-1][:_TIME]
        streams = self._streams
        if not (self._since or self._until or self._timestamps or self._details):
            # The common case, and the one that is read a million lines at a time.
            return [
                (streams[line[_STREAM]], line[_TEXT:] + b"\n" if line[_TAG] == 70 else line[_TEXT:])
                for line in lines
                if len(line) >= _TEXT and line[_STREAM] in streams
            ]
        return list(self._slowly(lines))

    def rest(self) -> list[Frame]:
        """A record that was being written when the machine died: there is none otherwise."""
        self._rest = b""
        return []

    def _slowly(self, lines: list[bytes]) -> Iterator[Frame]:
        for line in lines:
            if len(line) < _TEXT:
                continue
            when = line[:_TIME]
            if self._since and when < self._since:
                continue
            if self._until and when > self._until:
                self.past_end = True
                return
            stream = self._streams.get(line[_STREAM])
            if stream is None:
                continue
            whole = line[_TAG] == 70
            text = line[_TEXT:] + b"\n" if whole else line[_TEXT:]
            if stream not in self._middle:
                text = self._details + text
                if self._timestamps:
                    text = when + b"Z " + text
            if whole:
                self._middle.discard(stream)
            else:
                self._middle.add(stream)
            yield stream, text


def _bound(seconds: float) -> bytes:
    if not seconds:
        return b""
    nanoseconds = round(seconds * 1e9)
    whole, fraction = divmod(nanoseconds, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)).encode() + b".%09d" % fraction


# --- rotation ---


class LogRotation:
    """Keeps one running container's log within its limits.

    Looks at the file's size every few seconds, sooner when it grows fast, and first of all when it begins: what
    grew while no engine ran is rotated then. The monitor's own `--log-size-max` is no help: it counts on through
    our rotations (conmon 2.1.6), so it would throw away lines of a log that is within its bounds.
    """

    _SLOWEST, _FASTEST = 5.0, 0.2

    def __init__(self, path: Path, bundle: Path, bounds: LogLimits) -> None:
        self._path = path
        self._bundle = bundle
        self._limits = bounds
        self._size = 0
        self._handle: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._schedule(self._FASTEST)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _schedule(self, delay: float) -> None:
        self._handle = asyncio.get_running_loop().call_later(delay, self._look, delay)

    def _look(self, waited: float) -> None:
        try:
            size = self._path.stat().st_size
        except OSError:
            self._schedule(self._SLOWEST)
            return
        if size >= self._limits.max_size:
            try:
                rotate(self._path, self._bundle, self._limits.max_files)
            except OSError as error:
                _log.warning("cannot rotate %s: %s", self._path, error)
            self._size = 0
            self._schedule(self._FASTEST)
            return
        rate = max(0, size - self._size) / waited
        self._size = size
        until_full = (self._limits.max_size - size) / rate if rate else self._SLOWEST
        self._schedule(min(self._SLOWEST, max(self._FASTEST, until_full / 2)))


def rotate(path: Path, bundle: Path, max_files: int) -> None:
    """Rename the files by one and have the monitor write a new one. Raises OSError."""
    oldest = path.with_name(f"{path.name}.{max_files - 1}") if max_files > 1 else None
    if oldest is not None:
        for number in range(max_files - 1, 1, -1):
            with contextlib.suppress(FileNotFoundError):
                os.rename(path.with_name(f"{path.name}.{number - 1}"), path.with_name(f"{path.name}.{number}"))
        os.rename(path, path.with_name(f"{path.name}.1"))
    # With one file only, the monitor replaces it: the old content goes with its last reader.
    monitor.reopen_log(bundle)


def remove_files(path: Path) -> None:
    """Delete the log and its rotated files."""
    for name in _existing(path):
        with contextlib.suppress(FileNotFoundError):
            name.unlink()


def unreadable(driver: str) -> EngineError:
    return EngineError(f"configured logging driver does not support reading: {driver}")


def details(log_config: Mapping[str, Any], config: Mapping[str, Any], identity: Mapping[str, str]) -> str:
    """What `docker logs --details` puts before each line: the labels, variables and tag that log options name.

    `identity` gives what a tag's template may name: ID, FullID, Name, ImageID, ImageFullID, ImageName, DaemonName.
    """
    options = log_config.get("Config") or {}
    environment = dict(entry.partition("=")[::2] for entry in config["Env"])
    chosen: dict[str, str] = {}
    for values, names, pattern in (
        (config["Labels"], options.get("labels"), options.get("labels-regex")),
        (environment, options.get("env"), options.get("env-regex")),
    ):
        wanted = set((names or "").split(",")) - {""}
        for key, value in values.items():
            if key in wanted or (pattern and re.search(pattern, key)):
                chosen[key] = value
    if options.get("tag"):
        chosen["tag"] = re.sub(
            r"\{\{\s*\.(\w+)\s*\}\}", lambda match: identity.get(match[1], match[0]), str(options["tag"])
        )
    return ",".join(f"{quote(key)}={quote(value)}" for key, value in sorted(chosen.items()))

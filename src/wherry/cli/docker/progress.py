"""The progress of pull, push, load and import: one line per layer, rewritten in place on a terminal."""

from __future__ import annotations

import os
import sys
import time

from wherry.cli.docker.errors import CliError
from wherry.cli.format.units import human_size

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, TextIO


def show(
    messages: Iterable[dict[str, Any]], out: TextIO, *, aux: Callable[[dict[str, Any]], None] | None = None
) -> None:
    """Prints the API's JSON messages as they come; bars only where `out` is a terminal. CliError at an error."""
    live = out.isatty()
    rows: dict[str, int] = {}
    height = 0
    for message in messages:
        if "errorDetail" in message or "error" in message:
            detail = message.get("errorDetail") or {}
            raise CliError(str(detail.get("message") or message.get("error")), int(detail.get("code") or 1))
        if "aux" in message:
            if aux is not None:
                aux(message["aux"])
            continue
        identity = message.get("id") or ""
        detail = message.get("progressDetail") or {}
        moving = bool(detail.get("current") or detail.get("total") or message.get("progress"))
        if not live:
            if not moving:
                out.write(_plain(message, identity))
                out.flush()
            continue
        if not identity or "stream" in message:
            out.write(_plain(message, identity))
            rows.clear()
            height = 0
        elif moving or identity in rows or not _whole(message):
            if identity not in rows:
                rows[identity] = height
                height += 1
                out.write("\n")
            up = height - rows[identity]
            line = f"{identity}: {message.get('status', '')} {bar(detail, _columns(), message)}".rstrip()
            out.write(f"\x1b[{up}A\r\x1b[2K{line}\r\x1b[{up}B")
        else:
            out.write(_plain(message, identity))
        out.flush()


def _whole(message: dict[str, Any]) -> bool:
    return "progressDetail" not in message


def _plain(message: dict[str, Any], identity: str) -> str:
    if "stream" in message:
        return str(message["stream"])
    prefix = f"{identity}: " if identity else ""
    return f"{prefix}{message.get('status', '')}\n"


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except OSError:
        return 80


def bar(detail: dict[str, Any], columns: int, message: dict[str, Any] | None = None) -> str:
    """`[=====>     ]  1.2MB/3.4MB`, as much of it as fits."""
    current, total = int(detail.get("current") or 0), int(detail.get("total") or 0)
    if not current and not total:
        return str((message or {}).get("progress") or "")
    if total <= 0 or current > total:
        return f"{human_size(current):>8}"
    counts = f" {human_size(current):>6}/{human_size(total)}"
    if columns <= 110 - 50:
        return counts.strip()
    filled = min(50, int(current / total * 100) // 2)
    head = ">" if filled < 50 else ""
    drawn = f"[{'=' * filled}{head}{' ' * max(0, 50 - filled - len(head))}] "
    started = detail.get("start") or 0
    left = ""
    if started and current < total:
        spent = time.time() - started
        left = f" {max(0, round(spent / current * (total - current)))}s" if current and spent > 0 else ""
    return drawn + counts + left

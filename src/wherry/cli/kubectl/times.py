"""Durations and ages as kubectl prints them. No datetime: a table from the server needs none."""

import calendar
import time
from typing import Any


def parse_time(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 time."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    offset = 0.0
    for sign in "+-":
        part = fraction if fraction else whole[10:]
        if sign in part:
            clock, _, zone = part.partition(sign)
            hours, _, minutes = zone.partition(":")
            offset = (int(hours) * 3600 + int(minutes or 0) * 60) * (1 if sign == "+" else -1)
            if fraction:
                fraction = clock
            else:
                whole = whole[:10] + clock
            break
    seconds = calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S"))
    return seconds + (float(f"0.{fraction}") if fraction else 0.0) - offset


def age(timestamp: Any, now: float | None = None) -> str:
    """`5m12s` since a time; `<unknown>` without one."""
    if not timestamp:
        return "<unknown>"
    return human((time.time() if now is None else now) - parse_time(str(timestamp)))


def human(seconds: float) -> str:
    """A duration with two to three significant units, as Kubernetes shortens it."""
    if seconds < -1:
        return "<invalid>"
    if seconds < 0:
        return "0s"
    s = int(seconds)
    if s < 120:
        return f"{s}s"
    m = s // 60
    if m < 10:
        return f"{m}m" if s % 60 == 0 else f"{m}m{s % 60}s"
    if m < 180:
        return f"{m}m"
    h = m // 60
    if h < 8:
        return f"{h}h" if m % 60 == 0 else f"{h}h{m % 60}m"
    if h < 48:
        return f"{h}h"
    d = h // 24
    if h < 192:
        return f"{d}d" if h % 24 == 0 else f"{d}d{h % 24}h"
    if d < 365 * 2:
        return f"{d}d"
    y = d // 365
    if d < 365 * 8:
        return f"{y}y" if d % 365 == 0 else f"{y}y{d % 365}d"
    return f"{y}y"


def go_duration(seconds: float) -> str:
    """`1m30s`, `500ms`, `0s`: Go's Duration.String()."""
    if seconds == 0:
        return "0s"
    sign, seconds = ("-", -seconds) if seconds < 0 else ("", seconds)
    if seconds < 1:
        return f"{sign}{seconds * 1000:g}ms"
    hours, rest = divmod(seconds, 3600)
    minutes, rest = divmod(rest, 60)
    text = f"{rest:g}s"
    if hours:
        return f"{sign}{int(hours)}h{int(minutes)}m{text}"
    if minutes:
        return f"{sign}{int(minutes)}m{text}"
    return sign + text


def local_time(timestamp: Any) -> str:
    """`Mon, 02 Jan 2006 15:04:05 +0000`: how describe shows a time."""
    if not timestamp:
        return "<unset>"
    return time.strftime("%a, %d %b %Y %H:%M:%S %z", time.localtime(parse_time(str(timestamp))))

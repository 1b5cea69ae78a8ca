"""Sizes, durations and times as the docker command shows them."""

from __future__ import annotations

import time

from wherry.host.units import bytes_size, human_duration, human_size, moment, parse_duration, parse_time

__all__ = [
    "ago",
    "bytes_size",
    "ellipsis",
    "go_time",
    "human_duration",
    "human_size",
    "parse_bytes",
    "parse_duration",
    "parse_moment",
    "parse_time",
]


def ago(epoch: float) -> str:
    """`3 weeks ago`; nothing for a time that was never set."""
    return human_duration(time.time() - epoch) + " ago" if epoch > 0 else ""


def go_time(epoch: float, fraction: str = "") -> str:
    """A local time as Go prints it: `2026-01-02 15:04:05 +0000 UTC`, `fraction` (`.123`) behind the seconds."""
    local = time.localtime(epoch)
    return time.strftime("%Y-%m-%d %H:%M:%S", local) + fraction + time.strftime(" %z %Z", local)


def parse_bytes(text: str) -> int:
    """`64m`, `1.5GiB`, `100`: powers of 1024, whatever the unit's spelling. ValueError with Docker's wording."""
    lowered = text.strip().lower()
    number = lowered.rstrip("kmgtpib ")
    unit = lowered[len(number) :].strip()
    try:
        if unit not in ("", "b") and (unit[0] not in "kmgtp" or unit[1:] not in ("", "b", "ib")):
            raise ValueError
        scale = 1 << 10 * ("kmgtp".index(unit[0]) + 1) if unit and unit != "b" else 1
        value = float(number)
        if value < 0 or number != number.strip() or "e" in number:
            raise ValueError
    except ValueError:
        raise ValueError(f"invalid size: '{text}'") from None
    return int(value * scale)


def parse_moment(text: str, now: float) -> str:
    """`--since` and `--until`: a duration before `now`, RFC 3339, a date, or epoch seconds; as `seconds.nanos`."""
    return text if text.replace(".", "", 1).isdigit() else f"{moment(text, now):.9f}"


def ellipsis(text: str, width: int) -> str:
    """`text` cut to `width` characters, the last of them `…` when something is missing."""
    return text if len(text) <= width else text[: width - 1] + "…"

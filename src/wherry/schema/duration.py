"""How kubectl's tables show spans of time: `5s`, `2m30s`, `3h12m`, `4d`."""

from datetime import UTC, datetime

UNKNOWN = "<unknown>"


def parse_time(text: str) -> datetime:
    """RFC 3339 as Kubernetes writes it (`2024-05-01T10:00:00Z`, with or without fractions) to an aware datetime.

    Raises ValueError for anything else.
    """
    parsed = datetime.fromisoformat(text)
    if parsed.tzinfo is None:
        raise ValueError(f"time zone missing in {text!r}")
    return parsed.astimezone(UTC)


def format_time(moment: datetime) -> str:
    """The other way round: seconds precision, UTC, `Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def format_micro_time(moment: datetime) -> str:
    """MicroTime as leases and events carry it: `2024-05-01T10:00:00.123456Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def human(seconds: float) -> str:
    """Two units at most, finer for the young: 119s, 2m, 2m5s, 3h, 5h20m, 47h, 2d, 7d3h, 30d, 2y, 2y14d, 9y."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < 0:
        return "0s"
    if whole < 120:
        return f"{whole}s"
    minutes = whole // 60
    if minutes < 10:
        return f"{minutes}m{rest}s" if (rest := whole % 60) else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    hours = whole // 3600
    if hours < 8:
        return f"{hours}h{rest}m" if (rest := minutes % 60) else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    days = hours // 24
    if hours < 24 * 8:
        return f"{days}d{rest}h" if (rest := hours % 24) else f"{days}d"
    if days < 365 * 2:
        return f"{days}d"
    years = days // 365
    if days < 365 * 8:
        return f"{years}y{rest}d" if (rest := days % 365) else f"{years}y"
    return f"{years}y"


def age(timestamp: str | None, now: datetime) -> str:
    """Age of an RFC 3339 timestamp at `now`; `<unknown>` where there is none."""
    if not timestamp:
        return UNKNOWN
    try:
        then = parse_time(timestamp)
    except ValueError:
        return "<invalid>"
    return human((now - then).total_seconds())

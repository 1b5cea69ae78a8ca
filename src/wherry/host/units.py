"""Sizes, durations and moments in the words that Docker's users read and write, for daemon and command alike."""

from __future__ import annotations

import time

DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")
BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB")


def human_size(size: float, precision: int = 4) -> str:
    """`1.23MB`: powers of 1000, `precision` significant digits."""
    return _scaled(size, 1000.0, DECIMAL, precision)


def bytes_size(size: float) -> str:
    """`1.23MiB`: powers of 1024, four significant digits."""
    return _scaled(size, 1024.0, BINARY, 4)


def _scaled(size: float, base: float, units: tuple[str, ...], precision: int) -> str:
    number = 0
    while size >= base and number < len(units) - 1:
        size /= base
        number += 1
    return f"{size:.{precision}g}{units[number]}"


def human_duration(seconds: float) -> str:
    """`About a minute`, `3 weeks`: how long, in one unit."""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < 60:
        return f"{whole} seconds"
    minutes = whole // 60
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    hours = int(seconds / 3600 + 0.5)
    if hours == 1:
        return "About an hour"
    if hours < 48:
        return f"{hours} hours"
    if hours < 24 * 7 * 2:
        return f"{hours // 24} days"
    if hours < 24 * 30 * 2:
        return f"{hours // 24 // 7} weeks"
    if hours < 24 * 365 * 2:
        return f"{hours // 24 // 30} months"
    return f"{int(seconds // 3600) // 24 // 365} years"


_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


def parse_duration(text: str) -> int:
    """Go's duration (`1h30m`, `1.5s`, `-2m`, `0`) in nanoseconds. ValueError with Go's wording."""
    rest = text.lstrip("+-")
    sign = -1 if text.startswith("-") else 1
    if rest == "0":
        return 0
    total = 0.0
    if not rest:
        raise ValueError(f'time: invalid duration "{text}"')
    while rest:
        digits = len(rest) - len(rest.lstrip("0123456789."))
        number, rest = rest[:digits], rest[digits:]
        letters = 0
        while letters < len(rest) and not (rest[letters].isdigit() or rest[letters] == "."):
            letters += 1
        unit, rest = rest[:letters], rest[letters:]
        if not number or number == ".":
            raise ValueError(f'time: invalid duration "{text}"')
        if not unit:
            raise ValueError(f'time: missing unit in duration "{text}"')
        if unit not in _UNITS:
            raise ValueError(f'time: unknown unit "{unit}" in duration "{text}"')
        total += float(number) * _UNITS[unit]
    if total == float("inf"):
        raise ValueError(f'time: invalid duration "{text}"')
    return sign * round(total)


def parse_time(text: str) -> float:
    """RFC 3339 with any number of fractional digits, as epoch seconds. ValueError when it is something else."""
    date, _, rest = text.partition("T")
    year, month, day = (int(part) for part in date.split("-"))
    if not (1 <= month <= 12 and 1 <= day <= 31):
        raise ValueError(f"not a date: {date}")
    offset = 0.0
    if rest.endswith("Z"):
        rest = rest[:-1]
    else:
        for sign in "+-":
            clock, found, zone = rest.partition(sign)
            if found:
                hours, _, minutes = zone.partition(":")
                offset = (int(hours) * 3600 + int(minutes or 0) * 60) * (1 if sign == "+" else -1)
                rest = clock
    hour, minute, second = rest.split(":")
    return days_from_civil(year, month, day) * 86400 + int(hour) * 3600 + int(minute) * 60 + float(second) - offset


def days_from_civil(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 of a date of the Gregorian calendar."""
    year -= month <= 2
    era = year // 400
    year_of_era = year - era * 400
    day_of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year - 719468


def moment(text: str, now: float) -> float:
    """What filters and options take for a time: seconds since 1970, a duration before `now`, RFC 3339, a date.

    In seconds since 1970; a time without a zone is the machine's own. Raises ValueError.
    """
    if text.isascii() and text.replace(".", "", 1).isdigit():
        return float(text)
    try:
        return now - parse_duration(text) / 1e9
    except ValueError:
        pass
    try:
        return _local_time(text)
    except (ValueError, OverflowError):
        raise ValueError(f'failed to parse value as time or duration: "{text}"') from None


def _local_time(text: str) -> float:
    date, _, clock = text.partition("T")
    if clock.endswith("Z") or "+" in clock or "-" in clock:
        while clock.count(":") < 2 and clock.endswith("Z"):
            clock = clock[:-1] + ":00Z"
        return parse_time(f"{date}T{clock}")
    year, month, day = (int(part) for part in date.split("-"))
    if not (1 <= month <= 12 and 1 <= day <= 31):
        raise ValueError(f"not a date: {date}")
    fields = [*clock.split(":"), "0", "0", "0"] if clock else ["0", "0", "0"]
    whole = time.mktime((year, month, day, int(fields[0]), int(fields[1]), int(float(fields[2])), 0, 0, -1))
    return whole + float(fields[2]) % 1

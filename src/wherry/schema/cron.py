"""Cron schedules as CronJobs write them: five fields or `@daily` and its like.

Specified in https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/#schedule-syntax. `parse` raises
ValueError in the words of the real API server. A `Schedule` tells the next time after a given one, in a time zone.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Final

_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_DESCRIPTORS: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_HORIZON_YEARS: Final = 5


@dataclass(frozen=True)
class Schedule:
    """Minutes, hours, days, months and weekdays (0 is Sunday) at which to run; or `every` so many seconds."""

    minutes: frozenset[int] = frozenset()
    hours: frozenset[int] = frozenset()
    days: frozenset[int] = frozenset()
    months: frozenset[int] = frozenset()
    weekdays: frozenset[int] = frozenset()
    any_day: bool = True
    any_weekday: bool = True
    every: int = 0

    def _day_matches(self, moment: datetime) -> bool:
        by_date = moment.day in self.days
        by_weekday = (moment.weekday() + 1) % 7 in self.weekdays
        # When both are restricted, either is enough; this is cron's oldest oddity.
        if self.any_day or self.any_weekday:
            return by_date and by_weekday
        return by_date or by_weekday

    def next(self, after: datetime, zone: tzinfo | None = None) -> datetime | None:
        """The first time strictly after `after` (aware), as an aware datetime; None if there is none in 5 years."""
        if self.every:
            return after.replace(microsecond=0) + timedelta(seconds=self.every)
        zone = zone or after.tzinfo
        local = after.astimezone(zone).replace(second=0, microsecond=0, tzinfo=None) + timedelta(minutes=1)
        limit = local.year + _HORIZON_YEARS
        while local.year <= limit:
            if local.month not in self.months:
                local = (local.replace(day=1) + timedelta(days=32)).replace(day=1, hour=0, minute=0)
            elif not self._day_matches(local):
                local = local.replace(hour=0, minute=0) + timedelta(days=1)
            elif local.hour not in self.hours:
                local = local.replace(minute=0) + timedelta(hours=1)
            elif local.minute not in self.minutes:
                local += timedelta(minutes=1)
            else:
                found = local.replace(tzinfo=zone)
                # A wall-clock time that summer time skips does not exist, and one that it repeats counts once.
                round_trip = datetime.fromtimestamp(found.timestamp(), zone).replace(tzinfo=None)
                if round_trip == local and found > after:
                    return found
                local += timedelta(minutes=1)
        return None


@lru_cache(maxsize=256)
def parse(text: str) -> Schedule:
    """A schedule from its text. Raises ValueError."""
    if not text:
        raise ValueError("empty spec string")
    if text.startswith(("TZ=", "CRON_TZ=")):
        text = text.partition(" ")[2].strip()
    if text.startswith("@"):
        if text.startswith("@every "):
            return Schedule(every=_duration(text))
        if text not in _DESCRIPTORS:
            raise ValueError(f"unrecognized descriptor: {text}")
        text = _DESCRIPTORS[text]
    fields = text.split()
    if len(fields) != 5:
        raise ValueError(f"expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]")
    return Schedule(
        minutes=_field(fields[0], 0, 59),
        hours=_field(fields[1], 0, 23),
        days=_field(fields[2], 1, 31),
        months=_field(fields[3], 1, 12, _MONTHS, 1),
        weekdays=_field(fields[4], 0, 6, _DAYS, 0),
        any_day=_is_any(fields[2]),
        any_weekday=_is_any(fields[4]),
    )


def _is_any(field: str) -> bool:
    return any(part.split("/")[0] in ("*", "?") and part in ("*", "?", "*/1", "?/1") for part in field.split(","))


def _duration(text: str) -> int:
    rest = text.removeprefix("@every ")
    parts = re.findall(r"([0-9]*\.?[0-9]+)(h|ms|us|µs|ns|m|s)", rest)
    if not parts or "".join(number + unit for number, unit in parts) != rest:
        raise ValueError(f'failed to parse duration {text}: time: invalid duration "{rest}"')
    return max(1, int(sum(float(number) * _UNITS[unit] for number, unit in parts)))


def _field(text: str, low: int, high: int, words: tuple[str, ...] = (), first: int = 0) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        if part:
            found |= _range(part, low, high, words, first)
    return frozenset(found)


def _range(part: str, low: int, high: int, words: tuple[str, ...], first: int) -> set[int]:
    pieces = part.split("/")
    ends = pieces[0].split("-")
    if ends[0] in ("*", "?"):
        start, stop = low, high
    else:
        start = _number(ends[0], words, first)
        if len(ends) == 1:
            stop = start
        elif len(ends) == 2:
            stop = _number(ends[1], words, first)
        else:
            raise ValueError(f"too many hyphens: {part}")
    step = 1
    if len(pieces) == 2:
        step = _number(pieces[1], (), 0)
        if len(ends) == 1 and ends[0] not in ("*", "?"):
            stop = high
    elif len(pieces) > 2:
        raise ValueError(f"too many slashes: {part}")
    if start < low:
        raise ValueError(f"beginning of range ({start}) below minimum ({low}): {part}")
    if stop > high:
        raise ValueError(f"end of range ({stop}) above maximum ({high}): {part}")
    if start > stop:
        raise ValueError(f"beginning of range ({start}) beyond end of range ({stop}): {part}")
    if step == 0:
        raise ValueError(f"step of range should be a positive number: {part}")
    return set(range(start, stop + 1, step))


def _number(text: str, words: tuple[str, ...], first: int) -> int:
    if text.lower() in words:
        return words.index(text.lower()) + first
    if not re.match(r"[+-]?[0-9]{1,9}\Z", text):
        raise ValueError(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax')
    number = int(text)
    if number < 0:
        raise ValueError(f"negative number ({number}) not allowed: {text}")
    return number

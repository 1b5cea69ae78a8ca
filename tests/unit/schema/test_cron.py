from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from wherry.schema import cron

START = datetime(2026, 1, 1, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("*/5 * * * *", "2026-01-01T00:05"), ("0 0 * * *", "2026-01-02T00:00"), ("@hourly", "2026-01-01T01:00"),
        ("30 3 * * mon", "2026-01-05T03:30"), ("0 0 29 2 *", "2028-02-29T00:00"), ("0 12 1,15 * 5", "2026-01-01T12:00"),
        ("15-20/2 1 * * *", "2026-01-01T01:15"), ("0 0 1 jan,jul ?", "2026-07-01T00:00"),
    ],
)  # fmt: skip
def test_next_time(schedule: str, expected: str) -> None:
    found = cron.parse(schedule).next(START)
    assert found is not None
    assert found.strftime("%Y-%m-%dT%H:%M") == expected


def test_time_zones_and_summer_time() -> None:
    zone = ZoneInfo("Europe/Berlin")
    found = cron.parse("30 2 * * *").next(datetime(2026, 3, 28, 12, tzinfo=UTC), zone)
    assert found is not None
    assert found.isoformat() == "2026-03-30T02:30:00+02:00"


def test_never() -> None:
    assert cron.parse("0 0 31 2 *").next(START) is None


@pytest.mark.parametrize(
    ("schedule", "error"),
    [
        ("abc", "expected exactly 5 fields, found 1: [abc]"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* * * * x", 'failed to parse int from x: strconv.Atoi: parsing "x": invalid syntax'),
        ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
        ("@never", "unrecognized descriptor: @never"),
    ],
)
def test_malformed_schedules(schedule: str, error: str) -> None:
    with pytest.raises(ValueError) as caught:
        cron.parse(schedule)
    assert str(caught.value) == error

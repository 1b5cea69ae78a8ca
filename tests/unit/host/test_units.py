import time

import pytest

from wherry.host.units import moment

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1700000000", 1_700_000_000),
        ("1700000000.5", 1_700_000_000.5),
        ("10m", NOW - 600),
        ("1h30m", NOW - 5400),
        ("1.5s", NOW - 1.5),
        ("2026-01-02T03:04:05Z", 1_767_323_045),
        ("2026-01-02T03:04:05.25Z", 1_767_323_045.25),
        ("2026-01-02T05:04:05+02:00", 1_767_323_045),
        ("2026-01-02T03:04Z", 1_767_323_040),
    ],
)
def test_a_moment_is_written_in_many_ways(text, expected):
    assert moment(text, NOW) == pytest.approx(expected)


def test_without_a_zone_it_is_local():
    assert moment("2026-01-02T03:04:05", NOW) == time.mktime((2026, 1, 2, 3, 4, 5, 0, 0, -1))
    assert moment("2026-01-02", NOW) == time.mktime((2026, 1, 2, 0, 0, 0, 0, 0, -1))


@pytest.mark.parametrize("text", ["", "x", "2026-13-01", "2026-01-99", "nan", "9" * 400 + "h", "1y", "-"])
def test_what_is_none_is_refused(text):
    with pytest.raises(ValueError, match="failed to parse value as time or duration"):
        moment(text, NOW)

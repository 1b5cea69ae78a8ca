from datetime import UTC, datetime

import pytest

from wherry.schema import duration


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-5, "<invalid>"), (-0.5, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (125, "2m5s"), (599, "9m59s"),
        (600, "10m"), (10799, "179m"), (10800, "3h"), (3 * 3600 + 720, "3h12m"), (8 * 3600, "8h"), (47 * 3600, "47h"),
        (48 * 3600, "2d"), (51 * 3600, "2d3h"), (8 * 86400, "8d"), (729 * 86400, "729d"), (730 * 86400, "2y"),
        (740 * 86400, "2y10d"), (8 * 365 * 86400, "8y"),
    ],
)  # fmt: skip
def test_human(seconds: float, expected: str) -> None:
    assert duration.human(seconds) == expected


def test_age() -> None:
    now = datetime(2026, 1, 1, 0, 1, tzinfo=UTC)
    assert duration.age("2026-01-01T00:00:00Z", now) == "60s"
    assert duration.age(None, now) == "<unknown>"
    assert duration.format_time(now) == "2026-01-01T00:01:00Z"

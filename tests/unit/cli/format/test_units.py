import pytest

from wherry.cli.format.units import (
    bytes_size,
    human_duration,
    human_size,
    parse_bytes,
    parse_duration,
    parse_time,
)


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0B"), (999, "999B"), (1982449, "1.982MB"), (25e9, "25GB"), (1e15, "1PB")]
)
def test_sizes(size, text):
    assert human_size(size) == text


def test_precision_and_binary_sizes():
    assert human_size(1982449, 3) == "1.98MB"
    assert bytes_size(25276510208) == "23.54GiB"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (150, "2 minutes"),
        (3600, "About an hour"),
        (3600 * 47, "47 hours"),
        (3600 * 24 * 3, "3 days"),
        (3600 * 24 * 20, "2 weeks"),
        (3600 * 24 * 100, "3 months"),
        (3600 * 24 * 800, "2 years"),
    ],
)
def test_durations(seconds, text):
    assert human_duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "nanos"), [("1h30m", 5400e9), ("1.5s", 1.5e9), ("0", 0), ("-2m", -120e9), ("5us", 5e3)]
)
def test_go_durations(text, nanos):
    assert parse_duration(text) == nanos


@pytest.mark.parametrize("text", ["", "5", "x", "5x", "s"])
def test_no_durations(text):
    with pytest.raises(ValueError, match=r"in duration|invalid duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"), [("64m", 64 << 20), ("1.5GiB", 3 << 29), ("100", 100), ("2kb", 2048), ("1 g", 1 << 30)]
)
def test_bytes(text, size):
    assert parse_bytes(text) == size


def test_times():
    assert parse_time("1970-01-02T00:00:01.5Z") == 86401.5
    assert parse_time("2026-01-01T01:00:00+01:00") == 1767225600

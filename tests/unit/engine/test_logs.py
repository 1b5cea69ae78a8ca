import asyncio
from pathlib import Path
from typing import Any

import pytest

from wherry.engine.errors import InvalidParameter
from wherry.engine.logs import LogLimits, LogQuery, check_log_config, details, limits, read


def record(second: int, text: str, stream: str = "stdout", tag: str = "F") -> str:
    return f"2026-01-31T12:00:{second:02d}.000000001+00:00 {stream} {tag} {text}\n"


async def collect(path: Path, **query: Any) -> list[tuple[int, bytes]]:
    ended: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    return [frame async for batch in read(path, LogQuery(**query), lambda: False, ended) for frame in batch]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "x.log"
    (tmp_path / "x.log.2").write_text(record(1, "one"))
    (tmp_path / "x.log.1").write_text(record(2, "two") + record(3, "err", "stderr"))
    path.write_text(
        record(4, "par", tag="P") + record(4, "tial") + record(5, "", "stdout") + record(6, "open", tag="P")
    )
    return path


async def test_all_files_are_read_oldest_first_and_parts_are_joined(log: Path) -> None:
    assert await collect(log) == [
        (1, b"one\n"), (1, b"two\n"), (2, b"err\n"), (1, b"par"), (1, b"tial\n"), (1, b"\n"), (1, b"open"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, b""),
        (1, b"open"),
        (2, b"\nopen"),
        (3, b"partial\n\nopen"),
        (4, b"err\npartial\n\nopen"),
        (5, b"two\nerr\npartial\n\nopen"),
        (99, b"one\ntwo\nerr\npartial\n\nopen"),
    ],
)
async def test_tail_counts_lines_across_files(log: Path, count: int, expected: bytes) -> None:
    assert b"".join([data for _, data in await collect(log, tail=count)]) == expected


async def test_one_stream_a_time_range_and_time_stamps(log: Path) -> None:
    assert await collect(log, stdout=False) == [(2, b"err\n")]
    assert await collect(log, stdout=False, tail=1) == [(2, b"err\n")]
    noon = 1769860800
    assert await collect(log, since=noon + 2, until=noon + 3.5) == [(1, b"two\n"), (2, b"err\n")]
    stamped = await collect(log, since=noon + 4, until=noon + 4.5, timestamps=True)
    assert b"".join([data for _, data in stamped]) == b"2026-01-31T12:00:04.000000001Z partial\n"


async def test_following_goes_on_through_rotations_and_ends_with_the_container(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_text(record(1, "first"))
    running = True
    ended: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    lines: asyncio.Queue[bytes] = asyncio.Queue()

    async def follow() -> None:
        async for batch in read(path, LogQuery(follow=True), lambda: running, ended):
            for _, data in batch:
                lines.put_nowait(data)

    task = asyncio.create_task(follow())
    async with asyncio.timeout(5):
        assert await lines.get() == b"first\n"
        with path.open("a") as file:
            file.write(record(2, "second")[:50])
            file.flush()
            file.write(record(2, "second")[50:])
        assert await lines.get() == b"second\n"
        # Twice in a row, before the reader looks: the file in between must not be skipped.
        old = path.open("a")
        path.rename(tmp_path / "x.log.1")
        old.write(record(3, "last words"))
        old.close()
        path.write_text(record(4, "between"))
        (tmp_path / "x.log.1").rename(tmp_path / "x.log.2")
        path.rename(tmp_path / "x.log.1")
        path.write_text(record(5, "newest"))
        assert [await lines.get() for _ in range(3)] == [b"last words\n", b"between\n", b"newest\n"]
        with path.open("a") as file:
            file.write(record(6, "end"))
        running = False
        ended.set_result(None)
        await task
    assert lines.get_nowait() == b"end\n"


def test_log_options_are_docker_s() -> None:
    assert limits({"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}}) == LogLimits(10 << 20, 3)
    assert limits({"Type": "json-file", "Config": {"max-size": "1k"}}).max_files == 1
    for driver, options, words in (
        ("nosuch", {}, "no log driver named 'nosuch' is registered"),
        ("journald", {}, "log driver 'journald' is not supported"),
        ("json-file", {"bogus": "1"}, "unknown log opt 'bogus' for json-file log driver"),
        ("json-file", {"max-file": "0"}, "max-file cannot be less than 1"),
        ("json-file", {"max-size": "ten"}, "invalid size: 'ten'"),
    ):
        with pytest.raises(InvalidParameter, match=words):
            check_log_config({"Type": driver, "Config": options})


def test_details_show_labels_variables_and_the_tag() -> None:
    config = {"Labels": {"tier": "front", "x": "y"}, "Env": ["AB=c d", "B=e"]}
    options = {"labels": "tier", "env-regex": "^A", "tag": "{{.Name}}/{{ .Nope }}"}
    shown = details({"Config": options}, config, {"Name": "web"})
    assert shown == "AB=c+d,tag=web%2F%7B%7B+.Nope+%7D%7D,tier=front"
    assert details({"Config": {}}, config, {}) == ""


@pytest.mark.parametrize("options", [{"compress": "true"}, {"mode": "other"}, {"env-regex": "("}, {"nope": "1"}])
def test_log_options_that_cannot_be_honoured_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(InvalidParameter):
        check_log_config({"Type": "json-file", "Config": options})

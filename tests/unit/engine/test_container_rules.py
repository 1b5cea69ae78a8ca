"""Pure rules: restart decisions, creation defaults and merges, detach keys."""

from typing import Any

import pytest

from wherry.engine import restart
from wherry.engine.create import choose_name, merge_image
from wherry.engine.errors import Conflict, InvalidParameter
from wherry.engine.model import Record, State, parse_timestamp, timestamp
from wherry.engine.streams import DetachKeys, parse_detach_keys


@pytest.mark.parametrize(
    ("policy", "code", "restarts", "stopped", "ran", "last", "expected"),
    [
        ("no", 1, 0, False, 1, 0, None),
        ("always", 0, 0, False, 1, 0, 0.1),
        ("always", 0, 9, False, 1, 0.1, 0.2),
        ("always", 0, 9, False, 1, 40, 60),
        ("always", 0, 9, False, 11, 40, 0.1),
        ("always", 0, 0, True, 1, 0, None),
        ("unless-stopped", 3, 0, False, 1, 0, 0.1),
        ("on-failure", 0, 0, False, 1, 0, None),
        ("on-failure", 2, 2, False, 1, 0.1, 0.2),
        ("on-failure", 2, 3, False, 1, 0.1, None),
    ],
)
def test_restart_delays_double_up_to_a_minute(
    policy: str, code: int, restarts: int, stopped: bool, ran: float, last: float, expected: float | None
) -> None:
    rule = {"Name": policy, "MaximumRetryCount": 3 if policy == "on-failure" else 0}
    assert restart.decide(rule, code, restarts, stopped=stopped, ran=ran, last_delay=last) == expected


def config(**given: Any) -> dict[str, Any]:
    empty = {"User": "", "Env": [], "Labels": {}, "Cmd": None, "Entrypoint": None, "WorkingDir": "", "Volumes": None,
             "OnBuild": None}  # fmt: skip
    return {**empty, **given}


IMAGE = {"Env": ["A=image", "B=image"], "Cmd": ["serve"], "Entrypoint": ["/run"], "WorkingDir": "/app",
         "Labels": {"x": "image", "y": "image"}, "ExposedPorts": {"80/tcp": {}}, "User": "app"}  # fmt: skip


def test_the_image_fills_in_what_the_client_left_out() -> None:
    merged = config(Env=["A=mine"], Labels={"x": "mine"})
    merge_image(merged, IMAGE)
    assert merged["Env"] == ["A=mine", "B=image"]
    assert merged["Labels"] == {"x": "mine", "y": "image"}
    assert (merged["Entrypoint"], merged["Cmd"], merged["User"]) == (["/run"], ["serve"], "app")


def test_an_entrypoint_of_its_own_drops_the_images_command() -> None:
    merged = config(Entrypoint=["/mine"])
    merge_image(merged, IMAGE)
    assert (merged["Entrypoint"], merged["Cmd"]) == (["/mine"], None)
    arguments = config(Cmd=["once"])
    merge_image(arguments, IMAGE)
    assert (arguments["Entrypoint"], arguments["Cmd"]) == (["/run"], ["once"])


def test_names_are_checked_and_made_up() -> None:
    taken = {"web": "abc"}.get
    assert choose_name("/ok", taken) == "ok"
    with pytest.raises(Conflict, match='"/web" is already in use by container "abc"'):
        choose_name("web", taken)
    with pytest.raises(InvalidParameter, match="only"):
        choose_name("a b", taken)
    assert "_" in choose_name(None, taken)


def test_detach_keys_are_found_across_packets_and_given_back_otherwise() -> None:
    keys = DetachKeys(parse_detach_keys("ctrl-p,ctrl-q"))
    assert keys.filter(b"ab\x10") == (b"ab", False)
    assert keys.filter(b"c") == (b"\x10c", False)
    assert keys.filter(b"\x10") == (b"", False)
    assert keys.filter(b"\x11rest") == (b"", True)
    assert parse_detach_keys("a,b") == b"ab"
    with pytest.raises(InvalidParameter, match="Invalid detach keys"):
        parse_detach_keys("ctrl-")


def test_a_record_survives_its_storage() -> None:
    record = Record(id="i", name="n", created=timestamp(), image_id="s", config={"a": 1}, host_config={},
                    state=State(status="exited", finished_at=timestamp(1_500_000_000_123_456_789)))  # fmt: skip
    assert Record.from_json(record.to_json()) == record
    assert record.state.finished_at == "2017-07-14T02:40:00.123456789Z"
    assert abs(parse_timestamp(record.state.finished_at) - 1_500_000_000.123456789) < 1e-6

"""A tenth of bench/load.py: a lot of work leaves nothing in the daemon or on the machine."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

import load

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]


def test_a_lot_of_work_leaves_nothing(busybox_archive: Path) -> None:
    wherry = load.Wherry()
    try:
        load.docker(wherry.host, "load", "-i", str(busybox_archive))
        results = load.work(wherry, running=10, at_once=5, times=40)
    finally:
        wherry.stop()
    assert load.leaked(results) == {}
    assert results["with them running"]["interfaces"] - results["before"]["interfaces"] == 10
    # What 40 more runs may add: caches fill up, nothing grows with each container.
    assert results["after"]["RSS KiB"] - results["after those"]["RSS KiB"] < 4096

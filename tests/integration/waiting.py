"""Waiting for a condition with a deadline: the only way in which tests let time pass."""

import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


def wait_until(probe: Callable[[], Value], what: str, timeout: float = 30.0) -> Value:
    """Calls `probe` until it returns something true, and returns that. AssertionError names `what` after `timeout`."""
    deadline = time.monotonic() + timeout
    while True:
        value = probe()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {timeout:.0f} s: {what} (last: {value!r})"
        time.sleep(0.05)

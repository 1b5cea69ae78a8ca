from contextlib import ExitStack

import pytest

from wherry.kube_api.http.inflight import InFlight
from wherry.schema.errors import TooManyRequests


def hold(stack: ExitStack, inflight: InFlight, user: str, most: int = 1000) -> int:
    """How many requests of a user get in."""
    count = 0
    while count < most:
        try:
            stack.enter_context(inflight.one(user))
        except TooManyRequests:
            break
        count += 1
    return count


def test_a_user_alone_gets_half_and_leaves_room_for_others() -> None:
    inflight = InFlight(100)
    with ExitStack() as stack:
        assert hold(stack, inflight, "greedy") == 50
        assert hold(stack, inflight, "other", 1) == 1
        assert hold(stack, inflight, "third", 20) == 20
    with ExitStack() as stack:
        assert hold(stack, inflight, "other") == 50


def test_the_limit_holds_for_all_together() -> None:
    inflight = InFlight(10)
    with ExitStack() as stack:
        got = sum(hold(stack, inflight, f"user{number}", 1) for number in range(50))
        assert got == 10
        with pytest.raises(TooManyRequests):
            stack.enter_context(inflight.one("late"))

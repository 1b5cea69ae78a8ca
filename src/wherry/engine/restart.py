"""Restart policies: whether a container that ended is started again, and after how long.

Specified in the Docker Engine API, HostConfig.RestartPolicy: the delay doubles from 100 ms to a minute, and begins
anew once the container has run for 10 seconds.
"""

from collections.abc import Mapping
from typing import Any

FIRST_DELAY = 0.1
LONGEST_DELAY = 60.0
STEADY = 10.0
"""Seconds after which a run counts as a good one."""


def decide(
    policy: Mapping[str, Any], exit_code: int, restarts: int, *, stopped: bool, ran: float, last_delay: float
) -> float | None:
    """Seconds to wait before the next start; None for none.

    `stopped` says that somebody wanted the end; `ran` is how many seconds it ran; `last_delay` what was waited
    before that run (0.0: it was the first).
    """
    name = policy.get("Name") or "no"
    if stopped or name in ("no", ""):
        return None
    if name == "on-failure":
        limit = policy.get("MaximumRetryCount") or 0
        if exit_code == 0 or (limit and restarts >= limit):
            return None
    if ran >= STEADY or not last_delay:
        return FIRST_DELAY
    return min(last_delay * 2, LONGEST_DELAY)


def after_boot(policy: Mapping[str, Any], *, stopped: bool, was_running: bool) -> bool:
    """Whether the engine starts a container that is not running when the engine itself starts."""
    name = policy.get("Name") or "no"
    if name == "always":
        return True
    if name == "unless-stopped":
        return not stopped
    return name == "on-failure" and was_running and not stopped

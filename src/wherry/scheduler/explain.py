"""Explanations: what was said of each pending pod at its last attempt, and when.

Kept for the last pods that were refused; `wherry explain pod` reads it and asks `verdicts.judge` for the rest.
"""

from collections import OrderedDict
from dataclasses import dataclass

_REMEMBERED = 1000


@dataclass(frozen=True)
class Explanation:
    """`message` is what stands in the pod's condition; `at` is epoch seconds."""

    at: float
    message: str


class Explanations:
    """By pod UID."""

    def __init__(self) -> None:
        self._entries: OrderedDict[str, Explanation] = OrderedDict()

    def add(self, uid: str, message: str, at: float) -> None:
        self._entries[uid] = Explanation(at, message)
        self._entries.move_to_end(uid)
        while len(self._entries) > _REMEMBERED:
            self._entries.popitem(last=False)

    def get(self, uid: str) -> Explanation | None:
        return self._entries.get(uid)

    def forget(self, uid: str) -> None:
        self._entries.pop(uid, None)

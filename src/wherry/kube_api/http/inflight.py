"""How many requests may be under way at once, and how they are shared between users.

While there is room, anyone gets it. From half of the limit on, no user may hold more than an equal share of what the
users who are active then could have: one runaway client is told 429 and the others do not notice it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from wherry.schema.errors import TooManyRequests


class InFlight:
    """Counts requests under way; not thread-safe."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._total = 0
        self._users: dict[str, int] = {}

    @contextmanager
    def one(self, user: str) -> Iterator[None]:
        """A request of `user` runs inside. Raises TooManyRequests when there is no room for it."""
        mine = self._users.get(user, 0)
        if self._total >= self._limit or (self._total >= self._limit // 2 and mine >= self._share(user)):
            raise TooManyRequests("Too many requests, please try again later.", details={"retryAfterSeconds": 1})
        self._total += 1
        self._users[user] = mine + 1
        try:
            yield
        finally:
            self._total -= 1
            left = self._users[user] - 1
            if left:
                self._users[user] = left
            else:
                del self._users[user]

    def _share(self, user: str) -> int:
        """What one user may hold when it gets tight: there is always to be room for one more."""
        users = len(self._users) + (user not in self._users)
        return max(1, self._limit // (users + 1))

"""Routes: from a method and a path to the function that answers.

A route's path is Docker's, without the version: `/containers/{name}/json`. `{name}` takes the rest of the path up to
what follows it, slashes included, because image names hold slashes.
"""

import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from aiohttp import web

from wherry.docker_api.hangups import HangupWatcher
from wherry.docker_api.query import Query

if TYPE_CHECKING:
    from wherry.engine.engine import Engine

Version: TypeAlias = tuple[int, int]
"""An API version, e.g. (1, 44)."""

MIN_VERSION: Version = (1, 24)
MAX_VERSION: Version = (1, 50)


@dataclass(slots=True)
class Call:
    """One request on its way to its handler."""

    engine: "Engine"
    request: web.BaseRequest
    version: Version
    params: dict[str, str]
    query: Query
    hangups: HangupWatcher

    @property
    def name(self) -> str:
        """What stands for `{name}` in the route's path."""
        return self.params["name"]

    async def json(self, shape: Any = None, *, required: bool = False) -> dict[str, Any]:
        """The body as a JSON object; `{}` when it is empty. See `body.read_json`."""
        from wherry.docker_api.body import read_json

        return await read_json(self.request, shape, required=required)


Handler: TypeAlias = Callable[[Call], Coroutine[Any, Any, web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """`interruptible`: the handler ends when its client goes. A change is not: it goes on to its end."""

    pattern: re.Pattern[str]
    handler: Handler
    interruptible: bool


class Routes:
    """The routes of one resource, or of all: `routes.get("/volumes")(handler)`, then `match`."""

    def __init__(self) -> None:
        self._table: dict[tuple[str, str], list[Route]] = {}

    def add(self, method: str, path: str, *, interruptible: bool = True) -> Callable[[Handler], Handler]:
        """Decorator that registers a handler. Routes are tried in the order in which they were added."""
        pattern = re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+)", re.escape(path)))
        key = (method, path.split("/", 2)[1])

        def register(handler: Handler) -> Handler:
            self._table.setdefault(key, []).append(Route(pattern, handler, interruptible))
            return handler

        return register

    def get(self, path: str) -> Callable[[Handler], Handler]:
        return self.add("GET", path)

    def head(self, path: str) -> Callable[[Handler], Handler]:
        return self.add("HEAD", path)

    def post(self, path: str, *, interruptible: bool = False) -> Callable[[Handler], Handler]:
        return self.add("POST", path, interruptible=interruptible)

    def put(self, path: str) -> Callable[[Handler], Handler]:
        return self.add("PUT", path)

    def delete(self, path: str) -> Callable[[Handler], Handler]:
        return self.add("DELETE", path, interruptible=False)

    def include(self, other: "Routes") -> None:
        for key, entries in other._table.items():
            self._table.setdefault(key, []).extend(entries)

    def match(self, method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        """The route for a decoded path without its version, and what its `{…}` stand for."""
        for route in self._table.get((method, path.split("/", 2)[1]), ()):
            found = route.pattern.fullmatch(path)
            if found:
                return route, found.groupdict()
        return None

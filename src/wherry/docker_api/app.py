"""The request path: version, route, handler, error. `make_app` ties the routes to one engine."""

import asyncio
import contextlib
import logging
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import unquote

from aiohttp import web

from wherry.docker_api import routes as all_routes
from wherry.docker_api.background import Background
from wherry.docker_api.errors import PageNotFound, VersionUnsupported, message_of, status_of
from wherry.docker_api.hangups import HangupWatcher
from wherry.docker_api.query import Query
from wherry.docker_api.replies import HEADERS, error_reply
from wherry.docker_api.routing import MAX_VERSION, MIN_VERSION, Call, Version
from wherry.engine.errors import NotModified

if TYPE_CHECKING:
    from wherry.engine.engine import Engine

App: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
"""A handler for `aiohttp.web.Server`, the low-level server without an Application's cost per request."""

_DRAIN = 4 << 20
_DRAIN_SECONDS = 2.0

_log = logging.getLogger(__name__)
_VERSION = re.compile(r"/v([0-9.]{1,64})(?=/)")


def make_app(engine: "Engine", hangups: HangupWatcher, background: Background) -> App:
    """The Docker Engine API, versions 1.24 to 1.50, over `engine`. The caller closes the other two."""
    routes = all_routes.build()

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        raw_path, _, raw_query = request.path_qs.partition("?")
        path = unquote(raw_path)
        try:
            version, path = _split_version(path)
            matched = routes.match(request.method, path)
            if matched is None:
                raise PageNotFound
            route, params = matched
            work = route.handler(Call(engine, request, version, params, Query(raw_query), hangups))
            response = await (work if route.interruptible else background.run(work))
        except PageNotFound:
            response = error_reply("page not found", 404)
        except NotModified:
            response = web.Response(status=304)
        except VersionUnsupported as error:
            response = error_reply(error.message, 400)
            if error.version < MIN_VERSION:
                # Clients that old print an error's answer as it is.
                response = web.Response(text=f"{error.message}\n", status=400)
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception as error:
            # The boundary: every error becomes an answer, none is lost.
            if request.writer.output_size:
                # The header is out: all that is left to say is that the answer is cut short.
                _log.error("%s %s: cut short", request.method, request.path_qs, exc_info=error)
                raise ConnectionResetError("the answer failed half-way") from error
            response = _error_response(request, error)
        if not response.prepared:
            await _drain(request)
        if not response.prepared:
            for key, value in HEADERS.items():
                response.headers.setdefault(key, value)
        return response

    return handle


async def _drain(request: web.BaseRequest) -> None:
    """Read what the client is still sending, within bounds: closing on it would take the error's text from it."""
    left = _DRAIN
    with contextlib.suppress(TimeoutError, ConnectionError, web.RequestPayloadError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            while left > 0 and not request.content.at_eof():
                left -= len(await request.content.readany())


def _error_response(request: web.BaseRequest, error: Exception) -> web.StreamResponse:
    status = status_of(error)
    if status == 500 and not hasattr(error, "message"):
        _log.error("%s %s", request.method, request.path_qs, exc_info=error)
    return error_reply(message_of(error) or type(error).__name__, status)


def _split_version(path: str) -> tuple[Version, str]:
    match = _VERSION.match(path)
    if match is None:
        if not path.startswith("/"):
            raise PageNotFound
        return MAX_VERSION, path
    shown = match[1]
    numbers = [int(part or 0) for part in shown.split(".")]
    version = (numbers[0], numbers[1] if len(numbers) > 1 else 0)
    if version < MIN_VERSION:
        raise VersionUnsupported(
            f"client version {shown} is too old. Minimum supported API version is "
            f"{MIN_VERSION[0]}.{MIN_VERSION[1]}, please upgrade your client to a newer version",
            version,
        )
    if version > MAX_VERSION or (version == MAX_VERSION and any(numbers[2:])):
        raise VersionUnsupported(
            f"client version {shown} is too new. Maximum supported API version is {MAX_VERSION[0]}.{MAX_VERSION[1]}",
            version,
        )
    return version, path[match.end() :]

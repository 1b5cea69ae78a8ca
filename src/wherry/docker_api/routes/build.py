"""`/build`: images out of Dockerfiles, and the build cache."""

import re
import time

from aiohttp import web

from wherry.docker_api.progress import progress_stream
from wherry.docker_api.registry_auth import registry_config
from wherry.docker_api.replies import empty, json_reply
from wherry.docker_api.routing import Call, Routes
from wherry.engine.errors import InvalidParameter

routes = Routes()

_PRUNE_FILTERS = frozenset({"until", "id", "parent", "type", "description", "inuse", "shared", "private"})
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


@routes.post("/build", interruptible=True)
async def build(call: Call) -> web.StreamResponse:
    # Heavy and seldom: loaded at the first build.
    from wherry.build.builder import build as run
    from wherry.build.options import BuildOptions

    query = call.query
    content_type = call.request.headers.get("Content-Type", "").partition(";")[0]
    if content_type not in ("", "application/x-tar", "application/tar", "application/octet-stream"):
        raise InvalidParameter(f"Content-Type {content_type} is not supported: send the context as application/x-tar")
    values = {key: query.text(key) for key in query}
    if len(query.texts("extrahosts")) > 1:
        # Given as one list by some clients and as several parameters by others.
        values["extrahosts"] = ",".join(query.texts("extrahosts"))
    options = BuildOptions.from_query(values, query.texts("t"), registry_config(call.request))
    context = call.request.content.iter_any()
    return await progress_stream(call, lambda tell: run(call.engine, options, context, tell))


@routes.post("/build/cancel")
async def cancel(call: Call) -> web.StreamResponse:
    # Builds end with the connection that asked for them; there is no other handle on one.
    return empty(200)


@routes.post("/build/prune")
async def prune(call: Call) -> web.StreamResponse:
    from wherry.build.builder import Builder

    filters = call.query.filters()
    filters.validate(_PRUNE_FILTERS)
    for key in filters:
        if key != "until":
            raise InvalidParameter(f"the filter '{key}' is not supported by this builder's cache")
    for key in ("max-used-space", "min-free-space"):
        if call.query.integer(key, 0):
            raise InvalidParameter(f"{key} is not supported by this builder's cache")
    until = filters.one("until")
    keep = max(call.query.integer(key, 0) or 0 for key in ("keep-storage", "reserved-space"))
    cache = (await Builder.of(call.engine)).cache
    pruned = await cache.prune(keep=keep, older_than=_moment(until) if until else None)
    return json_reply(pruned)


def _moment(until: str) -> float:
    """A duration ago (`24h`, `1h30m`) or a Unix time, as seconds since 1970."""
    if until.isdecimal():
        return float(until)
    match = _DURATION.fullmatch(until)
    if match is None or not until:
        raise InvalidParameter(f"invalid filter 'until=[{until}]'")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return time.time() - (hours * 3600 + minutes * 60 + seconds)

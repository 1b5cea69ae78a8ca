"""`/build`: images out of Dockerfiles, and the build cache."""

import time
from typing import TYPE_CHECKING, Any

from aiohttp import web

from wherry.docker_api.build_request import CONTENT_TYPE
from wherry.docker_api.progress import Tell, progress_stream
from wherry.docker_api.registry_auth import registry_config
from wherry.docker_api.replies import empty, json_reply
from wherry.docker_api.routing import Call, Routes
from wherry.engine.errors import InvalidParameter
from wherry.engine.filters import Filters
from wherry.host.units import moment

if TYPE_CHECKING:
    from wherry.build.cache import Record
    from wherry.build.options import BuildOptions

routes = Routes()

_PRUNE_FILTERS = frozenset(
    {"until", "unused-for", "id", "parent", "type", "description", "inuse", "shared", "private", "label", "label!"}
)


@routes.post("/build", interruptible=True)
async def build(call: Call) -> web.StreamResponse:
    # Heavy and seldom: loaded at the first build.
    from wherry.build.builder import build as run
    from wherry.build.options import BuildOptions

    query = call.query
    content_type = call.request.headers.get("Content-Type", "").partition(";")[0]
    own = content_type == CONTENT_TYPE
    if not own and content_type not in ("", "application/x-tar", "application/tar", "application/octet-stream"):
        raise InvalidParameter(f"Content-Type {content_type} is not supported: send the context as application/x-tar")
    if query.text("securityopt") not in ("", "null", "[]"):
        raise InvalidParameter("The daemon on this platform does not support setting security options on build")
    values = {key: query.text(key) for key in query}
    for key, since in (("platform", (1, 32)), ("outputs", (1, 40))):
        if call.version < since:
            values.pop(key, None)
    if values.get("version", "") not in ("", "1", "2"):
        raise InvalidParameter(f'invalid version "{values["version"]}"')
    if len(query.texts("extrahosts")) > 1:
        # Given as one list by some clients and as several parameters by others.
        values["extrahosts"] = ",".join(query.texts("extrahosts"))
    options = BuildOptions.from_query(values, query.texts("t"), registry_config(call.request))
    if own:
        return await _build_parcel(call, options)
    context = call.request.content.iter_any()

    async def work(tell: Tell) -> None:
        def tell_older(message: dict[str, Any]) -> None:
            if "aux" not in message:
                tell(message)

        # Before 1.30 clients took the image's id from the last line, and did not know the message that carries it.
        await run(call.engine, options, context, tell if call.version >= (1, 30) else tell_older)

    return await progress_stream(call, work)


async def _build_parcel(call: Call, options: "BuildOptions") -> web.StreamResponse:
    """A build as Wherry's own clients ask for it: see `build_request`."""
    from wherry.build.builder import Builder
    from wherry.docker_api.build_parcel import Answer, Parcel, apply, context

    parcel = Parcel(call.request)
    answer = Answer(call)
    head = await parcel.head()
    apply(head, options, parcel, answer)
    builder = await Builder.of(call.engine)

    async def check(tell: Tell) -> None:
        warnings = await builder.check(options, context(parcel))
        tell({"checks": [warning.document() for warning in warnings]})

    async def build(tell: Tell) -> None:
        await builder.build(options, context(parcel), tell)

    return await progress_stream(call, check if head.get("check") else build, answer=answer)


@routes.post("/build/cancel")
async def cancel(call: Call) -> web.StreamResponse:
    # Builds end with the connection that asked for them; there is no other handle on one.
    return empty(200)


@routes.post("/build/prune")
async def prune(call: Call) -> web.StreamResponse:
    from wherry.build.builder import Builder

    query, filters = call.query, call.query.filters()
    filters.validate(_PRUNE_FILTERS)
    if "until" in filters and "unused-for" in filters:
        raise InvalidParameter("conflicting filters: until and unused-for")
    until = filters.one("until") or filters.one("unused-for")
    cache = (await Builder.of(call.engine)).cache
    new = call.version >= (1, 48)
    reserved = query.integer("reserved-space", 0) if new else 0
    pruned = await cache.prune(
        everything=query.boolean("all"),
        wanted=lambda record: _matches(record, filters),
        older_than=_moment(until) if until else None,
        reserved=reserved or query.integer("keep-storage", 0) or 0,
        most=(query.integer("max-used-space", 0) or 0) if new else 0,
        least_free=(query.integer("min-free-space", 0) or 0) if new else 0,
    )
    call.engine.events.emit("builder", "prune", "", {"reclaimed": str(pruned["SpaceReclaimed"])})
    return json_reply(pruned)


def _matches(record: "Record", filters: Filters) -> bool:
    """Whether all filters but the times let a record of the cache pass. Nothing in the cache has labels."""
    if "label" in filters:
        return False
    texts = {"type": record.type, "description": record.description, "parent": ""}
    if any((wanted := filters.one(key)) is not None and wanted != text for key, text in texts.items()):
        return False
    if (wanted := filters.one("id")) is not None and wanted not in record.id:
        return False
    flags = {"inuse": record.in_use, "shared": record.shared, "private": not record.shared}
    return all(key not in filters or (filters.one(key) not in ("0", "false")) == is_so for key, is_so in flags.items())


def _moment(until: str) -> float:
    try:
        return moment(until, time.time())
    except ValueError:
        raise InvalidParameter(f"invalid filter 'until=[{until}]'") from None

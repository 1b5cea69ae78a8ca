"""`/images` and `/distribution`: the image store."""

import functools
from typing import Any

from aiohttp import web

from wherry.docker_api import compat, platforms
from wherry.docker_api.progress import Tell, progress_stream
from wherry.docker_api.registry_auth import registry_auth
from wherry.docker_api.replies import bytes_stream, empty, json_reply
from wherry.docker_api.routing import Call, Routes
from wherry.engine import errors
from wherry.engine.commit import apply_change
from wherry.engine.errors import InvalidParameter

routes = Routes()


@routes.get("/images/json")
async def list_images(call: Call) -> web.StreamResponse:
    query = call.query
    filters = query.filters()
    if call.version < (1, 41) and query.text("filter"):
        filters["reference"] = [*filters.get("reference", []), query.text("filter")]
    images = call.engine.images.list(
        filters,
        all_images=query.boolean("all"),
        shared_size=call.version >= (1, 42) and query.boolean("shared-size"),
    )
    return json_reply([compat.image_summary(image, call.version) for image in images])


@routes.post("/images/create", interruptible=True)
async def create(call: Call) -> web.StreamResponse:
    query = call.query
    platform = query.text("platform") if call.version >= (1, 32) else ""
    if query.text("fromImage"):
        return await _pull(call, platform)
    source = query.text("fromSrc")
    if source != "-":
        raise errors.NotImplemented(f"importing from a URL is not supported by this engine: fetch {source} and pipe it")

    config: dict[str, Any] = {}
    for line in query.texts("changes"):
        apply_change(config, line)

    async def load(tell: Tell) -> None:
        image_id = await call.engine.images.import_(
            call.request.content.iter_any(),
            repo=query.text("repo") or None,
            tag=query.text("tag") or None,
            message=query.text("message") or f"Imported from {source}",
            config=config,
            platform=platform or None,
        )
        tell({"status": image_id})

    return await progress_stream(call, load)


async def _pull(call: Call, platform: str) -> web.StreamResponse:
    # `pull -a` sends a name that ends in a colon.
    name = call.query.text("fromImage").removesuffix(":")
    tag = call.query.text("tag")
    if name == "scratch":
        raise errors.Forbidden("'scratch' is a reserved name")
    reference = name
    if tag:
        reference = f"{name}@{tag}" if ":" in tag else f"{name}:{tag}"
    pull = functools.partial(
        call.engine.images.pull, reference, auth=registry_auth(call.request), platform=platform or None
    )
    return await progress_stream(call, lambda tell: pull(progress=tell))


@routes.post("/images/load", interruptible=True)
async def load(call: Call) -> web.StreamResponse:
    quiet = call.query.boolean("quiet", True)
    images = call.engine.images
    wanted = platforms.wanted(call, (1, 48), only=True)

    def chosen(config: dict[str, Any]) -> bool:
        return not wanted or any(platforms.matches(config, platform) for platform in wanted)

    return await progress_stream(
        call,
        lambda tell: images.load(call.request.content.iter_any(), tell, quiet=quiet, chosen=chosen),
        errors_inside=True,
    )


@routes.get("/images/get")
async def save_many(call: Call) -> web.StreamResponse:
    names = call.query.texts("names")
    if not names:
        raise InvalidParameter("no images to save: give at least one name")
    for name in names:
        platforms.require(call, name, platforms.wanted(call, (1, 48), only=True))
    return await bytes_stream(call, call.engine.images.save(names), "application/x-tar")


@routes.get("/images/search")
async def search(call: Call) -> web.StreamResponse:
    limit = call.query.integer("limit", 0) or 0
    if limit < 0 or limit > 100:
        raise InvalidParameter(f"Limit {limit} is outside the range of [1, 100]")
    raise errors.NotImplemented("searching Docker Hub is not supported by this engine")


@routes.post("/images/prune")
async def prune(call: Call) -> web.StreamResponse:
    pruned = await call.engine.images.prune(call.query.filters())
    call.engine.events.emit("image", "prune", "", {"reclaimed": str(pruned["SpaceReclaimed"])})
    return json_reply(pruned)


@routes.get("/images/{name}/get")
async def save_one(call: Call) -> web.StreamResponse:
    platforms.require(call, call.name, platforms.wanted(call, (1, 48), only=True))
    return await bytes_stream(call, call.engine.images.save([call.name]), "application/x-tar")


@routes.get("/images/{name}/json")
async def inspect(call: Call) -> web.StreamResponse:
    platform = platforms.wanted(call, (1, 49))
    if platform and call.query.boolean("manifests"):
        raise InvalidParameter("conflicting options: manifests and platform options cannot both be set")
    platforms.require(call, call.name, platform)
    return json_reply(compat.image(call.engine.images.inspect(call.name), call.version))


@routes.get("/images/{name}/history")
async def history(call: Call) -> web.StreamResponse:
    platforms.require(call, call.name, platforms.wanted(call, (1, 48)))
    return json_reply(call.engine.images.history(call.name))


@routes.post("/images/{name}/push", interruptible=True)
async def push(call: Call) -> web.StreamResponse:
    if platform := platforms.wanted(call, (1, 46)):
        tag = call.query.text("tag")
        platforms.require(call, f"{call.name}:{tag}" if tag else call.name, platform)
    push = functools.partial(
        call.engine.images.push, call.name, call.query.text("tag") or None, auth=registry_auth(call.request)
    )
    return await progress_stream(call, lambda tell: push(progress=tell))


@routes.post("/images/{name}/tag")
async def tag(call: Call) -> web.StreamResponse:
    repo = call.query.text("repo")
    if repo == "sha256":
        raise InvalidParameter("refusing to create an ambiguous tag using digest algorithm as name")
    if not repo:
        raise InvalidParameter("invalid reference format")
    await call.engine.images.tag(call.name, repo, call.query.text("tag") or None)
    return empty(201)


@routes.delete("/images/{name}")
async def remove(call: Call) -> web.StreamResponse:
    if not call.name.strip():
        raise InvalidParameter("image name cannot be blank")
    query = call.query
    platforms.require(call, call.name, platforms.wanted(call, (1, 50), "platforms"))
    removed: list[dict[str, Any]] = await call.engine.images.remove(
        call.name, force=query.boolean("force"), prune=not query.boolean("noprune")
    )
    return json_reply(removed)


@routes.get("/distribution/{name}/json")
async def distribution(call: Call) -> web.StreamResponse:
    about = await call.engine.images.distribution(call.name, auth=registry_auth(call.request))
    return json_reply(about)

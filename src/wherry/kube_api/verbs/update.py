"""PUT: replace an object, its status, or another part of it that has a URL of its own."""

from typing import Any

from wherry.kube_api import convert
from wherry.kube_api.api import Api
from wherry.kube_api.call import Call
from wherry.kube_api.objects import Entry, encode
from wherry.kube_api.pipeline import check_fields, check_object, prepare_changed, prepare_new, removable
from wherry.schema import errors
from wherry.schema.objects import deep_copy
from wherry.schema.resource import Object


async def update(api: Api, call: Call, body: Any) -> tuple[Entry, bool]:
    """Replace by `body`; returns the entry and whether it was created by this. Raises NotFound, Conflict, Invalid…"""
    obj = check_object(call, body)
    check_fields(api, call, obj)
    name = obj["metadata"].get("name")
    if call.name is None:
        call.name = name or ""
    if not name:
        raise errors.BadRequest(
            f"the name of the object ({name or ''}) does not match the name on the URL ({call.name})"
        )
    if name != call.name:
        raise errors.BadRequest(f"the name of the object ({name}) does not match the name on the URL ({call.name})")

    async def change(current: Object | None) -> Object:
        if current is None:
            if not api.strategy(call.resource).create_on_update or call.subresource:
                raise api.not_found(call.resource, name)
            return await prepare_new(api, call, deep_copy(obj))
        return await prepare_changed(api, call, deep_copy(obj), current)

    return await write(api, call, change)


async def write(api: Api, call: Call, change: Any) -> tuple[Entry, bool]:
    """Run `change(current object or None) -> new object` under compare-and-swap and write what it gives.

    Shared by PUT and PATCH. Returns the entry, in the call's version, and whether it was created.
    """
    resource, name = call.resource, call.name or ""
    strategy = api.strategy(resource)
    release: Any = None
    created = False

    async def step(entry: Entry | None) -> Object | None:
        nonlocal release, created
        if release is not None:
            release()
            release = None
        old = convert.from_storage(api.views, resource, entry.decode()) if entry is not None else None
        new: Object = await change(old)
        created = old is None
        if old is not None and new == old:
            return None
        release = await strategy.before_write(api, call, new, old)
        return new

    if call.dry_run:
        entry = await api.read(resource, call.namespace, name)
        new = await step(entry)
        if release is not None:
            release()
        if new is None:
            assert entry is not None
            return api.present(resource, entry), False
        if entry is None:
            return Entry(call.namespace or "", name, encode(new), 0), True
        from wherry.kube_api.objects import splice

        return Entry(entry.namespace, name, splice(encode(new), entry.revision), entry.revision), False
    try:
        entry, _ = await api.modify(resource, call.namespace, name, step, removable=removable)
    finally:
        if release is not None:
            release()
    return api.present(resource, entry), created

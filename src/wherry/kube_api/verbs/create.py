"""POST: create an object."""

from typing import Any

from wherry.kube_api.api import Api
from wherry.kube_api.call import Call
from wherry.kube_api.objects import Entry, encode
from wherry.kube_api.pipeline import check_fields, check_object, prepare_new
from wherry.schema import errors
from wherry.schema.resource import Object

GENERATE_TRIES = 8


async def create(api: Api, call: Call, body: Any) -> Entry:
    """Create the object in `body`, which is the callee's from now on. Raises AlreadyExists, Invalid, Forbidden…"""
    obj = check_object(call, body)
    check_fields(api, call, obj)
    generated = not obj["metadata"].get("name") and bool(obj["metadata"].get("generateName"))
    obj = await prepare_new(api, call, obj)
    return await insert(api, call, obj, generated=generated)


async def insert(api: Api, call: Call, obj: Object, *, generated: bool = False) -> Entry:
    """Write a prepared object; a generated name that is taken is drawn again."""
    resource = call.resource
    release = await api.strategy(resource).before_write(api, call, obj, None)
    try:
        if call.dry_run:
            if api.cached(resource, call.namespace, obj["metadata"]["name"]) is not None:
                raise errors.already_exists(resource.group, resource.plural, obj["metadata"]["name"])
            return Entry(call.namespace or "", obj["metadata"]["name"], encode(obj), 0)
        tries = GENERATE_TRIES if generated else 1
        while True:
            tries -= 1
            try:
                entry = await api.insert(resource, obj)
                return api.present(resource, entry)
            except errors.AlreadyExists:
                if not tries:
                    raise
                obj["metadata"]["name"] = api.generate_name(obj["metadata"]["generateName"])
    finally:
        if release is not None:
            release()

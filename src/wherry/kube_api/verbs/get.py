"""GET of one object: its stored bytes."""

from wherry.kube_api.api import Api
from wherry.kube_api.call import Call
from wherry.kube_api.objects import Entry
from wherry.schema import errors
from wherry.schema.resource import Resource


async def get(api: Api, call: Call) -> Entry:
    """The entry in the version that was asked for. Raises NotFound."""
    name = call.name or ""
    if call.resource_version:
        await not_older(api, call.resource, call.resource_version)
        entry = api.cached(call.resource, call.namespace, name)
    else:
        entry = await api.read(call.resource, call.namespace, name)
    if entry is None:
        raise api.not_found(call.resource, name)
    return api.present(call.resource, entry)


def parse_revision(text: str) -> int:
    """A resourceVersion as a number; "" and "0" are 0. Raises Invalid."""
    if not text:
        return 0
    if not text.isdecimal() or len(text) > 19:
        raise errors.BadRequest(
            f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        )
    return int(text)


async def not_older(api: Api, resource: Resource, text: str) -> int:
    """Wait until the cache is at least at this resourceVersion. Raises Timeout when that is not going to happen."""
    revision = parse_revision(text)
    if revision > api.cache.revision:
        try:
            await api.cache.wait_for(revision)
        except TimeoutError:
            raise errors.Timeout(
                f"Too large resource version: {revision}, current: {api.cache.revision}",
                details={
                    "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
                    "retryAfterSeconds": 1,
                },
            ) from None
    return revision

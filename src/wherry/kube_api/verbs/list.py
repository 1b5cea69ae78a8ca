"""LIST: a resource's objects, whole or page by page.

A page's continue token holds the revision and the key to go on from, so that all pages show one moment: from
the cache while nothing has changed since, from the store's history otherwise, and 410 when that is compacted.
"""

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from wherry.kube_api.api import Api
from wherry.kube_api.call import Call
from wherry.kube_api.objects import Entry, key_of, prefix_of, splice, split_key
from wherry.kube_api.selection import Selection
from wherry.kube_api.verbs.get import not_older, parse_revision
from wherry.kube_api.verbs.list_options import check_list
from wherry.schema import errors
from wherry.store.api import Compacted, FutureRevision

EXPIRED = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list "
    "without the continue parameter, or use the continue token in this response to retrieve the remainder of the "
    "results. Continuing with the provided token results in an inconsistent list - objects that were created, "
    "modified, or deleted between the time the first chunk was returned and now may show up in the list."
)


@dataclass(slots=True)
class Page:
    """What LIST answers. `remaining` is None when it is not known (with selectors)."""

    entries: list[Entry]
    revision: int
    continue_token: str = ""
    remaining: int | None = None
    joined: bytes | None = None
    """The entries' bytes with commas between, when the cache has them so; `entries` is empty then."""


async def list_joined(api: Api, call: Call) -> Page:
    """Like `list_` for those who only want the bytes of the items."""
    plain = not (
        call.label_selector or call.field_selector or call.limit or call.continue_token
        or call.resource_version or call.resource_version_match or call.name or call.send_initial_events is not None
    )  # fmt: skip
    if plain and api.store.exclusive and not api.is_view(call.resource):
        api.cache.check()
        joined = api.cache_of(call.resource).joined(call.namespace)
        return Page([], api.cache.revision, joined=joined)
    return await list_(api, call)


async def list_(api: Api, call: Call) -> Page:
    """Entries in the version that was asked for, in order of namespace and name. Raises Gone, BadRequest."""
    check_list(call)
    selection = Selection(call, api.selectable(call.resource))
    if call.continue_token:
        revision, start = _decode_token(call.continue_token, prefix_of(api.stored_as(call.resource)))
        if revision < 0:
            revision = api.cache.revision
        return await _page(api, call, selection, revision, start)
    if call.resource_version_match == "Exact":
        return await _page(api, call, selection, parse_revision(call.resource_version), "")
    if call.resource_version:
        await not_older(api, call.resource, call.resource_version)
    elif not api.store.exclusive:
        await api.cache.wait_for(await api.store.newest())
    return await _page(api, call, selection, api.cache.revision, "")


async def _page(api: Api, call: Call, selection: Selection, revision: int, start: str) -> Page:
    cache = api.cache_of(call.resource)
    resource = api.stored_as(call.resource)
    if revision >= cache.changed and revision <= api.cache.revision:
        api.cache.check()
        if not start and call.limit <= 0 and selection.everything and not api.is_view(call.resource):
            return Page(
                list(cache.entries(call.namespace)), api.cache.revision if not call.continue_token else revision
            )
        found: Iterable[Entry] = cache.entries(selection.namespace)
        if start:
            found = (entry for entry in found if key_of(resource, entry.namespace, entry.name) >= start)
    else:
        try:
            items = await api.store.range(prefix_of(resource, call.namespace), start=start, revision=revision)
        except Compacted:
            raise _expired(call, api) from None
        except FutureRevision:
            raise errors.Timeout(f"Too large resource version: {revision}, current: {api.cache.revision}") from None
        found = []
        for item in items.items:
            _, namespace, name = split_key(item.key)
            data = splice(api.cache.plain(item.key, item.value), item.mod_revision)
            found.append(Entry(namespace, name, data, item.mod_revision))
    return _cut(api, call, selection, resource, found, revision)


def _cut(api: Api, call: Call, selection: Selection, resource: object, found: Iterable[Entry], revision: int) -> Page:
    """Filter, and cut at the limit."""
    chosen: list[Entry] = []
    left = 0
    token = ""
    for entry in found:
        shown = api.present(call.resource, entry)
        if not selection.everything and not selection.matches(shown):
            continue
        if call.limit > 0 and len(chosen) >= call.limit:
            left += 1
            if not selection.everything:
                break
            continue
        chosen.append(shown)
    if left:
        token = _encode_token(revision, chosen[-1])
    return Page(chosen, revision, token, left if left and selection.everything else None)


def _encode_token(revision: int, last: Entry) -> str:
    where = f"{last.namespace}/{last.name}" if last.namespace else last.name
    token = orjson.dumps({"v": "meta.k8s.io/v1", "rv": revision, "start": where + "\0"})
    return base64.urlsafe_b64encode(token).rstrip(b"=").decode()


def _decode_token(text: str, prefix: str) -> tuple[int, str]:
    try:
        token = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        revision, start = int(token["rv"]), str(token["start"])
    except (binascii.Error, ValueError, KeyError, TypeError):
        raise errors.BadRequest("continue key is not valid: the token cannot be read") from None
    if ".." in start or start.startswith("/"):
        raise errors.BadRequest("continue key is not valid: unexpected start of the key")
    return revision, prefix + start


def _expired(call: Call, api: Api) -> errors.Gone:
    return errors.Gone(EXPIRED if call.continue_token else "The resourceVersion for the provided list is too old.")


def head(kind: str, api_version: str, page: Page) -> bytes:
    """The start of a list's JSON, up to and including the bracket that opens its items."""
    metadata: dict[str, object] = {"resourceVersion": str(page.revision)}
    if page.continue_token:
        metadata["continue"] = page.continue_token
    if page.remaining is not None:
        metadata["remainingItemCount"] = page.remaining
    start = orjson.dumps({"kind": kind, "apiVersion": api_version, "metadata": metadata})
    return start[:-1] + b',"items":['

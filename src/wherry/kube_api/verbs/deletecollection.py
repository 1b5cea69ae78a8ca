"""DELETE of a collection: every object that the selectors choose."""

from wherry.kube_api.api import Api
from wherry.kube_api.call import Call, DeleteOptions
from wherry.kube_api.objects import Entry
from wherry.kube_api.verbs.delete import delete
from wherry.kube_api.verbs.list import Page, list_
from wherry.schema.errors import NotFound


async def delete_collection(api: Api, call: Call, options: DeleteOptions) -> Page:
    """Delete what a list with the same selectors gives; answers with that list."""
    page = await list_(api, call)
    deleted: list[Entry] = []
    for entry in page.entries:
        one = call.with_(name=entry.name, namespace=entry.namespace or None, verb="delete")
        try:
            state, _ = await delete(api, one, options)
        except NotFound:
            continue
        deleted.append(state)
    return Page(deleted, page.revision, page.continue_token, page.remaining)

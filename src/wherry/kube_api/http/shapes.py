"""Table and PartialObjectMetadata: the shapes in which `kubectl get` and metadata informers ask for objects.

https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables
"""

from datetime import UTC, datetime

import orjson

from wherry.kube_api.api import Api
from wherry.kube_api.cache import frame
from wherry.kube_api.objects import Entry
from wherry.kube_api.verbs.list import Page
from wherry.schema import printers
from wherry.schema.resource import Object, Resource


def table(api: Api, resource: Resource, page: Page, include: str) -> bytes:
    """A Table of the page's entries; `include` is None, Metadata or Object."""
    objects = [entry.decode() for entry in page.entries]
    metadata: Object = {"resourceVersion": str(page.revision)}
    if page.continue_token:
        metadata["continue"] = page.continue_token
    if page.remaining is not None:
        metadata["remainingItemCount"] = page.remaining
    custom = api.table.extra(resource)
    now = datetime.fromtimestamp(api.now(), UTC)
    return orjson.dumps(printers.table(resource, objects, now, include, custom, metadata=metadata))


class TableShaper:
    """Makes watch events whose object is a Table; the columns go with the first one only."""

    def __init__(self, api: Api, resource: Resource, include: str) -> None:
        self._api = api
        self._resource = resource
        self._include = include
        self._first = True

    def __call__(self, type_: str, entry: Entry) -> bytes:
        made = orjson.loads(table(self._api, self._resource, Page([entry], entry.revision), self._include))
        if not self._first:
            made["columnDefinitions"] = None
        self._first = False
        return frame(type_, orjson.dumps(made))


def partial_object(obj: Object) -> Object:
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


def partial(entry: Entry) -> bytes:
    """The entry's metadata alone."""
    return orjson.dumps(partial_object(entry.decode()))


def partial_list(page: Page) -> bytes:
    metadata: Object = {"resourceVersion": str(page.revision)}
    if page.continue_token:
        metadata["continue"] = page.continue_token
    return orjson.dumps(
        {
            "kind": "PartialObjectMetadataList",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": metadata,
            "items": [partial_object(entry.decode()) for entry in page.entries],
        }
    )

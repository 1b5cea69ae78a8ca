"""Stored objects: how they are written, and how their final bytes are made.

An object is stored as its final JSON without `metadata.resourceVersion`, because the revision is known only once
it is written. `kind`, `apiVersion` and `metadata` always come first, so that the resourceVersion is spliced in
behind `"metadata":{` without decoding. Everything the server hands out after that is those bytes.
"""

from typing import Any

import orjson

from wherry.schema.resource import Object, Resource

_METADATA = b'"metadata":{'
_VERSION = b'"resourceVersion":"'

ROOT = "/registry/"


def prefix_of(resource: Resource, namespace: str | None = None) -> str:
    """Where the store keeps a resource's objects: `/registry/core/pods/`, or a namespace's part of it."""
    base = f"{ROOT}{resource.group or 'core'}/{resource.plural}/"
    return f"{base}{namespace}/" if namespace and resource.namespaced else base


def key_of(resource: Resource, namespace: str | None, name: str) -> str:
    """`/registry/core/pods/default/web`, `/registry/core/nodes/n1`."""
    return prefix_of(resource, namespace) + name


def split_key(key: str) -> tuple[str, str, str]:
    """(`core/pods`, namespace or "", name) of a key below `ROOT`."""
    parts = key.split("/")
    if len(parts) == 6:
        return f"{parts[2]}/{parts[3]}", parts[4], parts[5]
    return f"{parts[2]}/{parts[3]}", "", parts[4]


def encode(obj: Object) -> bytes:
    """The bytes to store. `obj` has kind, apiVersion and a metadata with at least a name."""
    metadata = obj["metadata"]
    if "resourceVersion" in metadata:
        metadata = {key: value for key, value in metadata.items() if key != "resourceVersion"}
    ordered: dict[str, Any] = {"kind": obj["kind"], "apiVersion": obj["apiVersion"], "metadata": metadata}
    for key, value in obj.items():
        if key not in ordered:
            ordered[key] = value
    return orjson.dumps(ordered)


def splice(value: bytes, revision: int) -> bytes:
    """Stored bytes with the resourceVersion put in."""
    at = value.index(_METADATA) + len(_METADATA)
    return b'%b"resourceVersion":"%d",%b' % (value[:at], revision, value[at:])


def respliced(data: bytes, revision: int) -> bytes:
    """Final bytes with another resourceVersion."""
    start = data.index(_VERSION) + len(_VERSION)
    return b"%b%d%b" % (data[:start], revision, data[data.index(b'"', start) :])


class Entry:
    """One object at one revision, as final bytes. Immutable."""

    __slots__ = ("_shared", "data", "name", "namespace", "revision")

    def __init__(self, namespace: str, name: str, data: bytes, revision: int) -> None:
        self.namespace = namespace
        self.name = name
        self.data = data
        self.revision = revision
        self._shared: Object | None = None

    def decode(self) -> Object:
        """A copy of the object that the caller may change."""
        decoded: Object = orjson.loads(self.data)
        return decoded

    def shared(self) -> Object:
        """The decoded object without its managedFields (half of its size, of no use to those who look at it), one for
        all who ask and kept while the entry is the newest: never change it."""
        if self._shared is None:
            self._shared = orjson.loads(self.data)
            self._shared["metadata"].pop("managedFields", None)
        return self._shared

    def forget_decoded(self) -> None:
        """Keep the bytes alone."""
        self._shared = None

    def peek(self) -> Object:
        """The decoded object for reading a few fields (managedFields may be missing), without keeping it."""
        return self._shared if self._shared is not None else self.decode()

    def at(self, revision: int) -> "Entry":
        """The same object with another resourceVersion (what a DELETED event carries)."""
        return Entry(self.namespace, self.name, respliced(self.data, revision), revision)

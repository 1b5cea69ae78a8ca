"""Owner references: who controls what, and taking over or letting go of objects that a selector finds.

Specified in https://kubernetes.io/docs/concepts/overview/working-with-objects/owners-dependents/.
"""

from collections.abc import Callable, Iterable
from typing import Any

from wherry.client.informer import Informer, Informers, Key
from wherry.controllers.loop import KeysOf
from wherry.controllers.plan import Plan
from wherry.schema.resource import Object, Resource
from wherry.schema.selectors import Selector

ORPHANS = "orphans"
"""Name of the index of objects that no controller owns, by namespace."""


def controller_of(obj: Object) -> dict[str, Any] | None:
    """The owner reference with `controller: true`."""
    for reference in obj["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            return dict(reference)
    return None


def is_controlled_by(obj: Object, owner: Object) -> bool:
    reference = controller_of(obj)
    return reference is not None and reference["uid"] == owner["metadata"]["uid"]


def owner_reference(owner: Object, *, controller: bool = True) -> dict[str, Any]:
    """The reference that makes `owner` the (controlling) owner."""
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
    }
    if controller:
        reference |= {"controller": True, "blockOwnerDeletion": True}
    return reference


def index_orphans(informer: Informer) -> None:
    """Let `informer` answer `by_index(ORPHANS, namespace)`."""
    informer.add_index(
        ORPHANS, lambda obj: () if controller_of(obj) is not None else (obj["metadata"].get("namespace", ""),)
    )


def keys_of_controller(owner: Resource) -> KeysOf:
    """Keys of the controlling owner, where it is of `owner`'s kind."""

    def keys(obj: Object, informers: Informers) -> Iterable[Key]:
        reference = controller_of(obj)
        if reference is None or reference["kind"] != owner.kind:
            return ()
        if reference["apiVersion"].rpartition("/")[0] != owner.group:
            return ()
        return ((obj["metadata"].get("namespace", ""), reference["name"]),)

    return keys


def keys_of_claimants(owner: Resource, selector_of: Callable[[Object], Selector]) -> KeysOf:
    """Keys of the controlling owner; for an orphan, of every `owner` object whose selector finds it."""
    controlled = keys_of_controller(owner)

    def keys(obj: Object, informers: Informers) -> Iterable[Key]:
        if controller_of(obj) is not None:
            return controlled(obj, informers)
        metadata = obj["metadata"]
        labels = metadata.get("labels")
        if not labels:
            return ()
        namespace = metadata.get("namespace", "")
        return [
            (namespace, candidate["metadata"]["name"])
            for candidate in informers[owner].items(namespace)
            if selector_of(candidate).matches(labels)
        ]

    return keys


def candidates(owner: Object, informer: Informer, selector: Selector) -> list[Object]:
    """What `owner` controls, and orphans in its namespace that its selector finds (index them first)."""
    metadata = owner["metadata"]
    owned = [obj for obj in informer.by_index("owner", metadata["uid"]) if is_controlled_by(obj, owner)]
    if not selector.empty:
        owned += [
            obj
            for obj in informer.by_index(ORPHANS, metadata.get("namespace", ""))
            if selector.matches(obj["metadata"].get("labels"))
        ]
    return owned


def claim(owner: Object, selector: Selector, found: Iterable[Object], resource: Resource, plan: Plan) -> list[Object]:
    """Those of `found` that are `owner`'s: adopt matching orphans, release what no longer matches (in `plan`)."""
    mine: list[Object] = []
    deleting = bool(owner["metadata"].get("deletionTimestamp"))
    for obj in found:
        metadata = obj["metadata"]
        matches = selector.matches(metadata.get("labels"))
        if is_controlled_by(obj, owner):
            if matches:
                mine.append(obj)
            elif not deleting:
                left = [one for one in metadata["ownerReferences"] if one["uid"] != owner["metadata"]["uid"]]
                plan.patch(resource, obj, {"metadata": {"ownerReferences": left or None}})
                plan.because(f"released {metadata['name']}: its labels no longer match")
        elif matches and controller_of(obj) is None and not deleting and not metadata.get("deletionTimestamp"):
            references = [*(metadata.get("ownerReferences") or ()), owner_reference(owner)]
            plan.patch(resource, obj, {"metadata": {"ownerReferences": references}}, check_version=True)
            plan.because(f"adopted {metadata['name']}")
            mine.append(obj)
    return mine

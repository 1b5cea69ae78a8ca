"""Namespace deletion: empty it, say what remains, then let it go.

https://kubernetes.io/docs/concepts/overview/working-with-objects/namespaces/. What is left is listed live, never
read from a cache: a namespace must not go while anything is in it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from wherry.client.api import Client
from wherry.client.informer import Informers, Key
from wherry.controllers import conditions
from wherry.controllers.catalog import Catalog
from wherry.controllers.loop import Controller, Watch
from wherry.controllers.plan import Plan
from wherry.schema.builtin import NAMESPACES, PODS
from wherry.schema.errors import ApiError, MethodNotAllowed, NotFound
from wherry.schema.resource import Object, Resource

FINALIZER = "kubernetes"
_POLL = 0.1
_POLL_PODS = 5.0


@dataclass
class Contents:
    """What is in the namespace, and what could not be listed."""

    objects: list[tuple[Resource, Object]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def reconcile(namespace: Object, contents: Contents, now: float) -> Plan:
    plan = Plan()
    finalizers = (namespace.get("spec") or {}).get("finalizers") or []
    if not namespace["metadata"].get("deletionTimestamp") or FINALIZER not in finalizers:
        return plan
    status = namespace.get("status") or {}
    if status.get("phase") != "Terminating":
        plan.status = status | {"phase": "Terminating"}
        plan.again_in(0)
        return plan
    if not contents.objects and not contents.errors:
        left = [one for one in finalizers if one != FINALIZER]
        spec = {name: value for name, value in (namespace.get("spec") or {}).items() if name != "finalizers"}
        done = namespace | {"spec": spec | ({"finalizers": left} if left else {})}
        plan.update(NAMESPACES, done, subresource="finalize")
        plan.because("nothing is left in it")
        return plan
    for resource, obj in contents.objects:
        if not obj["metadata"].get("deletionTimestamp"):
            plan.delete(resource, obj, propagation="Background")
    plan.because(f"{len(contents.objects)} objects are left in it")
    plan.status = {"phase": "Terminating", "conditions": _conditions(status, contents, now)}
    only_pods = all(resource == PODS for resource, _ in contents.objects)
    plan.again_in(_POLL_PODS if only_pods and not contents.errors else _POLL)
    return plan


def _conditions(status: Object, contents: Contents, now: float) -> list[conditions.Condition]:
    found = list(status.get("conditions") or ())
    message = "All resources successfully discovered"
    found = conditions.put(found, "NamespaceDeletionDiscoveryFailure", "False", "ResourcesDiscovered", message, now)
    message = "All legacy kube types successfully parsed"
    found = conditions.put(
        found, "NamespaceDeletionGroupVersionParsingFailure", "False", "ParsedGroupVersions", message, now
    )
    if contents.errors:
        message = (
            "Failed to delete all resource types, " + f"{len(contents.errors)} remaining: " + ", ".join(contents.errors)
        )
        found = conditions.put(found, "NamespaceDeletionContentFailure", "True", "ContentDeletionFailed", message, now)
    else:
        message = "All content successfully deleted, may be waiting on finalization"
        found = conditions.put(found, "NamespaceDeletionContentFailure", "False", "ContentDeleted", message, now)
    waiting = [(resource, obj) for resource, obj in contents.objects if obj["metadata"].get("deletionTimestamp")]
    counts = _counted(f"{resource.qualified}." if not resource.group else resource.qualified for resource, _ in waiting)
    if counts:
        shown = ", ".join(f"{name} has {count} resource instances" for name, count in counts)
        message = f"Some resources are remaining: {shown}"
        found = conditions.put(found, "NamespaceContentRemaining", "True", "SomeResourcesRemain", message, now)
    else:
        found = conditions.put(
            found, "NamespaceContentRemaining", "False", "ContentRemoved", "All content successfully removed", now
        )
    held = _counted(one for _, obj in waiting for one in obj["metadata"].get("finalizers") or ())
    if held:
        shown = ", ".join(f"{name} in {count} resource instances" for name, count in held)
        message = f"Some content in the namespace has finalizers remaining: {shown}"
        return conditions.put(found, "NamespaceFinalizersRemaining", "True", "SomeFinalizersRemain", message, now)
    message = "All content-preserving finalizers finished"
    return conditions.put(found, "NamespaceFinalizersRemaining", "False", "ContentHasNoFinalizers", message, now)


def _counted(names: Iterable[str]) -> Sequence[tuple[str, int]]:
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return sorted(counts.items())


def _keys_of_pod(pod: Object, informers: Informers) -> Iterable[Key]:
    name = pod["metadata"]["namespace"]
    namespace = informers[NAMESPACES].get(None, name)
    return (("", name),) if namespace is not None and namespace["metadata"].get("deletionTimestamp") else ()


class NamespaceController(Controller):
    name = "namespace-controller"
    resource = NAMESPACES
    watches = (Watch(PODS, _keys_of_pod),)

    def __init__(self, client: Client, catalog: Catalog) -> None:
        self._client = client
        self._catalog = catalog

    async def gather(self, obj: Object, informers: Informers) -> Contents:
        contents = Contents()
        if not obj["metadata"].get("deletionTimestamp"):
            return contents
        name = obj["metadata"]["name"]
        for resource in self._catalog:
            if not resource.namespaced:
                continue
            try:
                found = await self._client.list(resource, name)
            except (NotFound, MethodNotAllowed):
                continue  # not served (any more)
            except ApiError as error:
                contents.errors.append(
                    f"unexpected items still remain in namespace: {name} for gvr: {resource.qualified}: {error}"
                )
                continue
            contents.objects += [(resource, one) for one in found.items]
        return contents

    def reconcile(self, obj: Object, children: Contents, now: float) -> Plan:
        return reconcile(obj, children, now)

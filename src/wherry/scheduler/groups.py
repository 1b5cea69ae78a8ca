"""Which pods belong together when a pod says nothing about spreading: those of its Services and its workload."""

from collections.abc import Callable

from wherry.client.informer import Informers
from wherry.scheduler.pod_info import PodInfo
from wherry.schema.builtin import REPLICA_SETS, REPLICATION_CONTROLLERS, SERVICES, STATEFUL_SETS
from wherry.schema.resource import Object, Resource
from wherry.schema.selectors import Requirement, Selector, from_label_selector, from_set

_WORKLOADS: dict[str, Resource] = {
    "ReplicaSet": REPLICA_SETS,
    "StatefulSet": STATEFUL_SETS,
    "ReplicationController": REPLICATION_CONTROLLERS,
}
_MAX_CACHED = 4096


class Groups:
    """`selector(pod)` joins the selectors of all Services that select the pod and of its controller."""

    def __init__(self, informers: Informers) -> None:
        self._informers = informers
        self._cache: dict[tuple[str, str], Selector | None] = {}
        for resource in (SERVICES, *_WORKLOADS.values()):
            informers[resource].add_handler(self._changed(resource))

    def _changed(self, resource: Resource) -> Callable[[Object | None, Object | None], None]:
        def changed(old: Object | None, new: Object | None) -> None:
            if old is None or new is None or old["spec"].get("selector") != new["spec"].get("selector"):
                self._cache.clear()

        return changed

    def selector(self, pod: PodInfo) -> Selector | None:
        """None where nothing groups the pod."""
        owner = next(
            (one for one in pod.object["metadata"].get("ownerReferences") or () if one.get("controller")), None
        )
        if owner is None:
            return self._find(pod, None)
        key = (pod.namespace, owner["uid"])
        if key not in self._cache:
            if len(self._cache) >= _MAX_CACHED:
                self._cache.clear()
            self._cache[key] = self._find(pod, owner)
        return self._cache[key]

    def _find(self, pod: PodInfo, owner: Object | None) -> Selector | None:
        requirements: dict[Requirement, None] = {}
        if pod.labels:
            for service in self._informers[SERVICES].items(pod.namespace):
                selector = service["spec"].get("selector")
                if selector and selector.items() <= pod.labels.items():
                    requirements |= dict.fromkeys(from_set(selector).requirements)
        resource = _WORKLOADS.get(owner["kind"]) if owner is not None else None
        if resource is not None and owner is not None:
            workload = self._informers[resource].get(pod.namespace, owner["name"])
            selector = workload["spec"].get("selector") if workload is not None else None
            if selector:
                found = from_set(selector) if resource == REPLICATION_CONTROLLERS else from_label_selector(selector)
                requirements |= dict.fromkeys(found.requirements)
        return Selector(tuple(requirements)) if requirements else None

"""ReplicaSet: keep N pods alive. https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/"""

from wherry.client.informer import Informers
from wherry.controllers.loop import Controller, Watch
from wherry.controllers.ownership import candidates, controller_of, index_orphans, keys_of_claimants
from wherry.controllers.plan import Plan
from wherry.controllers.replication import Replicas, replicate
from wherry.schema.builtin import PODS, REPLICA_SETS
from wherry.schema.resource import Object
from wherry.schema.selectors import Selector, from_label_selector


def selector_of(replica_set: Object) -> Selector:
    return from_label_selector(replica_set["spec"].get("selector"))


def reconcile(replica_set: Object, children: Replicas, now: float) -> Plan:
    return replicate(replica_set, selector_of(replica_set), children, now)


class ReplicaSetController(Controller):
    name = "replicaset-controller"
    resource = REPLICA_SETS
    watches = (Watch(PODS, keys_of_claimants(REPLICA_SETS, selector_of)),)

    def setup(self, informers: Informers) -> None:
        index_orphans(informers[PODS])

    def gather(self, obj: Object, informers: Informers) -> Replicas:
        found = candidates(obj, informers[PODS], selector_of(obj))
        return Replicas(found, self._related(obj, informers))

    def reconcile(self, obj: Object, children: Replicas, now: float) -> Plan:
        return reconcile(obj, children, now)

    def _related(self, obj: Object, informers: Informers) -> list[Object]:
        """Pods of all ReplicaSets of the same Deployment."""
        owner = controller_of(obj)
        if owner is None:
            return []
        return [
            pod
            for sibling in informers[REPLICA_SETS].by_index("owner", owner["uid"])
            for pod in informers[PODS].by_index("owner", sibling["metadata"]["uid"])
        ]

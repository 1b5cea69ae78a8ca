"""ReplicationController: the elder of ReplicaSet, with an equality selector.

https://kubernetes.io/docs/concepts/workloads/controllers/replicationcontroller/
"""

from wherry.client.informer import Informers
from wherry.controllers.loop import Controller, Watch
from wherry.controllers.ownership import candidates, index_orphans, keys_of_claimants
from wherry.controllers.plan import Plan
from wherry.controllers.replication import Replicas, replicate
from wherry.schema.builtin import PODS, REPLICATION_CONTROLLERS
from wherry.schema.resource import Object
from wherry.schema.selectors import NOTHING, Selector, from_set


def selector_of(controller: Object) -> Selector:
    labels = controller["spec"].get("selector")
    return from_set(labels) if labels else NOTHING


def reconcile(controller: Object, children: Replicas, now: float) -> Plan:
    return replicate(controller, selector_of(controller), children, now)


class ReplicationControllerController(Controller):
    name = "replication-controller"
    resource = REPLICATION_CONTROLLERS
    watches = (Watch(PODS, keys_of_claimants(REPLICATION_CONTROLLERS, selector_of)),)

    def setup(self, informers: Informers) -> None:
        index_orphans(informers[PODS])

    def gather(self, obj: Object, informers: Informers) -> Replicas:
        return Replicas(candidates(obj, informers[PODS], selector_of(obj)))

    def reconcile(self, obj: Object, children: Replicas, now: float) -> Plan:
        return reconcile(obj, children, now)

"""The ConfigMap `kube-root-ca.crt` in every namespace: what pods verify the API server with.

https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/ and the projected volumes
that service account admission adds to pods.
"""

from wherry.client.informer import Informers
from wherry.controllers.loop import Controller, Watch
from wherry.controllers.plan import Plan
from wherry.controllers.service_accounts import is_active
from wherry.schema.builtin import CONFIG_MAPS, NAMESPACES
from wherry.schema.resource import Object

NAME = "kube-root-ca.crt"
_DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
    "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of "
    "Kubernetes clusters."
)


def reconcile(namespace: Object, config_map: Object | None, now: float, *, bundle: str) -> Plan:
    """`bundle` is the CA certificate (PEM)."""
    plan = Plan()
    if not is_active(namespace):
        return plan
    data = {"ca.crt": bundle}
    if config_map is None:
        metadata = {
            "name": NAME,
            "namespace": namespace["metadata"]["name"],
            "annotations": {"kubernetes.io/description": _DESCRIPTION},
        }
        wanted = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
        plan.create(CONFIG_MAPS, wanted, may_exist=True)
        plan.because("the namespace has no root certificate")
    elif config_map.get("data") != data:
        plan.update(CONFIG_MAPS, config_map | {"data": data})
        plan.because("the root certificate differs from the cluster's")
    return plan


class RootCAController(Controller):
    name = "root-ca-certificate-publisher-controller"
    resource = NAMESPACES
    watches = (
        Watch(
            CONFIG_MAPS, lambda obj, _: (("", obj["metadata"]["namespace"]),) if obj["metadata"]["name"] == NAME else ()
        ),
    )

    def __init__(self, bundle: str) -> None:
        self._bundle = bundle

    def gather(self, obj: Object, informers: Informers) -> Object | None:
        return informers[CONFIG_MAPS].get(obj["metadata"]["name"], NAME)

    def reconcile(self, obj: Object, children: Object | None, now: float) -> Plan:
        return reconcile(obj, children, now, bundle=self._bundle)

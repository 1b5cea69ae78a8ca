"""Service accounts: every namespace has one named `default`.

https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#serviceaccount-controller
"""

from wherry.client.informer import Informers
from wherry.controllers.loop import Controller, Watch
from wherry.controllers.plan import Plan
from wherry.schema.builtin import NAMESPACES, SERVICE_ACCOUNTS
from wherry.schema.resource import Object

DEFAULT = "default"


def is_active(namespace: Object) -> bool:
    """Whether things may still be created in it."""
    phase = (namespace.get("status") or {}).get("phase", "Active")
    return phase == "Active" and not namespace["metadata"].get("deletionTimestamp")


def reconcile(namespace: Object, account: Object | None, now: float) -> Plan:
    plan = Plan()
    if is_active(namespace) and account is None:
        metadata = {"name": DEFAULT, "namespace": namespace["metadata"]["name"]}
        plan.create(
            SERVICE_ACCOUNTS, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}, may_exist=True
        )
        plan.because("the namespace has no default service account")
    return plan


class ServiceAccountController(Controller):
    name = "serviceaccount-controller"
    resource = NAMESPACES
    watches = (
        Watch(
            SERVICE_ACCOUNTS,
            lambda obj, _: (("", obj["metadata"]["namespace"]),) if obj["metadata"]["name"] == DEFAULT else (),
        ),
    )

    def gather(self, obj: Object, informers: Informers) -> Object | None:
        return informers[SERVICE_ACCOUNTS].get(obj["metadata"]["name"], DEFAULT)

    def reconcile(self, obj: Object, children: Object | None, now: float) -> Plan:
        return reconcile(obj, children, now)

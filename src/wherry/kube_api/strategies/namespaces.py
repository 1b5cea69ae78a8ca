"""Namespaces end in two steps: deletion marks them Terminating, and they go when `spec.finalizers` is empty.

The namespace controller empties the namespace, then takes the finalizer away through the `finalize` subresource.
"""

from typing import TYPE_CHECKING

from wherry.kube_api.call import Call
from wherry.kube_api.strategy import Strategy, keep
from wherry.schema.resource import Object

if TYPE_CHECKING:
    from wherry.kube_api.api import Api

FINALIZER = "kubernetes"


class NamespaceStrategy(Strategy):
    """See the module."""

    def prepare_create(self, api: "Api", call: Call, obj: Object) -> None:
        super().prepare_create(api, call, obj)
        finalizers = list((obj.get("spec") or {}).get("finalizers") or ())
        if FINALIZER not in finalizers:
            finalizers.append(FINALIZER)
        obj["spec"] = {"finalizers": finalizers}
        obj["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = obj["metadata"].get("name", "")

    def initial_status(self, obj: Object) -> None:
        obj["status"] = {"phase": "Active"}

    def prepare_update(self, api: "Api", call: Call, obj: Object, old: Object) -> None:
        super().prepare_update(api, call, obj, old)
        keep(obj, old, "spec")
        obj["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = old["metadata"]["name"]

    def prepare_finalize(self, api: "Api", call: Call, obj: Object, old: Object) -> None:
        """PUT of `finalize`: only spec.finalizers changes."""
        keep(obj, old, "status")

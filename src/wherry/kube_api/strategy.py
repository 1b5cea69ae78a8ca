"""What differs between resources when they are written. `Strategy` is the rule, its subclasses the exceptions.

Hooks change the object they are given. They run in this order: decoding and defaults, mutating admission, the
strategy's `prepare_*`, validation, validating admission, `before_write` (allocations), the store.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from wherry.kube_api.call import Call
from wherry.kube_api.objects import Entry
from wherry.schema.defaults import initial_status
from wherry.schema.resource import Object, Resource

if TYPE_CHECKING:
    from wherry.kube_api.api import Api

WITH_GENERATION = frozenset(
    {
        "deployments.apps", "replicasets.apps", "statefulsets.apps", "daemonsets.apps", "replicationcontrollers",
        "jobs.batch", "cronjobs.batch", "ingresses.networking.k8s.io", "networkpolicies.networking.k8s.io",
        "ingressclasses.networking.k8s.io", "poddisruptionbudgets.policy", "priorityclasses.scheduling.k8s.io",
        "endpointslices.discovery.k8s.io", "customresourcedefinitions.apiextensions.k8s.io", "pods",
        "mutatingwebhookconfigurations.admissionregistration.k8s.io",
        "validatingwebhookconfigurations.admissionregistration.k8s.io",
    }
)  # fmt: skip
"""Resources whose metadata.generation counts the changes of what is asked for."""

RETURNS_DELETED = frozenset(
    {
        "pods", "services", "serviceaccounts", "persistentvolumes", "persistentvolumeclaims", "podtemplates",
        "resourcequotas", "namespaces",
    }
)  # fmt: skip
"""Resources whose DELETE answers with the object rather than with a Status."""

NO_UNCONDITIONAL_UPDATE = frozenset(
    {
        "leases.coordination.k8s.io", "certificatesigningrequests.certificates.k8s.io",
        "customresourcedefinitions.apiextensions.k8s.io", "ipaddresses.networking.k8s.io",
        "mutatingwebhookconfigurations.admissionregistration.k8s.io",
        "validatingwebhookconfigurations.admissionregistration.k8s.io", "runtimeclasses.node.k8s.io",
        "volumeattachments.storage.k8s.io", "csidrivers.storage.k8s.io", "csinodes.storage.k8s.io",
        "poddisruptionbudgets.policy",
    }
)  # fmt: skip
"""Resources that refuse an update without a resourceVersion."""


class Strategy:
    """How an ordinary resource is written."""

    create_on_update = False
    """Whether PUT to a name that does not exist creates it."""

    default_propagation = "Background"

    def __init__(self, resource: Resource) -> None:
        self.resource = resource
        self.has_status = "status" in resource.subresources
        self.has_generation = resource.qualified in WITH_GENERATION
        self.returns_deleted = resource.qualified in RETURNS_DELETED
        self.unconditional_update = resource.qualified not in NO_UNCONDITIONAL_UPDATE

    def prepare_create(self, api: "Api", call: Call, obj: Object) -> None:
        """Drop what a client may not set."""
        if self.has_status:
            obj.pop("status", None)
            self.initial_status(obj)

    def initial_status(self, obj: Object) -> None:
        """What status a new object begins with."""
        status = initial_status(self.resource)
        if status is not None:
            obj["status"] = status

    def prepare_update(self, api: "Api", call: Call, obj: Object, old: Object) -> None:
        """The main resource's PUT and PATCH: status stays what it was."""
        if self.has_status:
            keep(obj, old, "status")

    def prepare_status(self, api: "Api", call: Call, obj: Object, old: Object) -> None:
        """PUT and PATCH of `status`: all but status (and labels, annotations, finalizers) stays what it was."""
        for field in set(obj) | set(old):
            if field not in ("status", "metadata"):
                keep(obj, old, field)
        keep(obj["metadata"], old["metadata"], "ownerReferences")
        keep(obj["metadata"], old["metadata"], "deletionTimestamp")

    def changed(self, obj: Object, old: Object) -> bool:
        """Whether the generation has to rise: anything but metadata and status differs."""
        return any(
            obj.get(field) != old.get(field)
            for field in set(obj) | set(old)
            if field not in ("status", "metadata", "kind", "apiVersion")
        )

    async def before_write(self, api: "Api", call: Call, obj: Object, old: Object | None) -> Callable[[], None] | None:
        """Claim what the object needs; the returned function drops the claim when the write is over, well or badly."""
        return None

    def after_delete(self, api: "Api", entry: Entry) -> None:
        """The object is gone: free what it held."""

    def begin_delete(self, api: "Api", obj: Object, grace_period_seconds: int | None) -> int:
        """Seconds of grace a deletion gives the object: 0 for all but pods."""
        return 0


def keep(obj: Object, old: Mapping[str, object], field: str) -> None:
    """Make `obj[field]` what it was in `old`."""
    if field in old:
        obj[field] = old[field]
    else:
        obj.pop(field, None)

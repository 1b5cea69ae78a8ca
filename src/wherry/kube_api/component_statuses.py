"""`kubectl get componentstatuses`: what a control plane is made of and whether it is well; deprecated, still asked for.

Scheduler and controllers live in the API server's own process and end it when they end, so whoever gets an answer
knows that they run; what can fail apart is the store, which is called etcd here as in the health checks.
"""

from wherry.kube_api.api import Api
from wherry.kube_api.call import Call
from wherry.schema import errors
from wherry.schema.builtin import COMPONENT_STATUSES
from wherry.schema.resource import Object

NAMES = ("controller-manager", "etcd-0", "scheduler")
_DEPRECATED = "v1 ComponentStatus is deprecated in v1.19+"


class ComponentStatuses:
    """`compute(call)` answers GET and LIST."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def compute(self, call: Call) -> Object:
        """The object or list that the call asks for. Raises NotFound."""
        call.warn(_DEPRECATED)
        if call.name:
            if call.name not in NAMES:
                raise errors.not_found("", COMPONENT_STATUSES.plural, call.name)
            return self._of(call.name)
        return {
            "kind": f"{COMPONENT_STATUSES.kind}List",
            "apiVersion": COMPONENT_STATUSES.api_version,
            "metadata": {},
            "items": [self._of(name) for name in NAMES],
        }

    def _of(self, name: str) -> Object:
        failure = self._api.cache.failure if name == "etcd-0" else None
        condition = {"type": "Healthy", "status": "True", "message": "ok"}
        if failure is not None:
            condition = {"type": "Healthy", "status": "False", "message": "", "error": str(failure)}
        kind, version = COMPONENT_STATUSES.kind, COMPONENT_STATUSES.api_version
        return {"kind": kind, "apiVersion": version, "metadata": {"name": name}, "conditions": [condition]}

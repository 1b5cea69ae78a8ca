"""CertificateSigningRequests: who asked is noted by the server; approval and signature are written apart.

https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from wherry.kube_api.call import Call
from wherry.kube_api.strategy import Strategy, keep
from wherry.schema.resource import Object

if TYPE_CHECKING:
    from wherry.kube_api.api import Api

APPROVAL = ("Approved", "Denied")


class CertificateStrategy(Strategy):
    """See the module."""

    def prepare_create(self, api: "Api", call: Call, obj: Object) -> None:
        super().prepare_create(api, call, obj)
        spec = obj.get("spec")
        if isinstance(spec, dict):
            spec["username"] = call.user.name
            spec["groups"] = list(call.user.groups)
            if call.user.uid:
                spec["uid"] = call.user.uid
            if call.user.extra:
                spec["extra"] = {key: list(values) for key, values in call.user.extra}

    def prepare_update(self, api: "Api", call: Call, obj: Object, old: Object) -> None:
        super().prepare_update(api, call, obj, old)
        keep(obj, old, "spec")

    def prepare_status(self, api: "Api", call: Call, obj: Object, old: Object) -> None:
        super().prepare_status(api, call, obj, old)
        _merge_conditions(obj, old, from_new=lambda kind: kind not in APPROVAL)

    def prepare_approval(self, api: "Api", call: Call, obj: Object, old: Object) -> None:
        """PUT of `approval`: only the conditions Approved and Denied change."""
        keep(obj, old, "spec")
        wanted = (obj.get("status") or {}).get("conditions")
        obj["status"] = dict(old.get("status") or {})
        if wanted is not None:
            obj["status"]["conditions"] = wanted
        _merge_conditions(obj, old, from_new=lambda kind: kind in APPROVAL)
        for condition in obj["status"].get("conditions") or ():
            condition.setdefault("lastUpdateTime", api.timestamp())
            condition.setdefault("lastTransitionTime", api.timestamp())


def _merge_conditions(obj: Object, old: Object, *, from_new: Callable[[str], bool]) -> None:
    status = obj.setdefault("status", {})
    before = (old.get("status") or {}).get("conditions") or []
    wanted = status.get("conditions") or []
    merged = [one for one in before if not from_new(one.get("type", ""))]
    merged += [one for one in wanted if from_new(one.get("type", ""))]
    if merged:
        status["conditions"] = merged
    else:
        status.pop("conditions", None)

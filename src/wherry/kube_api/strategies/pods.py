"""Pods: graceful deletion, quality of service, and subresources that change one part of the spec."""

from typing import TYPE_CHECKING

from wherry.kube_api.call import Call
from wherry.kube_api.strategy import Strategy, keep
from wherry.schema.defaults import qos_class
from wherry.schema.resource import Object

if TYPE_CHECKING:
    from wherry.kube_api.api import Api


class PodStrategy(Strategy):
    """See the module."""

    def initial_status(self, obj: Object) -> None:
        obj["status"] = {"phase": "Pending", "qosClass": qos_class(obj)}

    def prepare_create(self, api: "Api", call: Call, obj: Object) -> None:
        super().prepare_create(api, call, obj)
        spec = obj.get("spec") or {}
        if spec.get("schedulingGates"):
            obj["status"]["conditions"] = [
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "reason": "SchedulingGated",
                    "message": "Scheduling is blocked due to non-empty scheduling gates",
                    "lastProbeTime": None,
                    "lastTransitionTime": None,
                }
            ]

    def prepare_status(self, api: "Api", call: Call, obj: Object, old: Object) -> None:
        super().prepare_status(api, call, obj, old)
        status = obj.get("status")
        before = (old.get("status") or {}).get("qosClass")
        if isinstance(status, dict) and before and not status.get("qosClass"):
            status["qosClass"] = before

    def prepare_ephemeralcontainers(self, api: "Api", call: Call, obj: Object, old: Object) -> None:
        """Only spec.ephemeralContainers changes."""
        wanted = (obj.get("spec") or {}).get("ephemeralContainers")
        for field in set(obj) | set(old):
            if field != "metadata":
                keep(obj, old, field)
        obj["metadata"] = dict(old["metadata"])
        obj["spec"] = dict(old["spec"])
        if wanted:
            obj["spec"]["ephemeralContainers"] = wanted
        else:
            obj["spec"].pop("ephemeralContainers", None)

    def prepare_resize(self, api: "Api", call: Call, obj: Object, old: Object) -> None:
        """Only the containers' resources change. What else is wrong with the containers (their number, names and
        order) is left for the validation to find."""
        spec, wanted = dict(old["spec"]), obj.get("spec") or {}
        for field in ("containers", "initContainers"):
            known = {one.get("name"): one for one in spec.get(field) or ()}
            found = [_resized(one, known.get(one.get("name"))) for one in wanted.get(field) or ()]
            if found or field in spec:
                spec[field] = found
        obj["spec"] = spec
        kept = obj["metadata"]
        obj["metadata"] = {**old["metadata"], **{field: kept[field] for field in ("managedFields",) if field in kept}}
        keep(obj, old, "status")

    def begin_delete(self, api: "Api", obj: Object, grace_period_seconds: int | None) -> int:
        spec, status = obj.get("spec") or {}, obj.get("status") or {}
        grace = grace_period_seconds
        if grace is None:
            grace = spec.get("terminationGracePeriodSeconds", 30)
        if grace < 0:
            grace = 1
        if not spec.get("nodeName") or status.get("phase") in ("Succeeded", "Failed"):
            return 0
        return int(grace)


def _resized(wanted: Object, known: Object | None) -> Object:
    """A container as it was, with the resources that are wanted now."""
    if known is None:
        return wanted
    made = dict(known)
    for part in ("resources", "resizePolicy"):
        keep(made, wanted, part)
    return made

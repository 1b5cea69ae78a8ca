"""LimitRanger: default requests and limits of containers, and the bounds that a namespace's LimitRanges set.

https://kubernetes.io/docs/concepts/policy/limit-range/
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from wherry.kube_api.admission.chain import Plugin
from wherry.kube_api.call import Call
from wherry.schema import builtin, errors, quantity
from wherry.schema.resource import Object

if TYPE_CHECKING:
    from wherry.kube_api.api import Api

ANNOTATION = "kubernetes.io/limit-ranger"

Amounts = dict[str, Any]


class LimitRanger(Plugin):
    """See the module."""

    async def mutate(self, api: "Api", call: Call, obj: Object, old: Object | None) -> Object:
        if call.resource != builtin.PODS or old is not None or call.subresource:
            return obj
        spec = obj.get("spec")
        if not isinstance(spec, dict):
            return obj
        for limits in _of_type(api, call.namespace, "Container"):
            _set_defaults(obj, spec, limits)
        return obj

    async def validate(self, api: "Api", call: Call, obj: Object, old: Object | None) -> None:
        if call.resource == builtin.PODS:
            if old is None or call.subresource == "resize":
                self._refuse(call, obj, list(_pod_problems(api, call.namespace, obj["spec"])))
        elif call.resource == builtin.PERSISTENT_VOLUME_CLAIMS and old is None:
            requests = (obj["spec"].get("resources") or {}).get("requests") or {}
            found = [
                problem
                for limits in _of_type(api, call.namespace, "PersistentVolumeClaim")
                for problem in _claim_problems(limits, requests)
            ]
            self._refuse(call, obj, found)

    def _refuse(self, call: Call, obj: Object, problems: list[str]) -> None:
        if problems:
            name = obj["metadata"]["name"]
            listed = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
            raise errors.Forbidden(
                f'{call.resource.plural} "{name}" is forbidden: {listed}',
                details={"name": name, "kind": call.resource.plural},
            )


def _of_type(api: "Api", namespace: str | None, kind: str) -> Iterator[Object]:
    for entry in api.cache_of(builtin.LIMIT_RANGES).entries(namespace or ""):
        for limits in entry.shared()["spec"].get("limits") or ():
            if limits.get("type") == kind:
                yield limits


def _containers(spec: Object) -> Iterator[Object]:
    yield from spec.get("initContainers") or ()
    yield from spec.get("containers") or ()


def _set_defaults(pod: Object, spec: Object, limits: Object) -> None:
    notes = []
    for field, word in (("initContainers", "init container"), ("containers", "container")):
        for container in spec.get(field) or ():
            if not isinstance(container, dict):
                continue
            resources = container.setdefault("resources", {})
            for kind, defaults in (("requests", limits.get("defaultRequest")), ("limits", limits.get("default"))):
                present = resources.get(kind) or {}
                missing = {name: amount for name, amount in (defaults or {}).items() if name not in present}
                if missing:
                    resources[kind] = {**present, **missing}
                    said = kind.removesuffix("s")
                    notes.append(f"{', '.join(sorted(missing))} {said} for {word} {container.get('name', '')}")
    if notes:
        annotations = pod["metadata"].setdefault("annotations", {})
        text = "LimitRanger plugin set: " + "; ".join(notes)
        annotations[ANNOTATION] = f"{annotations[ANNOTATION]}; {text}" if ANNOTATION in annotations else text


def _pod_problems(api: "Api", namespace: str | None, spec: Object) -> Iterator[str]:
    for limits in _of_type(api, namespace, "Container"):
        for container in _containers(spec):
            resources = container.get("resources") or {}
            yield from _bounds("Container", limits, resources.get("requests") or {}, resources.get("limits") or {})
    for limits in _of_type(api, namespace, "Pod"):
        yield from _bounds("Pod", limits, pod_total(spec, "requests"), pod_total(spec, "limits"))


def pod_total(spec: Object, kind: str) -> Amounts:
    """What a pod asks for in all: the containers' sum, or the largest init container where that is more."""
    total: dict[str, quantity.Quantity] = {}
    largest: dict[str, quantity.Quantity] = {}
    for field, into in (("containers", total), ("initContainers", largest)):
        for container in spec.get(field) or ():
            sidecar = field == "initContainers" and container.get("restartPolicy") == "Always"
            for name, text in ((container.get("resources") or {}).get(kind) or {}).items():
                amount = quantity.parse(text)
                if field == "containers" or sidecar:
                    total[name] = total.get(name, quantity.ZERO) + amount
                else:
                    into[name] = max(into.get(name, quantity.ZERO), amount)
    for name, amount in largest.items():
        total[name] = max(total.get(name, quantity.ZERO), amount)
    return {name: str(amount) for name, amount in total.items()}


def _bounds(kind: str, limits: Object, requests: Amounts, maxima: Amounts) -> Iterator[str]:
    for name, least in (limits.get("min") or {}).items():
        prefix = f"minimum {name} usage per {kind} is {least}"
        if name not in requests:
            yield f"{prefix}.  No request is specified"
        elif quantity.parse(requests[name]) < quantity.parse(least):
            yield f"{prefix}, but request is {requests[name]}"
        elif name in maxima and quantity.parse(maxima[name]) < quantity.parse(least):
            yield f"{prefix}, but limit is {maxima[name]}"
    for name, most in (limits.get("max") or {}).items():
        prefix = f"maximum {name} usage per {kind} is {most}"
        if name not in maxima:
            yield f"{prefix}.  No limit is specified"
        elif quantity.parse(most) < quantity.parse(maxima[name]):
            yield f"{prefix}, but limit is {maxima[name]}"
        elif name in requests and quantity.parse(most) < quantity.parse(requests[name]):
            yield f"{prefix}, but request is {requests[name]}"
    for name, most in (limits.get("maxLimitRequestRatio") or {}).items():
        prefix = f"{name} max limit to request ratio per {kind} is {most}, but"
        request, limit = quantity.parse(requests.get(name, "0")), quantity.parse(maxima.get(name, "0"))
        if not request:
            yield f"{prefix} no request is specified or request is 0"
        elif not limit:
            yield f"{prefix} no limit is specified or limit is 0"
        elif limit.nano > quantity.parse(most).nano * request.nano // 10**9:
            yield f"{prefix} provided ratio is {limit.nano / request.nano:f}"


def _claim_problems(limits: Object, requests: Amounts) -> Iterator[str]:
    kind = "PersistentVolumeClaim"
    for name, least in (limits.get("min") or {}).items():
        if name not in requests:
            yield f"minimum {name} usage per {kind} is {least}.  No request is specified"
        elif quantity.parse(requests[name]) < quantity.parse(least):
            yield f"minimum {name} usage per {kind} is {least}, but request is {requests[name]}"
    for name, most in (limits.get("max") or {}).items():
        if name not in requests:
            yield f"maximum {name} usage per {kind} is {most}.  No request is specified"
        elif quantity.parse(most) < quantity.parse(requests[name]):
            yield f"maximum {name} usage per {kind} is {most}, but request is {requests[name]}"

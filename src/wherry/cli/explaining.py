"""The server's answer to `wherry explain`: what scheduler and controllers decided about one pod, and why.

Served at `/debug/wherry/explain/pods/NAMESPACE/NAME` on the API server, to users whom RBAC allows that path
(administrators, unless a role says otherwise).
"""

from typing import TYPE_CHECKING, Any

from wherry.cli.explain import PATH
from wherry.controllers.manager import ControllerManager
from wherry.scheduler.pod_info import compile_pod
from wherry.scheduler.scheduler import DEFAULT_NAME, Scheduler
from wherry.scheduler.verdicts import judge
from wherry.schema.builtin import EVENTS, PODS
from wherry.schema.resource import Object

if TYPE_CHECKING:
    from wherry.client.api import Client

__all__ = ["PATH", "Explainer"]

DECISIONS_SHOWN = 50


class Explainer:
    """Reads the live scheduler and controllers; changes nothing."""

    def __init__(self, client: "Client", manager: ControllerManager, scheduler: Scheduler) -> None:
        self._client = client
        self._manager = manager
        self._scheduler = scheduler

    async def answer(self, path: str) -> dict[str, Any] | None:
        """The document for `pods/NAMESPACE/NAME`, or None for what cannot be explained or is not there."""
        words = path.strip("/").split("/")
        if len(words) != 3 or words[0] != "pods":
            return None
        _, namespace, name = words
        pod = self._manager.informers[PODS].get(namespace, name)
        if pod is None:
            return None
        return {
            "kind": "Pod",
            "namespace": namespace,
            "name": name,
            "uid": pod["metadata"]["uid"],
            "phase": (pod.get("status") or {}).get("phase", ""),
            "node": pod["spec"].get("nodeName", ""),
            "scheduling": self._scheduling(pod),
            "decisions": self._decisions(pod),
            "containers": _containers(pod),
            "events": await self._events(pod),
        }

    def _scheduling(self, pod: Object) -> dict[str, Any]:
        spec = pod["spec"]
        wanted = spec.get("schedulerName") or DEFAULT_NAME
        profile = self._scheduler.profiles.get(wanted)
        found: dict[str, Any] = {"scheduler": wanted}
        if profile is None:
            found["message"] = f"no scheduler named {wanted!r} runs here"
            return found
        if spec.get("schedulingGates"):
            found["message"] = "held by scheduling gates: " + ", ".join(
                gate["name"] for gate in spec["schedulingGates"]
            )
        last = self._scheduler.explanations.get(pod["metadata"]["uid"])
        if last is not None:
            found |= {"message": last.message, "at": last.at}
        judgement = judge(compile_pod(pod), profile, self._scheduler.snapshot)
        found |= {
            "rules": judgement.rules,
            "nodes": judgement.total,
            "feasible": judgement.feasible,
            "anywhere": judgement.anywhere,
            "counts": [
                {"rule": rule, "reason": reason, "nodes": count} for (rule, reason), count in judgement.counts.items()
            ],
            "verdicts": {
                name: {"refusals": verdict.refusals, "scores": verdict.scores, "total": round(verdict.total, 1)}
                for name, verdict in judgement.nodes.items()
            },
        }
        return found

    def _decisions(self, pod: Object) -> list[dict[str, Any]]:
        """What controllers did about the pod and those that own it, oldest first."""
        keys = {(pod["metadata"]["namespace"], pod["metadata"]["name"]), *self._owners(pod)}
        found = [
            {
                "at": decision.at,
                "controller": decision.controller,
                "object": "/".join(part for part in decision.key if part),
                "reasons": list(decision.reasons),
                "steps": list(decision.steps),
                "error": decision.error,
            }
            for decision in self._manager.decisions
            if decision.key in keys
        ]
        return found[-DECISIONS_SHOWN:]

    def _owners(self, obj: Object) -> list[tuple[str, str]]:
        """The keys of the controllers above an object, as far up as they are known."""
        found: list[tuple[str, str]] = []
        current: Object | None = obj
        while current is not None and len(found) < 8:
            metadata = current["metadata"]
            owner = next((one for one in metadata.get("ownerReferences") or () if one.get("controller")), None)
            if owner is None:
                break
            namespace = metadata.get("namespace") or ""
            found.append((namespace, owner["name"]))
            resource = self._manager.catalog.find(owner["apiVersion"], owner["kind"])
            current = self._manager.informers[resource].get(namespace, owner["name"]) if resource else None
        return found

    async def _events(self, pod: Object) -> list[dict[str, Any]]:
        metadata = pod["metadata"]
        selector = f"involvedObject.kind=Pod,involvedObject.uid={metadata['uid']}"
        listed = await self._client.list(EVENTS, metadata["namespace"], field_selector=selector)
        return [
            {
                "at": event.get("lastTimestamp") or event.get("eventTime") or "",
                "type": event.get("type", ""),
                "reason": event.get("reason", ""),
                "message": event.get("message", ""),
                "count": event.get("count") or 1,
                "from": (event.get("source") or {}).get("component") or event.get("reportingComponent") or "",
            }
            for event in listed.items
        ]


def _containers(pod: Object) -> list[dict[str, Any]]:
    """Why each container is not (or no longer) running."""
    status = pod.get("status") or {}
    found = []
    for one in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        state, details = next(iter((one.get("state") or {"waiting": {}}).items()))
        found.append(
            {
                "name": one["name"],
                "state": state,
                "ready": bool(one.get("ready")),
                "restarts": one.get("restartCount", 0),
                "reason": details.get("reason", ""),
                "message": details.get("message", ""),
            }
        )
    return found

"""How pods are shown: the STATUS column is the part of a pod's state that a person wants to know first."""

from datetime import datetime
from typing import Any

from wherry.schema.duration import age
from wherry.schema.printers.columns import NONE, Column, JsonDict, Printer, age_of, columns, meta, name_of, wide


def _condition(status: JsonDict, kind: str) -> JsonDict | None:
    for condition in status.get("conditions") or ():
        if condition.get("type") == kind:
            return dict(condition)
    return None


def _is_true(status: JsonDict, kind: str) -> bool:
    return (_condition(status, kind) or {}).get("status") == "True"


def _ended(state: JsonDict, prefix: str = "") -> str:
    """Why a container ended: its reason, its signal or its exit code."""
    if reason := state.get("reason"):
        return f"{prefix}{reason}"
    if signal := state.get("signal"):
        return f"{prefix}Signal:{signal}"
    return f"{prefix}ExitCode:{state.get('exitCode', 0)}"


class _Restarts:
    def __init__(self) -> None:
        self.count = 0
        self.last = ""

    def add(self, status: JsonDict) -> None:
        self.count += status.get("restartCount") or 0
        finished = ((status.get("lastState") or {}).get("terminated") or {}).get("finishedAt") or ""
        self.last = max(self.last, finished)

    def text(self, now: datetime) -> str:
        return f"{self.count} ({age(self.last, now)} ago)" if self.count and self.last else str(self.count)


def summary(pod: JsonDict, now: datetime) -> tuple[str, str, str]:
    """The columns READY, STATUS and RESTARTS of a pod: ("1/2", "CrashLoopBackOff", "3 (20s ago)")."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    phase = status.get("phase") or ""
    reason = status.get("reason") or phase
    scheduled = _condition(status, "PodScheduled")
    if scheduled and scheduled.get("reason") == "SchedulingGated":
        reason = "SchedulingGated"
    inits = spec.get("initContainers") or []
    sidecars = {one.get("name") for one in inits if one.get("restartPolicy") == "Always"}
    total = len(spec.get("containers") or ()) + len(sidecars)
    ready, restarts, sidecar_restarts = 0, _Restarts(), _Restarts()
    initializing = False
    for index, container in enumerate(status.get("initContainerStatuses") or ()):
        restarts.add(container)
        is_sidecar = container.get("name") in sidecars
        if is_sidecar:
            sidecar_restarts.add(container)
        state = container.get("state") or {}
        terminated, waiting = state.get("terminated"), state.get("waiting")
        if terminated is not None and not terminated.get("exitCode"):
            continue
        if is_sidecar and container.get("started"):
            ready += bool(container.get("ready"))
            continue
        initializing = True
        if terminated is not None:
            reason = _ended(terminated, "Init:")
        elif waiting and waiting.get("reason") not in (None, "", "PodInitializing"):
            reason = f"Init:{waiting['reason']}"
        else:
            reason = f"Init:{index}/{len(inits)}"
        break
    if not initializing or _is_true(status, "Initialized"):
        restarts = sidecar_restarts
        running = False
        for container in reversed(status.get("containerStatuses") or []):
            restarts.add(container)
            state = container.get("state") or {}
            if (state.get("waiting") or {}).get("reason"):
                reason = state["waiting"]["reason"]
            elif state.get("terminated") is not None:
                reason = _ended(state["terminated"])
            elif container.get("ready") and state.get("running") is not None:
                running = True
                ready += 1
        if reason == "Completed" and running:
            reason = "Running" if _is_true(status, "Ready") else "NotReady"
    if meta(pod).get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            reason = "Unknown"
        elif phase not in ("Succeeded", "Failed"):
            reason = "Terminating"
    return f"{ready}/{total}", reason, restarts.text(now)


def _row(pod: JsonDict, now: datetime) -> list[Any]:
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    ready, reason, restarts = summary(pod, now)
    gates = spec.get("readinessGates") or []
    passed = sum(_is_true(status, gate.get("conditionType", "")) for gate in gates)
    addresses = status.get("podIPs") or []
    address = (addresses[0].get("ip") if addresses else status.get("podIP")) or NONE
    return [
        name_of(pod),
        ready,
        reason,
        restarts,
        age_of(pod, now),
        address,
        spec.get("nodeName") or NONE,
        status.get("nominatedNodeName") or NONE,
        f"{passed}/{len(gates)}" if gates else NONE,
    ]


PODS = Printer(
    columns(
        "Name",
        Column("Ready", description="The aggregate readiness state of this pod for accepting traffic."),
        Column("Status", description="The aggregate status of the containers in this pod."),
        Column("Restarts", description="Restarts of the containers in this pod, and when the last one was."),
        "Age",
        wide("IP"),
        wide("Node"),
        wide("Nominated Node"),
        wide("Readiness Gates"),
    ),
    _row,
)

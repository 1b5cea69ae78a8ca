"""A pod's status from what is observed of it: phase, conditions and container statuses as a real kubelet words them.

Pure: `pod_status` computes the whole status, `status_patch` the strategic merge patch that turns the old one into
it without touching conditions that others own. Specified in
https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/ and in the API reference of PodStatus.
"""

from collections.abc import Sequence
from typing import Any

from wherry.node import pods, resize
from wherry.node.decide import Decision
from wherry.node.state import ContainerView, Observed
from wherry.schema.resource import Object

RUNTIME = "wherry"
KUBELET_CONDITIONS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
GONE_MESSAGE = "The container could not be located when the pod was {verb}.  The container used to be Running"


def pod_status(
    pod: Object, observed: Observed, decision: Decision, now: float, host_ips: Sequence[str]
) -> dict[str, Any]:
    """The PodStatus to publish. `host_ips` are the node's addresses, primary first."""
    old = pod.get("status") or {}
    init_statuses = [_container_status(pod, c, observed, decision, init=True) for c in pods.init_containers(pod)]
    main_statuses = [_container_status(pod, c, observed, decision, init=False) for c in pods.main_containers(pod)]
    debug_statuses = [
        _container_status(pod, c, observed, decision, init=False, debug=True) for c in pods.ephemeral_containers(pod)
    ]
    ended = decision.ended or bool(observed.stop_reason and not observed.running() and not observed.busy)
    phase = pod_phase(pod, init_statuses, main_statuses, ended=ended)
    if observed.stop_reason and ended:
        phase = "Failed"
    if old.get("phase") in ("Succeeded", "Failed"):
        phase = old["phase"]
    status: dict[str, Any] = {"phase": phase}
    if "generation" in pod["metadata"]:
        status["observedGeneration"] = pod["metadata"]["generation"]
    if observed.stop_reason:
        status["reason"] = observed.stop_reason
        if observed.stop_message:
            status["message"] = observed.stop_message
    else:
        for key in ("reason", "message"):
            if old.get(key) and phase == old.get("phase"):
                status[key] = old[key]
    status["conditions"] = _conditions(pod, observed, phase, init_statuses, main_statuses, now)
    if host_ips:
        status["hostIP"] = host_ips[0]
        status["hostIPs"] = [{"ip": address} for address in host_ips[:2]]
    addresses = list(observed.ips)
    if pods.host_network(pod) and (observed.prepared or old.get("podIP")):
        addresses = list(host_ips[:1])
    if not addresses and old.get("podIPs"):
        addresses = [entry["ip"] for entry in old["podIPs"]]
    if addresses:
        status["podIP"] = addresses[0]
        status["podIPs"] = [{"ip": address} for address in addresses]
    status["startTime"] = old.get("startTime") or pods.format_time(now)
    # Of a pod that was refused, nothing waits: its reason would be hidden behind theirs.
    refused = observed.stop_reason and not observed.containers and not observed.sandbox
    if not refused:
        if init_statuses:
            status["initContainerStatuses"] = init_statuses
        status["containerStatuses"] = main_statuses
    if debug_statuses:
        status["ephemeralContainerStatuses"] = debug_statuses
    status["qosClass"] = pods.qos_class(pod)
    for key in ("nominatedNodeName", "resourceClaimStatuses", "resize"):
        if key in old:
            status[key] = old[key]
    return status


def pod_phase(pod: Object, init: list[dict[str, Any]], main: list[dict[str, Any]], *, ended: bool) -> str:
    """Pending, Running, Succeeded or Failed from container statuses. `ended`: nothing will run again."""
    policy = pods.restart_policy(pod)
    pending_init = failed_init = pending_sidecar = 0
    running = waiting = stopped = succeeded = 0
    for container, status in zip(pods.init_containers(pod), init, strict=True):
        state = status["state"]
        last = (status.get("lastState") or {}).get("terminated")
        if pods.is_sidecar(container):
            if "running" in state:
                running += 1
                pending_sidecar += not status.get("started")
            elif "waiting" in state:
                pending_sidecar += 1
            continue
        if "terminated" in state:
            failed_init += state["terminated"]["exitCode"] != 0
        elif "waiting" in state and last is not None:
            failed_init += last["exitCode"] != 0
        else:
            pending_init += 1
    for status in main:
        state = status["state"]
        last = (status.get("lastState") or {}).get("terminated")
        if "running" in state:
            running += 1
        elif "terminated" in state:
            stopped += 1
            succeeded += state["terminated"]["exitCode"] == 0
        elif last is not None:
            stopped += 1
        else:
            waiting += 1
    if failed_init and policy == "Never":
        return "Failed"
    if ended:
        if waiting and not stopped and not running and not failed_init:
            return "Failed" if pods.is_deleted(pod) else "Pending"
        if not running:
            return "Succeeded" if stopped == succeeded and stopped and not waiting else "Failed"
    if pending_init or failed_init:
        return "Pending"
    if pending_sidecar and not stopped and waiting:
        return "Pending"
    if waiting:
        return "Pending"
    if running:
        return "Running"
    if stopped:
        if policy == "Always":
            return "Running"
        if stopped == succeeded:
            return "Succeeded"
        return "Failed" if policy == "Never" else "Running"
    return "Pending"


def termination_reason(view: ContainerView) -> str:
    """Completed, Error, OOMKilled, StartError or ContainerStatusUnknown."""
    if view.lost:
        return "ContainerStatusUnknown"
    if view.error:
        return "StartError"
    if view.oom_killed:
        return "OOMKilled"
    return "Completed" if view.exit_code == 0 else "Error"


def terminated_state(view: ContainerView) -> dict[str, Any]:
    """ContainerStateTerminated of an ended attempt."""
    state: dict[str, Any] = {"exitCode": view.exit_code, "reason": termination_reason(view)}
    if view.lost:
        state["message"] = GONE_MESSAGE.format(verb="deleted")
    elif view.message:
        state["message"] = view.message
    elif view.error:
        state["message"] = view.error
    state["startedAt"] = pods.format_time(view.started_at) if view.started_at else "1970-01-01T00:00:00Z"
    if view.finished_at is not None:
        state["finishedAt"] = pods.format_time(view.finished_at)
    state["containerID"] = f"{RUNTIME}://{view.id}"
    return state


def _container_status(
    pod: Object, container: Object, observed: Observed, decision: Decision, *, init: bool, debug: bool = False
) -> dict[str, Any]:
    name = container["name"]
    attempts = observed.containers.get(name) or ()
    view = attempts[0] if attempts else None
    waiting = decision.waiting.get(name)
    before = _old_status(pod, name)
    status: dict[str, Any] = {
        "name": name,
        "image": container.get("image", ""),
        "imageID": "",
        "lastState": {},
        "ready": False,
        "restartCount": before.get("restartCount", 0) if before else 0,
        "started": False,
        "state": {},
    }
    previous = attempts[1] if len(attempts) > 1 else None
    if view is None:
        reason, message = waiting or (_default_reason(pod), "")
        status["state"] = {"waiting": _waiting(reason, message)}
        if before and (before.get("lastState") or {}).get("terminated"):
            status["lastState"] = before["lastState"]
    else:
        status["restartCount"] = view.attempt
        status["image"] = view.image or status["image"]
        status["imageID"] = view.image_id
        status["containerID"] = f"{RUNTIME}://{view.id}"
        if view.running:
            status["state"] = {"running": {"startedAt": pods.format_time(view.started_at or view.created_at)}}
        elif view.exited:
            ended = terminated_state(view)
            if waiting is not None:
                status["state"] = {"waiting": _waiting(*waiting)}
                status["lastState"] = {"terminated": ended}
                previous = None
            else:
                status["state"] = {"terminated": ended}
        else:
            status["state"] = {"waiting": _waiting(*(waiting or (_default_reason(pod), "")))}
        if previous is not None and previous.exited:
            status["lastState"] = {"terminated": terminated_state(previous)}
        elif not status["lastState"] and view.attempt and before and before.get("lastState"):
            # The attempt before was removed since; the API still knows how it ended.
            status["lastState"] = before["lastState"]
        sidecar = init and pods.is_sidecar(container)
        if init and not sidecar:
            status["ready"] = view.exited and view.exit_code == 0
            status["started"] = False
        elif view.running:
            status["started"] = view.id in observed.started
            status["ready"] = not debug and status["started"] and view.id in observed.ready
    if view is not None and view.running:
        granted = observed.allocated.get(name) or container.get("resources") or {}
        in_force = observed.actuated.get(view.id) or granted
        if in_force:
            status["resources"] = dict(in_force)
        if granted.get("requests"):
            status["allocatedResources"] = granted["requests"]
    mounts = [_mount_status(mount) for mount in container.get("volumeMounts") or []]
    if mounts:
        status["volumeMounts"] = mounts
    return status


def _mount_status(mount: dict[str, Any]) -> dict[str, Any]:
    shown = {"mountPath": mount["mountPath"], "name": mount["name"]}
    if mount.get("readOnly"):
        shown["readOnly"] = True
        shown["recursiveReadOnly"] = "Disabled"
    return shown


def _waiting(reason: str, message: str) -> dict[str, str]:
    return {"reason": reason, "message": message} if message else {"reason": reason}


def _default_reason(pod: Object) -> str:
    return "PodInitializing" if pods.init_containers(pod) else "ContainerCreating"


def _old_status(pod: Object, name: str) -> dict[str, Any] | None:
    old = pod.get("status") or {}
    for group in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"):
        for entry in old.get(group) or []:
            if entry.get("name") == name:
                return dict(entry)
    return None


def _conditions(
    pod: Object,
    observed: Observed,
    phase: str,
    init: list[dict[str, Any]],
    main: list[dict[str, Any]],
    now: float,
) -> list[dict[str, Any]]:
    old = {entry["type"]: entry for entry in (pod.get("status") or {}).get("conditions") or []}
    ended = phase in ("Succeeded", "Failed")
    sandbox = bool(observed.sandbox) and not observed.torn_down and not ended
    wanted: list[tuple[str, bool, str, str]] = [
        ("PodReadyToStartContainers", sandbox, "", ""),
        ("Initialized", *_initialized(pod, phase, init, main)),
    ]
    containers_ready = _containers_ready(pod, phase, init, main)
    ready = containers_ready
    if containers_ready[0]:
        missing = []
        for gate in pod["spec"].get("readinessGates") or []:
            kind = gate["conditionType"]
            if kind not in old:
                missing.append(f'corresponding condition of pod readiness gate "{kind}" does not exist.')
            elif old[kind].get("status") != "True":
                missing.append(f'the status of pod readiness gate "{kind}" is not "True", but {old[kind]["status"]}')
        if missing:
            ready = (False, "ReadinessGatesNotReady", ", ".join(missing))
    wanted += [("Ready", *ready), ("ContainersReady", *containers_ready), ("PodScheduled", True, "", "")]
    conditions: list[dict[str, Any]] = []
    for kind, value, reason, message in wanted:
        text = "True" if value else "False"
        before = old.get(kind)
        changed = before is None or before.get("status") != text
        condition: dict[str, Any] = {
            "type": kind,
            "status": text,
            "lastProbeTime": None,
            "lastTransitionTime": (
                pods.format_time(now) if changed or before is None else before.get("lastTransitionTime")
            ),
        }
        if reason:
            condition["reason"] = reason
        if message:
            condition["message"] = message
        if "generation" in pod["metadata"]:
            condition["observedGeneration"] = pod["metadata"]["generation"]
        conditions.append(condition)
    others = (*KUBELET_CONDITIONS, *resize.CONDITIONS)
    conditions += [entry for kind, entry in old.items() if kind not in others]
    if not ended:
        conditions += _resize_conditions(pod, observed.resize, old, now)
    if observed.stop_reason == "Evicted" and "DisruptionTarget" not in old:
        conditions.append(
            {
                "type": "DisruptionTarget",
                "status": "True",
                "lastProbeTime": None,
                "lastTransitionTime": pods.format_time(now),
                "reason": "TerminationByKubelet",
                "message": observed.stop_message,
            }
        )
    return conditions


def _resize_conditions(
    pod: Object, state: resize.ResizeState, old: dict[str, dict[str, Any]], now: float
) -> list[dict[str, Any]]:
    """PodResizePending and PodResizeInProgress, which are there only while they are true."""
    wanted = []
    if state.obstacle is not None:
        wanted.append((resize.PENDING, state.obstacle.reason, state.obstacle.message))
    if state.in_progress:
        wanted.append((resize.IN_PROGRESS, "Error" if state.error else "", state.error))
    conditions = []
    for kind, reason, message in wanted:
        before = old.get(kind) or {}
        condition: dict[str, Any] = {
            "type": kind,
            "status": "True",
            "lastProbeTime": None,
            "lastTransitionTime": before.get("lastTransitionTime") or pods.format_time(now),
        }
        if reason:
            condition |= {"reason": reason, "message": message}
        if "generation" in pod["metadata"]:
            condition["observedGeneration"] = pod["metadata"]["generation"]
        conditions.append(condition)
    return conditions


def _initialized(
    pod: Object, phase: str, init: list[dict[str, Any]], main: list[dict[str, Any]]
) -> tuple[bool, str, str]:
    if phase == "Succeeded":
        return True, "PodCompleted", ""
    if any("running" in s["state"] or "terminated" in s["state"] for s in main):
        return True, "", ""
    incomplete = []
    for container, status in zip(pods.init_containers(pod), init, strict=True):
        done = status["started"] if pods.is_sidecar(container) else status["ready"]
        if not done:
            incomplete.append(container["name"])
    if incomplete:
        return False, "ContainersNotInitialized", f"containers with incomplete status: [{' '.join(incomplete)}]"
    return True, "", ""


def _containers_ready(
    pod: Object, phase: str, init: list[dict[str, Any]], main: list[dict[str, Any]]
) -> tuple[bool, str, str]:
    if phase == "Succeeded":
        return False, "PodCompleted", ""
    if phase == "Failed":
        return False, "PodFailed", ""
    sidecars = [s for c, s in zip(pods.init_containers(pod), init, strict=True) if pods.is_sidecar(c)]
    unready = [status["name"] for status in (*sidecars, *main) if not status["ready"]]
    if unready:
        return False, "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]"
    return True, "", ""


def status_patch(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """The strategic merge patch from `old` to `new`; {} when nothing changed.

    Keys that vanish become null; of the conditions (merged by type) only the kubelet's own are sent.
    """
    patch: dict[str, Any] = {}
    for key, value in new.items():
        if key != "conditions" and old.get(key) != value:
            patch[key] = value
    for key in ("reason", "message"):
        if key in old and key not in new:
            patch[key] = None
    for key in ("podIPs", "hostIPs"):
        if key in patch:
            # Merged by ip, so entries that went must be named.
            kept = {entry["ip"] for entry in new[key]}
            gone = [{"ip": e["ip"], "$patch": "delete"} for e in old.get(key) or [] if e["ip"] not in kept]
            patch[key] = [*new[key], *gone]
    before = {entry["type"]: entry for entry in old.get("conditions") or []}
    conditions = []
    for condition in new.get("conditions") or []:
        was = before.get(condition["type"])
        if was is None:
            conditions.append(condition)
        elif condition["type"] in (*KUBELET_CONDITIONS, *resize.CONDITIONS):
            merged = {key: None for key in was if key not in condition} | condition
            if any(was.get(key) != value for key, value in merged.items()):
                conditions.append(merged)
    after = {entry["type"] for entry in new.get("conditions") or []}
    conditions += [
        {"type": kind, "$patch": "delete"} for kind in resize.CONDITIONS if kind in before and kind not in after
    ]
    if conditions:
        patch["conditions"] = conditions
    return patch

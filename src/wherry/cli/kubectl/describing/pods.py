"""Pods."""

from typing import Any

from wherry.cli.kubectl.describing.pod_template import containers, spread, tolerations, volumes
from wherry.cli.kubectl.describing.writer import Object, Writer, controller, events, since, time_of
from wherry.cli.kubectl.session import Session


def pod(session: Session, out: Writer, obj: Object, found: list[Object] | None) -> None:
    meta, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    out.field("Name", meta["name"])
    out.field("Namespace", meta.get("namespace", ""))
    if spec.get("priority") is not None:
        out.field("Priority", spec["priority"])
    if spec.get("priorityClassName"):
        out.field("Priority Class Name", spec["priorityClassName"])
    if spec.get("runtimeClassName"):
        out.field("Runtime Class Name", spec["runtimeClassName"])
    if spec.get("serviceAccountName"):
        out.field("Service Account", spec["serviceAccountName"])
    if not spec.get("nodeName"):
        out.field("Node", "<none>")
    else:
        out.field("Node", f"{spec['nodeName']}/{status.get('hostIP', '')}")
    if status.get("startTime"):
        out.field("Start Time", time_of(status["startTime"]))
    out.labels("Labels", meta.get("labels"))
    out.annotations(meta.get("annotations"))
    if meta.get("deletionTimestamp"):
        if status.get("phase") in ("Failed", "Succeeded"):
            out.field("Status", f"Terminating (lasts {since(meta['deletionTimestamp'])})")
        else:
            out.field("Status", f"Terminating (lasts {since(meta['deletionTimestamp'])})")
        out.field("Termination Grace Period", f"{meta.get('deletionGracePeriodSeconds', 0)}s")
    else:
        out.field("Status", status.get("phase", ""))
    for key, title in (("reason", "Reason"), ("message", "Message")):
        if status.get(key):
            out.field(title, status[key])
    security = spec.get("securityContext") or {}
    if security.get("seccompProfile"):
        out.field("SeccompProfile", security["seccompProfile"].get("type", ""))
    out.field("IP", status.get("podIP", ""))
    ips = [entry.get("ip", "") for entry in status.get("podIPs") or ()]
    if ips:
        out.raw("IPs:\n")
        for ip in ips:
            out.field("IP", ip, 1)
    else:
        out.raw("IPs:\t<none>\n")
    owner = controller(obj)
    if owner:
        out.field("Controlled By", owner)
    if status.get("nominatedNodeName"):
        out.field("NominatedNodeName", status["nominatedNodeName"])
    _containers(out, obj, spec, status)
    conditions = status.get("conditions") or []
    if conditions:
        out.raw("Conditions:\n  Type\tStatus\n")
        for condition in conditions:
            out.line(1, f"{condition['type']} \t{condition['status']} ")
    volumes(out, spec.get("volumes") or [], "")
    out.field("QoS Class", status.get("qosClass") or "BestEffort")
    out.labels("Node-Selectors", spec.get("nodeSelector"))
    tolerations(out, spec.get("tolerations") or [])
    spread(out, spec.get("topologySpreadConstraints") or [], "")
    events(out, found)


def _containers(out: Writer, obj: Object, spec: Object, status: Object) -> None:
    def by_name(field: str) -> dict[str, Any]:
        return {one["name"]: one for one in status.get(field) or ()}

    if spec.get("initContainers"):
        containers(out, "Init Containers", spec["initContainers"], by_name("initContainerStatuses"), "", obj)
    containers(out, "Containers", spec.get("containers") or [], by_name("containerStatuses"), "", obj)
    if spec.get("ephemeralContainers"):
        containers(
            out, "Ephemeral Containers", spec["ephemeralContainers"], by_name("ephemeralContainerStatuses"), "", obj
        )

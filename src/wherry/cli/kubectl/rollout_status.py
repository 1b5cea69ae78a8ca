"""`kubectl rollout status`."""

import time
from typing import Any

from wherry.cli.kubectl.errors import KubectlError, raise_all
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.selection import Found, load
from wherry.cli.kubectl.session import FILES, SELECTOR, Object, Session

HELP = "Show the status of the rollout, until it is done."
USAGE = "(TYPE NAME | TYPE/NAME)"
FLAGS = (
    *FILES,
    SELECTOR,
    Flag("revision", "", "int", 0, "Fail when another revision has taken over; 0 for the latest."),
    Flag("timeout", "", "duration", 0.0, "How long to wait; 0 for as long as it takes."),
    Flag("watch", "w", "bool", True, "Watch the status until the rollout is done."),
)


def run(session: Session) -> int:
    options = session.options
    if not options.arguments and not options["filename"]:
        raise KubectlError("required resource not specified")
    if options["revision"] < 0:
        raise KubectlError(f"revision must be a positive integer: {options['revision']}")
    errors: list[KubectlError] = []
    found = load(session, errors=errors, all_of_type=True)
    if not found and not errors:
        print(f"No resources found in {session.namespace} namespace.")
    for one in found:
        try:
            _follow(session, one)
        except KubectlError as error:
            errors.append(error)
    raise_all(errors)
    return 0


def _follow(session: Session, one: Found) -> None:
    from wherry.cli.kubectl.watching import until

    options = session.options
    viewer = VIEWERS.get(one.resource.kind)
    if viewer is None:
        raise KubectlError(f"no status viewer has been implemented for {_group_kind(one)}")
    last = [""]
    failed: list[KubectlError] = []

    def done(obj: Object) -> bool:
        try:
            text, is_done = viewer(obj, options["revision"])
        except KubectlError as error:
            failed.append(error)
            return True
        if text != last[0]:
            print(text, flush=True)
            last[0] = text
        return is_done or not options["watch"]

    deadline = time.monotonic() + options["timeout"] if options["timeout"] else None
    obj = until(session, one.resource, one.namespace, one.name, done, deadline)
    if failed:
        raise failed[0]
    if obj is None:
        raise KubectlError("timed out waiting for the condition")


def _group_kind(one: Found) -> str:
    return f"{one.resource.kind}.{one.resource.group}" if one.resource.group else one.resource.kind


def _deployment(obj: Object, revision: int) -> tuple[str, bool]:
    meta, spec, status = obj["metadata"], obj["spec"], obj.get("status") or {}
    name = meta["name"]
    if revision:
        own = int((meta.get("annotations") or {}).get("deployment.kubernetes.io/revision") or 0)
        if own != revision:
            raise KubectlError(f"desired revision ({revision}) is different from the running revision ({own})")
    if int(meta.get("generation") or 0) > int(status.get("observedGeneration") or 0):
        return "Waiting for deployment spec update to be observed...", False
    for condition in status.get("conditions") or ():
        if condition["type"] == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded":
            raise KubectlError(f'deployment "{name}" exceeded its progress deadline')
    wanted = spec.get("replicas")
    updated = int(status.get("updatedReplicas") or 0)
    total, available = int(status.get("replicas") or 0), int(status.get("availableReplicas") or 0)
    if wanted is not None and updated < wanted:
        return (
            f'Waiting for deployment "{name}" rollout to finish: {updated} out of {wanted} new '
            "replicas have been updated...",
            False,
        )
    if total > updated:
        return (
            f'Waiting for deployment "{name}" rollout to finish: {total - updated} old replicas '
            "are pending termination...",
            False,
        )
    if available < updated:
        return (
            f'Waiting for deployment "{name}" rollout to finish: {available} of {updated} updated '
            "replicas are available...",
            False,
        )
    return f'deployment "{name}" successfully rolled out', True


def _daemon_set(obj: Object, revision: int) -> tuple[str, bool]:
    meta, spec, status = obj["metadata"], obj["spec"], obj.get("status") or {}
    name = meta["name"]
    if (spec.get("updateStrategy") or {}).get("type") != "RollingUpdate":
        raise KubectlError("rollout status is only available for RollingUpdate strategy type")
    if int(meta.get("generation") or 0) > int(status.get("observedGeneration") or 0):
        return "Waiting for daemon set spec update to be observed...", False
    wanted = int(status.get("desiredNumberScheduled") or 0)
    updated, available = int(status.get("updatedNumberScheduled") or 0), int(status.get("numberAvailable") or 0)
    if updated < wanted:
        return (
            f'Waiting for daemon set "{name}" rollout to finish: {updated} out of {wanted} new '
            "pods have been updated...",
            False,
        )
    if available < wanted:
        return (
            f'Waiting for daemon set "{name}" rollout to finish: {available} of {wanted} updated pods are available...',
            False,
        )
    return f'daemon set "{name}" successfully rolled out', True


def _stateful_set(obj: Object, revision: int) -> tuple[str, bool]:
    meta, spec, status = obj["metadata"], obj["spec"], obj.get("status") or {}
    strategy = spec.get("updateStrategy") or {}
    if strategy.get("type") != "RollingUpdate":
        raise KubectlError("rollout status is only available for RollingUpdate strategy type")
    if not status.get("observedGeneration") or int(meta.get("generation") or 0) > int(status["observedGeneration"]):
        return "Waiting for statefulset spec update to be observed...", False
    wanted, ready = spec.get("replicas"), int(status.get("readyReplicas") or 0)
    updated = int(status.get("updatedReplicas") or 0)
    if wanted is not None and ready < wanted:
        return f"Waiting for {wanted - ready} pods to be ready...", False
    partition: Any = (strategy.get("rollingUpdate") or {}).get("partition")
    if partition is not None and wanted is not None and partition > 0:
        if updated < wanted - partition:
            return (
                f"Waiting for partitioned roll out to finish: {updated} out of {wanted - partition} "
                "new pods have been updated...",
                False,
            )
        return f"partitioned roll out complete: {updated} new pods have been updated...", True
    if status.get("updateRevision") != status.get("currentRevision"):
        return (
            f"waiting for statefulset rolling update to complete {updated} pods at revision "
            f"{status.get('updateRevision', '')}...",
            False,
        )
    current = int(status.get("currentReplicas") or 0)
    return (
        f"statefulset rolling update complete {current} pods at revision {status.get('currentRevision', '')}...",
        True,
    )


VIEWERS = {"Deployment": _deployment, "DaemonSet": _daemon_set, "StatefulSet": _stateful_set}

"""`kubectl drain`: cordon a node and evict its pods."""

import time
from typing import Any

from wherry.cli.kubectl.cordon import cordon, nodes
from wherry.cli.kubectl.errors import KubectlError, Quiet, ServerError, raise_all
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.selection import Found
from wherry.cli.kubectl.session import DRY_RUN, SELECTOR, Object, Session

HELP = "Drain node in preparation for maintenance: it is cordoned, and its pods are evicted."
EXAMPLES = """
kubectl drain foo --ignore-daemonsets
kubectl drain foo --force --grace-period=900
"""
USAGE = "NODE"
FLAGS = (
    DRY_RUN,
    SELECTOR,
    Flag("chunk-size", "", "int", 500, "Accepted for compatibility."),
    Flag("delete-emptydir-data", "", "bool", False, "Go on when pods use emptyDir, whose data is lost."),
    Flag("disable-eviction", "", "bool", False, "Delete the pods instead of evicting them."),
    Flag("force", "", "bool", False, "Go on when pods have no controller."),
    Flag("grace-period", "", "int", -1, "Seconds that each pod gets to end; negative for its own."),
    Flag("ignore-daemonsets", "", "bool", False, "Leave the pods of daemon sets alone."),
    Flag("pod-selector", "", "str", "", "Only pods with these labels."),
    Flag(
        "skip-wait-for-delete-timeout", "", "int", 0, "Do not wait for pods that have been ending for so many seconds."
    ),
    Flag("timeout", "", "duration", 0.0, "How long to wait; 0 for as long as it takes."),
)


def run(session: Session) -> int:
    errors: list[KubectlError] = []
    found = nodes(session, "drain", errors)
    for node in found:
        cordon(session, node, True)
    pending: list[tuple[str, KubectlError]] = []
    for node in found:
        try:
            _drain(session, node)
        except KubectlError as error:
            session.say(f'error: unable to drain node "{node.name}" due to error: {error}, continuing command...')
            pending.append((node.name, error))
    if pending:
        session.say("There are pending nodes to be drained:")
        for name, _ in pending:
            session.say(f" {name}")
        for _, problem in pending:
            session.say(str(problem).strip("[]").replace(", cannot", "\ncannot"))
        raise Quiet(1)
    raise_all(errors)
    return 0


def _drain(session: Session, node: Found) -> None:
    options = session.options
    query: dict[str, Any] = {"fieldSelector": f"spec.nodeName={node.name}"}
    if options["pod-selector"]:
        query["labelSelector"] = options["pod-selector"]
    pods = session.http.get("/api/v1/pods", query).get("items") or []
    going: list[Object] = []
    refused: dict[str, list[str]] = {}
    warned: dict[str, list[str]] = {}
    for pod in pods:
        meta = pod["metadata"]
        name = f"{meta['namespace']}/{meta['name']}"
        owner = next((o for o in meta.get("ownerReferences") or () if o.get("controller")), None)
        finished = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
        if (meta.get("annotations") or {}).get("kubernetes.io/config.mirror") is not None:
            continue
        if owner is not None and owner["kind"] == "DaemonSet" and not finished:
            if not options["ignore-daemonsets"]:
                refused.setdefault(
                    "cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore)", []
                ).append(name)
            else:
                warned.setdefault("ignoring DaemonSet-managed Pods", []).append(name)
            continue
        has_data = any("emptyDir" in volume for volume in (pod.get("spec") or {}).get("volumes") or ())
        if has_data and not finished and not options["delete-emptydir-data"]:
            why = "cannot delete Pods with local storage (use --delete-emptydir-data to override)"
            refused.setdefault(why, []).append(name)
            continue
        if owner is None and not finished:
            if not options["force"]:
                refused.setdefault(
                    "cannot delete Pods that declare no controller (use --force to override)", []
                ).append(name)
                continue
            warned.setdefault("deleting Pods that declare no controller", []).append(name)
        going.append(pod)
    if refused:
        said = [f"{why}: {', '.join(names)}" for why, names in refused.items()]
        raise KubectlError(said[0] if len(said) == 1 else f"[{', '.join(said)}]")
    if warned:
        session.say("Warning: " + "; ".join(f"{why}: {', '.join(names)}" for why, names in warned.items()))
    deadline = time.monotonic() + options["timeout"] if options["timeout"] else None
    _evict(session, going, deadline)
    session.done(node.resource, node.name, "drained", node.object)


def _evict(session: Session, pods: list[Object], deadline: float | None) -> None:
    from wherry.cli.kubectl.delete import wait_gone

    resource = session.find("pods")
    verb = "deleting" if session.options["disable-eviction"] else "evicting"
    grace = session.options["grace-period"]
    suffix = {"client": " (dry run)", "server": " (server dry run)"}.get(session.dry_run, "")
    for pod in pods:
        meta = pod["metadata"]
        print(f"{verb} pod {meta['namespace']}/{meta['name']}{suffix}", flush=True)
        if session.dry_run == "client":
            continue
        delete: dict[str, Any] = {} if grace < 0 else {"gracePeriodSeconds": grace}
        if session.dry_run == "server":
            delete["dryRun"] = ["All"]
        path = resource.path(meta["namespace"], meta["name"])
        while True:
            try:
                if session.options["disable-eviction"]:
                    session.http.request("DELETE", path, None, {"kind": "DeleteOptions", "apiVersion": "v1", **delete})
                else:
                    name = {"name": meta["name"], "namespace": meta["namespace"]}
                    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": name, "deleteOptions": delete}
                    session.http.request("POST", f"{path}/eviction", None, body)
                break
            except ServerError as error:
                if error.status == 404:
                    break
                if error.status != 429:
                    raise KubectlError(
                        f'error when evicting pods/"{meta["name"]}" -n "{meta["namespace"]}": {error}'
                    ) from error
                session.say(
                    f'error when evicting pods/"{meta["name"]}" -n "{meta["namespace"]}" (will retry after 5s): {error}'
                )
                if deadline is not None and time.monotonic() + 5 > deadline:
                    raise KubectlError("drain did not complete within " + str(session.options["timeout"])) from error
                # The disruption budget decides when: its own retry interval, as the real one keeps it.
                time.sleep(5)
    if session.dry_run != "none":
        return
    for pod in pods:
        meta = pod["metadata"]
        wait_gone(session, resource, meta["namespace"], meta["name"], meta["uid"], deadline)
        print(f"pod/{meta['name']} {'deleted' if session.options['disable-eviction'] else 'evicted'}", flush=True)

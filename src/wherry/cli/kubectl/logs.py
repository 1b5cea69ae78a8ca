"""`kubectl logs`."""

import sys
import threading
from typing import Any

from wherry.cli.kubectl.errors import KubectlError, ServerError, UsageError
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.http import HTTP
from wherry.cli.kubectl.pods import container_names, container_of, first_pod, pods_of, target_object
from wherry.cli.kubectl.session import SELECTOR, Object, Session

HELP = "Print the logs for a container in a pod or specified resource."
EXAMPLES = """
kubectl logs nginx
kubectl logs -f -c ruby web-1
kubectl logs -l app=nginx --all-containers=true --prefix
kubectl logs --tail=20 --since=1h nginx
kubectl logs deployment/nginx -c nginx-1
"""
USAGE = "[-f] [-p] (POD | TYPE/NAME) [-c CONTAINER]"
FLAGS = (
    SELECTOR,
    Flag("all-containers", "", "bool", False, "The logs of all containers of the pod."),
    Flag("all-pods", "", "bool", False, "The logs of all pods of the resource, each line with its pod."),
    Flag("container", "c", "str", "", "The container."),
    Flag("follow", "f", "bool", False, "Go on as the log grows."),
    Flag("ignore-errors", "", "bool", False, "With -f: go on when a stream breaks."),
    Flag("insecure-skip-tls-verify-backend", "", "bool", False, "Accepted for compatibility."),
    Flag("limit-bytes", "", "int", 0, "Return at most so many bytes."),
    Flag("max-log-requests", "", "int", 5, "With -l: how many logs may be followed at once."),
    Flag("pod-running-timeout", "", "duration", 20.0, "How long to wait for a pod of a workload."),
    Flag("prefix", "", "bool", False, "Begin each line with its pod and container."),
    Flag("previous", "p", "bool", False, "The log of the container's previous instance."),
    Flag("since", "", "duration", 0.0, "Only what is newer than this, such as 5s, 2m, or 3h."),
    Flag("since-time", "", "str", "", "Only what came after this time (RFC 3339)."),
    Flag("tail", "", "int", -1, "The last lines only; -1 for all (10 with -l)."),
    Flag("timestamps", "", "bool", False, "Begin each line with its time."),
)


def run(session: Session) -> int:
    options = session.options
    arguments = options.arguments
    if not arguments and not options["selector"]:
        raise UsageError(
            "expected 'logs [-f] [-p] (POD | TYPE/NAME) [-c CONTAINER]'.\nPOD or TYPE/NAME is a "
            "required argument for the logs command"
        )
    if arguments and options["selector"]:
        raise UsageError("only a selector (-l) or a POD name is allowed")
    if len(arguments) > 2:
        raise UsageError(
            "expected 'logs [-f] [-p] (POD | TYPE/NAME) [-c CONTAINER]'.\nPOD or TYPE/NAME is a "
            "required argument for the logs command"
        )
    container = options["container"]
    if len(arguments) == 2:
        if container:
            raise UsageError("only one of -c or an inline [CONTAINER] arg is allowed")
        container = arguments[1]
    if container and options["all-containers"]:
        raise KubectlError("--all-containers=true should not be specified with container name " + container)
    if options["since"] and options["since-time"]:
        raise KubectlError("at most one of `sinceTime` or `sinceSeconds` may be specified")
    if options["tail"] < -1:
        raise KubectlError("--tail must be greater than or equal to -1")
    if options["limit-bytes"] < 0:
        raise KubectlError("--limit-bytes must be greater than 0")
    if options["previous"] and options["follow"]:
        raise KubectlError("only one of follow (-f) or previous (-p) is allowed")
    sources = _sources(session, arguments, container)
    if not sources:
        return 0
    limit = options["max-log-requests"]
    if options["follow"] and len(sources) > limit:
        raise KubectlError(
            f"you are attempting to follow {len(sources)} log streams, but maximum allowed concurrency is {limit}, "
            "use --max-log-requests to increase the limit"
        )
    if options["follow"] and len(sources) > 1:
        return _together(session, sources)
    for pod, name in sources:
        try:
            _copy(session, session.http, pod, name, threading.Lock())
        except KubectlError as error:
            if not options["ignore-errors"]:
                raise
            print(f"error: {error}")
    return 0


def _sources(session: Session, arguments: list[str], container: str) -> list[tuple[Object, str]]:
    options = session.options
    if options["selector"]:
        resource = session.find("pods")
        query = {"labelSelector": options["selector"]}
        pods = [
            {"kind": "Pod", **p} for p in session.http.get(resource.path(session.namespace), query).get("items") or ()
        ]
        if not pods:
            session.say(f"No resources found in {session.namespace} namespace.")
    else:
        try:
            found = target_object(session, arguments[0])
        except ServerError as error:
            if error.status != 404:
                raise
            where = f'{error} in namespace "{session.namespace}"'
            raise KubectlError(f"error from server ({error.reason}): {where}") from error
        if found.resource.kind == "Pod":
            pods = [found.object]
        elif options["all-pods"]:
            pods = pods_of(session, found)
        else:
            all_pods = pods_of(session, found)
            chosen = first_pod(session, found)
            if len(all_pods) > 1:
                session.say(f"Found {len(all_pods)} pods, using pod/{chosen.name}")
            pods = [chosen.object]
    sources: list[tuple[Object, str]] = []
    for pod in pods:
        if options["all-containers"]:
            spec = pod["spec"]
            names = [
                c["name"]
                for field in ("initContainers", "containers", "ephemeralContainers")
                for c in spec.get(field) or ()
            ]
            sources += [(pod, name) for name in names]
        elif container:
            if container not in container_names(pod):
                raise KubectlError(f"container {container} is not valid for pod {pod['metadata']['name']}")
            sources.append((pod, container))
        else:
            sources.append((pod, container_of(session, pod, "")))
    return sources


def _query(session: Session, container: str) -> dict[str, Any]:
    options = session.options
    query: dict[str, Any] = {"container": container}
    for flag in ("follow", "previous", "timestamps"):
        if options[flag]:
            query[flag] = "true"
    if options["since"]:
        query["sinceSeconds"] = max(1, int(-(-options["since"] // 1)))
    if options["since-time"]:
        query["sinceTime"] = options["since-time"]
    tail = options["tail"]
    if "tail" not in options.changed and options["selector"]:
        tail = 10
    if tail >= 0:
        query["tailLines"] = tail
    if options["limit-bytes"]:
        query["limitBytes"] = options["limit-bytes"]
    return query


def _copy(session: Session, http: HTTP, pod: Object, container: str, lock: Any) -> None:
    meta = pod["metadata"]
    path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}/log"
    response = http.stream(path, _query(session, container), accept="*/*")
    out = sys.stdout.buffer
    try:
        if session.options["prefix"] or session.options["all-pods"]:
            prefix = f"[pod/{meta['name']}/{container}] ".encode()
            for line in response.lines():
                with lock:
                    out.write(prefix + line + b"\n")
                    out.flush()
        else:
            for chunk in response.chunks():
                with lock:
                    out.write(chunk)
                    out.flush()
    except (ConnectionError, TimeoutError) as error:
        raise KubectlError(str(error)) from error
    finally:
        response.wire.socket.close()


def _together(session: Session, sources: list[tuple[Object, str]]) -> int:
    """Follow several logs at once, whole lines of each."""
    lock = threading.Lock()
    failed: list[KubectlError] = []

    def one(pod: Object, container: str) -> None:
        try:
            _copy(session, HTTP(session.access), pod, container, lock)
        except (KubectlError, ServerError) as error:
            if session.options["ignore-errors"]:
                session.say(f"error: {error}")
            else:
                failed.append(error)

    threads = [threading.Thread(target=one, args=source, daemon=True) for source in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return 0

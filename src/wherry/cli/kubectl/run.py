"""`kubectl run`."""

import json
import time
from typing import Any

from wherry.cli.kubectl.create.common import SAVE_CONFIG
from wherry.cli.kubectl.errors import KubectlError, ServerError, UsageError
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.session import DRY_RUN, MANAGER, PRINTING, Object, Session

HELP = "Create and run a particular image in a pod."
EXAMPLES = """
kubectl run nginx --image=nginx --port=80 --env="DNS_DOMAIN=cluster"
kubectl run -i --tty busybox --image=busybox --restart=Never --rm -- sh
"""
USAGE = (
    'NAME --image=image [--env="key=value"] [--port=port] [--dry-run=server|client] '
    "[--overrides=inline-json] [--command] -- [COMMAND] [args...]"
)
FLAGS = (
    *PRINTING,
    DRY_RUN,
    MANAGER,
    SAVE_CONFIG,
    Flag("annotations", "", "array", (), "Annotations of the pod, as key=value."),
    Flag("attach", "", "bool", False, "Wait until the pod runs, and attach to it."),
    Flag("command", "", "bool", False, "What follows `--` replaces the image's entry point."),
    Flag("env", "e", "array", (), "Environment variables, as key=value."),
    Flag("expose", "", "bool", False, "Make a service for the pod as well; needs --port."),
    Flag("force", "", "bool", False, "With --rm: delete at once."),
    Flag("grace-period", "", "int", -1, "With --rm: seconds that the pod gets to end."),
    Flag("image", "", "str", "", "The image to run."),
    Flag("image-pull-policy", "", "str", "", "When the image is pulled: Always, IfNotPresent, Never."),
    Flag("labels", "l", "str", "", "Labels of the pod, as key=value,key=value."),
    Flag("leave-stdin-open", "", "bool", False, "Keep stdin open after the first attach."),
    Flag("override-type", "", "str", "merge", "How --overrides are merged: json, merge, strategic."),
    Flag("overrides", "", "str", "", "JSON that is merged into the generated object."),
    Flag("pod-running-timeout", "", "duration", 60.0, "How long to wait until the pod runs."),
    Flag("port", "", "str", "", "The port that the container exposes."),
    Flag("privileged", "", "bool", False, "Run the container in privileged mode."),
    Flag("quiet", "q", "bool", False, "Do not print prompts."),
    Flag("restart", "", "str", "Always", "Restart policy: Always, OnFailure, Never."),
    Flag("rm", "", "bool", False, "Delete the pod after it ends. Only with attached containers."),
    Flag("stdin", "i", "bool", False, "Keep stdin open in the container."),
    Flag("timeout", "", "duration", 0.0, "With --rm: how long to wait for the deletion."),
    Flag("cascade", "", "opt:background", "background", "With --rm: how dependents are deleted."),
    Flag("tty", "t", "bool", False, "Allocate a terminal for the container."),
    Flag("wait", "", "bool", False, "With --rm: wait for the deletion."),
)


def run(session: Session) -> int:
    options = session.options
    arguments = options.arguments
    if not arguments or options.dash_at == 0:
        raise UsageError("NAME is required for run")
    if options.dash_at > 1 or (options.dash_at < 0 and len(arguments) > 1 and False):
        raise UsageError(f"exactly one NAME is required, got {options.dash_at}")
    name, words = arguments[0], arguments[1:]
    if not options["image"]:
        raise KubectlError('required flag(s) "image" not set')
    attach = options["attach"] or (options["stdin"] and "attach" not in options.changed)
    if options["tty"] and not options["stdin"]:
        raise KubectlError("-i/--stdin is required for containers with -t/--tty=true")
    if options["rm"] and not attach:
        raise UsageError("--rm should only be used for attached containers")
    if attach and session.dry_run != "none":
        raise KubectlError(
            "--dry-run=[server|client] can't be used with attached containers options (--attach, --stdin, or --tty)"
        )
    if options["restart"] not in ("Always", "OnFailure", "Never"):
        raise UsageError(f"invalid restart policy: {options['restart']}")
    if options["expose"] and not options["port"]:
        raise KubectlError("--port must be set when exposing a service")
    pod = _overridden(session, _pod(session, name, words))
    resource = session.find("pods")
    namespace = (pod.get("metadata") or {}).get("namespace") or session.namespace
    if options["save-config"]:
        from wherry.cli.kubectl import last_applied

        pod = last_applied.annotated(pod)
    if session.dry_run != "client":
        query = session.write_query("kubectl-run", validate=False)
        pod = session.http.request("POST", resource.path(namespace), query, pod)
    if not attach:
        session.done(resource, pod["metadata"]["name"], "created", pod)
    if options["expose"]:
        _expose(session, pod)
    if not attach:
        return 0
    try:
        return _attach(session, pod)
    finally:
        if options["rm"]:
            _remove(session, pod)


def _pod(session: Session, name: str, words: list[str]) -> Object:
    options = session.options
    container: dict[str, Any] = {"image": options["image"], "name": name, "resources": {}}
    if words:
        container["command" if options["command"] else "args"] = words
    if options["env"]:
        env = []
        for word in options["env"]:
            key, equals, value = word.partition("=")
            if not equals or not key:
                raise KubectlError(f"invalid env: {word}")
            env.append({"name": key, "value": value})
        container["env"] = env
    if options["port"]:
        if not options["port"].isdigit():
            raise KubectlError(f'strconv.Atoi: parsing "{options["port"]}": invalid syntax')
        container["ports"] = [{"containerPort": int(options["port"])}]
    if options["image-pull-policy"]:
        container["imagePullPolicy"] = options["image-pull-policy"]
    if options["privileged"]:
        container["securityContext"] = {"privileged": True}
    if options["stdin"]:
        container["stdin"] = True
        if not options["leave-stdin-open"]:
            container["stdinOnce"] = True
    if options["tty"]:
        container["tty"] = True
    labels = {"run": name}
    if options["labels"]:
        labels = dict(word.partition("=")[::2] for word in options["labels"].split(","))
    meta: Object = {"creationTimestamp": None, "labels": labels, "name": name}
    if session.is_namespace_given:
        meta["namespace"] = session.namespace
    if options["annotations"]:
        meta["annotations"] = dict(word.partition("=")[::2] for word in options["annotations"])
    spec = {"containers": [container], "dnsPolicy": "ClusterFirst", "restartPolicy": options["restart"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec, "status": {}}


def _overridden(session: Session, pod: Object) -> Object:
    text = session.options["overrides"]
    if not text:
        return pod
    from wherry.cli.kubectl.patch import _locally, _parse
    from wherry.cli.kubectl.selection import Found

    kind = session.options["override-type"]
    if kind not in ("json", "merge", "strategic"):
        raise KubectlError(f"invalid overrideType: {kind}")
    try:
        patch = json.loads(text)
    except ValueError:
        patch = _parse(text)
    result: Object = _locally(Found(session.find("pods"), session.namespace, pod["metadata"]["name"], pod), patch, kind)
    return result


def _expose(session: Session, pod: Object) -> None:
    port = int(session.options["port"])
    meta: Object = {"creationTimestamp": None, "name": pod["metadata"]["name"]}
    spec = {"ports": [{"port": port, "protocol": "TCP", "targetPort": port}], "selector": pod["metadata"]["labels"]}
    service: Object = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta,
        "spec": spec,
        "status": {"loadBalancer": {}},
    }
    resource = session.find("services")
    if session.dry_run != "client":
        query = session.write_query("kubectl-run", validate=False)
        service = session.http.request("POST", resource.path(session.namespace), query, service)
    session.done(resource, meta["name"], "created", service)


def _attach(session: Session, pod: Object) -> int:
    from wherry.cli.kubectl.attach import attach
    from wherry.cli.kubectl.watching import until

    options = session.options
    meta = pod["metadata"]
    resource = session.find("pods")

    def started(obj: Object) -> bool:
        phase = (obj.get("status") or {}).get("phase")
        if phase in ("Succeeded", "Failed"):
            return True
        return phase == "Running" and any(
            (status.get("state") or {}).get("running") or (status.get("state") or {}).get("terminated")
            for status in (obj.get("status") or {}).get("containerStatuses") or ()
        )

    deadline = time.monotonic() + options["pod-running-timeout"]
    running = until(session, resource, meta["namespace"], meta["name"], started, deadline)
    if running is None:
        raise KubectlError("timed out waiting for the condition")
    code = 0
    container = running["spec"]["containers"][0]["name"]
    if running["status"]["phase"] == "Running":
        try:
            code = attach(
                session,
                meta["namespace"],
                running,
                container,
                stdin=options["stdin"],
                tty=options["tty"],
                quiet=options["quiet"],
            )
        except ServerError as error:
            if not options["quiet"]:
                session.say(f"warning: couldn't attach to pod/{meta['name']}, falling back to streaming logs: {error}")
            _logs(session, meta)
    else:
        _logs(session, meta)
    if options["restart"] == "Always" or options["leave-stdin-open"]:
        return code
    return _exit_code(session, meta, container)


def _logs(session: Session, meta: Object) -> None:
    from wherry.cli.kubectl.remote import write_stdout

    path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}/log"
    response = session.http.stream(path, {"follow": "true"}, accept="*/*")
    for chunk in response.chunks():
        write_stdout(chunk)
    response.wire.socket.close()


def _exit_code(session: Session, meta: Object, container: str) -> int:
    from wherry.cli.kubectl.remote import exit_with
    from wherry.cli.kubectl.watching import until

    def ended(obj: Object) -> bool:
        return (obj.get("status") or {}).get("phase") in ("Succeeded", "Failed")

    deadline = time.monotonic() + session.options["pod-running-timeout"]
    obj = until(session, session.find("pods"), meta["namespace"], meta["name"], ended, deadline)
    if obj is None:
        raise KubectlError("timed out waiting for the condition")
    if obj["status"]["phase"] == "Succeeded":
        return 0
    for status in obj["status"].get("containerStatuses") or ():
        ended_state = (status.get("state") or {}).get("terminated")
        if ended_state and ended_state.get("exitCode"):
            from wherry.cli.kubectl.errors import Quiet

            session.say(f"pod {meta['namespace']}/{meta['name']} terminated ({ended_state.get('reason', 'Error')})")
            raise Quiet(int(ended_state["exitCode"]))
    return exit_with(1) if container else 1


def _remove(session: Session, pod: Object) -> None:
    from wherry.cli.kubectl.delete import delete_one, wait_gone

    meta = pod["metadata"]
    resource = session.find("pods")
    try:
        delete_one(session, resource, meta["namespace"], meta["name"])
    except ServerError as error:
        if error.status != 404:
            raise
        return
    if not session.options["quiet"]:
        print(f'pod "{meta["name"]}" deleted', flush=True)
    if session.options["wait"]:
        wait_gone(session, resource, meta["namespace"], meta["name"], meta.get("uid"), None)

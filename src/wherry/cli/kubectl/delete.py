"""`kubectl delete`: by files, names, selectors or all; waits until the objects are gone."""

import time
from typing import Any

from wherry.cli.kubectl.discovery import Resource
from wherry.cli.kubectl.errors import KubectlError, ServerError, UsageError, raise_all
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.selection import Found, Target, fetch, select
from wherry.cli.kubectl.session import ALL_NAMESPACES, DRY_RUN, FIELD_SELECTOR, FILES, SELECTOR, Session

HELP = "Delete resources by file names, stdin, resources and names, or by resources and label selector."
EXAMPLES = """
# Delete what pod.yaml describes
kubectl delete -f pod.yaml

# Delete pods and services with the label name=myLabel
kubectl delete pods,services -l name=myLabel

# Delete all pods
kubectl delete pods --all
"""
USAGE = "([-f FILENAME] | [-k DIRECTORY] | TYPE [(NAME | -l label | --all)])"
FLAGS = (
    *FILES,
    SELECTOR,
    FIELD_SELECTOR,
    ALL_NAMESPACES,
    DRY_RUN,
    Flag("all", "", "bool", False, "Delete all objects of the given types in the namespace."),
    Flag("cascade", "", "opt:background", "background", 'Must be "background", "orphan", or "foreground".'),
    Flag("force", "", "bool", False, "Remove the object at once, without waiting for its containers."),
    Flag("grace-period", "", "int", -1, "Seconds to end in; negative for the object's own, 1 for at once."),
    Flag("ignore-not-found", "", "bool", False, "An object that does not exist is no error."),
    Flag("interactive", "i", "bool", False, "Ask before deleting."),
    Flag("now", "", "bool", False, "Same as --grace-period=1."),
    Flag("output", "o", "str", "", 'Output mode: "name" for short output.'),
    Flag("raw", "", "str", "", "A path to send DELETE to."),
    Flag("timeout", "", "duration", 0.0, "How long to wait; 0 for as long as it takes."),
    Flag("wait", "", "bool", True, "Wait until the objects are gone."),
)


def run(session: Session) -> int:
    options = session.options
    if options["raw"]:
        import sys

        response = session.http.send("DELETE", options["raw"])
        from wherry.cli.kubectl.http import check

        text = response.read()
        check(response.status, text)
        sys.stdout.buffer.write(text)
        return 0
    if options["output"] not in ("", "name"):
        raise UsageError("unexpected -o output mode: {}. We only support '-o name'".format(options["output"]))
    if options["all"] and options["selector"]:
        raise KubectlError("cannot set --all and --selector at the same time")
    if options["all"] and options["field-selector"]:
        raise KubectlError("cannot set --all and --field-selector at the same time")
    grace, force = grace_of(session)
    cascade_of(session)
    if options["filename"] or options["kustomize"]:
        from wherry.cli.kubectl.manifests import read

        targets = select(session, options.arguments, documents=read(options))
        ignore = options["ignore-not-found"]
    else:
        if not options.arguments:
            raise KubectlError("You must provide one or more resources by argument or filename.\n" + _WHAT)
        targets = select(
            session,
            options.arguments,
            all_of_type=options["all"],
            all_namespaces=options["all-namespaces"],
        )
        by_selection = options["all"] or options["selector"] or options["field-selector"]
        ignore = options["ignore-not-found"] or (by_selection and "ignore-not-found" not in options.changed)
    if force and grace == 0:
        session.say(
            "Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated. "
            "The resource may continue to run on the cluster indefinitely."
        )
    errors: list[KubectlError] = []
    waiting: list[Found] = []
    found = _existing(session, targets, errors, ignore)
    if options["interactive"] and found and session.dry_run != "client" and not _confirmed(found):
        print("deletion is cancelled")
        return 0
    for one in found:
        try:
            answer = delete_one(session, one.resource, one.namespace, one.name) if session.dry_run != "client" else None
        except ServerError as error:
            if error.status != 404 or not ignore:
                source = one.document.source if one.document else ""
                errors.append(error.within(f'error when deleting "{source}"') if source else error)
            continue
        _say(session, one, force)
        uid = (answer or {}).get("details", {}).get("uid") or ((answer or {}).get("metadata") or {}).get("uid")
        waiting.append(one._replace(object={"uid": uid}))
    if not found and not errors:
        print("No resources found")
    elif options["wait"] and session.dry_run == "none":
        deadline = time.monotonic() + options["timeout"] if options["timeout"] else None
        for one in waiting:
            try:
                wait_gone(session, one.resource, one.namespace, one.name, one.object.get("uid"), deadline)
            except KubectlError as error:
                errors.append(error)
    raise_all(errors)
    return 0


_WHAT = """Example resource specifications include:
   '-f rsrc.yaml'
   '--filename=rsrc.json'
   '<resource> <name>'
   '<resource>'"""


def _existing(session: Session, targets: list[Target], errors: list[KubectlError], ignore: bool) -> list[Found]:
    """What to delete. Names are not looked up first: the server says whether they exist."""
    found: list[Found] = []
    for target in targets:
        if target.name:
            found.append(Found(target.resource, target.namespace, target.name, {}, target.document))
        else:
            found += fetch(session, [target], errors=errors, ignore_missing=ignore)
    return found


def _confirmed(found: list[Found]) -> bool:
    print("You are about to delete the following " + str(len(found)) + " resource(s):")
    for one in found:
        print(one.label)
    return input("Do you want to continue? (y/N): ").strip().lower() == "y"


def grace_of(session: Session) -> tuple[int, bool]:
    """Seconds of grace (-1: the object's own), and whether deletion is forced."""
    options = session.options
    grace, force = options["grace-period"], options["force"]
    if options.get("now"):
        if grace != -1:
            raise KubectlError("--now and --grace-period cannot be specified together")
        grace = 1
    if grace == 0 and not force:
        # To be safe, as the real one: only --force kills at once.
        grace = 1
    elif force and grace < 0:
        grace = 0
    elif force and grace > 0:
        raise KubectlError("--force and --grace-period greater than 0 cannot be specified together")
    return grace, force


def cascade_of(session: Session) -> str:
    word = session.options["cascade"]
    names = {
        "background": "Background",
        "foreground": "Foreground",
        "orphan": "Orphan",
        "true": "Background",
        "false": "Orphan",
    }
    if word not in names:
        raise KubectlError(f'invalid cascade value ({word}). Must be "background", "foreground", or "orphan"')
    return names[word]


def delete_one(session: Session, resource: Resource, namespace: str, name: str) -> Any:
    """Send the request. Returns the server's answer: a Status, or the object that is ending."""
    body: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": cascade_of(session)}
    grace, _ = grace_of(session)
    if grace >= 0:
        body["gracePeriodSeconds"] = grace
    if "dry-run" in session.options.flags and session.dry_run == "server":
        body["dryRun"] = ["All"]
    return session.http.request("DELETE", resource.path(namespace, name), None, body)


def delete_and_wait(session: Session, resource: Resource, namespace: str, name: str) -> None:
    """Delete an object, if it is there, and wait until it is gone."""
    try:
        delete_one(session, resource, namespace, name)
    except ServerError as error:
        if error.status != 404:
            raise
        return
    timeout = session.options.get("timeout") or 0
    wait_gone(session, resource, namespace, name, None, time.monotonic() + timeout if timeout else None)


def _say(session: Session, one: Found, force: bool) -> None:
    if session.options["output"] == "name":
        print(one.label)
        return
    kind = one.resource.label
    what = "force deleted" if force else "deleted"
    if session.dry_run == "client":
        what += " (dry run)"
    elif session.dry_run == "server":
        what += " (server dry run)"
    print(f'{kind} "{one.name}" {what}', flush=True)


def wait_gone(
    session: Session, resource: Resource, namespace: str, name: str, uid: Any, deadline: float | None
) -> None:
    """Wait until the object with this uid (any when None) is gone. Raises KubectlError at the deadline."""
    import json

    path = resource.path(namespace)
    query: dict[str, Any] = {"fieldSelector": f"metadata.name={name}"}
    while True:
        try:
            found = session.http.get(resource.path(namespace, name))
        except ServerError as error:
            if error.status == 404:
                return
            raise
        if uid and found["metadata"].get("uid") != uid:
            return
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise KubectlError(f"timed out waiting for the condition on {resource.name}/{name}")
        watch = {**query, "watch": "true", "resourceVersion": found["metadata"].get("resourceVersion")}
        watch["timeoutSeconds"] = max(1, int(left)) if left is not None else 600
        if "watch" not in resource.verbs:
            raise KubectlError(f"cannot wait for {resource.name}/{name}: it cannot be watched")
        response = session.http.stream(path, watch)
        if left is not None:
            response.wire.socket.settimeout(max(left, 0.01))
        try:
            for line in response.lines():
                event = json.loads(line)
                if event["type"] == "DELETED":
                    return
                if event["type"] == "ERROR":
                    break
        except TimeoutError:
            continue
        finally:
            response.wire.socket.close()

"""`kubectl wait`."""

import time
from collections.abc import Callable
from typing import Any

from wherry.cli.kubectl.errors import KubectlError, ServerError, UsageError, raise_all
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.selection import Target, fetch, select
from wherry.cli.kubectl.session import ALL_NAMESPACES, FIELD_SELECTOR, FILES, PRINTING, SELECTOR, Object, Session
from wherry.cli.kubectl.watching import until

HELP = "Wait for a specific condition on one or many resources."
EXAMPLES = """
# Wait until the pod is ready
kubectl wait --for=condition=Ready pod/busybox1

# Wait until it runs
kubectl wait --for=jsonpath='{.status.phase}'=Running pod/busybox1

# Wait until it is gone
kubectl wait --for=delete pod/busybox1 --timeout=60s
"""
USAGE = (
    "([-f FILENAME] | resource.group/resource.name | resource.group [(-l label | --all)]) "
    "[--for=create|--for=delete|--for condition=available|--for=jsonpath='{}'[=value]]"
)
FLAGS = (
    *FILES,
    *PRINTING,
    SELECTOR,
    FIELD_SELECTOR,
    ALL_NAMESPACES,
    Flag("all", "", "bool", False, "Select all objects of the given types in the namespace."),
    Flag("for", "", "array", (), "create, delete, condition=name[=value], or jsonpath='{expression}'=value."),
    Flag("local", "", "bool", False, "Accepted for compatibility."),
    Flag("timeout", "", "duration", 30.0, "How long to wait; 0 checks once, negative waits a week."),
)
_WEEK = 168 * 3600.0


def run(session: Session) -> int:
    options = session.options
    conditions = options["for"]
    if not conditions:
        raise KubectlError('unrecognized condition: ""')
    if not options.arguments and not options["filename"]:
        raise UsageError("You must provide one or more resources by argument or filename.")
    timeout = _WEEK if options["timeout"] < 0 else options["timeout"]
    deadline = time.monotonic() + timeout
    documents = None
    if options["filename"]:
        from wherry.cli.kubectl.manifests import read

        documents = read(options)
    targets = select(
        session,
        options.arguments,
        documents=documents,
        all_of_type=options["all"],
        all_namespaces=options["all-namespaces"],
    )
    for word in conditions:
        _wait(session, targets, word, deadline)
    return 0


def _wait(session: Session, targets: list[Target], word: str, deadline: float) -> None:
    lower = word.lower()
    if lower == "create":
        _for_create(session, targets, deadline)
        return
    holds = None if lower == "delete" else condition(word)
    errors: list[KubectlError] = []
    found = fetch(session, targets, errors=errors, ignore_missing=holds is None)
    raise_all(errors)
    if not found:
        if holds is None:
            return
        raise KubectlError("no matching resources found")
    for one in found:
        label = f"{one.resource.name}/{one.name}"
        try:
            if holds is None:
                from wherry.cli.kubectl.delete import wait_gone

                wait_gone(session, one.resource, one.namespace, one.name, one.object["metadata"].get("uid"), deadline)
                session.done(one.resource, one.name, "condition met", one.object)
                continue
            obj = until(session, one.resource, one.namespace, one.name, holds, deadline)
        except ServerError as error:
            errors.append(error)
            continue
        except KubectlError as error:
            errors.append(error)
            continue
        if obj is None:
            errors.append(KubectlError(f"timed out waiting for the condition on {label}"))
            continue
        session.done(one.resource, one.name, "condition met", obj)
    raise_all(errors)


def _for_create(session: Session, targets: list[Target], deadline: float) -> None:
    from wherry.cli.kubectl.watching import events

    for target in targets:
        if not target.name:
            found = fetch(session, [target])
            if not found:
                raise KubectlError("no matching resources found")
            for one in found:
                session.done(one.resource, one.name, "condition met", one.object)
            continue
        path = target.resource.path(target.namespace)
        query: dict[str, Any] = {"fieldSelector": f"metadata.name={target.name}"}
        while True:
            listed = session.http.get(path, query)
            items = listed.get("items") or []
            if items:
                session.done(target.resource, target.name, "condition met", items[0])
                break
            if time.monotonic() >= deadline:
                raise KubectlError(f"timed out waiting for the condition on {target.resource.name}/{target.name}")
            watch = {**query, "resourceVersion": listed["metadata"]["resourceVersion"]}
            for _ in events(session, path, watch, deadline):
                break


def condition(word: str) -> Callable[[Object], bool]:
    """What `--for` says, as a function of the object. Raises KubectlError."""
    lower = word.lower()
    if lower.startswith("condition="):
        name, _, value = word[len("condition=") :].partition("=")
        return _status_condition(name, value or "True")
    if lower.startswith("jsonpath="):
        return _jsonpath(word[len("jsonpath=") :])
    raise KubectlError(f'unrecognized condition: "{word}"')


def _status_condition(name: str, value: str) -> Callable[[Object], bool]:
    def holds(obj: Object) -> bool:
        status = obj.get("status") or {}
        for one in status.get("conditions") or ():
            if str(one.get("type", "")).lower() != name.lower():
                continue
            seen = one.get("observedGeneration", status.get("observedGeneration"))
            if seen is not None and int(seen) < int(obj["metadata"].get("generation") or 0):
                return False
            return str(one.get("status", "")).lower() == value.lower()
        return False

    return holds


def _jsonpath(text: str) -> Callable[[Object], bool]:
    from wherry.cli.kubectl.output import relaxed
    from wherry.schema.jsonpath import parse, show

    expression, value = text, None
    end = text.rfind("}")
    if "=" in text[end + 1 :]:
        at = text.index("=", end + 1)
        expression, value = text[:at], text[at + 1 :].strip("'\"")
        if not value:
            raise KubectlError("jsonpath wait has to have a value after equal sign")
    try:
        template = parse(relaxed(expression.strip("'\"")))
    except ValueError as error:
        raise KubectlError(str(error)) from error

    def holds(obj: Object) -> bool:
        values = [one for group in template.find(obj) for one in group]
        if not values:
            return False
        if value is None:
            return True
        if len(values) > 1:
            raise KubectlError("given jsonpath expression matches more than one value")
        if isinstance(values[0], (dict, list)):
            raise KubectlError("jsonpath leads to a nested object or list which is not supported")
        return show(values[0]).lower() == value.lower()

    return holds

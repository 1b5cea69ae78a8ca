"""`kubectl scale`."""

import time
from typing import Any

from wherry.cli.kubectl.errors import KubectlError, UsageError, raise_all
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.http import MERGE_PATCH
from wherry.cli.kubectl.selection import Found, load
from wherry.cli.kubectl.session import DRY_RUN, FILES, PRINTING, SELECTOR, Session

HELP = "Set a new size for a deployment, replica set, replication controller, or stateful set."
EXAMPLES = """
# Scale a deployment to 3
kubectl scale --replicas=3 deployment/web

# Scale it to 3 if it has 2
kubectl scale --current-replicas=2 --replicas=3 deployment/web
"""
USAGE = "[--resource-version=version] [--current-replicas=count] --replicas=COUNT (-f FILENAME | TYPE NAME)"
FLAGS = (
    *FILES,
    *PRINTING,
    SELECTOR,
    DRY_RUN,
    Flag("all", "", "bool", False, "Select all objects of the given types in the namespace."),
    Flag("current-replicas", "", "int", -1, "Scale only when this is the present size."),
    Flag("replicas", "", "int", 0, "The new size. Required."),
    Flag("resource-version", "", "str", "", "Scale only when this is the object's version."),
    Flag("timeout", "", "duration", 0.0, "How long to wait for the new size; 0 does not wait."),
)


def run(session: Session) -> int:
    options = session.options
    if "replicas" not in options.changed:
        raise KubectlError('required flag(s) "replicas" not set')
    if options["replicas"] < 0:
        raise KubectlError("The --replicas=COUNT flag is required, and COUNT must be greater than or equal to 0")
    if options["current-replicas"] < -1:
        raise KubectlError("The --current-replicas must specify an integer of -1 or greater")
    if not options.arguments and not options["filename"]:
        raise UsageError("You must provide one or more resources by argument or filename.")
    errors: list[KubectlError] = []
    found = load(session, errors=errors)
    if not found:
        why = f" {errors[0]}" if errors else ""
        raise KubectlError(f"no objects passed to scale{why}")
    for one in found:
        try:
            _scale(session, one)
        except KubectlError as error:
            errors.append(error)
    raise_all(errors)
    return 0


def _scale(session: Session, one: Found) -> None:
    options = session.options
    wanted = options["replicas"]
    path = one.resource.path(one.namespace, one.name, "scale")
    if session.dry_run != "client":
        if options["current-replicas"] >= 0 or options["resource-version"]:
            scale = session.http.get(path)
            now = (scale.get("spec") or {}).get("replicas", 0)
            version = scale["metadata"].get("resourceVersion")
            if options["current-replicas"] >= 0 and now != options["current-replicas"]:
                raise KubectlError(f"Expected replicas to be {options['current-replicas']}, was {now}")
            if options["resource-version"] and version != options["resource-version"]:
                raise KubectlError(f"Expected resource version to be {options['resource-version']}, was {version}")
        patch: dict[str, Any] = {"spec": {"replicas": wanted}}
        session.http.request("PATCH", path, session.write_query(validate=False), patch, content_type=MERGE_PATCH)
    if options["timeout"] and session.dry_run == "none":
        _wait(session, one, wanted)
    obj = session.http.get(one.path) if options["output"] and session.dry_run == "none" else one.object
    session.done(one.resource, one.name, "scaled", obj)


def _wait(session: Session, one: Found, wanted: int) -> None:
    from wherry.cli.kubectl.watching import until

    def is_there(obj: dict[str, Any]) -> bool:
        status = obj.get("status") or {}
        seen = int(status.get("observedGeneration") or 0) >= int(obj["metadata"].get("generation") or 0)
        return seen and int(status.get("replicas") or 0) == wanted

    if (
        until(session, one.resource, one.namespace, one.name, is_there, time.monotonic() + session.options["timeout"])
        is None
    ):
        raise KubectlError(f"timed out waiting for {one.name!r} to be synced")

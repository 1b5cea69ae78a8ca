"""`kubectl describe`."""

import importlib
from typing import Any

from wherry.cli.kubectl.describing import DESCRIBERS
from wherry.cli.kubectl.describing.writer import Writer
from wherry.cli.kubectl.errors import KubectlError, ServerError, raise_all
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.selection import Found, Target, fetch, select
from wherry.cli.kubectl.session import ALL_NAMESPACES, FILES, SELECTOR, Object, Session

HELP = "Show details of a specific resource or group of resources. A name may be the beginning of several names."
EXAMPLES = """
kubectl describe nodes kubernetes-node-emt8
kubectl describe pods/nginx
kubectl describe pods -l name=myLabel
"""
USAGE = "(-f FILENAME | TYPE [NAME_PREFIX | -l label] | TYPE/NAME)"
FLAGS = (
    *FILES,
    SELECTOR,
    ALL_NAMESPACES,
    Flag("chunk-size", "", "int", 500, "Fetch lists in chunks of this many objects."),
    Flag("show-events", "", "bool", True, "Show events that are about the object."),
)


def run(session: Session) -> int:
    options = session.options
    files = options["filename"] or options["kustomize"]
    if not options.arguments and not files:
        raise KubectlError(
            'You must specify the type of resource to describe. Use "kubectl api-resources" for a complete list of '
            "supported resources."
        )
    documents = None
    if files:
        from wherry.cli.kubectl.manifests import read

        documents = read(options)
    targets = select(
        session,
        options.arguments,
        documents=documents,
        all_of_type=True,
        all_namespaces=options["all-namespaces"],
        need_name=False,
    )
    errors: list[KubectlError] = []
    found: list[Found] = []
    by_prefix = False
    for target in targets:
        try:
            found += fetch(session, [target])
        except ServerError as error:
            matching = _by_prefix(session, target) if error.status == 404 and target.name and len(targets) == 1 else []
            if matching:
                found += matching
                by_prefix = True
            else:
                errors.append(error)
    printed = False
    for one in found:
        try:
            text = describe(session, one)
        except ServerError as error:
            errors.append(error)
            continue
        print(text + "\n" if by_prefix else ("\n\n" if printed else "") + text, end="")
        printed = True
    if not found and not errors:
        where = "" if options["all-namespaces"] else f" in {session.namespace} namespace."
        session.say(f"No resources found{where}")
    raise_all(errors)
    return 0


def _by_prefix(session: Session, target: Target) -> list[Found]:
    everything = fetch(session, [target._replace(name="")])
    return [one for one in everything if one.name.startswith(target.name)]


def describe(session: Session, one: Found) -> str:
    """The page of one object."""
    out = Writer()
    module, function = DESCRIBERS.get((one.resource.group, one.resource.kind), ("generic", "describe"))
    describer: Any = getattr(importlib.import_module(f"wherry.cli.kubectl.describing.{module}"), function)
    found = _events(session, one) if session.options["show-events"] else None
    describer(session, out, one.object, found)
    return out.text()


def _events(session: Session, one: Found) -> list[Object]:
    """Events about the object, at most as many as a chunk."""
    meta = one.object["metadata"]
    fields = {
        "involvedObject.name": meta["name"],
        "involvedObject.namespace": meta.get("namespace", ""),
        "involvedObject.kind": one.resource.kind,
        "involvedObject.uid": meta.get("uid", ""),
    }
    if one.resource.kind == "Node":
        fields["involvedObject.uid"] = ""
        del fields["involvedObject.namespace"]
    query = {
        "fieldSelector": ",".join(f"{key}={value}" for key, value in fields.items() if value),
        "limit": session.options["chunk-size"],
    }
    path = f"/api/v1/namespaces/{meta['namespace']}/events" if meta.get("namespace") else "/api/v1/events"
    try:
        return list(session.http.get(path, query).get("items") or ())
    except ServerError:
        return []

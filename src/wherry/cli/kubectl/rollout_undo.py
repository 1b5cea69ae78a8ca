"""`kubectl rollout undo`."""

from typing import Any

from wherry.cli.kubectl import revisions
from wherry.cli.kubectl.errors import KubectlError, raise_all
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.http import JSON_PATCH, STRATEGIC_PATCH
from wherry.cli.kubectl.selection import Found, load
from wherry.cli.kubectl.session import DRY_RUN, FILES, PRINTING, SELECTOR, Session

HELP = "Roll back to a previous rollout."
USAGE = "(TYPE NAME | TYPE/NAME)"
FLAGS = (*FILES, *PRINTING, SELECTOR, DRY_RUN, Flag("to-revision", "", "int", 0, "The revision; 0 for the one before."))


def run(session: Session) -> int:
    options = session.options
    if not options.arguments and not options["filename"]:
        raise KubectlError("required resource not specified")
    errors: list[KubectlError] = []
    for one in load(session, errors=errors, all_of_type=True):
        try:
            _undo(session, one)
        except KubectlError as error:
            errors.append(error)
    raise_all(errors)
    return 0


def _choose(found: list[revisions.Revision], wanted: int) -> revisions.Revision:
    if wanted:
        for revision in found:
            if revision.number == wanted:
                return revision
        raise KubectlError(f"unable to find specified revision {wanted} in history")
    if len(found) < 2:
        raise KubectlError("no last revision to roll back to")
    return found[-2]


def _undo(session: Session, one: Found) -> None:
    if one.resource.kind not in ("Deployment", "DaemonSet", "StatefulSet"):
        raise KubectlError(f'no rollbacker has been implemented for "{one.resource.kind}"')
    wanted = session.options["to-revision"]
    found = revisions.of(session, one)
    if one.resource.kind == "Deployment":
        if one.object["spec"].get("paused"):
            raise KubectlError(
                "you cannot rollback a paused deployment; resume it first with 'kubectl rollout "
                f"resume {one.name}' and try again"
            )
        if not wanted and len(found) < 2:
            raise KubectlError(f'no rollout history found for deployment "{one.name}"')
    chosen = _choose(found, wanted)
    if session.dry_run == "client":
        session.done(one.resource, one.name, "rolled back", one.object)
        return
    template = chosen.template
    query = {"dryRun": "All"} if session.dry_run == "server" else {}
    if one.resource.kind == "Deployment":
        meta = dict(template.get("metadata") or {})
        meta["labels"] = {k: v for k, v in (meta.get("labels") or {}).items() if k != "pod-template-hash"}
        template = {**template, "metadata": meta}
        if template == one.object["spec"]["template"]:
            session.done(
                one.resource,
                one.name,
                f"skipped rollback (current template already matches revision {chosen.number})",
                one.object,
            )
            return
        kept = {
            key: value
            for key, value in (one.object["metadata"].get("annotations") or {}).items()
            if key.startswith(("kubectl.kubernetes.io/last-applied", "deployment.kubernetes.io/"))
        }
        skipped = ("deployment.kubernetes.io/", "kubectl.kubernetes.io/last-applied")
        old = chosen.object["metadata"].get("annotations") or {}
        kept.update({key: value for key, value in old.items() if not key.startswith(skipped)})
        patch: Any = [
            {"op": "replace", "path": "/spec/template", "value": template},
            {"op": "replace", "path": "/metadata/annotations", "value": kept},
        ]
        result = session.http.request("PATCH", one.path, query, patch, content_type=JSON_PATCH)
    else:
        if template == one.object["spec"]["template"]:
            session.done(
                one.resource,
                one.name,
                f"skipped rollback (current template already matches revision {chosen.number})",
                one.object,
            )
            return
        data = chosen.object.get("data") or {}
        result = session.http.request("PATCH", one.path, query, data, content_type=STRATEGIC_PATCH)
    session.done(one.resource, one.name, "rolled back", result)

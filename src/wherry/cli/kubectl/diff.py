"""`kubectl diff`: what apply would change, shown by diff(1) or KUBECTL_EXTERNAL_DIFF."""

import os
import shlex
import tempfile

from wherry.cli.kubectl import last_applied
from wherry.cli.kubectl.errors import KubectlError, Quiet, ServerError, UsageError
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.http import APPLY_PATCH, MERGE_PATCH, STRATEGIC_PATCH
from wherry.cli.kubectl.manifests import read
from wherry.cli.kubectl.selection import Target, target_of
from wherry.cli.kubectl.session import FILES, MANAGER, SELECTOR, Object, Session

HELP = "Diff configurations specified by file name or stdin between the current and the would-be applied version."
EXAMPLES = """
kubectl diff -f pod.json
cat service.yaml | kubectl diff -f -
"""
USAGE = "-f FILENAME"
FLAGS = (
    *FILES,
    SELECTOR,
    MANAGER,
    Flag("concurrency", "", "int", 1, "Accepted for compatibility."),
    Flag("force-conflicts", "", "bool", False, "With --server-side: take fields over from other managers."),
    Flag("server-side", "", "bool", False, "Let the server merge."),
    Flag("show-managed-fields", "", "bool", False, "Include managed fields in the diff."),
)


def run(session: Session) -> int:
    options = session.options
    if options.arguments:
        raise UsageError(f"Unexpected args: [{' '.join(options.arguments)}]")
    if not options["filename"] and not options["kustomize"]:
        raise KubectlError("must specify one of -f and -k", code=2)
    try:
        code = _diff(session)
    except KubectlError as error:
        # 1 says that there are differences: errors have another code.
        error.code = max(error.code, 2) if error.code == 1 else error.code
        raise
    if code:
        raise Quiet(code)
    return 0


def _diff(session: Session) -> int:
    import subprocess

    with tempfile.TemporaryDirectory(prefix="LIVE-") as live, tempfile.TemporaryDirectory(prefix="MERGED-") as merged:
        for document in read(session.options):
            target = target_of(session, document)
            before, after = _versions(session, target)
            name = ".".join(
                part
                for part in (
                    target.resource.group,
                    target.resource.version,
                    target.resource.kind,
                    target.namespace,
                    target.name,
                )
                if part
            )
            for folder, obj in ((live, before), (merged, after)):
                with open(os.path.join(folder, name), "w") as file:
                    file.write(_text(session, obj))
        command = shlex.split(os.environ.get("KUBECTL_EXTERNAL_DIFF") or "diff -u -N")
        try:
            code = subprocess.run([*command, live, merged], check=False).returncode
        except FileNotFoundError as error:
            raise KubectlError(f'failed to run "{command[0]}": executable file not found in $PATH') from error
    return code


def _versions(session: Session, target: Target) -> tuple[Object | None, Object]:
    from wherry.cli.kubectl.apply import definition
    from wherry.cli.kubectl.three_way import three_way

    assert target.document is not None
    path = target.resource.path(target.namespace, target.name)
    query = {"dryRun": "All", "fieldManager": session.options["field-manager"] or "kubectl-client-side-apply"}
    if session.options["server-side"]:
        query["fieldManager"] = session.options["field-manager"] or "kubectl"
        query["force"] = "true" if session.options["force-conflicts"] else "false"
    try:
        live: Object | None = session.http.get(path)
    except ServerError as error:
        if error.status != 404:
            raise
        live = None
    obj = target.document.object
    if session.options["server-side"]:
        return live, session.http.request("PATCH", path, query, obj, content_type=APPLY_PATCH)
    modified = last_applied.annotated(obj)
    if live is None:
        return None, session.http.request("POST", target.resource.path(target.namespace), query, modified)
    kind = definition(target.resource)
    patch = three_way(last_applied.decode(live), modified, live, kind)
    if not patch:
        return live, live
    content_type = STRATEGIC_PATCH if kind is not None else MERGE_PATCH
    return live, session.http.request("PATCH", path, query, patch, content_type=content_type)


def _text(session: Session, obj: Object | None) -> str:
    """An object as YAML; secrets' values hidden."""
    from wherry.cli.kubectl.output import without_managed_fields
    from wherry.cli.kubectl.yamlio import dump

    if obj is None:
        return ""
    shown = without_managed_fields(obj, session.options)
    meta = dict(shown.get("metadata") or {})
    meta["annotations"] = {k: v for k, v in (meta.get("annotations") or {}).items() if k != last_applied.KEY}
    if not meta["annotations"]:
        del meta["annotations"]
    shown = {**shown, "metadata": meta}
    if shown.get("kind") == "Secret" and shown.get("data"):
        import hashlib

        shown["data"] = {k: f"*** ({hashlib.sha256(v.encode()).hexdigest()[:8]})" for k, v in shown["data"].items()}
    return dump(shown)

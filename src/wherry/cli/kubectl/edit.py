"""`kubectl edit`: the object in an editor; what was changed is sent as a patch."""

import os
import shlex
import sys
import tempfile
from typing import Any

from wherry.cli.kubectl.errors import KubectlError, Quiet, ServerError
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.http import MERGE_PATCH, STRATEGIC_PATCH
from wherry.cli.kubectl.manifests import Document
from wherry.cli.kubectl.selection import Found, load
from wherry.cli.kubectl.session import FILES, MANAGER, PRINTING, SELECTOR, VALIDATE, Session
from wherry.cli.kubectl.yamlio import YamlError, dump, load_all

HELP = "Edit a resource from the default editor (KUBE_EDITOR, EDITOR, or vi)."
EXAMPLES = """
kubectl edit svc/registry
KUBE_EDITOR="nano" kubectl edit svc/registry
"""
USAGE = "(RESOURCE/NAME | -f FILENAME)"
FLAGS = (
    *FILES,
    *PRINTING,
    SELECTOR,
    MANAGER,
    VALIDATE,
    Flag("output-patch", "", "bool", False, "Print the patch that was sent."),
    Flag("save-config", "", "bool", False, "Keep the configuration in the object's annotation, for apply."),
    Flag("subresource", "", "str", "", "The subresource to edit: status."),
    Flag("windows-line-endings", "", "bool", False, "Accepted for compatibility."),
)

_HEADER = """\
# Please edit the object below. Lines beginning with a '#' will be ignored,
# and an empty file will abort the edit. If an error occurs while saving this file will be
# reopened with the relevant failures.
#
"""


def run(session: Session) -> int:
    options = session.options
    if not options.arguments and not options["filename"]:
        raise session.usage("must specify at least one resource")
    found = load(session)
    if not found:
        raise KubectlError("edit cancelled, no objects found")
    originals = [_shown(session, one) for one in found]
    as_json = options["output"] == "json"
    text = _render(originals, as_json)
    complaint = ""
    path = ""
    while True:
        content = (
            (_HEADER + complaint if not as_json else "") + text if complaint == "" else _commented(complaint) + text
        )
        edited, path = _edit(content, as_json, path)
        body = _without_comments(edited)
        if _without_comments(content) == body:
            return _nothing(bool(complaint), path)
        if not body.strip():
            os.unlink(path)
            print("Edit cancelled, saved file was empty." if not complaint else "Edit cancelled.", file=sys.stderr)
            return 0
        try:
            documents = _parse(body)
        except YamlError as error:
            complaint, text = f"The edited file had a syntax error: {error}", body
            continue
        failed = _send(session, found, originals, documents)
        if not failed:
            os.unlink(path)
            return 0
        complaint = "\n".join(failed)
        text = body


def _commented(complaint: str) -> str:
    lines = "".join(f"# {line}\n" for line in complaint.split("\n"))
    return _HEADER + lines + "#\n"


def _nothing(failed: bool, path: str) -> int:
    if failed:
        print(
            f'error: Edit cancelled, no valid changes were saved.\nA copy of your changes has been stored to "{path}"',
            file=sys.stderr,
        )
        raise Quiet(1)
    os.unlink(path)
    print("Edit cancelled, no changes made.")
    return 0


def _shown(session: Session, one: Found) -> dict[str, Any]:
    obj = one.object
    if session.options["subresource"]:
        obj = session.http.get(one.resource.path(one.namespace, one.name, session.options["subresource"]))
    from wherry.cli.kubectl.output import without_managed_fields

    found: dict[str, Any] = without_managed_fields(obj, session.options)
    return found


def _render(objects: list[dict[str, Any]], as_json: bool) -> str:
    whole: Any = objects[0]
    if len(objects) > 1:
        whole = {"apiVersion": "v1", "items": objects, "kind": "List", "metadata": {}}
    if as_json:
        from wherry.cli.kubectl.output import to_json

        return to_json(whole) + "\n"
    return dump(whole)


def _parse(text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for document in load_all(text):
        if isinstance(document, dict):
            found += document["items"] if isinstance(document.get("items"), list) else [document]
    return found


def _without_comments(text: str) -> str:
    return "".join(line + "\n" for line in text.split("\n") if not line.lstrip().startswith("#")).strip("\n")


def editor() -> list[str]:
    """The command that edits: KUBE_EDITOR, EDITOR, vi."""
    text = os.environ.get("KUBE_EDITOR") or os.environ.get("EDITOR") or "vi"
    if any(c in text for c in "\"'\\"):
        return [os.environ.get("SHELL") or "/bin/bash", "-c", text + ' "$0"']
    return shlex.split(text)


def _edit(content: str, as_json: bool, path: str) -> tuple[str, str]:
    """The text after the editor has ended, and the file that holds it."""
    import subprocess

    if not path:
        descriptor, path = tempfile.mkstemp(prefix="kubectl-edit-", suffix=".json" if as_json else ".yaml")
        os.close(descriptor)
    with open(path, "w") as file:
        file.write(content)
    command = editor()
    try:
        code = subprocess.run([*command, path], check=False).returncode
    except FileNotFoundError as error:
        raise KubectlError(f'unable to launch the editor "{command[0]}"') from error
    if code:
        raise KubectlError(f'there was a problem with the editor "{" ".join(command)}"')
    with open(path) as file:
        return file.read(), path


def _send(session: Session, found: list[Found], originals: list[Any], edited: list[Any]) -> list[str]:
    """Patch what was changed. Returns what went wrong, for the file's comments."""
    from wherry.cli.kubectl.apply import definition
    from wherry.cli.kubectl.three_way import two_way

    failed: list[str] = []
    by_name = {
        (one.resource.kind, (obj.get("metadata") or {}).get("name")): (one, obj)
        for one, obj in zip(found, originals, strict=True)
    }
    for new in edited:
        name = (new.get("metadata") or {}).get("name")
        pair = by_name.get((new.get("kind"), name))
        if pair is None:
            failed.append("At least one of apiVersion, kind and name was changed")
            continue
        one, old = pair
        kind = definition(one.resource)
        patch = two_way(old, new, kind)
        if not patch:
            if len(found) > 1:
                continue
            session.done(one.resource, one.name, "skipped", old)
            continue
        path = one.resource.path(one.namespace, one.name, session.options["subresource"])
        query = session.write_query("kubectl-edit")
        try:
            result = session.http.request(
                "PATCH", path, query, patch, content_type=STRATEGIC_PATCH if kind is not None else MERGE_PATCH
            )
        except ServerError as error:
            print(error.lines(), file=sys.stderr)
            failed.append(f"{one.resource.name} {json_quote(one.name)} was not valid:\n* {error}")
            continue
        if session.options["output-patch"]:
            import json

            print("Patch: " + json.dumps(patch))
        session.done(one.resource, one.name, "edited", result)
    return failed


def json_quote(text: str) -> str:
    return f'"{text}"'


def edit_documents(session: Session, documents: list[Document]) -> list[Document]:
    """`kubectl create --edit`: the objects as they are after editing."""
    text = _render([document.object for document in documents], False)
    edited, path = _edit(_HEADER + text, False, "")
    os.unlink(path)
    body = _without_comments(edited)
    if not body.strip():
        raise KubectlError("Edit cancelled, saved file was empty.")
    try:
        return [Document(documents[0].source, obj) for obj in _parse(body)]
    except YamlError as error:
        raise KubectlError(f"The edited file had a syntax error: {error}") from error

"""`kubectl patch`."""

import json
from typing import Any

from wherry.cli.kubectl.errors import KubectlError, raise_all
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.http import JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH
from wherry.cli.kubectl.selection import Found, load
from wherry.cli.kubectl.session import DRY_RUN, FILES, MANAGER, PRINTING, Session

HELP = "Update fields of a resource using strategic merge patch, a JSON merge patch, or a JSON patch."
EXAMPLES = """
kubectl patch node k8s-node-1 -p '{"spec":{"unschedulable":true}}'
kubectl patch pod web --type=json -p='[{"op": "replace", "path": "/spec/containers/0/image", "value":"nginx:2"}]'
kubectl patch deployment web --subresource=scale --type=merge -p '{"spec":{"replicas":2}}'
"""
USAGE = "(-f FILENAME | TYPE NAME) [-p PATCH|--patch-file FILE]"
FLAGS = (
    *FILES,
    *PRINTING,
    DRY_RUN,
    MANAGER,
    Flag("local", "", "bool", False, "Patch the file's object without asking the server."),
    Flag("patch", "p", "str", "", "The patch, in JSON or YAML."),
    Flag("patch-file", "", "str", "", "A file that holds the patch."),
    Flag("subresource", "", "str", "", "The subresource to patch: status, scale, resize."),
    Flag("type", "", "str", "strategic", "The kind of patch: json, merge or strategic."),
)
TYPES = {"json": JSON_PATCH, "merge": MERGE_PATCH, "strategic": STRATEGIC_PATCH}


def run(session: Session) -> int:
    options = session.options
    if bool(options["patch"]) == bool(options["patch-file"]):
        raise KubectlError(
            "must specify --patch or --patch-file containing the contents of the patch"
            if not options["patch"]
            else "cannot specify --patch and --patch-file together"
        )
    if options["type"].lower() not in TYPES:
        raise KubectlError(f"--type must be one of [json merge strategic], not {json.dumps(options['type'])}")
    if options["local"] and options.arguments:
        raise KubectlError("cannot specify --local and server resources")
    text = options["patch"]
    if options["patch-file"]:
        try:
            with open(options["patch-file"]) as file:
                text = file.read()
        except OSError as error:
            raise KubectlError(f"unable to read patch file: {error}") from error
    patch = _parse(text)
    if options["local"]:
        from wherry.cli.kubectl.manifests import read
        from wherry.cli.kubectl.selection import target_of

        targets = [target_of(session, document) for document in read(options)]
        found = [Found(t.resource, t.namespace, t.name, t.document.object, t.document) for t in targets if t.document]
    else:
        found = load(session)
    errors: list[KubectlError] = []
    for one in found:
        try:
            _patch(session, one, patch)
        except KubectlError as error:
            errors.append(error)
    raise_all(errors)
    return 0


def _parse(text: str) -> Any:
    """The patch as an object; text that begins as JSON and is none goes to the server, which says what is wrong."""
    try:
        return json.loads(text)
    except ValueError:
        if text.lstrip().startswith("{"):
            return text.encode()
        from wherry.cli.kubectl.yamlio import YamlError
        from wherry.cli.kubectl.yamlio import load as load_yaml

        try:
            return load_yaml(text)
        except YamlError as error:
            raise KubectlError(f"unable to parse {json.dumps(text)}: {error}") from error


def _patch(session: Session, one: Found, patch: Any) -> None:
    options = session.options
    kind = options["type"].lower()
    if options["local"] or session.dry_run == "client":
        if isinstance(patch, bytes):
            raise KubectlError(f"unable to parse {json.dumps(patch.decode())}: it is not valid JSON")
        result = _locally(one, patch, kind)
        changed = result != one.object
    else:
        path = one.resource.path(one.namespace, one.name, options["subresource"])
        query = session.write_query("kubectl-patch", validate=False)
        result = session.http.request("PATCH", path, query, patch, content_type=TYPES[kind])
        changed = result["metadata"].get("resourceVersion") != one.object["metadata"].get("resourceVersion")
        if session.dry_run == "server":
            changed = {**result, "metadata": None} != {**one.object, "metadata": None}
    session.done(one.resource, one.name, "patched" if changed else "patched (no change)", result)


def _locally(one: Found, patch: Any, kind: str) -> Any:
    from wherry.schema.definitions import by_kind
    from wherry.schema.errors import ApiError
    from wherry.schema.merge import json_patch, merge_patch, strategic_merge

    try:
        if kind == "json":
            return json_patch(one.object, patch)
        definition = by_kind(one.resource.api_version, one.resource.kind)
        if kind == "merge" or definition is None:
            return merge_patch(one.object, patch)
        return strategic_merge(definition, one.object, patch)
    except ApiError as error:
        raise KubectlError(str(error)) from error

"""`kubectl apply`: make the server's objects as the files say, by three-way merge or by the server."""

import json
from typing import Any

from wherry.cli.kubectl import last_applied
from wherry.cli.kubectl.errors import KubectlError, ServerError, UsageError, raise_all
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.http import APPLY_PATCH, MERGE_PATCH, STRATEGIC_PATCH
from wherry.cli.kubectl.manifests import read
from wherry.cli.kubectl.selection import Target, target_of
from wherry.cli.kubectl.session import DRY_RUN, FILES, MANAGER, PRINTING, SELECTOR, VALIDATE, Object, Session

HELP = "Apply a configuration to a resource by file name or stdin. The resource is created if it does not exist yet."
EXAMPLES = """
# Apply the configuration in pod.yaml
kubectl apply -f pod.yaml

# Apply what is passed on stdin
cat pod.yaml | kubectl apply -f -
"""
USAGE = "(-f FILENAME | -k DIRECTORY)"
FLAGS = (
    *FILES,
    *PRINTING,
    SELECTOR,
    DRY_RUN,
    MANAGER,
    VALIDATE,
    Flag("server-side", "", "bool", False, "Let the server merge, with an owner for each field."),
    Flag("force-conflicts", "", "bool", False, "With --server-side: take fields over from other managers."),
    Flag("overwrite", "", "bool", True, "Resolve conflicts with the live object by the values of the file."),
    Flag("prune", "", "bool", False, "Delete objects that were applied before and are not among the files."),
    Flag("prune-allowlist", "", "array", (), "With --prune: group/version/kind to prune instead of the default ones."),
    Flag("all", "", "bool", False, "With --prune: prune among all objects instead of those of a selector."),
    Flag("force", "", "bool", False, "Delete and create again when a change is not allowed otherwise."),
    Flag("cascade", "", "opt:background", "background", "How dependents are deleted by --prune and --force."),
    Flag("grace-period", "", "int", -1, "Seconds that pods get to end by --prune and --force."),
    Flag("timeout", "", "duration", 0.0, "How long to wait for deletions of --prune and --force."),
    Flag("wait", "", "bool", False, "Wait for objects deleted by --prune to be gone."),
    Flag("openapi-patch", "", "bool", True, "Accepted for compatibility."),
)
VERBS = {
    "view-last-applied": ("apply_view", "View the latest last-applied-configuration annotations of a resource"),
    "set-last-applied": ("apply_set", "Set the last-applied-configuration annotation to the contents of a file"),
    "edit-last-applied": ("apply_edit", "Edit the latest last-applied-configuration annotations of a resource"),
}

_PRUNED = (
    "v1/ConfigMap",
    "v1/Endpoints",
    "v1/Namespace",
    "v1/PersistentVolumeClaim",
    "v1/PersistentVolume",
    "v1/Pod",
    "v1/ReplicationController",
    "v1/Secret",
    "v1/Service",
    "batch/v1/Job",
    "batch/v1/CronJob",
    "networking.k8s.io/v1/Ingress",
    "apps/v1/DaemonSet",
    "apps/v1/Deployment",
    "apps/v1/ReplicaSet",
    "apps/v1/StatefulSet",
)


def run(session: Session) -> int:
    options = session.options
    if options.arguments:
        raise UsageError(f"Unexpected args: [{' '.join(options.arguments)}]")
    if not options["filename"] and not options["kustomize"]:
        raise KubectlError("must specify one of -f and -k")
    if options["force-conflicts"] and not options["server-side"]:
        raise KubectlError("--force-conflicts only works with --server-side")
    if options["server-side"] and session.dry_run == "client":
        raise KubectlError("--dry-run=client doesn't work with --server-side (did you mean --dry-run=server instead?)")
    if options["prune"]:
        if not options["all"] and not options["selector"]:
            raise KubectlError(
                "all resources selected for prune without explicitly passing --all. To prune all "
                "resources, pass the --all flag. If you did not mean to prune all resources, specify "
                "a label selector"
            )
        if options["all"] and options["selector"]:
            raise KubectlError("cannot set --all and --selector at the same time")
    errors: list[KubectlError] = []
    visited: set[str] = set()
    documents = read(options)
    if options["selector"]:
        from wherry.schema.selectors import parse_labels

        matches = parse_labels(options["selector"])
        documents = [d for d in documents if matches.matches((d.object.get("metadata") or {}).get("labels") or {})]
    targets: list[Target] = []
    for document in documents:
        try:
            targets.append(target_of(session, document))
        except KubectlError as error:
            errors.append(error)
    if not targets and not errors:
        raise KubectlError("no objects passed to apply")
    shown: list[tuple[Target, Object]] = []
    for target in targets:
        try:
            applied = _one(session, target)
        except KubectlError as error:
            errors.append(error)
            continue
        visited.add(str((applied[1].get("metadata") or {}).get("uid")))
        shown.append((target, applied[1]))
        if not options["output"]:
            session.done(target.resource, applied[1]["metadata"]["name"], applied[0])
    if options["output"] and shown:
        _print(session, shown)
    raise_all(errors)
    if options["prune"]:
        _prune(session, visited, [target for target, _ in shown])
    return 0


def _print(session: Session, shown: list[tuple[Target, Object]]) -> None:
    from wherry.cli.kubectl.output import print_object

    if len(shown) == 1 or session.options["output"] == "name":
        for target, obj in shown:
            print_object(session.options, obj, target.resource)
        return
    print_object(
        session.options,
        {"apiVersion": "v1", "kind": "List", "metadata": {}, "items": [obj for _, obj in shown]},
    )


def _one(session: Session, target: Target) -> tuple[str, Object]:
    """Apply one object: what was done, and the object as it is now."""
    assert target.document is not None
    source = target.document.source
    if session.options["server-side"]:
        return _server_side(session, target, source)
    modified = last_applied.annotated(target.document.object)
    if not target.name:
        meta = target.document.object.get("metadata") or {}
        if meta.get("generateName"):
            raise KubectlError(f"from {meta['generateName']}: cannot use generate name with apply")
        raise KubectlError(
            f"error when retrieving current configuration of:\n{_info(target)}\nfrom server for: "
            f'"{source}": resource name may not be empty'
        )
    path = target.resource.path(target.namespace, target.name)
    try:
        current = session.http.get(path)
    except ServerError as error:
        if error.status != 404:
            raise error.within(
                f'error when retrieving current configuration of:\n{_info(target)}\nfrom server for: "{source}"'
            ) from error
        return "created", _create(session, target, modified, source)
    return _patch(session, target, modified, current, source)


def _create(session: Session, target: Target, obj: Object, source: str) -> Object:
    if session.dry_run == "client":
        return obj
    query = session.write_query("kubectl-client-side-apply")
    try:
        created: Object = session.http.request("POST", target.resource.path(target.namespace), query, obj)
    except ServerError as error:
        raise error.within(f'error when creating "{source}"') from error
    return created


def _info(target: Target) -> str:
    r = target.resource
    return (
        f'Resource: "{r.api_version}, Resource={r.name}", GroupVersionKind: "{r.api_version}, Kind={r.kind}"\n'
        f'Name: "{target.name}", Namespace: "{target.namespace}"'
    )


def definition(resource: Any) -> Any:
    """The type by which lists of this resource merge; None for custom resources."""
    from wherry.schema.definitions import by_kind

    return by_kind(resource.api_version, resource.kind)


def _patch(session: Session, target: Target, modified: Object, current: Object, source: str) -> tuple[str, Object]:
    from wherry.cli.kubectl.three_way import three_way

    original = last_applied.decode(current)
    if original is None and session.dry_run == "none":
        label = f"{target.resource.name}/{target.name}"
        session.say(
            f"Warning: resource {label} is missing the {last_applied.KEY} annotation which is required by "
            "kubectl apply. kubectl apply should only be used on resources created declaratively by either "
            "kubectl create --save-config or kubectl apply. The missing annotation will be patched automatically."
        )
    kind = definition(target.resource)
    patch = three_way(original, _jsonable(modified), current, kind)
    if kind is None:
        patch = _merge_only(patch)
    if not patch and session.dry_run != "client":
        return "unchanged", current
    if session.dry_run == "client":
        return "configured", _locally(target.resource, current, patch, kind)
    query = session.write_query("kubectl-client-side-apply")
    path = target.resource.path(target.namespace, target.name)
    content_type = STRATEGIC_PATCH if kind is not None else MERGE_PATCH
    try:
        patched: Object = session.http.request("PATCH", path, query, patch, content_type=content_type)
    except ServerError as error:
        if error.status in (409, 422) and session.options["force"]:
            return "configured", _replace(session, target, modified, source)
        text = json.dumps(patch, sort_keys=True, separators=(",", ":"))
        raise error.within(
            f'error when applying patch:\n{text}\nto:\n{_info(target)}\nfor: "{source}": error when patching "{source}"'
        ) from error
    return "configured", patched


def _jsonable(obj: Object) -> Object:
    found: Object = json.loads(json.dumps(obj, default=str))
    return found


def _merge_only(patch: Any) -> Any:
    return patch


def _locally(resource: Any, current: Object, patch: Object, kind: Any) -> Object:
    from wherry.schema.merge import merge_patch, strategic_merge

    if kind is None:
        merged: Object = merge_patch(current, patch)
        return merged
    return strategic_merge(kind, current, patch)


def _replace(session: Session, target: Target, obj: Object, source: str) -> Object:
    from wherry.cli.kubectl.delete import delete_and_wait

    delete_and_wait(session, target.resource, target.namespace, target.name)
    return _create(session, target, obj, source)


CONFLICT_HELP = """
Please review the fields above--they currently have other managers. Here
are the ways you can resolve this warning:
* If you intend to manage all of these fields, please re-run the apply
  command with the `--force-conflicts` flag.
* If you do not intend to manage all of the fields, please edit your
  manifest to remove references to the fields that should keep their
  current managers.
* You may co-own fields by updating your manifest to match the existing
  value; in this case, you'll become the manager if the other manager(s)
  stop managing the field (remove it from their configuration).
See https://kubernetes.io/docs/reference/using-api/server-side-apply/#conflicts"""


def _server_side(session: Session, target: Target, source: str) -> tuple[str, Object]:
    assert target.document is not None
    obj = target.document.object
    if (obj.get("metadata") or {}).get("managedFields"):
        raise KubectlError("metadata.managedFields must be nil")
    query: dict[str, Any] = session.write_query("kubectl")
    if session.options["force-conflicts"]:
        query["force"] = "true"
    else:
        query["force"] = "false"
    path = target.resource.path(target.namespace, target.name)
    try:
        applied: Object = session.http.request("PATCH", path, query, _jsonable(obj), content_type=APPLY_PATCH)
    except ServerError as error:
        if error.status == 409:
            raise KubectlError(f"{error}{CONFLICT_HELP}") from error
        raise error
    return "serverside-applied", applied


def _prune(session: Session, visited: set[str], targets: list[Target]) -> None:
    from wherry.cli.kubectl.delete import delete_one

    namespaces = sorted({target.namespace for target in targets if target.namespace})
    allowed = session.options["prune-allowlist"]
    kinds = [tuple(word.rpartition("/")[::2]) for word in _PRUNED]
    if allowed:
        kinds = []
        for word in allowed:
            parts = word.split("/")
            if len(parts) != 3:
                raise KubectlError(f"invalid GroupVersionKind format: {word}, please follow <group/version/kind>")
            group = "" if parts[0] == "core" else parts[0] + "/"
            kinds.append((group + parts[1], parts[2]))
    query = {"labelSelector": session.options["selector"]} if session.options["selector"] else {}
    for api_version, kind in kinds:
        resource = session.discovery.for_kind(api_version, kind)
        if resource is None:
            continue
        # What has no namespace is pruned last, and only when the default list or the user names it.
        for namespace in namespaces if resource.namespaced else [""]:
            for item in session.http.get(resource.path(namespace), query).get("items") or ():
                meta = item["metadata"]
                if last_applied.KEY not in (meta.get("annotations") or {}) or meta.get("uid") in visited:
                    continue
                if session.dry_run != "client":
                    delete_one(session, resource, namespace, meta["name"])
                session.done(resource, meta["name"], "pruned", item)

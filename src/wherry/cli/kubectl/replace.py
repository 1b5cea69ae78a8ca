"""`kubectl replace`."""

from wherry.cli.kubectl import last_applied
from wherry.cli.kubectl.errors import KubectlError, ServerError, UsageError, raise_all
from wherry.cli.kubectl.flags import Flag
from wherry.cli.kubectl.manifests import read
from wherry.cli.kubectl.selection import target_of
from wherry.cli.kubectl.session import DRY_RUN, FILES, MANAGER, PRINTING, VALIDATE, Session

HELP = "Replace a resource by file name or stdin. The file must hold the whole object."
EXAMPLES = """
kubectl replace -f ./pod.json
kubectl replace --force -f ./pod.json
"""
USAGE = "-f FILENAME"
FLAGS = (
    *FILES,
    *PRINTING,
    DRY_RUN,
    MANAGER,
    VALIDATE,
    Flag("cascade", "", "opt:background", "background", "With --force: how dependents are deleted."),
    Flag("force", "", "bool", False, "Delete the object and create it again."),
    Flag("grace-period", "", "int", -1, "With --force: seconds that pods get to end."),
    Flag("raw", "", "str", "", "A path to send PUT to."),
    Flag("save-config", "", "bool", False, "Keep the configuration in the object's annotation, for apply."),
    Flag("subresource", "", "str", "", "The subresource to replace: status, scale."),
    Flag("timeout", "", "duration", 0.0, "With --force: how long to wait for the deletion."),
    Flag("wait", "", "bool", False, "With --force: wait for the deletion."),
)


def run(session: Session) -> int:
    options = session.options
    if options.arguments:
        raise UsageError(f"Unexpected args: [{' '.join(options.arguments)}]")
    if not options["filename"] and not options["kustomize"]:
        raise KubectlError("must specify one of -f and -k")
    if options["grace-period"] >= 0 and not options["force"]:
        raise KubectlError("--grace-period must have --force specified")
    if options["timeout"] and not options["force"]:
        raise KubectlError("--timeout must have --force specified")
    errors: list[KubectlError] = []
    targets = []
    documents = read(options)
    for document in documents:
        targets.append(target_of(session, document))
    if not targets:
        raise KubectlError("no objects passed to replace")
    if options["force"]:
        return _force(session, targets)
    for target in targets:
        assert target.document is not None
        obj = target.document.object
        if options["save-config"]:
            obj = last_applied.annotated(obj)
        try:
            if session.dry_run != "client":
                path = target.resource.path(target.namespace, target.name, options["subresource"])
                current_version = (obj.get("metadata") or {}).get("resourceVersion")
                if not current_version:
                    # A replacement without a version takes the present one, as a file that nobody has read has none.
                    live = session.http.get(target.resource.path(target.namespace, target.name))
                    obj = {
                        **obj,
                        "metadata": {**obj["metadata"], "resourceVersion": live["metadata"]["resourceVersion"]},
                    }
                obj = session.http.request("PUT", path, session.write_query("kubectl-replace"), obj)
        except ServerError as error:
            errors.append(error.within(f'error when replacing "{target.document.source}"'))
            continue
        session.done(target.resource, target.name, "replaced", obj)
    raise_all(errors)
    return 0


def _force(session: Session, targets: list) -> int:  # type: ignore[type-arg]
    import time

    from wherry.cli.kubectl.delete import delete_one, wait_gone

    options = session.options
    gone = []
    for target in targets:
        try:
            if session.dry_run != "client":
                delete_one(session, target.resource, target.namespace, target.name)
        except ServerError as error:
            if error.status != 404:
                raise
            continue
        print(f'{target.resource.label} "{target.name}" deleted', flush=True)
        gone.append(target)
    deadline = time.monotonic() + options["timeout"] if options["timeout"] else None
    for target in gone:
        if session.dry_run == "none":
            wait_gone(session, target.resource, target.namespace, target.name, None, deadline)
    for target in targets:
        obj = target.document.object
        obj["metadata"].pop("resourceVersion", None)
        if session.dry_run != "client":
            query = session.write_query("kubectl-replace")
            obj = session.http.request("POST", target.resource.path(target.namespace), query, obj)
        session.done(target.resource, target.name, "replaced", obj)
    return 0
